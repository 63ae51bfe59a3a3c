//! Protection against web pages: a page in a developer's browser must neither send mails to the mock nor read its inbox.

use std::net::{Ipv4Addr, Ipv6Addr};

use poem::http::uri::Authority;
use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};

use super::wire;

/// Returns the response to a request that must be refused:
/// - 403 if the `Host` is a name that is neither `localhost` nor in `hosts`. By DNS rebinding, a page's own name can lead
///   to this server; the page could then read the responses.
/// - 415 if a POST or PUT has no JSON. A page of any origin may send other media types without asking (a "simple" request).
pub(super) fn refusal(request: &Request, hosts: &[String]) -> Option<Response> {
    let mut values = request.headers().get_all(header::HOST).iter();
    let host = match (values.next(), values.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    if !host.is_some_and(|host| is_allowed(host.host(), hosts)) {
        let message = "unknown Host: use localhost or an IP address, or add the name to MAIL_MOCK_HOSTS";
        return Some(wire::error(StatusCode::FORBIDDEN, message));
    }
    let has_body = matches!(*request.method(), Method::POST | Method::PUT);
    if has_body && !request.content_type().is_some_and(is_json) {
        return Some(wire::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json"));
    }
    None
}

fn is_allowed(host: &str, hosts: &[String]) -> bool {
    let is_ip = host.parse::<Ipv4Addr>().is_ok()
        || host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    is_ip || host.eq_ignore_ascii_case("localhost") || hosts.iter().any(|allowed| host.eq_ignore_ascii_case(allowed))
}

/// Whether a `Content-Type` is `application/json`, with or without parameters such as the charset.
fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}
