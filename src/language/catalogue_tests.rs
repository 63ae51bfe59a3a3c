use std::collections::{BTreeMap, BTreeSet};

use fluent_syntax::ast::{self, Entry, Expression, InlineExpression, PatternElement};
use fluent_syntax::parser;

use super::*;
use crate::http::problem_type::ProblemType;

/// What a message refers to.
#[derive(Default, PartialEq, Eq)]
struct References {
    variables: BTreeSet<String>,
    messages: BTreeSet<String>,
    attributes: BTreeSet<String>,
}

impl References {
    fn read_pattern(&mut self, pattern: &ast::Pattern<&str>) {
        for element in &pattern.elements {
            if let PatternElement::Placeable { expression } = element {
                self.read(expression);
            }
        }
    }

    fn read(&mut self, expression: &Expression<&str>) {
        match expression {
            Expression::Inline(inline) => self.read_inline(inline),
            Expression::Select { selector, variants } => {
                self.read_inline(selector);
                variants.iter().for_each(|variant| self.read_pattern(&variant.value));
            }
        }
    }

    fn read_inline(&mut self, inline: &InlineExpression<&str>) {
        match inline {
            InlineExpression::VariableReference { id } => {
                self.variables.insert(id.name.to_owned());
            }
            InlineExpression::MessageReference { id, .. } => {
                self.messages.insert(id.name.to_owned());
            }
            InlineExpression::Placeable { expression } => self.read(expression),
            InlineExpression::StringLiteral { .. } | InlineExpression::NumberLiteral { .. } => {}
            other => panic!("no message uses such an expression: {other:?}"),
        }
    }
}

/// All messages of a language.
fn messages(locale: Locale) -> BTreeMap<String, References> {
    let mut messages = BTreeMap::new();
    for (file, source) in files(locale) {
        let resource = parser::parse(*source).unwrap_or_else(|(_, errors)| panic!("{locale}/{file}.ftl: {errors:?}"));
        for entry in resource.body {
            let message = match entry {
                Entry::Message(message) => message,
                Entry::Comment(_) | Entry::GroupComment(_) | Entry::ResourceComment(_) => continue,
                other => panic!("{locale}/{file}.ftl: no file uses such an entry: {other:?}"),
            };
            let mut references = References::default();
            message.value.iter().for_each(|value| references.read_pattern(value));
            for attribute in &message.attributes {
                references.read_pattern(&attribute.value);
                references.attributes.insert(attribute.id.name.to_owned());
            }
            messages.insert(message.id.name.to_owned(), references);
        }
    }
    messages
}

#[test]
fn every_language_has_the_same_messages_with_the_same_variables() {
    let mut expected = messages(Locale::English);
    let advice = || References { attributes: ["advice".to_owned()].into(), ..References::default() };
    expected.extend(ProblemType::ALL.map(|problem_type| (problem_type.name().to_owned(), advice())));
    for locale in Locale::ALL.into_iter().filter(|locale| *locale != Locale::English) {
        let found = messages(locale);
        let names = |messages: &BTreeMap<String, References>| messages.keys().cloned().collect::<BTreeSet<_>>();
        let (missing, unknown) = (&names(&expected) - &names(&found), &names(&found) - &names(&expected));
        assert!(missing.is_empty() && unknown.is_empty(), "{locale}: missing {missing:?}, unknown {unknown:?}");
        for (name, references) in &found {
            let same = references == &expected[name];
            assert!(same, "{locale}: {name} has other variables, attributes or messages than in English");
        }
    }
}

#[test]
fn every_message_is_used() {
    let used_by_program = ["minutes", "seconds", "hours"];
    let mut sources = String::new();
    for folder in ["src/mail/templates", "src/http/templates", "src/http", "src/mail"] {
        for file in std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let english = messages(Locale::English);
    let referred: BTreeSet<&String> = english.values().flat_map(|references| &references.messages).collect();
    for name in english.keys() {
        // A subject is named after its mail.
        let mail = name.strip_suffix("-subject").map(|mail| format!("\"{}\"", mail.replace('-', "_")));
        let is_used = used_by_program.contains(&&**name)
            || referred.contains(name)
            || sources.contains(&format!("\"{name}\""))
            || mail.is_some_and(|mail| sources.contains(&mail));
        assert!(is_used, "no template uses the message {name}");
    }
    for (name, references) in &english {
        assert!(references.messages.iter().all(|used| english.contains_key(used)), "{name} uses an unknown message");
    }
}

#[test]
fn durations_are_written_in_words() {
    let words = |locale, seconds: &[u64]| -> Vec<String> {
        let catalogue = Catalogue::of(locale);
        seconds.iter().map(|seconds| catalogue.duration(Duration::from_secs(*seconds))).collect()
    };
    let seconds = [60, 120, 90, 1, 5, 3600, 72 * 3600];
    assert_eq!(
        words(Locale::English, &seconds),
        ["one minute", "2 minutes", "90 seconds", "one second", "5 seconds", "one hour", "72 hours"]
    );
    assert_eq!(words(Locale::German, &[60, 120, 3600]), ["einer Minute", "2 Minuten", "einer Stunde"]);
    assert_eq!(words(Locale::French, &[60, 120, 1, 72 * 3600]), ["1 minute", "2 minutes", "1 seconde", "72 heures"]);
    assert_eq!(words(Locale::Spanish, &[60, 600, 1]), ["un minuto", "10 minutos", "un segundo"]);
    // The six forms of Arabic: 0, 1, 2, 3 to 10, 11 to 99, and 100 to 102.
    let plain =
        |words: Vec<String>| words.iter().map(|text| text.replace(['\u{2068}', '\u{2069}'], "")).collect::<Vec<_>>();
    let arabic = words(Locale::Arabic, &[0, 1, 2, 7, 59, 101]);
    assert_eq!(plain(arabic), ["0 ثانية", "ثانية واحدة", "ثانيتين", "7 ثوانٍ", "59 ثانية", "101 ثانية"]);
    let arabic = words(Locale::Arabic, &[60, 2 * 60, 10 * 60, 11 * 60, 72 * 3600]);
    assert_eq!(plain(arabic), ["دقيقة واحدة", "دقيقتين", "10 دقائق", "11 دقيقة", "72 ساعة"]);
}

#[test]
fn values_are_isolated_in_right_to_left_text_only() {
    let args = FluentArgs::from_iter([("service", "Acme"), ("contact", "none"), ("code", "0042")]);
    let line = |locale| Catalogue::of(locale).format("code-line", &args).unwrap();
    assert_eq!(line(Locale::English), "Your Acme code is 0042");
    assert_eq!(line(Locale::Arabic), "رمزك في \u{2068}Acme\u{2069} هو \u{2068}0042\u{2069}");
}

#[test]
fn a_message_without_its_variable_is_an_error() {
    let refused = Catalogue::of(Locale::French).format("code-line", &FluentArgs::new()).unwrap_err();
    assert!(refused.to_string().starts_with("the message \"code-line\""), "{refused}");
    assert_eq!(
        Catalogue::of(Locale::French).format("nonsense", &FluentArgs::new()),
        Err(MessageError::Unknown("nonsense".to_owned()))
    );
}
