//! `/v1/users/me/email`: another address for an account, and taking the change back from the old address.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::events::types_of;
use crate::not_me::press_button;
use crate::support::{Answer, PASSWORD, Service, concurrently, eventually, wrong_code};

const OLD: &str = "ada@example.com";
const NEW: &str = "ada@new.example";

impl Service {
    pub async fn change_email(&self, email: &str, password: &str, new: &str) -> Answer {
        let request = self.request(Method::PUT, "/v1/users/me/email").basic_auth(email, Some(password));
        Answer::of(request.json(&json!({ "email": new }))).await
    }

    fn confirmation(&self, email: &str, password: &str, code: &str) -> RequestBuilder {
        let request = self.request(Method::POST, "/v1/users/me/email/confirmation");
        request.basic_auth(email, Some(password)).json(&json!({ "code": code }))
    }

    pub async fn confirm_email(&self, email: &str, password: &str, code: &str) -> Answer {
        Answer::of(self.confirmation(email, password, code)).await
    }

    /// Returns the link in the newest mail to an address, which has received `n`.
    async fn link_to_take_back(&self, email: &str, n: usize) -> String {
        let text = self.wait_for_mail(email, n).await;
        let link = text.split_whitespace().find(|word| word.starts_with(&self.url_of("/address-change/")));
        link.unwrap_or_else(|| panic!("no link in {text}")).to_owned()
    }
}

#[tokio::test]
async fn a_code_mailed_to_the_new_address_changes_the_address() {
    let service = Service::start_with(&["--code-storage=plain"]).await;
    let id = service.register_active(OLD).await;
    let requested = service.change_email(OLD, PASSWORD, " Ada@New.Example").await;
    assert_eq!((requested.status.as_u16(), &requested.body), (202, &json!({ "retry_after": 60 })));
    assert_eq!(service.change_email(OLD, PASSWORD, NEW).await.outcome(), (429, "too-many-codes"));
    let code = service.wait_for_code(NEW, 1).await;
    assert_eq!(code.len(), 4);
    assert_eq!(service.redis::<String>(&["HGET", &service.redis_key("email", &id), "code"]).await, code);
    service.link_to_take_back(OLD, 3).await;

    // Until then nothing has changed.
    assert_eq!(service.me(NEW, PASSWORD).await.outcome(), (401, "unauthenticated"));
    let wrong = service.confirm_email(OLD, PASSWORD, &wrong_code(&code)).await;
    assert_eq!((wrong.outcome(), &wrong.body["attempts_remaining"]), ((422, "incorrect-code"), &json!(2)));
    let confirmed = service.confirm_email(OLD, PASSWORD, &code).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    assert_eq!((&confirmed.body["id"], &confirmed.body["email"]), (&json!(id), &json!("Ada@New.Example")));
    assert_eq!(service.me(OLD, PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me(NEW, PASSWORD).await.body["id"], id.as_str());
    assert_eq!(service.confirm_email(NEW, PASSWORD, &code).await.outcome(), (410, "code-expired"));

    // The old address is free, and its salt is not the account's any more.
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.register(OLD, PASSWORD).await.status, 201);
    // A password reset goes to the new address.
    assert_eq!(service.request_reset(NEW).await.status, 202);
    let reset = service.wait_for_code(NEW, 2).await;
    assert_eq!(service.reset_password(NEW, &reset, "staple battery horse").await.status, 204);
    assert_eq!(service.me(NEW, "staple battery horse").await.status, 200);
}

#[tokio::test]
async fn only_active_accounts_change_to_another_valid_address() {
    let service = Service::start_with(&["--email-domains=example.com"]).await;
    service.register_pending("two@example.com").await;
    assert_eq!(service.change_email("two@example.com", PASSWORD, "x@example.com").await.outcome(), (409, "not-active"));
    service.register_active(OLD).await;
    for (new, pointer) in [("nonsense", "/email"), (" ADA@Example.com", "/email"), (NEW, "/email")] {
        let refused = service.change_email(OLD, PASSWORD, new).await;
        assert_eq!((refused.outcome(), refused.pointers()), ((422, "invalid-field"), vec![pointer]), "{new}");
    }
    assert_eq!(service.change_email(OLD, "wrong password", "x@example.com").await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.confirm_email(OLD, PASSWORD, "0000").await.outcome(), (410, "code-expired"));
}

