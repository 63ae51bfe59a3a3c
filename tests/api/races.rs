//! Two transactions at one row, in either order: real ones, held at a lock until both are there.

use std::sync::Arc;
use std::time::Duration;

use sixty::accounts::ports::{Change, DeletedBy, Deletion, NewUser, Registration, Update, Users as _};
use sixty::domain::email::Email;
use sixty::domain::not_me::NotMeHash;
use sixty::domain::pacing::Pacing;
use sixty::domain::password::Password;
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
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

struct Store {
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
            db: postgres.pool().clone(),
            outbox: Outbox::new(postgres.clone(), Duration::from_secs(30)),
            users: PgUsers::new(postgres, Pacing::default()),
            rng: Rng::from_system(),
            hasher: Hasher::start(HashCost::new(8, 1, 1).unwrap(), 1, Duration::from_secs(10)),
        })
    }

    async fn register(&self) -> Registration {
        let email = Email::parse(ADA).unwrap();
        let params = self.users.address_state(email.address()).await.unwrap().params;
        let params = params.unwrap_or_else(|| self.hasher.params(Salt(self.rng.bytes())));
        let hash = self.hasher.hash(Password::present("correct horse").unwrap(), params).await.unwrap();
        let new = NewUser { id: self.rng.user_id(), email: &email, hash: &hash, nonce: self.rng.nonce() };
        self.users.register(&new).await.unwrap()
    }

    async fn registered(&self) -> User {
        registered(self.register().await)
    }

    /// A registration that can be replaced, and its link.
    async fn replaceable(&self) -> (User, NotMeHash) {
        let (user, link) = (self.registered().await, NotMeHash(self.rng.bytes()));
        assert!(self.outbox.link(user.id, &link).await.unwrap());
        support::age_grants(&self.db, Duration::from_secs(60)).await;
        (user, link)
    }

    /// Holds the rows that the statement locks until the transaction ends.
    async fn hold(&self, statement: &str) -> PgTransaction<'static> {
        let mut transaction = self.db.begin().await.unwrap();
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// Waits until so many statements wait for a lock.
    async fn waiting(&self, n: i64) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        support::eventually("a statement that waits", async || {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&self.db).await.unwrap();
            (waiting >= n).then_some(())
        })
        .await;
    }

    /// Begins both at the held row, the first before the second, and lets them go.
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
        self.waiting(1).await;
        let second = second.spawn(Arc::clone(self));
        self.waiting(2).await;
        held.commit().await.unwrap();
        (first.await.unwrap(), second.await.unwrap())
    }

    async fn left(&self) -> Vec<(UserId, Status)> {
        let rows = self.users.find_by_address(Email::parse(ADA).unwrap().address()).await.unwrap();
        let mut left: Vec<_> = rows.into_iter().map(|row| (row.user.id, row.user.status)).collect();
        left.sort_by_key(|(id, _)| *id);
        left
    }

    /// Who waits for a code.
    async fn mailed(&self) -> Vec<UserId> {
        let mailed = "SELECT user_id FROM outbox WHERE kind = 'code' ORDER BY id";
        let users = sqlx::query_scalar(mailed).fetch_all(&self.db).await.unwrap();
        users.into_iter().map(UserId).collect()
    }

    async fn wait(&self) -> Option<Duration> {
        self.users.address_state(Email::parse(ADA).unwrap().address()).await.unwrap().wait
    }
}

/// A call of the store that runs in a task of its own.
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

fn registered(registration: Registration) -> User {
    match registration {
        Registration::Registered(user) => user,
        Registration::TooSoon { left } => panic!("{left:?} too soon"),
    }
}

const THE_USER: &str = "SELECT FROM users FOR UPDATE";
const THE_ADDRESS: &str = "SELECT FROM addresses FOR UPDATE";

#[tokio::test]
async fn an_activation_before_a_registration_keeps_its_account() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    let held = store.hold(THE_USER).await;
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id).await.unwrap() };
    let register = |store: Arc<Store>| async move { store.registered().await };
    let (active, shadow) = store.in_order(held, activate, register).await;
    assert_eq!(active.unwrap().id, ada.id);
    assert_eq!(store.left().await, [(ada.id, Status::Active), (shadow.id, Status::Pending)]);
    assert_eq!(store.mailed().await, [shadow.id]);
}

#[tokio::test]
async fn an_activation_after_a_registration_activates_nothing() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    let held = store.hold(THE_USER).await;
    let register = |store: Arc<Store>| async move { store.registered().await };
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id).await.unwrap() };
    let (later, active) = store.in_order(held, register, activate).await;
    assert_eq!(active, None);
    assert_eq!(store.left().await, [(later.id, Status::Pending)]);
    assert_eq!(store.mailed().await, [later.id]);
}

#[tokio::test]
async fn an_account_that_was_just_activated_is_not_disowned() {
    let store = Store::new().await;
    let (ada, link) = store.replaceable().await;
    sqlx::query("UPDATE addresses SET granted_at = now()").execute(&store.db).await.unwrap();
    let held = store.hold(THE_USER).await;
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id).await.unwrap() };
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link).await.unwrap() };
    let (active, disowned) = store.in_order(held, activate, report).await;
    assert_eq!((active.unwrap().id, disowned), (ada.id, None));
    assert_eq!(store.left().await, [(ada.id, Status::Active)]);
    assert!(store.wait().await.is_some(), "nothing has changed");
}

#[tokio::test]
async fn what_was_just_disowned_is_not_activated() {
    let store = Store::new().await;
    let (ada, link) = store.replaceable().await;
    let held = store.hold(THE_USER).await;
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link).await.unwrap() };
    let activate = move |store: Arc<Store>| async move { store.users.activate(ada.id).await.unwrap() };
    let (disowned, active) = store.in_order(held, report, activate).await;
    assert_eq!((disowned, active), (Some(ada.id), None));
    assert_eq!(store.left().await, []);
}

