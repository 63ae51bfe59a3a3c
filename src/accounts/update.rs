//! Closing, opening and promoting accounts, as an operator.

use thiserror::Error;

use super::Accounts;
use super::ports::{Change, Codes, StoreError, Update, Users};
use crate::domain::user::{User, UserId};

#[derive(Debug, Error)]
pub enum UpdateError {
    #[error("there is no such user")]
    NotFound,
    #[error("the user is not active")]
    NotActive,
    #[error("no active admin would be left")]
    LastAdmin,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Changes an account. A disabled one has no code to be dropped: codes belong to those who are pending.
    pub async fn update(&self, id: UserId, change: Change) -> Result<User, UpdateError> {
        match self.users.update(id, change).await? {
            Update::Updated(user) => Ok(user),
            Update::NotFound => Err(UpdateError::NotFound),
            Update::NotActive => Err(UpdateError::NotActive),
            Update::LastAdmin => Err(UpdateError::LastAdmin),
        }
    }
}
