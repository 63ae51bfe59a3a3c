//! The messages of a language. The files in `locales/` are part of the program; each is parsed once.

use std::sync::OnceLock;
use std::time::Duration;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use thiserror::Error;
use unic_langid::LanguageIdentifier;

use crate::domain::locale::Locale;

/// The files of a language.
macro_rules! files {
    ($tag:literal $(, $file:literal)*) => {
        &[$(($file, include_str!(concat!("locales/", $tag, "/", $file, ".ftl")))),*]
    };
}

/// The names and the contents of a language's files. English has no problem types: they are in the source code.
fn files(locale: Locale) -> &'static [(&'static str, &'static str)] {
    match locale {
        Locale::English => files!("en", "mails", "pages"),
        Locale::French => files!("fr", "mails", "pages", "problems"),
        Locale::German => files!("de", "mails", "pages", "problems"),
        Locale::Spanish => files!("es", "mails", "pages", "problems"),
        Locale::Arabic => files!("ar", "mails", "pages", "problems"),
    }
}

/// The messages of a language.
pub struct Catalogue {
    bundle: FluentBundle<FluentResource>,
}

/// The catalogues in the order of [`Locale::ALL`]. Each is parsed when its language is used first.
static CATALOGUES: [OnceLock<Catalogue>; Locale::ALL.len()] = [const { OnceLock::new() }; Locale::ALL.len()];

/// A message cannot be formatted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("no message has the name \"{0}\"")]
    Unknown(String),
    #[error("the message \"{name}\" {reason}")]
    Incomplete { name: String, reason: String },
}

impl Catalogue {
    /// Returns the messages of a language.
    pub fn of(locale: Locale) -> &'static Self {
        let index = Locale::ALL.iter().position(|other| *other == locale).expect("ALL has every language");
        CATALOGUES[index].get_or_init(|| Self::parse(locale))
    }

    /// # Panics
    /// If a file has a syntax error, or two messages have the same name. A test parses all files.
    fn parse(locale: Locale) -> Self {
        let identifier: LanguageIdentifier = locale.tag().parse().expect("a locale's tag is a language identifier");
        let mut bundle = FluentBundle::new_concurrent(vec![identifier]);
        // A value such as a name in Latin script must not change the order of the words around it. Left-to-right languages
        // do without: some mail programs show the invisible characters as boxes.
        bundle.set_use_isolating(locale.is_right_to_left());
        for (file, source) in files(locale) {
            let resource = FluentResource::try_new((*source).to_owned())
                .unwrap_or_else(|(_, errors)| panic!("{locale}/{file}.ftl: {errors:?}"));
            bundle.add_resource(resource).unwrap_or_else(|errors| panic!("{locale}/{file}.ftl: {errors:?}"));
        }
        Self { bundle }
    }

    pub fn has(&self, name: &str) -> bool {
        self.bundle.has_message(name)
    }

    /// Formats a message, in one line.
    ///
    /// # Errors
    /// There is no such message, or `args` lacks a variable of it.
    pub fn format(&self, name: &str, args: &FluentArgs<'_>) -> Result<String, MessageError> {
        self.format_attribute(name, None, args)
    }

    /// Formats an attribute of a message, or its value.
    ///
    /// # Errors
    /// Like [`format`](Self::format).
    pub fn format_attribute(
        &self,
        name: &str,
        attribute: Option<&str>,
        args: &FluentArgs<'_>,
    ) -> Result<String, MessageError> {
        let message = self.bundle.get_message(name);
        let pattern = message.and_then(|message| match attribute {
            Some(attribute) => message.get_attribute(attribute).map(|attribute| attribute.value()),
            None => message.value(),
        });
        let pattern = pattern.ok_or_else(|| MessageError::Unknown(name.to_owned()))?;
        let mut errors = vec![];
        let text = self.bundle.format_pattern(pattern, Some(args), &mut errors);
        match errors.first() {
            // The lines are those of the file.
            None => Ok(text.replace('\n', " ")),
            Some(error) => Err(MessageError::Incomplete { name: name.to_owned(), reason: error.to_string() }),
        }
    }

    /// Writes a duration in words: "one minute", "2 minutes", "90 seconds".
    pub fn duration(&self, duration: Duration) -> String {
        let seconds = duration.as_secs();
        let (name, n) = match seconds {
            seconds if seconds > 0 && seconds.is_multiple_of(3600) => ("hours", seconds / 3600),
            seconds if seconds > 0 && seconds.is_multiple_of(60) => ("minutes", seconds / 60),
            seconds => ("seconds", seconds),
        };
        let args = FluentArgs::from_iter([("n", n)]);
        self.format(name, &args).expect("every language has these messages; a test formats them")
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
