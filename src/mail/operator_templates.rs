//! The operator's own templates: the files in `MAIL_TEMPLATES`. A file in the folder of a language, such as `fr/code.html`,
//! is for that language; other languages use `code.html`, or else the built-in template.

use std::fs;
use std::io;
use std::path::Path;

use thiserror::Error;

use super::mail_name::MailName;
use super::mails::{LAYOUTS, built_in_sources};
use crate::domain::locale::Locale;
use crate::language::{Brand, Source, TemplateError, Templates};

/// The templates cannot be used. The message is one line.
#[derive(Debug, Error)]
pub enum TemplatesError {
    #[error("must be a folder of templates: {0}")]
    Folder(io::Error),
    #[error("cannot read {file}: {source}")]
    Read { file: String, source: io::Error },
    #[error("{file}: {reason}")]
    Name { file: String, reason: String },
    #[error("{0}")]
    Template(TemplateError),
}

impl From<TemplateError> for TemplatesError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

/// Parses the templates of a language: the built-in ones, and the operator's in their place.
///
/// # Errors
/// A file that cannot be read, has an unknown name, a syntax error, or names an unknown variable.
pub(super) fn parse(folder: &Path, locale: Locale, brand: &Brand) -> Result<Templates, TemplatesError> {
    let mut own = read(folder, None)?;
    if folder.join(locale.tag()).is_dir() {
        own.extend(read(folder, Some(locale))?);
    }
    let mut sources = built_in_sources();
    sources.extend(own.iter().cloned());
    let templates = Templates::parse(locale, brand, &sources)?;
    for Source { name, .. } in &own {
        templates.check_variables(name, &variables(name))?;
    }
    Ok(templates)
}

/// Returns the variables of a template, besides those of all templates. A layout or a part has those of every mail.
fn variables(name: &str) -> Vec<&'static str> {
    let mail = MailName::ALL.into_iter().find(|mail| name.split('.').next() == Some(mail.as_str()));
    let mut variables = match mail {
        Some(mail) => mail.variables(),
        None => MailName::ALL.into_iter().flat_map(MailName::variables).collect(),
    };
    // The subject is rendered first.
    if !name.ends_with(".subject.txt") {
        variables.push("subject");
    }
    variables.sort_unstable();
    variables.dedup();
    variables
}

