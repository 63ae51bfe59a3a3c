//! `/v1/password-resets`: a new password with a mailed code, and that nobody learns which addresses have an account.

use std::time::Duration;

use base64::Engine as _;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sixty::domain::code::CodeSecret;
use sixty::domain::email::Email;

use crate::support::{Answer, CODE_SECRET, PASSWORD, Service, concurrently, eventually, wrong_code};

const ADA: &str = "ada@example.com";
const NEW: &str = "staple battery horse";

impl Service {
    fn reset_request(&self, email: &str) -> RequestBuilder {
        self.request(Method::POST, "/v1/password-resets").json(&json!({ "email": email }))
    }

    fn new_password_request(&self, email: &str, code: &str, password: &str) -> RequestBuilder {
        let body = json!({ "email": email, "code": code, "password": password });
        self.request(Method::PUT, "/v1/password-resets").json(&body)
    }

    pub async fn request_reset(&self, email: &str) -> Answer {
        Answer::of(self.reset_request(email)).await
    }

    pub async fn reset_password(&self, email: &str, code: &str, password: &str) -> Answer {
        Answer::of(self.new_password_request(email, code, password)).await
    }

    /// Asks for a reset of an account with `n` earlier mails. Returns the mailed code.
    async fn reset_code(&self, email: &str, n: usize) -> String {
        assert_eq!(self.request_reset(email).await.status, 202);
        self.wait_for_code(email, n + 1).await
    }

    /// Returns the names of the Redis keys of an address's reset: `[code, wrong guesses]`.
    fn reset_keys(&self, email: &str) -> [String; 2] {
        let secret = base64::engine::general_purpose::STANDARD.decode(CODE_SECRET).unwrap();
        let id = CodeSecret::new(secret).unwrap().reset_id(Email::parse(email).unwrap().address()).to_string();
        ["reset", "reset-tries"].map(|entry| self.redis_key(entry, &id))
    }
}

