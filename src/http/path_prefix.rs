//! The path of `PUBLIC_URL`: a reverse proxy removes it from requests, so responses must add it to the URLs that they name.

use std::sync::Arc;

use poem::http::{HeaderValue, header};
use poem::{Endpoint, Request, Response};
use serde_json::Value;
use url::Url;

use super::problem;

/// The path of `PUBLIC_URL` without the slash at its end. Empty if it is `/`, or without `PUBLIC_URL`.
#[derive(Debug, Clone, Default)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    pub fn of(public_url: Option<&Url>) -> Self {
        Self(public_url.map_or("", |url| url.path().trim_end_matches('/')).into())
    }

    /// Adds the prefix to the paths of this service that are values in a document: a problem's `type`, and `Location`.
    pub fn add_to_values(&self, document: &mut Value) {
        match document {
            Value::String(text) if text.starts_with("/problems/") || text.starts_with("/v1/") => {
                text.insert_str(0, &self.0);
            }
            Value::Object(members) => members.values_mut().for_each(|value| self.add_to_values(value)),
            Value::Array(items) => items.iter_mut().for_each(|value| self.add_to_values(value)),
            _ => {}
        }
    }
}

/// Middleware: adds the prefix to `Location` and to the `type` of a problem.
pub async fn add<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    PathPrefix(prefix): PathPrefix,
) -> poem::Result<Response> {
    let mut response = endpoint.call(request).await?;
    if prefix.is_empty() {
        return Ok(response);
    }
    let headers = response.headers_mut();
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    if let Some(path) = location.filter(|location| location.starts_with('/')) {
        let location = HeaderValue::try_from(format!("{prefix}{path}")).expect("a URL's path is visible ASCII");
        headers.insert(header::LOCATION, location);
    }
    if headers.get(header::CONTENT_TYPE).is_some_and(|media_type| media_type == problem::MEDIA_TYPE) {
        let body = response.take_body().into_string().await.unwrap_or_default();
        // `type` is the first member of every problem.
        response.set_body(body.replacen("\"/problems/", &format!("\"{prefix}/problems/"), 1));
    }
    Ok(response)
}
