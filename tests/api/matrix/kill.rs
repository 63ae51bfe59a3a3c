//! Kills `sixty serve` at each step of the delivery of a mail, and starts it again.
//!
//! A test stops the process at a step by blocking what the step waits for: a statement by a trigger in PostgreSQL, a
//! command by a paused Redis, a request by the mail provider. The test also decides whether a blocked statement takes
//! effect after the process is dead.

use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::environment::Environment;
use super::scripted_provider::Behavior;
use crate::private_servers::PrivateRedis;
use crate::process::Running;
use crate::support::{Service, create_database, eventually};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn every_user_activates_after_a_kill_at_any_step() {
    tokio::join!(
        killed_before_the_claim(),
        killed_after_the_claim(),
        killed_before_the_code_is_stored(),
        killed_before_the_provider_accepts_the_mail(),
        killed_before_the_provider_answers(),
        killed_before_the_code_lifetime_restarts(),
        killed_before_the_outbox_row_is_deleted(),
        killed_after_the_outbox_row_is_deleted(),
    );
}

async fn kill(mut running: Running) {
    assert!(!running.end(Signal::SIGKILL).await.success());
}

/// Starts another process, which finishes the work of the killed one. Asserts that `copies` mails arrive, all with the
/// code that activates the user.
async fn restart_and_activate(env: &Environment, copies: usize) {
    env.provider.set_behavior(Behavior::Accept);
    let (_running, service) = env.serve(&[]).await;
    eventually("all copies of the mail", async || (service.mails(ADA).await.len() >= copies).then_some(())).await;
    service.activate_with_mailed_code(ADA).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mailed_codes(ADA).await.len(), copies);
}

/// Blocks statements of one kind in PostgreSQL until it is dropped.
struct BlockedStatement {
    db: PgPool,
    lock: PgConnection,
}

impl BlockedStatement {
    /// Blocks statements from now on. `event` is a trigger event such as `UPDATE ON outbox`.
    async fn on(event: &str, service: &Service) -> BlockedStatement {
        let mut lock = PgConnection::connect(&service.database_url).await.unwrap();
        let create_trigger = format!(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM pg_advisory_xact_lock_shared(60); RETURN coalesce(NEW, OLD); END
            $$;
            CREATE TRIGGER hold BEFORE {event} FOR EACH ROW EXECUTE FUNCTION hold();
            SELECT pg_advisory_lock(60)"
        );
        sqlx::raw_sql(AssertSqlSafe(create_trigger)).execute(&mut lock).await.unwrap();
        BlockedStatement { db: service.db.clone(), lock }
    }

    /// Returns the process ids of the PostgreSQL backends that are blocked.
    async fn blocked_backends(&self) -> Vec<i32> {
        let query = "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'sixty' AND wait_event = 'advisory'";
        sqlx::query_scalar(query).fetch_all(&self.db).await.unwrap()
    }

    async fn wait_until_blocked(&self) {
        eventually("blocked statement", async || (!self.blocked_backends().await.is_empty()).then_some(())).await;
    }

    /// Cancels the blocked statement: it never takes effect.
    async fn cancel(self) {
        sqlx::query("SELECT pg_terminate_backend(pid) FROM unnest($1) AS pid")
            .bind(self.blocked_backends().await)
            .execute(&self.db)
            .await
            .unwrap();
        self.release().await;
    }

    /// Lets the blocked statement take effect, although its client is dead. Waits until all connections are closed.
    async fn release(self) {
        let BlockedStatement { db, lock } = self;
        lock.close().await.unwrap();
        eventually("end of all connections of the killed process", async || {
            let query = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sixty'";
            let open: i64 = sqlx::query_scalar(query).fetch_one(&db).await.unwrap();
            (open == 0).then_some(())
        })
        .await;
    }
}

/// Kills the process while a statement of this kind is blocked.
async fn kill_at(event: &str) -> (Environment, BlockedStatement) {
    let env = Environment::new().await;
    let (running, service) = env.serve(&[]).await;
    let blocked = BlockedStatement::on(event, &service).await;
    service.register_pending(ADA).await;
    blocked.wait_until_blocked().await;
    kill(running).await;
    (env, blocked)
}

async fn killed_before_the_claim() {
    let (env, blocked) = kill_at("UPDATE ON outbox").await;
    blocked.cancel().await;
    assert_eq!(env.provider.attempts().len(), 0);
    restart_and_activate(&env, 1).await;
}

/// The row is claimed, but the process is dead before it gets PostgreSQL's response.
async fn killed_after_the_claim() {
    let (env, blocked) = kill_at("UPDATE ON outbox").await;
    blocked.release().await;
    assert_eq!(env.provider.attempts().len(), 0);
    restart_and_activate(&env, 1).await;
}

/// Kills the process while it writes the code to Redis: before the mail if `behavior` is `Accept`, and otherwise after
/// the provider's response.
async fn kill_while_storing_the_code(behavior: Behavior) -> (Environment, PrivateRedis) {
    let redis = PrivateRedis::start().await;
    let env = Environment::with_stores(&create_database().await, &redis.url).await;
    // Client limits would make the request itself wait for Redis.
    let (running, service) = env.serve(&["--client-limits=false"]).await;
    env.provider.set_behavior(behavior);
    if behavior == Behavior::Accept {
        redis.pause_writes().await;
    }
    service.register_pending(ADA).await;
    if behavior != Behavior::Accept {
        env.provider.wait_for_attempts(1).await;
        redis.pause_writes().await;
        env.provider.set_behavior(Behavior::Accept);
    }
    redis.wait_for_paused_script().await;
    kill(running).await;
    redis.resume().await;
    (env, redis)
}

async fn killed_before_the_code_is_stored() {
    let (env, _redis) = kill_while_storing_the_code(Behavior::Accept).await;
    assert_eq!(env.provider.attempts().len(), 0);
    restart_and_activate(&env, 1).await;
}

/// Kills the process while it waits for the provider's response.
async fn kill_while_sending(behavior: Behavior) -> Environment {
    let env = Environment::new().await;
    let (running, service) = env.serve(&[]).await;
    env.provider.set_behavior(behavior);
    service.register_pending(ADA).await;
    env.provider.wait_for_attempts(1).await;
    kill(running).await;
    env
}

async fn killed_before_the_provider_accepts_the_mail() {
    let env = kill_while_sending(Behavior::Hang).await;
    restart_and_activate(&env, 1).await;
}

/// The next process cannot know that the provider accepted the mail, so the user gets two copies. Both have the same
/// code.
async fn killed_before_the_provider_answers() {
    let env = kill_while_sending(Behavior::AcceptAndHold).await;
    restart_and_activate(&env, 2).await;
}

async fn killed_before_the_code_lifetime_restarts() {
    let (env, _redis) = kill_while_storing_the_code(Behavior::AcceptAndHold).await;
    restart_and_activate(&env, 2).await;
}

async fn killed_before_the_outbox_row_is_deleted() {
    let (env, blocked) = kill_at("DELETE ON outbox").await;
    blocked.cancel().await;
    restart_and_activate(&env, 2).await;
}

async fn killed_after_the_outbox_row_is_deleted() {
    let (env, blocked) = kill_at("DELETE ON outbox").await;
    blocked.release().await;
    restart_and_activate(&env, 1).await;
}
