//! The dialect of Mailjet's Send API v3.1: `POST /v3.1/send`, key and secret as Basic credentials.
//!
//! The response has a status for each message: a 200 may contain a refusal, and a 400 may contain a temporary failure.
//!
//! Mailjet has no idempotency keys. If the response to an accepted mail is lost, the retry delivers a second copy with the
//! same code. `CustomID` carries the key, so that an operator can recognise the attempts of one mail.

use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Refusal, Verdict};
use super::provider::FromHeader;
use super::rendering::RenderedMail;

/// The credentials of an account at Mailjet.
#[derive(Clone)]
pub struct Mailjet {
    pub key: String,
    pub secret: SecretString,
}

impl Dialect for Mailjet {
    fn path(&self) -> &'static str {
        "v3.1/send"
    }

    fn write(
        &self,
        request: RequestBuilder,
        from: &FromHeader,
        mail: &RenderedMail,
        idempotency_key: Uuid,
    ) -> RequestBuilder {
        self.authorize(request).json(&json!({
            "Messages": [{
                "From": { "Email": from.email, "Name": from.name },
                "To": [{ "Email": mail.to }],
                "Subject": mail.subject,
                "TextPart": mail.text,
                "HTMLPart": mail.html,
                "CustomID": idempotency_key,
                // Click tracking would replace the link, and give Mailjet the "not me" token in it.
                "TrackClicks": "disabled",
                "TrackOpens": "disabled",
                // No Message-ID: Mailjet sets its own, and refuses mails that have one.
                "Headers": { "Auto-Submitted": "auto-generated" },
            }],
        }))
    }

    fn verdict(&self, answer: &Answer<'_>) -> Verdict {
        match mail_status(answer.status, answer.body) {
            Some(status) if status.is_success() => Verdict::Accepted { message_id: message_id(answer.body) },
            Some(status) => {
                let about = match Refusal::of(status) {
                    Refusal::Mail if !is_about_mail(answer.body) => Refusal::Account,
                    about => about,
                };
                Verdict::Refused { about, status }
            }
            None => Verdict::Unconfirmed,
        }
    }

    fn name(&self) -> &'static str {
        "mailjet"
    }

    fn credentials(&self) -> Option<&'static str> {
        Some("MAILJET_API_KEY, MAILJET_API_SECRET")
    }

    fn account_path(&self) -> &'static str {
        "v3/REST/sender"
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.key, Some(self.secret.expose_secret()))
    }
}

/// Returns the outcome for this mail as an HTTP status: the status in the response body if it has one, otherwise the status of
/// the response. `None`: the response is a success whose body does not confirm it.
fn mail_status(status: StatusCode, body: &[u8]) -> Option<StatusCode> {
    let response_failure = (!status.is_success()).then_some(status);
    let Some(result) =
        serde_json::from_slice::<SendResponse>(body).ok().and_then(|response| response.messages.into_iter().next())
    else {
        return response_failure;
    };
    match result.status.as_str() {
        "success" if status.is_success() => Some(status),
        "error" => {
            let statuses = || result.errors.iter().filter_map(MessageError::status);
            let failures = || statuses().filter(|status| status.is_client_error() || status.is_server_error());
            let about = |refusal| failures().find(|status| Refusal::of(*status) == refusal);
            // An error about the mail makes every retry useless, so it takes precedence.
            about(Refusal::Mail).or_else(|| about(Refusal::Account)).or_else(|| failures().next()).or(response_failure)
        }
        _ => response_failure,
    }
}

/// Whether a refused request was refused because of its mail. A refusal of the whole request has no result for the message.
fn is_about_mail(body: &[u8]) -> bool {
    serde_json::from_slice::<SendResponse>(body).is_ok_and(|response| !response.messages.is_empty())
}

