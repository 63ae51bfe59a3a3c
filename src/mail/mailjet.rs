//! The dialect of Mailjet's Send API v3.1: `POST /v3.1/send`, key and secret as Basic credentials.
//!
//! The answer speaks of each message by itself, so a 200 may hold a refusal, and a 400 one that will pass. Mailjet knows
//! no idempotency key: `CustomID` carries ours, so that an operator can tell a mail's attempts from two mails, and a mail
//! whose acceptance was lost arrives twice, with the same code.

use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::messages::Message;
use super::provider::{self, Dialect, Sender};

/// An account at Mailjet, to its API.
#[derive(Clone)]
pub struct Mailjet {
    pub key: String,
    pub secret: SecretString,
}

impl Dialect for Mailjet {
    fn path(&self) -> &'static str {
        "v3.1/send"
    }

    fn write(&self, request: RequestBuilder, from: &Sender, message: &Message, key: Uuid) -> RequestBuilder {
        request.basic_auth(&self.key, Some(self.secret.expose_secret())).json(&json!({
            "Messages": [{
                "From": { "Email": from.email, "Name": from.name },
                "To": [{ "Email": message.to }],
                "Subject": message.subject,
                "TextPart": message.text,
                "HTMLPart": message.html,
                "CustomID": key,
                // A counted link would lead through Mailjet, and leak the token in it.
                "TrackClicks": "disabled",
                "TrackOpens": "disabled",
                // Not Message-ID, too: Mailjet sets its own, and refuses a mail that brings one.
                "Headers": { "Auto-Submitted": "auto-generated" },
            }],
        }))
    }

    fn status(&self, status: StatusCode, body: &[u8]) -> Option<StatusCode> {
        let of_the_whole = (!status.is_success()).then_some(status);
        let Some(result) =
            serde_json::from_slice::<Answer>(body).ok().and_then(|answer| answer.messages.into_iter().next())
        else {
            return of_the_whole;
        };
        match result.status.as_str() {
            "success" if status.is_success() => Some(status),
            "error" => {
                let statuses = || result.errors.iter().filter_map(|error| StatusCode::from_u16(error.status_code).ok());
                let refusals = || statuses().filter(|status| status.is_client_error() || status.is_server_error());
                // As long as one of them stays, there is no use in trying again.
                refusals().find(|status| provider::is_permanent(*status)).or_else(|| refusals().next()).or(of_the_whole)
            }
            _ => of_the_whole,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    messages: Vec<Fate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fate {
    status: String,
    #[serde(default)]
    errors: Vec<Flaw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Flaw {
    #[serde(default)]
    status_code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, body: &str) -> Option<u16> {
        let mailjet = Mailjet { key: "key".into(), secret: "secret".into() };
        mailjet.status(StatusCode::from_u16(status).unwrap(), body.as_bytes()).map(|status| status.as_u16())
    }

    // As its documentation and those who use it have recorded them.
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
    fn each_message_speaks_for_itself() {
        assert_eq!(status(200, SUCCESS), Some(200));
        for answered in [200, 400] {
            assert_eq!(status(answered, NO_CONTENT), Some(400));
            assert_eq!(status(answered, UNKNOWN_SENDER), Some(403));
            // What passes is tried again, though the answer as a whole is a refusal for good.
            for passing in [429, 500, 503] {
                assert_eq!(status(answered, &errors(&[passing])), Some(passing));
            }
        }
    }

    #[test]
    fn of_several_errors_the_one_that_stays_decides() {
        assert_eq!(status(400, &errors(&[429, 403])), Some(403));
        assert_eq!(status(200, &errors(&[0, 500])), Some(500));
    }

    #[test]
    fn an_answer_without_messages_is_judged_as_a_whole() {
        for (answered, body) in [(401, WRONG_KEY), (400, MALFORMED), (429, ""), (500, BROKEN), (502, "<html>")] {
            assert_eq!(status(answered, body), Some(answered));
        }
        assert_eq!(status(400, &errors(&[200])), Some(400));
    }

    #[test]
    fn a_success_that_does_not_say_so_is_none() {
        let queued = SUCCESS.replace("success", "queued");
        for garbage in ["", "OK", "{}", r#"{"Messages":[]}"#, r#"{"ID":"1"}"#, "<html>", &queued, &errors(&[]), BROKEN]
        {
            assert_eq!(status(200, garbage), None, "{garbage}");
        }
    }

    #[test]
    fn the_request() {
        let mailjet = Mailjet { key: "key".into(), secret: "secret".into() };
        let from = Sender { email: "no-reply@sixty.example".into(), name: "Sixty".into() };
        let message = Message { to: "ada@example.com".into(), subject: "S", text: "T".into(), html: "<p>T".into() };
        let request = reqwest::Client::new().post("http://mail.example");
        let request = mailjet.write(request, &from, &message, Uuid::nil()).build().unwrap();
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
