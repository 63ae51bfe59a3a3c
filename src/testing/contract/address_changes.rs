//! Contract of changes of addresses.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::errors::{ConfirmAddressError, RequestAddressError};
use crate::accounts::ports::*;
use crate::domain::address_change::RestoreHash;
use crate::domain::email::Email;
use crate::domain::user::{Status, User};
use crate::passwords::{HashParams, Salt};

const STORE_ANSWERS: &str = "the store answers";

impl<T: UsersUnderTest> Fixture<'_, T> {
    async fn request_change(&self, user: &User, new: &str) -> (RestoreHash, Result<Duration, RequestAddressError>) {
        let (email, old) = (Email::parse(new).expect("a valid address"), self.rows(&user.email).await[0].hash.clone());
        let params = self.address_state(new).await.params;
        let params = params.unwrap_or_else(|| self.hasher.params(Salt(self.rng.bytes())));
        let (nonce, link) = (self.rng.nonce(), RestoreHash(self.rng.bytes()));
        let change = NewAddressChange { user: user.id, old: &old, email: &email, params, nonce, link, trace: None };
        (link, self.store.users().request_address_change(&change).await)
    }

    /// Confirms the latest change of the user, whose current address is `email`.
    async fn confirm_change(&self, user: &User, email: &str) -> Result<User, ConfirmAddressError> {
        let old = self.rows(email).await[0].hash.clone();
        let change = self.store.users().find_address_change(user.id).await.expect(STORE_ANSWERS);
        let change = change.ok_or(ConfirmAddressError::Changed)?;
        let new = self.hash(change.params).await;
        self.store.users().confirm_address_change(user.id, &old, &change.address, &new).await
    }

    async fn restore(&self, link: RestoreHash) -> RestoredAddress {
        self.store.users().restore_address(&link, self.rng.bytes(), None).await.expect(STORE_ANSWERS)
    }
}

pub async fn confirmed_change_moves_the_account_once<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register_account("move@example.com").await;
    let (_, wait) = fixture.request_change(&user, "Moved@example.com").await;
    assert_eq!(wait.expect("a new address"), Duration::from_secs(60));
    let (_, early) = fixture.request_change(&user, "moved@example.com").await;
    assert!(matches!(early, Err(RequestAddressError::TooSoon { left }) if left <= Duration::from_secs(60)));
    assert_eq!(fixture.ids("moved@example.com").await, []);

    let old = fixture.rows("move@example.com").await[0].hash.clone();
    let change = fixture.store.users().find_address_change(user.id).await.expect(STORE_ANSWERS).expect("a change");
    let other = fixture.hash(HashParams { salt: Salt([9; 16]), ..change.params }).await;
    let confirm =
        async |old, new| fixture.store.users().confirm_address_change(user.id, old, &change.address, new).await;
    let of_other_params = confirm(&old, &other).await;
    assert!(matches!(of_other_params, Err(ConfirmAddressError::Changed)), "the hash has another salt");
    let new = fixture.hash(change.params).await;
    assert!(matches!(confirm(&new, &new).await, Err(ConfirmAddressError::Changed)), "the password was changed");
    let moved = confirm(&old, &new).await.expect("the change was asked for");
    assert_eq!((moved.id, &*moved.email, moved.status), (user.id, "Moved@example.com", Status::Active));
    assert!(matches!(confirm(&new, &new).await, Err(ConfirmAddressError::Changed)), "the change was confirmed before");
    assert_eq!(
        (fixture.ids("move@example.com").await, fixture.ids("moved@example.com").await),
        (vec![], vec![user.id])
    );
    // A pending registration of the new address shares its parameters.
    fixture.store.advance(Duration::from_secs(60)).await;
    let pending = fixture.register("moved@example.com").await;
    assert_eq!(fixture.rows("moved@example.com").await.len(), 2);
    assert!(fixture.activate(&pending).await.is_none(), "the address has an account");
}

pub async fn address_of_an_account_cannot_be_taken<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register_account("mover@example.com").await;
    let (_, wait) = fixture.request_change(&user, "owned@example.com").await;
    wait.expect("a new address");
    fixture.store.advance(Duration::from_secs(60)).await;
    let owner = fixture.register_account("owned@example.com").await;
    let confirmed = fixture.confirm_change(&user, "mover@example.com").await;
    assert!(matches!(confirmed, Err(ConfirmAddressError::Taken)));
    assert_eq!(fixture.ids("owned@example.com").await, [owner.id]);
    assert_eq!(fixture.ids("mover@example.com").await, [user.id]);
}

pub async fn link_restores_the_old_address_and_ends_the_password<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register_account("back@example.com").await;
    let before = fixture.rows("back@example.com").await[0].hash.clone();
    let (link, _) = fixture.request_change(&user, "away@example.com").await;
    let moved = fixture.confirm_change(&user, "back@example.com").await.expect("the change was asked for");
    let (later, _) = fixture.request_change(&moved, "further@example.com").await;
    assert_eq!(fixture.restore(RestoreHash([0; 32])).await, RestoredAddress::NoLink);
    assert_eq!(fixture.restore(link).await, RestoredAddress::Restored(user.id));
    let row = fixture.rows("back@example.com").await.pop().expect("the account has its old address");
    assert_eq!((row.user.id, &*row.user.email, row.user.status), (user.id, "back@example.com", Status::Active));
    assert!(row.hash.to_phc() != before.to_phc() && row.hash.params == before.params);
    assert_eq!(fixture.ids("away@example.com").await, []);
    for used in [link, later] {
        assert_eq!(fixture.restore(used).await, RestoredAddress::NoLink);
    }
    let confirmed = fixture.confirm_change(&user, "back@example.com").await;
    assert!(matches!(confirmed, Err(ConfirmAddressError::Changed)), "the later change is still there");

    let user = fixture.register_account("unconfirmed@example.com").await;
    let before = fixture.rows("unconfirmed@example.com").await[0].hash.clone();
    let (link, _) = fixture.request_change(&user, "elsewhere@example.com").await;
    assert_eq!(fixture.restore(link).await, RestoredAddress::Restored(user.id));
    let after = fixture.rows("unconfirmed@example.com").await[0].hash.to_phc();
    assert_ne!(after, before.to_phc(), "whoever asked for the change knows the password");

    let user = fixture.register_account("leaver@example.com").await;
    let (link, _) = fixture.request_change(&user, "arrived@example.com").await;
    fixture.confirm_change(&user, "leaver@example.com").await.expect("the change was asked for");
    fixture.store.advance(Duration::from_secs(60)).await;
    fixture.register_account("leaver@example.com").await;
    assert_eq!(fixture.restore(link).await, RestoredAddress::Taken);
    assert_eq!(fixture.ids("arrived@example.com").await, [user.id]);
}
