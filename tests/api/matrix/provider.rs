//! The provider fails in every way there is, and each registration is answered as if it did not.

use std::time::{Duration, Instant};

use serde_json::json;

use super::scripted::{Does, Provider};
use super::world::{World, counted, recovers, told};
use crate::process::Running;
use crate::support::{Service, eventually};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn whatever_the_provider_does_the_person_gets_in() {
    tokio::join!(
        it_refuses_connections(),
        it_hangs(),
        it_answers_500(),
        it_answers_429_and_says_when(),
        it_answers_200_with_garbage(),
        it_cuts_the_connection_after_taking_the_mail(),
        it_takes_ten_seconds(),
        it_comes_back_after_half_a_minute(),
    );
}

/// A registration while the provider does this.
async fn registered_while(does: Does) -> (World, Running, Service) {
    let world = World::new().await;
    let (running, service) = world.serve(&[]).await;
    world.provider.does(does);
    service.register_pending(ADA).await;
    world.provider.attempted(1).await;
    (world, running, service)
}

/// The provider works again. The person gets one mail and gets in with it.
async fn works_again(world: &World, service: &Service) {
    world.provider.does(Does::Work);
    recovers("a mail of a provider that works again", async || service.mails(ADA).await.pop()).await;
    service.gets_in(ADA).await;
    assert_eq!(service.mailed_codes(ADA).await.len(), 1);
}

async fn it_refuses_connections() {
    let (provider, port) = Provider::reserve();
    let mut world = World::new().await;
    world.provider = provider;
    let (running, service) = world.serve(&[]).await;
    service.register_pending(ADA).await;
    let retries = async || counted(&running, "sixty_mail_attempts_total{outcome=\"retry\"}").await;
    eventually("attempts", async || (retries().await >= 3).then_some(())).await;
    told(&running, "refused the connection").await;
    world.provider.listen(port);
    works_again(&world, &service).await;
}

async fn it_hangs() {
    let (world, running, service) = registered_while(Does::Hang).await;
    // As long as an attempt takes that nobody answers.
    world.provider.attempted(2).await;
    told(&running, "did not answer in time").await;
    works_again(&world, &service).await;
}

async fn it_answers_500() {
    let (world, running, service) = registered_while(Does::Refuse(500, None)).await;
    world.provider.attempted(3).await;
    told(&running, "answered 500").await;
    works_again(&world, &service).await;
}

async fn it_answers_429_and_says_when() {
    let (world, running, service) = registered_while(Does::Refuse(429, Some(4))).await;
    world.provider.does(Does::Work);
    world.provider.attempted(2).await;
    let attempts = world.provider.attempts();
    service.gets_in(ADA).await;
    told(&running, "answered 429").await;
    assert!(attempts[1] - attempts[0] >= Duration::from_secs(4), "{:?}", attempts[1] - attempts[0]);
}

async fn it_answers_200_with_garbage() {
    let (world, running, service) = registered_while(Does::Babble).await;
    world.provider.attempted(3).await;
    told(&running, "answered 2xx without accepting the mail").await;
    works_again(&world, &service).await;
}

/// The mail is there, whatever the service believes: its code must work, and that of every copy.
async fn it_cuts_the_connection_after_taking_the_mail() {
    let (world, running, service) = registered_while(Does::TakeAndCut).await;
    world.provider.attempted(3).await;
    told(&running, "closed the connection before its answer was complete").await;
    service.gets_in(ADA).await;
    let copies = service.mailed_codes(ADA).await.len();
    assert!(copies >= 3);
    // Who is in needs no further one.
    world.provider.does(Does::Work);
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mailed_codes(ADA).await.len(), copies);
}

/// Neither given up as one that hangs, nor asked twice.
async fn it_takes_ten_seconds() {
    let ten = Duration::from_secs(10);
    let (world, running, service) = registered_while(Does::WorkSlowly(ten)).await;
    let begun = Instant::now();
    service.gets_in(ADA).await;
    assert!(begun.elapsed() > ten / 2);
    service.wait_for_empty_outbox().await;
    // The code, and what tells of the activation.
    assert_eq!((world.provider.attempts().len(), service.mailed_codes(ADA).await.len()), (2, 1));
    assert_eq!(counted(&running, "sixty_mail_attempts_total{outcome=\"sent\"}").await, 2);
}

async fn it_comes_back_after_half_a_minute() {
    let (world, running, service) = registered_while(Does::Refuse(503, None)).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    told(&running, "answered 503").await;
    works_again(&world, &service).await;
}

#[tokio::test]
async fn a_provider_that_fails_gets_one_mail_at_a_time_until_it_accepts_one() {
    let world = World::new().await;
    let (running, service) = world.serve(&[]).await;
    assert!(running.metrics().await.contains("sixty_mail_probing 0"));
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    let people: Vec<String> = (0..12).map(|n| format!("person{n}@example.com")).collect();
    for person in &people {
        service.register_pending(person).await;
    }
    eventually("probing", async || running.metrics().await.contains("sixty_mail_probing 1").then_some(())).await;

    service.set_mail_faults(json!({ "fail_rate": 1, "latency_ms": 100 })).await;
    let look = async || -> (i64, i64) {
        let look = "SELECT count(lease), sum(attempts) FROM outbox";
        sqlx::query_as(look).fetch_one(&service.db).await.unwrap()
    };
    let (_, before) = eventually("the end of what was under way", async || {
        let seen = look().await;
        (seen.0 <= 1).then_some(seen)
    })
    .await;
    let mut most = 0;
    eventually("three probes", async || {
        let (under_way, attempts) = look().await;
        most = most.max(under_way);
        (attempts >= before + 3).then_some(())
    })
    .await;
    assert_eq!(most, 1);

    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    for person in &people {
        assert_eq!(service.mails(person).await.len(), 1, "{person}");
    }
    assert!(running.metrics().await.contains("sixty_mail_probing 0"));
    let log = running.stderr();
    for line in ["trying one mail at a time", "accepts mails again"] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
}
