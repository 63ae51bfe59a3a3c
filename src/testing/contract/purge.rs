//! Contract of the purge.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::ports::{DeletedBy, Users as _};
use crate::domain::code::CodeLength;
use crate::domain::pacing::{Pacing, YEAR};

pub async fn purge_deletes_pending_rows_without_a_recent_grant<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let purge = async || fixture.store.users().purge(week).await.expect("the store answers");
    // Deletes the rows that earlier tests left.
    fixture.store.advance(week).await;
    purge().await;

    let account = fixture.register_account("purged@example.com").await;
    fixture.store.advance(Duration::from_secs(60)).await;
    let expired = fixture.register("purged@example.com").await;
    let resent = fixture.register("resent@example.com").await;
    fixture.store.advance(week - Duration::from_secs(60)).await;
    assert_eq!(purge().await, 0);
    fixture.resend(&resent).await.expect("the wait is over");
    fixture.store.advance(Duration::from_secs(60)).await;
    assert_eq!(purge().await, 1);
    assert!(fixture.mails_of(&expired).await.is_empty());
    assert_eq!(fixture.ids("purged@example.com").await, [account.id]);
    assert!(fixture.address_state("purged@example.com").await.params.is_some(), "the address state must stay");
    assert_eq!(fixture.find(&resent).await, Some(resent));
}

pub async fn grants_of_an_address_without_a_user_count_for_a_year<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    const ADDRESS: &str = "left@example.com";
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let pacing = Pacing::default();
    let mut user = fixture.register_account(ADDRESS).await;
    let params = fixture.address_state(ADDRESS).await.params;
    let mut wait = pacing.first_wait;
    for _ in 1..pacing.short_codes {
        fixture.delete(&user, DeletedBy::User).await.expect("the user exists");
        assert!(fixture.address_state(ADDRESS).await.wait.is_some(), "a deletion must not shorten the wait");
        assert!(fixture.try_register(ADDRESS).await.is_err());
        fixture.store.advance(wait).await;
        wait = (wait * 2).min(pacing.longest_wait);
        user = fixture.register(ADDRESS).await;
    }
    fixture.delete(&user, DeletedBy::User).await.expect("the user exists");
    fixture.store.advance(week).await;
    fixture.store.users().purge(week).await.expect("the store answers");
    user = fixture.register(ADDRESS).await;
    assert_eq!(fixture.address_state(ADDRESS).await.params, params, "all hashes of an address share their salt");
    assert_eq!(fixture.mails_of(&user).await[0].length, CodeLength::TEN, "a deletion must not give short codes back");
    fixture.delete(&user, DeletedBy::Operator).await.expect("the user exists");
    fixture.store.advance(YEAR).await;
    fixture.store.users().purge(week).await.expect("the store answers");
    assert_eq!(fixture.address_state(ADDRESS).await.params, None, "nothing needs the grants any more");
}

pub async fn code_mail_is_queued_until_it_is_not_needed<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let user = fixture.register("queued@example.com").await;
    let is_queued = async || fixture.store.users().has_queued_code_mail(user.id).await.expect("the store answers");
    assert!(is_queued().await);
    fixture.activate(&user).await.expect("the user was pending");
    assert!(!is_queued().await);
}
