//! The mail worker: claims mails from the outbox, makes their codes live, and sends them.
//!
//! A code is put into Redis twice. *Before* the mail is sent, because the mail may arrive before the provider responds.
//! *After* the provider accepted the mail, so that a slow response does not shorten the code's lifetime. The code of a password
//! reset is put once: see `worker/reset_code.rs`.

mod address_code;
mod live_code;
mod reset_code;
mod settle;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use metrics::{counter, histogram};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, error, info, info_span, warn};
use url::Url;

use super::mails::Mails;
use super::provider::SendError;
use super::rendering::{self, RenderedMail};
use super::route::{MessageId, Route};
use crate::accounts::ports::{Codes, PutOutcome, StoreError};
use crate::domain::code::{CodeKey, CodeLifetimes, CodeSecret};
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::domain::mailbox::{Mailbox, MailboxQuota};
use crate::domain::user::UserId;
use crate::rng::Rng;
use crate::store::postgres::outbox::{Charge, Claim, LeftCode, MailKind, Outbox};
use crate::telemetry::spans;
use crate::telemetry::trace::TraceContext;

/// How often the worker reads the outbox without a notification: for mails of other processes, retries and expired leases.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// This long after a claim there is no other one, so each statement and each wake-up serves several mails. An idle worker
/// claims a mail at once.
const COLLECT_INTERVAL: Duration = Duration::from_millis(10);

