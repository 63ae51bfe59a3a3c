//! Brevo's API v3: `POST /v3/smtp/email`, `GET /v3/account`.

use std::collections::BTreeMap;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Request, Response, handler};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::fault_injection::SendOutcome;
use super::inbox::MailKey;
use super::keyed::{self, Invalid, KeyedApi, Parts, RequestIds, accepted, refused};
use super::mock::MailMock;
use super::wire::{self, LowerCaseMailbox, null_is_default};

struct Brevo;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    sender: LowerCaseMailbox,
    to: Vec<LowerCaseMailbox>,
    #[serde(default, deserialize_with = "null_is_default")]
    subject: String,
    #[serde(default, deserialize_with = "null_is_default")]
    text_content: String,
    #[serde(default, deserialize_with = "null_is_default")]
    html_content: String,
    #[serde(default, deserialize_with = "null_is_default")]
    headers: BTreeMap<String, String>,
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    wire::json(status, &json!({ "code": code, "message": message }))
}

impl KeyedApi for Brevo {
    type Mail = Mail;

    fn key(request: &Request) -> Option<&str> {
        request.header("api-key")
    }

    fn expected(mock: &MailMock) -> Option<&SecretString> {
        mock.keys().brevo.as_ref()
    }

    fn unauthorized() -> Response {
        error(StatusCode::UNAUTHORIZED, "unauthorized", "Key not found")
    }

    fn malformed(message: &str) -> Response {
        error(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// A second request with the same key is refused.
    fn accept(mock: &MailMock, mut mail: Mail, request: RequestIds) -> SendOutcome {
        let key = mail.headers.remove("idempotencyKey").map(|value| MailKey { dialect: "brevo", value, position: 0 });
        let is_duplicate = key.as_ref().is_some_and(|key| mock.state().inbox.find_by_key(key).is_some());
        let parts = Parts {
            from: mail.sender.into(),
            to: mail.to.into_iter().map(Into::into).collect(),
            subject: mail.subject,
            text: mail.text_content,
            html: mail.html_content,
            headers: mail.headers,
        };
        let invalid = |message| refused(error(StatusCode::BAD_REQUEST, "invalid_parameter", message));
        match parts.content() {
            Ok(content) => {
                let mail = mock.accept(content, key, request.traceparent);
                if is_duplicate {
                    let message = "idempotencyKey was used before";
                    return refused(error(StatusCode::BAD_REQUEST, "duplicate_parameter", message));
                }
                let number = mail.id.as_u128() % 100_000_000_000;
                let minute: String = mail.created.chars().filter(char::is_ascii_digit).take(12).collect();
                let id = format!("<{minute}.{number:011}@smtp-relay.mailin.fr>");
                accepted(wire::json(StatusCode::CREATED, &json!({ "messageId": id })))
            }
            Err(Invalid::Sender) => invalid("sender is not valid"),
            Err(Invalid::Recipient) => invalid("email is not valid in to"),
        }
    }
}

/// `POST /v3/smtp/email`
#[handler]
pub(super) async fn send(request: &Request, body: Body, mock: Data<&MailMock>) -> Response {
    keyed::send::<Brevo>(&mock, request, body).await
}

/// `GET /v3/account`
#[handler]
pub(super) fn account(request: &Request, mock: Data<&MailMock>) -> Response {
    keyed::account::<Brevo>(&mock, request, wire::json(StatusCode::OK, &json!({ "companyName": "mock", "plan": [] })))
}
