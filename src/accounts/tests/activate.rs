use std::time::Duration;

use crate::accounts::errors::{ActivateError, NoCodeReason};
use crate::domain::code::Code;
use crate::domain::user::Status;
use crate::testing::fakes::InMemoryService;
use crate::testing::wrong_code_for;

#[tokio::test]
async fn right_code_activates_once() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.send_mail(&ada).await;
    let active = service.accounts.activate(&ada, &code, None).await.unwrap();
    assert_eq!((active.id, active.status), (ada.id, Status::Active));
    assert!(active.activated_at.is_some());
    // With the row as it was when authenticated, and as it is now.
    assert!(matches!(service.accounts.activate(&ada, &code, None).await, Err(ActivateError::AlreadyActive)));
    assert!(matches!(service.accounts.activate(&active, &code, None).await, Err(ActivateError::AlreadyActive)));
}

#[tokio::test]
async fn code_is_not_live_before_its_mail_and_after_its_lifetime() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let early = service.accounts.activate(&ada, &Code::parse("0000").unwrap(), None).await;
    assert!(matches!(early, Err(ActivateError::NoCode(NoCodeReason::OnItsWay))));
    let code = service.send_mail(&ada).await;
    service.clock.advance(Duration::from_secs(60));
    let late = service.accounts.activate(&ada, &code, None).await;
    assert!(matches!(late, Err(ActivateError::NoCode(NoCodeReason::Expired))));
}

#[tokio::test]
async fn third_wrong_guess_destroys_the_code_even_if_its_mail_is_retried() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.send_mail(&ada).await;
    for left in [2, 1, 0] {
        let wrong = service.accounts.activate(&ada, &wrong_code_for(&code), None).await;
        assert!(matches!(wrong, Err(ActivateError::Incorrect { remaining }) if remaining == left));
        if left == 1 {
            assert_eq!(service.send_mail(&ada).await, code, "a retried mail must carry the same code");
        }
    }
    service.send_mail(&ada).await;
    let late = service.accounts.activate(&ada, &code, None).await;
    assert!(matches!(late, Err(ActivateError::NoCode(NoCodeReason::Destroyed))));
}

#[tokio::test]
async fn code_of_a_replaced_registration_activates_nothing() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let code = service.send_mail(&ada).await;
    service.clock.advance(Duration::from_secs(59));
    service.send_mail(&ada).await;
    service.clock.advance(Duration::from_secs(1));
    let eve = service.register("ada@example.com", "battery staple").await.unwrap();
    assert!(matches!(service.accounts.activate(&ada, &code, None).await, Err(ActivateError::Gone)));
    assert!(service.accounts.activate(&eve, &code, None).await.is_err());
}
