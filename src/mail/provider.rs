//! One attempt to send a mail by the HTTP API of a provider, and whether a failed attempt may be retried.

use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};
use thiserror::Error;
use tracing::{Instrument as _, Span};
use url::Url;
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Refusal, Verdict, retry_after};
use super::rendering::RenderedMail;
use crate::telemetry::spans;
use crate::telemetry::trace::TraceContext;

/// The `From` header of every mail (`MAIL_FROM`, `MAIL_FROM_NAME`).
#[derive(Clone)]
pub struct FromHeader {
    pub email: String,
    pub name: String,
}

impl FromHeader {
    /// Returns the sender as an object. Some providers refuse an empty name.
    pub fn json(&self) -> Value {
        if self.name.is_empty() {
            json!({ "email": self.email })
        } else {
            json!({ "email": self.email, "name": self.name })
        }
    }

    /// Returns the sender as one text: `"name" <address>` (RFC 5322).
    pub fn mailbox(&self) -> String {
        if self.name.is_empty() {
            return self.email.clone();
        }
        format!("\"{}\" <{}>", self.name.replace('\\', "\\\\").replace('"', "\\\""), self.email)
    }
}

/// Hides the address.
impl fmt::Debug for FromHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromHeader(…)")
    }
}

/// Why an attempt failed. The texts repeat nothing from the provider's response, since logs show them.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// The worker may retry, with the same idempotency key.
    #[error("{reason}")]
    Temporary {
        reason: String,
        /// The provider's `Retry-After`.
        retry_after: Option<Duration>,
        /// Whether the provider may have accepted the mail: its response was lost, or invalid.
        maybe_accepted: bool,
        /// Whether the provider refuses the account, such as a wrong key, and therefore every mail.
        account_refused: bool,
    },
    /// A retry is useless: the provider refuses this mail or its recipient ([`Refusal::Mail`]).
    #[error("{reason}")]
    Permanent { reason: String },
}

/// Which of the configured providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `MAIL_URL`
    First,
    /// `MAIL_FALLBACK_URL`
    Fallback,
}

impl Role {
    /// The value of the metric label `provider`.
    pub fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Fallback => "fallback",
        }
    }

    pub fn url_setting(self) -> &'static str {
        match self {
            Self::First => "MAIL_URL",
            Self::Fallback => "MAIL_FALLBACK_URL",
        }
    }

    pub fn dialect_setting(self) -> &'static str {
        match self {
            Self::First => "MAIL_DIALECT",
            Self::Fallback => "MAIL_FALLBACK_DIALECT",
        }
    }
}

#[derive(Clone)]
pub struct Provider {
    http: Client,
    base: Url,
    url: Url,
    from: FromHeader,
    pub(super) dialect: Arc<dyn Dialect>,
    role: Role,
}

/// The octets of a response body that are read at most. No dialect has longer responses.
const MAX_BODY_OCTETS: usize = 64 * 1024;

