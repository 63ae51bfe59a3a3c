//! A document that does not change while the process runs: compressed once, and cached by clients.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::http::{HeaderMap, HeaderName, StatusCode, header};
use poem::{Request, Response};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

/// How caches may use a document (RFC 9111). After five minutes they ask whether it has changed: a new release changes
/// it.
const CACHE_CONTROL: &str = "public, max-age=300";

/// A document in its two encodings.
#[derive(Debug)]
pub struct StaticDocument {
    content_type: &'static str,
    plain: Bytes,
    /// Filled by the first request that accepts gzip: compressing would add some 100 ms to every start.
    gzip: OnceCell<Bytes>,
    /// The entity tags differ between the encodings: they are strong validators (RFC 9110, section 8.8.1).
    plain_etag: String,
    gzip_etag: String,
}

impl StaticDocument {
    pub fn new(content_type: &'static str, text: impl Into<Bytes>) -> Self {
        let plain = text.into();
        let hash = hex::encode(&Sha256::digest(&plain)[..16]);
        let (plain_etag, gzip_etag) = (format!("\"{hash}\""), format!("\"{hash}-gzip\""));
        Self { content_type, plain, gzip: OnceCell::new(), plain_etag, gzip_etag }
    }

    /// Returns the document, or 304 if the client has it already. `other` holds further headers of the response.
    pub async fn response(&self, request: &Request, other: &[(HeaderName, &str)]) -> Response {
        let uses_gzip = accepts_gzip(request.headers());
        let etag = if uses_gzip { &self.gzip_etag } else { &self.plain_etag };
        let mut response = Response::builder()
            .header(header::ETAG, etag)
            .header(header::CACHE_CONTROL, CACHE_CONTROL)
            .header(header::VARY, header::ACCEPT_ENCODING.as_str());
        if has_current_etag(request.headers(), etag) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        for (name, value) in other {
            response = response.header(name, *value);
        }
        if uses_gzip {
            response = response.header(header::CONTENT_ENCODING, "gzip");
        }
        let body = if uses_gzip { self.compressed().await } else { self.plain.clone() };
        response.content_type(self.content_type).body(body)
    }

    async fn compressed(&self) -> Bytes {
        let compress = || async {
            let plain = self.plain.clone();
            tokio::task::spawn_blocking(move || gzip(&plain)).await.expect("compressing does not panic")
        };
        self.gzip.get_or_init(compress).await.clone()
    }

    #[cfg(test)]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.plain).expect("the document is UTF-8")
    }
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(plain).expect("writing to a vector does not fail");
    encoder.finish().expect("writing to a vector does not fail").into()
}

/// The items of a header with a list of values, over all its lines.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether `Accept-Encoding` allows gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight_of = |wanted: &[&str]| {
        items(headers, header::ACCEPT_ENCODING).find_map(|item| {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight =
                || parameters.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=').parse().unwrap_or(1.0);
            wanted.iter().any(|name| coding.trim().eq_ignore_ascii_case(name)).then(weight)
        })
    };
    weight_of(&["gzip", "x-gzip"]).or_else(|| weight_of(&["*"])).is_some_and(|weight: f64| weight > 0.0)
}

/// Whether `If-None-Match` lists this entity tag (RFC 9110, section 13.1.2). The comparison is weak.
fn has_current_etag(headers: &HeaderMap, etag: &str) -> bool {
    items(headers, header::IF_NONE_MATCH).any(|item| item == "*" || item.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn ask(document: &StaticDocument, fields: &[(HeaderName, &str)]) -> Response {
        let request = fields.iter().fold(Request::builder(), |request, (name, value)| request.header(name, *value));
        document.response(&request.finish(), &[(header::CONTENT_SECURITY_POLICY, "default-src 'none'")]).await
    }

    #[tokio::test]
    async fn a_client_that_accepts_gzip_gets_gzip() {
        let text = "sixty ".repeat(1000);
        let document = StaticDocument::new("text/html; charset=utf-8", text.clone());
        for accepted in ["gzip", "br, GZIP;q=0.5", "x-gzip", "*", "identity;q=0.5, *;q=0.1", "deflate,gzip"] {
            let response = ask(&document, &[(header::ACCEPT_ENCODING, accepted)]).await;
            assert_eq!(response.header("content-encoding"), Some("gzip"), "{accepted}");
            assert_eq!(response.content_type(), Some("text/html; charset=utf-8"));
            let compressed = response.into_body().into_vec().await.unwrap();
            assert!(compressed.len() < 100);
            let mut decoded = String::new();
            flate2::read::GzDecoder::new(&*compressed).read_to_string(&mut decoded).unwrap();
            assert_eq!(decoded, text);
        }
        for refused in ["", "br", "gzip;q=0", "gzip; q=0.0, *", "identity", "*;q=0"] {
            let response = ask(&document, &[(header::ACCEPT_ENCODING, refused)]).await;
            assert_eq!(response.header("content-encoding"), None, "{refused}");
            assert_eq!(response.header("vary"), Some("accept-encoding"));
            assert_eq!(response.into_body().into_string().await.unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_client_that_has_the_document_gets_304_without_body() {
        let document = StaticDocument::new("text/plain", "sixty");
        let gzip = (header::ACCEPT_ENCODING, "gzip");
        let first = ask(&document, &[]).await;
        let (plain_tag, gzip_tag) = (
            first.header("etag").unwrap().to_owned(),
            ask(&document, std::slice::from_ref(&gzip)).await.header("etag").unwrap().to_owned(),
        );
        assert_ne!(plain_tag, gzip_tag);
        for known in [plain_tag.clone(), format!("W/{plain_tag}"), format!("\"other\", {plain_tag}"), "*".to_owned()] {
            let response = ask(&document, &[(header::IF_NONE_MATCH, &known)]).await;
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(response.header("etag"), Some(&*plain_tag));
            assert_eq!(response.header("cache-control"), Some(CACHE_CONTROL));
            assert_eq!(response.header("vary"), Some("accept-encoding"));
            assert!(response.into_body().into_vec().await.unwrap().is_empty());
        }
        assert_eq!(
            ask(&document, &[(header::IF_NONE_MATCH, &gzip_tag), gzip]).await.status(),
            StatusCode::NOT_MODIFIED
        );
        for other in [&gzip_tag, "\"other\"", "", "sixty"] {
            assert_eq!(ask(&document, &[(header::IF_NONE_MATCH, other)]).await.status(), StatusCode::OK, "{other}");
        }
    }
}
