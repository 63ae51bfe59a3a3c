//! The mail worker: claims mails from the outbox, makes their codes live, and sends them.
//!
//! A code is put into Redis twice. *Before* the mail is sent, because the mail may arrive before the provider responds.
//! *After* the provider accepted the mail, so that a slow response does not shorten the code's lifetime. The code of a password
//! reset is put once: see `worker/reset_code.rs`.

mod address_code;
mod live_code;
mod registration_code;
mod reset_code;
mod settle;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use metrics::histogram;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, info, info_span, warn};
use url::Url;

use super::mails::Mails;
use super::provider::SendError;
use super::rendering::RenderedMail;
use super::route::{MessageId, Route};
use crate::accounts::ports::{Codes, StoreError};
use crate::domain::code::{CodeLifetimes, CodeSecret};
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::domain::mailbox::MailboxQuota;
use crate::rng::Rng;
use crate::store::postgres::outbox::{Claim, LeftCode, MailKind, Outbox};
use crate::telemetry::spans;
use crate::telemetry::trace::TraceContext;

/// How often the worker reads the outbox without a notification: for mails of other processes, retries and expired leases.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// This long after a claim there is no other one, so each statement and each wake-up serves several mails. An idle worker
/// claims a mail at once.
const COLLECT_INTERVAL: Duration = Duration::from_millis(10);

/// The same while many passwords wait to be hashed. Then a wake-up costs more: the hash has emptied the caches of the core.
const BUSY_COLLECT_INTERVAL: Duration = Duration::from_millis(100);

/// The number of reset codes that are stored at once.
const MAX_RESET_CODES_AT_ONCE: usize = 16;

/// The number of attempts after which a mail that is older than `MAIL_GIVE_UP` is not tried again if the last attempt has
/// not ended. Probably the mail itself ends the processes that send it.
const MAX_UNFINISHED_ATTEMPTS: u32 = 5;

pub struct Worker<C> {
    pub outbox: Outbox,
    pub codes: Arc<C>,
    pub route: Route,
    pub secret: CodeSecret,
    pub lifetimes: CodeLifetimes,
    pub mailbox_quota: MailboxQuota,
    /// The base URL of links in mails.
    pub public_url: Url,
    pub mails: Arc<Mails>,
    /// The age of a mail at its last attempt. An older mail, which could not be tried earlier, gets one attempt.
    pub give_up_after: Duration,
    /// The number of mails that are sent at once.
    pub concurrency: usize,
    pub rng: Rng,
    /// Notified when this process has queued a mail.
    pub queued: Arc<Notify>,
    /// Notified when this process has queued a reset mail, whose code must be stored first.
    pub resets_queued: Arc<Notify>,
    /// Whether many passwords wait to be hashed.
    pub is_busy: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// What the worker claims, apart from each other.
///
/// The codes of resets wait neither for a free place among the mails that are sent nor for a pause of the provider.
/// Otherwise, while the provider is slow, the time until a decoy is there would reveal whether an earlier request had a mail
/// to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Reset mails whose codes or decoys are not in Redis yet.
    ResetCodes,
    /// Mails that can be sent.
    Mails,
}

/// The outcome of an attempt to send a claimed mail.
enum Outcome {
    Sent {
        message_id: MessageId,
    },
    /// The code of a reset mail is in Redis. The mail was released to be sent.
    CodeStored,
    /// Another process has claimed the mail, or its row is gone.
    ClaimLost,
    /// This process stops before the attempt has ended.
    HandOver,
    /// The mail has become useless: by a later grant, three wrong guesses, an activation or the end of the registration.
    NotWanted,
    /// The mailbox has used up its quota of code mails. No code becomes live.
    MailboxLimit,
    Retry {
        reason: String,
        retry_after: Option<Duration>,
        /// Whether no attempt, including this one, can have reached the provider.
        unsent: bool,
        left: LeftCode,
    },
    GiveUp {
        reason: String,
        left: LeftCode,
    },
}

impl Outcome {
    fn label(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::CodeStored => "code_stored",
            Self::ClaimLost => "claim_lost",
            Self::HandOver => "handed_over",
            Self::NotWanted => "not_wanted",
            Self::MailboxLimit => "mailbox_limit",
            Self::Retry { .. } => "retry",
            Self::GiveUp { .. } => "given_up",
        }
    }
}

