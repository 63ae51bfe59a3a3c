//! CORS (Fetch Standard, section 3.3): which web pages of other origins may use the API. None by default.
//!
//! The framework's CORS middleware does not fit. It refuses requests of unlisted origins, including same-origin POST
//! requests of the page `/docs`. It does not know which methods a path allows, and it omits `Vary` on some responses.

use std::str::FromStr;
use std::sync::Arc;

use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};
use thiserror::Error;
use url::Url;

/// The origins whose pages may use the API.
#[derive(Debug, Clone, Default)]
pub struct CorsOrigins(Arc<[HeaderValue]>);

#[derive(Debug, Error)]
#[error("must be origins such as https://app.example.com,http://localhost:3000")]
pub struct CorsOriginsError;

impl FromStr for CorsOrigins {
    type Err = CorsOriginsError;

    fn from_str(list: &str) -> Result<Self, CorsOriginsError> {
        let origins = list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
            let url: Url = item.parse().map_err(|_| CorsOriginsError)?;
            let origin = url.origin().ascii_serialization();
            // The URL must contain nothing but the origin. A trailing slash and upper case are accepted.
            let is_origin = ["http", "https"].contains(&url.scheme()) && url.as_str() == format!("{origin}/");
            HeaderValue::try_from(origin).ok().filter(|_| is_origin).ok_or(CorsOriginsError)
        });
        Ok(Self(origins.collect::<Result<_, _>>()?))
    }
}

/// The request headers that a page may set, besides the CORS-safelisted ones.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Registration-Ticket, X-Request-Id";
/// The response headers that a page may read, besides the CORS-safelisted ones.
const RESPONSE_HEADERS: &str = "Location, RateLimit, RateLimit-Policy, Registration-Ticket, Retry-After, X-Request-Id";

impl CorsOrigins {
    /// Returns the `Origin` of a request if it is allowed.
    pub fn allowed(&self, request: &Request) -> Option<HeaderValue> {
        let origin = request.headers().get(header::ORIGIN)?;
        self.0.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Adds the CORS headers to a response. `origin` is the allowed origin of the request, if any.
    ///
    /// `Vary: Origin` is also added without an origin: a cache must not reuse that response for a request with one.
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

/// Whether a request is a CORS preflight.
pub fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The response to a preflight: a page may use `methods`, a comma-separated list.
pub fn preflight(methods: String) -> Response {
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, methods)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
        // The browser caches the permission for one hour.
        .header(header::ACCESS_CONTROL_MAX_AGE, 3600)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_normalized_and_other_urls_are_rejected() {
        let origins: CorsOrigins =
            "https://App.example.com/, http://localhost:3000,https://a.example:443".parse().unwrap();
        assert_eq!(*origins.0, ["https://app.example.com", "http://localhost:3000", "https://a.example"]);
        for list in ["*", "null", "app.example.com", "https://app.example.com/path", "https://u@a.example", "file:///"]
        {
            assert!(list.parse::<CorsOrigins>().is_err(), "{list}");
        }
    }
}
