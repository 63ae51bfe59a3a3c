//! Rules for passwords and codes that operators can make stricter.

use super::code::{Code, CodeError, CodeLength};
use super::email::Email;
use super::password::{MIN_CHARACTERS, Password, PasswordError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Minimum number of characters of a new password, at least [`MIN_CHARACTERS`].
    pub password_min: usize,
    /// Length of a short code.
    pub code_length: CodeLength,
}

impl Default for Policy {
    fn default() -> Self {
        Self { password_min: MIN_CHARACTERS, code_length: CodeLength::FOUR }
    }
}

impl Policy {
    /// Parses a new password. `email` is `None` if the address is invalid or not known yet; all other rules still apply.
    pub fn password(&self, input: &str, email: Option<&Email>) -> Result<Password, PasswordError> {
        Password::choose(input, email, self.password_min)
    }

    /// Parses a guess. A guess of a length that no code has is refused here, so that it does not count as a wrong guess.
    pub fn code(&self, input: &str) -> Result<Code, CodeError> {
        let lengths = [self.code_length.digits(), CodeLength::TEN.digits()];
        Code::parse(input).and_then(|code| if lengths.contains(&input.len()) { Ok(code) } else { Err(CodeError) })
    }

    /// Returns the rule of [`Policy::code`] as a regular expression (ECMA-262).
    pub fn code_pattern(&self) -> String {
        match self.code_length.digits() {
            10 => "^[0-9]{10}$".to_owned(),
            digits => format!("^[0-9]{{{digits}}}([0-9]{{{}}})?$", 10 - digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_of_other_lengths_are_refused() {
        let lengths = |policy: Policy| (0..=12).filter(|n| policy.code(&"7".repeat(*n)).is_ok()).collect::<Vec<_>>();
        assert_eq!(lengths(Policy::default()), [4, 10]);
        assert_eq!(lengths(Policy { code_length: CodeLength::new(6).unwrap(), ..Policy::default() }), [6, 10]);
        assert_eq!(lengths(Policy { code_length: CodeLength::TEN, ..Policy::default() }), [10]);
        assert!(Policy::default().code("00a2").is_err());
    }

    #[test]
    fn pattern_matches_the_allowed_lengths() {
        assert_eq!(Policy::default().code_pattern(), "^[0-9]{4}([0-9]{6})?$");
        let six = Policy { code_length: CodeLength::new(6).unwrap(), ..Policy::default() };
        assert_eq!(six.code_pattern(), "^[0-9]{6}([0-9]{4})?$");
    }
}
