use std::time::Duration;

use crate::accounts::ports::Codes;
use crate::accounts::ports::{NoCode, Redeemed};
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn the_owner_deletes_a_strangers_registration_and_registers_at_once() {
    let service = InMemoryService::new();
    let eve = service.register("ada@example.com", "battery staple").await.unwrap();
    let code = service.mail(&eve).await;
    let link = service.link(&eve);
    assert!(service.accounts.report_not_me(&link).await.unwrap());
    assert!(service.authenticate("ada@example.com", "battery staple").await.is_err());
    assert_eq!(service.codes.redeem(eve.id, &code).await.unwrap(), Redeemed::NoCode(NoCode::Destroyed));

    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    assert!(!service.accounts.report_not_me(&link).await.unwrap(), "it works once");
    assert!(service.activate(&ada).await.is_ok());
}

#[tokio::test]
async fn an_owner_ends_the_shadow_and_keeps_the_account() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    let own = service.link(&ada);
    service.activate(&ada).await.unwrap();
    assert!(!service.accounts.report_not_me(&own).await.unwrap());
    service.clock.advance(Duration::from_secs(60));
    let shadow = service.register("ada@example.com", "battery staple").await.unwrap();
    assert!(service.accounts.report_not_me(&service.link(&shadow)).await.unwrap());
    assert!(service.authenticate("ada@example.com", "battery staple").await.is_err());
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
}
