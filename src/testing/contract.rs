//! What every implementation of the ports must do. The service run this in milliseconds, the real stores in `tests/api`;
//! a rule that only one of them keeps is a defect here.

use std::future::Future;
use std::time::Duration;

use super::fakes::other_than;
use crate::accounts::ports::*;
use crate::domain::code::{Code, CodeLength, Grant};
use crate::domain::email::Email;
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::pacing::Pacing;
use crate::domain::password::Password;
use crate::domain::user::{Role, Status, User, UserId};
use crate::passwords::{HashCost, HashParams, Hasher, PasswordHash, Salt};
use crate::rng::Rng;

/// A store of users under test, empty, with [`Pacing::default`].
pub trait UsersUnderTest {
    type Users: Users;
    fn users(&self) -> &Self::Users;
    /// Makes everything that the store remembers older.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
    /// The mails that wait to be sent, oldest first.
    fn queued(&self) -> impl Future<Output = Vec<(UserId, GrantedCode)>>;
    /// Notes the link of a mail to the user; whether there is such a pending user.
    fn link(&self, user: UserId, link: NotMeHash) -> impl Future<Output = bool>;
    /// What an operator does to an account.
    fn disable(&self, user: UserId) -> impl Future<Output = ()>;
}

/// A store of codes under test, with a `CODE_TTL` of 60 s.
pub trait CodesUnderTest {
    type Codes: Codes;
    fn codes(&self) -> &Self::Codes;
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
}

struct Hand<'a, T> {
    store: &'a T,
    rng: Rng,
    hasher: Hasher,
}

impl<T: UsersUnderTest> Hand<'_, T> {
    async fn hash(&self, params: HashParams) -> PasswordHash {
        let password = Password::present("correct horse").expect("a password");
        self.hasher.hash(password, params).await.expect("one at a time")
    }

    async fn register_by(&self, email: &str, params: HashParams) -> Registration {
        let (email, hash) = (Email::parse(email).expect("an address"), self.hash(params).await);
        let new = NewUser { id: self.rng.user_id(), email: &email, hash: &hash, nonce: self.rng.nonce() };
        self.store.users().register(&new).await.expect("the store answers")
    }

    async fn register(&self, email: &str) -> Registration {
        let standing = self.address_state(email).await;
        let params = standing.params.unwrap_or_else(|| self.hasher.params(Salt(self.rng.bytes())));
        self.register_by(email, params).await
    }

    async fn registered(&self, email: &str) -> User {
        match self.register(email).await {
            Registration::Registered(user) => user,
            Registration::TooSoon { left } => panic!("{left:?} too soon"),
        }
    }

    async fn address_state(&self, email: &str) -> AddressState {
        let email = Email::parse(email).expect("an address");
        self.store.users().address_state(email.address()).await.expect("the store answers")
    }

    async fn rows(&self, email: &str) -> Vec<StoredUser> {
        let email = Email::parse(email).expect("an address");
        self.store.users().find_by_address(email.address()).await.expect("the store answers")
    }

    async fn grant_again(&self, user: &User) -> Regrant {
        self.store.users().grant_again(user.id, self.rng.nonce()).await.expect("the store answers")
    }

    async fn activate(&self, user: &User) -> Option<User> {
        self.store.users().activate(user.id).await.expect("the store answers")
    }

    async fn update(&self, user: &User, change: Change) -> Update {
        self.store.users().update(user.id, change).await.expect("the store answers")
    }

    async fn delete(&self, user: &User, by: DeletedBy) -> Deletion {
        self.store.users().delete(user.id, by).await.expect("the store answers")
    }

    /// Notes a link for the user.
    async fn link(&self, user: &User) -> NotMeHash {
        let link = NotMeHash(self.rng.bytes());
        assert!(self.store.link(user.id, link).await, "the user is pending");
        link
    }

    async fn report_not_me(&self, link: NotMeHash) -> Option<UserId> {
        self.store.users().report_not_me(&link).await.expect("the store answers")
    }

    async fn mails_of(&self, user: &User) -> Vec<GrantedCode> {
        let queued = self.store.queued().await;
        queued.into_iter().filter(|(id, _)| *id == user.id).map(|(_, code)| code).collect()
    }
}

