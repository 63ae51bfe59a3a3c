//! The dialect of Mailpit's send API: `POST /api/v1/send`, answered by `{"ID": …}`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::messages::Message;
use super::provider::Sender;

pub const PATH: &str = "api/v1/send";

/// The request's body.
pub fn body(from: &Sender, message: &Message) -> Value {
    json!({
        "From": { "Email": from.email, "Name": from.name },
        "To": [{ "Email": message.to, "Name": "" }],
        "Subject": message.subject,
        "Text": message.text,
        "HTML": message.html,
        // RFC 3834: no vacation responder should answer.
        "Headers": { "Auto-Submitted": "auto-generated" },
    })
}

/// Whether the body of a successful answer says that the mail was taken. A 200 alone may come from anything.
pub fn accepted(body: &[u8]) -> bool {
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
    fn only_an_id_is_an_acceptance() {
        assert!(accepted(br#"{"ID":"iAfZVVe2UQfNSG5BAjgYwa"}"#));
        for garbage in [&b""[..], b"OK", b"{}", br#"{"ID":""}"#, br#"{"Error":"no"}"#, b"<html>", b"[1]"] {
            assert!(!accepted(garbage));
        }
    }
}