fn message_id(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let id = body.pointer("/Messages/0/To/0/MessageID")?;
    Some(id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendResponse {
    messages: Vec<MessageResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageResult {
    status: String,
    #[serde(default)]
    errors: Vec<MessageError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageError {
    #[serde(default)]
    status_code: u16,
    /// The properties of the message that caused the error, such as `["From"]`.
    #[serde(default)]
    error_related_to: Value,
}

impl MessageError {
    /// A refused sender is a refused account: `MAIL_FROM` is the sender of every mail.
    fn status(&self) -> Option<StatusCode> {
        let is_sender = |property: &Value| {
            property
                .as_str()
                .is_some_and(|path| path.split(['.', '[', ']']).any(|name| ["From", "Sender"].contains(&name)))
        };
        let properties = self.error_related_to.as_array().filter(|properties| !properties.is_empty());
        match properties.is_some_and(|properties| properties.iter().all(is_sender)) {
            true if self.status_code == 400 => Some(StatusCode::FORBIDDEN),
            _ => StatusCode::from_u16(self.status_code).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, body: &str) -> Option<u16> {
        mail_status(StatusCode::from_u16(status).unwrap(), body.as_bytes()).map(|status| status.as_u16())
    }

    // Responses from Mailjet's documentation and from bug reports of its users.
    const SUCCESS: &str = r#"{"Messages":[{"Status":"success","CustomID":"","To":[{"Email":"passenger1@mailjet.com",
        "MessageUUID":"cb927469-36fd-4c02-bce4-0d199929a207","MessageID":70650219165027410,
        "MessageHref":"https://api.mailjet.com/v3/REST/message/70650219165027410"}],"Cc":[],"Bcc":[]}]}"#;
    const NO_CONTENT: &str = r#"{"Messages":[{"Errors":[{"ErrorIdentifier":"88b5ca9f-5f1f-42e7-a45e-9ecbad0c285e",
        "ErrorCode":"send-0003","StatusCode":400,"ErrorRelatedTo":["HTMLPart","TextPart"],
        "ErrorMessage":"At least \"HTMLPart\", \"TextPart\" or \"TemplateID\" must be provided."}],"Status":"error"}]}"#;
    const UNKNOWN_SENDER: &str = r#"{"Messages":[{"Errors":[{"ErrorIdentifier":"c04ac4d7-1ebd-4c26-a663-ef304578aef7",
        "ErrorCode":"send-0008","StatusCode":403,"ErrorRelatedTo":["From"],
        "ErrorMessage":"\"a@b.example\" is not an authorized sender email address for your account."}],"Status":"error"}]}"#;
    const WRONG_KEY: &str = r#"{"ErrorIdentifier":"26d1af4f-2c3f-4e9a-96f7-60ab32470a13","StatusCode":401,
        "ErrorMessage":"API key authentication/authorization failure."}"#;
    const MALFORMED: &str = r#"{"ErrorIdentifier":"06df1144-c6f3-4ca7-8885-7ec5d4344113","ErrorCode":"mj-0002",
        "ErrorMessage":"Malformed JSON, please review the syntax and properties types.","StatusCode":400}"#;
    const BROKEN: &str = r#"{"ErrorIdentifier":"D4DF574C-0C5F-45C7-BA52-7AA8E533C3DE","StatusCode":500}"#;

    fn errors(statuses: &[u16]) -> String {
        let errors: Vec<_> =
            statuses.iter().map(|status| json!({ "ErrorCode": "mj-0001", "StatusCode": status })).collect();
        json!({ "Messages": [{ "Status": "error", "Errors": errors }] }).to_string()
    }

    #[test]
    fn only_a_refusal_with_a_result_for_the_message_is_about_the_mail() {
        assert!(is_about_mail(NO_CONTENT.as_bytes()));
        for body in [MALFORMED, WRONG_KEY, BROKEN, "", "{}", r#"{"Messages":[]}"#] {
            assert!(!is_about_mail(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn the_status_of_the_message_takes_precedence() {
        assert_eq!(status(200, SUCCESS), Some(200));
        for answered in [200, 400] {
            assert_eq!(status(answered, NO_CONTENT), Some(400));
            assert_eq!(status(answered, UNKNOWN_SENDER), Some(403));
            // A temporary error is retried, although a 400 by itself is permanent.
            for temporary in [429, 500, 503] {
                assert_eq!(status(answered, &errors(&[temporary])), Some(temporary));
            }
        }
    }

    #[test]
    fn a_permanent_error_takes_precedence_over_temporary_ones() {
        assert_eq!(status(400, &errors(&[429, 403])), Some(403));
        assert_eq!(status(200, &errors(&[0, 500])), Some(500));
    }

    #[test]
    fn a_refused_sender_is_a_refused_account() {
        let refused = |related: &str| NO_CONTENT.replace(r#"["HTMLPart","TextPart"]"#, related);
        for related in [r#"["From"]"#, r#"["Messages[0].From.Email"]"#, r#"["From","Sender"]"#] {
            assert_eq!(status(400, &refused(related)), Some(403), "{related}");
        }
        for related in [r#"["To"]"#, r#"["From","To"]"#, "[]", "null", r#""From""#] {
            assert_eq!(status(400, &refused(related)), Some(400), "{related}");
        }
    }

    #[test]
    fn the_message_id_is_in_the_result_of_the_message() {
        assert_eq!(message_id(SUCCESS.as_bytes()).as_deref(), Some("70650219165027410"));
        assert_eq!(message_id(b"{}"), None);
    }

    #[test]
    fn without_message_statuses_the_status_of_the_response_counts() {
        for (answered, body) in [(401, WRONG_KEY), (400, MALFORMED), (429, ""), (500, BROKEN), (502, "<html>")] {
            assert_eq!(status(answered, body), Some(answered));
        }
        assert_eq!(status(400, &errors(&[200])), Some(400));
    }

    #[test]
    fn a_success_without_a_successful_message_is_rejected() {
        let queued = SUCCESS.replace("success", "queued");
        for garbage in ["", "OK", "{}", r#"{"Messages":[]}"#, r#"{"ID":"1"}"#, "<html>", &queued, &errors(&[]), BROKEN]
        {
            assert_eq!(status(200, garbage), None, "{garbage}");
        }
    }

    #[test]
    fn the_request_has_the_mail_and_its_headers() {
        let mailjet = Mailjet { key: "key".into(), secret: "secret".into() };
        let from = FromHeader { email: "no-reply@sixty.example".into(), name: "Sixty".into() };
        let mail =
            RenderedMail { to: "ada@example.com".into(), subject: "S".into(), text: "T".into(), html: "<p>T".into() };
        let request = reqwest::Client::new().post("http://mail.example");
        let request = mailjet.write(request, &from, &mail, Uuid::nil()).build().unwrap();
        assert_eq!(request.headers()["authorization"], "Basic a2V5OnNlY3JldA==");
        let body: serde_json::Value = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
        insta::assert_json_snapshot!(body, @r#"
        {
          "Messages": [
            {
              "From": {
                "Email": "no-reply@sixty.example",
                "Name": "Sixty"
              },
              "To": [
                {
                  "Email": "ada@example.com"
                }
              ],
              "Subject": "S",
              "TextPart": "T",
              "HTMLPart": "<p>T",
              "CustomID": "00000000-0000-0000-0000-000000000000",
              "TrackClicks": "disabled",
              "TrackOpens": "disabled",
              "Headers": {
                "Auto-Submitted": "auto-generated"
              }
            }
          ]
        }
        "#);
    }
}
