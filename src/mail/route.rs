//! Which provider gets a mail: the first, or the fallback while the circuit breaker of the first is open.
//!
//! - An attempt gives its mail to one provider. A retry may give it to the other one, with the same code and the same
//!   idempotency key.
//! - While the fallback takes the mails, one new mail after each pause tries the first again, if the first answers a question
//!   about the account. So no mail waits for a first provider that is down, and none is tried there twice meanwhile.
//! - While both breakers are open, one mail at a time probes the provider whose pause ends first.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::account_check::AccountCheck;
use super::circuit_breaker::{Change, CircuitBreaker, FAILURES_TO_OPEN};
use super::provider::{Provider, Role, SendError};
use super::rendering::RenderedMail;
use crate::telemetry::trace::TraceContext;

/// How long the first provider may take to answer the question whether it works again. The mail that asks waits meanwhile.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// The providers with their circuit breakers. Clones share the breakers.
#[derive(Clone)]
pub struct Route(Arc<Channels>);

struct Channels {
    first: Channel,
    fallback: Option<Channel>,
}

struct Channel {
    provider: Provider,
    breaker: CircuitBreaker,
}

/// Which provider accepted a mail, and its id there.
pub struct MessageId {
    /// The dialect of the provider.
    pub provider: &'static str,
    pub by_fallback: bool,
    /// `None`: the provider's response has no id that is fit for a log line.
    pub id: Option<String>,
}

impl Route {
    pub fn new(first: Provider, fallback: Option<Provider>) -> Self {
        let channel = |provider| Channel { provider, breaker: CircuitBreaker::default() };
        let fallback = fallback.map(Provider::as_fallback).map(channel);
        Self(Arc::new(Channels { first: channel(first), fallback }))
    }

    /// Returns the first provider, and the fallback if there is one.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.channels().map(|channel| &channel.provider)
    }

    /// Returns how many mails the worker may send at once: `concurrency` while a breaker is closed, otherwise one.
    pub fn limit(&self, concurrency: usize) -> usize {
        if self.is_probing() { 1 } else { concurrency }
    }

    /// Returns the pause before the next probe. `None`: a breaker is closed, or a pause is over.
    pub fn pause(&self) -> Option<Duration> {
        let now = Instant::now();
        // A breaker without a pause is the least of all.
        self.channels().map(|channel| channel.breaker.pause(now)).min().flatten()
    }

    /// Makes one attempt to send a mail, by one provider. `is_retry`: an earlier attempt has failed.
    ///
    /// # Errors
    /// Unless the response confirms that the provider accepted the mail.
    pub async fn send(
        &self,
        mail: &RenderedMail,
        idempotency_key: Uuid,
        trace: TraceContext,
        is_retry: bool,
    ) -> Result<MessageId, SendError> {
        let channel = self.choose(is_retry).await;
        let sent = channel.provider.send(mail, idempotency_key, trace).await;
        self.record(channel, &sent);
        let role = channel.provider.role();
        match sent {
            Ok(id) => {
                counter!("sixty_mails_accepted_total", "provider" => role.label()).increment(1);
                Ok(MessageId { provider: channel.provider.name(), by_fallback: role == Role::Fallback, id })
            }
            // The next attempt goes to the fallback, which did not ask for this wait.
            Err(SendError::Temporary { reason, maybe_accepted, account_refused, .. })
                if role == Role::First && self.uses_fallback() =>
            {
                Err(SendError::Temporary { reason, retry_after: None, maybe_accepted, account_refused })
            }
            Err(error) => Err(error),
        }
    }

    async fn choose(&self, is_retry: bool) -> &Channel {
        let Channels { first, fallback } = &*self.0;
        let Some(fallback) = fallback else { return first };
        if first.breaker.is_closed() {
            return first;
        }
        let spared = fallback.breaker.is_closed();
        // A retry that probed could fail again and again, if no other mail is sent.
        if spared && is_retry || !first.breaker.take_probe(Instant::now(), spared) {
            return fallback;
        }
        if !spared || first.answers().await { first } else { fallback }
    }

    fn record(&self, channel: &Channel, sent: &Result<Option<String>, SendError>) {
        let now = Instant::now();
        let breaker = &channel.breaker;
        let (change, refusal) = match sent {
            Ok(_) => (breaker.record_success(), ""),
            Err(SendError::Temporary { account_refused: true, reason, retry_after, .. }) => {
                (breaker.record_account_refusal(now, *retry_after), &**reason)
            }
            Err(SendError::Temporary { retry_after, .. }) => (breaker.record_failure(now, *retry_after), ""),
            // A definitive refusal says nothing about the provider's health.
            Err(SendError::Permanent { .. }) => return,
        };
        self.log(channel, change, refusal);
        let flag = |is_set: bool| f64::from(u8::from(is_set));
        gauge!("sixty_mail_probing").set(flag(self.is_probing()));
        gauge!("sixty_mail_fallback").set(flag(self.uses_fallback()));
        for channel in self.channels() {
            let label = channel.provider.role().label();
            gauge!("sixty_mail_account_refused", "provider" => label).set(flag(channel.breaker.is_account_refused()));
        }
    }

    fn log(&self, channel: &Channel, change: Change, refusal: &str) {
        let (provider, role) = (channel.provider.name(), channel.provider.role().label());
        let next = if self.uses_fallback() {
            "mails go by the fallback until it accepts one"
        } else {
            "trying one mail at a time until it accepts one"
        };
        match change {
            Change::None => {}
            Change::Closed => {
                info!(provider, role, "the circuit breaker is closed: the mail provider accepts mails again");
            }
            Change::Opened => {
                warn!(
                    provider,
                    role,
                    failures = FAILURES_TO_OPEN,
                    "the circuit breaker is open: the mail provider fails; {next}"
                );
            }
            Change::AccountRefused => {
                warn!(
                    provider,
                    role,
                    reason = refusal,
                    "the circuit breaker is open: the mail provider refuses the account; {next}; correct the setting and \
                     restart; mails are kept until MAIL_GIVE_UP"
                );
            }
        }
    }

    /// Whether every breaker is open.
    fn is_probing(&self) -> bool {
        self.channels().all(|channel| !channel.breaker.is_closed())
    }

    /// Whether mails go by the fallback.
    fn uses_fallback(&self) -> bool {
        let Channels { first, fallback } = &*self.0;
        !first.breaker.is_closed() && fallback.as_ref().is_some_and(|fallback| fallback.breaker.is_closed())
    }

    fn channels(&self) -> impl Iterator<Item = &Channel> {
        let Channels { first, fallback } = &*self.0;
        std::iter::once(first).chain(fallback)
    }
}

impl Channel {
    /// Whether the provider answers, and does not refuse the account.
    async fn answers(&self) -> bool {
        match tokio::time::timeout(ANSWER_TIME, self.provider.check_account(false)).await {
            Ok(AccountCheck::Accepted) => true,
            // A provider without such a resource: only a mail can tell.
            Ok(AccountCheck::Unknown { status }) => status < 500 && status != 429,
            Ok(_) | Err(_) => false,
        }
    }
}
