//! The worker: claims mails, makes their codes live, hands them to the provider, and starts the minute when it has
//! taken them.
//!
//! The code is put into Redis *before* the mail goes out, because the mail may arrive before the provider's answer, and
//! again *after* its acceptance, because the minute belongs to the person, not to a slow provider.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use reqwest::Url;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::circuit::Circuit;
use super::messages::{self, Message};
use super::provider::{Provider, SendError};
use super::retry;
use crate::accounts::ports::{Codes, PutOutcome, StoreError};
use crate::domain::code::CodeSecret;
use crate::domain::email::Email;
use crate::rng::Rng;
use crate::store::postgres::outbox::{Claim, MailKind, Outbox};
use crate::telemetry::trace::TraceContext;

/// How often the outbox is looked at without being told: for rows of other processes, retries and ended leases.
const POLL: Duration = Duration::from_millis(500);

/// From the grant to the acceptance; more than this is taken out of the wait for the next grant. A working provider
/// takes milliseconds, and for those nobody should have to wait longer than they were told.
const LATE: Duration = Duration::from_secs(1);

pub struct Worker<C> {
    pub outbox: Outbox,
    pub codes: Arc<C>,
    pub provider: Provider,
    pub secret: CodeSecret,
    pub code_ttl: Duration,
    /// Where people reach the API.
    pub public_url: Url,
    /// A mail of this age is tried for the last time; so is one that is older, because nobody could try it.
    pub give_up_after: Duration,
    /// Mails under way at once.
    pub concurrency: usize,
    pub circuit: Circuit,
    pub rng: Rng,
    /// Rung when this process has queued a mail.
    pub queued: Arc<Notify>,
}

/// What to do with a claim after an attempt.
enum Outcome {
    Sent,
    /// Somebody else has it now, or nobody needs it.
    Lost,
    /// This process ends.
    HandOver,
    /// A later grant, three wrong guesses, an activation or the end of the registration came in between.
    NotWanted,
    Retry {
        reason: String,
        after: Option<Duration>,
        /// Whether still no attempt can have reached the provider.
        unsent: bool,
    },
    GiveUp {
        reason: String,
    },
}

impl<C: Codes> Worker<C> {
    /// Works until told to stop, then finishes what is under way; what is not finished at `hand_over` is left to other
    /// processes.
    pub async fn run(self, stop: CancellationToken, hand_over: CancellationToken) {
        let worker = Arc::new(self);
        let mut under_way = JoinSet::new();
        let mut reachable = true;
        loop {
            if let Some(pause) = worker.circuit.pause() {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            // A mail queued while the outbox is read is not slept over: its ring is kept until somebody waits for it.
            let queued = worker.queued.notified();
            let free = worker.circuit.limit(worker.concurrency).saturating_sub(under_way.len());
            match worker.claim(free).await {
                Ok(claims) => {
                    if !reachable {
                        info!("the outbox can be read again");
                        reachable = true;
                    }
                    for claim in claims {
                        let (worker, hand_over) = (Arc::clone(&worker), hand_over.clone());
                        let trace = worker.trace(&claim);
                        let span = info_span!("mail", trace_id = trace.id());
                        let handled = async move { worker.handle(claim, trace, hand_over).await };
                        under_way.spawn(handled.instrument(span));
                    }
                }
                Err(error) if reachable => {
                    warn!(%error, "the outbox cannot be read; trying on");
                    reachable = false;
                }
                Err(_) => {}
            }
            let full = under_way.len() >= worker.circuit.limit(worker.concurrency);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = under_way.join_next(), if full => {}
                () = queued, if !full => {}
                () = tokio::time::sleep(POLL) => {}
            }
            while under_way.try_join_next().is_some() {}
        }
        // One that panicked has told so.
        while under_way.join_next().await.is_some() {}
    }

    async fn claim(&self, free: usize) -> Result<Vec<Claim>, StoreError> {
        if free == 0 { Ok(vec![]) } else { self.outbox.claim(free as u32).await }
    }

