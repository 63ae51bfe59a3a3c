use std::time::Duration;

use crate::accounts::delete::*;
use crate::accounts::ports::Codes;
use crate::accounts::ports::Users as _;
use crate::accounts::ports::{NoCode, Redeemed};
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn a_pending_registration_goes_with_its_mail_and_its_code() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.mail(&ada).await;
    service.accounts.delete(&ada).await.unwrap();
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_err());
    assert!(service.users.queued().is_empty());
    assert_eq!(service.codes.redeem(ada.id, &code).await.unwrap(), Redeemed::NoCode(NoCode::Destroyed));
    // The wait outlives it.
    assert!(service.register("ada@example.com", "correct horse").await.is_err());
    service.accounts.delete(&ada).await.expect("it is gone already");
}

#[tokio::test]
async fn of_an_account_and_its_shadow_only_one_goes() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.clock.advance(Duration::from_secs(60));
    let shadow = service.register("ada@example.com", "battery staple").await.unwrap();
    service.accounts.delete(&shadow).await.unwrap();
    assert_eq!(service.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
    service.accounts.delete(&ada).await.unwrap();
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_err());
}

#[tokio::test]
async fn an_operator_deletes_whom_he_likes_and_their_codes() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.mail(&ada).await;
    assert!(service.accounts.remove(ada.id).await.unwrap());
    assert!(!service.accounts.remove(ada.id).await.unwrap(), "it is gone already");
    assert_eq!(service.codes.redeem(ada.id, &code).await.unwrap(), Redeemed::NoCode(NoCode::Destroyed));
}

#[tokio::test]
async fn an_account_that_was_just_disabled_stays() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let ada = service.activate(&ada).await.unwrap();
    service.users.disable(ada.id);
    assert!(matches!(service.accounts.delete(&ada).await, Err(DeleteError::Disabled)));
    assert!(service.users.find(ada.id).await.unwrap().is_some());
}
