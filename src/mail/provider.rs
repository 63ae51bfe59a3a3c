//! Handing a mail to the provider in its [`Dialect`], and reading from its answer whether that may be tried again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use thiserror::Error;
use uuid::Uuid;

use super::messages::Message;
use crate::telemetry::trace::TraceContext;

/// Whom the mails come from.
#[derive(Debug, Clone)]
pub struct Sender {
    pub email: String,
    pub name: String,
}

/// The mail was not accepted, or nobody knows whether it was. The texts repeat nothing that the provider said.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// May be tried again, under the same key.
    #[error("{reason}")]
    Temporary {
        reason: String,
        /// What the provider asked for.
        retry_after: Option<Duration>,
        /// Whether the mail may be on its way all the same: the answer was lost, or made no sense.
        maybe_taken: bool,
    },
    /// The provider will never take this mail.
    #[error("{reason}")]
    Permanent { reason: String },
}

/// How a provider's API wants a mail, and what it answers.
pub trait Dialect: Send + Sync {
    /// Below the base URL, without a slash at the beginning.
    fn path(&self) -> &'static str;

    /// Writes the mail, and who sends it, into the request. The key is the same whenever this mail is sent again.
    fn write(&self, request: RequestBuilder, from: &Sender, message: &Message, key: Uuid) -> RequestBuilder;

    /// How the mail fared, as an HTTP status: that of the answer, unless its body knows better. `None` is an answer of
    /// success that does not say so of the mail; a 200 alone may come from anything.
    fn status(&self, status: StatusCode, body: &[u8]) -> Option<StatusCode>;
}

#[derive(Clone)]
pub struct Provider {
    http: Client,
    url: Url,
    from: Sender,
    dialect: Arc<dyn Dialect>,
}

/// More than any dialect's answer; the rest of a longer one is not read.
const MAX_ANSWER: usize = 64 * 1024;

impl Provider {
    /// `timeout` bounds one attempt, from the connection to the last byte of the answer.
    ///
    /// # Errors
    /// When the URL cannot be a base, or the TLS roots of this machine cannot be read.
    pub fn new(base: &Url, dialect: Arc<dyn Dialect>, from: Sender, timeout: Duration) -> Result<Self, String> {
        let mut url = base.clone();
        url.path_segments_mut()
            .map_err(|()| "cannot be the base of a path")?
            .pop_if_empty()
            .extend(dialect.path().split('/'));
        // A mail API that redirects is not the one that was configured.
        let mut http = Client::builder().timeout(timeout).redirect(redirect::Policy::none());
        let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            // A proxy that the environment names could not reach it.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| error.without_url().to_string())?;
        Ok(Self { http, url, from, dialect })
    }

    /// # Errors
    /// Anything but the provider's clear acceptance.
    pub async fn send(&self, message: &Message, key: Uuid, trace: TraceContext) -> Result<(), SendError> {
        let request = self.http.post(self.url.clone()).header("Idempotency-Key", key.to_string());
        let request = request.header("traceparent", trace.to_string());
        let request = self.dialect.write(request, &self.from, message, key);
        let lost = |reason: &str, maybe_taken| {
            let reason = reason.to_owned();
            SendError::Temporary { reason, retry_after: None, maybe_taken }
        };
        let response = request.send().await.map_err(|error| lost(kind(&error), !error.is_connect()))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = match read(response).await {
            Ok(body) => body,
            Err(error) if status.is_success() => return Err(lost(kind(&error), true)),
            // It was refused; how, only the rest would have said.
            Err(_) => vec![],
        };
        match self.dialect.status(status, &body) {
            Some(status) if status.is_success() => Ok(()),
            Some(status) => Err(refusal(status, retry_after)),
            None => Err(lost("answered 2xx without accepting the mail", true)),
        }
    }
}

async fn read(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            break;
        }
    }
    Ok(body)
}

/// 4xx means that the request is at fault and stays so, but for those that speak of time or rate (RFC 9110, RFC 6585).
pub fn is_permanent(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !passing.contains(&status)
}

fn refusal(status: StatusCode, retry_after: Option<Duration>) -> SendError {
    let reason = format!("answered {}", status.as_u16());
    if is_permanent(status) {
        SendError::Permanent { reason }
    } else {
        SendError::Temporary { reason, retry_after, maybe_taken: false }
    }
}

/// In seconds, or a date (RFC 9110, section 10.2.3): that counts from the provider's own, for clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let [asked, now] = [asked, text(DATE)?].map(httpdate::parse_http_date);
    asked.ok()?.duration_since(now.ok()?).ok()
}

fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "refused the connection"
    } else {
        "broke off before its answer was complete"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::mailpit::Mailpit;

    #[test]
    fn only_a_refusal_of_the_mail_itself_is_final() {
        for status in [400, 401, 403, 404, 413, 422] {
            assert!(matches!(refusal(StatusCode::from_u16(status).unwrap(), None), SendError::Permanent { .. }));
        }
        for status in [302, 408, 425, 429, 500, 502, 503] {
            assert!(matches!(refusal(StatusCode::from_u16(status).unwrap(), None), SendError::Temporary { .. }));
        }
    }

    #[test]
    fn the_wait_is_given_in_seconds_or_as_a_date() {
        let asked = |retry_after: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
            headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
            super::retry_after(&headers).map(|wait| wait.as_secs())
        };
        let (now, then) = (Some("Fri, 01 Jan 2027 10:00:00 GMT"), "Fri, 01 Jan 2027 10:01:30 GMT");
        assert_eq!(asked("7", now), Some(7));
        assert_eq!(asked(then, now), Some(90));
        for (retry_after, date) in
            [(then, None), (then, Some("soon")), ("soon", now), ("-1", now), (now.unwrap(), Some(then))]
        {
            assert_eq!(asked(retry_after, date), None, "{retry_after} {date:?}");
        }
    }

    #[test]
    fn the_path_follows_the_base() {
        let from = Sender { email: "no-reply@sixty.example".into(), name: "Sixty".into() };
        for base in ["http://mail.example:8025", "http://mail.example:8025/"] {
            let provider =
                Provider::new(&base.parse().unwrap(), Arc::new(Mailpit), from.clone(), Duration::from_secs(1));
            let provider = provider.unwrap();
            assert_eq!(provider.url.as_str(), "http://mail.example:8025/api/v1/send");
        }
    }
}
