//! Races of two transactions for one row, in either order. A third transaction holds the lock until both wait for it.

use std::sync::Arc;
use std::time::Duration;

use sixty::accounts::errors::{DeleteError, RegisterError};
use sixty::accounts::ports::{AccountChange, DeletedBy, NewUser, Users as _};
use sixty::domain::email::Email;
use sixty::domain::network::Network;
use sixty::domain::not_me::NotMeHash;
use sixty::domain::pacing::Pacing;
use sixty::domain::password::Password;
use sixty::domain::ticket::TicketHash;
use sixty::domain::user::{Role, Status, User, UserId};
use sixty::passwords::{HashCost, Hasher, Salt};
use sixty::rng::Rng;
use sixty::store::postgres::outbox::Outbox;
use sixty::store::postgres::users::PgUsers;
use sixty::store::postgres::{Postgres, PostgresConfig};
use sqlx::{AssertSqlSafe, PgPool, PgTransaction};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support;

const ADA: &str = "ada@example.com";
const TICKET: TicketHash = TicketHash([60; 32]);
const OTHER_TICKET: TicketHash = TicketHash([61; 32]);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

struct Store {
    postgres: Postgres,
    users: PgUsers,
    outbox: Outbox,
    db: PgPool,
    rng: Rng,
    hasher: Hasher,
}

impl Store {
    async fn new() -> Arc<Self> {
        let url = support::create_database().await;
        let config = PostgresConfig { url: url.as_str().into(), max_connections: 8, timeout: Duration::from_secs(20) };
        let postgres = Postgres::new(&config).unwrap();
        postgres.migrate().await.unwrap();
        Arc::new(Self {
            db: PgPool::connect(&url).await.unwrap(),
            outbox: Outbox::new(postgres.clone(), Duration::from_secs(30)),
            users: PgUsers::new(postgres.clone(), Pacing::default()),
            postgres,
            rng: Rng::from_system(),
            hasher: Hasher::start(HashCost::new(8, 1, 1).unwrap(), 1, Duration::from_secs(10)),
        })
    }

    /// Writes pending registrations of `1@example.com` and so on, whose last code is eight days old.
    async fn stale_registrations(&self, count: i32) {
        let addresses =
            "INSERT INTO addresses SELECT n || '@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1',
            now() - interval '8 days', '60 s', '{}' FROM generate_series(1, $1) AS n";
        sqlx::query(addresses).bind(count).execute(&self.db).await.unwrap();
        let users = "INSERT INTO users (id, address, email, password_hash)
            SELECT gen_random_uuid(), address, address, '-' FROM addresses";
        sqlx::query(users).execute(&self.db).await.unwrap();
    }

    async fn register(&self) -> User {
        self.try_register(None).await.unwrap()
    }

    async fn try_register(&self, ticket: Option<TicketHash>) -> Result<User, RegisterError> {
        let email = Email::parse(ADA).unwrap();
        let params = self.users.address_state(email.address(), None).await.unwrap().params;
        let params = params.unwrap_or_else(|| self.hasher.params(Salt(self.rng.bytes())));
        let hash = self.hasher.hash(Password::present("correct horse").unwrap(), params, Network::LOCAL).await.unwrap();
        let (id, nonce) = (self.rng.user_id(), self.rng.nonce());
        let new = NewUser { id, email: &email, hash: &hash, nonce, ticket, locale: None, trace: None };
        self.users.register(&new).await
    }

    /// Registers the address and lets its wait pass. Returns the user and its stored "this was not me" link.
    async fn replaceable(&self) -> (User, NotMeHash) {
        let (user, link) = (self.register().await, NotMeHash(self.rng.bytes()));
        assert!(support::store_not_me_link(&self.db, user.id, &link).await);
        support::age_grants(&self.db, Duration::from_secs(60)).await;
        (user, link)
    }

