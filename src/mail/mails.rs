//! All mails in all languages: one method a mail. The templates are those in `templates/`, or the operator's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use minijinja::Value;
use tracing::error;
use url::Url;

use super::mail_name::MailName;
use super::operator_templates::{self, TemplatesError};
use super::rendering::{RenderedMail, spelled};
use crate::domain::address_change::LINK_LIFETIME;
use crate::domain::code::Code;
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::language::{Brand, Catalogue, Source, TemplateError, Templates};

/// The files of `MAIL_TEMPLATES` that all mails share.
pub(super) const LAYOUTS: [(&str, &str); 2] =
    [("layout.html", include_str!("templates/layout.html")), ("layout.txt", include_str!("templates/layout.txt"))];

/// Renders mails. Templates and messages are parsed once.
///
/// The methods take the language of the recipient; `None` is the service's default language.
pub struct Mails {
    default: Locale,
    languages: Vec<Language>,
}

struct Language {
    locale: Locale,
    brand: Brand,
    /// Parsed when the language is used first: most services need few languages, and each takes a megabyte.
    built_in: OnceLock<Templates>,
    /// The operator's own templates, with the built-in ones where there are none.
    own: Option<Templates>,
}

/// What a mail says besides its text.
#[derive(Default)]
struct Contents<'a> {
    code: Option<(&'a Code, Duration)>,
    link: Option<&'a Url>,
    lifetime: Option<Duration>,
}

impl Mails {
    /// `folder`: the operator's own templates (`MAIL_TEMPLATES`).
    ///
    /// # Errors
    /// The first file of the folder that cannot be used. Every mail is rendered with samples, in every language.
    pub fn new(brand: &Brand, default: Locale, folder: Option<&Path>) -> Result<Self, TemplatesError> {
        let languages = Locale::ALL.map(|locale| {
            let own = folder.map(|folder| operator_templates::parse(folder, locale, brand)).transpose()?;
            Ok(Language { locale, brand: brand.clone(), built_in: OnceLock::new(), own })
        });
        let mails = Self { default, languages: languages.into_iter().collect::<Result<_, TemplatesError>>()? };
        for own in mails.languages.iter().filter(|language| language.own.is_some()) {
            for mail in MailName::ALL {
                for digits in ["0042", "0123456789"] {
                    mails.sample_of(own, own.templates(), mail, digits)?;
                }
            }
        }
        Ok(mails)
    }

    /// The mail with a code, its lifetime, and a "not me" link for a recipient who did not register.
    pub fn code(&self, locale: Option<Locale>, to: &Email, code: &Code, ttl: Duration, not_me: &Url) -> RenderedMail {
        let contents = Contents { code: Some((code, ttl)), link: Some(not_me), ..Contents::default() };
        self.render(MailName::Code, locale, to, &contents)
    }

    /// The notice to the owner of an account that somebody registered the address again.
    pub fn existing_account(&self, locale: Option<Locale>, to: &Email, not_me: &Url) -> RenderedMail {
        self.render(MailName::ExistingAccount, locale, to, &Contents { link: Some(not_me), ..Contents::default() })
    }

    /// The notice that an account was activated. Its owner may not be the person who used the code.
    pub fn activated(&self, locale: Option<Locale>, to: &Email) -> RenderedMail {
        self.render(MailName::Activated, locale, to, &Contents::default())
    }

    /// The notice that an operator activated the account, with the password that the person chose.
    pub fn activated_by_operator(&self, locale: Option<Locale>, to: &Email) -> RenderedMail {
        self.render(MailName::ActivatedByOperator, locale, to, &Contents::default())
    }

    /// The notice that a password was changed. The account's owner may not be the person who changed it.
    pub fn password_changed(&self, locale: Option<Locale>, to: &Email) -> RenderedMail {
        self.render(MailName::PasswordChanged, locale, to, &Contents::default())
    }

    /// The mail with a code to set a new password, for somebody who forgot the old one.
    pub fn reset_code(&self, locale: Option<Locale>, to: &Email, code: &Code, ttl: Duration) -> RenderedMail {
        self.render(MailName::ResetCode, locale, to, &Contents { code: Some((code, ttl)), ..Contents::default() })
    }

    /// The notice that a new password was set with a mailed code.
    pub fn password_reset(&self, locale: Option<Locale>, to: &Email) -> RenderedMail {
        self.render(MailName::PasswordReset, locale, to, &Contents::default())
    }

    /// The mail to a new address, with the code that makes it the address of the account.
    pub fn address_code(&self, locale: Option<Locale>, to: &Email, code: &Code, ttl: Duration) -> RenderedMail {
        self.render(MailName::AddressCode, locale, to, &Contents { code: Some((code, ttl)), ..Contents::default() })
    }

    /// The notice to the owner of an account that somebody wanted to move another account to the address.
    pub fn address_taken(&self, locale: Option<Locale>, to: &Email) -> RenderedMail {
        self.render(MailName::AddressTaken, locale, to, &Contents::default())
    }

    /// The notice to the old address that the address is being changed. The link takes the change back for
    /// [`LINK_LIFETIME`].
    pub fn address_change(&self, locale: Option<Locale>, to: &Email, link: &Url) -> RenderedMail {
        let contents = Contents { link: Some(link), lifetime: Some(LINK_LIFETIME), ..Contents::default() };
        self.render(MailName::AddressChange, locale, to, &contents)
    }

