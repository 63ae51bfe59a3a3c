//! Contract of activations.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::errors::ResendError;
use crate::accounts::ports::Users as _;
use crate::domain::user::{Status, User};

pub async fn activation_succeeds_once_and_changes_only_this_row<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register("once@example.com").await;
    let other = fixture.register("other@example.com").await;
    let active = fixture.activate(&user).await.expect("the user was pending");
    assert_eq!((active.id, active.status), (user.id, Status::Active));
    assert!(active.activated_at.is_some());
    assert_eq!(fixture.activate(&user).await, None);
    assert!(fixture.mails_of(&user).await.is_empty(), "an account needs no code mail");
    assert_eq!(fixture.find(&other).await, Some(other));
    fixture.store.advance(Duration::from_secs(60)).await;
    let resend = fixture.resend(&user).await;
    assert!(matches!(resend, Err(ResendError::AlreadyActive)), "{resend:?}");
}

pub async fn operator_activates_a_pending_row_once<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let activate = async |user: &User| {
        let activated = fixture.store.users().activate_as_operator(user.id, None).await;
        activated.expect("the store answers")
    };
    let user = fixture.register("vouched@example.com").await;
    let active = activate(&user).await.expect("the user was pending");
    assert_eq!((active.id, active.status), (user.id, Status::Active));
    assert_eq!(fixture.find(&user).await, Some(active));
    assert_eq!(activate(&user).await, None);
    assert_eq!(fixture.activate(&user).await, None);
    assert!(fixture.mails_of(&user).await.is_empty(), "an account needs no code mail");
    fixture.store.advance(Duration::from_secs(60)).await;
    let beside = fixture.register("vouched@example.com").await;
    assert_eq!(activate(&beside).await, None, "the address already has an account");
}

/// The list test relies on the account and the pending registration that this leaves.
pub async fn address_has_at_most_one_account<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let account = fixture.register_account("both@example.com").await;
    fixture.store.advance(Duration::from_secs(60)).await;
    let pending = fixture.register("both@example.com").await;
    let rows = fixture.rows("both@example.com").await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].hash.params, rows[1].hash.params);
    assert_eq!(fixture.activate(&pending).await, None, "the address already has an account");
    assert_eq!(fixture.find(&account).await.map(|user| user.status), Some(Status::Active));
}