    /// Runs a statement in a transaction that stays open, so that its locks are held until the commit.
    async fn hold(&self, statement: &str) -> PgTransaction<'static> {
        let mut transaction = self.db.begin().await.unwrap();
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// Waits until at least `n` statements wait for a lock.
    async fn until_blocked(&self, n: i64) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        support::eventually("a blocked statement", async || {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&self.db).await.unwrap();
            (waiting >= n).then_some(())
        })
        .await;
    }

    /// Starts both calls while `held` blocks them, the first before the second, then releases the lock.
    async fn in_order<A, B>(
        self: &Arc<Self>,
        held: PgTransaction<'static>,
        first: impl AsyncCall<A>,
        second: impl AsyncCall<B>,
    ) -> (A, B)
    where
        A: Send + 'static,
        B: Send + 'static,
    {
        let first = first.spawn(Arc::clone(self));
        self.until_blocked(1).await;
        let second = second.spawn(Arc::clone(self));
        self.until_blocked(2).await;
        held.commit().await.unwrap();
        (first.await.unwrap(), second.await.unwrap())
    }

    /// Returns the rows of the address, ordered by id.
    async fn rows(&self) -> Vec<(UserId, Status)> {
        let stored = self.users.find_by_address(Email::parse(ADA).unwrap().address()).await.unwrap();
        let mut rows: Vec<_> = stored.into_iter().map(|row| (row.user.id, row.user.status)).collect();
        rows.sort_by_key(|(id, _)| *id);
        rows
    }

    /// Returns the users with a queued code mail, oldest mail first.
    async fn queued_users(&self) -> Vec<UserId> {
        let select = "SELECT user_id FROM outbox WHERE kind = 'code' ORDER BY id";
        let users = sqlx::query_scalar(select).fetch_all(&self.db).await.unwrap();
        users.into_iter().map(UserId).collect()
    }

    async fn wait(&self) -> Option<Duration> {
        self.users.address_state(Email::parse(ADA).unwrap().address(), None).await.unwrap().wait
    }
}

/// A call of the store that runs in its own task.
trait AsyncCall<T> {
    fn spawn(self, store: Arc<Store>) -> JoinHandle<T>;
}

impl<T: Send + 'static, F, Fut> AsyncCall<T> for F
where
    F: FnOnce(Arc<Store>) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
{
    fn spawn(self, store: Arc<Store>) -> JoinHandle<T> {
        tokio::spawn(self(store))
    }
}

const THE_USER: &str = "SELECT FROM users FOR UPDATE";
const THE_ADDRESS: &str = "SELECT FROM addresses FOR UPDATE";

#[tokio::test]
async fn activation_before_a_registration_keeps_the_account() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    let held = store.hold(THE_USER).await;
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id, None).await.unwrap() };
    let register = |store: Arc<Store>| async move { store.register().await };
    let (active, pending) = store.in_order(held, activate, register).await;
    assert_eq!(active.unwrap().id, ada.id);
    assert_eq!(store.rows().await, [(ada.id, Status::Active), (pending.id, Status::Pending)]);
    assert_eq!(store.queued_users().await, [pending.id]);
}

#[tokio::test]
async fn activation_after_a_registration_activates_nothing() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    let held = store.hold(THE_USER).await;
    let register = |store: Arc<Store>| async move { store.register().await };
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id, None).await.unwrap() };
    let (later, active) = store.in_order(held, register, activate).await;
    assert_eq!(active, None);
    assert_eq!(store.rows().await, [(later.id, Status::Pending)]);
    assert_eq!(store.queued_users().await, [later.id]);
}

#[tokio::test]
async fn link_does_not_delete_a_row_that_was_just_activated() {
    let store = Store::new().await;
    let (ada, link) = store.replaceable().await;
    sqlx::query("UPDATE addresses SET granted_at = now()").execute(&store.db).await.unwrap();
    let held = store.hold(THE_USER).await;
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id, None).await.unwrap() };
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link, &TICKET).await.unwrap() };
    let (active, deleted) = store.in_order(held, activate, report).await;
    assert_eq!((active.unwrap().id, deleted), (ada.id, None));
    assert_eq!(store.rows().await, [(ada.id, Status::Active)]);
    assert!(store.wait().await.is_some(), "the wait must not end");
}

#[tokio::test]
async fn row_that_its_link_just_deleted_is_not_activated() {
    let store = Store::new().await;
    let (ada, link) = store.replaceable().await;
    let held = store.hold(THE_USER).await;
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link, &TICKET).await.unwrap() };
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id, None).await.unwrap() };
    let (deleted, active) = store.in_order(held, report, activate).await;
    assert_eq!((deleted, active), (Some(ada.id), None));
    assert_eq!(store.rows().await, []);
}

