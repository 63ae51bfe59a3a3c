//! Parts of addresses by which an operator searches for users.

use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;

use super::email::{Email, MAX_OCTETS};

/// The beginning of an address, in the canonical form of addresses: NFC and lower case.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressPrefix(String);

/// The domain of an address, in ASCII (IDNA) and lower case.
#[derive(Clone, PartialEq, Eq)]
pub struct AddressDomain(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SearchError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {MAX_OCTETS} octets long")]
    TooLong,
    #[error("must not contain spaces or control characters")]
    Blank,
    #[error("must have its domain in the ASCII form, xn--…, after the @")]
    PrefixDomain,
    #[error("must be a domain name such as example.com")]
    Domain,
}

impl AddressPrefix {
    pub fn parse(input: &str) -> Result<Self, SearchError> {
        let text = input.trim();
        if text.is_empty() {
            return Err(SearchError::Empty);
        }
        if text.len() > MAX_OCTETS {
            return Err(SearchError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(SearchError::Blank);
        }
        // As the canonical form of an address: NFC, lower case, NFC.
        let canonical: String = text.nfc().collect::<String>().to_lowercase().nfc().collect();
        // The beginning of a domain cannot be converted to ASCII: xn-- encodes whole labels.
        if canonical.split_once('@').is_some_and(|(_, domain)| !domain.is_ascii()) {
            return Err(SearchError::PrefixDomain);
        }
        Ok(Self(canonical))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a text that is greater than every address with this prefix, and less than every other address that is greater
    /// than the prefix, by the order of octets.
    pub fn end(&self) -> String {
        format!("{}{}", self.0, char::MAX)
    }
}

impl AddressDomain {
    /// Parses a domain, also in its absolute form with a final dot.
    pub fn parse(input: &str) -> Result<Self, SearchError> {
        let text = input.trim();
        if text.is_empty() {
            return Err(SearchError::Empty);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let email = Email::parse(&format!("x@{text}")).map_err(|_| SearchError::Domain)?;
        Ok(Self(email.address().domain().to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hides the part of the address, so that no log line leaks it.
impl std::fmt::Debug for AddressPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AddressPrefix(…)")
    }
}

impl std::fmt::Debug for AddressDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AddressDomain(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_canonical_form_of_addresses() {
        let prefix = |input: &str| AddressPrefix::parse(input).map(|prefix| prefix.as_str().to_owned());
        assert_eq!(prefix(" Ada.L"), Ok("ada.l".to_owned()));
        assert_eq!(prefix("ADA@Exam"), Ok("ada@exam".to_owned()));
        assert_eq!(prefix("Jo\u{308}R"), Ok("j\u{f6}r".to_owned()));
        assert_eq!(prefix("ada+news"), Ok("ada+news".to_owned()));
        assert_eq!(prefix("j\u{f6}r@xn--b"), Ok("j\u{f6}r@xn--b".to_owned()));
        assert_eq!(prefix("ada@b\u{fc}"), Err(SearchError::PrefixDomain));
        assert_eq!(prefix(" "), Err(SearchError::Empty));
        assert_eq!(prefix("ada news"), Err(SearchError::Blank));
        assert_eq!(prefix("ada\0"), Err(SearchError::Blank));
        assert_eq!(prefix(&"a".repeat(255)), Err(SearchError::TooLong));
    }

    #[test]
    fn the_end_of_a_prefix_follows_every_address_with_it() {
        let prefix = AddressPrefix::parse("ada").unwrap();
        for address in ["ada", "ada@example.com", "adam@example.com", "ada\u{10FFFD}"] {
            assert!(address < prefix.end().as_str(), "{address}");
        }
        assert!("adb@example.com" > prefix.end().as_str());
    }

    #[test]
    fn a_domain_is_compared_in_ascii() {
        let domain = |input: &str| AddressDomain::parse(input).map(|domain| domain.as_str().to_owned());
        assert_eq!(domain("Bücher.Example"), Ok("xn--bcher-kva.example".to_owned()));
        assert_eq!(domain("Example.com."), Ok("example.com".to_owned()));
        assert_eq!(domain(""), Err(SearchError::Empty));
        for invalid in ["example", "a@example.com", "@example.com", "exa mple.com", "127.0.0.1", ".", "example.com.."] {
            assert_eq!(domain(invalid), Err(SearchError::Domain), "{invalid}");
        }
    }
}