/// All that [`Users`] promises.
pub async fn users(store: &impl UsersUnderTest) {
    let cheap = HashCost::new(8, 1, 1).expect("argon2's least");
    let hasher = Hasher::start(cheap, 1, Duration::from_secs(10));
    let hand = Hand { store, rng: Rng::from_system(), hasher };
    a_registration_is_pending_and_queues_one_mail(&hand).await;
    inside_the_wait_nothing_changes(&hand).await;
    registering_again_replaces_row_and_mail(&hand).await;
    waits_double_and_short_codes_run_out(&hand).await;
    a_recipe_is_kept_for_good(&hand).await;
    an_accounts_hash_is_made_anew_if_it_is_alone_and_still_the_old_one(&hand).await;
    a_password_is_changed_if_it_is_still_the_old_one_of_an_active_account(&hand).await;
    a_resend_takes_the_mails_place(&hand).await;
    activation_happens_once_and_only_to_this_row(&hand).await;
    an_account_and_a_pending_row_stand_side_by_side(&hand).await;
    a_deleted_row_takes_its_mail_along_and_nothing_else(&hand).await;
    a_disabled_account_stays(&hand).await;
    an_account_is_closed_opened_and_promoted_and_a_pending_row_is_not(&hand).await;
    one_active_admin_is_left(&hand).await;
    a_list_is_newest_first_and_goes_on_after_its_cursor(&hand).await;
    a_link_deletes_its_registration_once_and_ends_the_wait(&hand).await;
    a_link_gives_no_short_code_back(&hand).await;
    a_link_that_is_over_changes_nothing(&hand).await;
    the_purge_takes_what_was_granted_nothing_for_long(&hand).await;
}

async fn a_registration_is_pending_and_queues_one_mail<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    assert_eq!(hand.address_state("one@example.com").await, AddressState { params: None, wait: None });
    let user = hand.registered("One@Example.com").await;
    assert_eq!((user.email.as_str(), user.status), ("One@Example.com", Status::Pending));
    assert_eq!(user.activated_at, None);
    assert_eq!(hand.store.users().find(user.id).await.expect("an answer"), Some(user.clone()));
    let rows = hand.rows("one@example.com").await;
    assert_eq!(rows.iter().map(|row| row.user.id).collect::<Vec<_>>(), [user.id]);
    let mails = hand.mails_of(&user).await;
    assert_eq!(mails.iter().map(|mail| mail.length).collect::<Vec<_>>(), [CodeLength::FOUR]);
    assert_eq!(hand.store.users().find(hand.rng.user_id()).await.expect("an answer"), None);
}

async fn inside_the_wait_nothing_changes<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let user = hand.registered("wait@example.com").await;
    let mails = hand.mails_of(&user).await;
    hand.store.advance(Duration::from_secs(50)).await;
    let minute = Duration::from_secs(60);
    for _ in 0..2 {
        let again = hand.register("WAIT@example.com").await;
        assert!(
            matches!(again, Registration::TooSoon { left } if left <= minute && left > Duration::ZERO),
            "{again:?}"
        );
        let resend = hand.grant_again(&user).await;
        assert!(matches!(resend, Regrant::TooSoon { left } if left <= minute), "{resend:?}");
    }
    let wait = hand.address_state("wait@example.com").await.wait.expect("inside the wait");
    assert!(wait <= Duration::from_secs(10), "refused requests do not lengthen it: {wait:?}");
    assert_eq!(hand.mails_of(&user).await, mails);
    assert_eq!(hand.rows("wait@example.com").await.len(), 1);
}

async fn registering_again_replaces_row_and_mail<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let first = hand.registered("again@example.com").await;
    hand.store.advance(Duration::from_secs(60)).await;
    let second = hand.registered("again@example.com").await;
    assert_ne!(first.id, second.id);
    assert_eq!(hand.store.users().find(first.id).await.expect("an answer"), None);
    assert!(hand.mails_of(&first).await.is_empty());
    assert_eq!(hand.mails_of(&second).await.len(), 1);
    assert_eq!(hand.activate(&first).await, None);
    assert_eq!(hand.grant_again(&first).await, Regrant::NotPending);
}

