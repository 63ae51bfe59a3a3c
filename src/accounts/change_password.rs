//! Changing one's password: of the account whose old password was checked, if it is still that.

use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, Row, StoreError, Users};
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
    /// it keeps its own: the recipe, which the two share, stays as it is.
    pub async fn change_password(&self, row: &Row, new: Password) -> Result<(), ChangePasswordError> {
        if row.user.status != Status::Active {
            return Err(ChangePasswordError::NotActive);
        }
        let new = self.hasher.hash(new, row.hash.recipe).await?;
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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::super::memory::Twins;
    use super::*;
    use crate::domain::email::Email;

    const ADA: &str = "ada@example.com";

    fn password(text: &str) -> Password {
        Password::present(text).expect("a test's password")
    }

    async fn row(twins: &Twins, text: &str) -> Row {
        let email = Email::parse(ADA).expect("a test's address");
        twins.accounts.authenticate(Some(email.address()), password(text)).await.expect("the right password")
    }

    #[tokio::test]
    async fn the_new_password_takes_the_place_of_the_old_one_and_a_shadow_keeps_its_own() {
        let twins = Twins::new();
        let ada = twins.register(ADA, "correct horse").await.unwrap();
        twins.activate(&ada).await.unwrap();
        twins.clock.advance(Duration::from_secs(60));
        let shadow = twins.register(ADA, "battery staple").await.unwrap();

        let before = row(&twins, "correct horse").await;
        twins.accounts.change_password(&before, password("stable batteries")).await.unwrap();
        assert!(twins.authenticate(ADA, "correct horse").await.is_err());
        assert_eq!(twins.authenticate(ADA, "stable batteries").await.unwrap().id, ada.id);
        assert_eq!(twins.authenticate(ADA, "battery staple").await.unwrap().id, shadow.id);

        let again = twins.accounts.change_password(&before, password("yet another one")).await;
        assert!(matches!(again, Err(ChangePasswordError::Changed)));
        assert!(twins.authenticate(ADA, "stable batteries").await.is_ok());
    }

    #[tokio::test]
    async fn only_an_active_account_has_a_password_to_change() {
        let twins = Twins::new();
        let ada = twins.register(ADA, "correct horse").await.unwrap();
        let pending = row(&twins, "correct horse").await;
        let refused = twins.accounts.change_password(&pending, password("stable batteries")).await;
        assert!(matches!(refused, Err(ChangePasswordError::NotActive)));

        twins.activate(&ada).await.unwrap();
        let active = row(&twins, "correct horse").await;
        twins.users.disable(ada.id);
        let refused = twins.accounts.change_password(&active, password("stable batteries")).await;
        assert!(matches!(refused, Err(ChangePasswordError::Disabled)));
    }
}
