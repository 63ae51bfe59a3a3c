//! What the send APIs with one API key share: Postmark's, Brevo's, SendGrid's and Resend's.

use poem::{Body, Request, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::content::{MailContent, Mailbox};
use super::fault_injection::SendOutcome;
use super::mock::MailMock;
use super::wire::{self, RequestMailbox};

/// One of the APIs.
pub(super) trait KeyedApi {
    type Mail: DeserializeOwned;

    /// Returns the key of a request.
    fn key(request: &Request) -> Option<&str>;

    /// Returns the key that the mock requires.
    fn expected(mock: &MailMock) -> Option<&SecretString>;

    fn unauthorized() -> Response;

    /// The response to a body that is not a mail. `message` names the field.
    fn malformed(message: &str) -> Response;

    /// Accepts or refuses a mail.
    fn accept(mock: &MailMock, mail: Self::Mail, request: RequestIds) -> SendOutcome;
}

/// The ids of a request, from its headers.
pub(super) struct RequestIds {
    pub idempotency_key: Option<String>,
    pub traceparent: Option<String>,
}

/// Handles a request to send a mail.
pub(super) async fn send<A: KeyedApi>(mock: &MailMock, request: &Request, body: Body) -> Response {
    let body = match wire::read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let ids = RequestIds { idempotency_key: wire::idempotency_key(request), traceparent: wire::traceparent(request) };
    let authorized = is_authorized::<A>(mock, request);
    mock.with_faults(|| {
        if !authorized {
            return refused(A::unauthorized());
        }
        match serde_json::from_slice(&body) {
            Ok(mail) => A::accept(mock, mail, ids),
            Err(error) => refused(A::malformed(&error.to_string())),
        }
    })
    .await
}

/// Handles a request about the account.
pub(super) fn account<A: KeyedApi>(mock: &MailMock, request: &Request, account: Response) -> Response {
    if is_authorized::<A>(mock, request) { account } else { A::unauthorized() }
}

fn is_authorized<A: KeyedApi>(mock: &MailMock, request: &Request) -> bool {
    A::key(request).is_some_and(|key| match A::expected(mock) {
        Some(expected) => key == expected.expose_secret(),
        None => !key.is_empty(),
    })
}

/// Returns the bearer token of a request.
pub(super) fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("Authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(super) fn refused(response: Response) -> SendOutcome {
    SendOutcome { response, accepted: false }
}

pub(super) fn accepted(response: Response) -> SendOutcome {
    SendOutcome { response, accepted: true }
}

/// The parts of a mail, whose names differ between the APIs.
pub(super) struct Parts {
    pub from: RequestMailbox,
    pub to: Vec<RequestMailbox>,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub headers: std::collections::BTreeMap<String, String>,
}

/// Which part of a mail is refused.
pub(super) enum Invalid {
    Sender,
    Recipient,
}

impl Parts {
    pub fn content(self) -> Result<MailContent, Invalid> {
        if !self.from.has_valid_email() {
            return Err(Invalid::Sender);
        }
        if self.to.is_empty() || !self.to.iter().all(RequestMailbox::has_valid_email) {
            return Err(Invalid::Recipient);
        }
        Ok(MailContent {
            from: self.from.into(),
            to: self.to.into_iter().map(Mailbox::from).collect(),
            subject: self.subject,
            text: self.text,
            html: self.html,
            headers: self.headers,
        })
    }
}

/// Parses `"name" <address>`, `name <address>` or `address`.
pub(super) fn mailbox(text: &str) -> RequestMailbox {
    let text = text.trim();
    let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) else {
        return RequestMailbox { name: String::new(), email: text.to_owned() };
    };
    let name = name.trim();
    let unquoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    let name = unquoted.map_or_else(|| name.to_owned(), |name| name.replace("\\\"", "\"").replace("\\\\", "\\"));
    RequestMailbox { name, email: address.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_may_have_a_name() {
        for (text, name, email) in [
            ("a@example.org", "", "a@example.org"),
            ("App <a@example.org>", "App", "a@example.org"),
            (r#""A \"b\" \\ <c>" <a@example.org>"#, r#"A "b" \ <c>"#, "a@example.org"),
        ] {
            let mailbox = mailbox(text);
            assert_eq!((&*mailbox.name, &*mailbox.email), (name, email), "{text}");
        }
    }
}
