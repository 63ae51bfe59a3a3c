//! The part of Mailpit's search language that looking for a person's mail needs.

use unicode_normalization::UnicodeNormalization;

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
        let (mut to, mut words) = (Vec::<String>::new(), Vec::new());
        for term in terms(&query.to_lowercase()) {
            match (term.strip_prefix("to:"), to.last_mut()) {
                (Some(address), _) => to.push(address.to_owned()),
                // A plus sign that was not escaped arrives as a space, which no address holds.
                (None, Some(cut)) if !cut.contains('@') => *cut = format!("{cut}+{term}"),
                (None, _) => words.push(term),
            }
        }
        to.iter_mut().for_each(|address| *address = comparable(address));
        (!to.is_empty() || !words.is_empty()).then_some(Query { to, words })
    }

    pub fn matches(&self, mail: &Mail) -> bool {
        let letter = &mail.letter;
        let sent_to = |address: &String| letter.to.iter().any(|mailbox| comparable(&mailbox.address) == *address);
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

/// Addresses come in many spellings; who looks for one types it as a person does, and who sends to it as DNS does.
fn comparable(address: &str) -> String {
    let address: String = address.nfc().collect::<String>().to_lowercase();
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            let ascii = idna::domain_to_ascii(domain);
            format!("{local}@{}", ascii.as_deref().unwrap_or(domain))
        }
        None => address,
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
        assert_eq!(Query::parse("to:a b c@d.co"), query(&["a+b+c@d.co"], &[]));
        assert_eq!(Query::parse("to:a@bücher.example"), query(&["a@xn--bcher-kva.example"], &[]));
        assert_eq!(Query::parse(r#" "" "#), None);
    }
}
