//! Authenticate an address and a password against the rows of the address.

use super::Accounts;
use super::errors::AuthenticateError;
use super::ports::{AddressHashes, Codes, StoreError, StoredUser, Users};
use crate::domain::email::Address;
use crate::domain::network::Network;
use crate::domain::password::Password;
use crate::domain::user::Status;
use crate::passwords::{Digest, HashParams, PasswordHash, Salt};

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Returns the row whose password matches, with its current hash.
    ///
    /// `None` stands for a user name that is not an address. It costs one hash evaluation, as a known or an unknown
    /// address does, so response times reveal nothing. An unknown address has the cost that [`CostDraw`] draws for it.
    /// Only a password that was verified a short time ago, and is still right, costs no evaluation.
    ///
    /// [`CostDraw`]: crate::passwords::CostDraw
    pub async fn authenticate(
        &self,
        address: Option<&Address>,
        password: Password,
        network: Network,
    ) -> Result<StoredUser, AuthenticateError> {
        let AddressHashes { rows, disowned } = match address {
            Some(address) => self.users.find_hashes(address).await?,
            None => AddressHashes::default(),
        };
        let params = self.evaluation_params(address, rows.first().map(|row| &row.hash).or(disowned.as_ref()))?;
        let remembered = self.remembered_digest(&rows, params, &password);
        let digest = match &remembered {
            Some(digest) => digest.clone(),
            None => self.hasher.evaluate(password.clone(), params, network).await?,
        };
        let mut found: Option<StoredUser> = None;
        for row in rows {
            // If an account and a pending registration have the same password, the account is used.
            let preferred = found.as_ref().is_none_or(|found| found.user.status == Status::Pending);
            if row.hash.params == params && row.hash.matches(&digest) && preferred {
                found = Some(row);
            }
        }
        match found {
            None if disowned.is_some_and(|hash| hash.params == params && hash.matches(&digest)) => {
                Err(AuthenticateError::Disowned)
            }
            None => Err(AuthenticateError::WrongCredentials),
            Some(StoredUser { user, .. }) if user.status == Status::Disabled => Err(AuthenticateError::Disabled),
            Some(row) => {
                if remembered.is_none() {
                    self.remember(row.user.id, &row.hash, &password);
                }
                // A pending row is never rehashed: success would reveal that the address has no account.
                if row.user.status == Status::Active && params.cost.is_below(self.hasher.cost()) {
                    return Ok(self.rehash(row, password, network).await);
                }
                Ok(row)
            }
        }
    }

    /// Returns the digest that an evaluation of the password would give, if it is remembered.
    ///
    /// All rows of an address share their parameters. So the digest of the row that is remembered decides about the other
    /// rows as an evaluation does. A disabled account always costs an evaluation.
    fn remembered_digest(&self, rows: &[StoredUser], params: HashParams, password: &Password) -> Option<Digest> {
        let verified = self.verified.as_ref()?;
        let mut current = rows.iter().filter(|row| row.hash.params == params);
        let row = current.find(|row| verified.contain(row.user.id, &row.hash, password))?;
        let digest = row.hash.digest();
        let is_disabled = rows.iter().any(|row| row.user.status == Status::Disabled && row.hash.matches(digest));
        (!is_disabled).then(|| digest.clone())
    }

    /// Returns the parameters of the evaluation for an address that has this hash, or none.
    pub(super) fn evaluation_params(
        &self,
        address: Option<&Address>,
        hash: Option<&PasswordHash>,
    ) -> Result<HashParams, StoreError> {
        let params_without_hash = match address {
            Some(address) => HashParams { salt: Salt([0; 16]), cost: self.drawn_cost(address)? },
            None => self.hasher.params(Salt([0; 16])),
        };
        // All hashes of an address share their parameters, so one evaluation is enough for all of them.
        Ok(hash.map_or(params_without_hash, |hash| hash.params))
    }

    /// Hashes the password again at the configured cost. If that fails, the old hash stays until the next login.
    async fn rehash(&self, row: StoredUser, password: Password, network: Network) -> StoredUser {
        let params = HashParams { cost: self.hasher.cost(), ..row.hash.params };
        let Ok(new) = self.hasher.hash(password.clone(), params, network).await else {
            return row;
        };
        match self.users.rehash(row.user.id, &row.hash, &new).await {
            Ok(true) => {
                tracing::info!(user.id = %row.user.id, "a password was hashed again at the configured, higher cost");
                self.remember(row.user.id, &new, &password);
                return StoredUser { hash: new, ..row };
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(
                    %error, user.id = %row.user.id,
                    "cannot store a password hash of higher cost; the next login will try again"
                );
            }
        }
        row
    }
}
