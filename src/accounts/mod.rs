//! The use cases, one file each. They use two ports ([`ports`]) and the password hasher, and nothing else.

pub mod activate;
pub mod authenticate;
pub mod change_address;
pub mod change_password;
pub mod delete;
pub mod errors;
pub mod hash_costs;
pub mod list;
pub mod operator;
pub mod ports;
pub mod purge;
pub mod register;
pub mod report_not_me;
pub mod resend;
pub mod reset_password;
pub mod set_locale;
#[cfg(all(test, feature = "testing"))]
mod tests;
pub mod update;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::code::{CodeKey, CodeSecret};
use crate::domain::email::Address;
use crate::domain::network::Network;
use crate::domain::password::Password;
use crate::domain::user::UserId;
use crate::passwords::{AddressCost, CostDraw, Hasher, Overloaded, PasswordHash, VerifiedPasswords};
use crate::rng::Rng;
use crate::telemetry::trace::TraceContext;
use errors::RegisterError;
use ports::{Codes, StoreError, Users};

/// What a registration reveals about an existing account of the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingAccount {
    /// Nothing: the response is the same as for a new address, and the owner gets a mail.
    Hide,
    /// The registration fails with [`RegisterError::Taken`].
    Reveal,
}

/// Whether people may register.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Registration {
    #[default]
    Open,
    /// Every registration fails with [`RegisterError::Closed`].
    Closed,
}

/// Who calls a use case.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The client's network. The hasher serves networks in turn.
    pub network: Network,
    /// The trace of the request. The queued mail continues it.
    pub trace: Option<TraceContext>,
}

/// The use cases and what they share. Cloning is cheap.
pub struct Accounts<U, C> {
    users: Arc<U>,
    codes: Arc<C>,
    hasher: Hasher,
    /// `None` evaluates every password.
    verified: Option<VerifiedPasswords>,
    /// The hash costs of addresses without a hash.
    costs: CostDraw,
    rng: Rng,
    secret: CodeSecret,
    /// Wakes the mail worker of this process. The workers of other processes find queued mails by polling.
    mail_queued: Arc<Notify>,
    /// Wakes the part of the mail worker that stores the codes of reset mails.
    resets_queued: Arc<Notify>,
    existing_account: ExistingAccount,
    registration: Registration,
}

impl<U: Users, C: Codes> Accounts<U, C> {
    pub fn new(
        users: Arc<U>,
        codes: Arc<C>,
        hasher: Hasher,
        costs: CostDraw,
        rng: Rng,
        secret: CodeSecret,
        mail_queued: Arc<Notify>,
    ) -> Self {
        let (existing_account, registration) = (ExistingAccount::Hide, Registration::Open);
        Self {
            users,
            codes,
            hasher,
            verified: None,
            costs,
            rng,
            secret,
            mail_queued,
            resets_queued: Arc::default(),
            existing_account,
            registration,
        }
    }

    /// Sets what registrations reveal. [`Accounts::new`] hides existing accounts.
    pub fn with_existing_account(self, existing_account: ExistingAccount) -> Self {
        Self { existing_account, ..self }
    }

    /// Notifies the mail worker of a queued reset mail here. Without it, the worker finds reset mails by polling.
    pub fn with_resets_queued(self, resets_queued: Arc<Notify>) -> Self {
        Self { resets_queued, ..self }
    }

    pub fn with_registration(self, registration: Registration) -> Self {
        Self { registration, ..self }
    }

    /// Returns an error if nobody may register. The result is the same for every address, and needs no store.
    pub fn check_registration(&self) -> Result<(), RegisterError> {
        match self.registration {
            Registration::Open => Ok(()),
            Registration::Closed => Err(RegisterError::Closed),
        }
    }

    /// Remembers verified passwords here, which saves their next evaluation.
    pub fn with_verified_passwords(self, verified: Option<VerifiedPasswords>) -> Self {
        Self { verified, ..self }
    }

    /// Remembers a password after its evaluation.
    fn remember(&self, user: UserId, hash: &PasswordHash, password: &Password) {
        if let Some(verified) = &self.verified {
            verified.remember(user, hash, password);
        }
    }

    /// Returns the cost of an address that has no account. Of an address that has a hash, only the foreign cost counts.
    ///
    /// # Errors
    /// The costs of the accounts are not loaded. Callers ask also for addresses with a hash, so that the error reveals
    /// nothing.
    fn drawn_cost(&self, address: &Address) -> Result<AddressCost, StoreError> {
        self.costs.draw(address).ok_or_else(|| StoreError::Unavailable {
            store: "PostgreSQL",
            summary: "has not returned the data for logins yet",
            reason: "the hash costs of the accounts are not loaded yet".to_owned(),
        })
    }

    /// Returns an error if the hasher would refuse a job of the network now.
    ///
    /// Callers check this first. A request that must be refused anyway then costs no store call, so a flood takes little
    /// time from other networks. The result does not depend on an address.
    pub fn check_hasher(&self, network: Network) -> Result<(), Overloaded> {
        self.hasher.check_wait(network)
    }

    /// Discards the code of a user who needs no code any more. A failure is harmless: the code expires, and until then it
    /// can activate no row.
    async fn discard_code(&self, user: UserId) {
        self.discard(CodeKey::Registration(user)).await;
    }

    async fn discard(&self, key: CodeKey) {
        if let Err(error) = self.codes.discard(key).await {
            tracing::warn!(%error, "cannot discard a code that is no longer needed; the code will expire");
        }
    }
}

impl<U, C> Clone for Accounts<U, C> {
    fn clone(&self) -> Self {
        Self {
            users: Arc::clone(&self.users),
            codes: Arc::clone(&self.codes),
            hasher: self.hasher.clone(),
            verified: self.verified.clone(),
            costs: self.costs.clone(),
            rng: self.rng.clone(),
            secret: self.secret.clone(),
            mail_queued: Arc::clone(&self.mail_queued),
            resets_queued: Arc::clone(&self.resets_queued),
            existing_account: self.existing_account,
            registration: self.registration,
        }
    }
}