#[tokio::test]
async fn a_mailed_code_sets_a_new_password_once() {
    let service = Service::start_with(&["--code-storage=plain"]).await;
    let id = service.register_active(ADA).await;
    let requested = service.request_reset(" ADA@Example.com").await;
    assert_eq!((requested.status.as_u16(), &requested.body), (202, &json!({ "retry_after": 600 })));
    let text = service.wait_for_mail(ADA, 3).await;
    let code = service.wait_for_code(ADA, 3).await;
    assert_eq!(code.len(), 8, "{text}");
    assert!(text.contains("Enter it within 10 minutes"), "{text}");

    let [key, tries] = service.reset_keys(ADA);
    assert_eq!(service.redis::<String>(&["HGET", &key, "code"]).await, code);
    let left: i64 = service.redis(&["TTL", &key]).await;
    assert!((590..=600).contains(&left), "{left}");
    assert!(service.redis::<i64>(&["TTL", &tries]).await > 3000);

    let reset = service.reset_password(ADA, &code, NEW).await;
    assert_eq!((reset.status.as_u16(), &reset.body), (204, &Value::Null));
    assert_eq!(service.me(ADA, PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me(ADA, NEW).await.body["id"], id.as_str());
    assert_eq!(service.reset_password(ADA, &code, PASSWORD).await.outcome(), (410, "code-expired"));
    assert_eq!(service.me(ADA, NEW).await.status, 200);
    let notice = service.wait_for_mail(ADA, 4).await;
    assert!(notice.starts_with("Your Sixty password was reset\n") && !notice.contains(NEW), "{notice}");
    let wait = service.request_reset(ADA).await;
    assert_eq!(wait.outcome(), (429, "too-many-codes"));
    assert!(wait.body["retry_after"].as_u64().unwrap() <= 600);
    service.age_grants(Duration::from_secs(600)).await;
    assert_eq!(service.request_reset(ADA).await.body["retry_after"], 1200);
}

#[tokio::test]
async fn the_code_expires_and_is_destroyed_by_three_wrong_guesses() {
    let service = Service::start_with(&["--reset-code-ttl=1s"]).await;
    service.register_active(ADA).await;
    let code = service.reset_code(ADA, 2).await;
    eventually("the code to expire", async || {
        let key = &service.reset_keys(ADA)[0];
        (!service.redis::<bool>(&["EXISTS", key]).await).then_some(())
    })
    .await;
    assert_eq!(service.reset_password(ADA, &code, NEW).await.outcome(), (410, "code-expired"));

    let service = Service::start_with(&["--reset-code-digits=10"]).await;
    service.register_active(ADA).await;
    let code = service.reset_code(ADA, 2).await;
    assert_eq!(code.len(), 10);
    // Neither a password that the policy refuses nor a code of another length is a guess.
    for (code, password, pointer) in [(&*code, "short", "/password"), ("1234", NEW, "/code")] {
        for _ in 0..3 {
            let refused = service.reset_password(ADA, code, password).await;
            assert_eq!((refused.outcome(), refused.pointers()), ((422, "invalid-field"), vec![pointer]));
        }
    }
    for remaining in [2, 1, 0] {
        let wrong = service.reset_password(ADA, &wrong_code(&code), NEW).await;
        assert_eq!(wrong.outcome(), (422, "incorrect-code"));
        assert_eq!((wrong.pointers(), &wrong.body["attempts_remaining"]), (vec!["/code"], &json!(remaining)));
    }
    assert_eq!(service.reset_password(ADA, &code, NEW).await.outcome(), (410, "code-expired"));
    assert_eq!(service.me(ADA, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_code_dies_with_a_change_of_the_password_or_the_account() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let code = service.reset_code(ADA, 2).await;
    let change = service.request(Method::PUT, "/v1/users/me/password").basic_auth(ADA, Some(PASSWORD));
    assert_eq!(Answer::of(change.json(&json!({ "password": "chosen in between" }))).await.status, 204);
    assert_eq!(service.reset_password(ADA, &code, NEW).await.outcome(), (410, "code-expired"));
    assert_eq!(service.me(ADA, "chosen in between").await.status, 200);

    // Deleted, and registered again: another account.
    let bob = "bob@example.com";
    service.register_active(bob).await;
    let code = service.reset_code(bob, 2).await;
    assert_eq!(service.delete(bob, PASSWORD).await.status, 204);
    service.age_grants(Duration::from_secs(60)).await;
    service.register_pending(bob).await;
    let activation = service.wait_for_code(bob, 4).await;
    assert_eq!(service.activate(bob, PASSWORD, &activation).await.status, 200);
    assert_eq!(service.reset_password(bob, &code, NEW).await.outcome(), (410, "code-expired"));
    assert_eq!(service.me(bob, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn of_many_simultaneous_resets_exactly_one_succeeds() {
    let service = Service::start().await;
    let id = service.register_active(ADA).await;
    let code = service.reset_code(ADA, 2).await;
    let reset = |n| Answer::of(service.new_password_request(ADA, &code, &format!("new password {n}")));
    let answers = concurrently(50, reset).await;
    let winners: Vec<usize> = (0..50).filter(|n| answers[*n].status == 204).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 204) {
        assert_eq!(answer.outcome(), (410, "code-expired"));
    }
    assert_eq!(service.me(ADA, &format!("new password {}", winners[0])).await.body["id"], id.as_str());
}

#[tokio::test]
async fn of_many_simultaneous_requests_for_a_reset_exactly_one_is_granted() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    for email in [ADA, "nobody@example.com"] {
        let answers = concurrently(50, |_| Answer::of(service.reset_request(email))).await;
        let granted = answers.iter().filter(|answer| answer.status == 202).count();
        assert_eq!(granted, 1, "{answers:?}");
        assert!(answers.iter().all(|answer| [202, 429].contains(&answer.status.as_u16())));
    }
    service.wait_for_code(ADA, 3).await;
    service.wait_for_empty_outbox().await;
    assert_eq!((service.mails(ADA).await.len(), service.mails("nobody@example.com").await.len()), (3, 0));
}

#[tokio::test]
async fn resets_and_activations_do_not_touch_each_other() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    service.age_grants(Duration::from_secs(60)).await;
    let pending = service.register(ADA, "battery horse staple").await;
    assert_eq!(pending.status, 201);
    service.wait_for_mail(ADA, 3).await;
    let code = service.reset_code(ADA, 3).await;
    // The wrong guesses at the registration's decoy, and the wait of registrations, concern no reset.
    for _ in 0..3 {
        service.activate(ADA, "battery horse staple", "0000").await;
    }
    assert_eq!(service.activate(ADA, "battery horse staple", "0000").await.outcome(), (410, "code-expired"));
    assert_eq!(service.reset_password(ADA, &code, NEW).await.status, 204);
    assert_eq!(service.me(ADA, "battery horse staple").await.body["id"], pending.body["id"]);
    assert_eq!(service.me(ADA, NEW).await.body["status"], "active");

    let bob = "bob@example.com";
    service.register_pending(bob).await;
    let activation = service.wait_for_code(bob, 1).await;
    assert_eq!(service.request_reset(bob).await.status, 202);
    service.wait_for_empty_outbox().await;
    for _ in 0..3 {
        assert_eq!(service.reset_password(bob, "00000000", NEW).await.outcome(), (422, "incorrect-code"));
    }
    assert_eq!(service.activate(bob, PASSWORD, &activation).await.status, 200);
}

/// A step of an attack with everything that the attacker sees, but the values that differ from one request to the next.
type Observation = (&'static str, u16, Vec<(String, String)>, Value);

fn observation(step: &'static str, answer: Answer) -> Observation {
    let mut body = answer.body;
    if let Some(wait) = body.get_mut("retry_after") {
        *wait = json!("[wait]");
    }
    if answer.status == 429 {
        body["detail"] = json!(body["detail"].as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "n"));
    }
    let varying = ["date", "x-request-id", "content-length", "retry-after"];
    let value = |name: &str, value: &str| if varying.contains(&name) { String::new() } else { value.to_owned() };
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, text)| (name.to_string(), value(name.as_str(), text.to_str().unwrap())))
        .collect();
    headers.sort();
    (step, answer.status.as_u16(), headers, body)
}

/// Does what an attacker without the mailbox can do. Returns the answers, and the fields in Redis.
async fn attack(service: &Service, email: &str) -> (Vec<Observation>, Vec<Vec<String>>) {
    let mut seen = vec![];
    seen.push(observation("guess before", service.reset_password(email, "00000000", NEW).await));
    seen.push(observation("request", service.request_reset(email).await));
    seen.push(observation("request again", service.request_reset(email).await));
    let [code, tries] = service.reset_keys(email);
    eventually("the code or a decoy", async || service.redis::<bool>(&["EXISTS", &code]).await.then_some(())).await;
    let mut fields = vec![];
    for key in [&code, &tries] {
        let mut names: Vec<String> = service.redis(&["HKEYS", key]).await;
        names.sort();
        fields.push(names);
    }
    assert!((590_000..=600_000).contains(&service.redis::<i64>(&["PTTL", &code]).await));
    for step in ["first guess", "second guess", "third guess", "fourth guess"] {
        seen.push(observation(step, service.reset_password(email, "00000000", NEW).await));
    }
    seen.push(observation("malformed", service.reset_password(email, "no code", "short").await));
    (seen, fields)
}

#[tokio::test]
async fn every_address_gets_the_answers_of_an_unknown_address() {
    let service = Service::start().await;
    let [unknown, pending, active, disabled] =
        ["new@example.com", "two@example.com", "six@example.com", "ten@example.com"];
    let register = async || {
        service.register_pending(pending).await;
        service.register_active(active).await;
        let id = service.register_active(disabled).await;
        let disable = sqlx::query("UPDATE users SET status = 'disabled' WHERE id = $1::uuid").bind(id);
        disable.execute(&service.db).await.unwrap();
        service.wait_for_empty_outbox().await;
    };
    register().await;
    // Whether the provider works, is down or hangs: it is asked for the active account only.
    for faults in [json!({}), json!({ "fail_rate": 1, "status": 503 }), json!({ "latency_ms": 60_000 })] {
        service.set_mail_faults(faults.clone()).await;
        let expected = attack(&service, unknown).await;
        let statuses: Vec<u16> = expected.0.iter().map(|seen| seen.1).collect();
        assert_eq!(statuses, [410, 202, 429, 422, 422, 422, 410, 422]);
        for email in [pending, active, disabled] {
            assert_eq!(attack(&service, email).await, expected, "{email} {faults}");
        }
        service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
        for email in [unknown, pending, active, disabled] {
            let () = service.redis(&["DEL", &service.reset_keys(email)[0], &service.reset_keys(email)[1]]).await;
        }
    }
    assert_eq!(service.me(active, PASSWORD).await.status, 200);
    assert_eq!((service.mails(unknown).await.len(), service.mails(pending).await.len()), (0, 1));
}

/// A code that nobody got because the provider was down is mailed when the provider is back, within the lifetime.
#[tokio::test]
async fn the_mail_of_an_outage_arrives_with_a_code_that_works() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
    assert_eq!(service.request_reset(ADA).await.status, 202);
    eventually("two attempts", async || {
        let attempts: i32 = sqlx::query_scalar("SELECT attempts FROM outbox").fetch_one(&service.db).await.unwrap();
        (attempts >= 2).then_some(())
    })
    .await;
    service.set_mail_faults(json!({})).await;
    let code = service.wait_for_code(ADA, 3).await;
    assert_eq!(service.reset_password(ADA, &code, NEW).await.status, 204);
}

/// While the provider hangs or is down, the mail of an account occupies the worker. The code of the next request does not wait
/// for it: otherwise the wait would reveal that the first address has an account.
#[tokio::test]
async fn a_busy_worker_does_not_reveal_the_account_of_the_reset_before() {
    for faults in [json!({ "latency_ms": 60_000 }), json!({ "fail_rate": 1, "status": 503 })] {
        let service = Service::start_with(&["--mail-concurrency=1"]).await;
        service.register_active(ADA).await;
        service.wait_for_empty_outbox().await;
        service.set_mail_faults(faults).await;
        assert_eq!(service.request_reset(ADA).await.status, 202);
        eventually("an attempt to send the mail", async || {
            let attempts = sqlx::query_scalar("SELECT attempts FROM outbox WHERE armed_id = id");
            let attempts: Option<i32> = attempts.fetch_optional(&service.db).await.unwrap();
            attempts.filter(|attempts| *attempts > 0)
        })
        .await;
        assert_eq!(service.request_reset("nobody@example.com").await.status, 202);
        let decoy = &service.reset_keys("nobody@example.com")[0];
        eventually("the decoy", async || service.redis::<bool>(&["EXISTS", decoy]).await.then_some(())).await;
    }
}
