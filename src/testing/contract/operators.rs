//! Contract of deletions, and of what operators do: change accounts and list users.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::errors::{DeleteError, UpdateError};
use crate::accounts::ports::{AccountChange, AddressSearch, Cursor, DeletedBy, SearchCursor, UserFilter, Users as _};
use crate::domain::address_search::{AddressDomain, AddressPrefix};
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::domain::user::{Role, Status, User};

const DISABLE: AccountChange = AccountChange { disabled: Some(true), role: None };
const ENABLE: AccountChange = AccountChange { disabled: Some(false), role: None };
const PROMOTE: AccountChange = AccountChange { disabled: None, role: Some(Role::Admin) };
const DEMOTE: AccountChange = AccountChange { disabled: None, role: Some(Role::User) };

pub async fn deletion_removes_the_row_and_its_mail_and_nothing_else<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let account = fixture.register_account("leaves@example.com").await;
    fixture.store.advance(Duration::from_secs(60)).await;
    let pending = fixture.register("leaves@example.com").await;
    fixture.delete(&pending, DeletedBy::User).await.expect("the row exists");
    assert!(fixture.mails_of(&pending).await.is_empty());
    let again = fixture.delete(&pending, DeletedBy::User).await;
    assert!(matches!(again, Err(DeleteError::NotFound)), "{again:?}");
    assert_eq!(fixture.ids("leaves@example.com").await, [account.id]);
    fixture.delete(&account, DeletedBy::User).await.expect("the row exists");
    assert!(fixture.rows("leaves@example.com").await.is_empty());
    let state = fixture.address_state("leaves@example.com").await;
    assert!(state.params.is_some() && state.wait.is_some(), "the grants of the address must stay");
}

pub async fn language_is_kept_and_can_be_changed<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let set =
        async |user: &User, locale| fixture.store.users().set_locale(user.id, locale).await.expect("the store answers");
    let pending = fixture.register("speaks@example.com").await;
    assert_eq!(pending.locale, None);
    let german = User { locale: Some(Locale::German), ..pending.clone() };
    assert_eq!(set(&pending, Some(Locale::German)).await, Some(german.clone()));
    assert_eq!(fixture.find(&pending).await, Some(german));
    let account = fixture.activate(&pending).await.expect("the user was pending");
    assert_eq!(account.locale, Some(Locale::German));
    assert_eq!(set(&account, None).await.map(|user| user.locale), Some(None));
    fixture.store.disable(account.id).await;
    assert_eq!(set(&account, Some(Locale::French)).await, None);
    let unknown = User { id: fixture.rng.user_id(), ..account };
    assert_eq!(set(&unknown, Some(Locale::French)).await, None);
}

pub async fn only_an_operator_deletes_a_disabled_account<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let account = fixture.register_account("closed@example.com").await;
    fixture.store.disable(account.id).await;
    let by_user = fixture.delete(&account, DeletedBy::User).await;
    assert!(matches!(by_user, Err(DeleteError::Disabled)), "{by_user:?}");
    fixture.store.advance(Duration::from_secs(60)).await;
    let pending = fixture.register("closed@example.com").await;
    assert_eq!(fixture.activate(&pending).await, None, "registering again must not bypass the disabled account");
    assert_eq!(fixture.find(&account).await.map(|user| user.status), Some(Status::Disabled));
    fixture.delete(&account, DeletedBy::Operator).await.expect("operators delete disabled accounts");
    let again = fixture.delete(&account, DeletedBy::Operator).await;
    assert!(matches!(again, Err(DeleteError::NotFound)), "{again:?}");
}

