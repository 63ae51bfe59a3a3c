//! Who is asking: an address and a password against the rows of that address.

use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, StoreError, StoredUser, Users};
use crate::domain::email::Address;
use crate::domain::password::Password;
use crate::domain::user::Status;
use crate::passwords::{HashParams, Overloaded, Salt};

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
    pub async fn authenticate(
        &self,
        address: Option<&Address>,
        password: Password,
    ) -> Result<StoredUser, AuthenticateError> {
        let rows = match address {
            Some(address) => self.users.find_by_address(address).await?,
            None => vec![],
        };
        // All rows of an address share their params: always one evaluation, whoever is asked for.
        let nobodys = self.hasher.params(Salt([0; 16]));
        let params = rows.first().map_or(nobodys, |row| row.hash.params);
        let digest = self.hasher.evaluate(password.clone(), params).await?;
        let mut found: Option<StoredUser> = None;
        for row in rows {
            // With one password on both, the account goes before a pending row that shadows it.
            let better = found.as_ref().is_none_or(|found| found.user.status == Status::Pending);
            if row.hash.params == params && row.hash.matches(&digest) && better {
                found = Some(row);
            }
        }
        match found {
            None => Err(AuthenticateError::WrongCredentials),
            Some(StoredUser { user, .. }) if user.status == Status::Disabled => Err(AuthenticateError::Disabled),
            Some(row) => {
                // A pending row is left as it is: that it could be upgraded would tell that it shadows no account.
                if row.user.status == Status::Active && params.cost.is_below(self.hasher.cost()) {
                    return Ok(self.upgrade(row, password).await);
                }
                Ok(row)
            }
        }
    }

    /// Hashes the password anew at today's cost. Whatever comes in between, the old hash holds until the next time.
    async fn upgrade(&self, row: StoredUser, password: Password) -> StoredUser {
        let params = HashParams { cost: self.hasher.cost(), ..row.hash.params };
        let Ok(new) = self.hasher.hash(password, params).await else {
            return row;
        };
        match self.users.rehash(row.user.id, &row.hash, &new).await {
            Ok(true) => {
                tracing::info!(user.id = %row.user.id, "a password hash was made anew at a higher cost");
                return StoredUser { hash: new, ..row };
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, user.id = %row.user.id, "a password hash was not made anew"),
        }
        row
    }
}
