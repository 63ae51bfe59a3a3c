//! Which web pages elsewhere may use the API from a browser (Fetch, section 3.3 «CORS protocol»): none, unless named.
//!
//! The framework's middleware refuses requests of origins that are not named, a browser's own POST from /docs among
//! them; answers a preflight without knowing the path's methods; and leaves out `Vary` where it matters.

use std::str::FromStr;
use std::sync::Arc;

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};
use thiserror::Error;
use url::Url;

/// The origins whose pages may.
#[derive(Debug, Clone, Default)]
pub struct CorsOrigins(Arc<[HeaderValue]>);

#[derive(Debug, Error)]
#[error("must be origins such as https://app.example.com,http://localhost:3000")]
pub struct NoOrigins;

impl FromStr for CorsOrigins {
    type Err = NoOrigins;

    fn from_str(list: &str) -> Result<Self, NoOrigins> {
        let origins = list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
            let url: Url = item.parse().map_err(|_| NoOrigins)?;
            let origin = url.origin().ascii_serialization();
            // Nothing but the origin was written, if perhaps with a slash or in another case.
            let bare = ["http", "https"].contains(&url.scheme()) && url.as_str() == format!("{origin}/");
            HeaderValue::try_from(origin).ok().filter(|_| bare).ok_or(NoOrigins)
        });
        Ok(Self(origins.collect::<Result<_, _>>()?))
    }
}

/// What a page may send besides what any page may.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, X-Request-Id";
/// What a page may read of an answer besides what any page may.
const RESPONSE_HEADERS: &str = "Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id";

impl CorsOrigins {
    /// The origin of a request, if its page may use the API.
    pub fn allowed(&self, request: &Request) -> Option<HeaderValue> {
        let origin = request.headers().get(header::ORIGIN)?;
        self.0.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Lets the page read the answer. Without an origin it says to caches that the answer would differ for others.
    pub fn add_headers(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
        }
    }
}

/// Whether a browser asks if a page may send a request.
pub fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// It may, by these methods.
pub fn preflight(methods: String) -> Response {
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, methods)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
        // An hour, in which the browser asks no more.
        .header(header::ACCESS_CONTROL_MAX_AGE, 3600)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        let origins: CorsOrigins =
            "https://App.example.com/, http://localhost:3000,https://a.example:443".parse().unwrap();
        assert_eq!(*origins.0, ["https://app.example.com", "http://localhost:3000", "https://a.example"]);
        for list in ["*", "null", "app.example.com", "https://app.example.com/path", "https://u@a.example", "file:///"]
        {
            assert!(list.parse::<CorsOrigins>().is_err(), "{list}");
        }
    }
}