async fn waits_double_and_short_codes_run_out<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let pacing = Pacing::default();
    let user = hand.registered("paced@example.com").await;
    let mut wait = pacing.first_wait;
    for n in 1..usize::from(pacing.short_codes) + 3 {
        hand.store.advance(wait).await;
        let expected = (wait * 2).min(pacing.longest_wait);
        assert_eq!(hand.grant_again(&user).await, Regrant::Granted { wait: expected });
        wait = expected;
        let length = if n < usize::from(pacing.short_codes) { CodeLength::FOUR } else { CodeLength::TEN };
        assert_eq!(hand.mails_of(&user).await[0].length, length, "grant {n}");
    }
    hand.store.advance(pacing.quiet).await;
    assert_eq!(hand.grant_again(&user).await, Regrant::Granted { wait: pacing.first_wait });
    assert_eq!(hand.mails_of(&user).await[0].length, CodeLength::TEN);
    hand.store.advance(crate::domain::pacing::YEAR).await;
    hand.grant_again(&user).await;
    assert_eq!(hand.mails_of(&user).await[0].length, CodeLength::FOUR, "a year later they are short again");
}

async fn a_recipe_is_kept_for_good<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let first = hand.hasher.params(Salt([1; 16]));
    let dearer = HashCost::new(8, 2, 1).expect("above argon2's least");
    assert!(matches!(hand.register_by("params@example.com", first).await, Registration::Registered(_)));
    hand.store.advance(Duration::from_secs(60)).await;
    for other in [HashParams { salt: Salt([2; 16]), ..first }, HashParams { cost: dearer, ..first }] {
        let stale = hand.register_by("params@example.com", other).await;
        assert!(matches!(stale, Registration::TooSoon { .. }), "a hash by another params is not written: {stale:?}");
    }
    assert_eq!(hand.address_state("params@example.com").await, AddressState { params: Some(first), wait: None });
}

async fn an_accounts_hash_is_made_anew_if_it_is_alone_and_still_the_old_one<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let dearer = HashCost::new(8, 2, 1).expect("above argon2's least");
    let user = hand.registered("rehash@example.com").await;
    let old = hand.rows("rehash@example.com").await[0].hash.clone();
    let new = hand.hash(HashParams { cost: dearer, ..old.params }).await;
    let rehash = async |old, new| hand.store.users().rehash(user.id, old, new).await.expect("the store answers");
    assert!(!rehash(&old, &new).await, "a pending row may shadow an account, and must not tell");
    hand.activate(&user).await.expect("pending till now");
    hand.store.advance(Duration::from_secs(60)).await;
    let shadow = hand.registered("rehash@example.com").await;
    assert!(!rehash(&old, &new).await, "the shadow's hash would no longer fit the params");
    assert_eq!(hand.address_state("rehash@example.com").await.params, Some(old.params));

    let user = hand.registered("rehash2@example.com").await;
    let old = hand.rows("rehash2@example.com").await[0].hash.clone();
    let new = hand.hash(HashParams { cost: dearer, ..old.params }).await;
    let rehash = async |old, new| hand.store.users().rehash(user.id, old, new).await.expect("the store answers");
    hand.activate(&user).await.expect("pending till now");
    assert!(!rehash(&new, &old).await, "the password was changed meanwhile");
    assert!(rehash(&old, &new).await);
    assert!(!rehash(&old, &new).await, "somebody else was faster");
    assert_eq!(hand.rows("rehash2@example.com").await[0].hash.to_phc(), new.to_phc());
    assert_eq!(hand.address_state("rehash2@example.com").await.params, Some(new.params));
    hand.store.advance(Duration::from_secs(60)).await;
    hand.registered("rehash2@example.com").await;
    let shadowed = hand.store.users().rehash(shadow.id, &old, &new).await.expect("the store answers");
    assert!(!shadowed, "nobody else's hash is touched");
}

