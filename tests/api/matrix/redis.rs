//! Redis fails. Registering goes on; nobody is activated without it, no code is lost but with its store, and all is well
//! again without a restart of ours.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::world::{World, counted, recovers, told};
use crate::own::OwnRedis;
use crate::process::Running;
use crate::support::{PASSWORD, Service, create_database, eventually, wrong_code};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";

#[tokio::test]
async fn whatever_redis_does_registering_goes_on_and_no_code_is_lost() {
    tokio::join!(
        it_is_killed_and_comes_back_empty(),
        it_is_paused(),
        it_is_out_of_memory(),
        it_is_a_read_only_replica()
    );
}

/// A service in which Ada has a mail, and the code that is in it.
async fn mailed() -> (World, OwnRedis, Running, Service, String) {
    let redis = OwnRedis::start().await;
    let world = World::over(&create_database().await, &redis.url).await;
    let (running, service) = world.serve(&[]).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    (world, redis, running, service, code)
}

/// While the fault lasts: nobody learns whether a code is right, and Bob registers all the same.
async fn only_activating_fails(running: &Running, service: &Service, code: &str) {
    for guess in [&wrong_code(code), code] {
        assert_eq!(service.activate(ADA, PASSWORD, guess).await.outcome(), (503, "unavailable"), "{guess}");
    }
    service.register_pending(BOB).await;
    assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "pending");
    let retries = async || counted(running, "sixty_mail_attempts_total{outcome=\"retry\"}").await;
    eventually("an attempt", async || (retries().await > 0).then_some(())).await;
    assert!(service.mails(BOB).await.is_empty(), "a code that is not live is not mailed");
    told(running, "the limits of client networks do not apply until Redis responds").await;
    assert!(counted(running, "sixty_limits_skipped_total").await > 0);
}

/// It is over: Bob's mail comes by itself.
async fn bob_gets_in(running: &Running, service: &Service) {
    recovers("a mail that waited for Redis", async || service.mails(BOB).await.pop()).await;
    service.gets_in(BOB).await;
    told(running, "a mail was not accepted; it will be tried again").await;
    recovers("the limits of client networks", async || {
        let answer = service.me(ADA, PASSWORD).await;
        (answer.status == 200 && running.stderr().contains("Redis responds again")).then_some(())
    })
    .await;
}

async fn ada_gets_in_with(service: &Service, code: &str) {
    recovers("the code from before", async || {
        let answer = service.activate(ADA, PASSWORD, code).await;
        assert!([200, 503].contains(&answer.status.as_u16()), "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Her code went with its store. It costs her another mail.
async fn it_is_killed_and_comes_back_empty() {
    let (_world, mut redis, running, service, code) = mailed().await;
    redis.kill();
    only_activating_fails(&running, &service, &code).await;
    redis.start_again().await;
    bob_gets_in(&running, &service).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (410, "code-expired"));
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.resend(ADA, PASSWORD).await.status, 202);
    let code = service.wait_for_code(ADA, 2).await;
    ada_gets_in_with(&service, &code).await;
}

async fn it_is_paused() {
    let (_world, redis, running, service, code) = mailed().await;
    redis.signal(Signal::SIGSTOP);
    let over = tokio::time::sleep(Duration::from_secs(10));
    only_activating_fails(&running, &service, &code).await;
    over.await;
    redis.signal(Signal::SIGCONT);
    ada_gets_in_with(&service, &code).await;
    bob_gets_in(&running, &service).await;
}

async fn it_is_out_of_memory() {
    let (_world, redis, running, service, code) = mailed().await;
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    only_activating_fails(&running, &service, &code).await;
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    ada_gets_in_with(&service, &code).await;
    bob_gets_in(&running, &service).await;
}

async fn it_is_a_read_only_replica() {
    let (_world, redis, running, service, code) = mailed().await;
    // Of nobody: it keeps what it has.
    let () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    only_activating_fails(&running, &service, &code).await;
    let () = redis.ask(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    ada_gets_in_with(&service, &code).await;
    bob_gets_in(&running, &service).await;
}
