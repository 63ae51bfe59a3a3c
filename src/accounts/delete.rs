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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::super::memory::Twins;
    use super::super::ports::{NoCode, Redeemed};
    use super::*;

    #[tokio::test]
    async fn a_pending_registration_goes_with_its_mail_and_its_code() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let code = twins.mail(&ada).await;
        twins.accounts.delete(&ada).await.unwrap();
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_err());
        assert!(twins.users.queued().is_empty());
        assert_eq!(twins.codes.redeem(ada.id, &code).await.unwrap(), Redeemed::NoCode(NoCode::Destroyed));
        // The wait outlives it.
        assert!(twins.register("ada@example.com", "correct horse").await.is_err());
        twins.accounts.delete(&ada).await.expect("it is gone already");
    }

    #[tokio::test]
    async fn of_an_account_and_its_shadow_only_one_goes() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.activate(&ada).await.unwrap();
        twins.clock.advance(Duration::from_secs(60));
        let shadow = twins.register("ada@example.com", "battery staple").await.unwrap();
        twins.accounts.delete(&shadow).await.unwrap();
        assert_eq!(twins.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
        twins.accounts.delete(&ada).await.unwrap();
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_err());
    }

    #[tokio::test]
    async fn an_operator_deletes_whom_he_likes_and_their_codes() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let code = twins.mail(&ada).await;
        assert!(twins.accounts.remove(ada.id).await.unwrap());
        assert!(!twins.accounts.remove(ada.id).await.unwrap(), "it is gone already");
        assert_eq!(twins.codes.redeem(ada.id, &code).await.unwrap(), Redeemed::NoCode(NoCode::Destroyed));
    }

    #[tokio::test]
    async fn an_account_that_was_just_disabled_stays() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let ada = twins.activate(&ada).await.unwrap();
        twins.users.disable(ada.id);
        assert!(matches!(twins.accounts.delete(&ada).await, Err(DeleteError::Disabled)));
        assert!(twins.users.find(ada.id).await.unwrap().is_some());
    }
}
