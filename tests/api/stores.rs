//! The real stores keep the contract that their twins keep.

use std::time::Duration;

use sixty::accounts::contract::{self, CodesUnderTest, UsersUnderTest};
use sixty::accounts::ports::GrantedCode;
use sixty::domain::code::{CodeLength, CodeSecret, Grant, Nonce};
use sixty::domain::pacing::Pacing;
use sixty::domain::user::UserId;
use sixty::store::postgres::outbox::Outbox;
use sixty::store::postgres::users::PgUsers;
use sixty::store::postgres::{Postgres, PostgresConfig};
use sixty::store::redis::codes::{CodeStorage, RedisCodes};
use sixty::store::redis::{Redis, RedisConfig};
use sqlx::PgPool;
use uuid::Uuid;

use crate::kit;

struct RealUsers {
    users: PgUsers,
    db: PgPool,
}

impl UsersUnderTest for RealUsers {
    type Users = PgUsers;

    fn users(&self) -> &PgUsers {
        &self.users
    }

    async fn advance(&self, by: Duration) {
        kit::age(&self.db, by).await;
    }

    async fn queued(&self) -> Vec<(UserId, GrantedCode)> {
        let rows: Vec<(Uuid, i64, Vec<u8>, i16)> =
            sqlx::query_as("SELECT user_id, id, nonce, digits FROM outbox ORDER BY id")
                .fetch_all(&self.db)
                .await
                .unwrap();
        rows.into_iter()
            .map(|(user, id, nonce, digits)| {
                let length = if digits == 4 { CodeLength::Four } else { CodeLength::Ten };
                let nonce = Nonce(nonce.try_into().unwrap());
                (UserId(user), GrantedCode { grant: Grant(id), nonce, length })
            })
            .collect()
    }
}

#[tokio::test]
async fn postgresql_keeps_the_contract() {
    let url = kit::database().await;
    let config = PostgresConfig { url: url.as_str().into(), max_connections: 4, timeout: Duration::from_secs(5) };
    let postgres = Postgres::new(&config).unwrap();
    postgres.migrate().await.unwrap();
    let db = postgres.pool().clone();
    contract::users(&RealUsers { users: PgUsers::new(postgres, Pacing::default()), db }).await;
}

/// With the statistics of an outbox that is empty as a rule, PostgreSQL may choose a plan in which a careless claim takes
/// everything.
#[tokio::test]
async fn a_claim_takes_no_more_than_it_asked_for() {
    let url = kit::database().await;
    let config = PostgresConfig { url: url.as_str().into(), max_connections: 4, timeout: Duration::from_secs(5) };
    let postgres = Postgres::new(&config).unwrap();
    postgres.migrate().await.unwrap();
    let db = postgres.pool().clone();
    sqlx::query("ANALYZE outbox").execute(&db).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO addresses SELECT n || '@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}'
            FROM generate_series(1, 100) AS n;
         INSERT INTO users (id, address, email, password_hash)
            SELECT gen_random_uuid(), address, address, '-' FROM addresses;
         INSERT INTO outbox (user_id, kind, nonce, digits)
            SELECT id, 'code', decode(repeat('00', 16), 'hex'), 4 FROM users",
    )
    .execute(&db)
    .await
    .unwrap();
    let outbox = Outbox::new(postgres, Duration::from_secs(30));
    // More often than it takes PostgreSQL to settle for a generic plan.
    for most in [1, 8, 8, 8, 8, 8, 8, 8] {
        assert_eq!(outbox.claim(most).await.unwrap().len(), most as usize);
    }
    assert_eq!(outbox.claim(100).await.unwrap().len(), 43);
}

struct RealCodes {
    codes: RedisCodes,
    client: redis::Client,
    prefix: String,
}

impl CodesUnderTest for RealCodes {
    type Codes = RedisCodes;

    fn codes(&self) -> &RedisCodes {
        &self.codes
    }

    /// Shortens what is left of every key's life: Redis's own clock cannot be moved.
    async fn advance(&self, by: Duration) {
        let mut redis = self.client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{}:*", self.prefix)).query_async(&mut redis).await.unwrap();
        for key in keys {
            let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut redis).await.unwrap();
            assert!(left > 0, "every key has a native expiry");
            let left = left - by.as_millis() as i64;
            let () = redis::cmd("PEXPIRE").arg(&key).arg(left).query_async(&mut redis).await.unwrap();
        }
    }
}

async fn redis_keeps_the_contract(storage: CodeStorage) {
    let stack = tokio::task::spawn_blocking(kit::stack).await.unwrap();
    let prefix = format!("t{}", kit::unique());
    let config = RedisConfig {
        url: stack.redis_url().into(),
        max_connections: 2,
        timeout: Duration::from_secs(5),
        prefix: prefix.clone(),
    };
    let codes = RedisCodes::new(Redis::new(&config).unwrap(), storage, Duration::from_secs(60));
    let client = redis::Client::open(stack.redis_url()).unwrap();
    contract::codes(&RealCodes { codes, client, prefix }).await;
}

#[tokio::test]
async fn redis_keeps_the_contract_with_macs() {
    redis_keeps_the_contract(CodeStorage::Hmac(CodeSecret::new(vec![60; 32]).unwrap())).await;
}

#[tokio::test]
async fn redis_keeps_the_contract_with_plain_codes() {
    redis_keeps_the_contract(CodeStorage::Plain).await;
}
