//! The domains whose addresses may register.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::email::{Address, Email};

/// A list of domain patterns; an empty list allows every domain. Cloning is cheap.
///
/// `example.com` is that domain alone. `*.example.com` is every subdomain of it, at any depth, without `example.com` itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmailDomains(Arc<[Pattern]>);

/// The domain is in the form of a canonical address: ASCII (IDNA) and lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exactly(String),
    Below(String),
}

/// The number of the entry in the list, counted from 1. The entry itself is not repeated, as in all errors of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must list domains such as example.com, or *.example.com for subdomains; entry {0} is neither")]
pub struct InvalidDomain(usize);

impl EmailDomains {
    /// Returns whether an address of this domain may register.
    pub fn allow(&self, address: &Address) -> bool {
        let domain = address.domain();
        self.0.is_empty()
            || self.0.iter().any(|pattern| match pattern {
                Pattern::Exactly(allowed) => domain == allowed,
                Pattern::Below(parent) => {
                    domain.strip_suffix(parent.as_str()).is_some_and(|labels| labels.ends_with('.'))
                }
            })
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        // An address decides what is a domain, so that a pattern has the form in which addresses are compared.
        let domain_of =
            |domain: &str| Email::parse(&format!("x@{domain}")).ok().map(|email| email.address().domain().to_owned());
        match text.strip_prefix("*.") {
            // A parent may be a top-level domain, such as edu, which alone is the domain of no address.
            Some(parent) => {
                let subdomain = domain_of(&format!("x.{parent}"))?;
                subdomain.strip_prefix("x.").map(|parent| Self::Below(parent.to_owned()))
            }
            None => domain_of(text).map(Self::Exactly),
        }
    }
}

/// Parses patterns separated by commas. An empty text is a list without entries.
impl FromStr for EmailDomains {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let patterns = text.split(',').enumerate();
        let patterns = patterns.map(|(n, entry)| Pattern::parse(entry.trim()).ok_or(InvalidDomain(n + 1)));
        patterns.collect::<Result<_, _>>().map(Self)
    }
}

/// Writes the list as the setting.
impl fmt::Display for EmailDomains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, pattern) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "," };
            match pattern {
                Pattern::Exactly(domain) => write!(f, "{separator}{domain}")?,
                Pattern::Below(parent) => write!(f, "{separator}*.{parent}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &str, email: &str) -> bool {
        patterns.parse::<EmailDomains>().unwrap().allow(Email::parse(email).unwrap().address())
    }

    #[test]
    fn an_empty_list_allows_every_domain() {
        for patterns in ["", " ", "\n"] {
            assert!(allows(patterns, "ada@example.com"), "{patterns:?}");
        }
    }

    #[test]
    fn a_domain_matches_itself_and_a_wildcard_matches_subdomains_only() {
        const PATTERNS: &str = "example.com, *.Example.ORG,*.edu";
        for email in ["ada@example.com", "ada@EXAMPLE.com", "ada@a.example.org", "ada@b.a.example.org", "ada@mit.edu"] {
            assert!(allows(PATTERNS, email), "{email}");
        }
        for email in [
            "ada@a.example.com",
            "ada@notexample.com",
            "ada@example.com.eve.example",
            "ada@example.org",
            "ada@notexample.org",
            "ada@example.net",
            "ada@edu.example",
            "example.com@example.net",
        ] {
            assert!(!allows(PATTERNS, email), "{email}");
        }
    }

    #[test]
    fn every_spelling_of_a_domain_is_the_same_domain() {
        for pattern in ["b\u{fc}cher.example", "bu\u{308}cher.example", "XN--BCHER-KVA.example"] {
            assert!(allows(pattern, "ada@B\u{dc}CHER.example"), "{pattern}");
            assert!(allows(&format!("*.{pattern}"), "ada@a.xn--bcher-kva.example"), "{pattern}");
        }
    }

    #[test]
    fn an_invalid_entry_is_named_by_its_number() {
        for (text, number) in [
            ("example", 1),
            ("*", 1),
            ("*.", 1),
            ("*.*.example.com", 1),
            ("a*.example.com", 1),
            ("*example.com", 1),
            ("ada@example.com", 1),
            ("example.com.", 1),
            ("127.0.0.1", 1),
            ("exa mple.com", 1),
            ("example.com,,example.org", 2),
            ("example.com,", 2),
            ("example.com;example.org", 1),
        ] {
            assert_eq!(text.parse::<EmailDomains>(), Err(InvalidDomain(number)), "{text}");
        }
    }

    #[test]
    fn a_written_list_is_parsed_again() {
        let list: EmailDomains = " b\u{fc}cher.example, *.example.org".parse().unwrap();
        assert_eq!(list.to_string(), "xn--bcher-kva.example,*.example.org");
        assert_eq!(list.to_string().parse(), Ok(list));
    }
}
