//! Path templates: which request paths match one, and which methods it allows.

use poem::Response;
use poem::http::{Method, StatusCode, header};

/// A path template with the methods that it allows. A segment in braces matches any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    template: String,
    methods: Vec<Method>,
    is_probe: bool,
    holds_token: bool,
    has_options: bool,
}

impl Path {
    pub fn new(template: impl Into<String>, methods: Vec<Method>) -> Self {
        Self { template: template.into(), methods, is_probe: false, holds_token: false, has_options: true }
    }

    /// Marks a path that monitoring requests every few seconds. Its requests are logged at debug level.
    pub fn probe(self) -> Self {
        Self { is_probe: true, ..self }
    }

    /// Marks a path that contains a secret token. Its responses forbid caching and the `Referer` header.
    pub fn with_token(self) -> Self {
        Self { holds_token: true, ..self }
    }

    /// Refuses OPTIONS. A gateway may ask with its client's method, and lets the client's request through if the answer is a
    /// success.
    pub fn without_options(self) -> Self {
        Self { has_options: false, ..self }
    }

    pub fn template(&self) -> &str {
        &self.template
    }

    /// The template in the router's syntax: `:name` instead of `{name}`.
    pub fn router_pattern(&self) -> String {
        self.template.replace('{', ":").replace('}', "")
    }

    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    pub fn holds_token(&self) -> bool {
        self.holds_token
    }

    pub fn has_options(&self) -> bool {
        self.has_options
    }

    /// Whether a request path matches the whole template. Parameters match any segment that is not empty.
    pub fn matches(&self, path: &str) -> bool {
        let (mut template, mut path) = (self.template.split('/'), path.split('/'));
        loop {
            match (template.next(), path.next()) {
                (None, None) => return true,
                (Some(expected), Some(segment))
                    if expected == segment || (expected.starts_with('{') && !segment.is_empty()) => {}
                _ => return false,
            }
        }
    }

    /// The value of the `Allow` header (RFC 9110, section 10.2.1). GET implies HEAD, and almost every path allows OPTIONS.
    pub fn allow(&self) -> String {
        let options = self.has_options.then_some("OPTIONS");
        let mut methods: Vec<&str> = self.methods.iter().map(Method::as_str).chain(options).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }

    /// The response to OPTIONS (RFC 9110, section 9.3.7): `Allow`, and `Accept-Patch` (RFC 5789, section 3.1).
    pub fn options(&self) -> Response {
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, self.allow());
        if self.methods.contains(&Method::PATCH) {
            response = response.header("Accept-Patch", "application/json, application/merge-patch+json");
        }
        response.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_whole_paths_only() {
        let me = Path::new("/v1/users/me", vec![Method::GET]);
        assert!(me.matches("/v1/users/me"));
        assert!(!me.matches("/v1/users/me/") && !me.matches("/v1/users") && !me.matches("/V1/users/me"));
        let problem = Path::new("/problems/{name}", vec![Method::GET]);
        assert!(problem.matches("/problems/internal"));
        assert!(!problem.matches("/problems/") && !problem.matches("/problems/a/b"));
    }

    #[test]
    fn allow_lists_the_methods_with_head_and_options() {
        assert_eq!(Path::new("/", vec![Method::PUT, Method::GET]).allow(), "GET, HEAD, OPTIONS, PUT");
        assert_eq!(Path::new("/", vec![Method::GET]).without_options().allow(), "GET, HEAD");
    }
}
