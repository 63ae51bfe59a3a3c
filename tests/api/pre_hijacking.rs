//! Nobody gets in by an address that is not theirs, whoever registered it first.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use sixty::domain::code::{CodeLength, CodeSecret, Nonce};
use sixty::domain::not_me::NotMeToken;

use crate::support::{Answer, CODE_SECRET, PASSWORD, Service, code_in, concurrently, eventually, wrong_code};

const ADA: &str = "ada@example.com";
const STRANGERS: &str = "a stranger's password";

/// Everything that needs credentials, with a code that was mailed to the owner.
async fn is_shut_out(service: &Service, password: &str, code: &str) {
    let answers = [
        service.me(ADA, password).await,
        service.activate(ADA, password, code).await,
        service.resend(ADA, password).await,
        service.delete(ADA, password).await,
    ];
    for answer in answers {
        assert_eq!(answer.outcome(), (401, "unauthenticated"));
    }
}

/// Pre-hijacking: a stranger registers the address before its owner does, and hopes that the owner activates the
/// stranger's password.
#[tokio::test]
async fn who_registered_the_address_before_its_owner_does_not_get_in() {
    let service = Service::start().await;
    assert_eq!(service.register(ADA, STRANGERS).await.status, 201);
    let first = service.wait_for_code(ADA, 1).await;
    // The owner, who takes that mail for their own, cannot activate what they have not registered.
    assert_eq!(service.activate(ADA, PASSWORD, &first).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me(ADA, STRANGERS).await.body["status"], "pending");

    service.age_grants(Duration::from_secs(60)).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 2).await;
    is_shut_out(&service, STRANGERS, &code).await;
    is_shut_out(&service, STRANGERS, &first).await;
    if first != code {
        assert_eq!(service.activate(ADA, PASSWORD, &first).await.outcome(), (422, "incorrect-code"));
    }
    let active = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!((active.status.as_u16(), &active.body["id"]), (200, &json!(id)));
    is_shut_out(&service, STRANGERS, &code).await;
    assert_eq!(service.me(ADA, PASSWORD).await.body, active.body);
}

/// The code that the latest grant to the address would carry, if it carried one.
async fn code_of_the_grant(service: &Service) -> String {
    let granted = "SELECT nonce, digits FROM outbox";
    let (nonce, digits): (Vec<u8>, i16) = sqlx::query_as(granted).fetch_one(&service.db).await.unwrap();
    assert_eq!(digits, 4);
    let secret = CodeSecret::new(STANDARD.decode(CODE_SECRET).unwrap()).unwrap();
    secret.code(&Nonce(nonce.try_into().unwrap()), CodeLength::FOUR).expose().to_owned()
}

/// Registers beside an account; returns the only guess that could be right.
async fn shadow(service: &Service) -> String {
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    let sent = service.mails(ADA).await.len();
    assert_eq!(service.register(ADA, STRANGERS).await.status, 201);
    let code = code_of_the_grant(service).await;
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    let mails = service.mails(ADA).await;
    assert_eq!((mails.len(), &mails[0]["Subject"]), (sent + 1, &json!("You already have a Sixty account")));
    assert_eq!(code_in(&service.mail_text(&mails[0]).await), None);
    code
}

#[tokio::test]
async fn who_registers_the_address_of_an_account_guesses_in_vain() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let account = service.me(ADA, PASSWORD).await.body;
    let right = shadow(&service).await;
    for (guess, left) in [(&right, 2), (&wrong_code(&right), 1), (&right, 0)] {
        let answer = service.activate(ADA, STRANGERS, guess).await;
        assert_eq!((answer.outcome(), &answer.body["attempts_remaining"]), ((422, "incorrect-code"), &json!(left)));
    }
    assert_eq!(service.activate(ADA, STRANGERS, &right).await.outcome(), (410, "code-expired"));
    let strangers = service.me(ADA, STRANGERS).await.body;
    assert_eq!((&strangers["status"], &strangers["activated_at"]), (&json!("pending"), &Value::Null));
    assert_ne!(strangers["id"], account["id"]);
    assert_eq!(service.me(ADA, PASSWORD).await.body, account, "the account is as it was");
}

