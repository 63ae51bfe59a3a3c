//! Mailjet's Send API v3.1.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Body, Request, Response, handler};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::content::{MailContent, Mailbox};
use super::fault_injection::SendOutcome;
use super::inbox::{Mail, MailKey};
use super::mock::{MailMock, MailjetCredentials};
use super::wire::{self, RequestMailbox, null_is_default};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendRequest {
    /// Not yet deserialized: a message with a wrong type must not affect the other messages.
    #[serde(default, deserialize_with = "null_is_default")]
    messages: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageRequest {
    #[serde(default, deserialize_with = "null_is_default")]
    from: RequestMailbox,
    #[serde(default, deserialize_with = "null_is_default")]
    to: Vec<RequestMailbox>,
    #[serde(default, deserialize_with = "null_is_default")]
    subject: String,
    #[serde(default, deserialize_with = "null_is_default")]
    text_part: String,
    #[serde(default, rename = "HTMLPart", deserialize_with = "null_is_default")]
    html_part: String,
    #[serde(default, rename = "CustomID", deserialize_with = "null_is_default")]
    custom_id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    headers: BTreeMap<String, String>,
}

/// A validation error of a message, with Mailjet's error code.
struct ValidationError {
    code: &'static str,
    message: String,
    related_to: Vec<String>,
}

impl ValidationError {
    fn missing(field: &str) -> ValidationError {
        ValidationError { code: "mj-0003", message: format!("{field} is mandatory."), related_to: vec![field.into()] }
    }

    fn to_json(&self, identifier: Uuid) -> Value {
        json!({
            "ErrorIdentifier": identifier,
            "ErrorCode": self.code,
            "StatusCode": 400,
            "ErrorMessage": self.message,
            "ErrorRelatedTo": self.related_to,
        })
    }
}

impl MessageRequest {
    fn validate(&self) -> Vec<ValidationError> {
        let mut errors = Vec::new();
        let mut check = |mailbox: &RequestMailbox, field: String| {
            if mailbox.email.is_empty() {
                errors.push(ValidationError::missing(&field));
            } else if !mailbox.has_valid_email() {
                let message = format!("\"{}\" is an invalid email address.", mailbox.email);
                errors.push(ValidationError { code: "mj-0013", message, related_to: vec![field] });
            }
        };
        check(&self.from, "From.Email".into());
        for (index, mailbox) in self.to.iter().enumerate() {
            check(mailbox, format!("To[{index}].Email"));
        }
        if self.to.is_empty() {
            errors.push(ValidationError::missing("To"));
        }
        if self.text_part.is_empty() && self.html_part.is_empty() {
            let message = "At least \"HTMLPart\" or \"TextPart\" must be provided.".into();
            errors.push(ValidationError {
                code: "send-0003",
                message,
                related_to: vec!["TextPart".into(), "HTMLPart".into()],
            });
        }
        errors
    }
}

impl From<MessageRequest> for MailContent {
    fn from(message: MessageRequest) -> MailContent {
        MailContent {
            from: message.from.into(),
            to: message.to.into_iter().map(Mailbox::from).collect(),
            subject: message.subject,
            text: message.text_part,
            html: message.html_part,
            headers: message.headers,
        }
    }
}

/// `GET /v3/REST/sender`: the sender addresses of the account. The mock accepts every sender, and lists none.
#[handler]
pub(super) fn senders(request: &Request, mock: Data<&MailMock>) -> Response {
    if authorized(request.header("Authorization"), mock.mailjet()) {
        wire::json(StatusCode::OK, &json!({ "Count": 0, "Data": [], "Total": 0 }))
    } else {
        unauthorized()
    }
}

/// `POST /v3.1/send`
#[handler]
pub(super) async fn send(request: &Request, body: Body, mock: Data<&MailMock>) -> Response {
    let body = match wire::read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let authorized = authorized(request.header("Authorization"), mock.mailjet());
    let (key, trace) = (wire::idempotency_key(request), wire::traceparent(request));
    let host = request.header("Host").unwrap_or("localhost");
    let accept = || if authorized { accept_all(&mock, &body, key, trace, host) } else { refused(unauthorized()) };
    mock.with_faults(accept).await
}

/// Accepts each valid message. If one message is invalid, the status is 400; the body has the result of each message.
fn accept_all(mock: &MailMock, body: &[u8], key: Option<String>, trace: Option<String>, host: &str) -> SendOutcome {
    let messages = match serde_json::from_slice(body) {
        Ok(SendRequest { messages }) if messages.is_empty() => {
            return refused(malformed(mock, &ValidationError::missing("Messages")));
        }
        Ok(SendRequest { messages }) => messages,
        Err(error) => {
            let malformed_json =
                ValidationError { code: "mj-0002", message: format!("Malformed JSON: {error}."), related_to: vec![] };
            return refused(malformed(mock, &malformed_json));
        }
    };

    let (mut accepted, mut invalid) = (false, false);
    let results: Vec<Value> = messages
        .into_iter()
        .enumerate()
        .map(|(position, message)| {
            let key = key.clone().map(|value| MailKey { dialect: "mailjet", value, position });
            match accept_one(mock, message, key, trace.clone(), host) {
                Ok(success) => {
                    accepted = true;
                    success
                }
                Err(errors) => {
                    invalid = true;
                    let errors: Vec<_> = errors.iter().map(|error| error.to_json(mock.random_id())).collect();
                    json!({ "Status": "error", "Errors": errors })
                }
            }
        })
        .collect();

    let status = if invalid { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    SendOutcome { response: wire::json(status, &json!({ "Messages": results })), accepted }
}

fn accept_one(
    mock: &MailMock,
    message: Value,
    key: Option<MailKey>,
    trace: Option<String>,
    host: &str,
) -> Result<Value, Vec<ValidationError>> {
    let message: MessageRequest = serde_json::from_value(message).map_err(|error| {
        vec![ValidationError { code: "mj-0004", message: format!("Type mismatch: {error}."), related_to: vec![] }]
    })?;
    let errors = message.validate();
    if !errors.is_empty() {
        return Err(errors);
    }
    let custom_id = message.custom_id.clone();
    let mail = mock.accept(message.into(), key, trace);
    Ok(success(&mail, &custom_id, host))
}

fn success(mail: &Mail, custom_id: &str, host: &str) -> Value {
    let href = format!("http://{host}/api/v1/message/{}", mail.id);
    let to: Vec<Value> = mail
        .content
        .to
        .iter()
        .zip(0_u64..)
        .map(|(mailbox, index)| {
            json!({
                "Email": mailbox.address,
                "MessageUUID": Uuid::from_u128(mail.id.as_u128() ^ u128::from(index)),
                "MessageID": message_id(mail.id).wrapping_add(index),
                "MessageHref": href,
            })
        })
        .collect();
    json!({ "Status": "success", "CustomID": custom_id, "To": to, "Cc": [], "Bcc": [] })
}

/// Returns a numeric message id like Mailjet's. It has 52 bits, so that JSON parsers with doubles read it exactly.
fn message_id(id: Uuid) -> u64 {
    id.as_u64_pair().0 >> 12
}

fn authorized(header: Option<&str>, expected: Option<&MailjetCredentials>) -> bool {
    let pair = header
        .and_then(|header| header.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| BASE64_STANDARD.decode(encoded.trim()).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok());
    let Some((key, secret)) = pair.as_deref().and_then(|pair| pair.split_once(':')) else {
        return false;
    };
    match expected {
        Some(expected) => key == expected.key && secret == expected.secret.expose_secret(),
        None => !key.is_empty() && !secret.is_empty(),
    }
}

fn refused(response: Response) -> SendOutcome {
    SendOutcome { response, accepted: false }
}

fn unauthorized() -> Response {
    let body = json!({ "StatusCode": 401, "ErrorMessage": "API key authentication/authorization failure." });
    let mut response = wire::json(StatusCode::UNAUTHORIZED, &body);
    let challenge = HeaderValue::from_static("Basic realm=\"API key and secret key\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn malformed(mock: &MailMock, error: &ValidationError) -> Response {
    wire::json(StatusCode::BAD_REQUEST, &error.to_json(mock.random_id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_checked() {
        let basic = |pair: &str| Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        let check = |header: Option<String>, expected| authorized(header.as_deref(), expected);
        assert!(check(basic("key:secret"), None));
        assert!(check(Some(format!("bAsIc {}", BASE64_STANDARD.encode("k:s:t"))), None));
        for wrong in
            [None, basic("key:"), basic(":secret"), basic("key"), Some("Bearer x".into()), Some("Basic ?".into())]
        {
            assert!(!check(wrong.clone(), None), "{wrong:?}");
        }

        let configured = MailjetCredentials { key: "key".into(), secret: "secret".to_owned().into() };
        assert!(check(basic("key:secret"), Some(&configured)));
        assert!(!check(basic("key:other"), Some(&configured)));
    }
}
