//! The dialect of Resend's API: `POST /emails`, the API key as a bearer token.
//!
//! `Idempotency-Key` works for 24 hours: a retry after a lost response gets the id of the accepted mail, and no second copy is
//! sent. If the mail has changed since, for example by an upgrade, Resend answers `invalid_idempotent_request`: the mail was
//! accepted before.
//!
//! Tracking is a setting of the domain at Resend, and off by default.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Refusal, Verdict, seconds};
use super::provider::FromHeader;
use super::rendering::RenderedMail;

/// The key of a team at Resend.
#[derive(Clone)]
pub struct Resend {
    pub api_key: SecretString,
}

impl Dialect for Resend {
    fn path(&self) -> &'static str {
        "emails"
    }

    /// The provider sends the key in the header `Idempotency-Key`.
    fn write(
        &self,
        request: RequestBuilder,
        from: &FromHeader,
        mail: &RenderedMail,
        _idempotency_key: Uuid,
    ) -> RequestBuilder {
        self.authorize(request).json(&json!({
            "from": from.mailbox(),
            "to": [mail.to],
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "headers": { "Auto-Submitted": "auto-generated" },
        }))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        if answer.status.is_success() {
            return match serde_json::from_slice::<Accepted>(answer.body) {
                Ok(Accepted { id }) if !id.is_empty() => Verdict::Accepted { message_id: Some(id) },
                _ => Verdict::Unconfirmed,
            };
        }
        let refusal = serde_json::from_slice::<Refused>(answer.body).unwrap_or_default();
        let about = match (Refusal::of(answer.status), &*refusal.name) {
            // The key of this mail was used before, for a mail that was accepted.
            (Refusal::Mail, "invalid_idempotent_request") => return Verdict::Accepted { message_id: None },
            // The attempt before is still in progress at Resend.
            (Refusal::Mail, "concurrent_idempotent_requests") => Refusal::Temporary,
            (Refusal::Mail, "validation_error") if !refusal.names_account() => Refusal::Mail,
            // Another name is about the request, which is alike in all mails.
            (Refusal::Mail, _) => Refusal::Account,
            // Waiting for a day or a month does not help this mail.
            (Refusal::Temporary, "daily_quota_exceeded" | "monthly_quota_exceeded") => Refusal::Account,
            (about, _) => about,
        };
        answer.refused_because_of(about)
    }

    /// Resend sends `Retry-After` too.
    fn limit_reset(&self, headers: &HeaderMap) -> Option<Duration> {
        seconds(headers, "ratelimit-reset")
    }

    fn name(&self) -> &'static str {
        "resend"
    }

    fn credentials(&self) -> Option<&'static str> {
        Some("RESEND_API_KEY")
    }

    fn account_path(&self) -> &'static str {
        "domains"
    }

    /// A key that may only send is refused by this name, and an invalid key as an invalid field.
    fn account_status(&self, status: StatusCode, body: &[u8]) -> StatusCode {
        let refusal = serde_json::from_slice::<Refused>(body).unwrap_or_default();
        match &*refusal.name {
            "restricted_api_key" if status == StatusCode::UNAUTHORIZED => StatusCode::OK,
            "validation_error" if refusal.names_account() => StatusCode::UNAUTHORIZED,
            _ => status,
        }
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.api_key.expose_secret())
    }
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Default, Deserialize)]
struct Refused {
    name: String,
    #[serde(default)]
    message: String,
}

