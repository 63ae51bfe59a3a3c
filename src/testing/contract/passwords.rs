//! Contract of password hashes: rehashing and changing a password.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::ports::Users as _;
use crate::domain::email::Email;
use crate::domain::network::Network;
use crate::domain::password::Password;
use crate::passwords::{AddressCost, ForeignHash, HashCost, HashParams, PasswordHash, Salt};

const STORE_ANSWERS: &str = "the store answers";

pub async fn rehash_needs_the_old_hash_and_no_pending_registration<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let higher = HashCost::new(8, 2, 1).expect("above the minimum cost of argon2");
    let user = fixture.register("rehash@example.com").await;
    let old = fixture.rows("rehash@example.com").await[0].hash.clone();
    let new = fixture.hash(HashParams { cost: higher, ..old.params }).await;
    let rehash = async |old, new| fixture.store.users().rehash(user.id, old, new).await.expect(STORE_ANSWERS);
    assert!(!rehash(&old, &new).await, "a pending row was rehashed; that reveals that the address has no account");
    fixture.activate(&user).await.expect("the user was pending");
    fixture.store.advance(Duration::from_secs(60)).await;
    let pending = fixture.register("rehash@example.com").await;
    assert!(!rehash(&old, &new).await, "the hash of the pending registration would no longer match the params");
    assert_eq!(fixture.address_state("rehash@example.com").await.params, Some(old.params));

    let user = fixture.register("rehash2@example.com").await;
    let old = fixture.rows("rehash2@example.com").await[0].hash.clone();
    let new = fixture.hash(HashParams { cost: higher, ..old.params }).await;
    let rehash = async |old, new| fixture.store.users().rehash(user.id, old, new).await.expect(STORE_ANSWERS);
    fixture.activate(&user).await.expect("the user was pending");
    assert!(!rehash(&new, &old).await, "the old hash does not match: the password was changed in the meantime");
    assert!(rehash(&old, &new).await);
    assert!(!rehash(&old, &new).await, "a simultaneous login has already rehashed the password");
    assert_eq!(fixture.rows("rehash2@example.com").await[0].hash.to_phc(), new.to_phc());
    assert_eq!(fixture.address_state("rehash2@example.com").await.params, Some(new.params));
    fixture.store.advance(Duration::from_secs(60)).await;
    fixture.register("rehash2@example.com").await;
    let of_other_user = fixture.store.users().rehash(pending.id, &old, &new).await.expect(STORE_ANSWERS);
    assert!(!of_other_user, "the hash of another user was changed");
}

pub async fn password_change_needs_an_active_account_with_the_old_hash<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register("change@example.com").await;
    let old = fixture.rows("change@example.com").await[0].hash.clone();
    let password = Password::present("battery staple").expect("a valid password");
    let new = fixture.hasher.hash(password, old.params, Network::LOCAL).await.expect("the hasher is idle");
    let change =
        async |old, new| fixture.store.users().change_password(user.id, old, new, None).await.expect(STORE_ANSWERS);
    assert!(!change(&old, &new).await, "the user is pending");
    fixture.activate(&user).await.expect("the user was pending");
    assert!(!change(&new, &old).await, "the stored hash is another one");
    assert!(change(&old, &new).await);
    assert!(!change(&old, &new).await, "a simultaneous request has already changed the password");
    assert!(change(&new, &old).await, "a second change before the mail about the first was sent");
    assert_eq!(fixture.rows("change@example.com").await[0].hash.to_phc(), old.to_phc());
    fixture.store.disable(user.id).await;
    assert!(!change(&old, &new).await, "the account is disabled");
}

/// bcrypt of "correct horse".
const FOREIGN: &str = "$2y$04$WAiwtzyjkGlk7nkq0vNPZ.fzcjn/flm1t6IgAEBenNPSkEcSJnF3G";

pub async fn foreign_hash_is_replaced_once_and_ends_with_any_new_hash<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    const EMAIL: &str = "foreign@example.com";
    let foreign = ForeignHash::parse(FOREIGN).expect("a bcrypt hash");
    let other = ForeignHash::parse(&FOREIGN.replace("3G", "3.")).expect("a bcrypt hash");
    let user = fixture.register(EMAIL).await;
    fixture.activate(&user).await.expect("the user was pending");
    let params = fixture.rows(EMAIL).await[0].hash.params;
    let unknown = PasswordHash::of_digest(params.salt, params.cost, [7; 32]);
    let new = fixture.hash(params).await;
    let address = Email::parse(EMAIL).expect("a valid address").address().clone();
    let stored = async || {
        let hashes = fixture.store.users().find_hashes(&address).await.expect(STORE_ANSWERS);
        hashes.foreign.map(|hash| hash.as_str().to_owned())
    };
    let replace =
        async |foreign| fixture.store.users().replace_foreign(user.id, foreign, &new).await.expect(STORE_ANSWERS);
    assert_eq!(stored().await, None);
    assert!(!replace(&foreign).await, "the account has no foreign hash");

    fixture.store.set_foreign(user.id, &foreign, &unknown).await;
    assert_eq!(stored().await.as_deref(), Some(FOREIGN));
    let cost = AddressCost { argon2id: params.cost, foreign: Some(foreign.cost()) };
    let counts = fixture.store.users().hash_costs().await.expect(STORE_ANSWERS);
    assert!(counts.contains(&(cost, 1)), "{counts:?}");
    assert!(!replace(&other).await, "the stored hash is another one");
    // A pending registration of the address has the same parameters, so it does not matter.
    fixture.store.advance(Duration::from_secs(60)).await;
    fixture.register(EMAIL).await;
    assert_eq!(stored().await.as_deref(), Some(FOREIGN), "the hash is that of the account");
    assert!(replace(&foreign).await);
    assert_eq!(stored().await, None);
    assert!(!replace(&foreign).await, "a simultaneous login has already replaced the hash");

    fixture.store.set_foreign(user.id, &foreign, &unknown).await;
    let change = fixture.store.users().change_password(user.id, &unknown, &new, None).await;
    assert!(change.expect(STORE_ANSWERS));
    assert_eq!(stored().await, None, "the old password would stay valid beside the new one");

    fixture.store.set_foreign(user.id, &foreign, &unknown).await;
    fixture.store.disable(user.id).await;
    assert!(!replace(&foreign).await, "the account is disabled");
    assert_eq!(stored().await.as_deref(), Some(FOREIGN));
}

pub async fn accounts_are_counted_by_hash_cost<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let costs = [HashCost::new(16, 3, 1), HashCost::new(24, 3, 1)].map(|cost| cost.expect("above the minimum cost"));
    for (cost, count) in costs.into_iter().zip([2, 1]) {
        for n in 0..count {
            let (email, params) = (format!("cost{n}-{cost}@example.com"), HashParams { salt: Salt([n; 16]), cost });
            let email = email.replace([',', '='], "-");
            let user = fixture.register_with(&email, params).await.expect("the address is new");
            fixture.activate(&user).await.expect("the user was pending");
        }
    }
    let pending = HashParams { salt: Salt([9; 16]), cost: costs[1] };
    fixture.register_with("pending-cost@example.com", pending).await.expect("the address is new");
    let counts = fixture.store.users().hash_costs().await.expect(STORE_ANSWERS);
    for (cost, count) in costs.into_iter().zip([2, 1]) {
        assert!(counts.contains(&(AddressCost { argon2id: cost, foreign: None }, count)), "{counts:?}");
    }
}
