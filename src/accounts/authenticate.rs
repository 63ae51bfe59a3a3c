//! Authenticate an address and a password against the rows of the address.

use super::Accounts;
use super::errors::AuthenticateError;
use super::ports::{AddressHashes, Codes, StoreError, StoredUser, Users};
use crate::domain::email::Address;
use crate::domain::network::Network;
use crate::domain::password::Password;
use crate::domain::user::Status;
use crate::passwords::{Digest, ForeignHash, HashParams, PasswordHash, Salt};

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Returns the row whose password matches, with its current hash.
    ///
    /// `None` stands for a user name that is not an address. It costs one hash evaluation, as a known or an unknown
    /// address does, so response times reveal nothing. An unknown address has the cost that [`CostDraw`] draws for it. An
    /// address whose account has a foreign hash, and an address that draws one, cost the evaluation of that hash, too.
    /// Only a password that was verified a short time ago, and is still right, costs no evaluation of argon2id.
    ///
    /// [`CostDraw`]: crate::passwords::CostDraw
    pub async fn authenticate(
        &self,
        address: Option<&Address>,
        password: Password,
        network: Network,
    ) -> Result<StoredUser, AuthenticateError> {
        let hashes = match address {
            Some(address) => self.users.find_hashes(address).await?,
            None => AddressHashes::default(),
        };
        let foreign = self.evaluated_foreign(address, &hashes)?;
        let AddressHashes { rows, disowned, foreign: accounts_foreign } = hashes;
        let params = self.evaluation_params(address, rows.first().map(|row| &row.hash).or(disowned.as_ref()))?;
        let remembered = self.remembered(&rows, params, &password);
        let digest = match &remembered {
            Some((digest, _)) => digest.clone(),
            None => self.hasher.evaluate(password.clone(), params, network).await?,
        };
        let has_foreign = match foreign {
            // Nobody needs the account's hash once the account itself is found.
            Some(foreign) if !matches!(remembered, Some((_, Found::Account))) => {
                self.hasher.evaluate_foreign(password.clone(), foreign, network).await?
            }
            _ => false,
        };
        let mut found: Option<StoredUser> = None;
        for row in rows {
            // If an account and a pending registration have the same password, the account is used.
            let preferred = found.as_ref().is_none_or(|found| found.user.status == Status::Pending);
            let is_right = (row.hash.params == params && row.hash.matches(&digest))
                || (has_foreign && row.user.status != Status::Pending);
            if is_right && preferred {
                found = Some(row);
            }
        }
        match found {
            None if disowned.is_some_and(|hash| hash.params == params && hash.matches(&digest)) => {
                Err(AuthenticateError::Disowned)
            }
            None => Err(AuthenticateError::WrongCredentials),
            Some(StoredUser { user, .. }) if user.status == Status::Disabled => Err(AuthenticateError::Disabled),
            Some(row) if has_foreign && row.user.status == Status::Active => {
                let Some(foreign) = accounts_foreign else { return Ok(row) };
                let new = PasswordHash::new(params, digest);
                Ok(self.replace_foreign(row, &foreign, new, &password).await)
            }
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

    /// Returns the digest that an evaluation of the password would give, if it is remembered, and whose password it is.
    ///
    /// All rows of an address share their parameters. So the digest of the row that is remembered decides about the other
    /// rows as an evaluation does. A disabled account always costs an evaluation.
    fn remembered(&self, rows: &[StoredUser], params: HashParams, password: &Password) -> Option<(Digest, Found)> {
        let verified = self.verified.as_ref()?;
        let mut current = rows.iter().filter(|row| row.hash.params == params);
        let row = current.find(|row| verified.contain(row.user.id, &row.hash, password))?;
        let digest = row.hash.digest();
        let is_disabled = rows.iter().any(|row| row.user.status == Status::Disabled && row.hash.matches(digest));
        let found = if row.user.status == Status::Pending { Found::Registration } else { Found::Account };
        (!is_disabled).then(|| (digest.clone(), found))
    }

    /// Returns the parameters of the evaluation for an address that has this hash, or none.
    pub(super) fn evaluation_params(
        &self,
        address: Option<&Address>,
        hash: Option<&PasswordHash>,
    ) -> Result<HashParams, StoreError> {
        let params_without_hash = match address {
            Some(address) => HashParams { salt: Salt([0; 16]), cost: self.drawn_cost(address)?.argon2id },
            None => self.hasher.params(Salt([0; 16])),
        };
        // All hashes of an address share their parameters, so one evaluation is enough for all of them.
        Ok(hash.map_or(params_without_hash, |hash| hash.params))
    }

    /// Returns the foreign hash that a login at the address evaluates, if any: that of the account. Without an account, a hash
    /// that nothing matches, of the drawn cost. A pending registration changes nothing, because anybody can make one.
    fn evaluated_foreign(
        &self,
        address: Option<&Address>,
        hashes: &AddressHashes,
    ) -> Result<Option<ForeignHash>, StoreError> {
        let Some(address) = address else { return Ok(None) };
        let drawn = self.drawn_cost(address)?.foreign;
        let has_account = hashes.rows.iter().any(|row| row.user.status != Status::Pending);
        Ok(if has_account { hashes.foreign.clone() } else { drawn.map(ForeignHash::decoy) })
    }

    /// Replaces the account's foreign hash by the one that the login has evaluated anyway. If that fails, the foreign hash stays
    /// until the next login.
    async fn replace_foreign(
        &self,
        row: StoredUser,
        foreign: &ForeignHash,
        new: PasswordHash,
        password: &Password,
    ) -> StoredUser {
        match self.users.replace_foreign(row.user.id, foreign, &new).await {
            Ok(true) => {
                tracing::info!(user.id = %row.user.id, "an imported password hash was replaced by argon2id");
                self.remember(row.user.id, &new, password);
                return StoredUser { hash: new, ..row };
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(
                    %error, user.id = %row.user.id,
                    "cannot replace an imported password hash; the next login will try again"
                );
            }
        }
        row
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

/// Whose password is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Account,
    Registration,
}
