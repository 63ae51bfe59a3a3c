use crate::accounts::register::*;
use crate::domain::user::Status;
use crate::testing::fakes::InMemoryService;
use std::time::Duration;

#[tokio::test]
async fn it_writes_a_pending_user_and_one_mail() {
    let service = InMemoryService::new();
    let user = service.register("Ada@Example.com", "correct horse").await.unwrap();
    assert_eq!((user.email.as_str(), user.status), ("Ada@Example.com", Status::Pending));
    assert_eq!(service.users.queued().len(), 1);
}

#[tokio::test]
async fn inside_the_wait_nothing_changes_and_after_it_the_row_is_replaced() {
    let service = InMemoryService::new();
    let first = service.register("ada@example.com", "correct horse").await.unwrap();
    let again = service.register("ADA@example.com", "battery staple").await;
    assert!(matches!(again, Err(RegisterError::TooSoon { left }) if left == Duration::from_secs(60)));
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());

    service.clock.advance(Duration::from_secs(60));
    let second = service.register("ada@example.com", "battery staple").await.unwrap();
    assert_ne!(first.id, second.id);
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_err());
    let queued = service.users.queued();
    assert_eq!(queued.iter().map(|mail| mail.user).collect::<Vec<_>>(), [second.id], "the old mail went with its row");
}

#[tokio::test]
async fn an_account_does_not_show() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.clock.advance(Duration::from_secs(60));
    let shadow = service.register("ada@example.com", "battery staple").await.unwrap();
    assert_eq!(shadow.status, Status::Pending);
    assert_eq!(service.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
    assert_eq!(service.authenticate("ada@example.com", "battery staple").await.unwrap().id, shadow.id);
}

#[tokio::test]
async fn an_account_shows_if_that_is_wanted() {
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
    assert!(service.users.queued().is_empty());
}
