//! The templates of one language: MiniJinja with the messages of the language, and HTML that is escaped by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fmt;

use fluent_bundle::{FluentArgs, FluentValue};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::{Brand, Catalogue};
use crate::domain::locale::Locale;

/// A template before it is parsed.
#[derive(Clone)]
pub struct Source {
    /// By which templates and the program name it: `code.html`.
    pub name: String,
    /// Where it stands, for errors: `fr/code.html`.
    pub file: String,
    pub text: String,
}

impl Source {
    /// A template that is part of the program.
    pub fn built_in(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), file: name.to_owned(), text: text.to_owned() }
    }
}

/// A template that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct TemplateError {
    pub file: String,
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, reason } = self;
        write!(f, "{file}:{line}: {reason}")
    }
}

/// The templates of a language, parsed.
pub struct Templates {
    environment: Environment<'static>,
    /// The file of each template.
    files: BTreeMap<String, String>,
}

/// The variables that every template has.
const GLOBALS: [&str; 3] = ["service", "locale", "dir"];

/// The number of columns of a mail in plain text (RFC 5322, section 2.1.1).
const COLUMNS: usize = 78;

impl Templates {
    /// Parses templates. A later one of the same name replaces an earlier one.
    ///
    /// # Errors
    /// The first template with a syntax error.
    pub fn parse(locale: Locale, brand: &Brand, sources: &[Source]) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .expect("the usual delimiters are valid"),
        );
        environment.set_auto_escape_callback(|name| match name.rsplit_once('.') {
            Some((_, "html")) => AutoEscape::Html,
            _ => AutoEscape::None,
        });
        environment.set_formatter(write_value);
        environment.add_global("service", brand.variable());
        environment.add_global("locale", locale.tag());
        environment.add_global("dir", locale.direction());
        environment.add_filter("wrap", wrap);
        let (name, contact) = (brand.name.clone(), brand.contact.as_ref().map(ToString::to_string));
        environment.add_function("t", move |state: &State, id: &str, values: Kwargs| {
            let mut args = FluentArgs::new();
            args.set("service", &*name);
            args.set("contact", contact.as_deref().unwrap_or("none"));
            message(Catalogue::of(locale), id, &values, args, state.auto_escape() == &AutoEscape::Html)
        });
        let latest: BTreeMap<&str, &Source> = sources.iter().map(|source| (&*source.name, source)).collect();
        let files = latest.values().map(|source| (source.name.clone(), source.file.clone())).collect();
        let mut templates = Self { environment, files };
        for source in latest.values() {
            let added = templates.environment.add_template_owned(source.name.clone(), source.text.clone());
            added.map_err(|error| templates.error(&source.name, &error))?;
        }
        Ok(templates)
    }

    /// Renders a template.
    ///
    /// # Errors
    /// The place of the fault, in the template or in one that it uses.
    pub fn render(&self, name: &str, variables: &BTreeMap<&'static str, Value>) -> Result<String, TemplateError> {
        let template = self.environment.get_template(name).map_err(|error| self.error(name, &error))?;
        template.render(Value::from(variables.clone())).map_err(|error| self.error(name, &error))
    }

    /// Checks that a template names no variable but these and the global ones, also where a rendering does not come past.
    ///
    /// # Errors
    /// The first line with another one.
    pub fn check_variables(&self, name: &str, known: &[&str]) -> Result<(), TemplateError> {
        let template = self.environment.get_template(name).map_err(|error| self.error(name, &error))?;
        let functions: BTreeSet<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let is_known = |variable: &str| match variable.split_once('.') {
            Some(("service", member)) => Brand::MEMBERS.contains(&member.split('.').next().unwrap_or_default()),
            _ => {
                let first = variable.split('.').next().unwrap_or_default();
                GLOBALS.contains(&first) || known.contains(&first) || functions.contains(first)
            }
        };
        let unknown: BTreeSet<String> =
            template.undeclared_variables(true).into_iter().filter(|variable| !is_known(variable)).collect();
        let Some(variable) = unknown.first() else {
            return Ok(());
        };
        let word = variable.rsplit('.').next().unwrap_or_default();
        let line = template.source().lines().position(|line| line.contains(word)).map_or(1, |line| line + 1);
        let known = known.iter().copied().chain(GLOBALS).collect::<Vec<_>>().join(", ");
        let reason = format!("there is no variable `{variable}`; there are {known}");
        Err(TemplateError { file: self.file(name), line, reason })
    }

    fn file(&self, name: &str) -> String {
        self.files.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// Describes the innermost fault: an error in a template that another one uses is the source of that one's error.
    fn error(&self, name: &str, error: &Error) -> TemplateError {
        let mut innermost = error;
        while let Some(source) = innermost.source().and_then(|source| source.downcast_ref::<Error>()) {
            innermost = source;
        }
        let reason = match innermost.detail() {
            Some(detail) => detail.to_owned(),
            None => innermost.kind().to_string(),
        };
        // One line, also if a template contains a line break in a name.
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let file = self.file(innermost.name().unwrap_or(name));
        TemplateError { file, line: innermost.line().unwrap_or(1), reason }
    }
}

/// Formats a message with the values of a template's call.
///
/// In HTML, a value that is HTML already, such as `<code>…</code>`, stays as it is; everything else is escaped.
fn message(
    catalogue: &Catalogue,
    id: &str,
    values: &Kwargs,
    mut args: FluentArgs<'_>,
    is_html: bool,
) -> Result<Value, Error> {
    let mut markup = vec![];
    for key in values.args() {
        let value: Value = values.peek(key)?;
        let value = match i64::try_from(value.clone()) {
            Ok(number) => FluentValue::from(number),
            Err(_) if is_html && value.is_safe() => {
                markup.push(value.to_string());
                FluentValue::from(placeholder(markup.len() - 1))
            }
            Err(_) => FluentValue::from(value.to_string()),
        };
        args.set(key.to_owned(), value);
    }
    let text =
        catalogue.format(id, &args).map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    if markup.is_empty() {
        return Ok(Value::from(text));
    }
    let mut html = escape(&text);
    for (index, markup) in markup.iter().enumerate() {
        html = html.replace(&placeholder(index), markup);
    }
    Ok(Value::from_safe_string(html))
}

