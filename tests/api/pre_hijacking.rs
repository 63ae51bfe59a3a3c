//! Account pre-hijacking: a stranger who registers the owner's address never gets access to an account.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use sixty::domain::code::{CodeLength, CodeSecret, Nonce};
use sixty::domain::not_me::NotMeToken;

use crate::not_me::press_button;
use crate::support::{Answer, CODE_SECRET, PASSWORD, Service, code_in, concurrently, eventually, wrong_code};

const ADA: &str = "ada@example.com";
const STRANGERS_PASSWORD: &str = "a stranger's password";

/// Asserts that each operation of the account rejects the password, even with a code that was mailed to the owner.
async fn assert_password_is_rejected(service: &Service, password: &str, code: &str) {
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

/// A stranger registers the address before its owner does. If the owner's code activated the stranger's registration,
/// the stranger's password would open the account.
#[tokio::test]
async fn a_stranger_who_registered_the_address_first_gets_no_access() {
    let service = Service::start().await;
    assert_eq!(service.register(ADA, STRANGERS_PASSWORD).await.status, 201);
    let first = service.wait_for_code(ADA, 1).await;
    // The owner mistakes this mail for their own, but their password does not match the stranger's registration.
    assert_eq!(service.activate(ADA, PASSWORD, &first).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me(ADA, STRANGERS_PASSWORD).await.body["status"], "pending");

    service.age_grants(Duration::from_secs(60)).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 2).await;
    assert_password_is_rejected(&service, STRANGERS_PASSWORD, &code).await;
    assert_password_is_rejected(&service, STRANGERS_PASSWORD, &first).await;
    if first != code {
        assert_eq!(service.activate(ADA, PASSWORD, &first).await.outcome(), (422, "incorrect-code"));
    }
    let active = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!((active.status.as_u16(), &active.body["id"]), (200, &json!(id)));
    assert_password_is_rejected(&service, STRANGERS_PASSWORD, &code).await;
    assert_eq!(service.me(ADA, PASSWORD).await.body, active.body);
}

/// Returns the code that is derived from the nonce of the only grant in the outbox.
async fn derive_code_of_grant(service: &Service) -> String {
    let grant = "SELECT nonce, digits FROM outbox";
    let (nonce, digits): (Vec<u8>, i16) = sqlx::query_as(grant).fetch_one(&service.db).await.unwrap();
    assert_eq!(digits, 4);
    let secret = CodeSecret::new(STANDARD.decode(CODE_SECRET).unwrap()).unwrap();
    secret.code(&Nonce(nonce.try_into().unwrap()), CodeLength::FOUR).expose().to_owned()
}

/// Registers the address of an existing account with the stranger's password.
///
/// Returns the code that the grant would have carried. The mail must carry no code.
async fn register_address_of_account(service: &Service) -> String {
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    let sent = service.mails(ADA).await.len();
    assert_eq!(service.register(ADA, STRANGERS_PASSWORD).await.status, 201);
    let code = derive_code_of_grant(service).await;
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    let mails = service.mails(ADA).await;
    assert_eq!((mails.len(), &mails[0]["Subject"]), (sent + 1, &json!("You already have an account at Sixty")));
    assert_eq!(code_in(&service.mail_text(&mails[0]).await), None);
    code
}

#[tokio::test]
async fn a_stranger_who_registers_the_address_of_an_account_can_guess_no_code() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let account = service.me(ADA, PASSWORD).await.body;
    let derived = register_address_of_account(&service).await;
    for (guess, left) in [(&derived, 2), (&wrong_code(&derived), 1), (&derived, 0)] {
        let answer = service.activate(ADA, STRANGERS_PASSWORD, guess).await;
        assert_eq!((answer.outcome(), &answer.body["attempts_remaining"]), ((422, "incorrect-code"), &json!(left)));
    }
    assert_eq!(service.activate(ADA, STRANGERS_PASSWORD, &derived).await.outcome(), (410, "code-expired"));
    let strangers_user = service.me(ADA, STRANGERS_PASSWORD).await.body;
    assert_eq!((&strangers_user["status"], &strangers_user["activated_at"]), (&json!("pending"), &Value::Null));
    assert_ne!(strangers_user["id"], account["id"]);
    assert_eq!(service.me(ADA, PASSWORD).await.body, account, "the account must not change");
}

