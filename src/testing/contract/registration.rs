//! Contract of registrations, waits and queued code mails.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::errors::{RegisterError, ResendError};
use crate::accounts::ports::{AddressState, Users as _};
use crate::domain::code::CodeLength;
use crate::domain::pacing::{Pacing, YEAR};
use crate::domain::user::Status;
use crate::passwords::{HashCost, HashParams, Salt};

pub async fn registration_writes_a_pending_row_and_queues_one_mail<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    assert_eq!(fixture.address_state("one@example.com").await, AddressState { params: None, wait: None });
    let user = fixture.register("One@Example.com").await;
    assert_eq!((user.email.as_str(), user.status), ("One@Example.com", Status::Pending));
    assert_eq!(user.activated_at, None);
    assert_eq!(fixture.find(&user).await, Some(user.clone()));
    assert_eq!(fixture.ids("one@example.com").await, [user.id]);
    let mails = fixture.mails_of(&user).await;
    assert_eq!(mails.iter().map(|mail| mail.length).collect::<Vec<_>>(), [CodeLength::FOUR]);
    let unknown = fixture.rng.user_id();
    assert_eq!(fixture.store.users().find(unknown).await.expect("the store answers"), None);
}

pub async fn requests_inside_the_wait_change_nothing<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register("wait@example.com").await;
    let mails = fixture.mails_of(&user).await;
    fixture.store.advance(Duration::from_secs(50)).await;
    let first_wait = Duration::from_secs(60);
    for _ in 0..2 {
        let again = fixture.try_register("WAIT@example.com").await;
        assert!(
            matches!(again, Err(RegisterError::TooSoon { left }) if left <= first_wait && left > Duration::ZERO),
            "{again:?}"
        );
        let resend = fixture.resend(&user).await;
        assert!(matches!(resend, Err(ResendError::TooSoon { left }) if left <= first_wait), "{resend:?}");
    }
    let wait = fixture.address_state("wait@example.com").await.wait.expect("inside the wait");
    assert!(wait <= Duration::from_secs(10), "refused requests must not lengthen the wait: {wait:?}");
    assert_eq!(fixture.mails_of(&user).await, mails);
    assert_eq!(fixture.rows("wait@example.com").await.len(), 1);
}

pub async fn second_registration_replaces_row_and_mail<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let first = fixture.register("again@example.com").await;
    fixture.store.advance(Duration::from_secs(60)).await;
    let second = fixture.register("again@example.com").await;
    assert_ne!(first.id, second.id);
    assert_eq!(fixture.find(&first).await, None);
    assert!(fixture.mails_of(&first).await.is_empty());
    assert_eq!(fixture.mails_of(&second).await.len(), 1);
    assert_eq!(fixture.activate(&first).await, None);
    let resend = fixture.resend(&first).await;
    assert!(matches!(resend, Err(ResendError::Gone)), "{resend:?}");
}

pub async fn waits_double_and_short_codes_are_limited<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let pacing = Pacing::default();
    let user = fixture.register("paced@example.com").await;
    let mut wait = pacing.first_wait;
    for n in 1..usize::from(pacing.short_codes) + 3 {
        fixture.store.advance(wait).await;
        let expected = (wait * 2).min(pacing.longest_wait);
        assert_eq!(fixture.resend(&user).await.expect("the wait is over"), expected);
        wait = expected;
        let length = if n < usize::from(pacing.short_codes) { CodeLength::FOUR } else { CodeLength::TEN };
        assert_eq!(fixture.mails_of(&user).await[0].length, length, "grant {n}");
    }
    fixture.store.advance(pacing.quiet).await;
    assert_eq!(fixture.resend(&user).await.expect("the wait is over"), pacing.first_wait);
    assert_eq!(fixture.mails_of(&user).await[0].length, CodeLength::TEN);
    fixture.store.advance(YEAR).await;
    fixture.resend(&user).await.expect("the wait is over");
    assert_eq!(fixture.mails_of(&user).await[0].length, CodeLength::FOUR, "codes are short again after a year");
}

pub async fn hash_with_other_params_is_not_written<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let first = fixture.hasher.params(Salt([1; 16]));
    let higher = HashCost::new(8, 2, 1).expect("above the minimum cost of argon2");
    fixture.register_with("params@example.com", first).await.expect("the address is new");
    fixture.store.advance(Duration::from_secs(60)).await;
    for other in [HashParams { salt: Salt([2; 16]), ..first }, HashParams { cost: higher, ..first }] {
        let stale = fixture.register_with("params@example.com", other).await;
        assert!(matches!(stale, Err(RegisterError::TooSoon { .. })), "a hash with other params was written: {stale:?}");
    }
    assert_eq!(fixture.address_state("params@example.com").await, AddressState { params: Some(first), wait: None });
}

pub async fn resend_replaces_the_queued_mail<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register("resend@example.com").await;
    let before = fixture.mails_of(&user).await;
    fixture.store.advance(Duration::from_secs(60)).await;
    fixture.resend(&user).await.expect("the wait is over");
    let after = fixture.mails_of(&user).await;
    assert_eq!(after.len(), 1);
    assert_ne!(before[0].nonce, after[0].nonce);
    assert!(before[0].grant < after[0].grant);
}
