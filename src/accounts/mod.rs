//! The product: a file a use case, written against two ports and the hasher.

pub mod activate;
pub mod authenticate;
pub mod change_password;
pub mod delete;
pub mod list;
pub mod ports;
pub mod purge;
pub mod register;
pub mod report_not_me;
pub mod resend;
#[cfg(all(test, feature = "testing"))]
mod tests;
pub mod update;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::user::UserId;
use crate::passwords::Hasher;
use crate::rng::Rng;
use ports::{Codes, Users};
use register::ExistingAccount;

/// The use cases' common ground. Cheap to clone.
pub struct Accounts<U, C> {
    pub(crate) users: Arc<U>,
    codes: Arc<C>,
    hasher: Hasher,
    rng: Rng,
    /// Wakes this process's mail worker; others find the row by polling.
    mail_queued: Arc<Notify>,
    existing_account: ExistingAccount,
}

impl<U: Users, C: Codes> Accounts<U, C> {
    pub fn new(
        users: Arc<U>,
        codes: Arc<C>,
        hasher: Hasher,
        rng: Rng,
        mail_queued: Arc<Notify>,
        existing_account: ExistingAccount,
    ) -> Self {
        Self { users, codes, hasher, rng, mail_queued, existing_account }
    }

    /// Drops the code of a user who needs none any more. If it cannot be dropped it expires by itself, and until then
    /// there is nobody whom it activates.
    async fn forget_code(&self, user: UserId) {
        if let Err(error) = self.codes.discard(user).await {
            tracing::warn!(%error, user.id = %user, "a code was not discarded; it expires by itself");
        }
    }
}

impl<U, C> Clone for Accounts<U, C> {
    fn clone(&self) -> Self {
        Self {
            users: Arc::clone(&self.users),
            codes: Arc::clone(&self.codes),
            hasher: self.hasher.clone(),
            rng: self.rng.clone(),
            mail_queued: Arc::clone(&self.mail_queued),
            existing_account: self.existing_account,
        }
    }
}
