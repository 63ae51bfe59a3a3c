//! Mails to be sent: claimed under a lease, never in a transaction that stays open while somebody else's server thinks.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Postgres, broken};
use crate::accounts::ports::StoreError;
use crate::domain::code::{CodeLength, Grant, Nonce};
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::user::UserId;
use crate::telemetry::trace::TraceContext;

#[derive(Clone)]
pub struct Outbox {
    postgres: Postgres,
    lease: Duration,
}

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    /// A registration's code, or what its address's owner is told instead.
    Code,
    Activated,
    PasswordChanged,
}

/// Their names in the database. Others are a later release's.
const KINDS: [&str; 3] = ["code", "activated", "password_changed"];

/// A mail that this process may send while it holds the lease.
#[derive(Debug)]
pub struct Claim {
    pub kind: MailKind,
    pub grant: Grant,
    pub user: UserId,
    /// Of a code, like its length.
    pub nonce: Nonce,
    pub length: CodeLength,
    pub idempotency_key: Uuid,
    /// The address as typed at the registration.
    pub email: String,
    /// Whether the registration is still pending; of other mails, whether there is an account.
    pub wanted: bool,
    /// That of the address's account, if there is one: then its owner is told instead, and no code exists.
    pub account_email: Option<String>,
    /// Attempts including this one.
    pub attempts: u32,
    /// Whether no earlier attempt can have reached the provider.
    pub unsent: bool,
    /// Since the mail was granted, when it was claimed.
    pub age: Duration,
    pub claimed: Instant,
    /// What it was queued in.
    pub trace: Option<TraceContext>,
    lease: Uuid,
}

/// What is not finished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    pub mails: u64,
    /// Since the first of them was granted; zero if there is none.
    pub oldest: Duration,
}

impl Outbox {
    /// `lease` is how long a claim is held without being renewed: who claims and dies delays the mail by as much.
    pub fn new(postgres: Postgres, lease: Duration) -> Self {
        Self { postgres, lease }
    }

    /// Claims up to `most` mails that are due, oldest first. `SKIP LOCKED` lets workers claim side by side.
    ///
    /// Other kinds are a later release's, which sends them itself, or again once it is no longer rolled back.
    ///
    /// The rows are chosen in a CTE of their own: a subquery in `WHERE id IN (…)` may be run again for every row of the
    /// outbox, each time locking other rows, and then its `LIMIT` limits nothing.
    pub async fn claim(&self, most: u32) -> Result<Vec<Claim>, StoreError> {
        let rows = self
            .postgres
            .bounded(
                sqlx::query!(
                    r#"
                    WITH due AS MATERIALIZED (
                        SELECT id, unsent FROM outbox
                        WHERE due_at <= now() AND kind = ANY ($3)
                        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
                    ), claimed AS (
                        UPDATE outbox
                        SET lease = gen_random_uuid(), attempts = attempts + 1, unsent = false,
                            due_at = now() + make_interval(secs => $2)
                        FROM due WHERE outbox.id = due.id
                        RETURNING outbox.*, due.unsent AS was_unsent
                    )
                    SELECT claimed.id AS "id!", claimed.kind AS "kind!", claimed.user_id AS "user_id!",
                        claimed.nonce AS "nonce!", claimed.digits AS "digits!", claimed.idempotency_key AS "idempotency_key!",
                        claimed.attempts AS "attempts!", claimed.was_unsent AS "unsent!", claimed.lease AS "lease!",
                        extract(epoch FROM now() - claimed.created_at)::float8 AS "age!", claimed.traceparent,
                        registered.email AS "email!",
                        (claimed.kind = 'code') = (registered.status = 'pending') AS "wanted!",
                        account.email AS "account_email?"
                    FROM claimed
                    JOIN users AS registered ON registered.id = claimed.user_id
                    LEFT JOIN users AS account ON account.address = registered.address AND account.status <> 'pending'
                    "#,
                    i64::from(most),
                    self.lease.as_secs_f64(),
                    &KINDS[..] as _,
                )
                .fetch_all(self.postgres.pool()),
            )
            .await?;
        let claimed = Instant::now();
        rows.into_iter()
            .map(|row| {
                Ok(Claim {
                    kind: match &*row.kind {
                        "code" => MailKind::Code,
                        "activated" => MailKind::Activated,
                        "password_changed" => MailKind::PasswordChanged,
                        _ => return Err(broken("a kind of mail that was not asked for")),
                    },
                    grant: Grant(row.id),
                    user: UserId(row.user_id),
                    nonce: Nonce(row.nonce.try_into().map_err(|_| broken("a nonce that is not of 16 octets"))?),
                    length: row
                        .digits
                        .try_into()
                        .ok()
                        .and_then(CodeLength::new)
                        .ok_or_else(|| broken("no code is so long"))?,
                    idempotency_key: row.idempotency_key,
                    email: row.email,
                    wanted: row.wanted,
                    unsent: row.unsent,
                    account_email: row.account_email,
                    attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
                    age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
                    trace: row.traceparent.as_deref().and_then(TraceContext::parse),
                    claimed,
                    lease: row.lease,
                })
            })
            .collect()
    }

