//! Changing one's password: of the account whose old password was checked, if it is still that.

use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, StoreError, StoredUser, Users};
use crate::domain::password::Password;
use crate::domain::user::Status;
use crate::passwords::Overloaded;

#[derive(Debug, Error)]
pub enum ChangePasswordError {
    #[error("the user is not active")]
    NotActive,
    /// An operator has closed the account since its credentials were checked.
    #[error("the account is disabled")]
    Disabled,
    /// The account has another password since its credentials were checked, or is gone.
    #[error("the password is no longer the one that was checked")]
    Changed,
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Gives an authenticated account another password, and its owner a mail that says so. A pending registration beside
    /// it keeps its own: the params, which the two share, stays as it is.
    pub async fn change_password(&self, row: &StoredUser, new: Password) -> Result<(), ChangePasswordError> {
        if row.user.status != Status::Active {
            return Err(ChangePasswordError::NotActive);
        }
        let new = self.hasher.hash(new, row.hash.params).await?;
        // By the old hash: of two changes at once one is later, and its old password is no longer right.
        if self.users.change_password(row.user.id, &row.hash, &new).await? {
            self.mail_queued.notify_one();
            return Ok(());
        }
        Err(match self.users.find(row.user.id).await? {
            Some(now) if now.status == Status::Disabled => ChangePasswordError::Disabled,
            _ => ChangePasswordError::Changed,
        })
    }
}
