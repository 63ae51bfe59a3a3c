use crate::accounts::errors::ResendError;
use crate::testing::fakes::InMemoryService;
use std::time::Duration;

#[tokio::test]
async fn new_code_replaces_the_earlier_code() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let old = service.send_mail(&ada).await;
    assert!(matches!(service.accounts.resend(&ada, None).await, Err(ResendError::TooSoon { .. })));

    service.clock.advance(Duration::from_secs(60));
    assert_eq!(service.accounts.resend(&ada, None).await.unwrap(), Duration::from_secs(120));
    let new = service.send_mail(&ada).await;
    assert_ne!(old, new);
    assert!(service.accounts.activate(&ada, &old, None).await.is_err());
    assert!(service.accounts.activate(&ada, &new, None).await.is_ok());
    assert!(matches!(
        service.accounts.resend(&ada, None).await,
        Err(ResendError::AlreadyActive | ResendError::TooSoon { .. })
    ));
}

#[tokio::test]
async fn replaced_registration_cannot_resend() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.clock.advance(Duration::from_secs(60));
    service.register("ada@example.com", "battery staple").await.unwrap();
    service.clock.advance(Duration::from_secs(120));
    assert!(matches!(service.accounts.resend(&ada, None).await, Err(ResendError::Gone)));
}