    /// How much there is to do for this release. Finished mails have no row, so there is little to count but when the
    /// provider fails.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let backlog = sqlx::query!(
            r#"
            SELECT count(*) AS "mails!", coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS "oldest!"
            FROM outbox WHERE kind = ANY ($1)
            "#,
            &KINDS[..] as _,
        );
        let backlog = self.postgres.bounded(backlog.fetch_one(self.postgres.pool())).await?;
        let oldest = Duration::try_from_secs_f64(backlog.oldest).unwrap_or_default();
        Ok(Backlog { mails: backlog.mails.unsigned_abs(), oldest })
    }

    /// Holds the claim until a whole lease from now. `false`: it is lost, to whom took it over, to a later grant, or with
    /// the registration.
    pub async fn renew(&self, claim: &Claim) -> Result<bool, StoreError> {
        let renew = sqlx::query!(
            "UPDATE outbox SET due_at = now() + make_interval(secs => $3) WHERE id = $1 AND lease = $2",
            claim.grant.0,
            claim.lease,
            self.lease.as_secs_f64(),
        );
        let renewed = self.postgres.bounded(renew.execute(self.postgres.pool())).await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Renews the claim for as long as this is awaited, which ends when the claim is lost.
    pub async fn keep(&self, claim: &Claim) {
        let third = self.lease / 3;
        let mut pause = third;
        loop {
            tokio::time::sleep(pause).await;
            pause = match tokio::time::timeout(third, self.renew(claim)).await {
                Ok(Ok(true)) => third,
                Ok(Ok(false)) => return,
                // A database that does not answer shows the row to nobody else either; but it may be that no connection
                // is free, and there is time for another try.
                Ok(Err(_)) | Err(_) => third / 4,
            };
        }
    }

    /// Makes the link of a mail to the user work, from now on: who gets a late mail should have as long as others.
    /// `false`: the registration is gone or no longer pending, and needs no mail either.
    pub async fn link(&self, user: UserId, link: &NotMeHash) -> Result<bool, StoreError> {
        // The lock waits for who is just deleting the row; without it, its key might be gone when it is referred to.
        let link = sqlx::query!(
            "
            INSERT INTO not_me_links (token_hash, user_id, expires_at)
            SELECT $1, id, now() + make_interval(secs => $3)
            FROM users WHERE id = $2 AND status = 'pending' FOR KEY SHARE
            ON CONFLICT (token_hash) DO UPDATE SET expires_at = EXCLUDED.expires_at
            ",
            &link.0[..],
            user.0,
            not_me::LIFETIME.as_secs_f64(),
        );
        Ok(self.postgres.bounded(link.execute(self.postgres.pool())).await?.rows_affected() == 1)
    }

    /// Lets the wait for the next grant begin now. A provider that took its time to accept a mail would otherwise leave
    /// its code alive when the address can be registered again, and a live code must not be replaced.
    pub async fn restart_wait(&self, claim: &Claim) -> Result<(), StoreError> {
        let restart = sqlx::query!(
            "UPDATE addresses SET granted_at = now() FROM users WHERE users.id = $1 AND addresses.address = users.address",
            claim.user.0
        );
        self.postgres.bounded(restart.execute(self.postgres.pool())).await.map(drop)
    }

    /// The mail is dealt with, accepted or given up. `false`: this claim no longer held it, nothing has changed.
    pub async fn finish(&self, claim: &Claim) -> Result<bool, StoreError> {
        let done = sqlx::query!("DELETE FROM outbox WHERE id = $1 AND lease = $2", claim.grant.0, claim.lease);
        let done = self.postgres.bounded(done.execute(self.postgres.pool())).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the mail back, to be tried again after `delay`, by whoever comes first; `unsent` says whether still no attempt can have reached the
    /// provider. `false`: this claim no longer held it.
    pub async fn retry(&self, claim: &Claim, delay: Duration, unsent: bool) -> Result<bool, StoreError> {
        let back = sqlx::query!(
            "
            UPDATE outbox SET lease = NULL, due_at = now() + make_interval(secs => $3), unsent = $4
            WHERE id = $1 AND lease = $2
            ",
            claim.grant.0,
            claim.lease,
            delay.as_secs_f64(),
            unsent,
        );
        let back = self.postgres.bounded(back.execute(self.postgres.pool())).await?;
        Ok(back.rows_affected() == 1)
    }
}