#[tokio::test]
async fn link_of_a_row_that_was_just_replaced_changes_nothing() {
    let store = Store::new().await;
    let (_, link) = store.replaceable().await;
    let held = store.hold(THE_ADDRESS).await;
    let register = |store: Arc<Store>| async move { store.register().await };
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link, &TICKET).await.unwrap() };
    let (later, deleted) = store.in_order(held, register, report).await;
    assert_eq!(deleted, None);
    assert_eq!(store.rows().await, [(later.id, Status::Pending)]);
    assert!(store.wait().await.is_some());
}

#[tokio::test]
async fn registration_waits_for_a_link_that_deletes_the_old_row() {
    let store = Store::new().await;
    let (ada, link) = store.replaceable().await;
    let held = store.hold(THE_ADDRESS).await;
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link, &TICKET).await.unwrap() };
    let register = |store: Arc<Store>| async move { store.register().await };
    let (deleted, later) = store.in_order(held, report, register).await;
    assert_eq!(deleted, Some(ada.id));
    assert_eq!(store.rows().await, [(later.id, Status::Pending)]);
    assert_eq!(store.queued_users().await, [later.id]);
}

/// A new registration whose link was used: only a valid ticket passes the wait.
async fn reported() -> Arc<Store> {
    let store = Store::new().await;
    let (user, link) = (store.register().await, NotMeHash(store.rng.bytes()));
    assert!(support::store_not_me_link(&store.db, user.id, &link).await);
    assert_eq!(store.users.report_not_me(&link, &TICKET).await.unwrap(), Some(user.id));
    store
}

fn assert_too_soon(result: Result<User, RegisterError>) {
    assert!(matches!(result, Err(RegisterError::TooSoon { .. })), "{result:?}");
}

#[tokio::test]
async fn one_of_two_simultaneous_uses_of_a_ticket_registers() {
    let store = reported().await;
    let held = store.hold(THE_ADDRESS).await;
    let use_ticket = |store: Arc<Store>| async move { store.try_register(Some(TICKET)).await };
    let (first, second) = store.in_order(held, use_ticket, use_ticket).await;
    assert_eq!(store.rows().await, [(first.unwrap().id, Status::Pending)]);
    assert_too_soon(second);
}

#[tokio::test]
async fn ticket_replaces_a_registration_that_came_in_meanwhile() {
    let store = reported().await;
    support::age_grants(&store.db, Duration::from_secs(60)).await;
    let held = store.hold(THE_ADDRESS).await;
    let stranger = |store: Arc<Store>| async move { store.try_register(None).await };
    let owner = |store: Arc<Store>| async move { store.try_register(Some(TICKET)).await };
    let (stranger, owner) = store.in_order(held, stranger, owner).await;
    let (stranger, owner) = (stranger.unwrap(), owner.unwrap());
    assert_ne!(stranger.id, owner.id);
    assert_eq!(store.rows().await, [(owner.id, Status::Pending)]);
    assert_eq!(store.queued_users().await, [owner.id]);
}

#[tokio::test]
async fn registration_does_not_replace_one_that_a_ticket_just_made() {
    let store = reported().await;
    support::age_grants(&store.db, Duration::from_secs(60)).await;
    let held = store.hold(THE_ADDRESS).await;
    let owner = |store: Arc<Store>| async move { store.try_register(Some(TICKET)).await };
    let stranger = |store: Arc<Store>| async move { store.try_register(None).await };
    let (owner, stranger) = store.in_order(held, owner, stranger).await;
    assert_too_soon(stranger);
    assert_eq!(store.rows().await, [(owner.unwrap().id, Status::Pending)]);
}

