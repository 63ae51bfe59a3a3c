//! The dialect of SendGrid's Web API v3: `POST /v3/mail/send`, the API key as a bearer token.
//!
//! The response to an accepted mail is 202 without a body; its id is the header `X-Message-Id`.
//!
//! SendGrid has no idempotency keys. If the response to an accepted mail is lost, the retry delivers a second copy with the
//! same code. `custom_args` carry the key to the event webhook, so that an operator can recognise the attempts of one mail.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Refusal, Verdict, until_epoch_seconds};
use super::provider::FromHeader;
use super::rendering::RenderedMail;

/// The key of an account at SendGrid.
#[derive(Clone)]
pub struct SendGrid {
    pub api_key: SecretString,
}

impl Dialect for SendGrid {
    fn path(&self) -> &'static str {
        "v3/mail/send"
    }

    fn write(
        &self,
        request: RequestBuilder,
        from: &FromHeader,
        mail: &RenderedMail,
        idempotency_key: Uuid,
    ) -> RequestBuilder {
        self.authorize(request).json(&json!({
            "personalizations": [{ "to": [{ "email": mail.to }] }],
            "from": from.json(),
            "subject": mail.subject,
            "content": [
                { "type": "text/plain", "value": mail.text },
                { "type": "text/html", "value": mail.html },
            ],
            "headers": { "Auto-Submitted": "auto-generated" },
            "custom_args": { "idempotency_key": idempotency_key },
            "tracking_settings": {
                // Click tracking would replace the link, and give SendGrid the "not me" token in it.
                "click_tracking": { "enable": false, "enable_text": false },
                "open_tracking": { "enable": false },
                "subscription_tracking": { "enable": false },
            },
        }))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        if answer.status.is_success() {
            let id = answer.headers.get("X-Message-Id").and_then(|id| id.to_str().ok()).map(str::trim);
            return match id {
                Some(id) if !id.is_empty() => Verdict::Accepted { message_id: Some(id.to_owned()) },
                _ => Verdict::Unconfirmed,
            };
        }
        match Refusal::of(answer.status) {
            Refusal::Mail if !is_about_mail(answer) => answer.refused_because_of(Refusal::Account),
            about => answer.refused_because_of(about),
        }
    }

    fn limit_reset(&self, headers: &HeaderMap) -> Option<Duration> {
        until_epoch_seconds(headers, "X-RateLimit-Reset")
    }

    fn name(&self) -> &'static str {
        "sendgrid"
    }

    fn credentials(&self) -> Option<&'static str> {
        Some("SENDGRID_API_KEY")
    }

    fn account_path(&self) -> &'static str {
        "v3/scopes"
    }

    /// Every key can read its own scopes.
    fn account_status(&self, status: StatusCode, body: &[u8]) -> StatusCode {
        #[derive(Deserialize)]
        struct Scopes {
            scopes: Vec<String>,
        }
        match serde_json::from_slice::<Scopes>(body) {
            Ok(Scopes { scopes }) if status.is_success() && !scopes.iter().any(|scope| scope == "mail.send") => {
                StatusCode::FORBIDDEN
            }
            _ => status,
        }
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.api_key.expose_secret())
    }
}

