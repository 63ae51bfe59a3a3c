//! A store of users under test, and shortcuts to call it.

use std::time::Duration;

use super::super::QueuedMail;
use super::under_test::UsersUnderTest;
use crate::accounts::errors::{DeleteError, RegisterError, ResendError, UpdateError};
use crate::accounts::ports::*;
use crate::domain::email::Email;
use crate::domain::network::Network;
use crate::domain::not_me::NotMeHash;
use crate::domain::password::Password;
use crate::domain::ticket::TicketHash;
use crate::domain::user::{User, UserId};
use crate::passwords::{HashParams, Hasher, PasswordHash, Salt};
use crate::rng::Rng;

const STORE_ANSWERS: &str = "the store answers";

/// A store under test with a random generator and a hasher. The methods panic if the store does not answer.
pub struct Fixture<'a, T> {
    pub store: &'a T,
    pub rng: Rng,
    pub hasher: Hasher,
}

impl<T: UsersUnderTest> Fixture<'_, T> {
    /// Hashes a fixed password.
    pub async fn hash(&self, params: HashParams) -> PasswordHash {
        let password = Password::present("correct horse").expect("a valid password");
        self.hasher.hash(password, params, Network::LOCAL).await.expect("the hasher is idle")
    }

    /// Registers an address with a hash of these parameters.
    pub async fn register_with(&self, email: &str, params: HashParams) -> Result<User, RegisterError> {
        self.register_with_ticket(email, params, None).await
    }

    /// Registers an address with a hash of these parameters, and with a ticket.
    pub async fn register_with_ticket(
        &self,
        email: &str,
        params: HashParams,
        ticket: Option<TicketHash>,
    ) -> Result<User, RegisterError> {
        let (email, hash) = (Email::parse(email).expect("a valid address"), self.hash(params).await);
        let (id, nonce) = (self.rng.user_id(), self.rng.nonce());
        let new = NewUser { id, email: &email, hash: &hash, nonce, ticket, locale: None, trace: None };
        self.store.users().register(&new).await
    }

    /// Registers an address with the parameters of its address state.
    pub async fn try_register(&self, email: &str) -> Result<User, RegisterError> {
        let state = self.address_state(email).await;
        let params = state.params.unwrap_or_else(|| self.hasher.params(Salt(self.rng.bytes())));
        self.register_with(email, params).await
    }

    /// Registers an address with the parameters of its address state, and with a ticket.
    pub async fn try_register_by_ticket(&self, email: &str, ticket: TicketHash) -> Result<User, RegisterError> {
        let params = self.address_state(email).await.params.expect("the address was registered");
        self.register_with_ticket(email, params, Some(ticket)).await
    }

    /// Registers an address that is not inside its wait.
    pub async fn register(&self, email: &str) -> User {
        self.try_register(email).await.expect("the address may register now")
    }

    /// Registers an address and activates the account.
    pub async fn register_account(&self, email: &str) -> User {
        let user = self.register(email).await;
        self.activate(&user).await.expect("the user was pending")
    }

    pub async fn address_state(&self, email: &str) -> AddressState {
        self.state_with_ticket(email, None).await
    }

    /// Returns the state of an address for a request that presents a ticket.
    pub async fn state_with_ticket(&self, email: &str, ticket: Option<&TicketHash>) -> AddressState {
        let email = Email::parse(email).expect("a valid address");
        self.store.users().address_state(email.address(), ticket).await.expect(STORE_ANSWERS)
    }

    pub async fn rows(&self, email: &str) -> Vec<StoredUser> {
        let email = Email::parse(email).expect("a valid address");
        self.store.users().find_by_address(email.address()).await.expect(STORE_ANSWERS)
    }

    pub async fn ids(&self, email: &str) -> Vec<UserId> {
        self.rows(email).await.into_iter().map(|row| row.user.id).collect()
    }

    pub async fn find(&self, user: &User) -> Option<User> {
        self.store.users().find(user.id).await.expect(STORE_ANSWERS)
    }

    pub async fn resend(&self, user: &User) -> Result<Duration, ResendError> {
        self.store.users().resend(user.id, self.rng.nonce(), None).await
    }

    pub async fn activate(&self, user: &User) -> Option<User> {
        self.store.users().activate(user.id, None).await.expect(STORE_ANSWERS)
    }

    pub async fn update(&self, user: &User, change: AccountChange) -> Result<User, UpdateError> {
        self.store.users().update(user.id, change).await
    }

    pub async fn delete(&self, user: &User, by: DeletedBy) -> Result<(), DeleteError> {
        self.store.users().delete(user.id, by).await
    }

    /// Stores a random link of a pending user.
    pub async fn store_not_me_link(&self, user: &User) -> NotMeHash {
        let link = NotMeHash(self.rng.bytes());
        assert!(self.store.store_not_me_link(user.id, link).await, "the user is pending");
        link
    }

    pub async fn report_not_me(&self, link: NotMeHash) -> Option<UserId> {
        self.report_for_ticket(link).await.0
    }

    /// Reports "this was not me". Returns the deleted user and the hash of the ticket, which is valid if a user was deleted.
    pub async fn report_for_ticket(&self, link: NotMeHash) -> (Option<UserId>, TicketHash) {
        let ticket = TicketHash(self.rng.bytes());
        (self.store.users().report_not_me(&link, &ticket).await.expect(STORE_ANSWERS), ticket)
    }

    pub async fn mails_of(&self, user: &User) -> Vec<QueuedMail> {
        let queued = self.store.queued_mails().await;
        queued.into_iter().filter(|mail| mail.user == user.id).collect()
    }
}
