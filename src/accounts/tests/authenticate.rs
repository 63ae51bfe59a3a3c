use crate::accounts::errors::AuthenticateError;
use crate::accounts::ports::Users;
use crate::domain::email::{Address, Email};
use crate::passwords::HashCost;
use crate::testing::fakes::InMemoryService;

#[tokio::test]
async fn unknown_address_and_wrong_password_give_the_same_error() {
    let service = InMemoryService::new();
    service.register("ada@example.com", "correct horse").await.unwrap();
    for (user, password) in [("ada@example.com", "battery staple"), ("eve@example.com", "correct horse"), ("eve", "x")]
    {
        assert!(matches!(service.authenticate(user, password).await, Err(AuthenticateError::WrongCredentials)));
    }
    assert!(service.authenticate(" ADA@example.com", "correct horse").await.is_ok());
}

#[tokio::test]
async fn account_is_preferred_to_a_pending_registration_with_the_same_password() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.clock.advance(std::time::Duration::from_secs(60));
    service.register("ada@example.com", "correct horse").await.unwrap();
    assert_eq!(service.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
}

#[tokio::test]
async fn login_rehashes_an_account_when_the_configured_cost_was_raised() {
    let mut service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    let cost =
        async |service: &InMemoryService| service.users.find_by_address(&address()).await.unwrap()[0].hash.params.cost;
    let (low, high) = (HashCost::new(8, 1, 1).unwrap(), HashCost::new(8, 2, 1).unwrap());

    service.set_hash_cost(high);
    assert!(service.authenticate("ada@example.com", "wrong").await.is_err());
    assert_eq!(cost(&service).await, low, "only a right password can be rehashed");
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    assert_eq!(cost(&service).await, high);
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    assert!(service.authenticate("ada@example.com", "wrong").await.is_err());

    service.set_hash_cost(low);
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    assert_eq!(cost(&service).await, high, "a lower configured cost must not lower the cost of a hash");
}

#[tokio::test]
async fn login_never_rehashes_a_pending_registration() {
    let mut service = InMemoryService::new();
    service.register("ada@example.com", "correct horse").await.unwrap();
    service.set_hash_cost(HashCost::new(8, 2, 1).unwrap());
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    let rows = service.users.find_by_address(&address()).await.unwrap();
    assert_eq!(rows[0].hash.params.cost, HashCost::new(8, 1, 1).unwrap());
}

fn address() -> Address {
    Email::parse("ada@example.com").expect("a valid address").address().clone()
}

#[tokio::test]
async fn only_the_right_password_reveals_that_an_account_is_disabled() {
    let service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    service.users.disable(ada.id);
    let right = service.authenticate("ada@example.com", "correct horse").await;
    let wrong = service.authenticate("ada@example.com", "battery staple").await;
    assert!(matches!(right, Err(AuthenticateError::Disabled)));
    assert!(matches!(wrong, Err(AuthenticateError::WrongCredentials)));
}

/// The cost of an evaluation must not reveal which addresses have an account.
#[tokio::test]
async fn addresses_without_an_account_have_the_hash_costs_of_the_accounts() {
    let mut service = InMemoryService::new();
    let ada = service.register("ada@example.com", "correct horse").await.unwrap();
    service.activate(&ada).await.unwrap();
    let (low, high) = (HashCost::new(8, 1, 1).unwrap(), HashCost::new(16, 2, 1).unwrap());
    let unknown = Email::parse("eve@example.com").unwrap();
    let evaluation_cost =
        |service: &InMemoryService| service.accounts.evaluation_params(Some(unknown.address()), None).unwrap().cost;
    let cost_of_new_registration = async |service: &InMemoryService, email: &str| {
        service.register(email, "battery staple").await.unwrap();
        let email = Email::parse(email).unwrap();
        service.users.address_state(email.address(), None).await.unwrap().params.unwrap().cost
    };

    service.set_hash_cost(high);
    assert_eq!(evaluation_cost(&service), low);
    assert_eq!(cost_of_new_registration(&service, "bob@example.com").await, low);

    // The only account is rehashed, and the distribution is loaded again.
    assert!(service.authenticate("ada@example.com", "correct horse").await.is_ok());
    for configured in [high, low] {
        service.set_hash_cost(configured);
        assert_eq!(evaluation_cost(&service), high);
    }
    assert_eq!(cost_of_new_registration(&service, "cleo@example.com").await, high);
}