#[tokio::test]
async fn second_of_two_simultaneous_presses_does_not_replace_the_ticket_of_the_first() {
    let store = Store::new().await;
    let (user, link) = (store.register().await, NotMeHash(store.rng.bytes()));
    assert!(support::store_not_me_link(&store.db, user.id, &link).await);
    let held = store.hold(THE_ADDRESS).await;
    let first = move |store: Arc<Store>| async move { store.users.report_not_me(&link, &TICKET).await.unwrap() };
    let second = move |store: Arc<Store>| async move { store.users.report_not_me(&link, &OTHER_TICKET).await.unwrap() };
    assert_eq!(store.in_order(held, first, second).await, (Some(user.id), None));
    assert_too_soon(store.try_register(Some(OTHER_TICKET)).await);
    store.try_register(Some(TICKET)).await.unwrap();
}

#[tokio::test]
async fn press_after_a_use_of_an_earlier_ticket_deletes_nothing() {
    let store = Store::new().await;
    let (user, link) = (store.register().await, NotMeHash(store.rng.bytes()));
    assert!(support::store_not_me_link(&store.db, user.id, &link).await);
    let issue = sqlx::query("UPDATE addresses SET ticket_hash = $1, ticket_expires_at = now() + interval '1 min'");
    issue.bind(&TICKET.0[..]).execute(&store.db).await.unwrap();
    let held = store.hold(THE_ADDRESS).await;
    let owner = |store: Arc<Store>| async move { store.try_register(Some(TICKET)).await };
    let press = move |store: Arc<Store>| async move { store.users.report_not_me(&link, &OTHER_TICKET).await.unwrap() };
    let (owner, pressed) = store.in_order(held, owner, press).await;
    assert_eq!(pressed, None);
    assert_eq!(store.rows().await, [(owner.unwrap().id, Status::Pending)]);
    assert_too_soon(store.try_register(Some(OTHER_TICKET)).await);
}

#[tokio::test]
async fn registration_retries_after_a_row_appeared_while_it_waited() {
    let store = Store::new().await;
    store.replaceable().await;
    // Simulates another registration of the address whose wait is already over.
    let held = store
        .hold(
            "WITH granted AS (UPDATE addresses SET granted_at = granted_at RETURNING address),
                replaced AS (DELETE FROM users RETURNING id)
             INSERT INTO users (id, address, email, password_hash)
             SELECT gen_random_uuid(), address, address, '-' FROM granted WHERE (SELECT count(*) FROM replaced) = 1",
        )
        .await;
    let register = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.register().await })
    };
    store.until_blocked(1).await;
    held.commit().await.unwrap();
    let later = register.await.unwrap();
    assert_eq!(store.rows().await, [(later.id, Status::Pending)]);
    assert_eq!(store.queued_users().await, [later.id]);
}

#[tokio::test]
async fn link_of_a_row_that_is_being_deleted_is_not_stored() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    let claim = store.outbox.claim(1).await.unwrap().pop().unwrap();
    assert_eq!(claim.user, Some(ada.id));
    let held = store.hold("DELETE FROM users").await;
    let link = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.outbox.link(&claim, ada.id, &NotMeHash([7; 32])).await.unwrap() })
    };
    store.until_blocked(1).await;
    held.commit().await.unwrap();
    assert!(!link.await.unwrap());
}

/// Starts a purge while `held` holds locks. Releases the locks when the purge waits for them or has ended.
async fn purge_against(store: &Arc<Store>, held: PgTransaction<'static>) -> u64 {
    let purge = {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.users.purge(WEEK).await.unwrap() })
    };
    tokio::select! {
        () = store.until_blocked(1) => {}
        () = async { support::eventually("the purge", async || purge.is_finished().then_some(())).await } => {}
    }
    held.commit().await.unwrap();
    purge.await.unwrap()
}

#[tokio::test]
async fn purge_keeps_a_row_that_was_just_activated() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    support::age_grants(&store.db, WEEK).await;
    let held = store.hold("UPDATE users SET status = 'active', activated_at = now()").await;
    assert_eq!(purge_against(&store, held).await, 0);
    assert_eq!(store.rows().await, [(ada.id, Status::Active)]);
}

#[tokio::test]
async fn purge_keeps_a_row_that_was_just_granted_a_mail() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    support::age_grants(&store.db, WEEK).await;
    // The locks of a resend before its commit: the address, then the user.
    let mut held = store.hold("UPDATE addresses SET granted_at = now()").await;
    sqlx::query("SELECT FROM users FOR NO KEY UPDATE").execute(&mut *held).await.unwrap();
    assert_eq!(purge_against(&store, held).await, 0);
    assert_eq!(store.rows().await, [(ada.id, Status::Pending)]);
}