impl Refused {
    /// Whether an invalid field is the sender or the key. Compared at the start: a recipient's address may follow.
    fn names_account(&self) -> bool {
        ["Invalid `from`", "API key is invalid"].iter().any(|text| self.message.starts_with(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::samples::{accepted, headers_of, refused, verdict, written};

    fn resend() -> Resend {
        Resend { api_key: "re_key".into() }
    }

    // Responses from Resend's documentation and from its client libraries.
    const SENT: &str = r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#;
    const INVALID_RECIPIENT: &str = r#"{"statusCode":422,"name":"validation_error","message":"Invalid `to` field. The email
        address needs to follow the `email@example.com` or `Name <email@example.com>` format."}"#;
    const INVALID_SENDER: &str = r#"{"statusCode":422,"name":"validation_error","message":"Invalid `from` field. The email
        address needs to follow the `email@example.com` or `Name <email@example.com>` format."}"#;
    const INVALID_FROM: &str = r#"{"statusCode":422,"name":"invalid_from_address","message":"Invalid from field."}"#;
    const MISSING_FIELD: &str =
        r#"{"statusCode":422,"name":"missing_required_field","message":"Missing `html` field."}"#;
    const MISSING_KEY: &str = r#"{"statusCode":401,"name":"missing_api_key","message":"Missing API Key"}"#;
    const WRONG_KEY: &str = r#"{"statusCode":401,"name":"validation_error","message":"API key is invalid"}"#;
    const UNVERIFIED: &str = r#"{"statusCode":403,"name":"validation_error","message":"The example.com domain is not verified.
        Please, add and verify your domain on https://resend.com/domains"}"#;
    const CHANGED: &str = r#"{"statusCode":409,"name":"invalid_idempotent_request","message":"This idempotency key has been
        used with a different request payload."}"#;
    const IN_PROGRESS: &str = r#"{"statusCode":409,"name":"concurrent_idempotent_requests","message":"Same idempotency key
        used while original request is still in progress."}"#;
    const LIMIT: &str = r#"{"statusCode":429,"name":"rate_limit_exceeded","message":"Too many requests. You can only make 2
        requests per second."}"#;
    const QUOTA: &str = r#"{"statusCode":429,"name":"daily_quota_exceeded","message":"You have reached your daily email sending quota."}"#;

    #[test]
    fn an_accepted_mail_has_an_id() {
        assert_eq!(verdict(&resend(), 200, &[], SENT), accepted("49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"));
        for garbage in ["", "OK", "{}", "<html>", r#"{"id":""}"#, r#"{"data":[]}"#] {
            assert_eq!(verdict(&resend(), 200, &[], garbage), Verdict::Unconfirmed, "{garbage}");
        }
    }

    #[test]
    fn a_key_that_was_used_before_belongs_to_an_accepted_mail() {
        assert_eq!(verdict(&resend(), 409, &[], &CHANGED.replace('\n', "")), Verdict::Accepted { message_id: None });
    }

    #[test]
    fn only_a_refused_recipient_is_permanent() {
        for (status, about, bodies) in [
            (422, Refusal::Mail, &[INVALID_RECIPIENT][..]),
            (422, Refusal::Account, &[INVALID_SENDER, INVALID_FROM, MISSING_FIELD, "", "<html>"]),
            (400, Refusal::Account, &[WRONG_KEY]),
            (401, Refusal::Account, &[MISSING_KEY, WRONG_KEY]),
            (403, Refusal::Account, &[UNVERIFIED, "error code: 1010"]),
            (409, Refusal::Temporary, &[IN_PROGRESS]),
            (429, Refusal::Temporary, &[LIMIT]),
            (429, Refusal::Account, &[QUOTA]),
            (500, Refusal::Temporary, &[r#"{"statusCode":500,"name":"application_error","message":"Internal error"}"#]),
            (503, Refusal::Temporary, &["<html>"]),
        ] {
            for body in bodies {
                let body = body.replace('\n', "");
                assert_eq!(verdict(&resend(), status, &[], &body), refused(about, status), "{status} {body}");
            }
        }
    }

    #[test]
    fn the_limit_ends_after_the_seconds_in_a_header() {
        let headers = headers_of(&[("ratelimit-limit", "2"), ("ratelimit-reset", "1")]);
        assert_eq!(resend().limit_reset(&headers), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_key_that_may_only_send_passes_the_check() {
        const RESTRICTED: &str = r#"{"statusCode":401,"name":"restricted_api_key",
            "message":"This API key is restricted to only send emails"}"#;
        let check = |status, body: &str| {
            resend().account_status(StatusCode::from_u16(status).unwrap(), body.as_bytes()).as_u16()
        };
        assert_eq!(check(200, r#"{"data":[]}"#), 200);
        assert_eq!(check(401, RESTRICTED), 200);
        for status in [400, 401] {
            assert_eq!(check(status, WRONG_KEY), 401);
        }
        assert_eq!((check(401, MISSING_KEY), check(503, "")), (401, 503));
    }

    #[test]
    fn the_request_has_the_mail_and_its_headers() {
        let (headers, body) = written(&resend());
        assert_eq!(headers["authorization"], "Bearer re_key");
        insta::assert_json_snapshot!(body, @r#"
        {
          "from": "\"Sixty\" <no-reply@sixty.example>",
          "to": [
            "ada@example.com"
          ],
          "subject": "S",
          "text": "T",
          "html": "<p>T",
          "headers": {
            "Auto-Submitted": "auto-generated"
          }
        }
        "#);
    }
}
