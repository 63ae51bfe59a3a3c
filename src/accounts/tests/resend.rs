use crate::accounts::resend::*;
use crate::testing::fakes::InMemoryService;
use std::time::Duration;

#[tokio::test]
async fn a_later_grant_replaces_the_earlier_one() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let old = service.mail(&ada).await;
    assert!(matches!(service.accounts.resend(&ada).await, Err(ResendError::TooSoon { .. })));

    service.clock.advance(Duration::from_secs(60));
    assert_eq!(service.accounts.resend(&ada).await.unwrap(), Duration::from_secs(120));
    let new = service.mail(&ada).await;
    assert_ne!(old, new);
    assert!(service.accounts.activate(&ada, &old).await.is_err());
    assert!(service.accounts.activate(&ada, &new).await.is_ok());
    assert!(matches!(
        service.accounts.resend(&ada).await,
        Err(ResendError::AlreadyActive | ResendError::TooSoon { .. })
    ));
}

#[tokio::test]
async fn a_replaced_registration_is_gone() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.clock.advance(Duration::from_secs(60));
    service.register("ada@example.com", "battery staple").await.unwrap();
    service.clock.advance(Duration::from_secs(120));
    assert!(matches!(service.accounts.resend(&ada).await, Err(ResendError::Gone)));
}
