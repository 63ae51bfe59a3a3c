//! Deleting oneself, the row whose credentials were checked and no other; and deleting anybody, as an operator.

use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, DeletedBy, Deletion, StoreError, Users};
use crate::domain::user::{User, UserId};

#[derive(Debug, Error)]
pub enum DeleteError {
    /// An operator has closed the account since its credentials were checked.
    #[error("the account is disabled")]
    Disabled,
    #[error("no active admin would be left")]
    LastAdmin,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Deletes an authenticated user for good. What its address was granted stays known, or deleting and registering
    /// again would shorten a wait.
    pub async fn delete(&self, user: &User) -> Result<(), DeleteError> {
        match self.users.delete(user.id, DeletedBy::Oneself).await? {
            // A row that is gone already is what was asked for.
            Deletion::Deleted | Deletion::NotFound => {}
            Deletion::Disabled => return Err(DeleteError::Disabled),
            Deletion::LastAdmin => return Err(DeleteError::LastAdmin),
        }
        self.forget_code(user.id).await;
        Ok(())
    }

    /// Deletes any user for good, pending and disabled ones too. `false`: there is none of this id.
    pub async fn remove(&self, id: UserId) -> Result<bool, DeleteError> {
        match self.users.delete(id, DeletedBy::Operator).await? {
            Deletion::Deleted => {}
            Deletion::NotFound => return Ok(false),
            Deletion::Disabled => return Err(DeleteError::Disabled),
            Deletion::LastAdmin => return Err(DeleteError::LastAdmin),
        }
        self.forget_code(id).await;
        Ok(true)
    }
}
