//! The name of the service, and what else an operator puts into mails and pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use url::Url;

use crate::domain::contact::Contact;

/// How the service presents itself.
#[derive(Clone)]
pub struct Brand {
    /// The name of the product that people know.
    pub name: Arc<str>,
    /// The product's website.
    pub url: Option<Url>,
    /// A picture beside the name.
    pub logo: Option<Url>,
    /// Where people turn to.
    pub contact: Option<Contact>,
}

impl Default for Brand {
    fn default() -> Self {
        Self { name: Self::DEFAULT_NAME.into(), url: None, logo: None, contact: None }
    }
}

impl Brand {
    pub const DEFAULT_NAME: &str = "Sixty";

    /// The members of the variable `service` of all templates.
    pub const MEMBERS: [&str; 5] = ["name", "url", "logo_url", "contact", "contact_url"];

    /// The variable `service`. A member that the operator has not set is none.
    pub(super) fn variable(&self) -> Value {
        let text = |text: Option<String>| text.map_or(Value::from(()), Value::from);
        let values = [
            Value::from(&*self.name),
            text(self.url.as_ref().map(shown)),
            text(self.logo.as_ref().map(Url::to_string)),
            text(self.contact.as_ref().map(Contact::to_string)),
            text(self.contact.as_ref().map(Contact::link)),
        ];
        Value::from(BTreeMap::from_iter(Self::MEMBERS.into_iter().zip(values)))
    }
}

/// A URL of only a host without the slash at its end.
fn shown(url: &Url) -> String {
    Contact::Url(url.clone()).to_string()
}
