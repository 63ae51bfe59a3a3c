//! What differs between providers: the form of a request, and the meaning of a response.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::provider::FromHeader;
use super::rendering::RenderedMail;

/// The API of a provider: the form of its requests, and the meaning of its responses.
pub trait Dialect: Send + Sync {
    /// The path below the base URL, without a leading slash.
    fn path(&self) -> &'static str;

    /// Adds the mail to the request. A retry has the same idempotency key.
    fn write(
        &self,
        request: RequestBuilder,
        from: &FromHeader,
        mail: &RenderedMail,
        idempotency_key: Uuid,
    ) -> RequestBuilder;

    /// Returns what the response says about this mail.
    fn verdict(&self, answer: &Answer<'_>) -> Verdict;

    /// Returns the time until the rate limit ends, by a header of the provider's own. Read from a 429 without `Retry-After`.
    fn limit_reset(&self, _headers: &HeaderMap) -> Option<Duration> {
        None
    }

    /// The name in the log, as in `MAIL_DIALECT`.
    fn name(&self) -> &'static str;

    /// The settings with the credentials of the account. `None`: the URL has them.
    fn credentials(&self) -> Option<&'static str>;

    /// The path of a resource that only an accepted account can read. Reading it changes nothing.
    fn account_path(&self) -> &'static str;

    /// Returns what the response to `account_path` says about the account, as an HTTP status.
    fn account_status(&self, status: StatusCode, _body: &[u8]) -> StatusCode {
        status
    }

    /// Adds the credentials of the account.
    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        request
    }
}

/// The response to a request that sent a mail.
pub struct Answer<'a> {
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The verdict of a refusal whose HTTP status says it all.
    pub fn refused(&self) -> Verdict {
        self.refused_because_of(Refusal::of(self.status))
    }

    pub fn refused_because_of(&self, about: Refusal) -> Verdict {
        Verdict::Refused { about, status: self.status }
    }
}

/// What a response says about a mail. No `Debug` outside tests: an id of the provider's choice may be anything.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Verdict {
    Accepted {
        /// The provider's id of the mail.
        message_id: Option<String>,
    },
    Refused {
        about: Refusal,
        /// For the log: the status of this mail if the response has one, otherwise the status of the response.
        status: StatusCode,
    },
    /// A success that does not confirm that the mail was accepted. Any web server may send a 200.
    Unconfirmed,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The mail or its recipient. A retry is useless.
    Mail,
    /// The account or the URL, such as a wrong key. The provider refuses every mail until an operator corrects a setting.
    Account,
    /// Time or rate (RFC 9110, RFC 8470, RFC 6585), or a fault of the provider.
    Temporary,
}

impl Refusal {
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            400 | 409 | 413 | 422 => Self::Mail,
            408 | 425 | 429 => Self::Temporary,
            300..=499 => Self::Account,
            _ => Self::Temporary,
        }
    }
}

/// Adds a credential as a header. No debug output of the request shows it.
pub(super) fn secret_header(request: RequestBuilder, name: &'static str, secret: &SecretString) -> RequestBuilder {
    match HeaderValue::from_bytes(secret.expose_secret().as_bytes()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(name, value)
        }
        // The settings accept no control character. The request without the credential is refused.
        Err(_) => request,
    }
}

/// Parses `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). A date is compared with the `Date` of the same
/// response, since the provider's clock may differ from this machine's.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let retry_after = text(RETRY_AFTER)?;
    if let Ok(seconds) = retry_after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let [retry_at, now] = [retry_after, text(DATE)?].map(httpdate::parse_http_date);
    retry_at.ok()?.duration_since(now.ok()?).ok()
}

/// Returns the time from the `Date` of a response until a header with seconds since 1970. The provider's clock may differ from
/// this machine's.
pub(super) fn until_epoch_seconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let reset = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(text(name)?.parse().ok()?))?;
    reset.duration_since(httpdate::parse_http_date(text(DATE.as_str())?).ok()?).ok()
}

/// Returns the value of a header as a number of seconds.
pub(super) fn seconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parsed = |retry_after: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
            headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
            super::retry_after(&headers).map(|wait| wait.as_secs())
        };
        let (now, then) = (Some("Fri, 01 Jan 2027 10:00:00 GMT"), "Fri, 01 Jan 2027 10:01:30 GMT");
        assert_eq!(parsed("7", now), Some(7));
        assert_eq!(parsed(then, now), Some(90));
        for (retry_after, date) in
            [(then, None), (then, Some("soon")), ("soon", now), ("-1", now), (now.unwrap(), Some(then))]
        {
            assert_eq!(parsed(retry_after, date), None, "{retry_after} {date:?}");
        }
    }

    #[test]
    fn limits_end_after_seconds_or_at_a_time() {
        let mut headers = HeaderMap::new();
        headers.insert("x-limit", "1798797690".parse().unwrap());
        assert_eq!(until_epoch_seconds(&headers, "x-limit"), None);
        headers.insert(DATE, "Fri, 01 Jan 2027 10:00:00 GMT".parse().unwrap());
        assert_eq!(until_epoch_seconds(&headers, "x-limit"), Some(Duration::from_secs(90)));
        headers.insert("x-limit", " 45".parse().unwrap());
        assert_eq!(seconds(&headers, "x-limit"), Some(Duration::from_secs(45)));
        assert_eq!((until_epoch_seconds(&headers, "x-limit"), seconds(&headers, "x-none")), (None, None));
    }
}
