//! The dialect of Brevo's API v3: `POST /v3/smtp/email`, the API key as a header.
//!
//! Brevo processes an idempotency key once in 30 minutes, which is the longest `MAIL_GIVE_UP`. The key stands among the headers
//! of the mail. A retry after a lost response is refused as `duplicate_parameter`: the mail was accepted before. Brevo does
//! not say whether a refused request uses its key up.
//!
//! Brevo has no field that turns tracking off for one mail. If the account tracks clicks, Brevo sees the "not me" token.

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Refusal, Verdict, seconds, secret_header};
use super::provider::FromHeader;
use super::rendering::RenderedMail;

/// The key of an account at Brevo.
#[derive(Clone)]
pub struct Brevo {
    pub api_key: SecretString,
}

impl Dialect for Brevo {
    fn path(&self) -> &'static str {
        "v3/smtp/email"
    }

    fn write(
        &self,
        request: RequestBuilder,
        from: &FromHeader,
        mail: &RenderedMail,
        idempotency_key: Uuid,
    ) -> RequestBuilder {
        self.authorize(request).json(&json!({
            "sender": from.json(),
            "to": [{ "email": mail.to }],
            "subject": mail.subject,
            "textContent": mail.text,
            "htmlContent": mail.html,
            "headers": { "idempotencyKey": idempotency_key, "Auto-Submitted": "auto-generated" },
        }))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        if answer.status.is_success() {
            return match serde_json::from_slice::<Accepted>(answer.body) {
                Ok(Accepted { message_id }) if !message_id.is_empty() => {
                    Verdict::Accepted { message_id: Some(message_id.trim_matches(['<', '>']).to_owned()) }
                }
                _ => Verdict::Unconfirmed,
            };
        }
        let refusal = serde_json::from_slice::<Refused>(answer.body).unwrap_or_default();
        // The key of this mail was used before: an earlier attempt was accepted, and its response was lost.
        if answer.status == StatusCode::BAD_REQUEST && refusal.code == "duplicate_parameter" {
            return Verdict::Accepted { message_id: None };
        }
        match Refusal::of(answer.status) {
            Refusal::Mail if !refusal.is_about_mail() => answer.refused_because_of(Refusal::Account),
            about => answer.refused_because_of(about),
        }
    }

    fn limit_reset(&self, headers: &HeaderMap) -> Option<Duration> {
        seconds(headers, "x-sib-ratelimit-reset")
    }

    fn name(&self) -> &'static str {
        "brevo"
    }

    fn credentials(&self) -> Option<&'static str> {
        Some("BREVO_API_KEY")
    }

    fn account_path(&self) -> &'static str {
        "v3/account"
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        secret_header(request.header(ACCEPT, "application/json"), "api-key", &self.api_key)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    message_id: String,
}

#[derive(Default, Deserialize)]
struct Refused {
    code: String,
    #[serde(default)]
    message: String,
}

