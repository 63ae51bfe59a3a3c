//! The dialect of Mailpit's send API: `POST /api/v1/send`, whose response is `{"ID": …}`.

use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Verdict};
use super::provider::FromHeader;
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

    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        if !answer.status.is_success() {
            return answer.refused();
        }
        match parse_id(answer.body) {
            Some(id) => Verdict::Accepted { message_id: Some(id) },
            None => Verdict::Unconfirmed,
        }
    }

    fn name(&self) -> &'static str {
        "mailpit"
    }

    fn credentials(&self) -> Option<&'static str> {
        None
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
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::mail::dialect::Refusal;

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
        let verdict = |status, body: &[u8]| Mailpit.verdict(&Answer { status, headers: &HeaderMap::new(), body });
        let id = "iAfZVVe2UQfNSG5BAjgYwa";
        let accepted = Verdict::Accepted { message_id: Some(id.to_owned()) };
        assert_eq!(verdict(StatusCode::OK, format!(r#"{{"ID":"{id}"}}"#).as_bytes()), accepted);
        for garbage in [&b""[..], b"OK", b"{}", br#"{"ID":""}"#, br#"{"Error":"no"}"#, b"<html>", b"[1]"] {
            assert_eq!(verdict(StatusCode::OK, garbage), Verdict::Unconfirmed);
            let status = StatusCode::BAD_REQUEST;
            assert_eq!(verdict(status, garbage), Verdict::Refused { about: Refusal::Mail, status });
        }
    }
}
