//! Faults of the mail provider. Registration is not affected; the mail arrives when the provider works again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::environment::{Environment, metric_value, wait_for_log, wait_for_recovery};
use super::scripted_provider::{Behavior, Provider};
use crate::process::Running;
use crate::support::{Service, eventually};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn every_user_activates_after_a_provider_fault() {
    tokio::join!(
        provider_refuses_connections(),
        provider_hangs(),
        provider_answers_500(),
        provider_answers_429_with_retry_after(),
        provider_answers_200_with_garbage(),
        provider_accepts_the_mail_and_closes_the_connection(),
        provider_takes_ten_seconds(),
        provider_fails_for_half_a_minute(),
    );
}

/// Registers a user while the provider behaves as given, and waits for the first attempt to send the mail.
async fn register_during_fault(fault: Behavior) -> (Environment, Running, Service) {
    let env = Environment::new().await;
    let (running, service) = env.serve(&[]).await;
    env.provider.set_behavior(fault);
    service.register_pending(ADA).await;
    env.provider.wait_for_attempts(1).await;
    (env, running, service)
}

/// Ends the fault. Asserts that the user gets exactly one mail and can activate with its code.
async fn end_fault_and_activate(env: &Environment, service: &Service) {
    env.provider.set_behavior(Behavior::Accept);
    wait_for_recovery("mail after the end of the provider's fault", async || service.mails(ADA).await.pop()).await;
    service.activate_with_mailed_code(ADA).await;
    assert_eq!(service.mailed_codes(ADA).await.len(), 1);
}

async fn provider_refuses_connections() {
    let (provider, port) = Provider::reserve();
    let mut env = Environment::new().await;
    env.provider = provider;
    let (running, service) = env.serve(&[]).await;
    service.register_pending(ADA).await;
    let retries = async || metric_value(&running, "sixty_mail_attempts_total{outcome=\"retry\"}").await;
    eventually("three attempts", async || (retries().await >= 3).then_some(())).await;
    wait_for_log(&running, "refused the connection").await;
    env.provider.listen(port);
    end_fault_and_activate(&env, &service).await;
}

async fn provider_hangs() {
    let (env, running, service) = register_during_fault(Behavior::Hang).await;
    // The second attempt begins after the timeout of the first.
    env.provider.wait_for_attempts(2).await;
    wait_for_log(&running, "did not answer in time").await;
    end_fault_and_activate(&env, &service).await;
}

async fn provider_answers_500() {
    let (env, running, service) = register_during_fault(Behavior::Refuse(500, None)).await;
    env.provider.wait_for_attempts(3).await;
    wait_for_log(&running, "answered 500").await;
    end_fault_and_activate(&env, &service).await;
}

async fn provider_answers_429_with_retry_after() {
    let (env, running, service) = register_during_fault(Behavior::Refuse(429, Some(4))).await;
    env.provider.set_behavior(Behavior::Accept);
    env.provider.wait_for_attempts(2).await;
    let attempts = env.provider.attempts();
    service.activate_with_mailed_code(ADA).await;
    wait_for_log(&running, "answered 429").await;
    assert!(attempts[1] - attempts[0] >= Duration::from_secs(4), "{:?}", attempts[1] - attempts[0]);
}

async fn provider_answers_200_with_garbage() {
    let (env, running, service) = register_during_fault(Behavior::AnswerGarbage).await;
    env.provider.wait_for_attempts(3).await;
    wait_for_log(&running, "answered 2xx without accepting the mail").await;
    end_fault_and_activate(&env, &service).await;
}

/// The user has the mail, although the service cannot know that. The code must work, and every copy must have that
/// code.
async fn provider_accepts_the_mail_and_closes_the_connection() {
    let (env, running, service) = register_during_fault(Behavior::AcceptAndCut).await;
    env.provider.wait_for_attempts(3).await;
    wait_for_log(&running, "closed the connection before its answer was complete").await;
    service.activate_with_mailed_code(ADA).await;
    let copies = service.mailed_codes(ADA).await.len();
    assert!(copies >= 3);
    // The service sends no further copies to an active user.
    env.provider.set_behavior(Behavior::Accept);
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mailed_codes(ADA).await.len(), copies);
}

/// A slow provider must not run into the timeout, and must not get the mail twice.
async fn provider_takes_ten_seconds() {
    let ten = Duration::from_secs(10);
    let (env, running, service) = register_during_fault(Behavior::AcceptAfter(ten)).await;
    let started = Instant::now();
    service.activate_with_mailed_code(ADA).await;
    assert!(started.elapsed() > ten / 2);
    service.wait_for_empty_outbox().await;
    // One mail with the code, and one about the activation.
    assert_eq!((env.provider.attempts().len(), service.mailed_codes(ADA).await.len()), (2, 1));
    assert_eq!(metric_value(&running, "sixty_mail_attempts_total{outcome=\"sent\"}").await, 2);
}

async fn provider_fails_for_half_a_minute() {
    let (env, running, service) = register_during_fault(Behavior::Refuse(503, None)).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    wait_for_log(&running, "answered 503").await;
    end_fault_and_activate(&env, &service).await;
}