#[tokio::test]
async fn an_address_with_an_account_gets_the_answers_of_a_free_address() {
    let service = Service::start().await;
    service.register_active("taken@example.com").await;
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    let mut seen = vec![];
    for (n, new) in ["free@example.com", "taken@example.com"].into_iter().enumerate() {
        let mover = format!("mover{n}@example.com");
        service.register_active(&mover).await;
        let mails = service.mails(new).await.len();
        let mut answers = vec![service.change_email(&mover, PASSWORD, new).await];
        service.wait_for_mail(new, mails + 1).await;
        service.wait_for_empty_outbox().await;
        for _ in 0..4 {
            // No code is all zeros twice in a row; a decoy matches none.
            answers.push(service.confirm_email(&mover, PASSWORD, "0000000000").await);
        }
        answers.push(service.change_email(&mover, PASSWORD, new).await);
        let outcomes: Vec<(u16, Value)> = answers
            .into_iter()
            .map(|mut answer| {
                if answer.status == 429 {
                    (answer.body["retry_after"], answer.body["detail"]) = (json!(0), json!(""));
                }
                (answer.status.as_u16(), answer.body)
            })
            .collect();
        seen.push(outcomes);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].iter().map(|seen| seen.0).collect::<Vec<_>>(), [202, 422, 422, 422, 410, 429]);
    let notice = service.wait_for_mail("taken@example.com", 3).await;
    assert!(notice.starts_with("Your Sixty account has not changed\n"), "{notice}");
    assert_eq!(service.me("taken@example.com", PASSWORD).await.body["status"], "active");
}

#[tokio::test]
async fn the_old_address_takes_the_change_back_and_the_password_with_it() {
    let service = Service::start().await;
    let id = service.register_active(OLD).await;
    // Somebody who knows the password moves the account away, twice.
    assert_eq!(service.change_email(OLD, PASSWORD, NEW).await.status, 202);
    let link = service.link_to_take_back(OLD, 3).await;
    let code = service.wait_for_code(NEW, 1).await;
    assert_eq!(service.confirm_email(OLD, PASSWORD, &code).await.status, 200);
    assert_eq!(service.change_email(NEW, PASSWORD, "third@new.example").await.status, 202);
    let strangers_link = service.link_to_take_back(NEW, 2).await;

    // Opening the link, or pressing at once, changes nothing.
    let page = service.http.get(&link).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let at_once = service.http.post(&link).send().await.unwrap();
    assert_eq!(at_once.status(), 200);
    assert_eq!(service.me(NEW, PASSWORD).await.status, 200);

    let restored = (200, "Your account has this address again".to_owned());
    assert_eq!(press_button(&service, &link).await, restored);
    assert_eq!(service.me(NEW, PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me(OLD, PASSWORD).await.outcome(), (401, "unauthenticated"), "the password is not safe");
    assert_eq!(press_button(&service, &link).await.0, 410, "a link works once");
    assert_eq!(press_button(&service, &strangers_link).await.0, 410, "a stranger's link must not undo it");
    let notice = service.wait_for_mail(OLD, 4).await;
    assert!(notice.contains("Set a new password now"), "{notice}");

    assert_eq!(service.request_reset(OLD).await.status, 202);
    let code = service.wait_for_code(OLD, 5).await;
    assert_eq!(service.reset_password(OLD, &code, "staple battery horse").await.status, 204);
    let me = service.me(OLD, "staple battery horse").await;
    assert_eq!((&me.body["id"], &me.body["email"]), (&json!(id), &json!(OLD)));
    let events = service.relayed_events().await;
    assert_eq!(
        types_of(&events, &id),
        ["user.registered", "user.activated", "user.email_changed", "user.email_restored", "user.password_reset"]
    );
}

#[tokio::test]
async fn a_link_expires_and_cannot_take_an_address_from_another_account() {
    let service = Service::start().await;
    service.register_active(OLD).await;
    service.change_email(OLD, PASSWORD, NEW).await;
    let link = service.link_to_take_back(OLD, 3).await;
    let code = service.wait_for_code(NEW, 1).await;
    assert_eq!(service.confirm_email(OLD, PASSWORD, &code).await.status, 200);
    service.age_grants(Duration::from_secs(60)).await;
    service.register_pending(OLD).await;
    let code = service.wait_for_code(OLD, 4).await;
    assert_eq!(service.activate(OLD, PASSWORD, &code).await.status, 200);
    assert_eq!(press_button(&service, &link).await.0, 409);
    assert_eq!(service.me(NEW, PASSWORD).await.status, 200);

    let expire = "UPDATE address_links SET expires_at = expires_at - interval '72 hours'";
    sqlx::query(expire).execute(&service.db).await.unwrap();
    assert_eq!(press_button(&service, &link).await.0, 410);
}

#[tokio::test]
async fn of_many_simultaneous_confirmations_exactly_one_succeeds() {
    let service = Service::start().await;
    service.register_active(OLD).await;
    service.change_email(OLD, PASSWORD, NEW).await;
    let code = service.wait_for_code(NEW, 1).await;
    let answers = concurrently(20, |_| Answer::of(service.confirmation(OLD, PASSWORD, &code))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| [200, 401, 410].contains(&answer.status.as_u16())), "{answers:?}");
    assert_eq!(service.me(NEW, PASSWORD).await.status, 200);
    eventually("one row", async || {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&service.db).await.unwrap();
        (rows == 1).then_some(())
    })
    .await;
}
