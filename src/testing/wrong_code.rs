//! Wrong guesses for tests.

use crate::domain::code::Code;

/// Returns a code of the same length that differs from `code` in every digit.
pub fn wrong_code_for(code: &Code) -> Code {
    let swapped = code.expose().chars().map(|digit| if digit == '0' { '1' } else { '0' });
    Code::parse(&swapped.collect::<String>()).expect("digits")
}
