use crate::accounts::ExistingAccount;
use crate::accounts::errors::RegisterError;
use crate::domain::user::Status;
use crate::testing::fakes::InMemoryService;
use std::time::Duration;

#[tokio::test]
async fn registration_writes_a_pending_user_and_one_mail() {
    let service = InMemoryService::new();
    let user = service.register("Ada@Example.com", "correct horse").await.unwrap();
    assert_eq!((user.email.as_str(), user.status), ("Ada@Example.com", Status::Pending));
    assert_eq!(service.users.queued_mails().len(), 1);
}

#[tokio::test]
async fn second_registration_is_refused_inside_the_wait_and_replaces_the_row_after_it() {
    let service = InMemoryService::new();
    let first = service.register("ada@example.com", "correct horse").await.unwrap();
    let again = service.register("ADA@example.com", "battery staple").await;
    assert!(matches!(again, Err(RegisterError::TooSoon { left }) if left == Duration::from_secs(60)));
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());

    service.clock.advance(Duration::from_secs(60));
    let second = service.register("ada@example.com", "battery staple").await.unwrap();
    assert_ne!(first.id, second.id);
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_err());
    let queued = service.users.queued_mails();
    assert_eq!(
        queued.iter().map(|mail| mail.user).collect::<Vec<_>>(),
        [second.id],
        "the old mail must be deleted with its row"
    );
}

#[tokio::test]
async fn hide_does_not_reveal_an_existing_account() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.clock.advance(Duration::from_secs(60));
    let pending = service.register("ada@example.com", "battery staple").await.unwrap();
    assert_eq!(pending.status, Status::Pending);
    assert_eq!(service.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
    assert_eq!(service.authenticate("ada@example.com", "battery staple").await.unwrap().id, pending.id);
}

#[tokio::test]
async fn reveal_refuses_an_address_with_an_account() {
    let service = InMemoryService::with(ExistingAccount::Reveal);
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    for later in [0, 60] {
        service.clock.advance(Duration::from_secs(later));
        let again = service.register("ADA@example.com", "battery staple").await;
        assert!(matches!(again, Err(RegisterError::Taken)));
    }
    service.users.disable(ada.id);
    assert!(matches!(service.register("ada@example.com", "battery staple").await, Err(RegisterError::Taken)));
    assert!(service.users.queued_mails().is_empty());
}