    /// The notice to the old address that the change of address was taken back, and that a new password is needed.
    pub fn address_restored(&self, locale: Option<Locale>, to: &Email) -> RenderedMail {
        self.render(MailName::AddressRestored, locale, to, &Contents::default())
    }

    /// Renders a mail with sample data.
    ///
    /// # Errors
    /// The fault of the template.
    pub fn sample(&self, mail: MailName, locale: Locale) -> Result<RenderedMail, TemplateError> {
        let language = self.language(locale);
        let digits = if mail == MailName::ResetCode { "00420042" } else { "0042" };
        self.sample_of(language, language.templates(), mail, digits)
    }

    fn sample_of(
        &self,
        language: &Language,
        templates: &Templates,
        mail: MailName,
        digits: &str,
    ) -> Result<RenderedMail, TemplateError> {
        let to = Email::parse("ada@example.com").expect("a valid address");
        let code = Code::parse(digits).expect("a valid code");
        let ttl = Duration::from_secs(if mail == MailName::ResetCode { 600 } else { 60 });
        let variables = mail.variables();
        let link: Url = "https://example.com/not-me/ponmlkjihgfedcbaponmlkjihgfedcba".parse().expect("a valid URL");
        let contents = Contents {
            code: variables.contains(&"code").then_some((&code, ttl)),
            link: variables.contains(&"link").then_some(&link),
            lifetime: variables.contains(&"lifetime").then_some(LINK_LIFETIME),
        };
        language.render(templates, mail, &to, &contents)
    }

    fn language(&self, locale: Locale) -> &Language {
        let found = self.languages.iter().find(|language| language.locale == locale);
        found.expect("`new` makes all languages")
    }

    fn render(&self, mail: MailName, locale: Option<Locale>, to: &Email, contents: &Contents<'_>) -> RenderedMail {
        let language = self.language(locale.unwrap_or(self.default));
        if let Some(own) = &language.own {
            match language.render(own, mail, to, contents) {
                Ok(mail) => return mail,
                // The check at the start cannot come past every branch of a template.
                Err(error) => error!(%error, "MAIL_TEMPLATES: a template failed; the built-in one takes its place"),
            }
        }
        let rendered = language.render(language.built_in(), mail, to, contents);
        rendered.unwrap_or_else(|error| panic!("a test renders the built-in templates: {error}"))
    }
}

impl Language {
    fn built_in(&self) -> &Templates {
        self.built_in.get_or_init(|| built_in_templates(self.locale, &self.brand))
    }

    /// The operator's own templates, if there are any.
    fn templates(&self) -> &Templates {
        self.own.as_ref().unwrap_or_else(|| self.built_in())
    }

    fn render(
        &self,
        templates: &Templates,
        mail: MailName,
        to: &Email,
        contents: &Contents<'_>,
    ) -> Result<RenderedMail, TemplateError> {
        let catalogue = Catalogue::of(self.locale);
        let mut variables = BTreeMap::new();
        if let Some((code, ttl)) = contents.code {
            variables.insert("code", Value::from(code.expose()));
            variables.insert("spelled", Value::from(spelled(code.expose())));
            variables.insert("ttl", Value::from(catalogue.duration(ttl)));
            variables.insert("ttl_seconds", Value::from(ttl.as_secs()));
        }
        if let Some(link) = contents.link {
            variables.insert("link", Value::from(link.as_str()));
        }
        if let Some(lifetime) = contents.lifetime {
            variables.insert("lifetime", Value::from(catalogue.duration(lifetime)));
        }
        let name = mail.as_str();
        let subject = templates.render(&format!("{name}.subject.txt"), &variables)?;
        // A header is one line.
        let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        variables.insert("subject", Value::from(&*subject));
        let text = templates.render(&format!("{name}.txt"), &variables)?;
        let html = templates.render(&format!("{name}.html"), &variables)?;
        Ok(RenderedMail { to: to.mailbox(), subject, text: format!("{}\n", text.trim_end()), html })
    }
}

fn built_in_templates(locale: Locale, brand: &Brand) -> Templates {
    let templates = Templates::parse(locale, brand, &built_in_sources());
    templates.unwrap_or_else(|error| panic!("a test parses the built-in templates: {error}"))
}

/// The built-in templates, which are also the examples of `sixty mail templates`.
pub fn built_in_sources() -> Vec<Source> {
    let mut sources: Vec<Source> = LAYOUTS.map(|(name, text)| Source::built_in(name, text)).into();
    for mail in MailName::ALL {
        let (name, (text, html)) = (mail.as_str(), mail.built_in());
        let subject = format!("{{{{ t(\"{}-subject\") }}}}\n", name.replace('_', "-"));
        sources.push(Source::built_in(&format!("{name}.subject.txt"), &subject));
        sources.push(Source::built_in(&format!("{name}.txt"), text));
        sources.push(Source::built_in(&format!("{name}.html"), html));
    }
    sources
}

#[cfg(test)]
#[path = "mails_tests.rs"]
mod tests;