pub async fn operator_changes_accounts_but_not_pending_rows<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let changed = async |user: &User, change| fixture.update(user, change).await.expect("the account exists");
    let user = fixture.register("changes@example.com").await;
    for change in [DISABLE, ENABLE, PROMOTE, AccountChange::default()] {
        let refused = fixture.update(&user, change).await;
        assert!(matches!(refused, Err(UpdateError::NotActive)), "{refused:?}");
    }
    let active = fixture.activate(&user).await.expect("the user was pending");
    let disabled = User { status: Status::Disabled, ..active.clone() };
    assert_eq!(changed(&user, DISABLE).await, disabled);
    assert_eq!(changed(&user, DISABLE).await, disabled);
    assert_eq!(changed(&user, ENABLE).await, active);
    assert_eq!(changed(&user, AccountChange::default()).await, active);
    fixture.delete(&user, DeletedBy::Operator).await.expect("the row exists");
    let gone = fixture.update(&user, DISABLE).await;
    assert!(matches!(gone, Err(UpdateError::NotFound)), "{gone:?}");
}

pub async fn last_active_admin_cannot_be_removed<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let mut admins = vec![];
    for email in ["admin1@example.com", "admin2@example.com"] {
        let user = fixture.register_account(email).await;
        fixture.update(&user, PROMOTE).await.expect("the account is active");
        admins.push(user);
    }
    let [first, second] = &admins[..] else { unreachable!("there are two") };
    fixture.update(first, DEMOTE).await.expect("the second admin is left");
    for change in [DEMOTE, DISABLE, AccountChange { role: Some(Role::User), ..DISABLE }] {
        let refused = fixture.update(second, change).await;
        assert!(matches!(refused, Err(UpdateError::LastAdmin)), "{refused:?}");
    }
    for by in [DeletedBy::User, DeletedBy::Operator] {
        let refused = fixture.delete(second, by).await;
        assert!(matches!(refused, Err(DeleteError::LastAdmin)), "{refused:?}");
    }
    fixture.update(second, PROMOTE).await.expect("the change removes no admin");

    // A disabled admin does not count as an active admin.
    let disabled_admin = AccountChange { role: Some(Role::Admin), ..DISABLE };
    fixture.update(first, disabled_admin).await.expect("the second admin is left");
    let refused = fixture.update(second, DISABLE).await;
    assert!(matches!(refused, Err(UpdateError::LastAdmin)), "{refused:?}");
    fixture.delete(first, DeletedBy::Operator).await.expect("the second admin is left");
    let third = fixture.register_account("admin3@example.com").await;
    fixture.update(&third, PROMOTE).await.expect("the account is active");
    fixture.delete(second, DeletedBy::User).await.expect("the third admin is left");
}

pub async fn list_is_newest_first_and_continues_after_the_cursor<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let list = async |filter: &UserFilter, after, limit| {
        fixture.store.users().list(filter, after, limit).await.expect("the store answers")
    };
    let everybody = UserFilter::default();
    let all = list(&everybody, None, 1000).await;
    assert!(all.len() > 5 && all.is_sorted_by(|newer, older| Cursor::at(newer) > Cursor::at(older)), "{all:?}");
    assert_eq!(list(&everybody, None, 2).await, all[..2]);
    assert_eq!(list(&everybody, Some(Cursor::at(&all[1])), 3).await, all[2..5]);
    assert_eq!(list(&everybody, all.last().map(Cursor::at), 3).await, []);
    for status in [Status::Pending, Status::Active, Status::Disabled] {
        let expected: Vec<User> = all.iter().filter(|user| user.status == status).cloned().collect();
        let filter = UserFilter { status: Some(status), ..UserFilter::default() };
        assert!(!expected.is_empty() || status == Status::Disabled);
        assert_eq!(list(&filter, None, 1000).await, expected);
        if let [first, rest @ ..] = &expected[..] {
            assert_eq!(list(&filter, Some(Cursor::at(first)), 1000).await, rest);
        }
    }
    // An address with an account and a pending registration.
    let address = Email::parse("BOTH@example.com").expect("a valid address").address().clone();
    let of_address = UserFilter { address: Some(address), ..UserFilter::default() };
    let both = list(&of_address, None, 1000).await;
    assert_eq!(both.iter().map(|user| user.status).collect::<Vec<_>>(), [Status::Pending, Status::Active]);
    let accounts = UserFilter { status: Some(Status::Active), ..of_address.clone() };
    assert_eq!(list(&accounts, None, 1000).await, both[1..]);
    assert_eq!(list(&of_address, Some(Cursor::at(&both[0])), 1000).await, both[1..]);
}

