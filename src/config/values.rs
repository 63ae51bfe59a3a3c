//! How the text of a setting becomes its value, where the type does not say it.

use std::time::Duration;

use reqwest::Url;

/// A setting of time: `250ms`, `60s`, `4h`, or seconds as a bare number. Never zero.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    };
    match duration {
        Ok(duration) if duration.is_zero() => Err("must be more than zero".to_owned()),
        // Beyond that arithmetic with the stores' clocks gets delicate.
        Ok(duration) if duration >= Duration::from_secs(10 * 365 * 86_400) => {
            Err("must be less than ten years".to_owned())
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err("must be a time such as 250ms, 60s or 4h".to_owned()),
    }
}

/// The same, or zero.
pub(super) fn time_or_none(text: &str) -> Result<Duration, String> {
    if ["0", "0s"].contains(&text) { Ok(Duration::ZERO) } else { time(text) }
}

pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = text.parse().ok().filter(|url: &Url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    url.ok_or_else(|| "must begin with http:// or https:// and name a host".to_owned())
}

/// The base of links in mails, which everybody may read.
pub(super) fn public_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if bare { Ok(url) } else { Err("must have neither a user nor a password, ? or #".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_a_base_that_everybody_may_read() {
        for good in ["http://localhost:8000", "https://sixty.example/accounts/"] {
            assert!(public_url(good).is_ok(), "{good}");
        }
        for bad in
            ["sixty.example", "ftp://sixty.example", "https://user@h", "https://:pw@h", "https://h?x", "https://h#x"]
        {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, millis) in [("60", 60_000), ("60s", 60_000), ("250ms", 250), ("4h", 14_400_000), ("1m 30s", 90_000)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)));
        }
        for (text, reason) in [
            ("", "a time such as"),
            ("-1s", "a time such as"),
            ("soon", "a time such as"),
            ("0", "more than zero"),
            ("0s", "more than zero"),
            ("20years", "less than ten years"),
        ] {
            let error = time(text).unwrap_err();
            assert!(error.starts_with(&format!("must be {reason}")), "{text}: {error}");
        }
    }
}
