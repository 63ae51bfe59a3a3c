//! What a model-based test needs from the service that it tests.

use std::time::Duration;

use super::super::{QueuedMail, QueuedReset};
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::code::ResetId;
use crate::domain::email::Address;
use crate::domain::not_me::NotMeHash;
use crate::domain::user::UserId;

/// The use cases on some stores, with [`Pacing::default`](crate::domain::pacing::Pacing::default), default lifetimes of codes, and
/// a movable clock.
pub trait ServiceUnderTest {
    type Users: Users;
    type Codes: Codes;
    fn accounts(&self) -> &Accounts<Self::Users, Self::Codes>;
    fn codes(&self) -> &Self::Codes;
    /// Advances the time of both stores by making everything stored older.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
    /// Loses all codes and wrong guesses, as a Redis that restarts without persistence does.
    fn lose_codes(&self) -> impl Future<Output = ()>;
    /// Returns the code mails that are not sent yet, oldest first.
    fn queued_mails(&self) -> impl Future<Output = Vec<QueuedMail>>;
    /// Stores a "this was not me" link of the user. Returns `false` if the user is not pending.
    fn store_not_me_link(&self, user: UserId, link: NotMeHash) -> impl Future<Output = bool>;
    /// Returns the queued reset mail of an address.
    fn queued_reset(&self, id: ResetId, address: &Address) -> impl Future<Output = Option<QueuedReset>>;
    /// Binds the code of a reset mail to the active account of its address, as the mail worker does. Returns `false` if the
    /// mail is not wanted.
    fn bind_reset(&self, id: ResetId, mail: &QueuedReset) -> impl Future<Output = bool>;
    /// Purges pending registrations that were granted no code mail for `pending_ttl`.
    fn purge(&self, pending_ttl: Duration) -> impl Future<Output = ()>;
}
