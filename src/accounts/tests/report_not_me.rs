use std::time::Duration;

use crate::accounts::errors::{NoCodeReason, RegisterError};
use crate::accounts::ports::Codes;
use crate::accounts::ports::Redeemed;
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn owner_deletes_a_strangers_registration_and_registers_at_once_with_the_ticket() {
    let service = InMemoryService::new();
    let eve = service.register("ada@example.com", "battery staple").await.unwrap();
    let code = service.send_mail(&eve).await;
    let link = service.store_not_me_link(&eve);
    let ticket = service.accounts.report_not_me(&link).await.unwrap().unwrap();
    assert!(service.authenticate("ada@example.com", "battery staple").await.is_err());
    assert_eq!(service.codes.redeem(eve.id.into(), &code).await.unwrap(), Redeemed::NoCode(NoCodeReason::Destroyed));

    let refused = service.register("ada@example.com", "battery staple").await;
    assert!(matches!(refused, Err(RegisterError::TooSoon { .. })), "the wait must stay for everybody else");
    let ada = service.register_by_ticket("ada@example.com", "correct horse", &ticket).await.unwrap();
    assert!(service.accounts.report_not_me(&link).await.unwrap().is_none(), "a link must work only once");
    assert!(service.activate(&ada).await.is_ok());
}

#[tokio::test]
async fn link_deletes_a_pending_registration_and_never_the_account() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let own = service.store_not_me_link(&ada);
    service.activate(&ada).await.unwrap();
    assert!(service.accounts.report_not_me(&own).await.unwrap().is_none());
    service.clock.advance(Duration::from_secs(60));
    let pending = service.register("ada@example.com", "battery staple").await.unwrap();
    assert!(service.accounts.report_not_me(&service.store_not_me_link(&pending)).await.unwrap().is_some());
    assert!(service.authenticate("ada@example.com", "battery staple").await.is_err());
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
}
