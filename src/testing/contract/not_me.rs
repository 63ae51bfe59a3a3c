//! Contract of "this was not me" links.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::domain::code::CodeLength;
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::pacing::Pacing;

pub async fn link_deletes_its_registration_once_and_ends_the_wait<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    const ADDRESS: &str = "stranger@example.com";
    let account = fixture.register_account(ADDRESS).await;
    fixture.store.advance(Duration::from_secs(60)).await;
    let pending = fixture.register(ADDRESS).await;
    let link = fixture.store_not_me_link(&pending).await;
    assert_eq!(fixture.report_not_me(link).await, Some(pending.id));
    assert!(fixture.mails_of(&pending).await.is_empty());
    assert_eq!(fixture.ids(ADDRESS).await, [account.id]);
    assert_eq!(fixture.address_state(ADDRESS).await.wait, None);
    let next = fixture.register(ADDRESS).await;
    let wait = fixture.address_state(ADDRESS).await.wait.expect("a wait");
    assert!(wait > Duration::from_secs(120), "the next wait must still be doubled: {wait:?}");
    assert_eq!(fixture.report_not_me(link).await, None, "a link must work only once");
    assert!(fixture.address_state(ADDRESS).await.wait > Some(Duration::from_secs(120)));
    assert!(!fixture.store.store_not_me_link(pending.id, link).await, "the user no longer exists");

    // A retried mail carries the same link. The link of each mail works.
    let first = fixture.store_not_me_link(&next).await;
    assert!(fixture.store.store_not_me_link(next.id, first).await);
    fixture.store.advance(Duration::from_secs(240)).await;
    fixture.resend(&next).await.expect("the wait is over");
    let second = fixture.store_not_me_link(&next).await;
    fixture.store.advance(Duration::from_secs(600)).await;
    assert_eq!(fixture.report_not_me(first).await, Some(next.id));
    assert_eq!(fixture.report_not_me(second).await, None);
    let rest_of_quiet_period = Pacing::default().quiet - Duration::from_secs(600);
    fixture.store.advance(rest_of_quiet_period).await;
    fixture.register(ADDRESS).await;
    let wait = fixture.address_state(ADDRESS).await.wait.expect("a wait");
    assert!(
        wait <= Duration::from_secs(60),
        "the link must not restart the quiet period of a wait that was over: {wait:?}"
    );
}

pub async fn link_does_not_give_a_short_code_back<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let short_codes = usize::from(Pacing::default().short_codes);
    for n in 0..short_codes + 2 {
        let user = fixture.register("refilled@example.com").await;
        let length = if n < short_codes { CodeLength::FOUR } else { CodeLength::TEN };
        assert_eq!(fixture.mails_of(&user).await[0].length, length, "grant {n}");
        let link = fixture.store_not_me_link(&user).await;
        assert_eq!(fixture.report_not_me(link).await, Some(user.id));
    }
}

pub async fn invalid_link_changes_nothing<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    // An unknown link.
    assert_eq!(fixture.report_not_me(NotMeHash(fixture.rng.bytes())).await, None);

    // A link of a registration that was activated.
    let active = fixture.register("mine@example.com").await;
    let link = fixture.store_not_me_link(&active).await;
    fixture.activate(&active).await.expect("the user was pending");
    assert!(
        !fixture.store.store_not_me_link(active.id, NotMeHash(fixture.rng.bytes())).await,
        "an account needs no link"
    );
    assert_eq!(fixture.report_not_me(link).await, None);
    fixture.store.disable(active.id).await;
    assert_eq!(fixture.report_not_me(link).await, None);
    assert!(fixture.find(&active).await.is_some());
    assert!(fixture.address_state("mine@example.com").await.wait.is_some());

    // A link of a registration that was replaced.
    let replaced = fixture.register("mine-again@example.com").await;
    let link = fixture.store_not_me_link(&replaced).await;
    fixture.store.advance(Duration::from_secs(60)).await;
    let later = fixture.register("mine-again@example.com").await;
    assert_eq!(fixture.report_not_me(link).await, None);
    assert!(fixture.address_state("mine-again@example.com").await.wait.is_some());

    // An expired link.
    let link = fixture.store_not_me_link(&later).await;
    fixture.store.advance(not_me::LIFETIME).await;
    assert_eq!(fixture.report_not_me(link).await, None);
    assert_eq!(fixture.find(&later).await, Some(later));
}
