//! Parsers for settings whose type has no suitable `FromStr`.

use std::ops::{Bound, RangeBounds};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use secrecy::SecretString;
use url::Url;

/// Parses a text: removes white space at both ends, which files and shells add. Rejects control characters inside: a header
/// or a key in Redis cannot hold them.
pub fn text(text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    if trimmed.contains(char::is_control) {
        return Err("must not contain a line break, a tab or another control character".to_owned());
    }
    Ok(trimmed.to_owned())
}

/// Parses a secret like [`text`].
pub fn secret(value: &str) -> Result<SecretString, String> {
    text(value).map(SecretString::from)
}

/// Returns a parser of whole numbers in a range.
pub fn number<T>(range: impl RangeBounds<T> + Clone + Send + Sync + 'static) -> impl TypedValueParser<Value = T>
where
    T: FromStr + PartialOrd + ToString + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let parsed = text.trim().parse().ok().filter(|number| range.contains(number));
        parsed.ok_or_else(|| {
            let limit = |bound: Bound<&T>| match bound {
                Bound::Included(limit) => Some(limit.to_string()),
                _ => None,
            };
            match (limit(range.start_bound()), limit(range.end_bound())) {
                (Some(least), Some(most)) => format!("must be a whole number from {least} to {most}"),
                (Some(least), None) => format!("must be a whole number of at least {least}"),
                (None, Some(most)) => format!("must be a whole number of at most {most}"),
                (None, None) => "must be a whole number".to_owned(),
            }
        })
    }
}

/// Parses `true` or `false`, or the words for them in other programs.
pub fn boolean(text: &str) -> Result<bool, &'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("must be true or false"),
    }
}

/// A parser of the names of an enum's variants, in any case.
#[derive(Clone)]
pub struct Choice<T: ValueEnum + Clone + Send + Sync + 'static>(EnumValueParser<T>);

impl<T: ValueEnum + Clone + Send + Sync + 'static> Default for Choice<T> {
    fn default() -> Self {
        Self(EnumValueParser::new())
    }
}

impl<T: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for Choice<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &std::ffi::OsStr) -> Result<T, clap::Error> {
        let name = value.to_str().map(|text| text.trim().to_ascii_lowercase());
        self.0.parse_ref(command, arg, name.as_deref().unwrap_or_default().as_ref())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

/// Parses a duration such as `250ms`, `60s`, `4h`, or a plain number of seconds. Rejects zero.
pub fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let duration = match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    };
    match duration {
        Ok(duration) if duration.is_zero() => Err("must be more than zero".to_owned()),
        // A longer time could overflow when PostgreSQL or Redis adds it to the current time.
        Ok(duration) if duration >= Duration::from_secs(10 * 365 * 86_400) => {
            Err("must be less than ten years".to_owned())
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err("must be a time such as 250ms, 60s or 4h".to_owned()),
    }
}

/// Parses a duration like [`time()`], but accepts zero.
pub fn time_or_zero(text: &str) -> Result<Duration, String> {
    if ["0", "0s"].contains(&text.trim()) { Ok(Duration::ZERO) } else { time(text) }
}

/// Parses an absolute `http` or `https` URL.
pub fn http_url(text: &str) -> Result<Url, String> {
    // The URL parser would silently remove line breaks and tabs.
    let url =
        self::text(text)?.parse().ok().filter(|url: &Url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    url.ok_or_else(|| {
        "must begin with http:// or https:// and name a host, such as https://mail.example.com".to_owned()
    })
}

/// Parses the base URL of the links in mails. Rejects credentials, because every recipient could read them.
pub fn public_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    let is_base =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if is_base { Ok(url) } else { Err("must not contain a user, a password, ? or #".to_owned()) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_public_url_has_no_credentials_query_or_fragment() {
        for valid in ["http://localhost:8000", "https://sixty.example/accounts/"] {
            assert!(public_url(valid).is_ok(), "{valid}");
        }
        for invalid in
            ["sixty.example", "ftp://sixty.example", "https://user@h", "https://:pw@h", "https://h?x", "https://h#x"]
        {
            assert!(public_url(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn texts_are_trimmed_and_have_no_control_characters() {
        for written in ["Sixty", " Sixty", "Sixty\n", "\t Sixty \r\n", "Sixty\u{a0}"] {
            assert_eq!(text(written).as_deref(), Ok("Sixty"), "{written:?}");
            assert_eq!(secret(written).unwrap().expose_secret(), "Sixty", "{written:?}");
        }
        assert_eq!(text(" The  Sixty  team ").as_deref(), Ok("The  Sixty  team"));
        for invalid in ["a\nb", "a\tb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
            assert!(text(invalid).unwrap_err().contains("control character"), "{invalid:?}");
            assert!(http_url(&format!("http://{invalid}")).is_err() && secret(invalid).is_err(), "{invalid:?}");
        }
        assert_eq!(http_url(" http://mail.example\n").unwrap().as_str(), "http://mail.example/");
        assert_eq!(time("60s\n"), Ok(Duration::from_secs(60)));
        assert_eq!(time_or_zero(" 0s\n"), Ok(Duration::ZERO));
    }

    #[test]
    fn durations_are_parsed_and_limited() {
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
