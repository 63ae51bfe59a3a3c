use std::time::Duration;

use crate::accounts::errors::ChangePasswordError;
use crate::accounts::ports::StoredUser;
use crate::domain::email::Email;
use crate::domain::network::Network;
use crate::domain::password::Password;
use crate::testing::LOCAL_CALLER;
use crate::testing::fakes::InMemoryService;

const ADA: &str = "ada@example.com";

fn password(text: &str) -> Password {
    Password::present(text).expect("a valid password")
}

async fn row(service: &InMemoryService, text: &str) -> StoredUser {
    let email = Email::parse(ADA).expect("a valid address");
    service
        .accounts
        .authenticate(Some(email.address()), password(text), Network::LOCAL)
        .await
        .expect("the right password")
}

#[tokio::test]
async fn new_password_replaces_the_old_one_and_a_pending_registration_keeps_its_own() {
    let service = InMemoryService::new();
    let ada = service.register(ADA, "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.clock.advance(Duration::from_secs(60));
    let pending = service.register(ADA, "battery staple").await.unwrap();

    let before = row(&service, "correct horse").await;
    service.accounts.change_password(&before, password("stable batteries"), LOCAL_CALLER).await.unwrap();
    assert!(service.authenticate(ADA, "correct horse").await.is_err());
    assert_eq!(service.authenticate(ADA, "stable batteries").await.unwrap().id, ada.id);
    assert_eq!(service.authenticate(ADA, "battery staple").await.unwrap().id, pending.id);

    let again = service.accounts.change_password(&before, password("yet another one"), LOCAL_CALLER).await;
    assert!(matches!(again, Err(ChangePasswordError::Changed)));
    assert!(service.authenticate(ADA, "stable batteries").await.is_ok());
}

#[tokio::test]
async fn only_active_accounts_can_change_their_password() {
    let service = InMemoryService::new();
    let ada = service.register(ADA, "correct horse").await.unwrap();
    let pending = row(&service, "correct horse").await;
    let refused = service.accounts.change_password(&pending, password("stable batteries"), LOCAL_CALLER).await;
    assert!(matches!(refused, Err(ChangePasswordError::NotActive)));

    service.activate(&ada).await.unwrap();
    let active = row(&service, "correct horse").await;
    service.users.disable(ada.id);
    let refused = service.accounts.change_password(&active, password("stable batteries"), LOCAL_CALLER).await;
    assert!(matches!(refused, Err(ChangePasswordError::Disabled)));
}
