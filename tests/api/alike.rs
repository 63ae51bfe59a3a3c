//! Whoever does not hold an account's password cannot tell whether there is one: not by status, header or body, nor by
//! what happens later. (Time is for a benchmark.)

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, code_in, eventually, wrong_code};

const MINE: &str = "another password";
const NOBODYS: &str = "nobody's password";

/// All that a client sees, without what differs from one request to the next.
#[derive(Debug, PartialEq)]
struct Seen {
    step: &'static str,
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Seen {
    fn new(step: &'static str, answer: Answer, email: &str) -> Self {
        let differing = ["date", "x-request-id", "content-length", "retry-after"];
        let mut headers: Vec<(String, String)> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .map(|(name, value)| if differing.contains(&name.as_str()) { (name, String::new()) } else { (name, value) })
            .collect();
        headers.sort();
        let mut body = answer.body;
        if let Some(members) = body.as_object_mut() {
            for (name, value) in members.iter_mut() {
                let changes = ["id", "created_at"].contains(&name.as_str()) && value.is_string()
                    || name == "email" && value == email
                    // Counting down as the test goes.
                    || name == "retry_after" && value.is_u64();
                if changes {
                    *value = json!(format!("[{name}]"));
                } else if name == "detail" && answer.status == 429 {
                    *value = json!(value.as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "n"));
                }
            }
        }
        Self { step, status: answer.status.as_u16(), headers, body }
    }
}

/// What somebody does who is not the owner, and what they see of it.
async fn attempt(service: &Service, email: &str) -> Vec<Seen> {
    let mut seen = vec![];
    let mut see = |step, answer| seen.push(Seen::new(step, answer, email));
    for password in [NOBODYS, MINE] {
        see("look before", service.me(email, password).await);
        see("activate before", service.activate(email, password, "0000").await);
        see("resend before", service.resend(email, password).await);
        see("delete before", service.delete(email, password).await);
    }
    let mails = service.mails(email).await.len();
    let registered = service.register(email, MINE).await;
    let id = registered.body["id"].as_str().unwrap().to_owned();
    see("register", registered);
    let too_soon = service.register(email, MINE).await;
    assert!((30..=60).contains(&too_soon.body["retry_after"].as_u64().unwrap()), "{too_soon:?}");
    see("register inside the wait", too_soon);
    see("resend inside the wait", service.resend(email, MINE).await);
    for round in [1, 2] {
        let text = service.wait_for_mail(email, mails + round).await;
        service.wait_for_empty_outbox().await;
        // To whom no code was mailed, any guess is as good.
        let guess = code_in(&text).map_or_else(|| "0000".to_owned(), |code| wrong_code(&code));
        assert_eq!(kept(service, &id).await, json!({ "code": ["grant", "mac"], "tries": ["grant", "misses"] }));
        see("look", service.me(email, MINE).await);
        see("look, wrongly", service.me(email, NOBODYS).await);
        see("activate, wrongly", service.activate(email, NOBODYS, &guess).await);
        see("activate by no code", service.activate(email, MINE, "no code").await);
        for _ in 0..4 {
            see("guess", service.activate(email, MINE, &guess).await);
        }
        see("resend, wrongly", service.resend(email, NOBODYS).await);
        service.age_grants(Duration::from_secs(120)).await;
        if round == 1 {
            let again = service.resend(email, MINE).await;
            assert_eq!(again.body["retry_after"], 120);
            see("resend", again);
        }
    }
    see("delete, wrongly", service.delete(email, NOBODYS).await);
    see("delete", service.delete(email, MINE).await);
    see("look after", service.me(email, MINE).await);
    see("delete after", service.delete(email, MINE).await);
    seen
}

/// The fields that Redis keeps for a user.
async fn kept(service: &Service, id: &str) -> Value {
    let mut kept = json!({});
    for kind in ["code", "tries"] {
        let fields: HashMap<String, String> = service.redis(&["HGETALL", &service.redis_key(kind, id)]).await;
        let mut names: Vec<_> = fields.keys().collect();
        names.sort();
        kept[kind] = json!(names);
    }
    kept
}

/// Addresses of every kind, that of nobody first.
async fn of_every_kind(service: &Service) -> [&'static str; 4] {
    let [new, pending, active, disabled] = ["new@example.com", "two@example.com", "six@example.com", "ten@example.com"];
    service.register_pending(pending).await;
    service.register_active(active).await;
    let id = service.register_active(disabled).await;
    let disable = sqlx::query("UPDATE users SET status = 'disabled' WHERE id = $1::uuid").bind(id);
    disable.execute(&service.db).await.unwrap();
    service.wait_for_empty_outbox().await;
    // What was asked for on the last day shows, whoever asked.
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    [new, pending, active, disabled]
}

#[tokio::test]
async fn every_address_is_answered_like_one_that_nobody_has() {
    let service = Service::start().await;
    let [new, others @ ..] = of_every_kind(&service).await;
    let expected = attempt(&service, new).await;
    let statuses: Vec<u16> = expected.iter().map(|seen| seen.status).collect();
    for status in [201, 200, 202, 204, 401, 410, 422, 429] {
        assert!(statuses.contains(&status), "{status} is among what is compared: {statuses:?}");
    }
    for other in others {
        let seen = attempt(&service, other).await;
        for (seen, expected) in seen.iter().zip(&expected) {
            assert_eq!(seen, expected, "{other}");
        }
        assert_eq!(seen.len(), expected.len());
    }
    // And whoever did all this has changed nothing.
    assert_eq!(service.me("six@example.com", PASSWORD).await.body["status"], "active");
    assert_eq!(service.me("ten@example.com", PASSWORD).await.outcome(), (403, "account-disabled"));
}

#[tokio::test]
async fn a_decoy_is_put_taken_back_and_put_anew_when_a_code_is() {
    let service = Service::start().await;
    for email in of_every_kind(&service).await {
        service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
        let id = service.register(email, MINE).await.body["id"].as_str().unwrap().to_owned();
        let code = service.redis_key("code", &id);
        eventually("a mail that was refused", async || {
            let withdrawn = json!({ "code": [], "tries": ["grant", "misses", "withdrawn"] });
            (kept(&service, &id).await == withdrawn).then_some(())
        })
        .await;
        // Between attempts: one that is under way has made it live.
        eventually("no code", async || {
            let answer = service.activate(email, MINE, "0000").await;
            (answer.body["detail"].as_str()?.starts_with("No code is live")).then_some(())
        })
        .await;

        service.set_mail_faults(json!({ "latency_ms": 2_000 })).await;
        eventually("a mail under way", async || service.redis::<bool>(&["EXISTS", &code]).await.then_some(())).await;
        // Much less than is left of its minute, so that the new beginning shows.
        let () = service.redis(&["PEXPIRE", &code, "30000"]).await;
        service.wait_for_empty_outbox().await;
        let left: i64 = service.redis(&["PTTL", &code]).await;
        assert!(left > 30_000, "{email}: {left}");
        assert_eq!(kept(&service, &id).await, json!({ "code": ["grant", "mac"], "tries": ["grant", "misses"] }));
    }
}
