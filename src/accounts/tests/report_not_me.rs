use std::time::Duration;

use crate::accounts::errors::NoCodeReason;
use crate::accounts::ports::Codes;
use crate::accounts::ports::Redeemed;
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn owner_deletes_a_strangers_registration_and_registers_at_once() {
    let service = InMemoryService::new();
    let eve = service.register("ada@example.com", "battery staple").await.unwrap();
    let code = service.send_mail(&eve).await;
    let link = service.store_not_me_link(&eve);
    assert!(service.accounts.report_not_me(&link).await.unwrap());
    assert!(service.authenticate("ada@example.com", "battery staple").await.is_err());
    assert_eq!(service.codes.redeem(eve.id, &code).await.unwrap(), Redeemed::NoCode(NoCodeReason::Destroyed));

    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    assert!(!service.accounts.report_not_me(&link).await.unwrap(), "a link must work only once");
    assert!(service.activate(&ada).await.is_ok());
}

#[tokio::test]
async fn link_deletes_a_pending_registration_and_never_the_account() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let own = service.store_not_me_link(&ada);
    service.activate(&ada).await.unwrap();
    assert!(!service.accounts.report_not_me(&own).await.unwrap());
    service.clock.advance(Duration::from_secs(60));
    let pending = service.register("ada@example.com", "battery staple").await.unwrap();
    assert!(service.accounts.report_not_me(&service.store_not_me_link(&pending)).await.unwrap());
    assert!(service.authenticate("ada@example.com", "battery staple").await.is_err());
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
}