    /// The next step of what queued the mail.
    fn trace(&self, claim: &Claim) -> TraceContext {
        match claim.trace {
            Some(trace) => trace.child(&self.rng),
            None => TraceContext::begin(&self.rng),
        }
    }

    async fn handle(&self, claim: Claim, trace: TraceContext, hand_over: CancellationToken) {
        let outcome = tokio::select! {
            outcome = self.attempt(&claim, trace) => outcome,
            () = self.outbox.keep(&claim) => Outcome::Lost,
            () = hand_over.cancelled() => Outcome::HandOver,
        };
        if let Err(error) = self.settle(&claim, outcome).await {
            // The lease ends by itself and the mail is sent again, with the same code under the same key.
            warn!(%error, user.id = %claim.user, "a mail's end could not be noted");
        }
    }

    async fn attempt(&self, claim: &Claim, trace: TraceContext) -> Outcome {
        if !claim.wanted {
            return Outcome::NotWanted;
        }
        match claim.kind {
            MailKind::Code => {}
            MailKind::Activated => return self.notify(claim, Message::activated, trace).await,
            MailKind::PasswordChanged => return self.notify(claim, Message::password_changed, trace).await,
        }
        // An account's owner is told; whoever registered gets a decoy that behaves like a code.
        let recipient = Email::parse(claim.account_email.as_ref().unwrap_or(&claim.email));
        let Ok(recipient) = recipient else {
            return Outcome::GiveUp { reason: "the stored address is none".to_owned() };
        };
        let later = |error: StoreError, unsent| Outcome::Retry { reason: error.to_string(), after: None, unsent };
        let not_me = self.secret.not_me(&claim.nonce);
        match self.outbox.link(claim.user, &not_me.hash()).await {
            Ok(true) => {}
            Ok(false) => return Outcome::NotWanted,
            // A link that does not work must not be mailed.
            Err(error) => return later(error, claim.unsent),
        }
        let not_me = messages::not_me(&self.public_url, &not_me);
        let (message, code) = if claim.account_email.is_some() {
            (Message::existing_account(&recipient, &not_me), None)
        } else {
            let code = self.secret.code(&claim.nonce, claim.length);
            (Message::code(&recipient, &code, self.code_ttl, &not_me), Some(code))
        };
        let put = || self.codes.put(claim.user, claim.grant, code.as_ref());
        match put().await {
            Ok(PutOutcome::Live) => {}
            Ok(PutOutcome::Superseded | PutOutcome::Invalidated) => return Outcome::NotWanted,
            // A code that is not live must not be mailed.
            Err(error) => return later(error, claim.unsent),
        }
        let begun = Instant::now();
        let sent = self.send(claim, &message, trace).await;
        let maybe_taken = matches!(&sent, Ok(()) | Err(SendError::Temporary { maybe_taken: true, .. }));
        if maybe_taken && begun.elapsed() + claim.age > LATE {
            // Before the minute begins, so that there is no gap in which it could be cut short.
            if let Err(error) = self.outbox.restart_wait(claim).await {
                return later(error, false);
            }
        }
        let unsent = claim.unsent && !maybe_taken;
        if unsent && let Err(error) = self.withdraw(claim).await {
            debug!(%error, user.id = %claim.user, "a code that was not mailed was not withdrawn");
        }
        match sent {
            Ok(()) => {}
            Err(SendError::Temporary { reason, retry_after, .. }) => {
                return Outcome::Retry { reason, after: retry_after, unsent };
            }
            Err(SendError::Permanent { reason }) => return Outcome::GiveUp { reason },
        }
        match put().await {
            // Used or destroyed while the provider was answering: the mail has done its work.
            Ok(PutOutcome::Live | PutOutcome::Superseded | PutOutcome::Invalidated) => {
                if code.is_some() {
                    counter!("sixty_codes_issued_total").increment(1);
                }
                Outcome::Sent
            }
            // The mail is out but its code may be gone: the same mail again is better than a code that does not work.
            Err(error) => later(error, false),
        }
    }

