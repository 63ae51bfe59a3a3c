//! Mailboxes, and how many code mails one mailbox gets.
//!
//! A mailbox provider delivers mail for `ada+shop@example.com` to `ada@example.com`. The service treats these as two
//! addresses, each with its own pacing. So without a quota of the mailbox, a stranger could flood it by using many tags.

use super::email::Address;

/// An address without its tag: the part of the local part from the first `+` on.
///
/// Other spellings of one mailbox, such as Gmail's dots or a catch-all domain, are not recognised.
#[derive(Clone, PartialEq, Eq)]
pub struct Mailbox(String);

impl Mailbox {
    pub fn of(address: &Address) -> Self {
        let (local, _) = address.as_str().rsplit_once('@').unwrap_or_default();
        let untagged = local.split_once('+').map_or(local, |(untagged, _)| untagged);
        Self(format!("{untagged}@{}", address.domain()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hides the address, so that no log line leaks it.
impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailbox(…)")
    }
}

/// Maximum numbers of code mails to one mailbox, in any hour and in any 24 hours. Notices to the owner of an account count
/// as code mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxQuota {
    pub per_hour: u16,
    pub per_day: u16,
}

impl Default for MailboxQuota {
    fn default() -> Self {
        Self { per_hour: 10, per_day: 40 }
    }
}

impl MailboxQuota {
    /// Returns the quota that a mail to this address must fit in.
    ///
    /// A quarter is reserved for the address without a tag. Otherwise a stranger with many tags could use up the quota, and
    /// that address would get no code.
    pub fn for_address(self, address: &Address) -> Self {
        let is_tagged = Mailbox::of(address).as_str() != address.as_str();
        let reserved = |quota: u16| if is_tagged { quota / 4 } else { 0 };
        Self { per_hour: self.per_hour - reserved(self.per_hour), per_day: self.per_day - reserved(self.per_day) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email::Email;

    fn address(text: &str) -> Address {
        Email::parse(text).unwrap().address().clone()
    }

    #[test]
    fn addresses_that_differ_only_in_their_tag_share_a_mailbox() {
        for (text, mailbox) in [
            ("ada@example.com", "ada@example.com"),
            ("ADA+Shop@Example.com", "ada@example.com"),
            ("ada+a+b@example.com", "ada@example.com"),
            ("ada+@example.com", "ada@example.com"),
            ("+a@example.com", "@example.com"),
            ("a.da@example.com", "a.da@example.com"),
            ("é+1@bücher.example", "é@xn--bcher-kva.example"),
        ] {
            assert_eq!(Mailbox::of(&address(text)).as_str(), mailbox, "{text}");
        }
    }

    #[test]
    fn a_quarter_of_the_quota_is_reserved_for_the_address_without_a_tag() {
        let quota = MailboxQuota::default();
        assert_eq!(quota.for_address(&address("ada@example.com")), quota);
        let tagged = quota.for_address(&address("ada+shop@example.com"));
        assert_eq!(tagged, MailboxQuota { per_hour: 8, per_day: 30 });
        let minimum = MailboxQuota { per_hour: 1, per_day: 1 };
        assert_eq!(minimum.for_address(&address("ada+shop@example.com")), minimum);
    }
}
