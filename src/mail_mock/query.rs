//! The part of Mailpit's search language that looking for a person's mail needs.

use super::inbox::Mail;

/// Terms that a mail must all meet: `to:ADDRESS`, or a word in the subject or the text.
///
/// Mailpit looks for the address anywhere in the recipient; here it is compared whole, so that asking for `a@example.org`
/// never finds the mail of `aa@example.org`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    to: Vec<String>,
    words: Vec<String>,
}

impl Query {
    /// `None` if there is nothing to search for.
    pub fn parse(query: &str) -> Option<Query> {
        let (mut to, mut words) = (Vec::new(), Vec::new());
        for term in terms(&query.to_lowercase()) {
            match term.strip_prefix("to:") {
                Some(address) => to.push(address.to_owned()),
                None => words.push(term),
            }
        }
        (!to.is_empty() || !words.is_empty()).then_some(Query { to, words })
    }

    pub fn matches(&self, mail: &Mail) -> bool {
        let letter = &mail.letter;
        let sent_to = |address: &String| letter.to.iter().any(|mailbox| mailbox.address.to_lowercase() == *address);
        if !self.to.iter().all(sent_to) {
            return false;
        }
        if self.words.is_empty() {
            return true;
        }
        let (subject, text) = (letter.subject.to_lowercase(), letter.text.to_lowercase());
        self.words.iter().all(|word| subject.contains(word) || text.contains(word))
    }
}

/// Splits at white space outside double quotes; the quotes themselves go.
fn terms(query: &str) -> Vec<String> {
    let mut quoted = false;
    query
        .split(|c: char| {
            quoted ^= c == '"';
            c.is_whitespace() && !quoted
        })
        .map(|term| term.replace('"', ""))
        .filter(|term| !term.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(to: &[&str], words: &[&str]) -> Option<Query> {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Some(Query { to: owned(to), words: owned(words) })
    }

    #[test]
    fn splits_terms() {
        assert_eq!(Query::parse("to:A@b.co"), query(&["a@b.co"], &[]));
        assert_eq!(Query::parse(r#" TO:"a@b.co"  your code"#), query(&["a@b.co"], &["your", "code"]));
        assert_eq!(Query::parse(r#""your code""#), query(&[], &["your code"]));
        assert_eq!(Query::parse(r#" "" "#), None);
    }
}