    /// One attempt, of which the circuit hears.
    async fn send(&self, claim: &Claim, message: &Message, trace: TraceContext) -> Result<(), SendError> {
        let begun = Instant::now();
        let sent = self.provider.send(message, claim.idempotency_key, trace).await;
        let accepted = if sent.is_ok() { "true" } else { "false" };
        histogram!("sixty_mail_attempt_duration_seconds", "accepted" => accepted).record(begun.elapsed());
        if sent.is_ok() {
            histogram!("sixty_mail_acceptance_seconds").record(claim.age + claim.claimed.elapsed());
        }
        match &sent {
            Ok(()) => self.circuit.accepted(),
            Err(SendError::Temporary { retry_after, .. }) => self.circuit.failed(*retry_after),
            // It knows its mind, but has accepted nothing.
            Err(SendError::Permanent { .. }) => {}
        }
        sent
    }

    /// Nobody has the code, so nobody should lose a guess at it. It expires by itself if this fails.
    async fn withdraw(&self, claim: &Claim) -> Result<(), StoreError> {
        // Who took the mail over may have sent the code meanwhile. A whole lease is time enough to be sure of the claim.
        if self.outbox.renew(claim).await? { self.codes.withdraw(claim.user, claim.grant).await } else { Ok(()) }
    }

    /// Sends a mail that carries no code.
    async fn notify(&self, claim: &Claim, message: fn(&Email) -> Message, trace: TraceContext) -> Outcome {
        let Ok(recipient) = Email::parse(&claim.email) else {
            return Outcome::GiveUp { reason: "the stored address is none".to_owned() };
        };
        match self.send(claim, &message(&recipient), trace).await {
            Ok(()) => Outcome::Sent,
            Err(SendError::Temporary { reason, retry_after, maybe_taken }) => {
                Outcome::Retry { reason, after: retry_after, unsent: claim.unsent && !maybe_taken }
            }
            Err(SendError::Permanent { reason }) => Outcome::GiveUp { reason },
        }
    }

    async fn settle(&self, claim: &Claim, outcome: Outcome) -> Result<(), StoreError> {
        let (user, attempts) = (claim.user, claim.attempts);
        let outcome = match outcome {
            Outcome::Retry { reason, after, unsent } => {
                let fraction = self.rng.fraction();
                let age = claim.age + claim.claimed.elapsed();
                match retry::delay(attempts, unsent, age, after, self.give_up_after, fraction) {
                    Some(delay) => {
                        warn!(%reason, user.id = %user, attempts, ?delay, "a mail was not accepted; it will be tried again");
                        counter!("sixty_mail_attempts_total", "outcome" => "retry").increment(1);
                        self.outbox.retry(claim, delay, unsent).await?;
                        return Ok(());
                    }
                    None => Outcome::GiveUp { reason },
                }
            }
            Outcome::HandOver => {
                info!(user.id = %user, attempts, "a mail under way is left to another process");
                // Whether the provider has it is not known.
                self.outbox.retry(claim, Duration::ZERO, false).await?;
                return Ok(());
            }
            Outcome::Lost => {
                debug!(user.id = %user, "the claim was no longer held");
                return Ok(());
            }
            done => done,
        };
        let label = match &outcome {
            Outcome::Sent => {
                info!(user.id = %user, attempts, "a mail was accepted by the provider");
                "sent"
            }
            Outcome::GiveUp { reason } => {
                error!(%reason, user.id = %user, attempts, "a mail was given up");
                "given_up"
            }
            _ => {
                debug!(user.id = %user, "a mail is not wanted any more");
                "not_wanted"
            }
        };
        counter!("sixty_mail_attempts_total", "outcome" => label).increment(1);
        if !self.outbox.finish(claim).await? {
            debug!(user.id = %user, "the claim was no longer held");
        }
        Ok(())
    }
}