impl Refused {
    /// Other codes, such as `not_enough_credits`, are about the account. A refused sender too: `MAIL_FROM` is the sender of
    /// every mail. A message with a recipient's address may contain the word by chance.
    fn is_about_mail(&self) -> bool {
        let names_sender = self.message.to_ascii_lowercase().contains("sender") && !self.message.contains('@')
            || self.message.starts_with("Sending has been rejected because the sender");
        ["invalid_parameter", "missing_parameter", "out_of_range"].contains(&&*self.code) && !names_sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::samples::{accepted, headers_of, refused, verdict, written};

    fn brevo() -> Brevo {
        Brevo { api_key: "key".into() }
    }

    // Responses from Brevo's documentation and from reports of its users.
    const SENT: &str = r#"{"messageId":"<201798300811.5787683@smtp-relay.sendinblue.com>"}"#;
    const INVALID_RECIPIENT: &str = r#"{"code":"invalid_parameter","message":"email is not valid in to"}"#;
    const RECIPIENT_NAMED_SENDER: &str = r#"{"code":"invalid_parameter","message":"sender@a is not a valid email"}"#;
    const MISSING_SENDER: &str = r#"{"code":"missing_parameter","message":"sender is missing"}"#;
    const INVALID_SENDER: &str = r#"{"code":"invalid_parameter","message":"Sending has been rejected because the sender
        you used a@b.example is not valid. Validate your sender or authenticate your domain"}"#;
    const DUPLICATE: &str = r#"{"code":"duplicate_parameter","message":"idempotencyKey is already used"}"#;
    const WRONG_KEY: &str = r#"{"message":"Key not found","code":"unauthorized"}"#;
    const UNKNOWN_IP: &str = r#"{"message":"We have detected you are using an unrecognised IP address 192.0.2.1. If you
        performed this action make sure to add the new IP address","code":"unauthorized"}"#;
    const NO_CREDITS: &str = r#"{"code":"not_enough_credits","message":"You do not have enough credits"}"#;
    const NOT_ACTIVATED: &str = r#"{"code":"permission_denied",
        "message":"Unable to send email. Your SMTP account is not yet activated."}"#;

    #[test]
    fn an_accepted_mail_has_an_id() {
        assert_eq!(verdict(&brevo(), 201, &[], SENT), accepted("201798300811.5787683@smtp-relay.sendinblue.com"));
        for garbage in ["", "OK", "{}", "<html>", r#"{"messageId":""}"#, r#"{"messageIds":[]}"#] {
            assert_eq!(verdict(&brevo(), 201, &[], garbage), Verdict::Unconfirmed, "{garbage}");
        }
    }

    #[test]
    fn a_key_that_was_used_before_belongs_to_an_accepted_mail() {
        assert_eq!(verdict(&brevo(), 400, &[], DUPLICATE), Verdict::Accepted { message_id: None });
        assert_eq!(verdict(&brevo(), 401, &[], DUPLICATE), refused(Refusal::Account, 401));
    }

    #[test]
    fn only_a_refused_recipient_is_permanent() {
        for (status, about, bodies) in [
            (400, Refusal::Mail, &[INVALID_RECIPIENT, RECIPIENT_NAMED_SENDER][..]),
            (400, Refusal::Account, &[MISSING_SENDER, INVALID_SENDER, NO_CREDITS, "", "<html>"]),
            (401, Refusal::Account, &[WRONG_KEY, UNKNOWN_IP]),
            (402, Refusal::Account, &[NO_CREDITS]),
            (403, Refusal::Account, &[NOT_ACTIVATED]),
            (429, Refusal::Temporary, &["", r#"{"code":"too_many_requests","message":"Too many requests"}"#]),
            (500, Refusal::Temporary, &[""]),
            (502, Refusal::Temporary, &["<html>"]),
        ] {
            for body in bodies {
                let body = body.replace('\n', "");
                assert_eq!(verdict(&brevo(), status, &[], &body), refused(about, status), "{status} {body}");
            }
        }
    }

    #[test]
    fn the_limit_ends_after_the_seconds_in_a_header() {
        let headers = headers_of(&[("x-sib-ratelimit-limit", "1000"), ("x-sib-ratelimit-reset", "45")]);
        assert_eq!(brevo().limit_reset(&headers), Some(Duration::from_secs(45)));
    }

    #[test]
    fn the_request_has_the_mail_and_its_headers() {
        let (headers, body) = written(&brevo());
        assert_eq!(headers["api-key"], "key");
        assert!(headers["api-key"].is_sensitive());
        insta::assert_json_snapshot!(body, @r#"
        {
          "sender": {
            "email": "no-reply@sixty.example",
            "name": "Sixty"
          },
          "to": [
            {
              "email": "ada@example.com"
            }
          ],
          "subject": "S",
          "textContent": "T",
          "htmlContent": "<p>T",
          "headers": {
            "idempotencyKey": "00000000-0000-0000-0000-000000000000",
            "Auto-Submitted": "auto-generated"
          }
        }
        "#);
    }
}