/// A character for private use, which no message contains.
fn placeholder(index: usize) -> String {
    char::from_u32(0xE000 + index as u32).map(String::from).unwrap_or_default()
}

/// Writes a value, escaped in HTML. The engine would also escape slashes, which makes links hard to read.
fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let is_html = state.auto_escape() == &AutoEscape::Html && !value.is_safe();
    let text = value.to_string();
    out.write_str(&if is_html { escape(&text) } else { text }).map_err(Error::from)
}

/// Escapes a text for HTML, also for the value of an attribute.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html += "&amp;",
            '<' => html += "&lt;",
            '>' => html += "&gt;",
            '"' => html += "&quot;",
            '\'' => html += "&#39;",
            c => html.push(c),
        }
    }
    html
}

/// The filter `wrap`: breaks a paragraph into lines for plain text. A word that is longer than a line stays whole.
fn wrap(paragraph: &str) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    // Not at other white space: a line must not begin with the colon after a no-break space.
    for word in paragraph.split([' ', '\n']).filter(|word| !word.is_empty()) {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > COLUMNS {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped += word;
        column += width;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sources: &[(&str, &str)]) -> Result<Templates, TemplateError> {
        let sources: Vec<Source> = sources.iter().map(|(name, text)| Source::built_in(name, text)).collect();
        let brand = Brand { name: "R&D".into(), ..Brand::default() };
        Templates::parse(Locale::English, &brand, &sources)
    }

    fn rendered(name: &str, text: &str) -> Result<String, TemplateError> {
        let variables = BTreeMap::from([("link", Value::from("https://a/?b='<c>'&d"))]);
        parsed(&[(name, text)])?.render(name, &variables)
    }

    #[test]
    fn html_is_escaped_and_text_is_not() {
        let template = r#"{{ service.name }} <a href="{{ link }}">{{ t("code-subject") }}</a>"#;
        let html = r#"R&amp;D <a href="https://a/?b=&#39;&lt;c&gt;&#39;&amp;d">Your R&amp;D code</a>"#;
        assert_eq!(rendered("a.html", template).unwrap(), html);
        let text = r#"R&D <a href="https://a/?b='<c>'&d">Your R&D code</a>"#;
        assert_eq!(rendered("a.txt", template).unwrap(), text);
    }

    #[test]
    fn only_markup_of_the_template_stays_markup_in_a_message() {
        let template =
            r#"{% set header %}<code>{{ link }}</code>{% endset %}{{ t("not-me-ticket-how", header=header) }}"#;
        let html = rendered("a.html", template).unwrap();
        assert!(html.contains("header <code>https://a/?b=&#39;&lt;c&gt;&#39;&amp;d</code> of"), "{html}");
        let html = rendered("a.html", r#"{{ t("code-line", code=link) }}"#).unwrap();
        assert!(html.ends_with("code is https://a/?b=&#39;&lt;c&gt;&#39;&amp;d"), "{html}");
    }

    #[test]
    fn a_fault_is_reported_with_its_file_and_line() {
        for (text, line, reason) in [
            ("one\n{{ two", 2, "unexpected end of input"),
            ("one\n\n{{ unknown }}", 3, "`unknown` is undefined"),
            ("{% if service.nam %}x{% endif %}", 1, "undefined"),
            ("{{ t('nonsense') }}", 1, "no message has the name \"nonsense\""),
            ("\n{{ t('code-line') }}", 2, "the message \"code-line\""),
            ("{% include 'other.html' %}", 1, "other.html"),
        ] {
            let error = rendered("a.html", text).unwrap_err();
            assert_eq!((&*error.file, error.line), ("a.html", line), "{text}: {error}");
            assert!(error.reason.contains(reason) && !error.to_string().contains('\n'), "{text}: {error}");
        }
        let templates =
            parsed(&[("layout.html", "\n{{ nothing }}"), ("a.html", "{% extends 'layout.html' %}")]).unwrap();
        let error = templates.render("a.html", &BTreeMap::new()).unwrap_err();
        assert_eq!((&*error.file, error.line), ("layout.html", 2), "{error}");
    }

    #[test]
    fn unknown_variables_are_found_where_no_rendering_comes_past() {
        let check = |text: &str| parsed(&[("a.html", text)]).unwrap().check_variables("a.html", &["link"]);
        let known = "{% for i in range(2) %}{{ i }}{{ link }}{{ service.logo_url }}{{ dir }}{% endfor %}{{ t('x') }}";
        assert_eq!(check(known), Ok(()));
        for (text, line, variable) in [
            ("{% if service.logo_url %}\n{{ lnk }}{% endif %}", 2, "`lnk`"),
            ("{% if service.logo_url %}\n\n{{ service.nam }}{% endif %}", 3, "`service.nam`"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.line == line && error.reason.contains(variable), "{error}");
        }
    }

    #[test]
    fn paragraphs_are_wrapped_at_blanks() {
        let line = "x".repeat(40);
        assert_eq!(wrap(&format!("{line} {line}  y\nz")), format!("{line}\n{line} y z"));
        assert_eq!(wrap(&"x".repeat(100)), "x".repeat(100));
        let no_break = format!("{} y\u{a0}:", "x".repeat(76));
        assert_eq!(wrap(&no_break), no_break.replace(" y", "\ny"));
    }
}
