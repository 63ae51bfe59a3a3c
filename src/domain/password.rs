//! Password rules of NIST SP 800-63B-4, section 3.1.1: a length and a blocklist, no composition rules.

use std::collections::HashSet;
use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

use super::email::Email;

/// Minimum length in characters (Unicode scalar values after NFC), not octets. `PASSWORD_MIN_LENGTH` can raise it.
pub const MIN_CHARACTERS: usize = 8;
/// Maximum length in characters (Unicode scalar values after NFC), not octets. Limits the hashing work of one request.
pub const MAX_CHARACTERS: usize = 128;

/// Blocklist of 16,292 common passwords of at least eight characters, in lower case. Sources: Django (BSD-3-Clause) and
/// zxcvbn (MIT).
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// A password in NFC, and as it was typed. Its memory is zeroed on drop.
#[derive(Clone, Debug)]
pub struct Password {
    nfc: SecretString,
    /// `None` if it was typed in NFC.
    typed: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    #[error("must have at least {least} characters")]
    TooShort { least: usize },
    #[error("must have at most {MAX_CHARACTERS} characters")]
    TooLong,
    #[error("must not contain control characters: HTTP Basic authentication could not carry them (RFC 7617)")]
    Control,
    #[error("is one of the most common passwords: attackers try it first")]
    Common,
    #[error("consists of parts of the e-mail address: attackers try it first")]
    MadeOfAddress,
}

impl Password {
    /// Parses a new password of at least `least` characters. `email` is `None` if the address is invalid or not known yet;
    /// all other rules still apply.
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

    /// Applies the one rule that needs the address, to a password that was parsed without it.
    pub fn not_made_of(self, email: &Email) -> Result<Self, PasswordError> {
        if is_made_of(&self.expose().to_lowercase(), email) { Err(PasswordError::MadeOfAddress) } else { Ok(self) }
    }

    /// Parses a password for authentication. Refuses only what no policy ever allowed, so that a stricter policy locks
    /// nobody out.
    pub fn present(input: &str) -> Result<Self, PasswordError> {
        // A character decomposes into at most four. So a longer input is too long in NFC, too.
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
        let typed = (text != input).then(|| SecretString::from(input.to_owned()));
        Ok(Self { nfc: normalised, typed })
    }

    pub fn expose(&self) -> &str {
        self.nfc.expose_secret()
    }

    /// Returns the password without normalization, as another system may have hashed it.
    pub fn as_typed(&self) -> &str {
        self.typed.as_ref().unwrap_or(&self.nfc).expose_secret()
    }
}

/// Whether fewer than five characters remain of the password after the parts of the address are removed.
fn is_made_of(password: &str, email: &Email) -> bool {
    let typed: String = email.as_typed().nfc().collect::<String>().to_lowercase();
    let mut parts = vec![];
    for whole in [typed.as_str(), email.address().as_str()] {
        let (local, domain) = whole.rsplit_once('@').unwrap_or((whole, ""));
        // The top-level domain is not specific to the user.
        let (name, _) = domain.rsplit_once('.').unwrap_or((domain, ""));
        parts.extend([whole, local, domain, name]);
        parts.extend([local, name].iter().flat_map(|part| part.split(|c: char| !c.is_alphanumeric())));
    }
    parts.retain(|part| part.chars().count() >= 2);
    // Longest first. Otherwise removing "ada" would break "adalovelace" apart.
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
    fn password_of_128_fully_decomposed_characters_is_accepted() {
        assert!(choose(&"\u{3b1}\u{313}\u{300}\u{345}".repeat(128)).is_ok());
        assert_eq!(choose(&"\u{3b1}\u{313}\u{300}\u{345}".repeat(129)), Err(PasswordError::TooLong));
    }

    #[test]
    fn composed_and_decomposed_forms_are_the_same_password() {
        assert_eq!(choose("cafe\u{301} noir 9"), choose("caf\u{e9} noir 9"));
    }

    #[test]
    fn control_characters_are_refused() {
        for input in ["correct\0horse", "correct\nhorse", "correct\u{85}horse"] {
            assert_eq!(choose(input), Err(PasswordError::Control));
        }
    }

    #[test]
    fn common_passwords_are_refused_in_any_letter_case() {
        assert!(COMMON.len() >= 10_000);
        for input in ["password", "PassWord", "12345678", "qwertyuiop"] {
            assert_eq!(choose(input), Err(PasswordError::Common));
        }
    }

    #[test]
    fn password_made_of_the_address_is_refused() {
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
    fn debug_output_hides_the_password() {
        assert!(!format!("{:?}", Password::present("correct horse").unwrap()).contains("horse"));
    }
}