#[tokio::test]
async fn a_registration_that_was_just_replaced_is_not_disowned_nor_is_the_later_ones_wait_ended() {
    let store = Store::new().await;
    let (_, link) = store.replaceable().await;
    let held = store.hold(THE_ADDRESS).await;
    let register = |store: Arc<Store>| async move { store.registered().await };
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link).await.unwrap() };
    let (later, disowned) = store.in_order(held, register, report).await;
    assert_eq!(disowned, None);
    assert_eq!(store.left().await, [(later.id, Status::Pending)]);
    assert!(store.wait().await.is_some());
}

#[tokio::test]
async fn a_registration_waits_for_the_one_that_is_being_disowned() {
    let store = Store::new().await;
    let (ada, link) = store.replaceable().await;
    let held = store.hold(THE_ADDRESS).await;
    let report = move |store: Arc<Store>| async move { store.users.report_not_me(&link).await.unwrap() };
    let register = |store: Arc<Store>| async move { store.registered().await };
    let (disowned, later) = store.in_order(held, report, register).await;
    assert_eq!(disowned, Some(ada.id));
    assert_eq!(store.left().await, [(later.id, Status::Pending)]);
    assert_eq!(store.mailed().await, [later.id]);
}

#[tokio::test]
async fn a_registration_that_waited_while_another_came_and_was_over_begins_again() {
    let store = Store::new().await;
    store.replaceable().await;
    // Another registration of the address, whose wait is over again.
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
        tokio::spawn(async move { store.registered().await })
    };
    store.waiting(1).await;
    held.commit().await.unwrap();
    let later = register.await.unwrap();
    assert_eq!(store.left().await, [(later.id, Status::Pending)]);
    assert_eq!(store.mailed().await, [later.id]);
}

#[tokio::test]
async fn a_mail_to_a_row_that_is_being_deleted_gets_no_link() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    let held = store.hold("DELETE FROM users").await;
    let link = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.outbox.link(ada.id, &NotMeHash([7; 32])).await.unwrap() })
    };
    store.waiting(1).await;
    held.commit().await.unwrap();
    assert!(!link.await.unwrap());
}

/// Begins a purge while the rows are held, and lets them go when it waits for them, or when it is done.
async fn purge_against(store: &Arc<Store>, held: PgTransaction<'static>) -> u64 {
    let purge = {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.users.purge(WEEK).await.unwrap() })
    };
    tokio::select! {
        () = store.waiting(1) => {}
        () = async { support::eventually("the purge", async || purge.is_finished().then_some(())).await } => {}
    }
    held.commit().await.unwrap();
    purge.await.unwrap()
}

#[tokio::test]
async fn the_purge_leaves_a_row_that_was_just_activated() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    support::age_grants(&store.db, WEEK).await;
    let held = store.hold("UPDATE users SET status = 'active', activated_at = now()").await;
    assert_eq!(purge_against(&store, held).await, 0);
    assert_eq!(store.left().await, [(ada.id, Status::Active)]);
}

#[tokio::test]
async fn the_purge_leaves_a_row_that_was_just_granted_a_mail() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    support::age_grants(&store.db, WEEK).await;
    // What a resend does before it commits: the address, then the user.
    let mut held = store.hold("UPDATE addresses SET granted_at = now()").await;
    sqlx::query("SELECT FROM users FOR NO KEY UPDATE").execute(&mut *held).await.unwrap();
    assert_eq!(purge_against(&store, held).await, 0);
    assert_eq!(store.left().await, [(ada.id, Status::Pending)]);
}

#[tokio::test]
async fn a_grant_waits_for_the_purge_and_finds_nothing_left() {
    let store = Store::new().await;
    let (ada, _) = store.replaceable().await;
    support::age_grants(&store.db, WEEK).await;
    // The purge has the address by now, and waits for the user.
    let held = store.hold(THE_USER).await;
    let purge = |store: Arc<Store>| async move { store.users.purge(WEEK).await.unwrap() };
    let register = |store: Arc<Store>| async move { store.registered().await };
    let (purged, later) = store.in_order(held, purge, register).await;
    assert_eq!(purged, 1);
    assert_eq!(store.left().await, [(later.id, Status::Pending)]);
    assert_ne!(later.id, ada.id);
}

#[tokio::test]
async fn more_than_a_batch_is_purged_and_two_processes_share_the_work() {
    let store = Store::new().await;
    sqlx::raw_sql(
        "INSERT INTO addresses SELECT n || '@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1',
                now() - interval '8 days', '60 s', '{}' FROM generate_series(1, 2500) AS n;
         INSERT INTO users (id, address, email, password_hash) SELECT gen_random_uuid(), address, address, '-' FROM addresses;
         INSERT INTO not_me_links SELECT sha256(id::text::bytea), id, now() FROM users;
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
async fn of_two_admins_who_take_away_each_other_one_stays() {
    const ADMINS: [UserId; 2] = [UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2))];
    let demotion = Change { role: Some(Role::User), disabled: None };
    let closing = Change { role: None, disabled: Some(true) };
    for (n, first) in [demotion, closing].into_iter().enumerate() {
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
        let first = move |store: Arc<Store>| async move { store.users.update(ADMINS[n], first).await.unwrap() };
        let second = move |store: Arc<Store>| async move {
            store.users.delete(ADMINS[1 - n], DeletedBy::Oneself).await.unwrap()
        };
        let (first, second) = store.in_order(held, first, second).await;
        assert!(matches!(first, Update::Updated(_)), "{first:?}");
        assert_eq!(second, Deletion::LastAdmin);
    }
}
