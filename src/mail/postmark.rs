//! The dialect of Postmark's email API: `POST /email`, a server token as a header.
//!
//! Most refusals are a 422; `ErrorCode` in the body says what they are about.
//!
//! Postmark has no idempotency keys. If the response to an accepted mail is lost, the retry delivers a second copy with the
//! same code. The metadata carry the key, so that an operator can find all attempts of one mail.

use reqwest::header::ACCEPT;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Refusal, Verdict, secret_header};
use super::provider::FromHeader;
use super::rendering::RenderedMail;

/// The token of a server at Postmark.
#[derive(Clone)]
pub struct Postmark {
    pub server_token: SecretString,
}

impl Dialect for Postmark {
    fn path(&self) -> &'static str {
        "email"
    }

    fn write(
        &self,
        request: RequestBuilder,
        from: &FromHeader,
        mail: &RenderedMail,
        idempotency_key: Uuid,
    ) -> RequestBuilder {
        self.authorize(request).json(&json!({
            "From": from.mailbox(),
            "To": mail.to,
            "Subject": mail.subject,
            "TextBody": mail.text,
            "HtmlBody": mail.html,
            // The stream that every server has for mails of this kind.
            "MessageStream": "outbound",
            "Metadata": { "idempotency-key": idempotency_key },
            // Click tracking would replace the link, and give Postmark the "not me" token in it.
            "TrackLinks": "None",
            "TrackOpens": false,
            "Headers": [{ "Name": "Auto-Submitted", "Value": "auto-generated" }],
        }))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        let Ok(response) = serde_json::from_slice::<SendResponse>(answer.body) else {
            // A refusal without Postmark's body comes from something before Postmark, or its API has changed.
            return match Refusal::of(answer.status) {
                _ if answer.status.is_success() => Verdict::Unconfirmed,
                Refusal::Mail => answer.refused_because_of(Refusal::Account),
                about => answer.refused_because_of(about),
            };
        };
        match response.message_id {
            Some(id) if answer.status.is_success() && response.error_code == 0 && !id.is_empty() => {
                Verdict::Accepted { message_id: Some(id) }
            }
            _ if answer.status.is_success() && response.error_code == 0 => Verdict::Unconfirmed,
            _ => answer.refused_because_of(response.about(answer.status)),
        }
    }

    fn name(&self) -> &'static str {
        "postmark"
    }

    fn credentials(&self) -> Option<&'static str> {
        Some("POSTMARK_SERVER_TOKEN")
    }

    fn account_path(&self) -> &'static str {
        "server"
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        secret_header(request.header(ACCEPT, "application/json"), "X-Postmark-Server-Token", &self.server_token)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendResponse {
    error_code: u32,
    #[serde(default)]
    message: String,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
}

