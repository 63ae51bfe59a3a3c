//! Change the password of an account, if its old password is still the one that was checked.

use super::errors::ChangePasswordError;
use super::ports::{Codes, StoredUser, Users};
use super::{Accounts, Caller};
use crate::domain::password::Password;
use crate::domain::user::Status;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Changes the password of an authenticated account and queues a mail that informs its owner.
    ///
    /// A pending registration of the same address keeps its password. Both rows share their hash parameters, so the new
    /// hash uses the old parameters.
    pub async fn change_password(
        &self,
        row: &StoredUser,
        new: Password,
        caller: Caller,
    ) -> Result<(), ChangePasswordError> {
        if row.user.status != Status::Active {
            return Err(ChangePasswordError::NotActive);
        }
        let hash = self.hasher.hash(new.clone(), row.hash.params, caller.network).await?;
        // The store compares the old hash. So of two simultaneous changes the second fails.
        if self.users.change_password(row.user.id, &row.hash, &hash, caller.trace).await? {
            self.remember(row.user.id, &hash, &new);
            self.mail_queued.notify_one();
            return Ok(());
        }
        Err(match self.users.find(row.user.id).await? {
            Some(now) if now.status == Status::Disabled => ChangePasswordError::Disabled,
            _ => ChangePasswordError::Changed,
        })
    }
}
