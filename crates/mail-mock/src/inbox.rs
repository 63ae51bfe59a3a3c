//! The inbox: accepted mails in memory, newest first, within limits of number and size.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use uuid::Uuid;

use super::content::{MailContent, Mailbox};
use super::mailed_code::MailedCode;

/// Maximum number and memory of the mails. Beyond them the inbox drops the oldest mails.
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

/// The idempotency key of a mail: the request's `Idempotency-Key`, and the position of the mail in the request.
///
/// The dialect is part of the key: the same header value may arrive through both APIs, for different mails.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct MailKey {
    pub dialect: &'static str,
    pub value: String,
    pub position: usize,
}

/// An accepted mail.
pub(super) struct Mail {
    pub id: Uuid,
    /// RFC 3339, UTC.
    pub created: String,
    /// Time of the last acceptance. Another request with the same key renews it.
    pub accepted: Mutex<Instant>,
    pub code: Option<MailedCode>,
    pub content: MailContent,
    pub key: Option<MailKey>,
    /// The sender's `traceparent` header (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl Mail {
    /// Returns the memory in bytes that the mail uses. It includes the structs, so that many tiny recipients count as well.
    fn size(&self) -> usize {
        let MailContent { from, to, subject, text, html, headers } = &self.content;
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
            + self.key.as_ref().map_or(0, |key| 2 * (size_of::<MailKey>() + key.value.len()))
    }
}

/// The mails with an index of their idempotency keys.
///
/// A key is removed together with its mail, so that the limits of the mails also limit the keys.
#[derive(Default)]
pub(super) struct Inbox {
    limits: Limits,
    newest_first: VecDeque<Arc<Mail>>,
    by_key: HashMap<MailKey, Arc<Mail>>,
    bytes: usize,
}

impl Inbox {
    pub fn find_by_key(&self, key: &MailKey) -> Option<Arc<Mail>> {
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

    /// Returns all mails, newest first. Clones only pointers, so that the caller can release the lock before it formats them.
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
        let (removed, kept): (VecDeque<_>, _) = self.newest_first.drain(..).partition(|mail| ids.contains(&mail.id));
        self.newest_first = kept;
        for mail in &removed {
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
        let content = MailContent {
            from: mailbox.clone(),
            to: vec![mailbox],
            subject: String::new(),
            text: text.into(),
            html: String::new(),
            headers: Default::default(),
        };
        Mail {
            id: Uuid::from_u128(number),
            created: String::new(),
            accepted: Mutex::new(Instant::now()),
            code: MailedCode::find(&content),
            content,
            key: Some(key(number)),
            traceparent: None,
        }
    }

    fn key(number: u128) -> MailKey {
        MailKey { dialect: "test", value: number.to_string(), position: 0 }
    }

    fn ids(inbox: &Inbox) -> Vec<u128> {
        inbox.mails().iter().map(|mail| mail.id.as_u128()).collect()
    }

    #[test]
    fn the_count_limit_drops_the_oldest_mail_and_its_key() {
        let mut inbox = Inbox { limits: Limits { mails: 2, ..Limits::default() }, ..Inbox::default() };
        for number in 1..=3 {
            inbox.add(mail(number, ""));
        }

        assert_eq!(ids(&inbox), [3, 2]);
        assert!(inbox.find_by_key(&key(1)).is_none());
        assert!(inbox.find_by_key(&key(2)).is_some());
        assert_eq!(inbox.by_key.len(), 2);
    }

    #[test]
    fn the_memory_limit_drops_the_oldest_mail() {
        let bytes = mail(1, "").size() + 1000;
        let mut inbox = Inbox { limits: Limits { bytes, ..Limits::default() }, ..Inbox::default() };
        inbox.add(mail(1, "small"));
        inbox.add(mail(2, &"x".repeat(900)));

        assert_eq!(ids(&inbox), [2]);
        assert_eq!(inbox.bytes, mail(2, &"x".repeat(900)).size());
    }

    #[test]
    fn removing_mails_frees_their_bytes() {
        let mut inbox = Inbox::default();
        inbox.add(mail(1, "one"));
        inbox.add(mail(2, "two"));
        inbox.remove(&[Uuid::from_u128(2), Uuid::from_u128(7)]);
        assert_eq!((ids(&inbox), inbox.bytes), (vec![1], mail(1, "one").size()));

        inbox.clear();
        assert_eq!((inbox.bytes, inbox.by_key.len()), (0, 0));
    }
}