/// The same while many passwords wait to be hashed. Then a wake-up costs more: the hash has emptied the caches of the core.
const BUSY_COLLECT_INTERVAL: Duration = Duration::from_millis(100);

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
        let stores_reset_codes =
            tokio::spawn(reset_code::store_reset_codes(Arc::clone(&worker), stop.clone(), hand_over.clone()));
        let mut in_flight = JoinSet::new();
        let mut reachable = true;
        loop {
            if let Some(pause) = worker.route.pause() {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            // Created before the outbox is read: a notification during the read is kept for the wait below.
            let queued = worker.queued.notified();
            let claimed_at = tokio::time::Instant::now();
            let free = worker.route.limit(worker.concurrency).saturating_sub(in_flight.len());
            match worker.claim(free).await {
                Ok(claims) => {
                    if !reachable {
                        info!("the outbox can be read again");
                        reachable = true;
                    }
                    for claim in claims {
                        worker.spawn(claim, &hand_over, &mut in_flight);
                    }
                }
                Err(error) if reachable => {
                    warn!(%error, "the outbox cannot be read; the mail worker retries");
                    reachable = false;
                }
                Err(_) => {}
            }
            let full = in_flight.len() >= worker.route.limit(worker.concurrency);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = in_flight.join_next(), if full => {}
                () = queued, if !full => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            while in_flight.try_join_next().is_some() {}
            let interval = if !full && (worker.is_busy)() { BUSY_COLLECT_INTERVAL } else { COLLECT_INTERVAL };
            if stop.run_until_cancelled(tokio::time::sleep_until(claimed_at + interval)).await.is_none() {
                break;
            }
        }
        // The panic hook has logged tasks that panicked.
        while in_flight.join_next().await.is_some() {}
        let _ = stores_reset_codes.await;
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

    async fn claim(&self, free: usize) -> Result<Vec<Claim>, StoreError> {
        if free == 0 { Ok(vec![]) } else { self.outbox.claim(free as u32).await }
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
            (MailKind::Code, Some(user)) => self.send_code(claim, user, trace).await,
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

    /// Sends a code. If the address has an account, its owner gets a notice instead, and Redis a decoy, which no code matches.
    async fn send_code(&self, claim: &Claim, user: UserId, trace: TraceContext) -> Outcome {
        let Ok(registered) = Email::parse(&claim.email) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        let live = LeftCode::Live(self.lifetimes.registration);
        // Before the first put: an earlier attempt may have left its code.
        let before = if claim.unsent { LeftCode::None } else { live };
        let retry = |error: StoreError, unsent, left| {
            if matches!(error, StoreError::Broken { .. }) {
                error!(%error, user.id = %user, "a code cannot be mailed because of a defect or a missing right");
            }
            Outcome::Retry { reason: error.to_string(), retry_after: None, unsent, left }
        };
        // Before the code becomes live: a code that is not sent must behave like one that is not mailed yet.
        if !claim.charged {
            let address = registered.address();
            let mailbox = self.secret.mailbox(&Mailbox::of(address));
            match self.outbox.charge(claim, &mailbox, self.mailbox_quota.for_address(address)).await {
                Ok(Charge::Charged) => {}
                Ok(Charge::OverQuota) => return Outcome::MailboxLimit,
                Ok(Charge::ClaimLost) => return Outcome::ClaimLost,
                Err(error) => return retry(error, claim.unsent, before),
            }
        }
        let token = self.secret.not_me(&claim.nonce);
        let link = rendering::not_me_link(&self.public_url, &token);
        let code = claim.account_email.is_none().then(|| self.secret.code(&claim.nonce, claim.length));
        let recipient = claim.account_email.as_ref().map_or(Ok(registered), |email| Email::parse(email));
        let mail = recipient.map(|recipient| match &code {
            Some(code) => self.mails.code(claim.locale, &recipient, code, self.lifetimes.registration, &link),
            // In the language of the owner, not of the stranger.
            None => self.mails.existing_account(claim.account_locale, &recipient, &link),
        });
        match self.extend_wait_if_late(claim).await {
            Ok(true) => {}
            Ok(false) => return Outcome::ClaimLost,
            Err(error) => return retry(error, claim.unsent, before),
        }
        let put_code = |first| self.codes.put(CodeKey::Registration(user), claim.attempt(), code.as_ref(), first);
        match put_code(!claim.armed).await {
            Ok(PutOutcome::Live) => {}
            Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
            Ok(PutOutcome::Superseded | PutOutcome::Invalidated) => return Outcome::NotWanted,
            Ok(PutOutcome::Spent) => {
                warn!(user.id = %user, "Redis has lost the wrong guesses at a code; the code is invalid and its mail is dropped");
                return Outcome::NotWanted;
            }
            // The code in the mail would not work.
            Err(error) => return retry(error, claim.unsent, live),
        }
        // After the put: if Redis does not respond, the code was not put, and the next attempt is the first again.
        match self.outbox.link(claim, user, &token.hash()).await {
            Ok(true) => {}
            Ok(false) => return Outcome::NotWanted,
            // The link in the mail would not work.
            Err(error) => {
                let left = self.withdraw_unsent(claim, CodeKey::Registration(user), claim.unsent).await;
                return retry(error, claim.unsent, left);
            }
        }
        let sent = match &mail {
            Ok(mail) => self.send(claim, mail, trace).await,
            Err(_) => Err(invalid_recipient()),
        };
        let maybe_accepted = matches!(&sent, Ok(_) | Err(SendError::Temporary { maybe_accepted: true, .. }));
        let unsent = claim.unsent && !maybe_accepted;
        if let Err(error @ SendError::Temporary { .. }) = sent {
            let left = self.withdraw_unsent(claim, CodeKey::Registration(user), unsent).await;
            return failed(error, unsent, left);
        }
        // A permanent refusal concerns one spelling of the address. An account gets its mail at another spelling. So the
        // code or decoy must live as long as that of an accepted mail: otherwise guesses reveal the account.
        match self.extend_wait_if_late(claim).await {
            Ok(true) => {}
            Ok(false) => return Outcome::ClaimLost,
            Err(error) => return retry(error, unsent, live),
        }
        // Superseded, invalidated or spent while the provider responded: the mail is sent all the same.
        match put_code(false).await {
            Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
            Ok(_) => {}
            // The code may be gone. A second copy of the mail is better than a code that does not work.
            Err(error) => return retry(error, unsent, live),
        }
        match sent {
            Ok(message_id) => {
                // Decoys count too: otherwise the metric reveals which addresses have an account.
                counter!("sixty_codes_issued_total").increment(1);
                Outcome::Sent { message_id }
            }
            Err(error) => failed(error, unsent, live),
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
