use std::time::Duration;

use crate::accounts::errors::{RequestResetError, ResetPasswordError};
use crate::domain::code::Code;
use crate::domain::email::Email;
use crate::domain::password::Password;
use crate::domain::user::User;
use crate::testing::fakes::InMemoryService;
use crate::testing::{LOCAL_CALLER, wrong_code_for};

const ADA: &str = "ada@example.com";
const OLD: &str = "correct horse";
const NEW: &str = "stable batteries";

async fn active_ada(service: &InMemoryService) -> User {
    let ada = service.register(ADA, OLD).await.expect("a new address");
    service.activate(&ada).await.expect("the user was pending")
}

async fn request(service: &InMemoryService, address: &str) -> Result<Duration, RequestResetError> {
    let email = Email::parse(address).expect("a valid address");
    service.accounts.request_password_reset(email.address(), None).await
}

async fn reset(service: &InMemoryService, address: &str, code: &Code, new: &str) -> Result<(), ResetPasswordError> {
    let email = Email::parse(address).expect("a valid address");
    let new = Password::present(new).expect("a valid password");
    service.accounts.reset_password(email.address(), code, new, LOCAL_CALLER).await
}

fn is_no_code(outcome: Result<(), ResetPasswordError>) -> bool {
    matches!(outcome, Err(ResetPasswordError::NoCode))
}

#[tokio::test]
async fn code_sets_one_new_password() {
    let service = InMemoryService::new().remember_passwords();
    let ada = active_ada(&service).await;
    assert!(service.authenticate(ADA, OLD).await.is_ok());
    assert_eq!(request(&service, ADA).await.unwrap(), Duration::from_secs(600));
    let code = service.send_reset_mail(ADA).await;
    assert_eq!(code.expose().len(), 8);
    reset(&service, ADA, &code, NEW).await.unwrap();
    assert_eq!(service.authenticate(ADA, NEW).await.unwrap().id, ada.id);
    assert!(service.authenticate(ADA, OLD).await.is_err(), "a remembered password must not survive a reset");
    assert!(is_no_code(reset(&service, ADA, &code, "yet another one").await), "the code was used twice");
    assert!(service.authenticate(ADA, NEW).await.is_ok());
}

#[tokio::test]
async fn code_dies_with_a_change_of_the_password_but_not_with_a_rehash() {
    let mut service = InMemoryService::new();
    active_ada(&service).await;
    request(&service, ADA).await.unwrap();
    let code = service.send_reset_mail(ADA).await;
    service.set_hash_cost(crate::passwords::HashCost::new(8, 2, 1).unwrap());
    assert!(service.authenticate(ADA, OLD).await.is_ok(), "this login hashes the password again");
    reset(&service, ADA, &code, NEW).await.unwrap();

    service.clock.advance(Duration::from_secs(600));
    assert_eq!(request(&service, ADA).await.unwrap(), Duration::from_secs(1200));
    let code = service.send_reset_mail(ADA).await;
    let email = Email::parse(ADA).unwrap();
    let local = crate::domain::network::Network::LOCAL;
    let row = service.accounts.authenticate(Some(email.address()), Password::present(NEW).unwrap(), local).await;
    let changed = Password::present("changed in between").unwrap();
    service.accounts.change_password(&row.unwrap(), changed, LOCAL_CALLER).await.unwrap();
    assert!(is_no_code(reset(&service, ADA, &code, OLD).await));
    assert!(service.authenticate(ADA, "changed in between").await.is_ok());
}

#[tokio::test]
async fn pending_disabled_and_unknown_addresses_get_decoys() {
    let service = InMemoryService::new();
    service.register("pending@example.com", OLD).await.unwrap();
    let disabled = service.register("disabled@example.com", OLD).await.unwrap();
    service.activate(&disabled).await.unwrap();
    service.users.disable(disabled.id);
    let guess = Code::parse("00420042").unwrap();
    for address in ["pending@example.com", "disabled@example.com", "unknown@example.com"] {
        assert!(is_no_code(reset(&service, address, &guess, NEW).await));
        assert_eq!(request(&service, address).await.unwrap(), Duration::from_secs(600));
        assert!(matches!(request(&service, address).await, Err(RequestResetError::TooSoon { .. })));
        let code = service.send_reset_mail(address).await;
        for left in [2, 1, 0] {
            let outcome = reset(&service, address, &code, NEW).await;
            assert!(matches!(outcome, Err(ResetPasswordError::Incorrect { remaining }) if remaining == left));
        }
        assert!(is_no_code(reset(&service, address, &code, NEW).await));
    }
}

#[tokio::test]
async fn resets_and_activations_do_not_touch_each_other() {
    let service = InMemoryService::new();
    active_ada(&service).await;
    service.clock.advance(Duration::from_secs(60));
    let pending = service.register(ADA, "battery staple").await.unwrap();
    request(&service, ADA).await.unwrap();
    let activation = service.send_mail(&pending).await;
    let code = service.send_reset_mail(ADA).await;
    for _ in 0..3 {
        let _ = service.accounts.activate(&pending, &wrong_code_for(&activation), None).await;
    }
    reset(&service, ADA, &code, NEW).await.unwrap();
    assert_eq!(service.authenticate(ADA, "battery staple").await.unwrap().id, pending.id);
    service.clock.advance(Duration::from_secs(600));
    request(&service, ADA).await.unwrap();
    let code = service.send_reset_mail(ADA).await;
    for _ in 0..3 {
        let _ = reset(&service, ADA, &wrong_code_for(&code), NEW).await;
    }
    assert!(is_no_code(reset(&service, ADA, &code, NEW).await));
    assert!(service.accounts.resend(&pending, None).await.is_ok(), "the waits are counted apart");
}
