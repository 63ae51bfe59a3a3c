//! Characters that the local part of an address may contain.
//!
//! RFC 6532 allows nearly all of Unicode. Providers refuse some of it, and people cannot read other parts.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::EmailError;

/// Maximum number of non-spacing marks in a row (Unicode Technical Standard 39, section 5.4).
pub const MAX_MARKS: usize = 4;

/// Characters with a meaning in the syntax of addresses (`specials` of RFC 5322, section 3.2.3).
const SPECIALS: &str = "()<>[]:;@\\,.\"";

/// Whether a character is white space, a control character, a format character, or invisible.
pub fn is_invisible(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c.general_category() == GeneralCategory::Format || is_default_ignorable(c)
}

/// Checks the characters of a local part.
///
/// # Errors
/// The first reason to refuse it.
pub fn check_local(local: &str) -> Result<(), EmailError> {
    if local.chars().any(has_no_meaning) {
        return Err(EmailError::Unassigned);
    }
    if local.chars().any(is_variant_of_special) {
        return Err(EmailError::Variant);
    }
    // NFD, so that a composed character counts like its letter and its marks.
    let mut marks = 0;
    for (index, c) in local.nfd().enumerate() {
        marks = if is_nonspacing_mark(c) { marks + 1 } else { 0 };
        // A mark at the start would combine with the character before the address.
        if marks > MAX_MARKS || (marks > 0 && index == 0) {
            return Err(EmailError::Marks);
        }
    }
    Ok(())
}

/// Whether Unicode gives the character no meaning: unassigned (also the non-characters, such as U+FFFE), private use, or
/// U+FFFD, which replaces octets that could not be decoded.
fn has_no_meaning(c: char) -> bool {
    matches!(c.general_category(), GeneralCategory::Unassigned | GeneralCategory::PrivateUse)
        || c == char::REPLACEMENT_CHARACTER
}

/// Whether the compatibility form (NFKC) of a non-ASCII character contains a special or a space. A system that
/// normalises addresses would read another address: `a＠b@example.com` becomes `a@b@example.com`.
fn is_variant_of_special(c: char) -> bool {
    !c.is_ascii() && std::iter::once(c).nfkc().any(|part| SPECIALS.contains(part) || part.is_whitespace())
}

fn is_nonspacing_mark(c: char) -> bool {
    matches!(c.general_category(), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// Whether a character is invisible (Unicode's `Default_Ignorable_Code_Point`). Such characters make two different
/// addresses look the same.
pub fn is_default_ignorable(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}
