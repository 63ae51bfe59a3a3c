//! Contract of the purge.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::ports::Users as _;

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
