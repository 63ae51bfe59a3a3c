//! The routes of the mock.

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoEndpoint, Response, Route, RouteMethod, get, handler, post};

use super::mock::MailMock;
use super::{access, brevo, fault_injection, long_poll, mailjet, mailpit, page, postmark, resend, sendgrid, wire};

impl MailMock {
    /// Returns all routes. Every error response is JSON, `{"Error": …}`, including those for a wrong path or method.
    ///
    /// The fault `drop_rate` fails the connection with an I/O error. The server must expect the error and keep running.
    pub fn endpoint(&self) -> BoxEndpoint<'static, Response> {
        let route = Route::new()
            .at("/", methods("GET, HEAD", get(page::inbox)))
            .at("/inbox.css", methods("GET, HEAD", get(page::style)))
            .at("/inbox.js", methods("GET, HEAD", get(page::script)))
            .at("/faults.js", methods("GET, HEAD", get(page::faults_script)))
            .at("/api/inbox", methods("GET, HEAD", get(long_poll::inbox)))
            .at("/view/:name", methods("GET, HEAD", get(page::part)))
            .at("/livez", methods("GET, HEAD", get(livez)))
            .at("/api/faults", methods("GET, HEAD, PUT", get(fault_injection::show).put(fault_injection::replace)))
            .at("/api/v1/send", methods("POST", post(mailpit::send)))
            .at("/api/v1/info", methods("GET, HEAD", get(mailpit::info)))
            .at("/api/v1/messages", methods("DELETE, GET, HEAD", get(mailpit::list).delete(mailpit::delete)))
            .at("/api/v1/search", methods("GET, HEAD", get(mailpit::search)))
            .at("/api/v1/message/:id", methods("GET, HEAD", get(mailpit::show)))
            .at("/v3/REST/sender", methods("GET, HEAD", get(mailjet::senders)))
            .at("/v3.1/send", methods("POST", post(mailjet::send)))
            .at("/server", methods("GET, HEAD", get(postmark::server)))
            .at("/email", methods("POST", post(postmark::send)))
            .at("/v3/account", methods("GET, HEAD", get(brevo::account)))
            .at("/v3/smtp/email", methods("POST", post(brevo::send)))
            .at("/v3/scopes", methods("GET, HEAD", get(sendgrid::scopes)))
            .at("/v3/mail/send", methods("POST", post(sendgrid::send)))
            .at("/domains", methods("GET, HEAD", get(resend::domains)))
            .at("/emails", methods("POST", post(resend::send)));
        let mock = self.clone();
        route
            .around(move |endpoint, request| {
                let mock = mock.clone();
                async move {
                    match access::refusal(&request, mock.hosts()) {
                        None => endpoint.call(request).await,
                        Some(refusal) => Ok(refusal),
                    }
                }
            })
            .data(self.clone())
            .catch_all_error(json_error)
            .boxed()
    }
}

#[handler]
fn livez() -> &'static str {
    "ok"
}

/// Answers other methods than those of `methods` with 405 and the header `Allow`.
fn methods(allow: &'static str, methods: RouteMethod) -> impl IntoEndpoint<Endpoint: 'static> {
    methods.into_endpoint().after(move |result| async move {
        match result {
            Err(error) if error.status() == StatusCode::METHOD_NOT_ALLOWED => {
                let mut response = wire::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                Ok(response)
            }
            other => other,
        }
    })
}

async fn json_error(error: poem::Error) -> Response {
    let status = error.status();
    wire::error(status, status.canonical_reason().unwrap_or("error"))
}
