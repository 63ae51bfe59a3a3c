//! The subset of Mailpit's search language that is needed to find the mails of a recipient.

use unicode_normalization::UnicodeNormalization;

use super::inbox::Mail;

/// A search query. A mail must match all terms: `to:ADDRESS`, or a word in the subject or the text.
///
/// Unlike Mailpit, which searches for a substring, `to:` compares the whole address: `to:a@example.org` does not find mails
/// to `aa@example.org`.
#[cfg_attr(test, derive(Debug))]
#[derive(PartialEq, Eq)]
pub(super) struct Query {
    to: Vec<String>,
    words: Vec<String>,
}

impl Query {
    /// Parses a query. Returns `None` if it contains no term.
    pub fn parse(query: &str) -> Option<Query> {
        let (mut to, mut words) = (Vec::<String>::new(), Vec::new());
        for term in terms(&query.to_lowercase()) {
            match (term.strip_prefix("to:"), to.last_mut()) {
                (Some(address), _) => to.push(address.to_owned()),
                // An unescaped plus sign in the URL arrives as a space: join the parts of the address again.
                (None, Some(part)) if !part.contains('@') => *part = format!("{part}+{term}"),
                (None, _) => words.push(term),
            }
        }
        to.iter_mut().for_each(|address| *address = normalize(address));
        (!to.is_empty() || !words.is_empty()).then_some(Query { to, words })
    }

    pub fn matches(&self, mail: &Mail) -> bool {
        let content = &mail.content;
        let sent_to = |address: &String| content.to.iter().any(|mailbox| normalize(&mailbox.address) == *address);
        if !self.to.iter().all(sent_to) {
            return false;
        }
        if self.words.is_empty() {
            return true;
        }
        let (subject, text) = (content.subject.to_lowercase(), content.text.to_lowercase());
        self.words.iter().all(|word| subject.contains(word) || text.contains(word))
    }
}

/// Normalizes an address for comparison: lower case, NFC, and the domain in ASCII (punycode).
fn normalize(address: &str) -> String {
    let address: String = address.nfc().collect::<String>().to_lowercase();
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let ascii = idna::domain_to_ascii(domain);
            format!("{local}@{}", ascii.as_deref().unwrap_or(domain))
        }
        None => address,
    }
}

/// Splits at white space outside double quotes, and removes the quotes.
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
    fn queries_are_parsed_into_addresses_and_words() {
        assert_eq!(Query::parse("to:A@b.co"), query(&["a@b.co"], &[]));
        assert_eq!(Query::parse(r#" TO:"a@b.co"  your code"#), query(&["a@b.co"], &["your", "code"]));
        assert_eq!(Query::parse(r#""your code""#), query(&[], &["your code"]));
        assert_eq!(Query::parse("to:a b c@d.co"), query(&["a+b+c@d.co"], &[]));
        assert_eq!(Query::parse("to:a@bücher.example"), query(&["a@xn--bcher-kva.example"], &[]));
        assert_eq!(Query::parse(r#" "" "#), None);
    }
}
