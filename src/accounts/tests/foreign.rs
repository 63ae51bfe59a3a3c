//! Accounts with password hashes that another system has made. The evaluations are counted, because times vary.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::accounts::errors::AuthenticateError;
use crate::accounts::ports::Users as _;
use crate::domain::email::{Address, Email};
use crate::domain::user::User;
use crate::passwords::{Evaluation, ForeignCost, ForeignHash, HashCost, PasswordHash};
use crate::testing::fakes::InMemoryService;

/// bcrypt of [`PASSWORD`], which is too short for a new password here.
const BCRYPT: &str = "$2y$04$mJtY0QNnkx6PThk.70NJgebesolEZr6LWkxh347BwRe1w16yjNNxW";
const PASSWORD: &str = "abc";
const STRANGERS_PASSWORD: &str = "correct horse";

fn address(email: &str) -> Address {
    Email::parse(email).expect("a valid address").address().clone()
}

fn low() -> HashCost {
    HashCost::new(8, 1, 1).expect("the minimum cost of argon2")
}

/// Makes an account as an import does.
async fn import(service: &InMemoryService, email: &str) -> User {
    let user = service.register(email, "nobody's password").await.expect("the address is new");
    let user = service.activate(&user).await.expect("the code is right");
    let rows = service.users.find_by_address(&address(email)).await.expect("the fake returns no errors");
    let params = rows[0].hash.params;
    let unknown = PasswordHash::of_digest(params.salt, params.cost, [7; 32]);
    service.users.set_foreign(user.id, ForeignHash::parse(BCRYPT).expect("a bcrypt hash"), unknown);
    service.clock.advance(Duration::from_secs(24 * 60 * 60));
    user
}

/// Loads the costs of the accounts, as a restart does.
fn reload(service: &mut InMemoryService) {
    service.set_hash_cost(low());
    // The restarted generator has the same seed: within one millisecond it would give the id of an earlier user again.
    let _ = service.accounts.rng.bytes::<7>();
}

