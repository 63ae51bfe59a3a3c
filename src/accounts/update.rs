//! Disable, enable or promote an account, as an operator.

use super::Accounts;
use super::errors::UpdateError;
use super::ports::{AccountChange, Codes, Users};
use crate::domain::user::{User, UserId};

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Changes an account. There is no code to discard: only pending users have codes.
    pub async fn update(&self, id: UserId, change: AccountChange) -> Result<User, UpdateError> {
        self.users.update(id, change).await
    }
}
