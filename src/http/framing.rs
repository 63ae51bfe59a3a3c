//! Message framing: refuses requests of which two HTTP implementations may see different ends or different hosts
//! (RFC 9112, sections 3.2 and 6.3; RFC 9110, section 7.2). A proxy and a server that disagree allow request smuggling.

use poem::Request;
use poem::http::uri::Authority;
use poem::http::{HeaderMap, Version, header};

use super::problem::Problem;
use super::problem_type::ProblemType;

/// Marks a request that had both `Transfer-Encoding` and `Content-Length`. hyper removes the latter before the service
/// sees the request, so the server sets this mark; see [`super::request_heads`].
#[derive(Debug, Clone, Copy)]
pub struct TwoLengths;

/// Returns the problem with the framing of a request, if any.
///
/// The connection must close after such a request, and after every request for which [`closes_connection`] is true.
pub fn check(request: &Request) -> Result<(), Problem> {
    let detail = if request.data::<TwoLengths>().is_some() {
        "The request has both Transfer-Encoding and Content-Length; send one of them."
    } else if !has_plain_transfer_encoding(request.headers()) {
        "The only supported Transfer-Encoding is chunked, in one header and once."
    } else if !has_valid_host(request.version(), request.headers()) {
        "The request must have exactly one Host header, with a host name or an address and perhaps a port."
    } else {
        return Ok(());
    };
    Err(Problem::new(ProblemType::MalformedRequest, detail))
}

/// Whether the connection closes after the response, however the request is answered. [`super::request_heads`] does not
/// follow chunked bodies, so it cannot read another head after one.
pub fn closes_connection(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whether the request has no `Transfer-Encoding`, or exactly the value `chunked`.
fn has_plain_transfer_encoding(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// Whether the request has one valid `Host`. HTTP/1.0 did not require the header.
fn has_valid_host(version: Version, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(only), None) => only.to_str().is_ok_and(is_host),
        _ => false,
    }
}

/// Whether the text is a host with an optional port, without user information. A comma would be a list of hosts.
fn is_host(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else {
        return false;
    };
    let has_port = text.len() > authority.host().len();
    !authority.host().is_empty() && !text.contains(['@', ',']) && (!has_port || authority.port_u16().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for host in ["sixty", "sixty.example", "sixty.example:8000", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8000"]
        {
            assert!(is_host(host), "{host}");
        }
        for other in [
            "",
            ":80",
            "a b",
            "a,b",
            "ada@sixty",
            "sixty/x",
            "http://sixty",
            "sixty:",
            "sixty:port",
            "sixty:99999",
            "[::1",
        ] {
            assert!(!is_host(other), "{other}");
        }
    }
}
