//! Transactional outbox of mails. A worker claims a mail under a lease, so no transaction is open while the mail is sent.

mod armed;
mod attempt_end;
mod batched;

use std::fmt;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::users::stored_locale;
use super::{Postgres, broken};
use crate::accounts::ports::StoreError;
use crate::domain::code::{CodeLength, Grant, MailAttempt, Nonce};
use crate::domain::locale::Locale;
use crate::domain::mailbox::MailboxQuota;
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::user::UserId;
use crate::telemetry::trace::TraceContext;
pub use attempt_end::LeftCode;
use batched::BatchedChanges;

/// The queue of mails to send.
#[derive(Clone)]
pub struct Outbox {
    postgres: Postgres,
    lease: Duration,
    batched: BatchedChanges,
}

/// Kind of a queued mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    /// The code of a registration. If the address has an account, its owner gets a notice instead.
    Code,
    Activated,
    ActivatedByOperator,
    PasswordChanged,
    /// The code of a password reset. If the address has no active account, no mail is sent.
    ResetCode,
    /// A password was reset with a code.
    PasswordReset,
    /// The code of a change of address, for the new address. If that address has an account, its owner gets a notice instead.
    AddressCode,
    /// The notice about a change of address, for the old address.
    AddressChange,
    AddressRestored,
}

/// The values of `outbox.kind` that this release knows. A later release may add others.
const KINDS: [&str; 9] = [
    "code",
    "activated",
    "activated_by_operator",
    "password_changed",
    "reset_code",
    "password_reset",
    "address_code",
    "address_change",
    "address_restored",
];

/// A lease on a queued mail. The process may send the mail while it holds the lease.
pub struct Claim {
    pub kind: MailKind,
    pub grant: Grant,
    /// The user that the mail is for. For a reset code: the active account of the address, or `None` if there is none.
    pub user: Option<UserId>,
    /// The nonce of the code; unused in other kinds of mail, like `length`.
    pub nonce: Nonce,
    pub length: CodeLength,
    pub idempotency_key: Uuid,
    /// The address of the user as typed. For a reset code: the canonical address that somebody entered. For a change of
    /// address: the new address or the old one, as typed.
    pub email: String,
    /// Whether the mail is still needed: for the code of a registration, the user is pending; for notices, the user is an
    /// account.
    pub wanted: bool,
    /// The language of the user; `None` is the default one.
    pub locale: Option<Locale>,
    /// The address of an existing account, as typed. If a registration has one, its owner gets a notice, and the code is a
    /// decoy.
    pub account_email: Option<String>,
    /// The language of the existing account.
    pub account_locale: Option<Locale>,
    /// Number of attempts, this one included.
    pub attempts: u32,
    /// Whether it is certain that no earlier attempt reached the provider.
    pub unsent: bool,
    /// Whether the mail is counted in its mailbox already, so that a retry does not count it again.
    pub charged: bool,
    /// Whether the code of this grant was put into Redis before. False also if a worker died after its first put.
    pub armed: bool,
    /// Whether the worker of the previous attempt neither finished it nor released the mail: it probably died.
    pub is_abandoned: bool,
    /// Time from the grant of the mail to this claim.
    pub age: Duration,
    pub claimed: Instant,
    /// The trace of the request that queued the mail.
    pub trace: Option<TraceContext>,
    lease: Uuid,
}

/// Hides the addresses and the nonce.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut claim = f.debug_struct("Claim");
        claim
            .field("kind", &self.kind)
            .field("user", &self.user)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl Claim {
    pub fn attempt(&self) -> MailAttempt {
        MailAttempt { grant: self.grant, number: self.attempts }
    }
}

/// Result of [`Outbox::charge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The mail is counted in its mailbox and may be sent.
    Charged,
    /// The mailbox has used up its quota. Nothing was changed.
    OverQuota,
    /// The lease was lost. Nothing was changed.
    ClaimLost,
}

/// Size and age of the outbox.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    pub mails: u64,
    /// Age of the oldest mail; zero if there is none.
    pub oldest: Duration,
}

