//! The state of the mock: the inbox, the faults in force, and the random number generator.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng as _};
use secrecy::SecretString;
use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, Iso8601, TimePrecision};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::content::MailContent;
use super::faults::{FaultCounts, Faults};
use super::inbox::{Inbox, Mail, MailKey};
use super::mailed_code::MailedCode;

/// Options of a new mock.
#[derive(Clone, Default)]
pub struct MockOptions {
    /// The faults in force until `PUT /api/faults` replaces them.
    pub faults: Faults,
    /// The credentials that `POST /v3.1/send` requires. `None` accepts every key and secret that are not empty.
    pub mailjet: Option<MailjetCredentials>,
    /// The keys that the other providers' APIs require.
    pub keys: ApiKeys,
    /// URL of the API whose mails the mock receives. An empty inbox page shows a command that registers a user there.
    pub api_url: Option<String>,
    /// Host names under which clients may reach the mock, besides `localhost` and all IP addresses.
    pub hosts: Vec<String>,
}

/// Credentials of a Mailjet account.
#[derive(Clone)]
pub struct MailjetCredentials {
    /// The API key, sent as the user name.
    pub key: String,
    /// The secret key, sent as the password.
    pub secret: SecretString,
}

/// API keys of accounts, by provider. `None` accepts every key that is not empty.
#[derive(Clone, Default)]
pub struct ApiKeys {
    /// The server token, for `POST /email`.
    pub postmark: Option<SecretString>,
    /// For `POST /v3/smtp/email`.
    pub brevo: Option<SecretString>,
    /// For `POST /v3/mail/send`.
    pub sendgrid: Option<SecretString>,
    /// For `POST /emails`.
    pub resend: Option<SecretString>,
}

/// The mock provider. Clones share one inbox.
#[derive(Clone)]
pub struct MailMock {
    shared: Arc<Shared>,
}

struct Shared {
    mailjet: Option<MailjetCredentials>,
    keys: ApiKeys,
    api_url: Option<String>,
    hosts: Vec<String>,
    /// Random id of this instance. Inbox pages notice by it that the mock has restarted.
    instance: Uuid,
    /// Number of changes to what the inbox page shows.
    changes: watch::Sender<u64>,
    state: Mutex<State>,
}

/// The mutable state. Hold the lock briefly: never across an await, nor while formatting a response.
pub(super) struct State {
    pub inbox: Inbox,
    pub faults: Faults,
    pub fault_counts: FaultCounts,
    rng: StdRng,
}

impl MailMock {
    /// Creates a mock with an empty inbox. The seed determines every id and which requests a fault affects, so that a test
    /// can repeat a run.
    ///
    /// This function does not check the faults; see [`Faults::check`]. Invalid rates are treated as 0 or 1.
    #[must_use]
    pub fn new(options: MockOptions, seed: u64) -> MailMock {
        let MockOptions { faults, mailjet, keys, api_url, hosts } = options;
        let mut rng = StdRng::seed_from_u64(seed);
        let instance = random_id(&mut rng);
        let state = State { inbox: Inbox::default(), faults, fault_counts: FaultCounts::default(), rng };
        let (changes, state) = (watch::Sender::new(0), Mutex::new(state));
        let shared = Shared { mailjet, keys, api_url, hosts, instance, changes, state };
        MailMock { shared: Arc::new(shared) }
    }

    /// Locks the state for reading. Use [`MailMock::change`] for changes that the inbox page shows.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // After a panic in another thread, at most one mail is missing: ignore the poisoning.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and notifies the inbox pages.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.shared.changes.send_modify(|count| *count += 1);
        result
    }

    /// Returns a receiver of the number of changes so far.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Returns the version of the inbox page after this number of changes.
    pub(super) fn version(&self, changes: u64) -> String {
        format!("{}-{changes}", self.shared.instance.simple())
    }

    pub(super) fn mailjet(&self) -> Option<&MailjetCredentials> {
        self.shared.mailjet.as_ref()
    }

    pub(super) fn keys(&self) -> &ApiKeys {
        &self.shared.keys
    }

    pub(super) fn hosts(&self) -> &[String] {
        &self.shared.hosts
    }

    pub(super) fn api_url(&self) -> Option<&str> {
        self.shared.api_url.as_deref()
    }

    /// Stores a mail. If a mail with the same key exists, renews its acceptance time and returns that mail instead: its
    /// sender may not have received the first response, and starts the code's lifetime now.
    pub(super) fn accept(&self, content: MailContent, key: Option<MailKey>, traceparent: Option<String>) -> Arc<Mail> {
        let (created, accepted) = (now(), Instant::now());
        self.change(|state| {
            if let Some(mail) = key.as_ref().and_then(|key| state.inbox.find_by_key(key)) {
                *mail.accepted.lock().unwrap_or_else(PoisonError::into_inner) = accepted;
                return mail;
            }
            let (id, code) = (random_id(&mut state.rng), MailedCode::find(&content));
            state.inbox.add(Mail { id, created, accepted: Mutex::new(accepted), code, content, key, traceparent })
        })
    }

    /// Returns the mail with this id. The id `latest` means the newest mail.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Mail>> {
        match id {
            "latest" => self.state().inbox.newest(),
            id => self.state().inbox.find(Uuid::try_parse(id).ok()?),
        }
    }

    pub(super) fn random_id(&self) -> Uuid {
        random_id(&mut self.state().rng)
    }

    /// Returns true with this probability: never for 0, always for 1. Does not panic for other values.
    pub(super) fn chance(&self, probability: f64) -> bool {
        self.state().rng.random::<f64>() < probability
    }
}

/// Returns a random seed from the operating system.
///
/// # Panics
/// If the operating system provides no randomness.
#[must_use]
pub fn random_seed() -> u64 {
    SysRng.try_next_u64().expect("the operating system provides randomness")
}

fn random_id(rng: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

/// Returns the current time as RFC 3339 in UTC, always with milliseconds: some clients require them.
#[expect(clippy::disallowed_methods, reason = "the mock stands for another system with its own clock")]
fn now() -> String {
    const FORMAT: EncodedConfig = Config::DEFAULT
        .set_time_precision(TimePrecision::Second { decimal_digits: std::num::NonZeroU8::new(3) })
        .encode();
    OffsetDateTime::now_utc().format(&Iso8601::<FORMAT>).expect("the current year has four digits")
}