#[tokio::test]
async fn registration_waits_for_a_purge_of_the_old_row() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    support::age_grants(&store.db, WEEK).await;
    // The purge locks the address, then waits for the user.
    let held = store.hold(THE_USER).await;
    let purge = |store: Arc<Store>| async move { store.users.purge(WEEK).await.unwrap() };
    let register = |store: Arc<Store>| async move { store.register().await };
    let (purged, later) = store.in_order(held, purge, register).await;
    assert_eq!(purged, 1);
    assert_eq!(store.rows().await, [(later.id, Status::Pending)]);
    assert_ne!(later.id, ada.id);
}

#[tokio::test]
async fn two_simultaneous_purges_delete_several_batches_together() {
    let store = Store::new().await;
    store.stale_registrations(2500).await;
    sqlx::raw_sql(
        "INSERT INTO not_me_links SELECT sha256(id::text::bytea), id, now() FROM users;
         UPDATE addresses SET granted_at = now() WHERE address LIKE '1%'",
    )
    .execute(&store.db)
    .await
    .unwrap();
    let (one, two) = tokio::join!(store.users.purge(WEEK), store.users.purge(WEEK));
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&store.db).await.unwrap();
    assert_eq!((one.unwrap() + two.unwrap(), kept), (2500 - kept as u64, 1111));
    let links: i64 = sqlx::query_scalar("SELECT count(*) FROM not_me_links").fetch_one(&store.db).await.unwrap();
    assert_eq!(links, 0);
}

#[tokio::test]
async fn one_admin_stays_when_two_admins_remove_each_other() {
    const ADMINS: [UserId; 2] = [UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2))];
    let demotion = AccountChange { role: Some(Role::User), disabled: None };
    let disabling = AccountChange { role: None, disabled: Some(true) };
    for (n, first) in [demotion, disabling].into_iter().enumerate() {
        let store = Store::new().await;
        sqlx::raw_sql(
            "INSERT INTO addresses SELECT n || '@example.com', decode(repeat('00', 16), 'hex'), '-', now(), '60 s', '{}'
                FROM generate_series(1, 2) AS n;
             INSERT INTO users (id, address, email, password_hash, status, role, activated_at)
                SELECT lpad(left(address, 1), 32, '0')::uuid, address, address, '-', 'active', 'admin', now() FROM addresses",
        )
        .execute(&store.db)
        .await
        .unwrap();
        let held = store.hold("SELECT FROM users FOR UPDATE").await;
        let first = move |store: Arc<Store>| async move { store.users.update(ADMINS[n], first).await };
        let second = move |store: Arc<Store>| async move { store.users.delete(ADMINS[1 - n], DeletedBy::User).await };
        let (first, second) = store.in_order(held, first, second).await;
        assert!(first.is_ok(), "{first:?}");
        assert!(matches!(second, Err(DeleteError::LastAdmin)), "{second:?}");
    }
}

#[tokio::test]
async fn a_mass_purge_of_all_processes_fills_the_event_stream_once_an_hour() {
    let store = Store::new().await;
    store.stale_registrations(10).await;
    let left = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM users").fetch_one(&store.db).await.unwrap();
    // A stream of 200 entries allows two deletions in 36 seconds.
    let process = || PgUsers::new(store.postgres.clone(), Pacing::default()).with_events_maxlen(200);
    let first = tokio::spawn({
        let users = process();
        async move { users.purge(WEEK).await }
    });
    support::eventually("the first batch, and the lock", async || {
        let locks = "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database
            WHERE locktype = 'advisory' AND datname = current_database()";
        let locks: i64 = sqlx::query_scalar(locks).fetch_one(&store.db).await.unwrap();
        (left().await == 8 && locks == 1).then_some(())
    })
    .await;
    // Another process deletes one batch, and leaves the rest to the first.
    assert_eq!(process().purge(WEEK).await.unwrap(), 2);
    assert_eq!(left().await, 6);
    assert!(!first.is_finished());
}
