//! The inbox: what was taken, newest first, never more than the limits allow.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::code::Code;

/// How many mails are kept, and how much memory they may take, before the oldest go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub mails: usize,
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { mails: 10_000, bytes: 64 * 1024 * 1024 }
    }
}

/// A mailbox as Mailpit shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mailbox {
    pub name: String,
    pub address: String,
}

/// A mail as it was handed in, by either dialect.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub headers: BTreeMap<String, String>,
}

/// What makes a repeated request the same request: the sender's `Idempotency-Key`, and which of the request's mails.
///
/// The dialect is a part of it, so that a key used with both providers does not answer with the other one's mail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub dialect: &'static str,
    pub value: String,
    pub position: usize,
}

/// A mail that was taken.
#[derive(Debug)]
pub(super) struct Mail {
    pub id: Uuid,
    /// RFC 3339, UTC.
    pub created: String,
    /// When it was last accepted: a mail that is sent again under its key is.
    pub accepted: Mutex<Instant>,
    pub code: Option<Code>,
    pub letter: Letter,
    pub key: Option<Key>,
    /// The sender's trace, as it said (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl Mail {
    /// Memory that this mail holds. A recipient costs more than its letters: a request full of tiny ones must count too.
    fn size(&self) -> usize {
        let Letter { from, to, subject, text, html, headers } = &self.letter;
        let mailbox = |m: &Mailbox| size_of::<Mailbox>() + m.name.len() + m.address.len();
        let header = |(name, value): (&String, &String)| 2 * size_of::<String>() + name.len() + value.len();

        size_of::<Mail>()
            + mailbox(from)
            + to.iter().map(mailbox).sum::<usize>()
            + headers.iter().map(header).sum::<usize>()
            + subject.len()
            + text.len()
            + html.len()
            + self.code.as_ref().map_or(0, |code| code.digits.len())
            + self.traceparent.as_ref().map_or(0, String::len)
            + self.key.as_ref().map_or(0, |key| 2 * (size_of::<Key>() + key.value.len()))
    }
}

/// Mails in memory, with the keys under which they were taken.
///
/// A key lives exactly as long as its mail, so the keys are bounded by the mails and need no limit of their own.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    limits: Limits,
    newest_first: VecDeque<Arc<Mail>>,
    by_key: HashMap<Key, Arc<Mail>>,
    bytes: usize,
}

impl Inbox {
    pub fn taken_under(&self, key: &Key) -> Option<Arc<Mail>> {
        self.by_key.get(key).cloned()
    }

    pub fn add(&mut self, mail: Mail) -> Arc<Mail> {
        let mail = Arc::new(mail);
        self.bytes += mail.size();
        if let Some(key) = &mail.key {
            self.by_key.insert(key.clone(), Arc::clone(&mail));
        }
        self.newest_first.push_front(Arc::clone(&mail));

        while self.newest_first.len() > self.limits.mails || self.bytes > self.limits.bytes {
            let Some(oldest) = self.newest_first.pop_back() else { break };
            self.forget(&oldest);
        }
        mail
    }

    /// All mails, newest first. Cheap, so that nobody formats an answer while holding the lock.
    pub fn mails(&self) -> Vec<Arc<Mail>> {
        self.newest_first.iter().cloned().collect()
    }

    pub fn find(&self, id: Uuid) -> Option<Arc<Mail>> {
        self.newest_first.iter().find(|mail| mail.id == id).cloned()
    }

    pub fn newest(&self) -> Option<Arc<Mail>> {
        self.newest_first.front().cloned()
    }

    pub fn remove(&mut self, ids: &[Uuid]) {
        let (gone, kept): (VecDeque<_>, _) = self.newest_first.drain(..).partition(|mail| ids.contains(&mail.id));
        self.newest_first = kept;
        for mail in &gone {
            self.forget(mail);
        }
    }

    pub fn clear(&mut self) {
        *self = Inbox { limits: self.limits, ..Inbox::default() };
    }

    fn forget(&mut self, mail: &Mail) {
        self.bytes -= mail.size();
        if let Some(key) = &mail.key {
            self.by_key.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(number: u128, text: &str) -> Mail {
        let mailbox = Mailbox { name: String::new(), address: "a@example.org".into() };
        let letter = Letter {
            from: mailbox.clone(),
            to: vec![mailbox],
            subject: String::new(),
            text: text.into(),
            html: String::new(),
            headers: BTreeMap::new(),
        };
        Mail {
            id: Uuid::from_u128(number),
            created: String::new(),
            accepted: Mutex::new(Instant::now()),
            code: Code::of(&letter),
            letter,
            key: Some(key(number)),
            traceparent: None,
        }
    }

    fn key(number: u128) -> Key {
        Key { dialect: "test", value: number.to_string(), position: 0 }
    }

    fn ids(inbox: &Inbox) -> Vec<u128> {
        inbox.mails().iter().map(|mail| mail.id.as_u128()).collect()
    }

    #[test]
    fn the_oldest_mail_goes_first_and_its_key_with_it() {
        let mut inbox = Inbox { limits: Limits { mails: 2, ..Limits::default() }, ..Inbox::default() };
        for number in 1..=3 {
            inbox.add(mail(number, ""));
        }

        assert_eq!(ids(&inbox), [3, 2]);
        assert!(inbox.taken_under(&key(1)).is_none());
        assert!(inbox.taken_under(&key(2)).is_some());
        assert_eq!(inbox.by_key.len(), 2);
    }

    #[test]
    fn large_mails_push_out_others_before_the_count_does() {
        let room = mail(1, "").size() + 1000;
        let mut inbox = Inbox { limits: Limits { bytes: room, ..Limits::default() }, ..Inbox::default() };
        inbox.add(mail(1, "small"));
        inbox.add(mail(2, &"x".repeat(900)));

        assert_eq!(ids(&inbox), [2]);
        assert_eq!(inbox.bytes, mail(2, &"x".repeat(900)).size());
    }

    #[test]
    fn bytes_are_given_back() {
        let mut inbox = Inbox::default();
        inbox.add(mail(1, "one"));
        inbox.add(mail(2, "two"));
        inbox.remove(&[Uuid::from_u128(2), Uuid::from_u128(7)]);
        assert_eq!((ids(&inbox), inbox.bytes), (vec![1], mail(1, "one").size()));

        inbox.clear();
        assert_eq!((inbox.bytes, inbox.by_key.len()), (0, 0));
    }
}
