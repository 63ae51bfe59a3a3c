//! E-mail addresses, and the canonical form by which they are compared.

use email_address::{EmailAddress, Options};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

/// Maximum length of an address: RFC 5321, section 4.5.3.1.3, less the two angle brackets of the path.
pub const MAX_OCTETS: usize = 254;
/// Maximum length of the local part, before the @ (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_OCTETS: usize = 64;

/// Canonical form of an address, for comparisons: NFC, lower case, the domain in ASCII.
///
/// Dots and plus-tags stay: their meaning differs between mailbox providers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(String);

/// An address as typed, without surrounding white space, together with its canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    typed: String,
    address: Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EmailError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {MAX_OCTETS} octets long")]
    TooLong,
    #[error("must have an @ between a mailbox and a domain")]
    NoAt,
    #[error("must not contain a colon: HTTP Basic authentication could not carry it (RFC 7617)")]
    Colon,
    #[error("must not contain spaces, control characters or invisible ones")]
    Invisible,
    #[error("must have a domain name that can be registered, such as example.com")]
    Domain,
    #[error("must have a mailbox name of RFC 5322 without quotes or comments before the @")]
    Local,
}

impl Email {
    /// Parses a typed address. Surrounding white space is removed; otherwise the spelling is kept for display.
    pub fn parse(input: &str) -> Result<Self, EmailError> {
        let typed = input.trim();
        if typed.is_empty() {
            return Err(EmailError::Empty);
        }
        if typed.len() > MAX_OCTETS {
            return Err(EmailError::TooLong);
        }
        if typed.chars().any(|c| c.is_whitespace() || c.is_control() || is_invisible(c)) {
            return Err(EmailError::Invisible);
        }
        let (local, domain) = typed.rsplit_once('@').ok_or(EmailError::NoAt)?;
        if local.contains(':') || domain.contains(':') {
            return Err(EmailError::Colon);
        }
        let domain = canonical_domain(domain)?;
        // NFC comes first, because case mapping works on characters, and last, because lower-casing can leave NFC.
        let local: String = local.nfc().collect::<String>().to_lowercase().nfc().collect();
        // A quoted local part can be a second spelling of an unquoted one (RFC 5321, section 4.1.2).
        if local.contains('"') {
            return Err(EmailError::Local);
        }
        let canonical = format!("{local}@{domain}");
        if canonical.len() > MAX_OCTETS {
            return Err(EmailError::TooLong);
        }
        if local.len() > MAX_LOCAL_OCTETS {
            return Err(EmailError::Local);
        }
        // Non-ASCII characters are allowed like letters (RFC 6531, section 3.3). Many scripts need combining marks.
        let letters: String = canonical.chars().map(|c| if c.is_ascii() { c } else { 'x' }).collect();
        let options = Options { minimum_sub_domains: 2, allow_domain_literal: false, allow_display_text: false };
        EmailAddress::parse_with_options(&letters, options).map_err(|_| EmailError::Local)?;
        Ok(Self { typed: typed.to_owned(), address: Address(canonical) })
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

fn canonical_domain(domain: &str) -> Result<String, EmailError> {
    let ascii = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| EmailError::Domain)?;
    // A domain whose last label is numeric is an IPv4 address, not a name (RFC 3696, section 2).
    match ascii.rsplit_once('.') {
        Some((_, last)) if !last.bytes().all(|b| b.is_ascii_digit()) => Ok(ascii.into_owned()),
        _ => Err(EmailError::Domain),
    }
}

/// Whether a character is invisible (Unicode's `Default_Ignorable_Code_Point`). Such characters make two different
/// addresses look the same.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(input: &str) -> Result<String, EmailError> {
        Email::parse(input).map(|email| email.address().as_str().to_owned())
    }

    #[test]
    fn different_spellings_have_one_canonical_form() {
        for spelling in ["ada@example.com", "  Ada@Example.COM\n", "ADA@EXAMPLE.com"] {
            assert_eq!(canonical(spelling).unwrap(), "ada@example.com");
        }
        // Combining and composed forms, in local part and domain.
        assert_eq!(canonical("e\u{301}@bu\u{308}cher.example"), canonical("É@BÜCHER.example"));
        assert_eq!(canonical("ada@bücher.example").unwrap(), "ada@xn--bcher-kva.example");
        assert_eq!(canonical("a@xn--bcher-kva.example").unwrap(), "a@xn--bcher-kva.example");
    }

    #[test]
    fn typed_spelling_is_shown_and_the_mailbox_keeps_its_case() {
        let email = Email::parse(" Ada@Bücher.Example ").unwrap();
        assert_eq!(email.as_typed(), "Ada@Bücher.Example");
        assert_eq!(email.mailbox(), "Ada@xn--bcher-kva.example");
    }

    #[test]
    fn local_part_may_use_any_script() {
        for address in ["用户@example.com", "संपर्क@example.com", "ผู้ใช้@example.com", "العَرَبِيّة@example.com"]
        {
            assert_eq!(canonical(address).unwrap(), address);
        }
        let long = "é".repeat(32);
        assert!(canonical(&format!("{long}@example.com")).is_ok());
        assert_eq!(canonical(&format!("{long}a@example.com")), Err(EmailError::Local));
    }

    #[test]
    fn dots_and_plus_tags_make_different_addresses() {
        assert_ne!(canonical("a.da@example.com"), canonical("ada@example.com"));
        assert_ne!(canonical("ada+x@example.com"), canonical("ada@example.com"));
    }

    #[test]
    fn invalid_addresses_are_refused_with_their_reason() {
        use EmailError::*;
        let long = format!("{}@{}.example.com", "a".repeat(60), "b".repeat(60)).repeat(3);
        for (input, reason) in [
            ("", Empty),
            ("   ", Empty),
            ("ada", NoAt),
            ("ada@", Domain),
            ("@example.com", Local),
            ("ada@localhost", Domain),
            ("ada@-example.com", Domain),
            ("ada@example-.com", Domain),
            ("ada@example..com", Domain),
            ("ada@.example.com", Domain),
            ("ada@example.com.", Domain),
            ("ada@exa_mple.com", Domain),
            ("ada@127.0.0.1", Domain),
            ("ada@[127.0.0.1]", Domain),
            ("a:b@example.com", Colon),
            ("ada@example.com:25", Colon),
            ("ada\r\nBcc: eve@example.com@example.com", Invisible),
            ("a da@example.com", Invisible),
            ("ada\0@example.com", Invisible),
            ("ad\u{200b}a@example.com", Invisible),
            ("ad\u{3164}a@example.com", Invisible),
            ("\"ada\"@example.com", Local),
            ("a@da@example.com", Local),
            (".ada@example.com", Local),
            ("ada..l@example.com", Local),
            ("Ada <ada@example.com>", Invisible),
            (long.as_str(), TooLong),
        ] {
            assert_eq!(canonical(input), Err(reason), "{input:?}");
        }
    }

    #[test]
    fn address_has_at_most_254_octets() {
        let of = |n: usize| {
            let domain = format!("{}.{}.{}.example", "b".repeat(60), "c".repeat(60), "d".repeat(n - 64 - 131));
            format!("{}@{domain}", "a".repeat(64))
        };
        assert_eq!(of(254).len(), 254);
        assert!(canonical(&of(254)).is_ok());
        assert_eq!(canonical(&of(255)), Err(EmailError::TooLong));
    }

    proptest! {
        #[test]
        fn canonicalisation_is_idempotent(input in "\\PC{0,40}@\\PC{1,20}\\.[a-zé]{2,5}") {
            if let Ok(once) = canonical(&input) {
                prop_assert_eq!(canonical(&once), Ok(once));
            }
        }

        #[test]
        fn parsing_never_panics(input in any::<String>()) {
            let _ = canonical(&input);
        }
    }
}
