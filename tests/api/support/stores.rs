//! Direct access to the PostgreSQL tables and the Redis keys of a [`Service`].

use std::time::Duration;

use sixty::domain::not_me::{self, NotMeHash};
use sixty::domain::user::UserId;
use sqlx::PgPool;

use super::{Service, eventually, stack};

impl Service {
    /// Moves the grants of code mails, the tickets, the counts of mailboxes and the "not me" links into the past, so that waits and expiries end.
    pub async fn age_grants(&self, by: Duration) {
        age_grants(&self.db, by).await;
    }

    /// Returns the number of mails in the outbox: mails that are neither sent nor given up.
    pub async fn outbox_len(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&self.db).await.unwrap()
    }

    /// Waits until the worker has begun to send the only mail in the outbox.
    pub async fn wait_for_mail_attempt(&self) {
        eventually("attempt to send the mail", async || {
            let attempts: i32 = sqlx::query_scalar("SELECT attempts FROM outbox").fetch_one(&self.db).await.unwrap();
            (attempts >= 1).then_some(())
        })
        .await;
    }

    pub async fn wait_for_empty_outbox(&self) {
        eventually("empty outbox", async || (self.outbox_len().await == 0).then_some(())).await;
    }

    /// Runs a command on this run's Redis server.
    pub async fn redis<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(stack().redis_url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut connection).await.unwrap()
    }

    /// Returns the Redis key of a user's `code` or `tries` entry.
    pub fn redis_key(&self, entry: &str, user: &str) -> String {
        format!("{}:{entry}:{{{user}}}", self.prefix)
    }
}

/// Moves the grants of code mails, the tickets, the counts of mailboxes and the "not me" links of a database into the past.
pub async fn age_grants(db: &PgPool, by: Duration) {
    sqlx::query(
        "UPDATE addresses SET granted_at = granted_at - make_interval(secs => $1),
         ticket_expires_at = ticket_expires_at - make_interval(secs => $1),
         forget_at = forget_at - make_interval(secs => $1),
         short_granted_at = ARRAY(SELECT at - make_interval(secs => $1) FROM unnest(short_granted_at) AS at)",
    )
    .bind(by.as_secs_f64())
    .execute(db)
    .await
    .unwrap();
    sqlx::query("UPDATE password_resets SET granted_at = granted_at - make_interval(secs => $1)")
        .bind(by.as_secs_f64())
        .execute(db)
        .await
        .unwrap();
    sqlx::query(
        "UPDATE mailboxes SET last_mailed_at = last_mailed_at - make_interval(secs => $1),
         mailed_at = ARRAY(SELECT at - make_interval(secs => $1) FROM unnest(mailed_at) AS at)",
    )
    .bind(by.as_secs_f64())
    .execute(db)
    .await
    .unwrap();
    sqlx::query("UPDATE disowned SET expires_at = expires_at - make_interval(secs => $1)")
        .bind(by.as_secs_f64())
        .execute(db)
        .await
        .unwrap();
    sqlx::query("UPDATE not_me_links SET expires_at = expires_at - make_interval(secs => $1)")
        .bind(by.as_secs_f64())
        .execute(db)
        .await
        .unwrap();
}

/// Stores a "this was not me" link of a pending user, as the mail worker does. Returns `false` if the user is not pending.
pub async fn store_not_me_link(db: &PgPool, user: UserId, link: &NotMeHash) -> bool {
    let insert = "INSERT INTO not_me_links (token_hash, user_id, expires_at)
        SELECT $1, id, now() + make_interval(secs => $3) FROM users WHERE id = $2 AND status = 'pending'
        ON CONFLICT (token_hash) DO UPDATE SET expires_at = EXCLUDED.expires_at";
    let insert = sqlx::query(insert).bind(&link.0[..]).bind(user.0).bind(not_me::LIFETIME.as_secs_f64());
    insert.execute(db).await.unwrap().rows_affected() == 1
}