pub async fn searches_find_parts_of_addresses_and_continue_after_the_cursor<T: UsersUnderTest>(
    fixture: &Fixture<'_, T>,
) {
    let users = fixture.store.users();
    let domain = |name: &str| AddressDomain::parse(name).expect("a valid domain");
    let prefix = |text: &str| AddressPrefix::parse(text).expect("a valid prefix");
    let mut registered = vec![];
    // `sea` sorts before its continuations, and `seas@` after `sea@`: `@` is less than letters.
    for email in
        ["sea@one.example", "seaport@one.example", "Seas@two.example", "seb@one.example", "seaweed@two.example"]
    {
        registered.push(fixture.register(email).await);
    }
    let [sea, seaport, seas, seb, seaweed] = &registered[..] else { unreachable!("there are five") };
    let active = fixture.activate(seaport).await.expect("the user is pending");

    let search = AddressSearch { prefix: prefix("SEA"), domain: None, status: None };
    let all = users.search(&search, None, 1000).await.expect("the store answers");
    let found: Vec<User> = all.iter().map(|found| found.user.clone()).collect();
    assert_eq!(found, [sea, &active, seas, seaweed].map(User::clone));
    assert!(all.is_sorted_by(|a, b| a.position < b.position));
    for (n, earlier) in all.iter().enumerate() {
        let rest = users.search(&search, Some(&earlier.position), 1000).await.expect("the store answers");
        assert_eq!(rest, all[n + 1..]);
    }
    assert_eq!(users.search(&search, None, 2).await.expect("the store answers"), all[..2]);
    // A position of another search.
    let before = SearchCursor { address: "aaa".to_owned(), id: sea.id };
    assert_eq!(users.search(&search, Some(&before), 1000).await.expect("the store answers"), all);
    let behind = SearchCursor { address: "zzz".to_owned(), id: sea.id };
    assert_eq!(users.search(&search, Some(&behind), 1000).await.expect("the store answers"), []);

    let found = async |search: AddressSearch| -> Vec<User> {
        let found = users.search(&search, None, 1000).await.expect("the store answers");
        found.into_iter().map(|found| found.user).collect()
    };
    let pending = AddressSearch { status: Some(Status::Pending), ..search.clone() };
    assert_eq!(found(pending).await, [sea, seas, seaweed].map(User::clone));
    let in_domain = AddressSearch { domain: Some(domain("TWO.example")), ..search.clone() };
    assert_eq!(found(in_domain.clone()).await, [seas, seaweed].map(User::clone));
    assert_eq!(found(AddressSearch { status: Some(Status::Active), ..in_domain }).await, []);
    let whole = AddressSearch { prefix: prefix("seb@one.example"), ..search };
    assert_eq!(found(whole).await, std::slice::from_ref(seb));

    let filter = UserFilter { domain: Some(domain("one.example")), ..UserFilter::default() };
    let of_domain = users.list(&filter, None, 1000).await.expect("the store answers");
    let mut newest_first = [sea.clone(), active.clone(), seb.clone()];
    newest_first.sort_by_key(|user| std::cmp::Reverse(Cursor::at(user)));
    assert_eq!(of_domain, newest_first);
    let after = Some(Cursor::at(&of_domain[0]));
    assert_eq!(users.list(&filter, after, 1).await.expect("the store answers"), of_domain[1..2]);
    let actives = UserFilter { status: Some(Status::Active), ..filter };
    assert_eq!(users.list(&actives, None, 1000).await.expect("the store answers"), [active]);
}
