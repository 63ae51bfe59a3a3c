//! Faults during a password reset and a change of address: nobody loses an account or a password, and no code works twice.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::environment::{Environment, wait_for_recovery};
use super::scripted_provider::Behavior;
use crate::private_servers::{PrivatePostgres, PrivateRedis};
use crate::process::Running;
use crate::support::{PASSWORD, Service, code_in, create_database, eventually};

const ADA: &str = "ada@example.com";
const NOBODY: &str = "nobody@example.com";
const MOVED: &str = "ada@new.example";
const NEW: &str = "staple battery horse";

#[tokio::test]
async fn resets_and_changes_of_address_survive_faults() {
    tokio::join!(
        redis_is_paused(),
        redis_is_killed_and_restarts_empty(),
        postgresql_is_stopped_and_started(),
        killed_before_the_provider_answers()
    );
}

/// Starts a service with Ada's account, on these servers.
async fn start_service(database_url: &str, redis_url: &str) -> (Environment, Running, Service) {
    let env = Environment::with_stores(database_url, redis_url).await;
    let (running, service) = env.serve(&[]).await;
    service.register_active(ADA).await;
    service.wait_for_empty_outbox().await;
    (env, running, service)
}

async fn confirm_when_possible(service: &Service, code: &str) {
    wait_for_recovery("confirmation with the earlier code", async || {
        let answer = service.confirm_email(ADA, PASSWORD, code).await;
        assert!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Requests are granted without Redis. Every address gets 503 for a code, until Redis answers again.
async fn redis_is_paused() {
    let redis = PrivateRedis::start().await;
    let (_env, _running, service) = start_service(&create_database().await, &redis.url).await;
    assert_eq!(service.change_email(ADA, PASSWORD, MOVED).await.status, 202);
    let confirmation = service.wait_for_code(MOVED, 1).await;
    service.wait_for_empty_outbox().await;
    redis.signal(Signal::SIGSTOP);
    for email in [ADA, NOBODY] {
        assert_eq!(service.request_reset(email).await.status, 202);
        assert_eq!(service.reset_password(email, "00000000", NEW).await.outcome(), (503, "unavailable"));
    }
    assert_eq!(service.confirm_email(ADA, PASSWORD, &confirmation).await.outcome(), (503, "unavailable"));
    assert_eq!(service.mails(ADA).await.len(), 3, "a code that is not in Redis must not be mailed");
    redis.signal(Signal::SIGCONT);
    let code = wait_for_recovery("the mail that waited for Redis", async || {
        let mails = service.mails(ADA).await;
        if mails.len() < 4 { None } else { code_in(&service.mail_text(&mails[0]).await) }
    })
    .await;
    assert_eq!(service.reset_password(ADA, &code, NEW).await.status, 204);
    assert_eq!(service.me(ADA, NEW).await.status, 200);
    assert!(service.mails(NOBODY).await.is_empty());
}

/// The codes are lost with the data of Redis. The old password and the old address stay, and new codes work.
async fn redis_is_killed_and_restarts_empty() {
    let mut redis = PrivateRedis::start().await;
    let (_env, _running, service) = start_service(&create_database().await, &redis.url).await;
    assert_eq!(service.request_reset(ADA).await.status, 202);
    let code = service.wait_for_code(ADA, 3).await;
    redis.kill();
    redis.restart().await;
    let lost = wait_for_recovery("an answer to the lost code", async || {
        Some(service.reset_password(ADA, &code, NEW).await).filter(|answer| answer.status != 503)
    })
    .await;
    assert_eq!(lost.outcome(), (410, "code-expired"));
    assert_eq!(service.me(ADA, PASSWORD).await.status, 200);
    service.age_grants(Duration::from_secs(600)).await;
    assert_eq!(service.request_reset(ADA).await.status, 202);
    let code = service.wait_for_code(ADA, 4).await;
    assert_eq!(service.reset_password(ADA, &code, NEW).await.status, 204);
}

/// Nothing is answered as done while PostgreSQL is down, and a right guess is not lost.
async fn postgresql_is_stopped_and_started() {
    let mut postgres = PrivatePostgres::start("account-life").await;
    let (_env, _running, service) = start_service(postgres.url(), postgres.redis_url()).await;
    assert_eq!(service.request_reset(ADA).await.status, 202);
    let code = service.wait_for_code(ADA, 3).await;
    service.wait_for_empty_outbox().await;
    postgres.stop().await;
    for email in [ADA, NOBODY] {
        assert_eq!(service.request_reset(email).await.outcome(), (503, "unavailable"));
    }
    assert_eq!(service.reset_password(ADA, &code, NEW).await.outcome(), (503, "unavailable"));
    postgres.restart().await;
    wait_for_recovery("reset with the earlier code", async || {
        let answer = service.reset_password(ADA, &code, NEW).await;
        assert!([204, 503].contains(&answer.status.as_u16()), "{answer:?}");
        (answer.status == 204).then_some(())
    })
    .await;
    assert_eq!(service.me(ADA, NEW).await.status, 200);
}

/// The next process sends the mails again, with the same codes and the same link.
async fn killed_before_the_provider_answers() {
    let env = Environment::new().await;
    let (mut running, service) = env.serve(&[]).await;
    service.register_active(ADA).await;
    service.wait_for_empty_outbox().await;
    env.provider.set_behavior(Behavior::AcceptAndHold);
    let before = env.provider.attempts().len();
    assert_eq!(service.change_email(ADA, PASSWORD, MOVED).await.status, 202);
    assert_eq!(service.request_reset(ADA).await.status, 202);
    env.provider.wait_for_attempts(before + 3).await;
    assert!(!running.end(Signal::SIGKILL).await.success());

    env.provider.set_behavior(Behavior::Accept);
    let (_running, service) = env.serve(&[]).await;
    eventually("copies of all mails", async || {
        let (old, new) = (service.mails(ADA).await.len(), service.mails(MOVED).await.len());
        (old >= 6 && new >= 2).then_some(())
    })
    .await;
    service.wait_for_empty_outbox().await;
    let moved = service.mailed_codes(MOVED).await;
    assert!(moved.len() == 2 && moved[0] == moved[1], "{moved:?}");
    let resets: Vec<String> = service.mailed_codes(ADA).await.into_iter().filter(|code| code.len() == 8).collect();
    assert!(resets.len() == 2 && resets[0] == resets[1], "{resets:?}");
    confirm_when_possible(&service, &moved[0]).await;
    // The change hashed the password again, so the reset code, which was made for the old hash, is dead.
    assert_eq!(service.reset_password(ADA, &resets[0], NEW).await.outcome(), (410, "code-expired"));
    assert_eq!(service.me(MOVED, PASSWORD).await.status, 200);
    assert_eq!(service.me(ADA, PASSWORD).await.outcome(), (401, "unauthenticated"));
}
