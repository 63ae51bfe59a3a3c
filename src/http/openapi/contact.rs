//! The contact of the operator, for users of the API.

use std::str::FromStr;

use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

use crate::domain::email::Email;

/// An address or a web page.
#[derive(Debug, Clone)]
pub enum Contact {
    Email(Email),
    Url(Url),
}

#[derive(Debug, Error)]
#[error("must be an e-mail address or a URL, such as api@example.com or https://example.com/help")]
pub struct ContactError;

impl FromStr for Contact {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, ContactError> {
        let text = text.trim();
        if let Ok(email) = Email::parse(text) {
            return Ok(Self::Email(email));
        }
        let url: Url = text.parse().map_err(|_| ContactError)?;
        if ["http", "https"].contains(&url.scheme()) { Ok(Self::Url(url)) } else { Err(ContactError) }
    }
}

/// The contact object of the OpenAPI document. Without a contact it contains only the name.
pub fn object(contact: Option<&Contact>) -> Value {
    let mut object = json!({ "name": "The operator of this service" });
    match contact {
        Some(Contact::Email(email)) => object["email"] = json!(email.mailbox()),
        Some(Contact::Url(url)) => object["url"] = json!(url.as_str()),
        None => {}
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_or_an_http_url() {
        let parsed = |text: &str| text.parse().map(|contact: Contact| object(Some(&contact))).map_err(|_| ());
        let name = "The operator of this service";
        assert_eq!(parsed("api@example.com"), Ok(json!({ "name": name, "email": "api@example.com" })));
        assert_eq!(parsed("https://example.com/help"), Ok(json!({ "name": name, "url": "https://example.com/help" })));
        for text in ["", "the operator", "ftp://example.com", "javascript:alert(1)", "mailto:api@example.com"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
