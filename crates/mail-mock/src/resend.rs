//! Resend's API: `POST /emails`, `GET /domains`.

use std::collections::BTreeMap;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Request, Response, handler};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::fault_injection::SendOutcome;
use super::inbox::MailKey;
use super::keyed::{self, Invalid, KeyedApi, Parts, RequestIds, accepted, bearer, mailbox, refused};
use super::mock::MailMock;
use super::wire::{self, null_is_default};

struct Resend;

#[derive(Deserialize)]
struct Mail {
    from: String,
    to: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    subject: String,
    #[serde(default, deserialize_with = "null_is_default")]
    text: String,
    #[serde(default, deserialize_with = "null_is_default")]
    html: String,
    #[serde(default, deserialize_with = "null_is_default")]
    headers: BTreeMap<String, String>,
}

fn error(status: StatusCode, name: &str, message: &str) -> Response {
    wire::json(status, &json!({ "statusCode": status.as_u16(), "name": name, "message": message }))
}

impl KeyedApi for Resend {
    type Mail = Mail;

    /// Resend refuses requests without `User-Agent`.
    fn key(request: &Request) -> Option<&str> {
        request.header("User-Agent").and(bearer(request))
    }

    fn expected(mock: &MailMock) -> Option<&SecretString> {
        mock.keys().resend.as_ref()
    }

    fn unauthorized() -> Response {
        error(StatusCode::UNAUTHORIZED, "validation_error", "API key is invalid")
    }

    fn malformed(message: &str) -> Response {
        error(StatusCode::UNPROCESSABLE_ENTITY, "missing_required_field", message)
    }

    /// A second request with the same key gets the same id.
    fn accept(mock: &MailMock, mail: Mail, request: RequestIds) -> SendOutcome {
        let key = request.idempotency_key.map(|value| MailKey { dialect: "resend", value, position: 0 });
        let parts = Parts {
            from: mailbox(&mail.from),
            to: mail.to.iter().map(|text| mailbox(text)).collect(),
            subject: mail.subject,
            text: mail.text,
            html: mail.html,
            headers: mail.headers,
        };
        let invalid = |field: &str| {
            let message =
                format!("Invalid `{field}` field. The email address needs to follow the `email@example.com` format.");
            refused(error(StatusCode::UNPROCESSABLE_ENTITY, "validation_error", &message))
        };
        match parts.content() {
            Ok(content) => {
                let mail = mock.accept(content, key, request.traceparent);
                accepted(wire::json(StatusCode::OK, &json!({ "id": mail.id })))
            }
            Err(Invalid::Sender) => invalid("from"),
            Err(Invalid::Recipient) => invalid("to"),
        }
    }
}

/// `POST /emails`
#[handler]
pub(super) async fn send(request: &Request, body: Body, mock: Data<&MailMock>) -> Response {
    keyed::send::<Resend>(&mock, request, body).await
}

/// `GET /domains`: as a key answers that may only send.
#[handler]
pub(super) fn domains(request: &Request, mock: Data<&MailMock>) -> Response {
    let message = "This API key is restricted to only send emails";
    keyed::account::<Resend>(&mock, request, error(StatusCode::UNAUTHORIZED, "restricted_api_key", message))
}
