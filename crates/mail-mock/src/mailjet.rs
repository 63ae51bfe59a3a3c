//! Mailjet's dialect: Send API v3.1.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Body, Request, Response, handler};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::faults::Outcome;
use super::inbox::{Key, Letter, Mail, Mailbox};
use super::wire::{self, Person, null_is_default};
use super::{MailMock, idempotency_key, traceparent};

/// The pair that a sender must present.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The API key, sent as the user name.
    pub key: String,
    /// The secret key, sent as the password.
    pub secret: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendRequest {
    /// Read one by one, so that a message of the wrong shape spoils its own answer only.
    #[serde(default, deserialize_with = "null_is_default")]
    messages: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default, deserialize_with = "null_is_default")]
    from: Person,
    #[serde(default, deserialize_with = "null_is_default")]
    to: Vec<Person>,
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

/// One thing that is wrong with a message, in Mailjet's terms.
struct Flaw {
    code: &'static str,
    message: String,
    related_to: Vec<String>,
}

impl Flaw {
    fn missing(field: &str) -> Flaw {
        Flaw { code: "mj-0003", message: format!("{field} is mandatory."), related_to: vec![field.into()] }
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

impl Message {
    fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        let mut check = |person: &Person, field: String| {
            if person.email.is_empty() {
                flaws.push(Flaw::missing(&field));
            } else if !person.has_valid_email() {
                let message = format!("\"{}\" is an invalid email address.", person.email);
                flaws.push(Flaw { code: "mj-0013", message, related_to: vec![field] });
            }
        };
        check(&self.from, "From.Email".into());
        for (index, person) in self.to.iter().enumerate() {
            check(person, format!("To[{index}].Email"));
        }
        if self.to.is_empty() {
            flaws.push(Flaw::missing("To"));
        }
        if self.text_part.is_empty() && self.html_part.is_empty() {
            let message = "At least \"HTMLPart\" or \"TextPart\" must be provided.".into();
            flaws.push(Flaw { code: "send-0003", message, related_to: vec!["TextPart".into(), "HTMLPart".into()] });
        }
        flaws
    }
}

impl From<Message> for Letter {
    fn from(message: Message) -> Letter {
        Letter {
            from: message.from.into(),
            to: message.to.into_iter().map(Mailbox::from).collect(),
            subject: message.subject,
            text: message.text_part,
            html: message.html_part,
            headers: message.headers,
        }
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
    let (key, trace) = (idempotency_key(request), traceparent(request));
    let host = request.header("Host").unwrap_or("localhost");
    let take = || if authorized { take(&mock, &body, key, trace, host) } else { refused(unauthorized()) };
    mock.under_faults(take).await
}

/// Takes each message that is in order. One that is not makes the whole answer 400, which is why each says how it fared.
fn take(mock: &MailMock, body: &[u8], key: Option<String>, trace: Option<String>, host: &str) -> Outcome {
    let messages = match serde_json::from_slice(body) {
        Ok(SendRequest { messages }) if messages.is_empty() => {
            return refused(malformed(mock, &Flaw::missing("Messages")));
        }
        Ok(SendRequest { messages }) => messages,
        Err(error) => {
            let flaw = Flaw { code: "mj-0002", message: format!("Malformed JSON: {error}."), related_to: vec![] };
            return refused(malformed(mock, &flaw));
        }
    };

    let (mut taken, mut flawed) = (false, false);
    let answers: Vec<Value> = messages
        .into_iter()
        .enumerate()
        .map(|(position, message)| {
            let key = key.clone().map(|value| Key { dialect: "mailjet", value, position });
            match take_one(mock, message, key, trace.clone(), host) {
                Ok(success) => {
                    taken = true;
                    success
                }
                Err(flaws) => {
                    flawed = true;
                    let errors: Vec<_> = flaws.iter().map(|flaw| flaw.to_json(mock.draw_id())).collect();
                    json!({ "Status": "error", "Errors": errors })
                }
            }
        })
        .collect();

    let status = if flawed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Outcome { response: wire::json(status, &json!({ "Messages": answers })), taken }
}

fn take_one(
    mock: &MailMock,
    message: Value,
    key: Option<Key>,
    trace: Option<String>,
    host: &str,
) -> Result<Value, Vec<Flaw>> {
    let message: Message = serde_json::from_value(message).map_err(|error| {
        vec![Flaw { code: "mj-0004", message: format!("Type mismatch: {error}."), related_to: vec![] }]
    })?;
    let flaws = message.flaws();
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let custom_id = message.custom_id.clone();
    let mail = mock.take(message.into(), key, trace);
    Ok(success(&mail, &custom_id, host))
}

fn success(mail: &Mail, custom_id: &str, host: &str) -> Value {
    let href = format!("http://{host}/api/v1/message/{}", mail.id);
    let to: Vec<Value> = mail
        .letter
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

/// Mailjet numbers its messages. 52 bits, so that a reader that keeps numbers as doubles gets them whole.
fn message_id(id: Uuid) -> u64 {
    id.as_u64_pair().0 >> 12
}

fn authorized(header: Option<&str>, expected: Option<&Credentials>) -> bool {
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

fn refused(response: Response) -> Outcome {
    Outcome { response, taken: false }
}

fn unauthorized() -> Response {
    let body = json!({ "StatusCode": 401, "ErrorMessage": "API key authentication/authorization failure." });
    let mut response = wire::json(StatusCode::UNAUTHORIZED, &body);
    let challenge = HeaderValue::from_static("Basic realm=\"API key and secret key\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn malformed(mock: &MailMock, flaw: &Flaw) -> Response {
    wire::json(StatusCode::BAD_REQUEST, &flaw.to_json(mock.draw_id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let basic = |pair: &str| Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        let check = |header: Option<String>, expected| authorized(header.as_deref(), expected);
        assert!(check(basic("key:secret"), None));
        assert!(check(Some(format!("bAsIc {}", BASE64_STANDARD.encode("k:s:t"))), None));
        for wrong in
            [None, basic("key:"), basic(":secret"), basic("key"), Some("Bearer x".into()), Some("Basic ?".into())]
        {
            assert!(!check(wrong.clone(), None), "{wrong:?}");
        }

        let configured = Credentials { key: "key".into(), secret: "secret".to_owned().into() };
        assert!(check(basic("key:secret"), Some(&configured)));
        assert!(!check(basic("key:other"), Some(&configured)));
    }
}
