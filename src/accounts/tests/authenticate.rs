use crate::accounts::authenticate::*;
use crate::accounts::ports::Users;
use crate::domain::email::Address;
use crate::passwords::HashCost;
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn wrong_user_and_wrong_password_are_the_same() {
    let service = InMemoryService::new();
    service.register("ada@example.com", "correct horse").await.unwrap();
    for (user, password) in [("ada@example.com", "battery staple"), ("eve@example.com", "correct horse"), ("eve", "x")]
    {
        assert!(matches!(service.authenticate(user, password).await, Err(AuthenticateError::WrongCredentials)));
    }
    assert!(service.authenticate(" ADA@example.com", "correct horse").await.is_ok());
}

#[tokio::test]
async fn the_account_goes_before_its_shadow() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.clock.advance(std::time::Duration::from_secs(60));
    service.register("ada@example.com", "correct horse").await.unwrap();
    assert_eq!(service.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
}

#[tokio::test]
async fn an_accounts_hash_follows_a_raised_cost_at_the_next_login() {
    let mut service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    let cost =
        async |service: &InMemoryService| service.users.find_by_address(&address()).await.unwrap()[0].hash.params.cost;
    let (low, high) = (HashCost::new(8, 1, 1).unwrap(), HashCost::new(8, 2, 1).unwrap());

    service.hash_at(high);
    assert!(service.authenticate("ada@example.com", "wrong").await.is_err());
    assert_eq!(cost(&service).await, low, "only the right password can be hashed anew");
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    assert_eq!(cost(&service).await, high);
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    assert!(service.authenticate("ada@example.com", "wrong").await.is_err());

    service.hash_at(low);
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    assert_eq!(cost(&service).await, high, "a lower cost takes nothing back");
}

#[tokio::test]
async fn a_pending_row_is_not_upgraded_whether_or_not_it_shadows_an_account() {
    let mut service = InMemoryService::new();
    service.register("ada@example.com", "correct horse").await.unwrap();
    service.hash_at(HashCost::new(8, 2, 1).unwrap());
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    let rows = service.users.find_by_address(&address()).await.unwrap();
    assert_eq!(rows[0].hash.params.cost, HashCost::new(8, 1, 1).unwrap());
}

fn address() -> Address {
    crate::domain::email::Email::parse("ada@example.com").expect("an address").address().clone()
}

#[tokio::test]
async fn a_disabled_account_is_told_so_only_with_the_right_password() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.users.disable(ada.id);
    let right = service.authenticate("ada@example.com", "correct horse").await;
    let wrong = service.authenticate("ada@example.com", "battery staple").await;
    assert!(matches!(right, Err(AuthenticateError::Disabled)));
    assert!(matches!(wrong, Err(AuthenticateError::WrongCredentials)));
}
