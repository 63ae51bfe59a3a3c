//! Changes of several claimed mails in one statement.
//!
//! Each statement changes only what it can change at once: rows whose lease holds and that nobody else has locked. A mail that
//! it leaves out is changed alone, by the statement in `outbox.rs` or `attempt_end.rs`, which finds out why. So no mail waits
//! for another one's lock, and none fails by another one's error.

use std::collections::HashSet;
use std::future::Future;
use std::panic::Location;

use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::super::Postgres;
use super::{Claim, LeftCode};
use crate::accounts::ports::StoreError;
use crate::domain::mailbox::MailboxQuota;
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::user::UserId;
use crate::store::batches::Batches;
use crate::telemetry::spans;

/// The batches of each kind of change. Clones share them.
#[derive(Clone)]
pub(super) struct BatchedChanges {
    charges: Batches<ChargedMail, Outcome>,
    links: Batches<LinkedMail, Outcome>,
    extended: Batches<TimedMail, Outcome>,
    finished: Batches<TimedMail, Outcome>,
}

/// Whether the change was made. `false`: it must be made alone.
type Outcome = Result<bool, StoreError>;

/// The outbox row of a mail, and the lease on it.
#[derive(Clone, Copy)]
struct Leased {
    id: i64,
    lease: Uuid,
}

struct ChargedMail {
    mail: Leased,
    mailbox: [u8; 32],
    quota: MailboxQuota,
}

struct LinkedMail {
    mail: Leased,
    user: Uuid,
    token_hash: [u8; 32],
}

/// A code mail whose address gets another wait.
struct TimedMail {
    mail: Leased,
    /// How long the code may be live from now, in seconds. `None`: there is no code.
    live: Option<f64>,
}

impl Claim {
    fn leased(&self) -> Leased {
        Leased { id: self.grant.0, lease: self.lease }
    }
}

impl BatchedChanges {
    pub fn start(postgres: &Postgres) -> Self {
        let [charging, linking, extending, finishing] = std::array::from_fn(|_| postgres.clone());
        Self {
            charges: Batches::start(move |mails| charge(charging.clone(), mails)),
            links: Batches::start(move |mails| link(linking.clone(), mails)),
            extended: Batches::start(move |mails| extend_wait(extending.clone(), mails)),
            finished: Batches::start(move |mails| finish(finishing.clone(), mails)),
        }
    }

    #[track_caller]
    pub fn charge(&self, claim: &Claim, mailbox: &[u8; 32], quota: MailboxQuota) -> impl Future<Output = Outcome> {
        change(&self.charges, ChargedMail { mail: claim.leased(), mailbox: *mailbox, quota })
    }

    #[track_caller]
    pub fn link(&self, claim: &Claim, user: UserId, link: &NotMeHash) -> impl Future<Output = Outcome> {
        change(&self.links, LinkedMail { mail: claim.leased(), user: user.0, token_hash: link.0 })
    }

    #[track_caller]
    pub fn extend_wait(&self, claim: &Claim, left: LeftCode) -> impl Future<Output = Outcome> {
        change(&self.extended, TimedMail { mail: claim.leased(), live: left.seconds() })
    }

    /// Changes only code mails.
    #[track_caller]
    pub fn finish(&self, claim: &Claim, left: LeftCode) -> impl Future<Output = Outcome> {
        change(&self.finished, TimedMail { mail: claim.leased(), live: left.seconds() })
    }
}

/// Makes a change in the next batch. The span belongs to the mail: the batch has mails of several traces.
#[track_caller]
fn change<T: Send + 'static>(batches: &Batches<T, Outcome>, mail: T) -> impl Future<Output = Outcome> {
    let (batches, span) = (batches.clone(), spans::store("postgresql", Location::caller()));
    let changed = async move {
        let changed = batches.call(mail).await.unwrap_or(Ok(false));
        if changed.is_err() {
            spans::record_failure(&Span::current());
        }
        changed
    };
    changed.instrument(span)
}

