//! Change the address of an account: ask for it, confirm it with a mailed code, and take it back from the old address.

use std::time::Duration;

use metrics::counter;

use super::errors::{ConfirmAddressError, RequestAddressError, StoreError};
use super::ports::{Codes, NewAddressChange, Redeemed, RestoredAddress, StoredUser, Users};
use super::{Accounts, Caller};
use crate::domain::address_change::RestoreToken;
use crate::domain::code::{Code, CodeKey};
use crate::domain::email::{Address, Email};
use crate::domain::password::Password;
use crate::domain::user::{Status, User};
use crate::passwords::{HashParams, Salt};
use crate::telemetry::trace::TraceContext;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Queues a code mail to the new address, and a notice with a link to the old one. Returns the wait until the next code
    /// mail to the new address is allowed.
    ///
    /// It does not read whether the new address has an account, so the response cannot reveal it. The mail worker reads it
    /// later: the owner of that account gets a notice, and the code is a decoy.
    pub async fn request_address_change(
        &self,
        row: &StoredUser,
        current: &Address,
        new: &Email,
        caller: Caller,
    ) -> Result<Duration, RequestAddressError> {
        if row.user.status != Status::Active {
            return Err(RequestAddressError::NotActive);
        }
        if new.address() == current {
            return Err(RequestAddressError::SameAddress);
        }
        let state = self.users.address_state(new.address(), None).await?;
        let new_params = HashParams { salt: Salt(self.rng.bytes()), cost: self.drawn_cost(new.address())?.argon2id };
        let nonce = self.rng.nonce();
        let change = NewAddressChange {
            user: row.user.id,
            old: &row.hash,
            email: new,
            params: state.params.unwrap_or(new_params),
            nonce,
            link: self.secret.restore_token(&nonce).hash(),
            trace: caller.trace,
        };
        let outcome = self.users.request_address_change(&change).await;
        match &outcome {
            Ok(_) => self.mail_queued.notify_one(),
            Err(RequestAddressError::TooSoon { .. }) => {
                counter!("sixty_limited_requests_total", "limit" => "address").increment(1);
            }
            Err(_) => {}
        }
        outcome
    }

    /// Redeems the code, then gives the account its new address. The password is hashed again: all hashes of an address share
    /// their parameters.
    pub async fn confirm_address_change(
        &self,
        row: &StoredUser,
        password: Password,
        code: &Code,
        caller: Caller,
    ) -> Result<User, ConfirmAddressError> {
        let user = row.user.id;
        if row.user.status != Status::Active {
            return Err(ConfirmAddressError::NotActive);
        }
        match self.codes.redeem(CodeKey::AddressChange(user), code).await? {
            Redeemed::Match => {}
            Redeemed::WrongGuess { remaining } => return Err(ConfirmAddressError::Incorrect { remaining }),
            Redeemed::NoCode(reason) => return Err(ConfirmAddressError::NoCode(reason)),
        }
        let Some(change) = self.users.find_address_change(user).await? else {
            return Err(ConfirmAddressError::Changed);
        };
        let hash = self.hasher.hash(password.clone(), change.params, caller.network).await?;
        let changed = self.users.confirm_address_change(user, &row.hash, &change.address, &hash).await?;
        self.remember(user, &hash, &password);
        self.discard(CodeKey::AddressChange(user)).await;
        counter!("sixty_addresses_changed_total").increment(1);
        Ok(changed)
    }

    /// Gives the account of a link its old address back, and ends its password: somebody else may know it. The owner sets a
    /// new one by a password reset.
    pub async fn restore_address(
        &self,
        token: &RestoreToken,
        trace: Option<TraceContext>,
    ) -> Result<RestoredAddress, StoreError> {
        let restored = self.users.restore_address(&token.hash(), self.rng.bytes(), trace).await?;
        if let RestoredAddress::Restored(user) = restored {
            self.mail_queued.notify_one();
            self.discard(CodeKey::AddressChange(user)).await;
            counter!("sixty_addresses_restored_total").increment(1);
        }
        Ok(restored)
    }
}
