//! Who is asking: an address and a password against the rows of that address.

use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, StoreError, Users};
use crate::domain::email::Address;
use crate::domain::password::Password;
use crate::domain::user::{Status, User};
use crate::passwords::{Overloaded, Salt};

#[derive(Debug, Error)]
pub enum AuthenticateError {
    /// A wrong address and a wrong password are the same.
    #[error("the credentials fit no user")]
    WrongCredentials,
    /// The credentials are right, the account was closed by an operator.
    #[error("the account is disabled")]
    Disabled,
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Finds the row that the password fits. `None` stands for a user name that is no address: it costs the same one
    /// evaluation as an unknown one and a known one.
    pub async fn authenticate(&self, address: Option<&Address>, password: Password) -> Result<User, AuthenticateError> {
        let rows = match address {
            Some(address) => self.users.rows(address).await?,
            None => vec![],
        };
        // All rows of an address share their recipe: always one evaluation, whoever is asked for.
        let nobodys = self.hasher.recipe(Salt([0; 16]));
        let recipe = rows.first().map_or(nobodys, |row| row.hash.recipe);
        let digest = self.hasher.evaluate(password, recipe).await?;
        let mut found: Option<User> = None;
        for row in rows {
            // With one password on both, the account goes before a pending row that shadows it.
            let better = found.as_ref().is_none_or(|found| found.status == Status::Pending);
            if row.hash.recipe == recipe && row.hash.matches(&digest) && better {
                found = Some(row.user);
            }
        }
        match found {
            None => Err(AuthenticateError::WrongCredentials),
            Some(user) if user.status == Status::Disabled => Err(AuthenticateError::Disabled),
            Some(user) => Ok(user),
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::super::memory::Twins;
    use super::*;

    #[tokio::test]
    async fn wrong_user_and_wrong_password_are_the_same() {
        let twins = Twins::new();
        twins.register("ada@example.com", "correct horse").await.unwrap();
        for (user, password) in
            [("ada@example.com", "battery staple"), ("eve@example.com", "correct horse"), ("eve", "x")]
        {
            assert!(matches!(twins.authenticate(user, password).await, Err(AuthenticateError::WrongCredentials)));
        }
        assert!(twins.authenticate(" ADA@example.com", "correct horse").await.is_ok());
    }

    #[tokio::test]
    async fn the_account_goes_before_its_shadow() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.activate(&ada).await.unwrap();
        twins.clock.advance(std::time::Duration::from_secs(60));
        twins.register("ada@example.com", "correct horse").await.unwrap();
        assert_eq!(twins.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
    }

    #[tokio::test]
    async fn a_disabled_account_is_told_so_only_with_the_right_password() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.activate(&ada).await.unwrap();
        twins.users.disable(ada.id);
        let right = twins.authenticate("ada@example.com", "correct horse").await;
        let wrong = twins.authenticate("ada@example.com", "battery staple").await;
        assert!(matches!(right, Err(AuthenticateError::Disabled)));
        assert!(matches!(wrong, Err(AuthenticateError::WrongCredentials)));
    }
}