/// Whether an error names the recipient. Every other field is alike in all mails.
fn is_about_mail(answer: &Answer<'_>) -> bool {
    #[derive(Deserialize)]
    struct Refused {
        errors: Vec<FieldError>,
    }
    #[derive(Deserialize)]
    struct FieldError {
        field: Option<String>,
    }
    let names_recipient =
        |error: &FieldError| error.field.as_ref().is_some_and(|it| it.starts_with("personalizations"));
    answer.status == StatusCode::PAYLOAD_TOO_LARGE
        || serde_json::from_slice::<Refused>(answer.body)
            .is_ok_and(|refused| refused.errors.iter().any(names_recipient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::samples::{accepted, headers_of, refused, verdict, written};

    fn sendgrid() -> SendGrid {
        SendGrid { api_key: "SG.key".into() }
    }

    // Responses from SendGrid's documentation and from reports of its users.
    const INVALID_RECIPIENT: &str = r#"{"errors":[{"message":"Does not contain a valid address.",
        "field":"personalizations.0.to.0.email","help":"http://sendgrid.com/docs/#message.personalizations.to"}]}"#;
    const INVALID_SENDER: &str = r#"{"errors":[{"message":"The from email does not contain a valid address.","field":"from.email","help":null}]}"#;
    const UNVERIFIED_SENDER: &str = r#"{"errors":[{"message":"The from address does not match a verified Sender Identity. Mail
        cannot be sent until this error is resolved.","field":"from","help":null}]}"#;
    const WRONG_KEY: &str = r#"{"errors":[{"message":"The provided authorization grant is invalid, expired, or revoked",
        "field":null,"help":null}]}"#;
    const NO_CREDITS: &str = r#"{"errors":[{"message":"Maximum credits exceeded","field":null,"help":null}]}"#;
    const NO_PERMISSION: &str = r#"{"errors":[{"message":"access forbidden","field":null,"help":null}]}"#;
    const MALFORMED: &str = r#"{"errors":[{"message":"Bad Request","field":null,"help":null}]}"#;
    const LIMIT: &str = r#"{"errors":[{"field":null,"message":"too many requests"}]}"#;

    #[test]
    fn an_accepted_mail_has_an_id_in_a_header() {
        let id = "XBg2anf2TqCy6WXKQFhieQ";
        assert_eq!(verdict(&sendgrid(), 202, &[("x-message-id", id)], ""), accepted(id));
        for headers in [&[][..], &[("x-message-id", " ")]] {
            assert_eq!(verdict(&sendgrid(), 202, headers, ""), Verdict::Unconfirmed);
            assert_eq!(verdict(&sendgrid(), 200, headers, "<html>"), Verdict::Unconfirmed);
        }
    }

    #[test]
    fn only_a_refused_recipient_is_permanent() {
        for (status, about, bodies) in [
            (400, Refusal::Mail, &[INVALID_RECIPIENT][..]),
            (413, Refusal::Mail, &[""]),
            (400, Refusal::Account, &[INVALID_SENDER, MALFORMED, "", "<html>"]),
            (401, Refusal::Account, &[WRONG_KEY, NO_CREDITS]),
            (403, Refusal::Account, &[UNVERIFIED_SENDER, NO_PERMISSION]),
            (429, Refusal::Temporary, &[LIMIT]),
            (500, Refusal::Temporary, &[""]),
            (503, Refusal::Temporary, &["<html>"]),
        ] {
            for body in bodies {
                let body = body.replace('\n', "");
                assert_eq!(verdict(&sendgrid(), status, &[], &body), refused(about, status), "{status} {body}");
            }
        }
    }

    #[test]
    fn the_limit_ends_at_the_time_in_a_header() {
        let headers = [("x-ratelimit-reset", "1392815263"), ("date", "Wed, 19 Feb 2014 13:07:00 GMT")];
        assert_eq!(sendgrid().limit_reset(&headers_of(&headers)), Some(Duration::from_secs(43)));
    }

    #[test]
    fn a_key_that_may_not_send_is_refused_by_the_check() {
        let check =
            |status, body: &str| sendgrid().account_status(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(check(200, r#"{"scopes":["mail.batch.create","mail.send"]}"#), StatusCode::OK);
        assert_eq!(check(200, r#"{"scopes":["stats.read"]}"#), StatusCode::FORBIDDEN);
        assert_eq!(check(401, WRONG_KEY), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn the_request_has_the_mail_and_its_headers() {
        let (headers, body) = written(&sendgrid());
        assert_eq!(headers["authorization"], "Bearer SG.key");
        insta::assert_json_snapshot!(body, @r#"
        {
          "personalizations": [
            {
              "to": [
                {
                  "email": "ada@example.com"
                }
              ]
            }
          ],
          "from": {
            "email": "no-reply@sixty.example",
            "name": "Sixty"
          },
          "subject": "S",
          "content": [
            {
              "type": "text/plain",
              "value": "T"
            },
            {
              "type": "text/html",
              "value": "<p>T"
            }
          ],
          "headers": {
            "Auto-Submitted": "auto-generated"
          },
          "custom_args": {
            "idempotency_key": "00000000-0000-0000-0000-000000000000"
          },
          "tracking_settings": {
            "click_tracking": {
              "enable": false,
              "enable_text": false
            },
            "open_tracking": {
              "enable": false
            },
            "subscription_tracking": {
              "enable": false
            }
          }
        }
        "#);
    }
}