impl Provider {
    /// A provider in the role of the first. `timeout` bounds one attempt, from connecting to the last octet of the response.
    ///
    /// # Errors
    /// When the URL cannot be a base, or the TLS root certificates of this machine cannot be read.
    pub fn new(base: &Url, dialect: Arc<dyn Dialect>, from: FromHeader, timeout: Duration) -> Result<Self, String> {
        let url = below(base, dialect.path())?;
        // No redirects: mails must not go to a host that is not configured.
        let mut http = Client::builder().timeout(timeout).redirect(redirect::Policy::none());
        // Resend refuses requests without this header.
        http = http.user_agent(concat!("sixty/", env!("CARGO_PKG_VERSION")));
        let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            // A proxy from `HTTPS_PROXY` cannot reach the loopback address of this machine.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|_| {
            "the certificates of trusted authorities cannot be read; correct SSL_CERT_FILE and SSL_CERT_DIR, or install \
             ca-certificates"
        })?;
        Ok(Self { http, base: base.clone(), url, from, dialect, role: Role::First })
    }

    /// Returns the same provider in the role of the fallback.
    pub fn as_fallback(self) -> Self {
        Self { role: Role::Fallback, ..self }
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// The name of the dialect.
    pub fn name(&self) -> &'static str {
        self.dialect.name()
    }

    /// Returns the settings that an operator checks when the provider refuses the account.
    pub fn account_settings(&self) -> String {
        let url = self.role.url_setting();
        match self.dialect.credentials() {
            Some(credentials) => format!("{credentials}, MAIL_FROM and {url}"),
            None => format!("{url}, with the key in it, and MAIL_FROM"),
        }
    }

    /// Returns a GET request for a path below the base URL, with the credentials of the account.
    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        let url = below(&self.base, path).expect("the base was checked");
        self.dialect.authorize(self.http.get(url))
    }

    /// Sends a mail once. Returns the provider's id of the mail, if the response has one that is fit for a log line.
    ///
    /// # Errors
    /// Unless the response confirms that the provider accepted the mail.
    pub async fn send(
        &self,
        mail: &RenderedMail,
        idempotency_key: Uuid,
        trace: TraceContext,
    ) -> Result<Option<String>, SendError> {
        let span = spans::provider(self.url.host_str());
        let trace = spans::context(&span).unwrap_or(trace);
        let sent = self.attempt(mail, idempotency_key, trace, &span).instrument(span.clone()).await;
        if sent.is_err() {
            spans::record_failure(&span);
        }
        sent
    }

    async fn attempt(
        &self,
        mail: &RenderedMail,
        idempotency_key: Uuid,
        trace: TraceContext,
        span: &Span,
    ) -> Result<Option<String>, SendError> {
        let request = self.http.post(self.url.clone()).header("Idempotency-Key", idempotency_key.to_string());
        let request = request.header("traceparent", trace.to_string());
        let request = self.dialect.write(request, &self.from, mail, idempotency_key);
        let temporary = |reason: &str, maybe_accepted| {
            let reason = reason.to_owned();
            SendError::Temporary { reason, retry_after: None, maybe_accepted, account_refused: false }
        };
        let response = request.send().await.map_err(|error| temporary(failure_reason(&error), !error.is_connect()))?;
        let (status, headers) = (response.status(), response.headers().clone());
        spans::record_status(span, status.as_u16(), false);
        let body = match read_body(response).await {
            Ok(body) => body,
            Err(error) if status.is_success() => return Err(temporary(failure_reason(&error), true)),
            // The status says that the provider refused the mail. Only the details are lost.
            Err(_) => vec![],
        };
        match self.dialect.verdict(&Answer { status, headers: &headers, body: &body }) {
            Verdict::Accepted { message_id } => Ok(message_id.filter(|id| is_loggable(id))),
            Verdict::Refused { about, status: mail_status } => {
                let limit_reset = || match status {
                    StatusCode::TOO_MANY_REQUESTS => self.dialect.limit_reset(&headers),
                    _ => None,
                };
                let retry_after = retry_after(&headers).or_else(limit_reset);
                Err(refusal(about, mail_status, retry_after, &self.account_settings()))
            }
            Verdict::Unconfirmed => Err(temporary("answered 2xx without accepting the mail", true)),
        }
    }
}

/// Returns the URL of a path below a base URL.
fn below(base: &Url, path: &str) -> Result<Url, String> {
    let mut url = base.clone();
    url.path_segments_mut().map_err(|()| "cannot be the base of a path")?.pop_if_empty().extend(path.split('/'));
    Ok(url)
}

pub(super) async fn read_body(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_OCTETS {
            break;
        }
    }
    Ok(body)
}

/// Whether an id is short and harmless enough for a log line: the provider chooses it, and it must not be a person's address.
/// Brevo's ids are message ids of its own relay, such as `202611301200.12345678901@smtp-relay.mailin.fr`.
fn is_loggable(id: &str) -> bool {
    let is_plain = |id: &str| {
        (1..=100).contains(&id.len())
            && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
    };
    match id.split_once('@') {
        None => is_plain(id),
        Some((id, host)) => {
            let is_number = |octet: u8| octet.is_ascii_digit() || octet == b'.';
            is_plain(id) && id.bytes().all(is_number) && is_plain(host) && host.starts_with("smtp-relay.")
        }
    }
}