#[tokio::test]
async fn no_mail_is_lost_while_the_provider_refuses_the_account() {
    let refused_with = async |status: u16| {
        let (env, running, service) = register_during_fault(Behavior::Refuse(status, None)).await;
        let others: Vec<String> = (0..5).map(|n| format!("user{n}@example.com")).collect();
        for user in &others {
            service.register_pending(user).await;
        }
        env.provider.wait_for_attempts(3).await;
        wait_for_log(&running, "the mail provider refuses the account").await;
        let log = running.stderr();
        assert!(log.contains(&format!("answered {status}")) && log.contains("check MAIL_URL"), "{log}");
        for gauge in ["sixty_mail_account_refused{provider=\"first\"} 1\n", "sixty_mail_probing 1\n"] {
            assert!(running.metrics().await.contains(gauge), "{gauge}");
        }
        end_fault_and_activate(&env, &service).await;
        service.wait_for_empty_outbox().await;
        for user in &others {
            assert_eq!(service.mails(user).await.len(), 1, "{status}: {user}");
        }
        assert_eq!(metric_value(&running, "sixty_mail_attempts_total{outcome=\"given_up\"}").await, 0);
        assert!(running.metrics().await.contains("sixty_mail_account_refused{provider=\"first\"} 0\n"));
        let log = running.stderr();
        let accepted = log.lines().find(|line| line.contains("a mail was accepted by the provider")).unwrap();
        let accepted: Value = serde_json::from_str(accepted).unwrap();
        let [id, key] = ["message_id", "idempotency_key"].map(|field| accepted[field].as_str().unwrap());
        assert!(!id.is_empty() && id != "unknown" && key.parse::<uuid::Uuid>().is_ok(), "{accepted}");
    };
    tokio::join!(refused_with(401), refused_with(403), refused_with(404));
}

#[tokio::test]
async fn a_failing_provider_gets_one_mail_at_a_time_until_it_accepts_one() {
    let env = Environment::new().await;
    let (running, service) = env.serve(&[]).await;
    assert!(running.metrics().await.contains("sixty_mail_probing 0"));
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    let users: Vec<String> = (0..12).map(|n| format!("user{n}@example.com")).collect();
    for user in &users {
        service.register_pending(user).await;
    }
    eventually("half-open circuit breaker", async || {
        running.metrics().await.contains("sixty_mail_probing 1").then_some(())
    })
    .await;

    service.set_mail_faults(json!({ "fail_rate": 1, "latency_ms": 100 })).await;
    let leases_and_attempts = async || -> (i64, i64) {
        let query = "SELECT count(lease), sum(attempts) FROM outbox";
        sqlx::query_as(query).fetch_one(&service.db).await.unwrap()
    };
    let (_, before) = eventually("end of the attempts in progress", async || {
        let counts = leases_and_attempts().await;
        (counts.0 <= 1).then_some(counts)
    })
    .await;
    let mut most_leases = 0;
    eventually("three probes", async || {
        let (leases, attempts) = leases_and_attempts().await;
        most_leases = most_leases.max(leases);
        (attempts >= before + 3).then_some(())
    })
    .await;
    assert_eq!(most_leases, 1);

    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    for user in &users {
        assert_eq!(service.mails(user).await.len(), 1, "{user}");
    }
    assert!(running.metrics().await.contains("sixty_mail_probing 0"));
    let log = running.stderr();
    for line in ["trying one mail at a time", "accepts mails again"] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
}

/// A provider may refuse a spelling of an address for good. The mail to an account goes to the account's own spelling.
#[tokio::test]
async fn a_refused_spelling_does_not_reveal_an_account() {
    const SPELLING: &str = "ADA@example.com";
    let mut observations = vec![];
    for has_account in [true, false] {
        let env = Environment::new().await;
        let (running, service) = env.serve(&[]).await;
        if has_account {
            service.register_active(ADA).await;
            service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
        }
        env.provider.set_behavior(Behavior::RefuseRecipient(SPELLING));
        let mails = service.mails(ADA).await.len();
        let answer = service.register(SPELLING, "another password").await;
        assert_eq!(answer.status, 201);
        let id = answer.body["id"].as_str().unwrap();
        service.wait_for_empty_outbox().await;
        assert_eq!(service.mails(ADA).await.len(), mails + usize::from(has_account));
        if !has_account {
            wait_for_log(&running, "a mail was given up").await;
        }
        let left: i64 = service.redis(&["PTTL", &service.redis_key("code", id)]).await;
        assert!(left > 30_000, "{left}");
        let mut answers = vec![];
        for _ in 0..4 {
            let answer = service.activate(SPELLING, "another password", "0000").await;
            answers.push((answer.status.as_u16(), answer.body["detail"].clone()));
        }
        observations.push(answers);
    }
    let statuses: Vec<u16> = observations[0].iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [422, 422, 422, 410]);
    assert_eq!(observations[0], observations[1]);
}
