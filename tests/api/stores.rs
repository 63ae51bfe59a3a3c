//! The real stores pass the contract tests and the model-based tests that the in-memory fakes pass.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sixty::accounts::Accounts;
use sixty::accounts::ports::{Codes as _, PutOutcome, Users as _};
use sixty::domain::code::{Code, CodeKey, CodeLength, CodeLifetimes, CodeSecret, Grant, MailAttempt, Nonce, ResetId};
use sixty::domain::email::{Address, Email};
use sixty::domain::mailbox::MailboxQuota;
use sixty::domain::network::Network;
use sixty::domain::not_me::NotMeHash;
use sixty::domain::pacing::Pacing;
use sixty::domain::user::UserId;
use sixty::passwords::{CostDistribution, CostDraw, ForeignHash, HashCost, Hasher, PasswordHash, VerifiedPasswords};
use sixty::rng::Rng;
use sixty::store::postgres::outbox::{Charge, LeftCode, Outbox};
use sixty::store::postgres::users::PgUsers;
use sixty::store::postgres::{Postgres, PostgresConfig};
use sixty::store::redis::codes::{CodeStorage, RedisCodes};
use sixty::store::redis::limits::{LimitsConfig, Quota, RedisLimits};
use sixty::store::redis::{Redis, RedisConfig};
use sixty::testing::contract::{self, CodesUnderTest, UsersUnderTest};
use sixty::testing::model::{self, ServiceUnderTest, Step};
use sixty::testing::{QueuedMail, QueuedReset};
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

#[cfg(target_os = "linux")]
use crate::private_servers::PrivateRedis;
#[cfg(target_os = "linux")]
use crate::redis_cluster::PrivateCluster;
use crate::support;

struct RealUsers {
    users: Arc<PgUsers>,
    outbox: Outbox,
    db: PgPool,
}

impl RealUsers {
    async fn new() -> Self {
        let (postgres, db) = postgres().await;
        let outbox = Outbox::new(postgres.clone(), Duration::from_secs(30));
        let secret = CodeSecret::new(SECRET.to_vec()).unwrap();
        Self { users: Arc::new(PgUsers::with_secret(postgres, Pacing::default(), secret)), outbox, db }
    }
}

/// An empty database with its tables: the store, and a pool of the test.
async fn postgres() -> (Postgres, PgPool) {
    let (postgres, db, _) = postgres_with(4).await;
    (postgres, db)
}

/// Also returns the URL.
async fn postgres_with(max_connections: u32) -> (Postgres, PgPool, String) {
    let url = support::create_database().await;
    let config = PostgresConfig { url: url.as_str().into(), max_connections, timeout: Duration::from_secs(5) };
    let postgres = Postgres::new(&config).unwrap();
    postgres.migrate().await.unwrap();
    (postgres, PgPool::connect(&url).await.unwrap(), url)
}

impl UsersUnderTest for RealUsers {
    type Users = PgUsers;

    fn users(&self) -> &PgUsers {
        &self.users
    }

    async fn advance(&self, by: Duration) {
        support::age_grants(&self.db, by).await;
    }

    async fn queued_mails(&self) -> Vec<QueuedMail> {
        let rows: Vec<(Uuid, i64, Vec<u8>, i16)> =
            sqlx::query_as("SELECT user_id, id, nonce, digits FROM outbox WHERE kind = 'code' ORDER BY id")
                .fetch_all(&self.db)
                .await
                .unwrap();
        rows.into_iter()
            .map(|(user, id, nonce, digits)| {
                let length = CodeLength::new(digits.try_into().unwrap()).unwrap();
                let nonce = Nonce(nonce.try_into().unwrap());
                QueuedMail { user: UserId(user), grant: Grant(id), nonce, length }
            })
            .collect()
    }

    async fn store_not_me_link(&self, user: UserId, link: NotMeHash) -> bool {
        support::store_not_me_link(&self.db, user, &link).await
    }

