//! E-mail addresses, and the canonical form by which they are compared.

use mailbox_syntax::CanonicalAddress;
pub(super) use mailbox_syntax::is_default_ignorable as is_invisible;
pub use mailbox_syntax::{EmailError, MAX_OCTETS};
use unicode_normalization::UnicodeNormalization;

/// Canonical form of an address, for comparisons. See [`CanonicalAddress`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(String);

/// An address as typed, without surrounding white space, together with its canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    typed: String,
    address: Address,
}

impl Email {
    /// Parses a typed address. Surrounding white space is removed; otherwise the spelling is kept for display.
    pub fn parse(input: &str) -> Result<Self, EmailError> {
        let typed = input.trim();
        let canonical = CanonicalAddress::parse(typed)?;
        Ok(Self { typed: typed.to_owned(), address: Address(canonical.into_string()) })
    }

    /// Returns the address as typed, which the API shows.
    pub fn as_typed(&self) -> &str {
        &self.typed
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the recipient of a mail: the local part as typed, the domain in ASCII.
    ///
    /// Only the recipient's server may ignore the case of the local part (RFC 5321, section 2.4).
    pub fn mailbox(&self) -> String {
        let local = self.typed.rsplit_once('@').map_or("", |(local, _)| local);
        format!("{}@{}", local.nfc(), self.address.domain())
    }
}

impl Address {
    /// Returns an address that is stored in canonical form.
    pub fn from_canonical(address: String) -> Self {
        Self(address)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Hides the address, so that no log line and no panic message leaks it.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(…)")
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Email(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(input: &str) -> Result<String, EmailError> {
        Email::parse(input).map(|email| email.address().as_str().to_owned())
    }

    #[test]
    fn surrounding_white_space_and_case_do_not_matter() {
        for spelling in ["ada@example.com", "  Ada@Example.COM\n", "ADA@EXAMPLE.com"] {
            assert_eq!(canonical(spelling).unwrap(), "ada@example.com");
        }
    }

    #[test]
    fn typed_spelling_is_shown_and_the_mailbox_keeps_its_case() {
        let email = Email::parse(" Ada@Bücher.Example ").unwrap();
        assert_eq!(email.as_typed(), "Ada@Bücher.Example");
        assert_eq!(email.mailbox(), "Ada@xn--bcher-kva.example");
    }

    #[test]
    fn the_shared_syntax_decides_what_is_an_address() {
        assert_eq!(canonical("   "), Err(EmailError::Empty));
        assert_eq!(canonical("संपर्क@example.com").unwrap(), "संपर्क@example.com");
        assert_eq!(canonical("a＠b@example.com"), Err(EmailError::Variant));
        assert_eq!(canonical("a\u{FFFE}@example.com"), Err(EmailError::Unassigned));
    }
}