impl<C: Codes> Worker<C> {
    /// Sends mails until `stop` is cancelled, then finishes those that it has claimed. When `hand_over` is cancelled,
    /// unfinished mails are released to other processes.
    pub async fn run(self, stop: CancellationToken, hand_over: CancellationToken) {
        let worker = Arc::new(self);
        let work = |lane| Arc::clone(&worker).work(lane, stop.clone(), hand_over.clone());
        tokio::join!(work(Lane::ResetCodes), work(Lane::Mails));
    }

    async fn work(self: Arc<Self>, lane: Lane, stop: CancellationToken, hand_over: CancellationToken) {
        let mut in_flight = JoinSet::new();
        let mut reachable = true;
        loop {
            if let Some(pause) = self.pause(lane) {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            // Created before the outbox is read: a notification during the read is kept for the wait below.
            let queued = self.queued(lane).notified();
            let claimed_at = tokio::time::Instant::now();
            match self.claim(lane, self.limit(lane).saturating_sub(in_flight.len())).await {
                Ok(claims) => {
                    if !reachable {
                        info!("the outbox can be read again");
                        reachable = true;
                    }
                    for claim in claims {
                        self.spawn(claim, &hand_over, &mut in_flight);
                    }
                }
                // The other lane has the same trouble: one line is enough.
                Err(error) if reachable && lane == Lane::Mails => {
                    warn!(%error, "the outbox cannot be read; the mail worker retries");
                    reachable = false;
                }
                Err(_) => {}
            }
            let full = in_flight.len() >= self.limit(lane);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = in_flight.join_next(), if full => {}
                () = queued, if !full => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            while in_flight.try_join_next().is_some() {}
            let interval = if !full && (self.is_busy)() { BUSY_COLLECT_INTERVAL } else { COLLECT_INTERVAL };
            if stop.run_until_cancelled(tokio::time::sleep_until(claimed_at + interval)).await.is_none() {
                break;
            }
        }
        // The panic hook has logged tasks that panicked.
        while in_flight.join_next().await.is_some() {}
    }

    /// Returns how long the lane waits for its provider.
    fn pause(&self, lane: Lane) -> Option<Duration> {
        match lane {
            Lane::ResetCodes => None,
            Lane::Mails => self.route.pause(),
        }
    }

    fn queued(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::ResetCodes => &self.resets_queued,
            Lane::Mails => &self.queued,
        }
    }

    /// Returns how many claims the lane handles at once.
    fn limit(&self, lane: Lane) -> usize {
        match lane {
            Lane::ResetCodes => MAX_RESET_CODES_AT_ONCE,
            Lane::Mails => self.route.limit(self.concurrency),
        }
    }

    async fn claim(&self, lane: Lane, free: usize) -> Result<Vec<Claim>, StoreError> {
        match lane {
            _ if free == 0 => Ok(vec![]),
            Lane::ResetCodes => self.outbox.claim_resets(free as u32).await,
            Lane::Mails => self.outbox.claim(free as u32).await,
        }
    }

    /// Handles a claimed mail in a task of its own.
    fn spawn(self: &Arc<Self>, claim: Claim, hand_over: &CancellationToken, in_flight: &mut JoinSet<()>) {
        let (worker, hand_over) = (Arc::clone(self), hand_over.clone());
        let exported = spans::mail(claim.attempts, claim.trace);
        let trace = spans::context(&exported).unwrap_or_else(|| worker.trace(&claim));
        let span = info_span!("mail", trace_id = trace.id());
        let outer = exported.clone();
        // Boxed: the futures around it would move all of it.
        let handled = Box::pin(async move { worker.handle(claim, trace, exported, hand_over).await });
        in_flight.spawn(handled.instrument(span).instrument(outer));
    }

    /// Returns a child of the trace that queued the mail, or a new trace.
    fn trace(&self, claim: &Claim) -> TraceContext {
        match claim.trace {
            Some(trace) => trace.child(&self.rng),
            None => TraceContext::begin(&self.rng),
        }
    }

