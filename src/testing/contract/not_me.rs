//! Contract of "this was not me" links and registration tickets.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::errors::RegisterError;
use crate::accounts::ports::Users as _;
use crate::domain::code::CodeLength;
use crate::domain::email::Email;
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::pacing::Pacing;
use crate::domain::ticket::{self, TicketHash};
use crate::passwords::Salt;

pub async fn link_deletes_its_registration_once_and_keeps_the_wait<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    const ADDRESS: &str = "stranger@example.com";
    let account = fixture.register_account(ADDRESS).await;
    fixture.store.advance(Duration::from_secs(60)).await;
    let pending = fixture.register(ADDRESS).await;
    let link = fixture.store_not_me_link(&pending).await;
    let (deleted, ticket) = fixture.report_for_ticket(link).await;
    assert_eq!(deleted, Some(pending.id));
    assert!(fixture.mails_of(&pending).await.is_empty());
    assert_eq!(fixture.ids(ADDRESS).await, [account.id]);
    let wait = fixture.address_state(ADDRESS).await.wait.expect("the wait must stay");
    assert!(wait > Duration::from_secs(60) && wait <= Duration::from_secs(120), "{wait:?}");
    assert!(matches!(fixture.try_register(ADDRESS).await, Err(RegisterError::TooSoon { .. })));
    let next = fixture.try_register_by_ticket(ADDRESS, ticket).await.expect("the ticket is valid");
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

pub async fn deleted_registration_is_recognised_for_a_day<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    const ADDRESS: &str = "disowned@example.com";
    let email = Email::parse(ADDRESS).expect("a valid address");
    let disowned = async || {
        let hashes = fixture.store.users().find_hashes(email.address()).await.expect("the store answers");
        (hashes.rows.len(), hashes.disowned.map(|hash| hash.to_phc()))
    };
    let pending = fixture.register(ADDRESS).await;
    let hash = fixture.rows(ADDRESS).await[0].hash.to_phc();
    assert_eq!(disowned().await, (1, None));
    let link = fixture.store_not_me_link(&pending).await;
    let (_, ticket) = fixture.report_for_ticket(link).await;
    assert_eq!(disowned().await, (0, Some(hash.clone())));
    fixture.try_register_by_ticket(ADDRESS, ticket).await.expect("the ticket is valid");
    assert_eq!(disowned().await, (1, Some(hash)));
    fixture.store.advance(not_me::DISOWNED_FOR).await;
    assert_eq!(disowned().await, (1, None));
}

pub async fn ticket_passes_the_wait_of_its_address_once<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    const ADDRESS: &str = "owner@example.com";
    let refused = |result| assert!(matches!(result, Err(RegisterError::TooSoon { .. })), "{result:?}");
    let pending = fixture.register(ADDRESS).await;
    let (_, ticket) = fixture.report_for_ticket(fixture.store_not_me_link(&pending).await).await;
    fixture.register("neighbour@example.com").await;
    refused(fixture.try_register_by_ticket("neighbour@example.com", ticket).await);
    refused(fixture.try_register_by_ticket(ADDRESS, TicketHash(fixture.rng.bytes())).await);
    // A hash of other parameters is not written, and the ticket is not used up.
    let other = fixture.hasher.params(Salt(fixture.rng.bytes()));
    refused(fixture.register_with_ticket(ADDRESS, other, Some(ticket)).await);
    assert!(fixture.address_state(ADDRESS).await.wait.is_some());
    assert_eq!(fixture.state_with_ticket(ADDRESS, Some(&ticket)).await.wait, None);
    let next = fixture.try_register_by_ticket(ADDRESS, ticket).await.expect("the ticket is valid");
    assert_eq!(fixture.ids(ADDRESS).await, [next.id]);
    assert!(fixture.state_with_ticket(ADDRESS, Some(&ticket)).await.wait.is_some());
    refused(fixture.try_register_by_ticket(ADDRESS, ticket).await);

    // A later ticket replaces an earlier one. A registration and a resend without a ticket keep it.
    let (_, replaced) = fixture.report_for_ticket(fixture.store_not_me_link(&next).await).await;
    fixture.store.advance(Duration::from_secs(120)).await;
    let strangers = fixture.register(ADDRESS).await;
    let (_, ticket) = fixture.report_for_ticket(fixture.store_not_me_link(&strangers).await).await;
    refused(fixture.try_register_by_ticket(ADDRESS, replaced).await);
    fixture.store.advance(Duration::from_secs(240)).await;
    let strangers = fixture.register(ADDRESS).await;
    fixture.store.advance(Duration::from_secs(480)).await;
    fixture.resend(&strangers).await.expect("the wait is over");
    let owners = fixture.try_register_by_ticket(ADDRESS, ticket).await.expect("the ticket is valid");
    assert_eq!(fixture.ids(ADDRESS).await, [owners.id]);

    // A ticket that is presented after the wait is used up too.
    let pending = fixture.register("patient@example.com").await;
    let (_, ticket) = fixture.report_for_ticket(fixture.store_not_me_link(&pending).await).await;
    fixture.store.advance(Duration::from_secs(60)).await;
    fixture.try_register_by_ticket("patient@example.com", ticket).await.expect("the wait is over");
    refused(fixture.try_register_by_ticket("patient@example.com", ticket).await);
}

pub async fn ticket_expires_after_15_minutes<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    const ADDRESS: &str = "late-owner@example.com";
    let mut user = fixture.register(ADDRESS).await;
    // The wait becomes longer than the lifetime of a ticket.
    for wait in [60, 120, 240, 480, 960] {
        fixture.store.advance(Duration::from_secs(wait)).await;
        user = fixture.register(ADDRESS).await;
    }
    let (_, ticket) = fixture.report_for_ticket(fixture.store_not_me_link(&user).await).await;
    fixture.store.advance(ticket::LIFETIME - Duration::from_secs(10)).await;
    assert_eq!(fixture.state_with_ticket(ADDRESS, Some(&ticket)).await.wait, None);
    fixture.store.advance(Duration::from_secs(10)).await;
    assert!(fixture.state_with_ticket(ADDRESS, Some(&ticket)).await.wait.is_some());
    let late = fixture.try_register_by_ticket(ADDRESS, ticket).await;
    assert!(matches!(late, Err(RegisterError::TooSoon { .. })), "{late:?}");
}

pub async fn ticket_does_not_give_a_short_code_back<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let short_codes = usize::from(Pacing::default().short_codes);
    let mut user = fixture.register("refilled@example.com").await;
    for n in 0..short_codes + 2 {
        let length = if n < short_codes { CodeLength::FOUR } else { CodeLength::TEN };
        assert_eq!(fixture.mails_of(&user).await[0].length, length, "grant {n}");
        let (deleted, ticket) = fixture.report_for_ticket(fixture.store_not_me_link(&user).await).await;
        assert_eq!(deleted, Some(user.id));
        user = fixture.try_register_by_ticket("refilled@example.com", ticket).await.expect("the ticket is valid");
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
