//! Settings of what people read: the name of the service, its languages and templates.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use crate::config::InvalidSetting;
use crate::config::values::{http_url, text};
use crate::domain::contact::Contact;
use crate::domain::locale::{Locale, UnsupportedLocale};
use crate::language::Brand;
use crate::mail::mails::Mails;

/// How the service presents itself in mails, pages and the OpenAPI document.
#[derive(Clone, Args)]
#[command(next_help_heading = "Product")]
pub struct BrandArgs {
    /// Name of the product
    ///
    /// In mails, pages and the OpenAPI document
    #[arg(long, env, value_name = "NAME", default_value = Brand::DEFAULT_NAME, value_parser = name)]
    pub service_name: String,
    /// Website of the product
    ///
    /// Mails and pages link to it
    #[arg(long, env, value_name = "URL", value_parser = http_url)]
    pub service_url: Option<Url>,
    /// Logo of the product
    ///
    /// A picture on the web, such as https://example.com/logo.png. Mails and pages show it; without it, they load nothing
    #[arg(long, env, value_name = "URL", value_parser = http_url)]
    pub service_logo_url: Option<Url>,
    /// Contact that mails and pages name
    ///
    /// An e-mail address or a URL. Also in the OpenAPI document
    #[arg(long, env, value_name = "CONTACT")]
    pub contact: Option<Contact>,
    /// Default language: en, fr, de, es or ar
    ///
    /// Of mails and pages, for people whose Accept-Language names none of these
    #[arg(long, env, value_name = "TAG", default_value = "en", value_parser = locale)]
    pub default_locale: Locale,
    /// Folder of own mail templates
    ///
    /// docs/mails.md describes them. Mails without a file in the folder use the built-in templates
    #[arg(long, env, value_name = "FOLDER", value_parser = folder)]
    pub mail_templates: Option<PathBuf>,
}

impl BrandArgs {
    pub fn brand(&self) -> Brand {
        Brand {
            name: self.service_name.as_str().into(),
            url: self.service_url.clone(),
            logo: self.service_logo_url.clone(),
            contact: self.contact.clone(),
        }
    }

    /// Parses all mails, and renders them with samples if there are templates of the operator.
    ///
    /// # Errors
    /// A template of the operator cannot be used.
    pub fn mails(&self) -> Result<Mails, InvalidSetting> {
        let mails = Mails::new(&self.brand(), self.default_locale, self.mail_templates.as_deref());
        mails.map_err(|error| InvalidSetting::new("MAIL_TEMPLATES", error))
    }
}

fn name(value: &str) -> Result<String, String> {
    let name = text(value)?;
    if name.is_empty() { Err("must not be empty".to_owned()) } else { Ok(name) }
}

fn folder(path: &str) -> Result<PathBuf, String> {
    text(path).map(PathBuf::from)
}

fn locale(tag: &str) -> Result<Locale, UnsupportedLocale> {
    tag.trim().to_ascii_lowercase().parse()
}