    async fn queued_reset(&self, _: ResetId, email: &str) -> Option<QueuedReset> {
        let address = Email::parse(email).unwrap().address().clone();
        let row: Option<(i64, Vec<u8>, i16)> =
            sqlx::query_as("SELECT id, nonce, digits FROM outbox WHERE kind = 'reset_code' AND address = $1")
                .bind(address.as_str())
                .fetch_optional(&self.db)
                .await
                .unwrap();
        row.map(|(id, nonce, digits)| QueuedReset {
            address,
            grant: Grant(id),
            nonce: Nonce(nonce.try_into().unwrap()),
            length: CodeLength::new(digits.try_into().unwrap()).unwrap(),
        })
    }

    async fn bind_reset(&self, id: ResetId, mail: &QueuedReset) -> bool {
        for claim in self.outbox.claim_resets(1000).await.unwrap() {
            if let Some(account) = claim.user.filter(|_| claim.grant == mail.grant)
                && self.outbox.bind_reset(&claim, id, account).await.unwrap()
            {
                continue;
            }
            // Another call claims it again.
            assert!(self.outbox.retry(&claim, Duration::ZERO, true, LeftCode::None).await.unwrap());
        }
        let mut is_bound = false;
        for claim in self.outbox.claim(1000).await.unwrap() {
            if let Some(account) = claim.user.filter(|_| claim.grant == mail.grant) {
                is_bound = self.outbox.is_reset_bound(&claim, id, account).await.unwrap();
            }
            assert!(self.outbox.retry(&claim, Duration::ZERO, true, LeftCode::None).await.unwrap());
        }
        is_bound
    }

    async fn disable(&self, user: UserId) {
        let disable = sqlx::query("UPDATE users SET status = 'disabled' WHERE id = $1").bind(user.0);
        disable.execute(&self.db).await.unwrap();
    }

    async fn set_foreign(&self, user: UserId, foreign: &ForeignHash, unknown: &PasswordHash) {
        let set = sqlx::query("UPDATE users SET foreign_hash = $2, password_hash = $3 WHERE id = $1").bind(user.0);
        set.bind(foreign.as_str()).bind(unknown.to_phc()).execute(&self.db).await.unwrap();
    }
}

#[tokio::test]
async fn postgresql_passes_the_contract() {
    contract::users(&RealUsers::new().await).await;
}

/// The server-side timeouts free the locks of a frozen process.
#[tokio::test]
async fn server_cancels_long_statements_and_idle_transactions() {
    let config = PostgresConfig {
        url: support::create_database().await.into(),
        max_connections: 2,
        timeout: Duration::from_millis(500),
    };
    let postgres = Postgres::new(&config).unwrap();
    let sleep = sqlx::query("SELECT pg_sleep(60)").execute(&postgres.pool()).await.unwrap_err();
    assert_eq!(sleep.as_database_error().unwrap().code().unwrap(), "57014");

    let mut idle = postgres.pool().begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(60)";
    sqlx::query(lock).execute(&mut *idle).await.unwrap();
    support::eventually("the lock", async || sqlx::query(lock).execute(&postgres.pool()).await.ok()).await;
}

/// With the statistics of an empty outbox, PostgreSQL may choose a plan in which a LIMIT in a subquery limits nothing.
#[tokio::test]
async fn claim_returns_at_most_the_requested_number_of_mails() {
    let (postgres, db) = postgres().await;
    sqlx::query("ANALYZE outbox").execute(&db).await.unwrap();
    queue_code_mails(&db).await;
    let outbox = Outbox::new(postgres, Duration::from_secs(30));
    // PostgreSQL uses a generic plan from the sixth execution on.
    for most in [1, 8, 8, 8, 8, 8, 8, 8] {
        assert_eq!(outbox.claim(most).await.unwrap().len(), most as usize);
    }
    assert_eq!(outbox.claim(100).await.unwrap().len(), 43);
}

/// Queues a code mail for each of 100 addresses.
async fn queue_code_mails(db: &PgPool) {
    sqlx::raw_sql(
        "INSERT INTO addresses SELECT n || '@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}'
            FROM generate_series(1, 100) AS n;
         INSERT INTO users (id, address, email, password_hash)
            SELECT gen_random_uuid(), address, address, '-' FROM addresses;
         INSERT INTO outbox (user_id, kind, nonce, digits)
            SELECT id, 'code', decode(repeat('00', 16), 'hex'), 4 FROM users",
    )
    .execute(db)
    .await
    .unwrap();
}

