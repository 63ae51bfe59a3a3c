//! Deleting oneself: the row whose credentials were checked, and no other.

use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, StoreError, Users};
use crate::domain::user::User;

#[derive(Debug, Error)]
pub enum DeleteError {
    /// An operator has closed the account since its credentials were checked.
    #[error("the account is disabled")]
    Disabled,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Deletes an authenticated user for good. What its address was granted stays known, or deleting and registering
    /// again would shorten a wait.
    pub async fn delete(&self, user: &User) -> Result<(), DeleteError> {
        // A row that is gone already is what was asked for.
        if !self.users.delete(user.id).await? && self.users.find(user.id).await?.is_some() {
            return Err(DeleteError::Disabled);
        }
        self.forget_code(user.id).await;
        Ok(())
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
    async fn an_account_that_was_just_disabled_stays() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let ada = twins.activate(&ada).await.unwrap();
        twins.users.disable(ada.id);
        assert!(matches!(twins.accounts.delete(&ada).await, Err(DeleteError::Disabled)));
        assert!(twins.users.find(ada.id).await.unwrap().is_some());
    }
}
