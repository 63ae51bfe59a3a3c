//! Faults of Redis. Registration works, activation gets 503, a code is lost only if Redis loses its data, and the
//! service recovers without a restart.

use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Method;

use super::environment::{Environment, metric_value, wait_for_log, wait_for_recovery};
use crate::private_servers::PrivateRedis;
use crate::process::Running;
use crate::support::{Answer, PASSWORD, Service, create_database, eventually, wrong_code};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";

#[tokio::test]
async fn registration_works_and_no_code_is_lost_during_a_redis_fault() {
    tokio::join!(
        redis_is_killed_and_restarts_empty(),
        redis_is_paused(),
        redis_is_out_of_memory(),
        redis_is_a_read_only_replica()
    );
}

/// Starts a service in which Ada has a mail. Returns Ada's code last.
async fn start_service_with_mailed_code() -> (Environment, PrivateRedis, Running, Service, String) {
    let redis = PrivateRedis::start().await;
    let env = Environment::with_stores(&create_database().await, &redis.url).await;
    let (running, service) = env.serve(&[]).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    (env, redis, running, service, code)
}

/// Asserts that during the fault activation gets 503 for right and wrong codes, and that Bob can register.
async fn assert_only_activation_fails(running: &Running, service: &Service, code: &str) {
    for guess in [&wrong_code(code), code] {
        assert_eq!(service.activate(ADA, PASSWORD, guess).await.outcome(), (503, "unavailable"), "{guess}");
    }
    service.register_pending(BOB).await;
    assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "pending");
    assert_eq!(Answer::of(service.request(Method::GET, "/readyz")).await.status, 200, "it keeps registering users");
    let retries = async || metric_value(running, "sixty_mail_attempts_total{outcome=\"retry\"}").await;
    eventually("attempt to send Bob's mail", async || (retries().await > 0).then_some(())).await;
    assert!(service.mails(BOB).await.is_empty(), "a code that is not in Redis must not be mailed");
    wait_for_log(running, "each process limits client networks by itself until Redis does").await;
    assert!(metric_value(running, "sixty_limits_skipped_total").await > 0);
}

/// Asserts the recovery: Bob's mail arrives without a request, and the client limits hold again.
async fn assert_bob_activates(running: &Running, service: &Service) {
    wait_for_recovery("mail that waited for Redis", async || service.mails(BOB).await.pop()).await;
    service.activate_with_mailed_code(BOB).await;
    wait_for_log(running, "a mail was not accepted; it will be tried again").await;
    wait_for_recovery("client limits in force", async || {
        // The first attempt of an unknown client calls Redis. Verified credentials do not.
        let answer = service.me("nobody@example.com", PASSWORD).await;
        ([401, 429].contains(&answer.status.as_u16()) && running.stderr().contains("Redis responds again"))
            .then_some(())
    })
    .await;
}

async fn assert_ada_activates_with(service: &Service, code: &str) {
    wait_for_recovery("activation with the earlier code", async || {
        let answer = service.activate(ADA, PASSWORD, code).await;
        assert!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Ada's code is lost with the data of Redis, so Ada requests another mail.
async fn redis_is_killed_and_restarts_empty() {
    let (_world, mut redis, running, service, code) = start_service_with_mailed_code().await;
    redis.kill();
    assert_only_activation_fails(&running, &service, &code).await;
    redis.restart().await;
    assert_bob_activates(&running, &service).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (410, "code-expired"));
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.resend(ADA, PASSWORD).await.status, 202);
    let code = service.wait_for_code(ADA, 2).await;
    assert_ada_activates_with(&service, &code).await;
}

async fn redis_is_paused() {
    let (_world, redis, running, service, code) = start_service_with_mailed_code().await;
    redis.signal(Signal::SIGSTOP);
    let pause_end = tokio::time::sleep(Duration::from_secs(10));
    assert_only_activation_fails(&running, &service, &code).await;
    pause_end.await;
    redis.signal(Signal::SIGCONT);
    assert_ada_activates_with(&service, &code).await;
    assert_bob_activates(&running, &service).await;
}

async fn redis_is_out_of_memory() {
    let (_world, redis, running, service, code) = start_service_with_mailed_code().await;
    let () = redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    assert_only_activation_fails(&running, &service, &code).await;
    let () = redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    assert_ada_activates_with(&service, &code).await;
    assert_bob_activates(&running, &service).await;
}

async fn redis_is_a_read_only_replica() {
    let (_world, redis, running, service, code) = start_service_with_mailed_code().await;
    // No server listens on port 1, so the replica keeps its data.
    let () = redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    assert_only_activation_fails(&running, &service, &code).await;
    let () = redis.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    assert_ada_activates_with(&service, &code).await;
    assert_bob_activates(&running, &service).await;
}
