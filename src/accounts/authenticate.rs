//! Who is asking: an address and a password against the rows of that address.

use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, Row, StoreError, Users};
use crate::domain::email::Address;
use crate::domain::password::Password;
use crate::domain::user::Status;
use crate::passwords::{Overloaded, Recipe, Salt};

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
    /// Finds the row that the password fits, with the hash that it has now. `None` stands for a user name that is no address: it costs the same one
    /// evaluation as an unknown one and a known one.
    pub async fn authenticate(&self, address: Option<&Address>, password: Password) -> Result<Row, AuthenticateError> {
        let rows = match address {
            Some(address) => self.users.rows(address).await?,
            None => vec![],
        };
        // All rows of an address share their recipe: always one evaluation, whoever is asked for.
        let nobodys = self.hasher.recipe(Salt([0; 16]));
        let recipe = rows.first().map_or(nobodys, |row| row.hash.recipe);
        let digest = self.hasher.evaluate(password.clone(), recipe).await?;
        let mut found: Option<Row> = None;
        for row in rows {
            // With one password on both, the account goes before a pending row that shadows it.
            let better = found.as_ref().is_none_or(|found| found.user.status == Status::Pending);
            if row.hash.recipe == recipe && row.hash.matches(&digest) && better {
                found = Some(row);
            }
        }
        match found {
            None => Err(AuthenticateError::WrongCredentials),
            Some(Row { user, .. }) if user.status == Status::Disabled => Err(AuthenticateError::Disabled),
            Some(row) => {
                // A pending row is left as it is: that it could be upgraded would tell that it shadows no account.
                if row.user.status == Status::Active && recipe.cost.is_below(self.hasher.cost()) {
                    return Ok(self.upgrade(row, password).await);
                }
                Ok(row)
            }
        }
    }

    /// Hashes the password anew at today's cost. Whatever comes in between, the old hash holds until the next time.
    async fn upgrade(&self, row: Row, password: Password) -> Row {
        let recipe = Recipe { cost: self.hasher.cost(), ..row.hash.recipe };
        let Ok(new) = self.hasher.hash(password, recipe).await else {
            return row;
        };
        match self.users.rehash(row.user.id, &row.hash, &new).await {
            Ok(true) => {
                tracing::info!(user.id = %row.user.id, "a password hash was made anew at a higher cost");
                return Row { hash: new, ..row };
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, user.id = %row.user.id, "a password hash was not made anew"),
        }
        row
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::super::memory::Twins;
    use super::*;
    use crate::passwords::HashCost;

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
    async fn an_accounts_hash_follows_a_raised_cost_at_the_next_login() {
        let mut twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.activate(&ada).await.unwrap();
        let cost = async |twins: &Twins| twins.users.rows(&address()).await.unwrap()[0].hash.recipe.cost;
        let (low, high) = (HashCost::new(8, 1, 1).unwrap(), HashCost::new(8, 2, 1).unwrap());

        twins.hash_at(high);
        assert!(twins.authenticate("ada@example.com", "wrong").await.is_err());
        assert_eq!(cost(&twins).await, low, "only the right password can be hashed anew");
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_ok());
        assert_eq!(cost(&twins).await, high);
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_ok());
        assert!(twins.authenticate("ada@example.com", "wrong").await.is_err());

        twins.hash_at(low);
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_ok());
        assert_eq!(cost(&twins).await, high, "a lower cost takes nothing back");
    }

    #[tokio::test]
    async fn a_pending_row_is_not_upgraded_whether_or_not_it_shadows_an_account() {
        let mut twins = Twins::new();
        twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.hash_at(HashCost::new(8, 2, 1).unwrap());
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_ok());
        let rows = twins.users.rows(&address()).await.unwrap();
        assert_eq!(rows[0].hash.recipe.cost, HashCost::new(8, 1, 1).unwrap());
    }

    fn address() -> Address {
        crate::domain::email::Email::parse("ada@example.com").expect("an address").address().clone()
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