async fn a_password_is_changed_if_it_is_still_the_old_one_of_an_active_account<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let user = hand.registered("change@example.com").await;
    let old = hand.rows("change@example.com").await[0].hash.clone();
    let password = Password::present("battery staple").expect("a password");
    let new = hand.hasher.hash(password, old.params).await.expect("one at a time");
    let change = async |old, new| hand.store.users().change_password(user.id, old, new).await.expect("an answer");
    assert!(!change(&old, &new).await, "it is pending");
    hand.activate(&user).await.expect("pending till now");
    assert!(!change(&new, &old).await, "it is another one");
    assert!(change(&old, &new).await);
    assert!(!change(&old, &new).await, "somebody else was faster");
    assert!(change(&new, &old).await, "again, before the first mail was sent");
    assert_eq!(hand.rows("change@example.com").await[0].hash.to_phc(), old.to_phc());
    hand.store.disable(user.id).await;
    assert!(!change(&old, &new).await, "it is disabled");
}

async fn a_resend_takes_the_mails_place<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let user = hand.registered("resend@example.com").await;
    let before = hand.mails_of(&user).await;
    hand.store.advance(Duration::from_secs(60)).await;
    assert!(matches!(hand.grant_again(&user).await, Regrant::Granted { .. }));
    let after = hand.mails_of(&user).await;
    assert_eq!(after.len(), 1);
    assert_ne!(before[0].nonce, after[0].nonce);
    assert!(before[0].grant < after[0].grant);
}

async fn activation_happens_once_and_only_to_this_row<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let user = hand.registered("once@example.com").await;
    let other = hand.registered("other@example.com").await;
    let active = hand.activate(&user).await.expect("pending till now");
    assert_eq!((active.id, active.status), (user.id, Status::Active));
    assert!(active.activated_at.is_some());
    assert_eq!(hand.activate(&user).await, None);
    assert!(hand.mails_of(&user).await.is_empty(), "an account needs no code");
    assert_eq!(hand.store.users().find(other.id).await.expect("an answer"), Some(other));
    hand.store.advance(Duration::from_secs(60)).await;
    assert_eq!(hand.grant_again(&user).await, Regrant::NotPending);
}

async fn an_account_and_a_pending_row_stand_side_by_side<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let account = hand.registered("shadow@example.com").await;
    hand.activate(&account).await.expect("pending till now");
    hand.store.advance(Duration::from_secs(60)).await;
    let shadow = hand.registered("shadow@example.com").await;
    let rows = hand.rows("shadow@example.com").await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].hash.params, rows[1].hash.params);
    assert_eq!(hand.activate(&shadow).await, None, "an address has one account");
    assert_eq!(
        hand.store.users().find(account.id).await.expect("an answer").map(|user| user.status),
        Some(Status::Active)
    );
}

async fn a_deleted_row_takes_its_mail_along_and_nothing_else<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let delete = async |user: &User| hand.delete(user, DeletedBy::Oneself).await == Deletion::Deleted;
    let account = hand.registered("leaves@example.com").await;
    hand.activate(&account).await.expect("pending till now");
    hand.store.advance(Duration::from_secs(60)).await;
    let shadow = hand.registered("leaves@example.com").await;
    assert!(delete(&shadow).await);
    assert!(hand.mails_of(&shadow).await.is_empty());
    assert!(!delete(&shadow).await, "it is gone");
    let left = hand.rows("leaves@example.com").await;
    assert_eq!(left.iter().map(|row| row.user.id).collect::<Vec<_>>(), [account.id]);
    assert!(delete(&account).await);
    assert!(hand.rows("leaves@example.com").await.is_empty());
    let standing = hand.address_state("leaves@example.com").await;
    assert!(standing.params.is_some() && standing.wait.is_some(), "what it was granted is remembered");
}

