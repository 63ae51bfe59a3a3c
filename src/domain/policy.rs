//! Rules for addresses, passwords and codes that operators can make stricter.

use super::code::{Code, CodeError, CodeLength};
use super::email::{Email, EmailError};
use super::email_domains::EmailDomains;
use super::password::{MIN_CHARACTERS, Password, PasswordError};
use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Minimum number of characters of a new password, at least [`MIN_CHARACTERS`].
    pub password_min: usize,
    /// Length of a short code.
    pub code_length: CodeLength,
    /// Length of a reset code.
    pub reset_code_length: CodeLength,
    /// Domains of new addresses.
    pub email_domains: EmailDomains,
}

/// Why an address cannot become the address of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NewEmailError {
    #[error(transparent)]
    Syntax(#[from] EmailError),
    #[error("must have a domain whose addresses this service accepts (EMAIL_DOMAINS)")]
    Domain,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            password_min: MIN_CHARACTERS,
            code_length: CodeLength::FOUR,
            reset_code_length: CodeLength::EIGHT,
            email_domains: EmailDomains::default(),
        }
    }
}

impl Policy {
    /// Parses an address that is to become the address of a user: at a registration, or by a change of the address.
    ///
    /// The rule of the domains reads no store, so that its result tells nothing about accounts. It does not apply to addresses
    /// of existing users.
    pub fn email(&self, input: &str) -> Result<Email, NewEmailError> {
        let email = Email::parse(input)?;
        if self.email_domains.allow(email.address()) { Ok(email) } else { Err(NewEmailError::Domain) }
    }

    /// Parses a new password. `email` is `None` if the address is invalid or not known yet; all other rules still apply.
    pub fn password(&self, input: &str, email: Option<&Email>) -> Result<Password, PasswordError> {
        Password::choose(input, email, self.password_min)
    }

    /// Parses a guess. A guess of a length that no code has is refused here, so that it does not count as a wrong guess.
    pub fn code(&self, input: &str) -> Result<Code, CodeError> {
        code_of_length(input, &[self.code_length, CodeLength::TEN])
    }

    /// Parses a guess at a reset code, like [`Policy::code`].
    pub fn reset_code(&self, input: &str) -> Result<Code, CodeError> {
        code_of_length(input, &[self.reset_code_length])
    }

    /// Returns a regular expression (ECMA-262) that matches every guess that [`Policy::code`] accepts.
    ///
    /// It requires half as many characters as a code has digits, because a character such as `⑫` stands for two. It excludes
    /// ASCII letters and most symbols. It cannot be exact: the digits of all scripts are no character class that every
    /// language knows. It contains no `/`, which ends a literal regular expression in many languages.
    pub fn code_pattern(&self) -> String {
        pattern(self.code_length)
    }

    /// Returns a regular expression for [`Policy::reset_code`], like [`Policy::code_pattern`].
    pub fn reset_code_pattern(&self) -> String {
        pattern(self.reset_code_length)
    }
}

fn code_of_length(input: &str, lengths: &[CodeLength]) -> Result<Code, CodeError> {
    let code = Code::parse(input)?;
    if lengths.iter().any(|length| length.digits() == code.expose().len()) { Ok(code) } else { Err(CodeError) }
}

fn pattern(shortest: CodeLength) -> String {
    format!("^[^!-,:-~]{{{},}}$", shortest.digits().div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_domain_is_refused_without_repeating_it() {
        let policy = Policy { email_domains: "example.com".parse().unwrap(), ..Policy::default() };
        assert!(policy.email(" Ada@EXAMPLE.com").is_ok());
        assert_eq!(policy.email("ada@example.org"), Err(NewEmailError::Domain));
        assert!(!NewEmailError::Domain.to_string().contains("example"));
        assert_eq!(policy.email("ada"), Err(NewEmailError::Syntax(EmailError::NoAt)));
        assert!(Policy::default().email("ada@example.org").is_ok());
    }

    #[test]
    fn guesses_of_other_lengths_are_refused() {
        let lengths = |policy: Policy| (0..=12).filter(|n| policy.code(&"7".repeat(*n)).is_ok()).collect::<Vec<_>>();
        assert_eq!(lengths(Policy::default()), [4, 10]);
        assert_eq!(lengths(Policy { code_length: CodeLength::new(6).unwrap(), ..Policy::default() }), [6, 10]);
        assert_eq!(lengths(Policy { code_length: CodeLength::TEN, ..Policy::default() }), [10]);
        assert!(Policy::default().code("00a2").is_err());
        // Only the digits count.
        assert_eq!(Policy::default().code("\u{FEFF}00-42 ").unwrap().expose(), "0042");
        assert_eq!(Policy::default().code("12345 67890").unwrap().expose(), "1234567890");
        assert!(Policy::default().code("00 42 6").is_err());
        assert_eq!(Policy::default().reset_code("1234 5678").unwrap().expose(), "12345678");
        for other in ["1234", "1234567", "123456789", "1234567890"] {
            assert!(Policy::default().reset_code(other).is_err(), "{other}");
        }
    }

    #[test]
    fn pattern_requires_half_as_many_characters_as_the_shortest_code_has_digits() {
        assert_eq!(Policy::default().code_pattern(), "^[^!-,:-~]{2,}$");
        let six = Policy { code_length: CodeLength::new(6).unwrap(), ..Policy::default() };
        assert_eq!(six.code_pattern(), "^[^!-,:-~]{3,}$");
    }
}
