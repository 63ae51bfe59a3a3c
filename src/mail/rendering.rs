//! A mail that is ready to send, and the parts of mails that are not text.

use url::Url;

use crate::domain::address_change::RestoreToken;
use crate::domain::not_me::NotMeToken;

/// A mail that is ready to send, in the form that all dialects of providers share.
#[derive(Clone, PartialEq, Eq)]
pub struct RenderedMail {
    /// The recipient's mailbox, with its domain in ASCII (IDNA).
    pub to: String,
    /// One line. Never contains the code: locked screens show subjects.
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Returns the "not me" link: a page below the public URL of the API.
pub fn not_me_link(public_url: &Url, token: &NotMeToken) -> Url {
    link(public_url, "not-me", &token.letters())
}

/// Returns the link that takes a change of address back: a page below the public URL of the API.
pub fn address_link(public_url: &Url, token: &RestoreToken) -> Url {
    link(public_url, "address-change", &token.letters())
}

fn link(public_url: &Url, page: &str, letters: &str) -> Url {
    let mut link = public_url.clone();
    let mut path = link.path_segments_mut().expect("an http URL is the base of paths");
    path.pop_if_empty().push(page).push(letters);
    drop(path);
    link
}

/// Separates the digits: "0 0 4 2". Otherwise a screen reader reads one number, or drops leading zeros. No commas: the API
/// accepts blanks in a code, so somebody can copy this, too.
pub(super) fn spelled(code: &str) -> String {
    code.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_keeps_the_path_of_the_public_url() {
        for base in ["https://sixty.example/accounts", "https://sixty.example/accounts/"] {
            let link = not_me_link(&base.parse().unwrap(), &NotMeToken::new([0; 16]));
            assert_eq!(link.as_str(), format!("https://sixty.example/accounts/not-me/{}", "a".repeat(32)));
        }
    }
}
