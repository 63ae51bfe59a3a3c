//! Account enumeration: a client without the account's password cannot find out whether the account exists.
//!
//! The tests compare statuses, header fields, bodies and later behaviour. `benches/benchmarks` compares response times.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, code_in, eventually, wrong_code};

const ATTACKER_PASSWORD: &str = "another password";
const UNUSED_PASSWORD: &str = "nobody's password";

/// An answer to one step of the attack, without the values that differ from one request to the next.
#[derive(Debug, PartialEq)]
struct Observation {
    step: &'static str,
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Observation {
    fn new(step: &'static str, answer: Answer, email: &str) -> Self {
        let varying_fields = ["date", "x-request-id", "content-length", "retry-after"];
        let mut headers: Vec<(String, String)> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .map(
                |(name, value)| {
                    if varying_fields.contains(&name.as_str()) { (name, String::new()) } else { (name, value) }
                },
            )
            .collect();
        headers.sort();
        let mut body = answer.body;
        if let Some(members) = body.as_object_mut() {
            for (name, value) in members.iter_mut() {
                let varies = ["id", "created_at"].contains(&name.as_str()) && value.is_string()
                    || name == "email" && value == email
// The wait gets shorter while the test runs.
                    || name == "retry_after" && value.is_u64();
                if varies {
                    *value = json!(format!("[{name}]"));
                } else if name == "detail" && answer.status == 429 {
                    *value = json!(value.as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "n"));
                }
            }
        }
        Self { step, status: answer.status.as_u16(), headers, body }
    }
}

/// Sends every request that an attacker without the account's password can send. Returns the answers.
async fn attack(service: &Service, email: &str) -> Vec<Observation> {
    let mut observations = vec![];
    let mut observe = |step, answer| observations.push(Observation::new(step, answer, email));
    for password in [UNUSED_PASSWORD, ATTACKER_PASSWORD] {
        observe("read before", service.me(email, password).await);
        observe("activate before", service.activate(email, password, "0000").await);
        observe("resend before", service.resend(email, password).await);
        observe("delete before", service.delete(email, password).await);
    }
    let mails = service.mails(email).await.len();
    let registered = service.register(email, ATTACKER_PASSWORD).await;
    let id = registered.body["id"].as_str().unwrap().to_owned();
    observe("register", registered);
    let too_soon = service.register(email, ATTACKER_PASSWORD).await;
    assert!((30..=60).contains(&too_soon.body["retry_after"].as_u64().unwrap()), "{too_soon:?}");
    observe("register inside the wait", too_soon);
    observe("resend inside the wait", service.resend(email, ATTACKER_PASSWORD).await);
    for round in [1, 2] {
        let text = service.wait_for_mail(email, mails + round).await;
        service.wait_for_empty_outbox().await;
        // An address with an account received no code, so every guess is wrong.
        let guess = code_in(&text).map_or_else(|| "0000".to_owned(), |code| wrong_code(&code));
        assert_eq!(
            redis_fields(service, &id).await,
            json!({ "code": ["grant", "mac"], "tries": ["attempt", "ends", "grant", "misses"] })
        );
        observe("read", service.me(email, ATTACKER_PASSWORD).await);
        observe("read with an unused password", service.me(email, UNUSED_PASSWORD).await);
        observe("activate with an unused password", service.activate(email, UNUSED_PASSWORD, &guess).await);
        observe("activate with a malformed code", service.activate(email, ATTACKER_PASSWORD, "no code").await);
        for _ in 0..4 {
            observe("guess", service.activate(email, ATTACKER_PASSWORD, &guess).await);
        }
        observe("resend with an unused password", service.resend(email, UNUSED_PASSWORD).await);
        service.age_grants(Duration::from_secs(120)).await;
        if round == 1 {
            let again = service.resend(email, ATTACKER_PASSWORD).await;
            assert_eq!(again.body["retry_after"], 120);
            observe("resend", again);
        }
    }
    observe("delete with an unused password", service.delete(email, UNUSED_PASSWORD).await);
    observe("delete", service.delete(email, ATTACKER_PASSWORD).await);
    observe("read after", service.me(email, ATTACKER_PASSWORD).await);
    observe("delete after", service.delete(email, ATTACKER_PASSWORD).await);
    observations
}

