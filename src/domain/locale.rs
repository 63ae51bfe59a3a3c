//! The languages of mails and pages.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A language that the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locale {
    English,
    French,
    German,
    Spanish,
    Arabic,
}

impl Locale {
    pub const ALL: [Self; 5] = [Self::English, Self::French, Self::German, Self::Spanish, Self::Arabic];

    /// The language tag (BCP 47).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
            Self::German => "de",
            Self::Spanish => "es",
            Self::Arabic => "ar",
        }
    }

    /// The name of the language in itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::French => "Français",
            Self::German => "Deutsch",
            Self::Spanish => "Español",
            Self::Arabic => "العربية",
        }
    }

    pub fn is_right_to_left(self) -> bool {
        matches!(self, Self::Arabic)
    }

    /// The value of the HTML attribute `dir`.
    pub fn direction(self) -> &'static str {
        if self.is_right_to_left() { "rtl" } else { "ltr" }
    }

    /// Returns the language for a language range: `de-AT` and `DE` select `de` (RFC 4647, section 3.4, Lookup).
    pub fn lookup(range: &str) -> Option<Self> {
        let mut range = range;
        loop {
            if let Some(found) = Self::ALL.into_iter().find(|locale| range.eq_ignore_ascii_case(locale.tag())) {
                return Some(found);
            }
            (range, _) = range.rsplit_once('-')?;
        }
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

/// The service does not speak this language.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be one of {}", supported())]
pub struct UnsupportedLocale;

/// All tags, for people: `en, fr, de`.
fn supported() -> String {
    Locale::ALL.map(Locale::tag).join(", ")
}

impl FromStr for Locale {
    type Err = UnsupportedLocale;

    /// Parses one of the tags, in lower case.
    fn from_str(tag: &str) -> Result<Self, UnsupportedLocale> {
        Self::ALL.into_iter().find(|locale| locale.tag() == tag).ok_or(UnsupportedLocale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_selects_the_language_of_its_longest_known_prefix() {
        for (range, expected) in [
            ("de", Some(Locale::German)),
            ("DE-at", Some(Locale::German)),
            ("zh-Hant-TW", None),
            ("ar-Arab-EG-x-private", Some(Locale::Arabic)),
            ("des", None),
            ("*", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(Locale::lookup(range), expected, "{range}");
        }
    }

    #[test]
    fn only_supported_tags_are_parsed() {
        for locale in Locale::ALL {
            assert_eq!(locale.tag().parse(), Ok(locale));
        }
        for tag in ["", "DE", "de-AT", "pt", "deutsch"] {
            let refused = tag.parse::<Locale>().unwrap_err();
            assert_eq!(refused.to_string(), "must be one of en, fr, de, es, ar", "{tag}");
        }
    }
}
