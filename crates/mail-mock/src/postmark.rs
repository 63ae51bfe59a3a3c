//! Postmark's email API: `POST /email`, `GET /server`.

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Body, Request, Response, handler};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::fault_injection::SendOutcome;
use super::keyed::{self, Invalid, KeyedApi, Parts, RequestIds, accepted, mailbox, refused};
use super::mock::MailMock;
use super::wire::{self, null_is_default};

struct Postmark;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mail {
    from: String,
    to: String,
    #[serde(default, deserialize_with = "null_is_default")]
    subject: String,
    #[serde(default, deserialize_with = "null_is_default")]
    text_body: String,
    #[serde(default, deserialize_with = "null_is_default")]
    html_body: String,
    #[serde(default, deserialize_with = "null_is_default")]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Header {
    name: String,
    value: String,
}

fn error(status: StatusCode, code: u32, message: &str) -> Response {
    wire::json(status, &json!({ "ErrorCode": code, "Message": message }))
}

impl KeyedApi for Postmark {
    type Mail = Mail;

    fn key(request: &Request) -> Option<&str> {
        request.header("X-Postmark-Server-Token")
    }

    fn expected(mock: &MailMock) -> Option<&SecretString> {
        mock.keys().postmark.as_ref()
    }

    fn unauthorized() -> Response {
        error(StatusCode::UNAUTHORIZED, 10, "Bad or missing Server API token.")
    }

    fn malformed(message: &str) -> Response {
        error(StatusCode::UNPROCESSABLE_ENTITY, 402, message)
    }

    /// Postmark has no idempotency keys.
    fn accept(mock: &MailMock, mail: Mail, request: RequestIds) -> SendOutcome {
        let to = mail.to.clone();
        let parts = Parts {
            from: mailbox(&mail.from),
            to: mail.to.split(',').map(mailbox).collect(),
            subject: mail.subject,
            text: mail.text_body,
            html: mail.html_body,
            headers: mail.headers.into_iter().map(|header| (header.name, header.value)).collect(),
        };
        match parts.content() {
            Ok(content) => {
                let mail = mock.accept(content, None, request.traceparent);
                accepted(wire::json(
                    StatusCode::OK,
                    &json!({
                        "To": to, "SubmittedAt": mail.created, "MessageID": mail.id, "ErrorCode": 0, "Message": "OK",
                    }),
                ))
            }
            Err(Invalid::Sender) => {
                let message = "Invalid 'From' address: it is not a verified sender signature.";
                refused(error(StatusCode::UNPROCESSABLE_ENTITY, 300, message))
            }
            Err(Invalid::Recipient) => {
                let message = "You tried to send to recipient(s) that have been marked as inactive.";
                refused(error(StatusCode::UNPROCESSABLE_ENTITY, 406, message))
            }
        }
    }
}

/// `POST /email`
#[handler]
pub(super) async fn send(request: &Request, body: Body, mock: Data<&MailMock>) -> Response {
    keyed::send::<Postmark>(&mock, request, body).await
}

/// `GET /server`
#[handler]
pub(super) fn server(request: &Request, mock: Data<&MailMock>) -> Response {
    let server = wire::json(StatusCode::OK, &json!({ "ID": 1, "Name": "mock", "DeliveryType": "Sandbox" }));
    keyed::account::<Postmark>(&mock, request, server)
}
