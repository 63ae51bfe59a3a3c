//! The contact of the operator, for users of the API.

use serde_json::{Value, json};

use crate::domain::contact::Contact;

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
    fn a_contact_is_an_address_or_a_url() {
        let object = |text: &str| object(Some(&text.parse().unwrap()));
        let name = "The operator of this service";
        assert_eq!(object("api@example.com"), json!({ "name": name, "email": "api@example.com" }));
        assert_eq!(object("https://example.com/help"), json!({ "name": name, "url": "https://example.com/help" }));
    }
}
