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
pub struct CorsOrigins(Arc<[AllowedOrigin]>);

/// Origins in lower case.
#[derive(Debug, PartialEq, Eq)]
enum AllowedOrigin {
    One(String),
    /// All subdomains of a host: `https://*.example.com` has the scheme `https://` and the domain `.example.com`.
    Subdomains {
        scheme: String,
        domain: String,
    },
}

#[derive(Debug, Error)]
#[error(
    "must be origins such as https://app.example.com, https://*.example.com, http://localhost:3000 or capacitor://localhost"
)]
pub struct CorsOriginsError;

impl FromStr for CorsOrigins {
    type Err = CorsOriginsError;

    fn from_str(list: &str) -> Result<Self, CorsOriginsError> {
        let origins = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(Self(origins.map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl FromStr for AllowedOrigin {
    type Err = CorsOriginsError;

    fn from_str(text: &str) -> Result<Self, CorsOriginsError> {
        let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://").ok_or(CorsOriginsError)?;
        if !["http", "https"].contains(&scheme) {
            return is_app_origin(scheme, host).then_some(Self::One(origin)).ok_or(CorsOriginsError);
        }
        match host.strip_prefix("*.") {
            // The origins of a whole top-level domain would be everybody's.
            Some(domain) if domain.contains('.') || domain.split(':').next() == Some("localhost") => {
                let domain = web_origin(scheme, domain)?;
                let domain = domain.split_once("://").map_or("", |(_, domain)| domain);
                Ok(Self::Subdomains { scheme: format!("{scheme}://"), domain: format!(".{domain}") })
            }
            Some(_) => Err(CorsOriginsError),
            None => web_origin(scheme, host).map(Self::One),
        }
    }
}

/// Returns the origin in the form in which browsers send it: without a default port, and in ASCII.
fn web_origin(scheme: &str, host: &str) -> Result<String, CorsOriginsError> {
    let url: Url = format!("{scheme}://{host}").parse().map_err(|_| CorsOriginsError)?;
    let origin = url.origin().ascii_serialization();
    // The URL must contain nothing but the origin.
    let is_origin = url.as_str() == format!("{origin}/") && !host.contains(['*', '/', '@']);
    if is_origin { Ok(origin) } else { Err(CorsOriginsError) }
}

/// Whether an app with a browser inside may send this origin, such as `capacitor://localhost` or `tauri://localhost`.
fn is_app_origin(scheme: &str, host: &str) -> bool {
    // Pages with these schemes have the origin `null`, or are never the origin of a request.
    const NO_ORIGINS: [&str; 9] = ["file", "data", "blob", "about", "javascript", "mailto", "ftp", "ws", "wss"];
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._:".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme)
        && !NO_ORIGINS.contains(&scheme)
        && !host.is_empty()
        && host.bytes().all(is_host)
}

impl AllowedOrigin {
    fn allows(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        match self {
            Self::One(allowed) => origin == *allowed,
            Self::Subdomains { scheme, domain } => {
                let label = origin.strip_prefix(&**scheme).and_then(|host| host.strip_suffix(&**domain));
                label.is_some_and(|label| {
                    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                    !label.is_empty() && !label.starts_with('.') && label.bytes().all(is_label)
                })
            }
        }
    }
}

/// The request headers that a page may set, besides the CORS-safelisted ones. Tracing libraries add the last three.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Registration-Ticket, X-Request-Id, X-Requested-With, \
                               traceparent, tracestate, baggage";
/// The response headers that a page may read, besides the CORS-safelisted ones.
const RESPONSE_HEADERS: &str = "Accept, Accept-Encoding, Accept-Patch, Allow, Location, RateLimit, RateLimit-Policy, \
                                Registration-Ticket, Retry-After, WWW-Authenticate, X-Request-Id";

impl CorsOrigins {
    /// Returns the `Origin` of a request if it is allowed.
    pub fn allowed(&self, request: &Request) -> Option<HeaderValue> {
        let origin = request.headers().get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.0.iter().any(|allowed| allowed.allows(text)).then(|| origin.clone())
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
        let one = |origin: &str| AllowedOrigin::One(origin.to_owned());
        let list = "https://App.example.com/, http://localhost:3000,https://a.example:443,capacitor://localhost";
        let origins: CorsOrigins = list.parse().unwrap();
        let expected =
            ["https://app.example.com", "http://localhost:3000", "https://a.example", "capacitor://localhost"];
        assert_eq!(*origins.0, expected.map(one));
        for list in [
            "*",
            "null",
            "app.example.com",
            "https://app.example.com/path",
            "https://u@a.example",
            "file:///",
            "file://localhost",
            "capacitor://",
            "capacitor:localhost",
            "capacitor://local host",
            "capacitor://localhost/path",
            "1app://localhost",
            "https://*",
            "https://*.com",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://app*.example.com",
            "capacitor://*.localhost",
            "wss://app.example.com",
        ] {
            assert!(list.parse::<CorsOrigins>().is_err(), "{list}");
        }
    }

    #[test]
    fn origins_of_apps_and_of_subdomains_are_allowed() {
        for (allowed, origin, expected) in [
            ("capacitor://localhost", "capacitor://localhost", true),
            ("Tauri://Localhost", "tauri://localhost", true),
            ("app://obsidian.md", "app://obsidian.md", true),
            ("chrome-extension://abc", "chrome-extension://abc", true),
            ("capacitor://localhost", "http://localhost", false),
            ("https://*.example.com", "https://app.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.Example.com:8443", "https://app.example.com:8443", true),
            ("http://*.localhost:3000", "http://app.localhost:3000", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "http://app.example.com", false),
            ("https://*.example.com", "https://app.example.com:8443", false),
            ("https://*.example.com", "https://badexample.com", false),
            ("https://*.example.com", "https://evil.test/.example.com", false),
            ("https://*.example.com", "https://evil.test:80.example.com", false),
            ("https://*.example.com", "https://app.example.com.evil.test", false),
        ] {
            let allowed: AllowedOrigin = allowed.parse().unwrap();
            assert_eq!(allowed.allows(origin), expected, "{allowed:?} {origin}");
        }
    }
}