#[tokio::test]
async fn simultaneous_charges_of_a_mailbox_stay_within_its_quota() {
    let (postgres, db) = postgres().await;
    queue_code_mails(&db).await;
    let outbox = Outbox::new(postgres, Duration::from_secs(30));
    let claims = outbox.claim(100).await.unwrap();
    let (quota, mac) = (MailboxQuota { per_hour: 3, per_day: 5 }, [60; 32]);
    let charges = claims.iter().map(|claim| outbox.charge(claim, &mac, quota));
    let charges = futures_util::future::try_join_all(charges).await.unwrap();
    let count = |charge| charges.iter().filter(|other| **other == charge).count();
    assert_eq!((count(Charge::Charged), count(Charge::OverQuota)), (3, 97));
    // A charged mail stays charged when another process claims it; a mail over the quota does not become charged.
    for (claim, charge) in claims.iter().zip(&charges) {
        assert!(outbox.retry(claim, Duration::ZERO, true, LeftCode::None).await.unwrap());
        assert_eq!(outbox.charge(claim, &[61; 32], quota).await.unwrap(), Charge::ClaimLost);
        assert!(!claim.charged);
        let reclaimed = outbox.claim(1).await.unwrap();
        assert_eq!(reclaimed[0].charged, *charge == Charge::Charged);
        assert!(outbox.finish(&reclaimed[0], LeftCode::None).await.unwrap());
    }
}

/// The changes of several mails share statements.
#[tokio::test]
async fn a_mail_whose_rows_are_locked_delays_no_other() {
    let (postgres, db) = postgres().await;
    queue_code_mails(&db).await;
    let outbox = Outbox::new(postgres, Duration::from_secs(30));
    let insert = "INSERT INTO mailboxes (mac, mailed_at, last_mailed_at) VALUES ($1, '{}', now())";
    sqlx::query(insert).bind(&[0_u8; 32][..]).execute(&db).await.unwrap();
    for lock in [
        "SELECT FROM mailboxes WHERE $1::uuid IS NOT NULL FOR UPDATE",
        "SELECT FROM users WHERE id = $1 FOR UPDATE",
        "SELECT FROM addresses JOIN users USING (address) WHERE id = $1 FOR UPDATE OF addresses",
    ] {
        let claims = outbox.claim(5).await.unwrap();
        let mut session = db.begin().await.unwrap();
        sqlx::query(lock).bind(claims[0].user.unwrap().0).execute(&mut *session).await.unwrap();
        let mut mails = claims.into_iter().enumerate().map(|(n, claim)| {
            // Only the first mail has a mailbox that exists.
            let hash = if n == 0 { [0; 32] } else { Rng::from_system().bytes() };
            let outbox = outbox.clone();
            tokio::spawn(async move {
                let charged = outbox.charge(&claim, &hash, MailboxQuota::default()).await.unwrap();
                assert_eq!(charged, Charge::Charged);
                assert!(outbox.extend_wait(&claim, Duration::from_secs(60)).await.unwrap());
                assert!(outbox.link(&claim, claim.user.unwrap(), &NotMeHash(hash)).await.unwrap());
                assert!(outbox.finish(&claim, LeftCode::Live(Duration::from_secs(60))).await.unwrap());
            })
        });
        let first = mails.next().unwrap();
        futures_util::future::try_join_all(mails).await.unwrap();
        assert!(!first.is_finished(), "{lock}");
        session.rollback().await.unwrap();
        first.await.unwrap();
    }
    assert_eq!(outbox.backlog().await.unwrap().mails, 85);
}