async fn a_disabled_account_stays<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let account = hand.registered("closed@example.com").await;
    hand.activate(&account).await.expect("pending till now");
    hand.store.disable(account.id).await;
    assert_eq!(hand.delete(&account, DeletedBy::Oneself).await, Deletion::Disabled);
    hand.store.advance(Duration::from_secs(60)).await;
    let shadow = hand.registered("closed@example.com").await;
    assert_eq!(hand.activate(&shadow).await, None, "its address does not escape by registering again");
    let status = hand.store.users().find(account.id).await.expect("an answer").map(|user| user.status);
    assert_eq!(status, Some(Status::Disabled));
    assert_eq!(hand.delete(&account, DeletedBy::Operator).await, Deletion::Deleted);
    assert_eq!(hand.delete(&account, DeletedBy::Operator).await, Deletion::NotFound);
}

async fn an_account_is_closed_opened_and_promoted_and_a_pending_row_is_not<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let (close, open) = (Change { disabled: Some(true), role: None }, Change { disabled: Some(false), role: None });
    let user = hand.registered("changes@example.com").await;
    for change in [close, open, promotion(Role::Admin), Change::default()] {
        assert_eq!(hand.update(&user, change).await, Update::NotActive);
    }
    let active = hand.activate(&user).await.expect("pending till now");
    let closed = User { status: Status::Disabled, ..active.clone() };
    assert_eq!(hand.update(&user, close).await, Update::Updated(closed.clone()));
    assert_eq!(hand.update(&user, close).await, Update::Updated(closed));
    assert_eq!(hand.update(&user, open).await, Update::Updated(active.clone()));
    assert_eq!(hand.update(&user, Change::default()).await, Update::Updated(active));
    hand.delete(&user, DeletedBy::Operator).await;
    assert_eq!(hand.update(&user, close).await, Update::NotFound);
}

async fn one_active_admin_is_left<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let close = Change { disabled: Some(true), role: None };
    let mut admins = vec![];
    for email in ["admin1@example.com", "admin2@example.com"] {
        let user = hand.registered(email).await;
        hand.activate(&user).await.expect("pending till now");
        assert!(matches!(hand.update(&user, promotion(Role::Admin)).await, Update::Updated(_)));
        admins.push(user);
    }
    let [first, second] = &admins[..] else { unreachable!("there are two") };
    assert!(matches!(hand.update(first, promotion(Role::User)).await, Update::Updated(_)));
    for change in [promotion(Role::User), close, Change { role: Some(Role::User), ..close }] {
        assert_eq!(hand.update(second, change).await, Update::LastAdmin);
    }
    for by in [DeletedBy::Oneself, DeletedBy::Operator] {
        assert_eq!(hand.delete(second, by).await, Deletion::LastAdmin);
    }
    assert!(matches!(hand.update(second, promotion(Role::Admin)).await, Update::Updated(_)));

    // A disabled admin is none.
    assert!(matches!(hand.update(first, Change { role: Some(Role::Admin), ..close }).await, Update::Updated(_)));
    assert_eq!(hand.update(second, close).await, Update::LastAdmin);
    assert_eq!(hand.delete(first, DeletedBy::Operator).await, Deletion::Deleted);
    let heir = hand.registered("admin3@example.com").await;
    hand.activate(&heir).await.expect("pending till now");
    hand.update(&heir, promotion(Role::Admin)).await;
    assert_eq!(hand.delete(second, DeletedBy::Oneself).await, Deletion::Deleted);
}

fn promotion(role: Role) -> Change {
    Change { role: Some(role), disabled: None }
}

async fn a_list_is_newest_first_and_goes_on_after_its_cursor<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let place = |user: &User| Cursor { created_at: user.created_at, id: user.id };
    let list =
        async |filter: &Filter, after, limit| hand.store.users().list(filter, after, limit).await.expect("an answer");
    let all = list(&Filter::default(), None, 1000).await;
    assert!(all.len() > 5 && all.is_sorted_by(|newer, older| place(newer) > place(older)), "{all:?}");
    assert_eq!(list(&Filter::default(), None, 2).await, all[..2]);
    assert_eq!(list(&Filter::default(), Some(place(&all[1])), 3).await, all[2..5]);
    assert_eq!(list(&Filter::default(), all.last().map(place), 3).await, []);
    for status in [Status::Pending, Status::Active, Status::Disabled] {
        let wanted: Vec<User> = all.iter().filter(|user| user.status == status).cloned().collect();
        let filter = Filter { status: Some(status), address: None };
        assert!(!wanted.is_empty() || status == Status::Disabled);
        assert_eq!(list(&filter, None, 1000).await, wanted);
        if let [first, rest @ ..] = &wanted[..] {
            assert_eq!(list(&filter, Some(place(first)), 1000).await, rest);
        }
    }
    // An account and the pending row beside it.
    let address = Email::parse("SHADOW@example.com").expect("an address").address().clone();
    let of_address = Filter { status: None, address: Some(address) };
    let both = list(&of_address, None, 1000).await;
    assert_eq!(both.iter().map(|user| user.status).collect::<Vec<_>>(), [Status::Pending, Status::Active]);
    let accounts = Filter { status: Some(Status::Active), ..of_address.clone() };
    assert_eq!(list(&accounts, None, 1000).await, both[1..]);
    assert_eq!(list(&of_address, Some(place(&both[0])), 1000).await, both[1..]);
}

