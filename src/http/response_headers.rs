//! Response headers that every response gets: the request id, caching, and what browsers must not do.

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::path::Path;
use super::request_id::REQUEST_ID;

/// `Content-Security-Policy` of HTML pages: inline styles, and forms that post to this service. No scripts, no
/// requests, no frames. A page that needs more sets its own policy.
pub const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Adds the headers to a response. `path` is the matched path template; `is_api` is true for all paths below `/v1/`.
pub fn add(headers: &mut HeaderMap, request_id: &str, path: Option<&Path>, is_api: bool) {
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    let holds_token = path.is_some_and(Path::holds_token);
    if holds_token {
        // The token is a secret. `Referer` would send it to other sites.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    if is_api || holds_token {
        // No cache may store a response about an account (RFC 9111, section 5.2.2.5).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    add_page_headers(headers);
}

/// Adds the headers that HTML pages need: a content security policy, no `Referer`, no access by a page that opened it.
fn add_page_headers(headers: &mut HeaderMap) {
    let is_html = |content_type: &HeaderValue| content_type.as_bytes().starts_with(b"text/html");
    if !headers.get(header::CONTENT_TYPE).is_some_and(is_html) {
        return;
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let opener_policy = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener_policy, HeaderValue::from_static("same-origin"));
}
