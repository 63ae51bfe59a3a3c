//! HTTP answers, each checked against RFC 9457 and the OpenAPI document when it arrives.

use std::sync::{Arc, OnceLock};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// The status, header fields and body of an HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    /// JSON; a string for HTML and YAML; `null` for an empty body.
    pub body: Value,
}

impl Answer {
    /// Sends the request. Panics if the answer breaks RFC 9457 or the OpenAPI document does not declare the answer.
    pub async fn of(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let has_media_type = |media_type: &str| {
            headers.get("content-type").is_some_and(|value| value.to_str().unwrap().starts_with(media_type))
        };
        let body = match &*text {
            "" => Value::Null,
            text if has_media_type("text/html") || has_media_type("application/yaml") => text.into(),
            json => serde_json::from_str(json).unwrap(),
        };
        // The "not me" page answers errors in HTML, because people open it from a mail.
        let is_not_me_page = has_media_type("text/html") && path.starts_with("/not-me/");
        let answer = Self { status, headers, body };
        if (status.is_client_error() || status.is_server_error()) && !is_not_me_page {
            answer.assert_problem_details();
        }
        answer.assert_declared(&method, &path);
        answer
    }

    /// Asserts that the OpenAPI document declares this status and problem type for the operation.
    fn assert_declared(&self, method: &Method, path: &str) {
        static DOCUMENT: OnceLock<Value> = OnceLock::new();
        let document = DOCUMENT.get_or_init(|| serde_json::from_str(&sixty::app::document().json()).unwrap());
        let path = match path.strip_prefix("/v1/users/") {
            Some(rest) => match rest.split_once('/').unwrap_or((rest, "")) {
                ("" | "me", _) => path.to_owned(),
                (_, "") => "/v1/users/{id}".to_owned(),
                (_, step) => format!("/v1/users/{{id}}/{step}"),
            },
            None => path.to_owned(),
        };
        let operation = &document["paths"][&path][method.as_str().to_lowercase()];
        if operation.is_null() {
            return;
        }
        let (status, problem_type) = self.outcome();
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{method} {path} does not declare {status}");
        if !problem_type.is_empty() {
            let examples = &response["content"]["application/problem+json"]["examples"];
            assert!(examples[problem_type].is_object(), "{method} {path} does not declare {problem_type}");
        }
    }

    /// Asserts what RFC 9457 and the OpenAPI document require of every error.
    fn assert_problem_details(&self) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status.as_u16(), "{self:?}");
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        assert!(self.body["type"].as_str().unwrap().starts_with("/problems/"), "{self:?}");
        match self.status.as_u16() {
            // For web pages' scripts, the scheme is `xBasic`.
            401 => assert!(self.header("www-authenticate").ends_with(r#"Basic realm="sixty", charset="UTF-8""#)),
            405 => assert!(!self.header("allow").is_empty()),
            429 | 503 => assert_eq!(self.header("retry-after"), self.body["retry_after"].to_string()),
            _ => {}
        }
    }

    /// Returns the value of a header field, or the empty string if the field is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the status and the name of the problem type. The name is empty if the answer is not a problem.
    pub fn outcome(&self) -> (u16, &str) {
        let problem_type = self.body["type"].as_str().and_then(|uri| uri.strip_prefix("/problems/"));
        (self.status.as_u16(), problem_type.unwrap_or_default())
    }

    /// Returns the JSON Pointers in `errors` of an invalid-field problem.
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }
}

/// Starts `n` requests at the same instant. `request` receives each request's index. Returns the answers by index.
pub async fn concurrently<F, Fut>(n: usize, request: F) -> Vec<Answer>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let barrier = Arc::new(tokio::sync::Barrier::new(n));
    let tasks: Vec<_> = (0..n)
        .map(|i| {
            let (barrier, request) = (Arc::clone(&barrier), request(i));
            tokio::spawn(async move {
                barrier.wait().await;
                request.await
            })
        })
        .collect();
    futures_util::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}
