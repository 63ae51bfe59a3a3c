//! The syntax of e-mail addresses: which addresses are valid, and their canonical form.
//!
//! The service and the mock mail provider share this crate, so the mock refuses no address that the service accepts.
//! Otherwise anybody could register an address whose mails are always given up.

mod characters;

pub use characters::is_default_ignorable;
use email_address::{EmailAddress, Options};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

/// Maximum length of an address: RFC 5321, section 4.5.3.1.3, less the two angle brackets of the path.
pub const MAX_OCTETS: usize = 254;
/// Maximum length of the local part, before the @ (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_OCTETS: usize = 64;

/// A valid address in its canonical form, for comparisons: NFC, lower case, the domain in ASCII.
///
/// Dots and plus-tags stay: their meaning differs between mailbox providers.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalAddress(String);

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
    #[error("must not contain unassigned or private-use characters")]
    Unassigned,
    #[error("must not contain characters that are variants of ASCII punctuation, such as a full-width @")]
    Variant,
    #[error("must have at most {} combining marks in a row, each after a letter", characters::MAX_MARKS)]
    Marks,
    #[error("must have a domain name that can be registered, such as example.com")]
    Domain,
    #[error("must have a mailbox name of RFC 5322 without quotes or comments before the @")]
    Local,
}

impl CanonicalAddress {
    /// Parses an address without surrounding white space.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        if text.is_empty() {
            return Err(EmailError::Empty);
        }
        if text.len() > MAX_OCTETS {
            return Err(EmailError::TooLong);
        }
        if text.chars().any(characters::is_invisible) {
            return Err(EmailError::Invisible);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::NoAt)?;
        if local.contains(':') || domain.contains(':') {
            return Err(EmailError::Colon);
        }
        let domain = canonical_domain(domain)?;
        characters::check_local(local)?;
        // NFC comes first, because case mapping works on characters, and last, because lower-casing can leave NFC.
        let typed: String = local.nfc().collect();
        let local: String = typed.to_lowercase().nfc().collect();
        // A quoted local part can be a second spelling of an unquoted one (RFC 5321, section 4.1.2).
        if local.contains('"') {
            return Err(EmailError::Local);
        }
        // Mails go to the typed spelling, so both spellings must fit.
        if typed.len().max(local.len()) + '@'.len_utf8() + domain.len() > MAX_OCTETS {
            return Err(EmailError::TooLong);
        }
        if typed.len().max(local.len()) > MAX_LOCAL_OCTETS {
            return Err(EmailError::Local);
        }
        let canonical = format!("{local}@{domain}");
        // Non-ASCII characters are allowed like letters (RFC 6531, section 3.3). Many scripts need combining marks.
        let letters: String = canonical.chars().map(|c| if c.is_ascii() { c } else { 'x' }).collect();
        let options = Options { minimum_sub_domains: 2, allow_domain_literal: false, allow_display_text: false };
        EmailAddress::parse_with_options(&letters, options).map_err(|_| EmailError::Local)?;
        Ok(Self(canonical))
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// Hides the address, so that no log line and no panic message leaks it.
impl std::fmt::Debug for CanonicalAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CanonicalAddress(…)")
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> Result<String, EmailError> {
        CanonicalAddress::parse(text).map(CanonicalAddress::into_string)
    }

    #[test]
    fn different_spellings_have_one_canonical_form() {
        for spelling in ["ada@example.com", "Ada@Example.COM", "ADA@EXAMPLE.com"] {
            assert_eq!(canonical(spelling).unwrap(), "ada@example.com");
        }
        // Combining and composed forms, in local part and domain.
        assert_eq!(canonical("e\u{301}@bu\u{308}cher.example"), canonical("É@BÜCHER.example"));
        assert_eq!(canonical("ada@bücher.example").unwrap(), "ada@xn--bcher-kva.example");
        assert_eq!(canonical("a@xn--bcher-kva.example").unwrap(), "a@xn--bcher-kva.example");
    }

    #[test]
    fn local_part_may_use_any_script() {
        for address in [
            "用户@example.com",
            "संपर्क@example.com",
            "श्रीराम@example.com",
            "ผู้ใช้@example.com",
            "น้ำ@example.com",
            "العَرَبِيّة@example.com",
            "ངུས་བརྒྱུད@example.com",
            "မြွှုပ်@example.com",
            "việt@example.com",
            "한국@example.com",
            "o’brien@example.com",
            "🦀@example.com",
        ] {
            assert_eq!(canonical(address).unwrap(), address);
        }
        let long = "é".repeat(32);
        assert!(canonical(&format!("{long}@example.com")).is_ok());
        assert_eq!(canonical(&format!("{long}a@example.com")), Err(EmailError::Local));
        // The lower case ß has one octet less.
        assert_eq!(canonical(&format!("{}@example.com", "ẞ".repeat(22))), Err(EmailError::Local));
    }

    #[test]
    fn dots_and_plus_tags_make_different_addresses() {
        assert_ne!(canonical("a.da@example.com"), canonical("ada@example.com"));
        assert_ne!(canonical("ada+x@example.com"), canonical("ada@example.com"));
    }

    #[test]
    fn characters_that_providers_refuse_are_refused() {
        use EmailError::*;
        for (local, reason) in [
            // Full-width and small variants of @, and other characters whose NFKC has an RFC 5322 special or a space.
            ("a＠b", Variant),
            ("a﹫b", Variant),
            ("a＂b", Variant),
            ("a＜b＞", Variant),
            ("a…b", Variant),
            ("a´b", Variant),
            ("a：b", Variant),
            ("a℀，b", Variant),
            // Non-characters.
            ("a\u{FFFE}", Unassigned),
            ("a\u{FFFF}", Unassigned),
            ("a\u{FDD0}", Unassigned),
            ("a\u{1FFFE}", Unassigned),
            ("a\u{10FFFF}", Unassigned),
            // Unassigned and private-use characters.
            ("a\u{378}", Unassigned),
            ("a\u{50000}", Unassigned),
            ("a\u{E000}", Unassigned),
            ("a\u{F8FF}", Unassigned),
            ("a\u{10FFFD}", Unassigned),
            // Combining marks.
            ("a\u{301}\u{302}\u{303}\u{304}\u{305}", Marks),
            ("á\u{302}\u{303}\u{304}\u{305}", Marks),
            ("a\u{20DD}\u{20DD}\u{20DD}\u{20DD}\u{20DD}", Marks),
            ("\u{301}a", Marks),
            ("\u{338}", Marks),
            // Format characters, also visible ones.
            ("a\u{600}", Invisible),
            ("a\u{202E}b", Invisible),
            ("a\u{FFF9}b", Invisible),
            ("a\u{E0041}", Invisible),
            // A replacement character shows that text was decoded wrongly.
            ("a\u{FFFD}b", Unassigned),
        ] {
            assert_eq!(canonical(&format!("{local}@example.com")), Err(reason), "{local:?}");
        }
        assert!(canonical("a\u{301}\u{302}\u{303}\u{304}@example.com").is_ok());
        for domain in ["exa＠mple.com", "exa\u{FFFE}mple.com", "exa\u{E000}mple.com", "\u{301}example.com"] {
            assert!(canonical(&format!("ada@{domain}")).is_err(), "{domain:?}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused_with_their_reason() {
        use EmailError::*;
        let long = format!("{}@{}.example.com", "a".repeat(60), "b".repeat(60)).repeat(3);
        for (input, reason) in [
            ("", Empty),
            (" ada@example.com", Invisible),
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
        fn accepted_addresses_have_one_at_sign_in_every_normalisation_form(input in "\\PC{1,10}@example\\.com") {
            if let Ok(address) = canonical(&input) {
                prop_assert_eq!(address.nfkc().filter(|c| *c == '@').count(), 1);
            }
        }

        #[test]
        fn parsing_never_panics(input in any::<String>()) {
            let _ = canonical(&input);
        }
    }
}