#[tokio::test]
async fn a_disabled_account_does_not_escape_by_registering_again() {
    let service = Service::start().await;
    let account = service.register_active(ADA).await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    let right = shadow(&service).await;
    assert_eq!(service.activate(ADA, STRANGERS, &right).await.outcome(), (422, "incorrect-code"));
    assert_eq!(service.delete(ADA, STRANGERS).await.status, 204);
    // With the same password as before the account goes first.
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    service.register_pending(ADA).await;
    assert_eq!(service.activate(ADA, PASSWORD, "0000").await.outcome(), (403, "account-disabled"));
    let closed: Vec<String> = sqlx::query_scalar("SELECT id::text FROM users WHERE status = 'disabled'")
        .fetch_all(&service.db)
        .await
        .unwrap();
    assert_eq!(closed, [account]);
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM users WHERE status = 'active'").fetch_one(&service.db).await.unwrap();
    assert_eq!(open, 0);
}

#[tokio::test]
async fn of_many_registrations_after_the_wait_one_wins_and_its_code_fits_its_password_alone() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let first = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    service.age_grants(Duration::from_secs(60)).await;
    let replica = service.replica(&[]).await;
    let password = |n: usize| format!("correct horse {n}");
    let answers = concurrently(8, |n| {
        let to = if n % 2 == 0 { &service } else { &replica };
        let body = json!({ "email": ADA, "password": password(n) });
        Answer::of(to.request(Method::POST, "/v1/users").json(&body))
    })
    .await;
    let won: Vec<usize> = (0..8).filter(|n| answers[*n].status == 201).collect();
    let [winner] = won[..] else { panic!("{won:?}") };
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.outcome(), (429, "too-many-codes"));
    }
    let code = service.wait_for_code(ADA, 2).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mails(ADA).await.len(), 2);
    for n in (0..8).filter(|n| *n != winner) {
        is_shut_out(&service, &password(n), &code).await;
    }
    is_shut_out(&service, PASSWORD, &first).await;
    if first != code {
        let old = service.activate(ADA, &password(winner), &first).await;
        assert_eq!(old.outcome(), (422, "incorrect-code"));
    }
    let active = service.activate(ADA, &password(winner), &code).await;
    assert_eq!((active.status.as_u16(), &active.body["id"]), (200, &answers[winner].body["id"]));
}

/// The provider holds the first registration's mail until the second has replaced it.
#[tokio::test]
async fn the_mail_of_a_replaced_registration_carries_nothing_that_works() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "latency_ms": 2_000 })).await;
    assert_eq!(service.register(ADA, STRANGERS).await.status, 201);
    eventually("the mail to be under way", async || {
        let links = "SELECT count(*) FROM not_me_links";
        (sqlx::query_scalar::<_, i64>(links).fetch_one(&service.db).await.unwrap() == 1).then_some(())
    })
    .await;
    service.age_grants(Duration::from_secs(60)).await;
    service.register_pending(ADA).await;
    let mails = eventually("both mails", async || {
        let mails = service.mails(ADA).await;
        (mails.len() == 2).then_some(mails)
    })
    .await;
    service.wait_for_empty_outbox().await;
    let texts = [service.mail_text(&mails[0]).await, service.mail_text(&mails[1]).await];
    let (mut live, mut stale) = (vec![], vec![]);
    for text in &texts {
        let (_, letters) = text.trim_end().rsplit_once('/').unwrap();
        let known = "SELECT count(*) FROM not_me_links WHERE token_hash = $1";
        let hash = NotMeToken::parse(letters).unwrap().hash();
        let known: i64 = sqlx::query_scalar(known).bind(&hash.0[..]).fetch_one(&service.db).await.unwrap();
        if known == 1 { &mut live } else { &mut stale }.push(text.as_str());
    }
    let ([live], [stale]) = (&live[..], &stale[..]) else { panic!("{live:?} {stale:?}") };
    let (code, old) = (code_in(live).unwrap(), code_in(stale).unwrap());
    is_shut_out(&service, STRANGERS, &old).await;
    is_shut_out(&service, STRANGERS, &code).await;
    if old != code {
        assert_eq!(service.activate(ADA, PASSWORD, &old).await.outcome(), (422, "incorrect-code"));
    }
    let pressed = service.http.post(stale.lines().last().unwrap()).send().await.unwrap();
    assert_eq!(pressed.status(), 410);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}