fn refusal(kind: Refusal, status: StatusCode, retry_after: Option<Duration>, account_settings: &str) -> SendError {
    let reason = format!("answered {}", status.as_u16());
    let temporary =
        |reason, account_refused| SendError::Temporary { reason, retry_after, maybe_accepted: false, account_refused };
    match kind {
        Refusal::Mail => SendError::Permanent { reason },
        Refusal::Account => temporary(
            format!("{reason}: the provider refuses the account, not this mail; check {account_settings}"),
            true,
        ),
        Refusal::Temporary => temporary(reason, false),
    }
}

pub(super) fn failure_reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        connect_failure(error)
    } else {
        "closed the connection before its answer was complete"
    }
}

/// Why no connection was opened. The libraries below have no kinds for this, so it reads their known phrases.
fn connect_failure(error: &reqwest::Error) -> &'static str {
    let (mut text, mut source) = (String::new(), error.source());
    while let Some(cause) = source {
        text.push_str(&format!("{cause} {cause:?} "));
        source = cause.source();
    }
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if says(&["dns error", "lookup address"]) {
        "has a host name without an address (DNS)"
    } else if says(&["UnknownIssuer", "CaUsedAsEndEntity"]) {
        "has a certificate that no trusted authority signed (TLS; see SSL_CERT_FILE)"
    } else if says(&["Expired", "NotValidYet"]) {
        "has a certificate that is not valid now (TLS)"
    } else if says(&["NotValidForName"]) {
        "has a certificate for another host name (TLS)"
    } else if says(&["InvalidContentType", "corrupt message"]) {
        "does not speak TLS at this port: is it http://?"
    } else if says(&["HandshakeFailure", "invalid peer certificate", "AlertReceived"]) {
        "refused the TLS handshake"
    } else if says(&["ConnectionRefused"]) {
        "refused the connection"
    } else {
        "could not be reached"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::mailpit::Mailpit;

    #[test]
    fn only_refusals_of_the_mail_itself_are_permanent() {
        let refusal = |status| {
            let status = StatusCode::from_u16(status).unwrap();
            refusal(Refusal::of(status), status, None, "MAIL_URL")
        };
        for status in [400, 409, 413, 422] {
            assert!(matches!(refusal(status), SendError::Permanent { .. }), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503] {
            assert!(matches!(refusal(status), SendError::Temporary { account_refused: false, .. }), "{status}");
        }
        for status in [301, 302, 401, 402, 403, 404, 405, 407, 410] {
            let refusal = refusal(status);
            assert!(matches!(refusal, SendError::Temporary { account_refused: true, .. }), "{status}");
            assert!(refusal.to_string().ends_with("; check MAIL_URL"), "{refusal}");
        }
    }

    #[test]
    fn only_harmless_message_ids_are_logged() {
        assert!(is_loggable("iAfZVVe2UQfNSG5BAjgYwa") && is_loggable("70650219165027410"));
        assert!(is_loggable("202611301200.12345678901@smtp-relay.mailin.fr"));
        for id in ["", "a b", "ada@example.com", "a\nb", "caf\u{e9}", &"x".repeat(101)] {
            assert!(!is_loggable(id), "{id}");
        }
        for id in ["ada@smtp-relay.mailin.fr", "13800138000@example.com", "1@smtp-relay.a@b", "1@", "@smtp-relay.a"] {
            assert!(!is_loggable(id), "{id}");
        }
    }

    #[test]
    fn the_sender_is_quoted() {
        let mailbox = |name: &str| FromHeader { email: "no-reply@sixty.example".into(), name: name.into() }.mailbox();
        assert_eq!(mailbox("Sixty"), "\"Sixty\" <no-reply@sixty.example>");
        assert_eq!(mailbox("A \"b\" \\ <c@d.example>"), "\"A \\\"b\\\" \\\\ <c@d.example>\" <no-reply@sixty.example>");
        assert_eq!(mailbox(""), "no-reply@sixty.example");
    }

    #[test]
    fn the_path_of_the_dialect_is_appended_to_the_base_url() {
        let from = FromHeader { email: "no-reply@sixty.example".into(), name: "Sixty".into() };
        for base in ["http://mail.example:8025", "http://mail.example:8025/"] {
            let provider =
                Provider::new(&base.parse().unwrap(), Arc::new(Mailpit), from.clone(), Duration::from_secs(1));
            let provider = provider.unwrap();
            assert_eq!(provider.url.as_str(), "http://mail.example:8025/api/v1/send");
        }
    }
}
