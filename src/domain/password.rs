//! What may be a password, after NIST SP 800-63B-4, section 3.1.1: length and a blocklist, no composition rules.

use std::collections::HashSet;
use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

use super::email::Email;

/// Characters (Unicode scalar values after NFC), not octets. An operator may ask for more.
pub const MIN_CHARACTERS: usize = 8;
/// Characters (Unicode scalar values after NFC), not octets. Bounds what one request may have hashed.
pub const MAX_CHARACTERS: usize = 128;

/// The passwords that attackers try first: 16,292 of at least eight characters, the union of the lists that Django
/// (BSD-3-Clause) and zxcvbn (MIT) ship, in lower case.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// A password in NFC, wiped from memory when dropped.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    #[error("must have at least {least} characters")]
    TooShort { least: usize },
    #[error("must have at most {MAX_CHARACTERS} characters")]
    TooLong,
    #[error("must not contain control characters: HTTP Basic authentication could not carry them (RFC 7617)")]
    Control,
    #[error("is one of the most common passwords: it would be guessed at once")]
    Common,
    #[error("is made of the e-mail address: it would be guessed at once")]
    MadeOfAddress,
}

impl Password {
    /// Parses a password that somebody chooses, of at least so many characters. Without an address (it was refused itself)
    /// all other rules still hold.
    pub fn choose(input: &str, email: Option<&Email>, least: usize) -> Result<Self, PasswordError> {
        let password = Self::present(input)?;
        let text = password.expose();
        if text.chars().count() < least {
            return Err(PasswordError::TooShort { least });
        }
        let folded = text.to_lowercase();
        if COMMON.contains(folded.as_str()) {
            return Err(PasswordError::Common);
        }
        match email {
            Some(email) => password.not_made_of(email),
            None => Ok(password),
        }
    }

    /// For who chose it before it was known for which address.
    pub fn not_made_of(self, email: &Email) -> Result<Self, PasswordError> {
        if is_made_of(&self.expose().to_lowercase(), email) { Err(PasswordError::MadeOfAddress) } else { Ok(self) }
    }

    /// Parses a password that is presented for authentication: only what nobody could have chosen is refused, so that
    /// a later, stricter policy locks nobody out.
    pub fn present(input: &str) -> Result<Self, PasswordError> {
        // A character decomposes into four at the most, so beyond that there is no need to normalise first.
        if input.chars().count() > 4 * MAX_CHARACTERS {
            return Err(PasswordError::TooLong);
        }
        let normalised = SecretString::from(input.nfc().collect::<String>());
        let text = normalised.expose_secret();
        if text.chars().count() > MAX_CHARACTERS {
            return Err(PasswordError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PasswordError::Control);
        }
        Ok(Self(normalised))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Whether fewer than five characters are left of the password once the parts of the address are taken out.
fn is_made_of(password: &str, email: &Email) -> bool {
    let typed: String = email.as_typed().nfc().collect::<String>().to_lowercase();
    let mut parts = vec![];
    for whole in [typed.as_str(), email.address().as_str()] {
        let (local, domain) = whole.rsplit_once('@').unwrap_or((whole, ""));
        // The top-level domain is nobody's own.
        let (name, _) = domain.rsplit_once('.').unwrap_or((domain, ""));
        parts.extend([whole, local, domain, name]);
        parts.extend([local, name].iter().flat_map(|part| part.split(|c: char| !c.is_alphanumeric())));
    }
    parts.retain(|part| part.chars().count() >= 2);
    // Longest first: else "ada" is taken out of "adalovelace" before "adalovelace" can be.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));

    let mut rest = password.to_owned();
    for part in parts {
        rest = rest.replace(part, "");
    }
    rest.len() < password.len() && rest.chars().count() < 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email::Email;

    fn choose(input: &str) -> Result<String, PasswordError> {
        let email = Email::parse("ada.lovelace@engine.example").unwrap();
        Password::choose(input, Some(&email), MIN_CHARACTERS).map(|password| password.expose().to_owned())
    }

    #[test]
    fn length_counts_characters_after_nfc() {
        assert_eq!(choose("k7#qZp2"), Err(PasswordError::TooShort { least: 8 }));
        assert!(choose("k7#qZp2x").is_ok());
        assert!(choose(&"🦀".repeat(8)).is_ok());
        assert_eq!(choose(&"🦀".repeat(7)), Err(PasswordError::TooShort { least: 8 }));
        assert!(choose(&"🦀".repeat(128)).is_ok());
        assert_eq!(choose(&"🦀".repeat(129)), Err(PasswordError::TooLong));
        assert_eq!(choose(&"e\u{301}".repeat(7)), Err(PasswordError::TooShort { least: 8 }));
        assert!(choose(&"e\u{301}".repeat(128)).is_ok());
        assert_eq!(choose(&"x".repeat(1_000_000)), Err(PasswordError::TooLong));
    }

    #[test]
    fn the_longest_decomposition_still_fits() {
        assert!(choose(&"\u{3b1}\u{313}\u{300}\u{345}".repeat(128)).is_ok());
        assert_eq!(choose(&"\u{3b1}\u{313}\u{300}\u{345}".repeat(129)), Err(PasswordError::TooLong));
    }

    #[test]
    fn combining_forms_are_one_password() {
        assert_eq!(choose("cafe\u{301} noir 9"), choose("caf\u{e9} noir 9"));
    }

    #[test]
    fn what_basic_authentication_cannot_carry_is_refused() {
        for input in ["correct\0horse", "correct\nhorse", "correct\u{85}horse"] {
            assert_eq!(choose(input), Err(PasswordError::Control));
        }
    }

    #[test]
    fn common_ones_are_refused_in_any_case() {
        assert!(COMMON.len() >= 10_000);
        for input in ["password", "PassWord", "12345678", "qwertyuiop"] {
            assert_eq!(choose(input), Err(PasswordError::Common));
        }
    }

    #[test]
    fn the_address_is_no_password() {
        for input in
            ["ada.lovelace", "AdaLovelace1815", "lovelace-lovelace", "ada.lovelace@engine.example", "engine.example!"]
        {
            assert_eq!(choose(input), Err(PasswordError::MadeOfAddress), "{input}");
        }
        for input in ["lovelace loves engines", "adamant steam lock", "correct horse battery"] {
            assert!(choose(input).is_ok(), "{input}");
        }
        let made =
            |password, email| Password::choose(password, Some(&Email::parse(email).unwrap()), MIN_CHARACTERS).err();
        assert_eq!(made("bücher.example", "ada@bücher.example"), Some(PasswordError::MadeOfAddress));
        assert_eq!(made("jojojojojo", "jo@ex.example"), Some(PasswordError::MadeOfAddress));
        assert_eq!(made("7391-com-2846!", "plain@pw.com"), None);
    }

    #[test]
    fn it_does_not_print() {
        assert!(!format!("{:?}", Password::present("correct horse").unwrap()).contains("horse"));
    }
}