async fn a_link_deletes_its_registration_once_and_ends_the_wait<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let account = hand.registered("stranger@example.com").await;
    hand.activate(&account).await.expect("pending till now");
    hand.store.advance(Duration::from_secs(60)).await;
    let shadow = hand.registered("stranger@example.com").await;
    let link = hand.link(&shadow).await;
    assert_eq!(hand.report_not_me(link).await, Some(shadow.id));
    assert!(hand.mails_of(&shadow).await.is_empty());
    let left = hand.rows("stranger@example.com").await;
    assert_eq!(left.iter().map(|row| row.user.id).collect::<Vec<_>>(), [account.id]);
    assert_eq!(hand.address_state("stranger@example.com").await.wait, None);
    let next = hand.registered("stranger@example.com").await;
    let wait = hand.address_state("stranger@example.com").await.wait.expect("a wait");
    assert!(wait > Duration::from_secs(120), "it doubles all the same: {wait:?}");
    assert_eq!(hand.report_not_me(link).await, None, "it works once");
    assert!(hand.address_state("stranger@example.com").await.wait > Some(Duration::from_secs(120)));
    assert!(!hand.store.link(shadow.id, link).await, "there is nobody for whom it could work");

    // A mail that is sent again carries the same link; and each mail's works.
    let first = hand.link(&next).await;
    assert!(hand.store.link(next.id, first).await);
    hand.store.advance(Duration::from_secs(240)).await;
    hand.grant_again(&next).await;
    let second = hand.link(&next).await;
    hand.store.advance(Duration::from_secs(600)).await;
    assert_eq!(hand.report_not_me(first).await, Some(next.id));
    assert_eq!(hand.report_not_me(second).await, None);
    let quiet = Pacing::default().quiet - Duration::from_secs(600);
    hand.store.advance(quiet).await;
    hand.registered("stranger@example.com").await;
    let wait = hand.address_state("stranger@example.com").await.wait.expect("a wait");
    assert!(wait <= Duration::from_secs(60), "a wait that was over began long ago: {wait:?}");
}

async fn a_link_gives_no_short_code_back<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let short_codes = usize::from(Pacing::default().short_codes);
    for n in 0..short_codes + 2 {
        let user = hand.registered("refilled@example.com").await;
        let length = if n < short_codes { CodeLength::FOUR } else { CodeLength::TEN };
        assert_eq!(hand.mails_of(&user).await[0].length, length, "grant {n}");
        let link = hand.link(&user).await;
        assert_eq!(hand.report_not_me(link).await, Some(user.id));
    }
}

