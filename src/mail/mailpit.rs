//! The dialect of Mailpit's send API: `POST /api/v1/send`, whose response is `{"ID": …}`.

use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::provider::{Dialect, FromHeader};
use super::rendering::RenderedMail;

pub struct Mailpit;

impl Dialect for Mailpit {
    fn path(&self) -> &'static str {
        "api/v1/send"
    }

    fn write(
        &self,
        request: RequestBuilder,
        from: &FromHeader,
        mail: &RenderedMail,
        idempotency_key: Uuid,
    ) -> RequestBuilder {
        let (_, domain) = from.email.rsplit_once('@').unwrap_or_default();
        request.json(&json!({
            "From": { "Email": from.email, "Name": from.name },
            "To": [{ "Email": mail.to, "Name": "" }],
            "Subject": mail.subject,
            "Text": mail.text,
            "HTML": mail.html,
            "Headers": {
                // RFC 3834: tells vacation responders not to reply.
                "Auto-Submitted": "auto-generated",
                // Lets a mailbox recognise a second copy of the same mail.
                "Message-ID": format!("<{idempotency_key}@{domain}>"),
            },
        }))
    }

    fn mail_status(&self, status: StatusCode, body: &[u8]) -> Option<StatusCode> {
        (!status.is_success() || self.message_id(body).is_some()).then_some(status)
    }

    fn message_id(&self, body: &[u8]) -> Option<String> {
        parse_id(body)
    }

    fn account_settings(&self) -> &'static str {
        "MAIL_URL, with the key in it, and MAIL_FROM"
    }

    fn account_path(&self) -> &'static str {
        "api/v1/info"
    }
}

fn parse_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Accepted {
        #[serde(rename = "ID")]
        id: String,
    }
    serde_json::from_slice::<Accepted>(body).ok().map(|accepted| accepted.id).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_mail_and_its_headers() {
        let from = FromHeader { email: "no-reply@sixty.example".into(), name: "Sixty".into() };
        let mail =
            RenderedMail { to: "ada@example.com".into(), subject: "S".into(), text: "T".into(), html: "<p>T".into() };
        let request = Mailpit.write(reqwest::Client::new().post("http://mail.example"), &from, &mail, Uuid::nil());
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
    fn a_success_needs_an_id() {
        let status = |status, body: &[u8]| Mailpit.mail_status(status, body);
        assert_eq!(status(StatusCode::OK, br#"{"ID":"iAfZVVe2UQfNSG5BAjgYwa"}"#), Some(StatusCode::OK));
        for garbage in [&b""[..], b"OK", b"{}", br#"{"ID":""}"#, br#"{"Error":"no"}"#, b"<html>", b"[1]"] {
            assert_eq!(status(StatusCode::OK, garbage), None);
            assert_eq!(status(StatusCode::BAD_REQUEST, garbage), Some(StatusCode::BAD_REQUEST));
        }
    }
}
