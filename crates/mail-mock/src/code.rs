//! The code in a mail: what its reader looks for, and how long it lives.

use std::time::Duration;

use super::inbox::Letter;

/// A code that says nothing of its lifetime is thought to live so long.
const LIFETIME: Duration = Duration::from_secs(60);

/// No sender means more than that, and the page need not count it.
const LONGEST: u64 = 24 * 60 * 60;

/// The code that a mail carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    pub digits: String,
    /// From the moment at which the mail was accepted.
    pub lifetime: Duration,
}

impl Code {
    /// The first number of four to ten digits that stands by itself in the text of a mail that speaks of a code. Its
    /// lifetime is the mail's `<time datetime="PT…S">`, or a minute.
    pub fn of(letter: &Letter) -> Option<Code> {
        let speaks = |text: &str| text.to_lowercase().contains("code");
        if !speaks(&letter.subject) && !speaks(&letter.text) {
            return None;
        }
        let bare = |word: &str| word.trim_matches(|c: char| c.is_ascii_punctuation()).to_owned();
        let is_code = |word: &String| (4..=10).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit());
        let digits = letter.text.split_whitespace().map(bare).find(is_code)?;
        Some(Code { digits, lifetime: lifetime(&letter.html).unwrap_or(LIFETIME) })
    }

    /// How long it has left, if it was accepted so long ago.
    pub fn left(&self, since_acceptance: Duration) -> Duration {
        self.lifetime.saturating_sub(since_acceptance)
    }
}

fn lifetime(html: &str) -> Option<Duration> {
    let (_, rest) = html.split_once(r#"<time datetime="PT"#)?;
    let seconds = rest.split_once("S\"")?.0.parse().ok()?;
    (seconds <= LONGEST).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Mailbox;

    fn code(subject: &str, text: &str, html: &str) -> Option<(String, u64)> {
        let from = Mailbox { name: String::new(), address: "a@example.org".into() };
        let (subject, text, html) = (subject.into(), text.into(), html.into());
        let letter = Letter { from, to: vec![], subject, text, html, headers: Default::default() };
        Code::of(&letter).map(|code| (code.digits, code.lifetime.as_secs()))
    }

    #[test]
    fn a_number_by_itself_in_a_mail_about_a_code_is_one() {
        let mails = [
            ("Your Sixty code", "Your Sixty code is 0042\n\nhttp://127.0.0.1:8000/x", "0042"),
            ("Hi", "The code: 1234567890.", "1234567890"),
            ("Code", "At 12, (0017) or 4711", "0017"),
        ];
        for (subject, text, digits) in mails {
            assert_eq!(code(subject, text, ""), Some((digits.to_owned(), 60)), "{text}");
        }
        for text in ["no number", "123 is short, 12345678901 long, 12a45 no number", "https://example.org/2026"] {
            assert_eq!(code("Your code", text, ""), None, "{text}");
        }
        assert_eq!(code("Hi", "See you in 2027", ""), None, "a year");
    }

    #[test]
    fn it_lives_as_long_as_the_mail_says() {
        let says = |html| code("Your code", "0042", html).map(|(_, seconds)| seconds);
        assert_eq!(says(r#"<p>within <time datetime="PT5S">5 seconds</time>"#), Some(5));
        for html in [r#"<time datetime="PT1M">"#, r#"<time datetime="PT99999999S">"#, r#"<time datetime="PT"#] {
            assert_eq!(says(html), Some(60), "{html}");
        }
        let five = Code { digits: "0042".into(), lifetime: Duration::from_secs(5) };
        assert_eq!(five.left(Duration::from_secs(2)), Duration::from_secs(3));
        assert_eq!(five.left(Duration::from_secs(9)), Duration::ZERO);
    }
}
