//! The verification code in a mail, which the inbox page shows in large digits.

use std::time::Duration;

use super::content::MailContent;

/// Lifetime of a code whose mail does not contain one.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Longest accepted lifetime in seconds. A larger value in a mail is ignored.
const MAX_LIFETIME_SECONDS: u64 = 24 * 60 * 60;

/// A verification code in a mail.
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, PartialEq, Eq)]
pub(super) struct MailedCode {
    pub digits: String,
    /// Counted from the acceptance of the mail.
    pub lifetime: Duration,
}

impl MailedCode {
    /// Finds the first word of four to ten digits in the text of a mail that contains the word "code", or whose HTML names a
    /// lifetime: `<time datetime="PT…S">`. In languages other than English, the text has another word. Without a lifetime, it
    /// is one minute.
    pub fn find(content: &MailContent) -> Option<MailedCode> {
        let mentions_code = |text: &str| text.to_lowercase().contains("code");
        let lifetime = lifetime(&content.html);
        if lifetime.is_none() && !mentions_code(&content.subject) && !mentions_code(&content.text) {
            return None;
        }
        // In right-to-left text, invisible characters isolate the code.
        let is_around = |c: char| c.is_ascii_punctuation() || ('\u{2066}'..='\u{2069}').contains(&c);
        let trim_punctuation = |word: &str| word.trim_matches(is_around).to_owned();
        let is_code = |word: &String| (4..=10).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit());
        let digits = content.text.split_whitespace().map(trim_punctuation).find(is_code)?;
        Some(MailedCode { digits, lifetime: lifetime.unwrap_or(DEFAULT_LIFETIME) })
    }

    /// Returns the remaining lifetime after this time since the acceptance.
    pub fn remaining(&self, since_acceptance: Duration) -> Duration {
        self.lifetime.saturating_sub(since_acceptance)
    }
}

fn lifetime(html: &str) -> Option<Duration> {
    let (_, rest) = html.split_once(r#"<time datetime="PT"#)?;
    let seconds = rest.split_once("S\"")?.0.parse().ok()?;
    (seconds <= MAX_LIFETIME_SECONDS).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Mailbox;

    fn code(subject: &str, text: &str, html: &str) -> Option<(String, u64)> {
        let from = Mailbox { name: String::new(), address: "a@example.org".into() };
        let (subject, text, html) = (subject.into(), text.into(), html.into());
        let content = MailContent { from, to: vec![], subject, text, html, headers: Default::default() };
        MailedCode::find(&content).map(|code| (code.digits, code.lifetime.as_secs()))
    }

    #[test]
    fn a_separate_number_in_a_mail_about_a_code_is_the_code() {
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
        let html = r#"<time datetime="PT120S">"#;
        let arabic = "رمزك في \u{2068}Sixty\u{2069} هو \u{2068}0042\u{2069}";
        assert_eq!(code("رمزك", arabic, html), Some(("0042".to_owned(), 120)));
        assert_eq!(code("Hi", "See you in 2027", ""), None, "the mail does not mention a code");
    }

    #[test]
    fn the_lifetime_comes_from_the_time_element() {
        let lifetime_in = |html| code("Your code", "0042", html).map(|(_, seconds)| seconds);
        assert_eq!(lifetime_in(r#"<p>within <time datetime="PT5S">5 seconds</time>"#), Some(5));
        for html in [r#"<time datetime="PT1M">"#, r#"<time datetime="PT99999999S">"#, r#"<time datetime="PT"#] {
            assert_eq!(lifetime_in(html), Some(60), "{html}");
        }
        let five = MailedCode { digits: "0042".into(), lifetime: Duration::from_secs(5) };
        assert_eq!(five.remaining(Duration::from_secs(2)), Duration::from_secs(3));
        assert_eq!(five.remaining(Duration::from_secs(9)), Duration::ZERO);
    }
}