impl SendResponse {
    /// The codes are those of <https://postmarkapp.com/developer/api/overview#error-codes>. Most are about the account or the
    /// sender: a token, an unconfirmed sender signature, a pending approval, no credits, an unknown stream.
    fn about(&self, status: StatusCode) -> Refusal {
        // An invalid mail, which also means an invalid sender. Compared at the start: a recipient's address may follow.
        let names_sender = ["Invalid 'From'", "Error parsing 'From'"].iter().any(|text| self.message.starts_with(text));
        match self.error_code {
            // Maintenance, and the rate limit.
            100 | 429 => Refusal::Temporary,
            300 if !names_sender => Refusal::Mail,
            // An inactive recipient: an earlier mail bounced, or was reported as spam.
            406 => Refusal::Mail,
            _ if Refusal::of(status) == Refusal::Temporary => Refusal::Temporary,
            _ => Refusal::Account,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::samples::{accepted, refused, verdict, written};

    fn postmark() -> Postmark {
        Postmark { server_token: "token".into() }
    }

    // Responses from Postmark's documentation and its client libraries.
    const SENT: &str = r#"{"To":"receiver@example.com","SubmittedAt":"2014-02-17T07:25:01.4178645-05:00",
        "MessageID":"0a129aee-e1cd-480d-b08d-4f48548ff48d","ErrorCode":0,"Message":"OK"}"#;
    const INACTIVE: &str = r#"{"ErrorCode":406,"Message":"You tried to send to recipient(s) that have been marked as inactive.
        Found inactive addresses: ada@example.com. Inactive recipients are ones that have generated a hard bounce, a spam
        complaint, or a manual suppression."}"#;
    const ILLEGAL_RECIPIENT: &str =
        r#"{"ErrorCode":300,"Message":"Error parsing 'To': Illegal email domain ''From'' in address 'a@'From''."}"#;
    const ILLEGAL_SENDER: &str = r#"{"ErrorCode":300,
        "Message":"Invalid 'From' address: 'sender@example.com' is not a verified sender signature."}"#;
    const BAD_TOKEN: &str = r#"{"ErrorCode":10,"Message":"The Server Token you provided in the X-Postmark-Server-Token request header was invalid."}"#;
    const NO_SIGNATURE: &str = r#"{"ErrorCode":400,
        "Message":"The 'From' address you supplied (a@b.example) is not a Sender Signature on your account."}"#;
    const PENDING: &str = r#"{"ErrorCode":412,"Message":"While your account is pending approval, all recipient addresses
        must share the same domain as the 'From' address."}"#;
    const NO_CREDITS: &str = r#"{"ErrorCode":405,"Message":"Not allowed to send."}"#;
    const MAINTENANCE: &str = r#"{"ErrorCode":100,"Message":"The Postmark API is offline for maintenance."}"#;
    const RATE_LIMIT: &str = r#"{"ErrorCode":429,"Message":"Rate limit exceeded."}"#;

    #[test]
    fn an_accepted_mail_has_an_id() {
        let id = "0a129aee-e1cd-480d-b08d-4f48548ff48d";
        assert_eq!(verdict(&postmark(), 200, &[], SENT), accepted(id));
        for garbage in ["", "OK", "{}", "<html>", r#"{"ErrorCode":0,"Message":"OK"}"#, &SENT.replace(id, "")] {
            assert_eq!(verdict(&postmark(), 200, &[], garbage), Verdict::Unconfirmed, "{garbage}");
        }
    }

    #[test]
    fn the_error_code_says_what_a_refusal_is_about() {
        for (about, bodies) in [
            (Refusal::Mail, &[INACTIVE, ILLEGAL_RECIPIENT][..]),
            (Refusal::Account, &[ILLEGAL_SENDER, NO_SIGNATURE, PENDING, NO_CREDITS, BAD_TOKEN]),
            (Refusal::Temporary, &[MAINTENANCE, RATE_LIMIT]),
        ] {
            for body in bodies {
                let body = body.replace('\n', "");
                assert_eq!(verdict(&postmark(), 422, &[], &body), refused(about, 422), "{body}");
            }
        }
        assert_eq!(verdict(&postmark(), 401, &[], BAD_TOKEN), refused(Refusal::Account, 401));
        assert_eq!(verdict(&postmark(), 429, &[], RATE_LIMIT), refused(Refusal::Temporary, 429));
    }

    #[test]
    fn without_an_error_code_the_status_counts() {
        for (status, about) in [(401, Refusal::Account), (404, Refusal::Account), (422, Refusal::Account)] {
            assert_eq!(verdict(&postmark(), status, &[], "<html>"), refused(about, status));
        }
        for status in [429, 500, 502, 503] {
            assert_eq!(verdict(&postmark(), status, &[], ""), refused(Refusal::Temporary, status));
        }
        let broken = r#"{"ErrorCode":1000,"Message":"Internal server error"}"#;
        assert_eq!(verdict(&postmark(), 500, &[], broken), refused(Refusal::Temporary, 500));
    }

    #[test]
    fn the_request_has_the_mail_and_its_headers() {
        let (headers, body) = written(&postmark());
        assert_eq!(headers["x-postmark-server-token"], "token");
        assert!(headers["x-postmark-server-token"].is_sensitive());
        assert_eq!(headers["accept"], "application/json");
        insta::assert_json_snapshot!(body, @r#"
        {
          "From": "\"Sixty\" <no-reply@sixty.example>",
          "To": "ada@example.com",
          "Subject": "S",
          "TextBody": "T",
          "HtmlBody": "<p>T",
          "MessageStream": "outbound",
          "Metadata": {
            "idempotency-key": "00000000-0000-0000-0000-000000000000"
          },
          "TrackLinks": "None",
          "TrackOpens": false,
          "Headers": [
            {
              "Name": "Auto-Submitted",
              "Value": "auto-generated"
            }
          ]
        }
        "#);
    }
}