async fn a_link_that_is_over_changes_nothing<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    assert_eq!(hand.report_not_me(NotMeHash(hand.rng.bytes())).await, None);

    let active = hand.registered("mine@example.com").await;
    let link = hand.link(&active).await;
    hand.activate(&active).await.expect("pending till now");
    assert!(!hand.store.link(active.id, NotMeHash(hand.rng.bytes())).await, "an account needs none");
    assert_eq!(hand.report_not_me(link).await, None);
    hand.store.disable(active.id).await;
    assert_eq!(hand.report_not_me(link).await, None);
    assert!(hand.store.users().find(active.id).await.expect("an answer").is_some());
    assert!(hand.address_state("mine@example.com").await.wait.is_some());

    let replaced = hand.registered("mine-again@example.com").await;
    let link = hand.link(&replaced).await;
    hand.store.advance(Duration::from_secs(60)).await;
    let later = hand.registered("mine-again@example.com").await;
    assert_eq!(hand.report_not_me(link).await, None);
    assert!(hand.address_state("mine-again@example.com").await.wait.is_some());

    let link = hand.link(&later).await;
    hand.store.advance(not_me::LIFETIME).await;
    assert_eq!(hand.report_not_me(link).await, None);
    assert_eq!(hand.store.users().find(later.id).await.expect("an answer"), Some(later));
}

async fn the_purge_takes_what_was_granted_nothing_for_long<T: UsersUnderTest>(hand: &Hand<'_, T>) {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let purge = async || hand.store.users().purge(week).await.expect("the store answers");
    // What the others have left here.
    hand.store.advance(week).await;
    purge().await;

    let account = hand.registered("purged@example.com").await;
    hand.activate(&account).await.expect("pending till now");
    hand.store.advance(Duration::from_secs(60)).await;
    let shadow = hand.registered("purged@example.com").await;
    let patient = hand.registered("patient@example.com").await;
    hand.store.advance(week - Duration::from_secs(60)).await;
    assert_eq!(purge().await, 0);
    assert!(matches!(hand.grant_again(&patient).await, Regrant::Granted { .. }));
    hand.store.advance(Duration::from_secs(60)).await;
    assert_eq!(purge().await, 1);
    assert!(hand.mails_of(&shadow).await.is_empty());
    let left = hand.rows("purged@example.com").await;
    assert_eq!(left.iter().map(|row| row.user.id).collect::<Vec<_>>(), [account.id]);
    assert!(hand.address_state("purged@example.com").await.params.is_some(), "an address is not forgotten");
    assert_eq!(hand.store.users().find(patient.id).await.expect("an answer"), Some(patient));
}