/// Returns an outcome for each mail: whether its row is among those that were changed.
fn outcomes(mails: impl Iterator<Item = Leased>, changed: Result<Vec<i64>, StoreError>) -> Vec<Outcome> {
    match changed {
        Ok(changed) => {
            let changed: HashSet<i64> = changed.into_iter().collect();
            mails.map(|mail| Ok(changed.contains(&mail.id))).collect()
        }
        // No mail can be changed alone either.
        Err(error @ StoreError::Unavailable { .. }) => mails.map(|_| Err(error.clone())).collect(),
        // Nothing was changed, because of one of the mails perhaps.
        Err(StoreError::Broken { .. }) => mails.map(|_| Ok(false)).collect(),
    }
}

/// Counts code mails in their mailboxes. Of several mails to one mailbox, at most one is counted.
async fn charge(postgres: Postgres, mails: Vec<ChargedMail>) -> Vec<Outcome> {
    let ids: Vec<i64> = mails.iter().map(|charged| charged.mail.id).collect();
    let leases: Vec<Uuid> = mails.iter().map(|charged| charged.mail.lease).collect();
    let mailboxes: Vec<Vec<u8>> = mails.iter().map(|charged| charged.mailbox.to_vec()).collect();
    let per_hour: Vec<i64> = mails.iter().map(|charged| charged.quota.per_hour.into()).collect();
    let per_day: Vec<i64> = mails.iter().map(|charged| charged.quota.per_day.into()).collect();
    let charge = sqlx::query_scalar!(
        r#"
        WITH asked AS (
            SELECT * FROM unnest($1::int8[], $2::uuid[], $3::bytea[], $4::int8[], $5::int8[])
                AS asked (id, lease, mac, per_hour, per_day)
        ), held AS MATERIALIZED (
            SELECT outbox.id, mac, per_hour, per_day FROM outbox JOIN asked USING (id, lease)
            WHERE NOT charged FOR UPDATE OF outbox SKIP LOCKED
        ), first AS MATERIALIZED (
            SELECT DISTINCT ON (mac) id, mac, per_hour, per_day FROM held ORDER BY mac, id
        ), known AS MATERIALIZED (
            SELECT m.mac, ARRAY(SELECT at FROM unnest(m.mailed_at) AS at WHERE at > now() - interval '1 day') AS mailed_at
            FROM mailboxes AS m JOIN first USING (mac) FOR UPDATE OF m SKIP LOCKED
        ), free AS MATERIALIZED (
            SELECT id, mac, mailed_at || now() AS mailed_at FROM first JOIN known USING (mac)
            WHERE cardinality(mailed_at) < per_day
                AND (SELECT count(*) < per_hour FROM unnest(mailed_at) AS at WHERE at > now() - interval '1 hour')
        ), counted AS (
            UPDATE mailboxes SET mailed_at = free.mailed_at, last_mailed_at = now() FROM free
            WHERE mailboxes.mac = free.mac RETURNING mailboxes.mac
        ), new AS (
            INSERT INTO mailboxes (mac, mailed_at, last_mailed_at)
            SELECT mac, ARRAY[now()], now() FROM first ORDER BY mac
            ON CONFLICT (mac) DO NOTHING RETURNING mac
        )
        UPDATE outbox SET charged = true FROM first
        WHERE outbox.id = first.id AND mac IN (SELECT mac FROM counted UNION ALL SELECT mac FROM new)
        RETURNING outbox.id
        "#,
        &ids,
        &leases,
        &mailboxes,
        &per_hour,
        &per_day,
    );
    let charged = postgres.bounded(async { charge.fetch_all(&mut *postgres.acquire().await?).await }).await;
    outcomes(mails.iter().map(|charged| charged.mail), charged)
}