impl Outbox {
    /// `lease` is the duration of a claim without renewal. If a process dies, its mails are delayed by up to this time.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(postgres: Postgres, lease: Duration) -> Self {
        let batched = BatchedChanges::start(&postgres);
        Self { postgres, lease, batched }
    }

    /// Claims up to `most` due mails, oldest first, but no reset mail whose code is not in Redis yet.
    pub async fn claim(&self, most: u32) -> Result<Vec<Claim>, StoreError> {
        self.claim_those(most, false).await
    }

    /// Claims up to `most` due reset mails whose codes are not in Redis yet, oldest first.
    pub async fn claim_resets(&self, most: u32) -> Result<Vec<Claim>, StoreError> {
        self.claim_those(most, true).await
    }

    /// Claims either the reset mails whose codes are not in Redis yet, or the other mails. `SKIP LOCKED` lets several workers
    /// claim at the same time.
    ///
    /// Mails of unknown kinds are skipped: a later release queued them and will send them.
    ///
    /// A separate CTE selects the rows. PostgreSQL may run a subquery in `WHERE id IN (…)` once for every row of the outbox
    /// and lock other rows each time, so that its `LIMIT` limits nothing.
    async fn claim_those(&self, most: u32, new_resets: bool) -> Result<Vec<Claim>, StoreError> {
        let rows = self
            .postgres
            .bounded(async {
                sqlx::query!(
                    r#"
                    WITH due AS MATERIALIZED (
                        SELECT id, unsent, lease IS NOT NULL AS is_abandoned FROM outbox
                        WHERE due_at <= now() AND kind = ANY ($3)
                            AND (kind = 'reset_code' AND armed_id IS DISTINCT FROM id) = $4
                        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
                    ), claimed AS (
                        UPDATE outbox
                        SET lease = gen_random_uuid(), attempts = attempts + 1, unsent = false,
                            due_at = now() + make_interval(secs => $2)
                        FROM due WHERE outbox.id = due.id
                        RETURNING outbox.*, due.unsent AS was_unsent, due.is_abandoned
                    )
                    SELECT claimed.id AS "id!", claimed.kind AS "kind!",
                        CASE WHEN claimed.kind <> 'reset_code' THEN registered.id
                            WHEN account.status = 'active' THEN account.id END AS user_id,
                        claimed.nonce AS "nonce!", claimed.digits AS "digits!", claimed.idempotency_key AS "idempotency_key!",
                        claimed.attempts AS "attempts!", claimed.was_unsent AS "unsent!", claimed.lease AS "lease!",
                        claimed.is_abandoned AS "is_abandoned!",
                        claimed.armed_id IS NOT DISTINCT FROM claimed.id AS "armed!",
                        extract(epoch FROM now() - claimed.created_at)::float8 AS "age!", claimed.traceparent,
                        claimed.charged AS "charged!", 
                        coalesce(change.email, claimed.address, registered.email) AS "email!",
                        CASE claimed.kind WHEN 'code' THEN registered.status = 'pending' WHEN 'reset_code' THEN true
                            WHEN 'address_code' THEN registered.status = 'active' AND change.user_id IS NOT NULL
                            ELSE registered.status <> 'pending' END AS "wanted!",
                        registered.locale AS "locale?", account.email AS "account_email?",
                        account.locale AS "account_locale?"
                    FROM claimed
                    LEFT JOIN users AS registered ON registered.id = claimed.user_id
                    LEFT JOIN address_changes AS change
                        ON change.user_id = claimed.user_id AND claimed.kind = 'address_code'
                    LEFT JOIN users AS account
                        ON account.address = coalesce(change.address, registered.address, claimed.address)
                            AND account.status <> 'pending'
                    "#,
                    i64::from(most),
                    self.lease.as_secs_f64(),
                    &KINDS[..] as _,
                    new_resets,
                )
                .fetch_all(&mut *self.postgres.acquire().await?)
                .await
            })
            .await?;
        let claimed = Instant::now();
        rows.into_iter()
            .map(|row| {
                Ok(Claim {
                    kind: match &*row.kind {
                        "code" => MailKind::Code,
                        "activated" => MailKind::Activated,
                        "activated_by_operator" => MailKind::ActivatedByOperator,
                        "password_changed" => MailKind::PasswordChanged,
                        "reset_code" => MailKind::ResetCode,
                        "password_reset" => MailKind::PasswordReset,
                        "address_code" => MailKind::AddressCode,
                        "address_change" => MailKind::AddressChange,
                        "address_restored" => MailKind::AddressRestored,
                        _ => return Err(broken("the outbox returned a kind of mail that was not requested")),
                    },
                    grant: Grant(row.id),
                    user: row.user_id.map(UserId),
                    nonce: Nonce(row.nonce.try_into().map_err(|_| broken("a nonce must have 16 octets"))?),
                    length: row
                        .digits
                        .try_into()
                        .ok()
                        .and_then(CodeLength::new)
                        .ok_or_else(|| broken("the code length is invalid"))?,
                    idempotency_key: row.idempotency_key,
                    email: row.email,
                    locale: stored_locale(row.locale.as_deref()),
                    wanted: row.wanted,
                    unsent: row.unsent,
                    charged: row.charged,
                    armed: row.armed,
                    account_email: row.account_email,
                    account_locale: stored_locale(row.account_locale.as_deref()),
                    is_abandoned: row.is_abandoned,
                    attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
                    age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
                    trace: row.traceparent.as_deref().and_then(TraceContext::parse),
                    claimed,
                    lease: row.lease,
                })
            })
            .collect()
    }

    /// Counts the unfinished mails of the kinds that this release knows. Finished mails have no row, so there are few rows
    /// unless the provider fails.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let backlog = sqlx::query!(
            r#"
            SELECT count(*) AS "mails!", coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS "oldest!"
            FROM outbox WHERE kind = ANY ($1)
            "#,
            &KINDS[..] as _,
        );
        let backlog =
            self.postgres.bounded(async { backlog.fetch_one(&mut *self.postgres.acquire().await?).await }).await?;
        let oldest = Duration::try_from_secs_f64(backlog.oldest).unwrap_or_default();
        Ok(Backlog { mails: backlog.mails.unsigned_abs(), oldest })
    }

    /// Renews the lease. Returns `false` if it is lost: another process claimed the mail, a later grant replaced it, or the
    /// registration was deleted.
    pub async fn renew(&self, claim: &Claim) -> Result<bool, StoreError> {
        let renew = sqlx::query!(
            "UPDATE outbox SET due_at = now() + make_interval(secs => $3) WHERE id = $1 AND lease = $2",
            claim.grant.0,
            claim.lease,
            self.lease.as_secs_f64(),
        );
        let renewed =
            self.postgres.bounded(async { renew.execute(&mut *self.postgres.acquire().await?).await }).await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Renews the lease periodically while this is awaited. Returns when the lease is lost.
    pub async fn keep(&self, claim: &Claim) {
        let third = self.lease / 3;
        let mut pause = third;
        loop {
            tokio::time::sleep(pause).await;
            pause = match tokio::time::timeout(third, self.renew(claim)).await {
                Ok(Ok(true)) => third,
                Ok(Ok(false)) => return,
                // If the database is down, no other process can claim the mail. If only the pool is exhausted, there is
                // time for another attempt.
                Ok(Err(_)) | Err(_) => third / 4,
            };
        }
    }

    /// Counts a code mail in its mailbox, unless that would exceed the quota in the last hour or in the last 24 hours. Marks
    /// the mail as counted in the same statement, so that a retry does not count it again, also after a crash.
    ///
    /// Of simultaneous calls for one mailbox, one locks its row. The others wait and then read the new counts.
    pub async fn charge(&self, claim: &Claim, mailbox: &[u8; 32], quota: MailboxQuota) -> Result<Charge, StoreError> {
        if self.batched.charge(claim, mailbox, quota).await? {
            return Ok(Charge::Charged);
        }
        let charge = sqlx::query!(
            r#"
            WITH held AS MATERIALIZED (
                SELECT id FROM outbox WHERE id = $1 AND lease = $2 FOR UPDATE
            ), counted AS (
                INSERT INTO mailboxes AS m (mac, mailed_at, last_mailed_at)
                SELECT $3, ARRAY[now()], now() FROM held
                ON CONFLICT (mac) DO UPDATE SET
                    mailed_at = ARRAY(
                        SELECT at FROM unnest(m.mailed_at) AS at WHERE at > now() - interval '1 day'
                    ) || now(),
                    last_mailed_at = now()
                WHERE (
                    SELECT count(*) < $5 AND count(*) FILTER (WHERE at > now() - interval '1 hour') < $4
                    FROM unnest(m.mailed_at) AS at WHERE at > now() - interval '1 day'
                )
                RETURNING mac
            ), charged AS (
                UPDATE outbox SET charged = true FROM counted WHERE id = $1 AND lease = $2
            )
            SELECT EXISTS (SELECT FROM held) AS "held!", EXISTS (SELECT FROM counted) AS "counted!"
            "#,
            claim.grant.0,
            claim.lease,
            &mailbox[..],
            i64::from(quota.per_hour),
            i64::from(quota.per_day),
        );
        let charge =
            self.postgres.bounded(async { charge.fetch_one(&mut *self.postgres.acquire().await?).await }).await?;
        Ok(match (charge.held, charge.counted) {
            (true, true) => Charge::Charged,
            (true, false) => Charge::OverQuota,
            (false, _) => Charge::ClaimLost,
        })
    }

    /// Stores the "this was not me" link of a mail. Its lifetime starts now, so the link of a late mail works as long as
    /// others. Records that the code of the grant is in Redis: see [`Claim::armed`].
    ///
    /// Returns `false` if the lease was lost, or the registration is gone or no longer pending. Then nothing was changed.
    pub async fn link(&self, claim: &Claim, user: UserId, link: &NotMeHash) -> Result<bool, StoreError> {
        if self.batched.link(claim, user, link).await? {
            return Ok(true);
        }
        // The lock waits for a transaction that deletes the row. Otherwise the foreign key could fail. The lock precedes
        // that of the outbox row, as in a deletion; otherwise the two could deadlock.
        let link = sqlx::query!(
            "
            WITH pending AS MATERIALIZED (
                SELECT id FROM users WHERE id = $2 AND status || '' = 'pending' FOR KEY SHARE
            ), armed AS (
                UPDATE outbox SET armed_id = outbox.id FROM pending
                WHERE outbox.id = $4 AND outbox.user_id = pending.id AND lease = $5
                RETURNING user_id
            )
            INSERT INTO not_me_links (token_hash, user_id, expires_at)
            SELECT $1, user_id, now() + make_interval(secs => $3) FROM armed
            ON CONFLICT (token_hash) DO UPDATE SET expires_at = EXCLUDED.expires_at
            ",
            &link.0[..],
            user.0,
            not_me::LIFETIME.as_secs_f64(),
            claim.grant.0,
            claim.lease,
        );
        Ok(self
            .postgres
            .bounded(async { link.execute(&mut *self.postgres.acquire().await?).await })
            .await?
            .rows_affected()
            == 1)
    }
}
