//! Contract of password resets: their grants, and the account that a code is made for.

use std::time::Duration;

use super::fixture::Fixture;
use super::under_test::UsersUnderTest;
use crate::accounts::errors::RequestResetError;
use crate::accounts::ports::Users as _;
use crate::domain::code::ResetId;
use crate::domain::email::Email;
use crate::passwords::{HashCost, HashParams, PasswordHash};
use crate::testing::QueuedReset;

const STORE_ANSWERS: &str = "the store answers";

impl<T: UsersUnderTest> Fixture<'_, T> {
    async fn request_reset(&self, id: ResetId, email: &str) -> Result<Duration, RequestResetError> {
        let email = Email::parse(email).expect("a valid address");
        self.store.users().request_reset(id, email.address(), self.rng.nonce(), None).await
    }

    /// Requests a reset and returns its mail.
    async fn granted_reset(&self, id: ResetId, email: &str) -> QueuedReset {
        self.request_reset(id, email).await.expect("no earlier request");
        self.store.queued_reset(id, email).await.expect("the request queued a mail")
    }

    async fn reset_hash(&self, id: ResetId) -> Option<PasswordHash> {
        self.store.users().find_reset_account(id).await.expect(STORE_ANSWERS).map(|row| row.hash)
    }

    /// Returns the hash of another password with the same parameters.
    fn another(&self, hash: &PasswordHash) -> PasswordHash {
        let phc = hash.to_phc();
        let (rest, digest) = phc.rsplit_once('$').expect("a PHC string");
        let first = if digest.starts_with('A') { 'B' } else { 'A' };
        PasswordHash::from_phc(&format!("{rest}${first}{}", &digest[1..])).expect("a PHC string")
    }
}

pub async fn reset_mails_are_paced_for_every_address<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    fixture.register_account("reset@example.com").await;
    for email in ["reset@example.com", "reset-unknown@example.com"] {
        let id = ResetId(fixture.rng.bytes());
        assert_eq!(fixture.request_reset(id, email).await.expect("no earlier request"), Duration::from_secs(600));
        let first = fixture.store.queued_reset(id, email).await.expect("the request queued a mail");
        assert_eq!(first.length.digits(), 8);
        let early = fixture.request_reset(id, email).await;
        assert!(matches!(early, Err(RequestResetError::TooSoon { left }) if left <= Duration::from_secs(600)));
        assert_eq!(fixture.store.queued_reset(id, email).await, Some(first.clone()));
        fixture.store.advance(Duration::from_secs(600)).await;
        assert_eq!(fixture.request_reset(id, email).await.expect("the wait is over"), Duration::from_secs(1200));
        let second = fixture.store.queued_reset(id, email).await.expect("the request queued a mail");
        assert!(second.grant > first.grant && second.nonce != first.nonce);
        fixture.store.advance(Duration::from_secs(24 * 60 * 60)).await;
        assert_eq!(fixture.request_reset(id, email).await.expect("a quiet day"), Duration::from_secs(600));
    }
}

pub async fn reset_changes_the_password_that_the_code_was_made_for<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let email = "reset-once@example.com";
    let (id, user) = (ResetId(fixture.rng.bytes()), fixture.register_account(email).await);
    let old = fixture.rows(email).await[0].hash.clone();
    let (new, third) = (fixture.another(&old), fixture.another(&fixture.another(&old)));
    let reset =
        async |old, new| fixture.store.users().reset_password(id, user.id, old, new, None).await.expect(STORE_ANSWERS);
    assert!(!reset(&old, &new).await, "nobody asked for a reset");
    let mail = fixture.granted_reset(id, email).await;
    assert!(!reset(&old, &new).await, "no code was made");
    assert_eq!(fixture.reset_hash(id).await.map(|hash| hash.to_phc()), None);
    assert!(fixture.store.bind_reset(id, &mail).await);
    assert!(fixture.store.bind_reset(id, &mail).await, "a retry of the mail");
    assert_eq!(fixture.reset_hash(id).await.map(|hash| hash.to_phc()), Some(old.to_phc()));
    assert!(!reset(&new, &third).await, "the stored hash is another one");
    assert!(reset(&old, &new).await);
    assert_eq!(fixture.rows(email).await[0].hash.to_phc(), new.to_phc());
    assert!(!reset(&new, &third).await, "the code was used");
    assert!(fixture.reset_hash(id).await.is_none());
    assert_eq!(fixture.store.queued_reset(id, email).await, None, "a used code is still queued");
    assert!(!fixture.store.bind_reset(id, &mail).await, "a retry of the mail after the code was used");
}

pub async fn reset_code_dies_with_the_password_or_the_account<T: UsersUnderTest>(fixture: &Fixture<'_, T>) {
    let higher = HashCost::new(8, 2, 1).expect("above the minimum cost of argon2");
    let users = fixture.store.users();
    let bound = async |email: &str| {
        let (id, user) = (ResetId(fixture.rng.bytes()), fixture.register_account(email).await);
        let mail = fixture.granted_reset(id, email).await;
        assert!(fixture.store.bind_reset(id, &mail).await);
        (id, user, fixture.rows(email).await[0].hash.clone())
    };
    let (id, user, old) = bound("reset-changed@example.com").await;
    let new = fixture.another(&old);
    assert!(users.change_password(user.id, &old, &new, None).await.expect(STORE_ANSWERS));
    assert!(fixture.reset_hash(id).await.is_none());
    assert_eq!(fixture.store.queued_reset(id, "reset-changed@example.com").await, None);
    assert!(!users.reset_password(id, user.id, &new, &old, None).await.expect(STORE_ANSWERS));

    let (id, user, old) = bound("reset-rehashed@example.com").await;
    let new = fixture.hash(HashParams { cost: higher, ..old.params }).await;
    assert!(users.rehash(user.id, &old, &new).await.expect(STORE_ANSWERS));
    assert_eq!(fixture.reset_hash(id).await.map(|hash| hash.to_phc()), Some(new.to_phc()), "the password is the same");

    let (id, user, old) = bound("reset-disabled@example.com").await;
    fixture.store.disable(user.id).await;
    assert!(fixture.reset_hash(id).await.is_none());
    assert!(!users.reset_password(id, user.id, &old, &fixture.another(&old), None).await.expect(STORE_ANSWERS));

    for email in ["reset-nobody@example.com", "reset-pending@example.com"] {
        let id = ResetId(fixture.rng.bytes());
        if email == "reset-pending@example.com" {
            fixture.register(email).await;
        }
        let mail = fixture.granted_reset(id, email).await;
        assert!(!fixture.store.bind_reset(id, &mail).await, "{email} has no active account");
    }
}
