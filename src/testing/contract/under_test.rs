//! What a contract test needs from the store that it tests.

use std::time::Duration;

use super::super::{QueuedMail, QueuedReset};
use crate::accounts::ports::{Codes, Users};
use crate::domain::code::ResetId;
use crate::domain::not_me::NotMeHash;
use crate::domain::user::UserId;
use crate::passwords::{ForeignHash, PasswordHash};

/// A store of users under test: empty, with [`Pacing::default`](crate::domain::pacing::Pacing::default).
pub trait UsersUnderTest {
    type Users: Users;
    fn users(&self) -> &Self::Users;
    /// Advances the store's time by making all stored times older.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
    /// Returns the code mails that are not sent yet, oldest first.
    fn queued_mails(&self) -> impl Future<Output = Vec<QueuedMail>>;
    /// Stores a "this was not me" link of the user. Returns `false` if the user is not pending.
    fn store_not_me_link(&self, user: UserId, link: NotMeHash) -> impl Future<Output = bool>;
    /// Returns the queued reset mail of the address with this id.
    fn queued_reset(&self, id: ResetId, email: &str) -> impl Future<Output = Option<QueuedReset>>;
    /// Binds the code of a reset mail to the active account of its address, as the mail worker does. Returns `false` if the
    /// mail is not wanted.
    fn bind_reset(&self, id: ResetId, mail: &QueuedReset) -> impl Future<Output = bool>;
    /// Disables an account, as an operator does.
    fn disable(&self, user: UserId) -> impl Future<Output = ()>;
    /// Gives an account a hash that another system has made. `unknown` becomes the hash with the parameters of the address.
    fn set_foreign(&self, user: UserId, foreign: &ForeignHash, unknown: &PasswordHash) -> impl Future<Output = ()>;
}

/// A store of codes under test. Every code lives 60 s.
pub trait CodesUnderTest {
    type Codes: Codes;
    fn codes(&self) -> &Self::Codes;
    /// Advances the store's time by shortening the lifetimes of all keys.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
    /// Loses all keys, as a Redis that restarts without persistence does.
    fn lose_all(&self) -> impl Future<Output = ()>;
}
