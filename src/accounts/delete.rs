//! Delete a user: a user deletes the row whose credentials were checked; an operator deletes any user.

use super::Accounts;
use super::errors::DeleteError;
use super::ports::{Codes, DeletedBy, Users};
use crate::domain::user::{User, UserId};

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Deletes an authenticated user for good. A row that is already gone is a success.
    ///
    /// The grants of the address stay. Otherwise deleting and registering again would shorten the wait.
    pub async fn delete(&self, user: &User) -> Result<(), DeleteError> {
        match self.users.delete(user.id, DeletedBy::User).await {
            Ok(()) | Err(DeleteError::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.discard_code(user.id).await;
        Ok(())
    }

    /// Deletes any user for good, also a pending or disabled one.
    pub async fn delete_as_operator(&self, id: UserId) -> Result<(), DeleteError> {
        self.users.delete(id, DeletedBy::Operator).await?;
        self.discard_code(id).await;
        Ok(())
    }
}
