//! Where people and users of the API turn to for help.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;
use url::Url;

use super::email::Email;

/// An address or a web page.
#[derive(Debug, Clone)]
pub enum Contact {
    Email(Email),
    Url(Url),
}

/// The characters of an address that a `mailto` URL contains as they are (RFC 6068, section 2).
const MAILTO: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'@').remove(b'.').remove(b'-').remove(b'_').remove(b'+').remove(b'~');

impl Contact {
    /// A URL that opens the page, or a mail to the address.
    pub fn link(&self) -> String {
        match self {
            Self::Email(email) => format!("mailto:{}", utf8_percent_encode(&email.mailbox(), MAILTO)),
            Self::Url(url) => url.to_string(),
        }
    }
}

/// As people read it. A URL of only a host has no slash at its end.
impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(email) => f.write_str(&email.mailbox()),
            Self::Url(url) if url.path() == "/" && url.query().is_none() && url.fragment().is_none() => {
                f.write_str(url.as_str().trim_end_matches('/'))
            }
            Self::Url(url) => f.write_str(url.as_str()),
        }
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be an e-mail address or a URL, such as api@example.com or https://example.com/help")]
pub struct ContactError;

impl FromStr for Contact {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, ContactError> {
        let text = text.trim();
        if let Ok(email) = Email::parse(text) {
            return Ok(Self::Email(email));
        }
        let url: Url = text.parse().map_err(|_| ContactError)?;
        if ["http", "https"].contains(&url.scheme()) { Ok(Self::Url(url)) } else { Err(ContactError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_or_an_http_url() {
        for (text, shown, link) in [
            ("help@example.com", "help@example.com", "mailto:help@example.com"),
            ("a&b+c@example.com", "a&b+c@example.com", "mailto:a%26b+c@example.com"),
            ("https://example.com", "https://example.com", "https://example.com/"),
            ("https://example.com/help?a=b", "https://example.com/help?a=b", "https://example.com/help?a=b"),
        ] {
            let contact: Contact = text.parse().unwrap();
            assert_eq!((contact.to_string().as_str(), contact.link().as_str()), (shown, link));
        }
        for text in ["", "the operator", "ftp://example.com", "javascript:alert(1)", "mailto:api@example.com"] {
            assert_eq!(text.parse::<Contact>().err(), Some(ContactError), "{text}");
        }
    }
}
