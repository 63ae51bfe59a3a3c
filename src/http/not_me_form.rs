//! The signed time in the form of the page of a mailed link: "this was not me", or the change of an address. The button works only if the page was loaded a few seconds before.
//!
//! Programs that check the links in mails request the page, and some press its button, within milliseconds. A person reads
//! first. The time needs no state, and all replicas accept it, because they share `CODE_SECRET`.

use std::time::Duration;

use crate::domain::code::CodeSecret;

/// A person needs at least this long to read the page. A press that is earlier shows the page again.
pub const EARLIEST: Duration = Duration::from_secs(2);
/// After this time the page must be shown again before the button works.
const LATEST: Duration = Duration::from_secs(60 * 60);

/// The name of the form's field.
pub const FIELD: &str = "shown";

/// Makes and checks the field of the form.
pub struct NotMeForm {
    secret: CodeSecret,
}

impl NotMeForm {
    pub fn new(secret: CodeSecret) -> Self {
        Self { secret }
    }

    /// Returns the field of a page that is shown at this time after the Unix epoch.
    pub fn field(&self, token: &str, shown: Duration) -> String {
        let millis = shown.as_millis() as u64;
        format!("{millis}.{}", hex::encode(self.secret.not_me_form(token, millis)))
    }

    /// Checks the form that a press at `now` has sent.
    pub fn check(&self, token: &str, body: &[u8], now: Duration) -> Press {
        let mut fields = url::form_urlencoded::parse(body);
        let field = fields.find(|(name, _)| name == FIELD).map(|(_, field)| field).unwrap_or_default();
        let parsed =
            field.split_once('.').and_then(|(millis, mac)| Some((millis.parse().ok()?, hex::decode(mac).ok()?)));
        let Some((millis, _)) = parsed.filter(|(millis, mac)| self.secret.is_not_me_form(token, *millis, mac)) else {
            return Press::WithoutPage;
        };
        let shown = Duration::from_millis(millis);
        match now.checked_sub(shown) {
            Some(age) if (EARLIEST..=LATEST).contains(&age) => Press::Accepted,
            Some(age) if age < EARLIEST => Press::TooEarly { shown },
            _ => Press::WithoutPage,
        }
    }
}

/// A press of the button.
#[derive(Debug, PartialEq, Eq)]
pub enum Press {
    /// The page of this link was shown between [`EARLIEST`] and `LATEST` ago.
    Accepted,
    /// The page was shown less than [`EARLIEST`] ago. The next page must have the same time: otherwise somebody who presses
    /// again and again would never succeed.
    TooEarly { shown: Duration },
    /// The page of this link was not shown, too long ago, or later by the clock of another replica.
    WithoutPage,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp";
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn form(octet: u8) -> NotMeForm {
        NotMeForm::new(CodeSecret::new(vec![octet; 32]).unwrap())
    }

    fn check(form: &NotMeForm, field: &str, now: Duration) -> Press {
        form.check(TOKEN, format!("{FIELD}={field}").as_bytes(), now)
    }

    fn accepts(form: &NotMeForm, field: &str, age: Duration) -> bool {
        check(form, field, NOW + age) == Press::Accepted
    }

    #[test]
    fn the_button_works_from_two_seconds_to_an_hour_after_the_page_was_shown() {
        let (form, hour) = (form(7), Duration::from_secs(3600));
        let field = form.field(TOKEN, NOW);
        let millisecond = Duration::from_millis(1);
        for age in [EARLIEST, Duration::from_secs(60), hour] {
            assert!(accepts(&form, &field, age), "{age:?}");
        }
        for age in [Duration::ZERO, EARLIEST - millisecond, hour + millisecond] {
            assert!(!accepts(&form, &field, age), "{age:?}");
        }
        // The same page works later, so pressing again and again helps.
        assert_eq!(check(&form, &field, NOW), Press::TooEarly { shown: NOW });
        // The clock of another replica may be behind.
        assert_eq!(check(&form, &field, NOW - EARLIEST), Press::WithoutPage);
    }

    #[test]
    fn a_field_of_another_link_another_secret_or_another_time_is_refused() {
        let age = Duration::from_secs(10);
        let field = form(7).field(TOKEN, NOW);
        assert!(accepts(&form(7), &field, age));
        assert!(!accepts(&form(8), &field, age));
        assert!(!accepts(&form(7), &form(7).field(&"a".repeat(32), NOW), age));
        let (_, mac) = field.split_once('.').unwrap();
        let earlier = NOW.as_millis() - 1;
        for other in [&format!("{earlier}.{mac}"), "", ".", mac, &field[..field.len() - 2], &format!("{field}00")] {
            assert!(!accepts(&form(7), other, age), "{other}");
        }
        for body in [&b""[..], &[0xFF; 40]] {
            assert_eq!(form(7).check(TOKEN, body, NOW + age), Press::WithoutPage);
        }
    }
}
