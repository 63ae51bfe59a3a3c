use std::time::Duration;

use crate::accounts::activate::*;
use crate::accounts::ports::NoCode;
use crate::domain::code::Code;
use crate::domain::user::Status;
use crate::testing::fakes::{InMemoryService, other_than};

#[tokio::test]
async fn the_right_code_activates_once() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.mail(&ada).await;
    let active = service.accounts.activate(&ada, &code).await.unwrap();
    assert_eq!((active.id, active.status), (ada.id, Status::Active));
    assert!(active.activated_at.is_some());
    // With the row as it was before, and as it is now.
    assert!(matches!(service.accounts.activate(&ada, &code).await, Err(ActivateError::AlreadyActive)));
    assert!(matches!(service.accounts.activate(&active, &code).await, Err(ActivateError::AlreadyActive)));
}

#[tokio::test]
async fn before_the_mail_and_after_the_minute_there_is_no_code() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let early = service.accounts.activate(&ada, &Code::parse("0000").unwrap()).await;
    assert!(matches!(early, Err(ActivateError::NoCode(NoCode::NotMailed))));
    let code = service.mail(&ada).await;
    service.clock.advance(Duration::from_secs(60));
    let late = service.accounts.activate(&ada, &code).await;
    assert!(matches!(late, Err(ActivateError::NoCode(NoCode::Expired))));
}

#[tokio::test]
async fn three_misses_destroy_the_code_however_often_its_mail_is_retried() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.mail(&ada).await;
    for left in [2, 1, 0] {
        let miss = service.accounts.activate(&ada, &other_than(&code)).await;
        assert!(matches!(miss, Err(ActivateError::Incorrect { remaining }) if remaining == left));
        if left == 1 {
            assert_eq!(service.mail(&ada).await, code, "a retried mail carries the same code");
        }
    }
    service.mail(&ada).await;
    let late = service.accounts.activate(&ada, &code).await;
    assert!(matches!(late, Err(ActivateError::NoCode(NoCode::Destroyed))));
}

#[tokio::test]
async fn an_old_registrations_code_activates_nothing() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.mail(&ada).await;
    service.clock.advance(Duration::from_secs(59));
    service.mail(&ada).await;
    service.clock.advance(Duration::from_secs(1));
    let eve = service.register("ada@example.com", "battery staple").await.unwrap();
    assert!(matches!(service.accounts.activate(&ada, &code).await, Err(ActivateError::Gone)));
    assert!(service.accounts.activate(&eve, &code).await.is_err());
}