/// Reads the templates in the folder itself, or in the folder of a language in it. Hidden files are those of editors.
fn read(folder: &Path, locale: Option<Locale>) -> Result<Vec<Source>, TemplatesError> {
    let prefix = locale.map_or_else(String::new, |locale| format!("{locale}/"));
    let mut sources = vec![];
    for entry in fs::read_dir(folder.join(&prefix)).map_err(TemplatesError::Folder)? {
        let path = entry.map_err(TemplatesError::Folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = format!("{prefix}{name}");
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if locale.is_none() && name.parse::<Locale>().is_ok() {
                continue;
            }
            let reason = format!("is not the folder of a language: {}", Locale::ALL.map(Locale::tag).join(", "));
            return Err(TemplatesError::Name { file, reason });
        }
        if !is_template(&name) {
            let mails = MailName::ALL.map(MailName::as_str).join(", ");
            let reason = format!(
                "must be layout.html, layout.txt, MAIL.html, MAIL.txt or MAIL.subject.txt, where MAIL is one of {mails}; \
                 the name of a part begins with _"
            );
            return Err(TemplatesError::Name { file, reason });
        }
        let text = fs::read_to_string(&path).map_err(|source| TemplatesError::Read { file: file.clone(), source })?;
        sources.push(Source { name, file, text });
    }
    // The order of a folder is accidental, and so would be the first error.
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

fn is_template(name: &str) -> bool {
    let is_part = name.starts_with('_') && (name.ends_with(".html") || name.ends_with(".txt"));
    let is_of_mail = |mail: MailName| {
        let rest = name.strip_prefix(mail.as_str());
        rest.is_some_and(|rest| [".html", ".txt", ".subject.txt"].contains(&rest))
    };
    is_part || LAYOUTS.iter().any(|(layout, _)| *layout == name) || MailName::ALL.into_iter().any(is_of_mail)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::mails::Mails;
    use super::*;

    /// A folder that is deleted on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str, files: &[(&str, &str)]) -> Self {
            let folder = std::env::temp_dir().join(format!("sixty-templates-{}-{test}", std::process::id()));
            for (name, text) in files {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn mails(&self) -> Result<Mails, String> {
            let mails = Mails::new(&Brand::default(), Locale::English, Some(&self.0));
            mails.map_err(|error| error.to_string())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn own_templates_take_the_place_of_built_in_ones() {
        let folder = Folder::new(
            "own",
            &[
                (
                    "code.html",
                    "{% include \"_head.html\" %}<p>{{ code }} <a href=\"{{ link }}\">{{ service.name }}</a>",
                ),
                ("_head.html", "<title>{{ subject }}</title>"),
                ("fr/code.subject.txt", "Bienvenue\nchez {{ service.name }}"),
                ("fr/code.txt", "{{ code }} est bon pendant {{ ttl }}.\n"),
                ("layout.txt", "{% block content %}{% endblock %}\n-- \n{{ service.name }}"),
                (".code.html.swp", "{{"),
            ],
        );
        let mails = folder.mails().unwrap();
        let [english, french] =
            [Locale::English, Locale::French].map(|locale| mails.sample(MailName::Code, locale).unwrap());
        assert!(
            english.html.starts_with("<title>Your Sixty code</title><p>0042 <a href=\"https://"),
            "{}",
            english.html
        );
        assert_eq!(english.subject, "Your Sixty code");
        assert!(english.text.starts_with("Your Sixty code is 0042\n"), "{}", english.text);
        assert!(english.text.ends_with("\n-- \nSixty\n"), "{}", english.text);
        assert!(french.html.starts_with("<title>Bienvenue chez Sixty</title><p>0042"), "{}", french.html);
        assert_eq!((&*french.subject, &*french.text), ("Bienvenue chez Sixty", "0042 est bon pendant 1 minute.\n"));
        let other = mails.sample(MailName::Activated, Locale::French).unwrap();
        assert!(other.html.contains("<h1>Votre compte Sixty est actif</h1>"));
    }

    #[test]
    fn a_broken_template_is_refused_with_its_file_and_line() {
        for (test, file, text, expected) in [
            ("syntax", "code.html", "a\n{{ code", "code.html:2: "),
            ("variable", "fr/code.txt", "\n\n{{ cod }}", "fr/code.txt:3: there is no variable `cod`; there are code,"),
            (
                "branch",
                "layout.html",
                "{% if service.url %}\n{{ x }}{% endif %}",
                "layout.html:2: there is no variable `x`",
            ),
            ("of-other", "activated.txt", "{{ code }}", "activated.txt:1: there is no variable `code`"),
            ("message", "de/activated.txt", "{{ t('x') }}", "de/activated.txt:1: no message has the name \"x\""),
            ("part", "_part.html", "{{ oops }}", "_part.html:1: there is no variable `oops`"),
            ("name", "cod.html", "", "cod.html: must be layout.html, "),
            ("language", "pt/code.html", "", "pt: is not the folder of a language: en, fr, de, es, ar"),
        ] {
            let refused = Folder::new(test, &[(file, text)]).mails().err().unwrap_or_default();
            assert!(refused.starts_with(expected) && !refused.contains('\n'), "{test}: {refused}");
        }
        let missing = Mails::new(&Brand::default(), Locale::English, Some(Path::new("/nonexistent")));
        assert_eq!(
            missing.err().unwrap().to_string(),
            "must be a folder of templates: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_template_that_fails_later_is_replaced_by_the_built_in_one() {
        // Sample codes have 4 and 10 digits.
        let text = "{% if code|length == 6 %}{{ 1 / 0 }}{% endif %}{{ code }}";
        let mails = Folder::new("later", &[("code.txt", text)]).mails().unwrap();
        let code = crate::domain::code::Code::parse("004200").unwrap();
        let to = crate::domain::email::Email::parse("ada@example.com").unwrap();
        let link = "https://example.com".parse().unwrap();
        let mail = mails.code(None, &to, &code, std::time::Duration::from_secs(60), &link);
        assert!(mail.text.starts_with("Your Sixty code is 004200\n"), "{}", mail.text);
    }

    #[test]
    fn the_built_in_templates_are_examples() {
        let sources: Vec<(String, String)> =
            built_in_sources().into_iter().map(|source| (source.name, source.text)).collect();
        let files: Vec<(&str, &str)> = sources.iter().map(|(name, text)| (&**name, &**text)).collect();
        let copied = Folder::new("examples", &files).mails().unwrap();
        let built_in = Mails::new(&Brand::default(), Locale::English, None).unwrap();
        for mail in MailName::ALL {
            let [copied, built_in] = [&copied, &built_in].map(|mails| mails.sample(mail, Locale::Arabic).unwrap());
            assert!(copied == built_in, "{mail:?}");
        }
    }
}