/// Returns the number of evaluations of each cost during the work.
async fn evaluations<T>(service: &InMemoryService, work: impl Future<Output = T>) -> BTreeMap<Evaluation, u64> {
    let hasher = service.accounts.hasher.clone();
    let before = hasher.evaluations();
    work.await;
    let counted = hasher.evaluations().into_iter();
    counted
        .map(|(cost, count)| (cost, count - before.get(&cost).copied().unwrap_or_default()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

const FOREIGN: (Evaluation, u64) = (Evaluation::Foreign(ForeignCost::Bcrypt { cost: 4 }), 1);

fn argon2id() -> (Evaluation, u64) {
    (Evaluation::Argon2id(low()), 1)
}

#[tokio::test]
async fn every_address_costs_the_same_evaluations_as_an_imported_account() {
    let mut service = InMemoryService::new();
    import(&service, "imported@example.com").await;
    import(&service, "shadowed@example.com").await;
    let disabled = import(&service, "disabled@example.com").await;
    service.users.disable(disabled.id);
    for email in ["pending@example.com", "shadowed@example.com"] {
        service.register(email, STRANGERS_PASSWORD).await.unwrap();
    }
    reload(&mut service);
    let login = BTreeMap::from([argon2id(), FOREIGN]);
    let states = ["imported", "shadowed", "disabled", "pending", "unknown"].map(|state| format!("{state}@example.com"));
    for email in &states {
        assert_eq!(evaluations(&service, service.authenticate(email, "wrong")).await, login, "{email}");
    }
    for email in ["pending@example.com", "shadowed@example.com"] {
        let right = evaluations(&service, service.authenticate(email, STRANGERS_PASSWORD)).await;
        assert_eq!(right, login, "{email}");
    }
    // A disabled account, even with the right password.
    let right = evaluations(&service, service.authenticate("disabled@example.com", PASSWORD)).await;
    assert_eq!(right, login);
    service.clock.advance(Duration::from_secs(24 * 60 * 60));
    for email in &states {
        let registration = evaluations(&service, service.register(email, STRANGERS_PASSWORD)).await;
        assert_eq!(registration, BTreeMap::from([argon2id()]), "{email}");
    }
}

#[tokio::test]
async fn a_remembered_registration_costs_the_same_with_and_without_an_imported_account() {
    let mut service = InMemoryService::new();
    import(&service, "imported@example.com").await;
    reload(&mut service);
    let service = service.remember_passwords();
    for email in ["imported@example.com", "new@example.com"] {
        service.register(email, STRANGERS_PASSWORD).await.unwrap();
        let login = evaluations(&service, service.authenticate(email, STRANGERS_PASSWORD)).await;
        assert_eq!(login, BTreeMap::from([FOREIGN]), "{email}");
    }
}

#[tokio::test]
async fn accounts_without_foreign_hashes_cost_no_foreign_evaluation() {
    let mut service = InMemoryService::new();
    let ada = service.register("ada@example.com", STRANGERS_PASSWORD).await.unwrap();
    service.activate(&ada).await.unwrap();
    reload(&mut service);
    for email in ["ada@example.com", "unknown@example.com"] {
        let login = evaluations(&service, service.authenticate(email, "wrong")).await;
        assert_eq!(login, BTreeMap::from([argon2id()]), "{email}");
    }
}

#[tokio::test]
async fn the_first_login_replaces_the_foreign_hash_and_costs_no_further_evaluation() {
    let mut service = InMemoryService::new();
    let ada = import(&service, "ada@example.com").await;
    reload(&mut service);
    for wrong in ["", "ab", "nobody's password"] {
        let refused = service.authenticate("ada@example.com", wrong).await;
        assert!(matches!(refused, Err(AuthenticateError::WrongCredentials)), "{wrong}");
    }
    let first = evaluations(&service, async {
        assert_eq!(service.authenticate("ada@example.com", PASSWORD).await.unwrap().id, ada.id);
    });
    assert_eq!(first.await, BTreeMap::from([argon2id(), FOREIGN]));
    let hashes = service.users.find_hashes(&address("ada@example.com")).await.unwrap();
    assert!(hashes.foreign.is_none());
    reload(&mut service);
    let second = evaluations(&service, async {
        assert_eq!(service.authenticate("ada@example.com", PASSWORD).await.unwrap().id, ada.id);
    });
    assert_eq!(second.await, BTreeMap::from([argon2id()]));
    assert!(service.authenticate("ada@example.com", "wrong").await.is_err());
}

#[tokio::test]
async fn a_replaced_hash_is_remembered() {
    let mut service = InMemoryService::new();
    let ada = import(&service, "ada@example.com").await;
    reload(&mut service);
    let service = service.remember_passwords();
    assert!(service.authenticate("ada@example.com", PASSWORD).await.is_ok());
    let again = evaluations(&service, async {
        assert_eq!(service.authenticate("ada@example.com", PASSWORD).await.unwrap().id, ada.id);
    });
    assert_eq!(again.await, BTreeMap::new());
}

#[tokio::test]
async fn the_foreign_hash_of_a_disabled_account_is_not_replaced() {
    let service = InMemoryService::new();
    let ada = import(&service, "ada@example.com").await;
    service.users.disable(ada.id);
    let right = service.authenticate("ada@example.com", PASSWORD).await;
    assert!(matches!(right, Err(AuthenticateError::Disabled)));
    let hashes = service.users.find_hashes(&address("ada@example.com")).await.unwrap();
    assert_eq!(hashes.foreign.map(|hash| hash.as_str().to_owned()).as_deref(), Some(BCRYPT));
}

/// bcrypt of "correct horse".
const BCRYPT_OF_REGISTRATION: &str = "$2y$04$WAiwtzyjkGlk7nkq0vNPZ.fzcjn/flm1t6IgAEBenNPSkEcSJnF3G";

#[tokio::test]
async fn an_imported_account_is_preferred_to_a_registration_with_the_same_password() {
    let mut service = InMemoryService::new();
    let ada = import(&service, "ada@example.com").await;
    let params = service.users.find_by_address(&address("ada@example.com")).await.unwrap()[0].hash.params;
    let unknown = PasswordHash::of_digest(params.salt, params.cost, [7; 32]);
    service.users.set_foreign(ada.id, ForeignHash::parse(BCRYPT_OF_REGISTRATION).unwrap(), unknown);
    reload(&mut service);
    let service = service.remember_passwords();
    // The registration is remembered.
    let registration = service.register("ada@example.com", STRANGERS_PASSWORD).await.unwrap();
    assert_ne!(registration.id, ada.id);
    for _ in 0..2 {
        assert_eq!(service.authenticate("ada@example.com", STRANGERS_PASSWORD).await.unwrap().id, ada.id);
    }
}
