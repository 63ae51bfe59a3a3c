//! The dialect of Mailpit's send API: `POST /api/v1/send`, answered by `{"ID": …}`.

use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::messages::Message;
use super::provider::{Dialect, Sender};

pub struct Mailpit;

impl Dialect for Mailpit {
    fn path(&self) -> &'static str {
        "api/v1/send"
    }

    fn write(&self, request: RequestBuilder, from: &Sender, message: &Message, key: Uuid) -> RequestBuilder {
        let (_, domain) = from.email.rsplit_once('@').unwrap_or_default();
        request.json(&json!({
            "From": { "Email": from.email, "Name": from.name },
            "To": [{ "Email": message.to, "Name": "" }],
            "Subject": message.subject,
            "Text": message.text,
            "HTML": message.html,
            "Headers": {
                // RFC 3834: no vacation responder should answer.
                "Auto-Submitted": "auto-generated",
                // A mailbox that gets a mail twice knows it by this.
                "Message-ID": format!("<{key}@{domain}>"),
            },
        }))
    }

    fn status(&self, status: StatusCode, body: &[u8]) -> Option<StatusCode> {
        (!status.is_success() || has_id(body)).then_some(status)
    }
}

fn has_id(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Accepted {
        #[serde(rename = "ID")]
        id: String,
    }
    serde_json::from_slice::<Accepted>(body).is_ok_and(|accepted| !accepted.id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request() {
        let from = Sender { email: "no-reply@sixty.example".into(), name: "Sixty".into() };
        let message = Message { to: "ada@example.com".into(), subject: "S", text: "T".into(), html: "<p>T".into() };
        let request = Mailpit.write(reqwest::Client::new().post("http://mail.example"), &from, &message, Uuid::nil());
        let request = request.build().unwrap();
        let body: serde_json::Value = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
        insta::assert_json_snapshot!(body, @r#"
        {
          "From": {
            "Email": "no-reply@sixty.example",
            "Name": "Sixty"
          },
          "To": [
            {
              "Email": "ada@example.com",
              "Name": ""
            }
          ],
          "Subject": "S",
          "Text": "T",
          "HTML": "<p>T",
          "Headers": {
            "Auto-Submitted": "auto-generated",
            "Message-ID": "<00000000-0000-0000-0000-000000000000@sixty.example>"
          }
        }
        "#);
    }

    #[test]
    fn only_an_id_is_an_acceptance() {
        let status = |status, body: &[u8]| Mailpit.status(status, body);
        assert_eq!(status(StatusCode::OK, br#"{"ID":"iAfZVVe2UQfNSG5BAjgYwa"}"#), Some(StatusCode::OK));
        for garbage in [&b""[..], b"OK", b"{}", br#"{"ID":""}"#, br#"{"Error":"no"}"#, b"<html>", b"[1]"] {
            assert_eq!(status(StatusCode::OK, garbage), None);
            assert_eq!(status(StatusCode::BAD_REQUEST, garbage), Some(StatusCode::BAD_REQUEST));
        }
    }
}