#[tokio::test]
async fn a_disabled_account_stays_disabled_after_another_registration() {
    let service = Service::start().await;
    let account = service.register_active(ADA).await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    let derived = register_address_of_account(&service).await;
    assert_eq!(service.activate(ADA, STRANGERS_PASSWORD, &derived).await.outcome(), (422, "incorrect-code"));
    assert_eq!(service.delete(ADA, STRANGERS_PASSWORD).await.status, 204);
    // If the registration and the account share a password, authentication selects the account.
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    service.register_pending(ADA).await;
    assert_eq!(service.activate(ADA, PASSWORD, "0000").await.outcome(), (403, "account-disabled"));
    let disabled_ids: Vec<String> = sqlx::query_scalar("SELECT id::text FROM users WHERE status = 'disabled'")
        .fetch_all(&service.db)
        .await
        .unwrap();
    assert_eq!(disabled_ids, [account]);
    let active: i64 =
        sqlx::query_scalar("SELECT count(*) FROM users WHERE status = 'active'").fetch_one(&service.db).await.unwrap();
    assert_eq!(active, 0);
}

#[tokio::test]
async fn one_of_eight_concurrent_registrations_wins_and_its_code_needs_its_password() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let first = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    service.age_grants(Duration::from_secs(60)).await;
    let replica = service.replica(&[]).await;
    let password = |n: usize| format!("correct horse {n}");
    let answers = concurrently(8, |n| {
        let process = if n % 2 == 0 { &service } else { &replica };
        let body = json!({ "email": ADA, "password": password(n) });
        Answer::of(process.request(Method::POST, "/v1/users").json(&body))
    })
    .await;
    let winners: Vec<usize> = (0..8).filter(|n| answers[*n].status == 201).collect();
    let [winner] = winners[..] else { panic!("{winners:?}") };
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.outcome(), (429, "too-many-codes"));
    }
    let code = service.wait_for_code(ADA, 2).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mails(ADA).await.len(), 2);
    for n in (0..8).filter(|n| *n != winner) {
        assert_password_is_rejected(&service, &password(n), &code).await;
    }
    assert_password_is_rejected(&service, PASSWORD, &first).await;
    if first != code {
        let old = service.activate(ADA, &password(winner), &first).await;
        assert_eq!(old.outcome(), (422, "incorrect-code"));
    }
    let active = service.activate(ADA, &password(winner), &code).await;
    assert_eq!((active.status.as_u16(), &active.body["id"]), (200, &answers[winner].body["id"]));
}

/// The provider delays the mail of the first registration until the second registration has replaced the first.
#[tokio::test]
async fn the_code_and_the_link_of_a_replaced_registration_are_invalid() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "latency_ms": 2_000 })).await;
    assert_eq!(service.register(ADA, STRANGERS_PASSWORD).await.status, 201);
    eventually("the first mail request", async || {
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
    let (mut valid, mut stale) = (vec![], vec![]);
    for text in &texts {
        let (_, token) = text.trim_end().rsplit_once('/').unwrap();
        let count = "SELECT count(*) FROM not_me_links WHERE token_hash = $1";
        let hash = NotMeToken::parse(token).unwrap().hash();
        let links: i64 = sqlx::query_scalar(count).bind(&hash.0[..]).fetch_one(&service.db).await.unwrap();
        if links == 1 { &mut valid } else { &mut stale }.push(text.as_str());
    }
    let ([valid], [stale]) = (&valid[..], &stale[..]) else { panic!("{valid:?} {stale:?}") };
    let (code, stale_code) = (code_in(valid).unwrap(), code_in(stale).unwrap());
    assert_password_is_rejected(&service, STRANGERS_PASSWORD, &stale_code).await;
    assert_password_is_rejected(&service, STRANGERS_PASSWORD, &code).await;
    if stale_code != code {
        assert_eq!(service.activate(ADA, PASSWORD, &stale_code).await.outcome(), (422, "incorrect-code"));
    }
    assert_eq!(press_button(&service, stale.lines().last().unwrap()).await.0, 410);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}