#[tokio::test]
async fn the_waits_of_several_late_mails_are_extended_together() {
    let (postgres, db) = postgres().await;
    queue_code_mails(&db).await;
    let late = "UPDATE addresses SET granted_at = now() - interval '30 s'; UPDATE outbox SET created_at = now() - interval '30 s'";
    sqlx::raw_sql(late).execute(&db).await.unwrap();
    let outbox = Outbox::new(postgres, Duration::from_secs(30));
    let claims = outbox.claim(5).await.unwrap();
    assert!(outbox.retry(&claims[0], Duration::ZERO, true, LeftCode::None).await.unwrap());
    // The second time moves the waits only by the time in between.
    for _ in 0..2 {
        let extended = claims.iter().map(|claim| outbox.extend_wait(claim, Duration::from_secs(60)));
        let extended = futures_util::future::try_join_all(extended).await.unwrap();
        assert_eq!(extended, [false, true, true, true, true]);
    }
    let moved =
        "SELECT count(*) FILTER (WHERE granted_at > outbox.created_at), count(*) FILTER (WHERE granted_at > now())
                 FROM outbox JOIN users ON users.id = user_id JOIN addresses ON addresses.address = users.address";
    let moved: (i64, i64) = sqlx::query_as(moved).fetch_one(&db).await.unwrap();
    assert_eq!(moved, (4, 0));
}

/// Connections stay out of the driver's pool between two calls.
#[tokio::test]
async fn all_of_many_calls_get_the_only_connection() {
    let (postgres, db, _) = postgres_with(1).await;
    queue_code_mails(&db).await;
    let outbox = Outbox::new(postgres.clone(), Duration::from_secs(30));
    let secret = CodeSecret::new(SECRET.to_vec()).unwrap();
    let users = PgUsers::with_secret(postgres.clone(), Pacing::default(), secret);
    for _ in 0..3 {
        // A purge needs a transaction.
        let reads = futures_util::future::try_join_all((0..50).map(|_| outbox.backlog()));
        let (backlogs, purged) = tokio::join!(reads, users.purge(Duration::from_secs(60 * 60)));
        assert!(backlogs.unwrap().iter().all(|backlog| backlog.mails == 100));
        purged.unwrap();
    }
    support::eventually("the end of the use", async || (postgres.pool_state().used == 0).then_some(())).await;
}

/// Calls that begin while the pool still opens connections, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_waits_in_vain_while_the_pool_grows() {
    let (_, db, url) = postgres_with(1).await;
    queue_code_mails(&db).await;
    for round in 0..20 {
        let config = PostgresConfig { url: url.as_str().into(), max_connections: 3, timeout: Duration::from_secs(5) };
        let outbox = Outbox::new(Postgres::new(&config).unwrap(), Duration::from_secs(30));
        let calls = (0..32).map(|_| {
            let outbox = outbox.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    assert_eq!(outbox.backlog().await.unwrap().mails, 100, "round {round}");
                }
            })
        });
        futures_util::future::try_join_all(calls).await.unwrap();
    }
}

/// Many calls at once after a pause, when a connection of the pool is pinged before its use. A call that gets the connection
/// of another one must not abandon that ping: the connection would be lost.
#[tokio::test]
async fn no_call_gives_up_a_connection_that_it_does_not_need() {
    let (postgres, db, _) = postgres_with(4).await;
    queue_code_mails(&db).await;
    let outbox = Outbox::new(postgres.clone(), Duration::from_secs(30));
    let many_calls = async || {
        futures_util::future::try_join_all((0..200).map(|_| outbox.backlog())).await.unwrap();
    };
    many_calls().await;
    let processes = async || {
        let ids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sixty' \
                   ORDER BY pid";
        sqlx::query_scalar::<_, i32>(ids).fetch_all(&db).await.unwrap()
    };
    let four = async || Some(processes().await).filter(|processes| processes.len() == 4);
    let before = support::eventually("four connections", four).await;
    for _ in 0..10 {
        drop(postgres.pool());
        // Longer than a connection may be unused without a ping.
        tokio::time::sleep(Duration::from_millis(150)).await;
        many_calls().await;
    }
    assert_eq!(processes().await, before);
}