    async fn handle(&self, claim: Claim, trace: TraceContext, exported: Span, hand_over: CancellationToken) {
        // The panic hook has logged the panic.
        let attempt = AssertUnwindSafe(self.attempt(&claim, trace)).catch_unwind();
        let outcome = tokio::select! {
            outcome = attempt => outcome.unwrap_or_else(|_| Outcome::Retry {
                reason: "the attempt panicked".to_owned(),
                retry_after: None,
                unsent: false,
                left: LeftCode::Live(self.lifetimes.registration),
            }),
            () = self.outbox.keep(&claim) => Outcome::ClaimLost,
            () = hand_over.cancelled() => Outcome::HandOver,
        };
        exported.record("outcome", outcome.label());
        if matches!(outcome, Outcome::Retry { .. } | Outcome::GiveUp { .. }) {
            spans::record_failure(&exported);
        }
        if let Err(error) = self.settle(&claim, outcome).await {
            // When the lease expires, the mail is sent again, with the same code and the same idempotency key.
            warn!(%error, user.id = claim.user.map(tracing::field::display), "the outcome of a mail could not be stored; the mail will be sent again");
        }
    }

    async fn attempt(&self, claim: &Claim, trace: TraceContext) -> Outcome {
        if !claim.wanted {
            return Outcome::NotWanted;
        }
        let is_unfinished = claim.is_abandoned && claim.attempts > MAX_UNFINISHED_ATTEMPTS;
        if is_unfinished && claim.age > self.give_up_after {
            let reason = "no attempt to send it has ended".to_owned();
            return Outcome::GiveUp { reason, left: LeftCode::Live(self.lifetimes.registration) };
        }
        match (claim.kind, claim.user) {
            (MailKind::ResetCode, _) if claim.armed => self.send_reset_code(claim, trace).await,
            (MailKind::ResetCode, _) => self.store_reset_code(claim).await,
            (MailKind::Code, Some(user)) => self.send_registration_code(claim, user, trace).await,
            (MailKind::Activated, _) => self.send_notice(claim, Mails::activated, trace).await,
            (MailKind::ActivatedByOperator, _) => self.send_notice(claim, Mails::activated_by_operator, trace).await,
            (MailKind::PasswordChanged, _) => self.send_notice(claim, Mails::password_changed, trace).await,
            (MailKind::PasswordReset, _) => self.send_notice(claim, Mails::password_reset, trace).await,
            (MailKind::AddressCode, Some(user)) => self.send_address_code(claim, user, trace).await,
            (MailKind::AddressChange, _) => self.send_address_notice(claim, trace).await,
            (MailKind::AddressRestored, _) => self.send_notice(claim, Mails::address_restored, trace).await,
            // A mail dies with its user.
            (MailKind::Code | MailKind::AddressCode, None) => Outcome::NotWanted,
        }
    }

    /// Sends a mail that has no code.
    async fn send_notice(
        &self,
        claim: &Claim,
        render: impl Fn(&Mails, Option<Locale>, &Email) -> RenderedMail,
        trace: TraceContext,
    ) -> Outcome {
        let Ok(recipient) = Email::parse(&claim.email) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        match self.send(claim, &render(&self.mails, claim.locale, &recipient), trace).await {
            Ok(message_id) => Outcome::Sent { message_id },
            Err(error) => {
                let maybe_accepted = matches!(&error, SendError::Temporary { maybe_accepted: true, .. });
                failed(error, claim.unsent && !maybe_accepted, LeftCode::None)
            }
        }
    }

    /// Makes one attempt, and records its result in the metrics.
    async fn send(&self, claim: &Claim, mail: &RenderedMail, trace: TraceContext) -> Result<MessageId, SendError> {
        let start = Instant::now();
        let sent = self.route.send(mail, claim.idempotency_key, trace, claim.attempts > 1).await;
        let accepted = if sent.is_ok() { "true" } else { "false" };
        histogram!("sixty_mail_attempt_duration_seconds", "accepted" => accepted).record(start.elapsed());
        if sent.is_ok() {
            histogram!("sixty_mail_acceptance_seconds").record(claim.age + claim.claimed.elapsed());
        }
        sent
    }
}

fn failed(error: SendError, unsent: bool, left: LeftCode) -> Outcome {
    match error {
        SendError::Temporary { reason, retry_after, .. } => Outcome::Retry { reason, retry_after, unsent, left },
        SendError::Permanent { reason } => Outcome::GiveUp { reason, left },
    }
}

fn invalid_recipient() -> SendError {
    SendError::Permanent { reason: "the stored address is not a valid e-mail address".to_owned() }
}