/// All that [`Codes`] promises.
pub async fn codes(store: &impl CodesUnderTest) {
    let rng = Rng::from_system();
    let code = Code::parse("0042").expect("digits");
    let (codes, wrong) = (store.codes(), other_than(&code));
    let redeem = async |user, code: &Code| codes.redeem(user, code).await.expect("the store answers");
    let put = async |user, n, code: Option<&Code>| codes.put(user, Grant(n), code).await.expect("the store answers");

    // Nothing there.
    let user = rng.user_id();
    assert_eq!(redeem(user, &code).await, Redeemed::NoCode(NoCode::NotMailed));
    codes.discard(user).await.expect("discarding nothing is no error");

    // A match changes nothing; a code is good for its user only.
    assert_eq!(put(user, 1, Some(&code)).await, Put::Armed);
    assert_eq!(redeem(user, &code).await, Redeemed::Match);
    assert_eq!(redeem(user, &code).await, Redeemed::Match);
    assert_eq!(redeem(rng.user_id(), &code).await, Redeemed::NoCode(NoCode::NotMailed));

    // Misses count down to nothing, whatever is put again.
    assert_eq!(redeem(user, &wrong).await, Redeemed::Miss { remaining: 2 });
    assert_eq!(put(user, 1, Some(&code)).await, Put::Armed);
    assert_eq!(redeem(user, &wrong).await, Redeemed::Miss { remaining: 1 });
    assert_eq!(redeem(user, &code).await, Redeemed::Match);
    assert_eq!(redeem(user, &wrong).await, Redeemed::Miss { remaining: 0 });
    assert_eq!(redeem(user, &code).await, Redeemed::NoCode(NoCode::Destroyed));
    assert_eq!(put(user, 1, Some(&code)).await, Put::Spent);
    assert_eq!(redeem(user, &code).await, Redeemed::NoCode(NoCode::Destroyed));

    // A later grant starts afresh, an earlier one comes too late.
    assert_eq!(put(user, 3, Some(&code)).await, Put::Armed);
    assert_eq!(put(user, 2, Some(&wrong)).await, Put::Overtaken);
    assert_eq!(redeem(user, &code).await, Redeemed::Match);
    assert_eq!(redeem(user, &wrong).await, Redeemed::Miss { remaining: 2 });

    // The minute, and its new beginning when put again.
    let user = rng.user_id();
    put(user, 1, Some(&code)).await;
    store.advance(Duration::from_secs(40)).await;
    put(user, 1, Some(&code)).await;
    store.advance(Duration::from_secs(40)).await;
    assert_eq!(redeem(user, &code).await, Redeemed::Match);
    store.advance(Duration::from_secs(20)).await;
    assert_eq!(redeem(user, &code).await, Redeemed::NoCode(NoCode::Expired));

    // Misses outlive the minute.
    put(user, 1, Some(&code)).await;
    redeem(user, &wrong).await;
    store.advance(Duration::from_secs(60)).await;
    put(user, 1, Some(&code)).await;
    assert_eq!(redeem(user, &wrong).await, Redeemed::Miss { remaining: 1 });

    // A discarded code is gone for good.
    codes.discard(user).await.expect("the store answers");
    assert!(matches!(redeem(user, &code).await, Redeemed::NoCode(_)));
    assert_eq!(put(user, 1, Some(&code)).await, Put::Spent);

    // A code whose mail was not sent is no code, until it is put again; misses stay.
    let user = rng.user_id();
    put(user, 2, Some(&code)).await;
    redeem(user, &wrong).await;
    codes.withdraw(user, Grant(1)).await.expect("the store answers");
    assert_eq!(redeem(user, &code).await, Redeemed::Match, "an earlier grant takes nothing back");
    codes.withdraw(user, Grant(2)).await.expect("the store answers");
    assert_eq!(redeem(user, &code).await, Redeemed::NoCode(NoCode::NotMailed));
    assert_eq!(put(user, 2, Some(&code)).await, Put::Armed);
    assert_eq!(redeem(user, &wrong).await, Redeemed::Miss { remaining: 1 });
    codes.withdraw(rng.user_id(), Grant(1)).await.expect("withdrawing nothing is no error");

    // A decoy matches nothing and counts like a code.
    let user = rng.user_id();
    assert_eq!(put(user, 1, None).await, Put::Armed);
    for remaining in [2, 1, 0] {
        assert_eq!(redeem(user, &code).await, Redeemed::Miss { remaining });
    }
    assert_eq!(redeem(user, &code).await, Redeemed::NoCode(NoCode::Destroyed));
    assert_eq!(put(user, 1, None).await, Put::Spent);
}

#[cfg(test)]
mod service {
    use super::super::fakes::{InMemoryCodes, InMemoryUsers, ManualClock};
    use super::*;

    struct Users(ManualClock, InMemoryUsers);

    impl UsersUnderTest for Users {
        type Users = InMemoryUsers;
        fn users(&self) -> &InMemoryUsers {
            &self.1
        }
        async fn advance(&self, by: Duration) {
            self.0.advance(by);
        }
        async fn queued(&self) -> Vec<(UserId, GrantedCode)> {
            self.1.queued().into_iter().map(|mail| (mail.user, mail.code)).collect()
        }
        async fn link(&self, user: UserId, link: NotMeHash) -> bool {
            self.1.link(user, link)
        }
        async fn disable(&self, user: UserId) {
            self.1.disable(user);
        }
    }

    struct Codes(ManualClock, InMemoryCodes);

    impl CodesUnderTest for Codes {
        type Codes = InMemoryCodes;
        fn codes(&self) -> &InMemoryCodes {
            &self.1
        }
        async fn advance(&self, by: Duration) {
            self.0.advance(by);
        }
    }

    #[tokio::test]
    async fn the_twin_of_postgresql_keeps_the_contract() {
        let clock = ManualClock::default();
        users(&Users(clock.clone(), InMemoryUsers::new(clock, Pacing::default()))).await;
    }

    #[tokio::test]
    async fn the_twin_of_redis_keeps_the_contract() {
        let clock = ManualClock::default();
        codes(&Codes(clock.clone(), InMemoryCodes::new(clock, Duration::from_secs(60)))).await;
    }
}