/// Returns the names of the fields in a user's two Redis entries, `code` and `tries`.
async fn redis_fields(service: &Service, id: &str) -> Value {
    let mut names_by_entry = json!({});
    for entry in ["code", "tries"] {
        let fields: HashMap<String, String> = service.redis(&["HGETALL", &service.redis_key(entry, id)]).await;
        let mut names: Vec<_> = fields.keys().collect();
        names.sort();
        names_by_entry[entry] = json!(names);
    }
    names_by_entry
}

/// Creates a user for each status. Returns five addresses: unregistered, pending, active, disabled, and active with a hash that
/// another system has made.
async fn addresses_of_every_status(service: &Service) -> [&'static str; 5] {
    let [new, pending, active, disabled, imported] =
        ["new", "two", "six", "ten", "old"].map(|name| &*format!("{name}@example.com").leak());
    service.register_pending(pending).await;
    service.register_active(active).await;
    let id = service.register_active(disabled).await;
    let disable = sqlx::query("UPDATE users SET status = 'disabled' WHERE id = $1::uuid").bind(id);
    disable.execute(&service.db).await.unwrap();
    service.register_active(imported).await;
    let import = sqlx::query(
        "UPDATE users SET foreign_hash = $2, password_hash = left(password_hash, -4) || 'AAAA' WHERE address = $1",
    );
    let bcrypt = "$2y$04$WAiwtzyjkGlk7nkq0vNPZ.fzcjn/flm1t6IgAEBenNPSkEcSJnF3G";
    import.bind(imported).bind(bcrypt).execute(&service.db).await.unwrap();
    service.wait_for_empty_outbox().await;
    // Any client can see the code mails of an address's last 24 hours, because they count towards its limit.
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    [new, pending, active, disabled, imported]
}

#[tokio::test]
async fn every_address_gets_the_answers_of_an_unregistered_address() {
    let service = Service::start().await;
    let [new, others @ ..] = addresses_of_every_status(&service).await;
    let expected = attack(&service, new).await;
    let statuses: Vec<u16> = expected.iter().map(|observation| observation.status).collect();
    for status in [201, 200, 202, 204, 401, 410, 422, 429] {
        assert!(statuses.contains(&status), "no step of the attack was answered with {status}: {statuses:?}");
    }
    for other in others {
        let observations = attack(&service, other).await;
        for (observation, expected) in observations.iter().zip(&expected) {
            assert_eq!(observation, expected, "{other}");
        }
        assert_eq!(observations.len(), expected.len());
    }
    // The attack changed neither account.
    assert_eq!(service.me("six@example.com", PASSWORD).await.body["status"], "active");
    assert_eq!(service.me("ten@example.com", PASSWORD).await.outcome(), (403, "account-disabled"));
}

#[tokio::test]
async fn a_decoy_is_written_withdrawn_and_renewed_at_the_same_times_as_a_code() {
    let service = Service::start().await;
    for email in addresses_of_every_status(&service).await {
        service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
        let id = service.register(email, ATTACKER_PASSWORD).await.body["id"].as_str().unwrap().to_owned();
        let code = service.redis_key("code", &id);
        eventually("the provider to refuse a mail", async || {
            let withdrawn = json!({ "code": [], "tries": ["attempt", "ends", "grant", "misses", "withdrawn"] });
            (redis_fields(&service, &id).await == withdrawn).then_some(())
        })
        .await;
        // The code is live during an attempt to send its mail, so poll until no attempt is in progress.
        eventually("a guess between two attempts", async || {
            let answer = service.activate(email, ATTACKER_PASSWORD, "0000").await;
            (answer.body["detail"].as_str()?.starts_with("No code is live")).then_some(())
        })
        .await;

        service.set_mail_faults(json!({ "latency_ms": 2_000 })).await;
        eventually("an attempt to send the mail", async || {
            service.redis::<bool>(&["EXISTS", &code]).await.then_some(())
        })
        .await;
        // Shorten the time to live, so that a renewal is visible.
        let () = service.redis(&["PEXPIRE", &code, "30000"]).await;
        service.wait_for_empty_outbox().await;
        let left: i64 = service.redis(&["PTTL", &code]).await;
        assert!(left > 30_000, "{email}: {left}");
        assert_eq!(
            redis_fields(&service, &id).await,
            json!({ "code": ["grant", "mac"], "tries": ["attempt", "ends", "grant", "misses"] })
        );
    }
}