/// Stores the links of mails.
async fn link(postgres: Postgres, mails: Vec<LinkedMail>) -> Vec<Outcome> {
    let ids: Vec<i64> = mails.iter().map(|linked| linked.mail.id).collect();
    let leases: Vec<Uuid> = mails.iter().map(|linked| linked.mail.lease).collect();
    let users: Vec<Uuid> = mails.iter().map(|linked| linked.user).collect();
    let hashes: Vec<Vec<u8>> = mails.iter().map(|linked| linked.token_hash.to_vec()).collect();
    let link = sqlx::query_scalar!(
        "
        WITH asked AS (
            SELECT * FROM unnest($1::int8[], $2::uuid[], $3::uuid[], $4::bytea[]) AS asked (id, lease, user_id, token_hash)
        ), pending AS MATERIALIZED (
            SELECT asked.* FROM asked JOIN users ON users.id = asked.user_id
            WHERE status || '' = 'pending' FOR KEY SHARE OF users SKIP LOCKED
        ), armed AS (
            UPDATE outbox SET armed_id = outbox.id FROM pending
            WHERE outbox.id = pending.id AND outbox.user_id = pending.user_id AND outbox.lease = pending.lease
            RETURNING outbox.id, outbox.user_id, token_hash
        ), linked AS (
            INSERT INTO not_me_links (token_hash, user_id, expires_at)
            SELECT token_hash, user_id, now() + make_interval(secs => $5) FROM armed
            ON CONFLICT (token_hash) DO UPDATE SET expires_at = EXCLUDED.expires_at
        )
        SELECT id FROM armed
        ",
        &ids,
        &leases,
        &users,
        &hashes,
        not_me::LIFETIME.as_secs_f64(),
    );
    let linked = postgres.bounded(async { link.fetch_all(&mut *postgres.acquire().await?).await }).await;
    outcomes(mails.iter().map(|linked| linked.mail), linked)
}

/// A statement that runs `$change`, a change of the claimed rows of code mails, and moves the waits of their addresses by the
/// rule of `attempt_end.rs`.
macro_rules! change_and_move_waits {
    ($mails:expr, $change:literal) => {{
        let ids: Vec<i64> = $mails.iter().map(|timed| timed.mail.id).collect();
        let leases: Vec<Uuid> = $mails.iter().map(|timed| timed.mail.lease).collect();
        let live: Vec<Option<f64>> = $mails.iter().map(|timed| timed.live).collect();
        sqlx::query_scalar!(
            "
            WITH asked AS (
                SELECT * FROM unnest($1::int8[], $2::uuid[], $3::float8[]) AS asked (id, lease, live)
            ), address AS MATERIALIZED (
                SELECT addresses.address, asked.id, asked.lease, wait_moved AS before,
                    CASE WHEN live IS NULL THEN interval '0 s'
                        ELSE greatest(now() - outbox.created_at + make_interval(secs => live) - wait, wait_moved, interval '0 s')
                    END AS after
                FROM asked JOIN outbox USING (id, lease) JOIN users ON users.id = outbox.user_id
                JOIN addresses ON addresses.address = users.address
                FOR NO KEY UPDATE OF addresses SKIP LOCKED
            ), changed AS (
                " + $change + "
                WHERE outbox.id = address.id AND outbox.lease = address.lease
                RETURNING outbox.id
            ), moved AS (
                UPDATE addresses SET granted_at = granted_at + (after - before) FROM address JOIN changed USING (id)
                WHERE addresses.address = address.address AND after <> before
            )
            SELECT id FROM changed
            ",
            &ids,
            &leases,
            &live as &[Option<f64>],
        )
    }};
}

/// Moves the waits of addresses whose codes become live.
async fn extend_wait(postgres: Postgres, mails: Vec<TimedMail>) -> Vec<Outcome> {
    let extend = change_and_move_waits!(mails, "UPDATE outbox SET wait_moved = after FROM address");
    let extended = postgres.bounded(async { extend.fetch_all(&mut *postgres.acquire().await?).await }).await;
    outcomes(mails.iter().map(|timed| timed.mail), extended)
}

/// Deletes mails that were accepted or given up.
async fn finish(postgres: Postgres, mails: Vec<TimedMail>) -> Vec<Outcome> {
    let finish = change_and_move_waits!(mails, "DELETE FROM outbox USING address");
    let done = postgres.bounded(async { finish.fetch_all(&mut *postgres.acquire().await?).await }).await;
    outcomes(mails.iter().map(|timed| timed.mail), done)
}