/// The next call would otherwise wait for the response of that statement.
#[tokio::test]
async fn no_call_gets_the_connection_of_a_statement_that_was_cancelled() {
    let (postgres, db, _) = postgres_with(2).await;
    queue_code_mails(&db).await;
    let outbox = Outbox::new(postgres, Duration::from_secs(30));
    let claim = outbox.claim(1).await.unwrap().pop().unwrap();
    let mut session = db.begin().await.unwrap();
    sqlx::query("SELECT FROM outbox FOR UPDATE").execute(&mut *session).await.unwrap();
    let renew = async { outbox.renew(&claim).await.map(drop) };
    tokio::select! {
        biased;
        _ = renew => panic!("the row is locked"),
        () = support::eventually("the statement to wait", async || {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&db).await.unwrap();
            (waiting == 1).then_some(())
        }) => {}
    }
    // The lock is still held.
    assert_eq!(outbox.backlog().await.unwrap().mails, 100);
    session.rollback().await.unwrap();
    assert!(outbox.renew(&claim).await.unwrap());
}

/// A worker spends a code that was put before and whose wrong guesses Redis has lost.
#[tokio::test]
async fn claim_is_armed_from_the_link_until_the_next_grant() {
    let store = RealUsers::new().await;
    let registration = sqlx::raw_sql(
        "INSERT INTO addresses VALUES ('ada@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '0 s', '{}');
         INSERT INTO users (id, address, email, password_hash) VALUES (gen_random_uuid(), 'ada@example.com', 'ada@example.com',
            '$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8');
         INSERT INTO outbox (user_id, kind, nonce, digits) SELECT id, 'code', decode(repeat('00', 16), 'hex'), 4 FROM users",
    );
    registration.execute(&store.db).await.unwrap();
    let claim = async || store.outbox.claim(1).await.unwrap().pop().unwrap();
    let first = claim().await;
    assert!(!first.armed);
    assert!(store.outbox.link(&first, first.user.unwrap(), &NotMeHash([7; 32])).await.unwrap());
    assert!(store.outbox.retry(&first, Duration::ZERO, true, LeftCode::None).await.unwrap());
    let second = claim().await;
    assert!(second.armed);
    // A worker that lost its claim stores no link.
    assert!(!store.outbox.link(&first, first.user.unwrap(), &NotMeHash([8; 32])).await.unwrap());
    store.users.resend(second.user.unwrap(), Nonce([1; 16]), None).await.unwrap();
    // A late worker of the earlier grant does not arm the later grant.
    assert!(!store.outbox.link(&second, second.user.unwrap(), &NotMeHash([8; 32])).await.unwrap());
    assert!(!claim().await.armed);
}

const LIFETIMES: CodeLifetimes =
    CodeLifetimes { registration: Duration::from_secs(60), password_reset: Duration::from_secs(60) };

struct RealCodes {
    codes: Arc<RedisCodes>,
    redis: Redis,
    /// The URLs of all nodes.
    urls: Vec<String>,
    prefix: String,
}

impl RealCodes {
    fn new(urls: &[&str], storage: CodeStorage, lifetimes: CodeLifetimes) -> Self {
        let prefix = format!("t{}", support::unique_name());
        let config = RedisConfig {
            url: urls.join(",").into(),
            max_connections: 2,
            timeout: Duration::from_secs(5),
            prefix: prefix.clone(),
        };
        let redis = Redis::new(&config).unwrap();
        let codes = RedisCodes::new(redis.clone(), storage, lifetimes);
        Self { codes: Arc::new(codes), redis, urls: urls.iter().map(ToString::to_string).collect(), prefix }
    }
}

impl CodesUnderTest for RealCodes {
    type Codes = RedisCodes;

    fn codes(&self) -> &RedisCodes {
        &self.codes
    }

