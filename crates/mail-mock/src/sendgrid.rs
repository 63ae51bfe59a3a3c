//! SendGrid's Web API v3: `POST /v3/mail/send`, `GET /v3/scopes`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Request, Response, handler};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::fault_injection::SendOutcome;
use super::keyed::{self, Invalid, KeyedApi, Parts, RequestIds, accepted, bearer, refused};
use super::mock::MailMock;
use super::wire::{self, LowerCaseMailbox, RequestMailbox, null_is_default};

struct SendGrid;

#[derive(Deserialize)]
struct Mail {
    personalizations: Vec<Personalization>,
    from: LowerCaseMailbox,
    #[serde(default, deserialize_with = "null_is_default")]
    subject: String,
    content: Vec<Content>,
    #[serde(default, deserialize_with = "null_is_default")]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Personalization {
    to: Vec<LowerCaseMailbox>,
}

#[derive(Deserialize)]
struct Content {
    r#type: String,
    value: String,
}

fn error(status: StatusCode, field: Option<&str>, message: &str) -> Response {
    wire::json(status, &json!({ "errors": [{ "message": message, "field": field, "help": null }] }))
}

impl KeyedApi for SendGrid {
    type Mail = Mail;

    fn key(request: &Request) -> Option<&str> {
        bearer(request)
    }

    fn expected(mock: &MailMock) -> Option<&SecretString> {
        mock.keys().sendgrid.as_ref()
    }

    fn unauthorized() -> Response {
        let message = "The provided authorization grant is invalid, expired, or revoked";
        error(StatusCode::UNAUTHORIZED, None, message)
    }

    fn malformed(message: &str) -> Response {
        error(StatusCode::BAD_REQUEST, None, message)
    }

    /// SendGrid has no idempotency keys.
    fn accept(mock: &MailMock, mail: Mail, request: RequestIds) -> SendOutcome {
        let part = |kind: &str| {
            mail.content.iter().find(|content| content.r#type == kind).map(|it| it.value.clone()).unwrap_or_default()
        };
        let (text, html) = (part("text/plain"), part("text/html"));
        let parts = Parts {
            from: mail.from.into(),
            to: mail.personalizations.into_iter().flat_map(|it| it.to).map(RequestMailbox::from).collect(),
            subject: mail.subject,
            text,
            html,
            headers: mail.headers,
        };
        match parts.content() {
            Ok(content) => {
                let mail = mock.accept(content, None, request.traceparent);
                let id = BASE64_URL_SAFE_NO_PAD.encode(mail.id.as_bytes());
                accepted(Response::builder().status(StatusCode::ACCEPTED).header("X-Message-Id", id).finish())
            }
            Err(Invalid::Sender) => {
                let message = "The from address does not match a verified Sender Identity.";
                refused(error(StatusCode::FORBIDDEN, Some("from"), message))
            }
            Err(Invalid::Recipient) => {
                let field = Some("personalizations.0.to.0.email");
                refused(error(StatusCode::BAD_REQUEST, field, "Does not contain a valid address."))
            }
        }
    }
}

/// `POST /v3/mail/send`
#[handler]
pub(super) async fn send(request: &Request, body: Body, mock: Data<&MailMock>) -> Response {
    keyed::send::<SendGrid>(&mock, request, body).await
}

/// `GET /v3/scopes`
#[handler]
pub(super) fn scopes(request: &Request, mock: Data<&MailMock>) -> Response {
    keyed::account::<SendGrid>(&mock, request, wire::json(StatusCode::OK, &json!({ "scopes": ["mail.send"] })))
}
