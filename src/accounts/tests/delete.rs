use std::time::Duration;

use crate::accounts::errors::DeleteError;
use crate::accounts::errors::NoCodeReason;
use crate::accounts::ports::Codes;
use crate::accounts::ports::Redeemed;
use crate::accounts::ports::Users as _;
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn deleting_a_pending_registration_removes_its_mail_and_its_code() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.send_mail(&ada).await;
    service.accounts.delete(&ada).await.unwrap();
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_err());
    assert!(service.users.queued_mails().is_empty());
    assert_eq!(service.codes.redeem(ada.id.into(), &code).await.unwrap(), Redeemed::NoCode(NoCodeReason::Destroyed));
    // The wait of the address stays.
    assert!(service.register("ada@example.com", "correct horse").await.is_err());
    service.accounts.delete(&ada).await.expect("deleting twice is a success");
}

#[tokio::test]
async fn deletion_of_an_account_or_its_pending_registration_keeps_the_other() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.clock.advance(Duration::from_secs(60));
    let pending = service.register("ada@example.com", "battery staple").await.unwrap();
    service.accounts.delete(&pending).await.unwrap();
    assert_eq!(service.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
    service.accounts.delete(&ada).await.unwrap();
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_err());
}

#[tokio::test]
async fn operator_deletes_any_user_and_its_code() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.send_mail(&ada).await;
    service.accounts.delete_as_operator(ada.id).await.unwrap();
    let again = service.accounts.delete_as_operator(ada.id).await;
    assert!(matches!(again, Err(DeleteError::NotFound)));
    assert_eq!(service.codes.redeem(ada.id.into(), &code).await.unwrap(), Redeemed::NoCode(NoCodeReason::Destroyed));
}

#[tokio::test]
async fn account_that_was_just_disabled_cannot_delete_itself() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let ada = service.activate(&ada).await.unwrap();
    service.users.disable(ada.id);
    assert!(matches!(service.accounts.delete(&ada).await, Err(DeleteError::Disabled)));
    assert!(service.users.find(ada.id).await.unwrap().is_some());
}