    /// Shortens the lifetime of every key: a test cannot move Redis's own clock.
    async fn advance(&self, by: Duration) {
        for url in &self.urls {
            let mut redis = redis::Client::open(&url[..]).unwrap().get_multiplexed_async_connection().await.unwrap();
            let keys: Vec<String> =
                redis::cmd("KEYS").arg(format!("{}:*", self.prefix)).query_async(&mut redis).await.unwrap();
            for key in keys {
                let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut redis).await.unwrap();
                assert!(left > 0, "every key must have an expiry");
                let left = left - by.as_millis() as i64;
                let () = redis::cmd("PEXPIRE").arg(&key).arg(left).query_async(&mut redis).await.unwrap();
            }
        }
    }

    async fn lose_all(&self) {
        for url in &self.urls {
            let mut redis = redis::Client::open(&url[..]).unwrap().get_multiplexed_async_connection().await.unwrap();
            let keys: Vec<String> =
                redis::cmd("KEYS").arg(format!("{}:*", self.prefix)).query_async(&mut redis).await.unwrap();
            for key in keys {
                let () = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn redis_passes_the_contract_with_macs() {
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    let hmac = CodeStorage::Hmac(CodeSecret::new(vec![60; 32]).unwrap());
    contract::codes(&RealCodes::new(&[stack.redis_url()], hmac, LIFETIMES)).await;
}

#[tokio::test]
async fn redis_passes_the_contract_with_plain_codes() {
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    contract::codes(&RealCodes::new(&[stack.redis_url()], CodeStorage::Plain, LIFETIMES)).await;
}

/// Simultaneous puts go to Redis together.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_put_that_fails_does_not_fail_the_others() {
    // Other tests need the scripts of the shared server.
    let server = PrivateRedis::start().await;
    let store = RealCodes::new(&[&server.url], CodeStorage::Plain, LIFETIMES);
    let mut redis = redis::Client::open(&*server.url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let rng = Rng::from_system();
    let users: Vec<UserId> = (0..20).map(|_| rng.user_id()).collect();
    let broken = users[7];
    let key = format!("{}:tries:{{{broken}}}", store.prefix);
    let () = redis::cmd("SET").arg(key).arg("not a hash").query_async(&mut redis).await.unwrap();
    let code = Code::parse("1234").unwrap();
    let attempt = MailAttempt { grant: Grant(1), number: 1 };
    for _ in 0..3 {
        // Redis knows no script, as after a restart.
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
        let puts = users.iter().map(|user| store.codes.put(CodeKey::Registration(*user), attempt, Some(&code), true));
        let results = futures_util::future::join_all(puts).await;
        for (user, result) in users.iter().zip(results) {
            assert_eq!(result.ok(), (*user != broken).then_some(PutOutcome::Live));
        }
    }
}

/// The use cases on the real stores, with [`SECRET`] as `CODE_SECRET`.
struct RealService {
    users: RealUsers,
    codes: RealCodes,
    accounts: Accounts<PgUsers, RedisCodes>,
}

const SECRET: [u8; 32] = [60; 32];

impl ServiceUnderTest for RealService {
    type Users = PgUsers;
    type Codes = RedisCodes;

    fn accounts(&self) -> &Accounts<PgUsers, RedisCodes> {
        &self.accounts
    }

    fn codes(&self) -> &RedisCodes {
        &self.codes.codes
    }

    async fn advance(&self, by: Duration) {
        self.users.advance(by).await;
        self.codes.advance(by).await;
    }

    async fn lose_codes(&self) {
        self.codes.lose_all().await;
    }

    async fn queued_mails(&self) -> Vec<QueuedMail> {
        self.users.queued_mails().await
    }

    async fn store_not_me_link(&self, user: UserId, link: NotMeHash) -> bool {
        self.users.store_not_me_link(user, link).await
    }

    async fn queued_reset(&self, id: ResetId, address: &Address) -> Option<QueuedReset> {
        self.users.queued_reset(id, address.as_str()).await
    }

    async fn bind_reset(&self, id: ResetId, mail: &QueuedReset) -> bool {
        self.users.bind_reset(id, mail).await
    }

    async fn purge(&self, pending_ttl: Duration) {
        self.users.users.purge(pending_ttl).await.unwrap();
    }
}

#[test]
fn real_stores_respond_to_any_sequence_as_the_model_predicts() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let secret = CodeSecret::new(SECRET.to_vec()).unwrap();
    let stack = support::stack();
    // Both services answer as the model predicts, so remembered passwords make no difference.
    let verified = [None, Some(VerifiedPasswords::new(Duration::from_secs(60 * 60), 1000, &Rng::from_system()))];
    let services = verified.map(|verified| {
        runtime.block_on(async {
            let users = RealUsers::new().await;
            let codes =
                RealCodes::new(&[stack.redis_url()], CodeStorage::Hmac(secret.clone()), CodeLifetimes::default());
            let hasher = Hasher::start(HashCost::new(8, 1, 1).unwrap(), 1, Duration::from_secs(10));
            let (rng, queued) = (Rng::from_system(), Arc::new(Notify::new()));
            let costs = CostDraw::new(secret.clone(), HashCost::new(8, 1, 1).unwrap());
            costs.set(CostDistribution::default());
            let (users_port, codes_port) = (Arc::clone(&users.users), Arc::clone(&codes.codes));
            let accounts = Accounts::new(users_port, codes_port, hasher, costs, rng, secret.clone(), queued);
            RealService { users, codes, accounts: accounts.with_verified_passwords(verified) }
        })
    });
    let config = ProptestConfig { cases: 16, ..ProptestConfig::default() };
    let sequences = prop::collection::vec(any::<u32>(), 1..200);
    let outcome = TestRunner::new(config).run(&sequences, |numbers| {
        let steps: Vec<Step> = numbers.into_iter().map(Step::from_number).collect();
        // Every sequence uses new addresses, because all share the stores.
        for service in &services {
            let domain = format!("{}.example", support::unique_name());
            runtime.block_on(model::run(service, &secret, &domain, &steps));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A cluster of two nodes, each with half of the slots.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn redis_cluster_passes_the_contract_and_the_limits() {
    let cluster = PrivateCluster::start("contract", 2, false).await;
    let [first, second] = [&cluster.nodes[0], &cluster.nodes[1]];
    let codes = RealCodes::new(&[&first.url, &second.url], CodeStorage::Plain, LIFETIMES);
    // Several times, because the id of a user decides on which node its keys are.
    for _ in 0..4 {
        contract::codes(&codes).await;
    }

    assert_limits(&codes.redis).await;

    // A frozen node affects only the users whose keys it holds.
    let rng = Rng::from_system();
    let user = loop {
        let user = rng.user_id();
        if cluster.master_of(&format!("{{{user}}}")).await == 0 {
            break user;
        }
    };
    let code = Code::parse("0042").unwrap();
    second.signal(Signal::SIGSTOP);
    support::eventually("the healthy node", async || codes.codes().redeem(user.into(), &code).await.ok()).await;
    second.signal(Signal::SIGCONT);
    support::eventually("both nodes", async || {
        let users = [rng.user_id(), rng.user_id(), rng.user_id(), rng.user_id()];
        let calls = users.map(|user| codes.codes().redeem(user.into(), &code));
        futures_util::future::try_join_all(calls).await.ok()
    })
    .await;
}

/// Asserts the limits for 16 networks, whose keys are spread over both nodes.
async fn assert_limits(redis: &Redis) {
    let hour = Quota::per_hour(1);
    let config =
        LimitsConfig { codes: hour, misses: hour, pending_logins: hour, flood: hour, max_wait: Duration::ZERO };
    let ada = Email::parse("ada@example.com").unwrap();
    let limits = RedisLimits::new(redis.clone(), CodeSecret::new(vec![60; 32]).unwrap(), config);
    for n in 1..=16 {
        let network = Network::of(format!("192.0.2.{n}").parse().unwrap());
        let consumed = limits.quotas.consume_guess(network, ada.address()).await.unwrap().expect("Redis responds");
        assert!(limits.quotas.consume_guess(network, ada.address()).await.is_err());
        assert_eq!(limits.quotas.refund(consumed).await.unwrap().remaining, 1);
        let mut failures = 0;
        while let Ok(attempt) = limits.auth_throttle.admit(network, None).await {
            assert!(attempt.is_counted_in_redis());
            limits.auth_throttle.record_failure(attempt).await;
            failures += 1;
        }
        assert!((5..20).contains(&failures), "{failures}");
    }
}
