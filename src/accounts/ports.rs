//! What the use cases need from the stores. The real stores are in `store/`, the fakes in `testing/fakes/`; both pass the
//! contract tests in `testing/contract/`.

use std::future::Future;
use std::time::Duration;

use time::OffsetDateTime;

pub use super::errors::StoreError;
use super::errors::{
    ConfirmAddressError, DeleteError, NoCodeReason, RegisterError, RequestAddressError, RequestResetError, ResendError,
    UpdateError,
};
use crate::domain::address_change::RestoreHash;
use crate::domain::address_search::{AddressDomain, AddressPrefix};
use crate::domain::code::{Code, CodeKey, MailAttempt, Nonce, ResetId};
use crate::domain::email::{Address, Email};
use crate::domain::locale::Locale;
use crate::domain::not_me::NotMeHash;
use crate::domain::ticket::TicketHash;
use crate::domain::user::{Role, Status, User, UserId};
use crate::passwords::{AddressCost, ForeignHash, HashParams, PasswordHash};
use crate::telemetry::trace::TraceContext;

/// A registration to be written: the pending user, its grant and its queued mail, in one transaction.
#[derive(Debug)]
pub struct NewUser<'a> {
    pub id: UserId,
    pub email: &'a Email,
    pub hash: &'a PasswordHash,
    /// The nonce from which the code of the queued mail is derived.
    pub nonce: Nonce,
    /// The ticket that the request presents. If it is the address's valid ticket, it passes the wait and is used up.
    pub ticket: Option<TicketHash>,
    /// The language of the user's mails. `None`: the service's default language.
    pub locale: Option<Locale>,
    /// The trace of the request. The queued mail continues it.
    pub trace: Option<TraceContext>,
}

/// The stored state of an address, read before a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressState {
    /// The salt and cost that all rows of the address share; `None` for an address that was never registered.
    pub params: Option<HashParams>,
    /// Time left until the next code mail is allowed; `None` if it is allowed now, or with the presented ticket.
    pub wait: Option<Duration>,
}

/// A user with its password hash.
#[derive(Debug, Clone)]
pub struct StoredUser {
    pub user: User,
    pub hash: PasswordHash,
}

/// The hashes with which an authentication compares a password. All have the parameters of the address.
#[derive(Debug, Clone, Default)]
pub struct AddressHashes {
    /// At most one account and one pending registration.
    pub rows: Vec<StoredUser>,
    /// The hash of the registration that a "this was not me" link has deleted within [`DISOWNED_FOR`](crate::domain::not_me::DISOWNED_FOR).
    pub disowned: Option<PasswordHash>,
    /// The hash of the account that another system has made. No password matches the account's own hash then.
    pub foreign: Option<ForeignHash>,
}

/// Selects the users of a list. A field that is `None` selects all.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    pub status: Option<Status>,
    pub address: Option<Address>,
    /// Not together with `address`.
    pub domain: Option<AddressDomain>,
}

/// Selects users by the beginning of their address. A field that is `None` selects all.
#[derive(Debug, Clone)]
pub struct AddressSearch {
    pub prefix: AddressPrefix,
    pub domain: Option<AddressDomain>,
    pub status: Option<Status>,
}

/// Position in the result of a search. The result is sorted by address, then by id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchCursor {
    /// The canonical address.
    pub address: String,
    pub id: UserId,
}

/// Hides the address, so that no log line leaks it.
impl std::fmt::Debug for SearchCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchCursor").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A user in the result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundUser {
    pub user: User,
    pub position: SearchCursor,
}

/// Position in a list of users, for cursor pagination. The list is ordered newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub created_at: OffsetDateTime,
    pub id: UserId,
}

impl Cursor {
    /// Returns the position of this user.
    pub fn at(user: &User) -> Self {
        Self { created_at: user.created_at, id: user.id }
    }
}

/// An operator's change to an account. A field that is `None` is not changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountChange {
    pub disabled: Option<bool>,
    pub role: Option<Role>,
}

impl AccountChange {
    /// Whether an active admin would stop being one.
    pub fn removes_admin(&self) -> bool {
        self.disabled == Some(true) || self.role == Some(Role::User)
    }
}

/// A change of address to be written: the change, the grant of the new address, and two queued mails, in one transaction.
#[derive(Debug)]
pub struct NewAddressChange<'a> {
    pub user: UserId,
    /// The hash that was verified.
    pub old: &'a PasswordHash,
    pub email: &'a Email,
    /// The hash parameters of the new address; new ones if the address is unknown.
    pub params: HashParams,
    /// The nonce from which the code and the link are derived.
    pub nonce: Nonce,
    pub link: RestoreHash,
    pub trace: Option<TraceContext>,
}

/// A change that waits for its code.
#[derive(Debug, Clone)]
pub struct AddressChange {
    pub address: Address,
    pub params: HashParams,
}

/// Result of [`Users::restore_address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoredAddress {
    Restored(UserId),
    /// The link was used, has expired or is unknown. Nothing was changed.
    NoLink,
    /// Another account has the address now. Nothing was changed.
    Taken,
}

/// Who asks for a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedBy {
    User,
    Operator,
}

/// The store of users, addresses and queued mails: PostgreSQL. The store's own clock decides about time.
pub trait Users: Send + Sync + 'static {
    /// Returns the hash parameters and the wait of an address. A valid ticket of the address passes the wait; this call does
    /// not use it up.
    fn address_state(
        &self,
        address: &Address,
        ticket: Option<&TicketHash>,
    ) -> impl Future<Output = Result<AddressState, StoreError>> + Send;

    /// Counts the accounts by the cost of a login. A large store may count a sample.
    fn hash_costs(&self) -> impl Future<Output = Result<Vec<(AddressCost, u64)>, StoreError>> + Send;

    /// Grants the address a code mail, replaces its pending row and queues the mail, in one transaction. Accounts are
    /// neither read nor changed. A valid ticket of the address is used up, whether or not the wait is over; an invalid one is
    /// ignored.
    ///
    /// # Errors
    /// [`RegisterError::TooSoon`] inside the wait, without a valid ticket. Also if the hash was not made with the parameters of the address:
    /// then another request registered the address at the same time.
    fn register(&self, new: &NewUser<'_>) -> impl Future<Output = Result<User, RegisterError>> + Send;

    /// Queues another code mail for a pending row. It replaces a code mail that was not sent yet. Returns the wait until
    /// the next code mail is allowed.
    fn resend(
        &self,
        id: UserId,
        nonce: Nonce,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<Duration, ResendError>> + Send;

    /// Returns all rows of an address: at most one account and one pending registration.
    fn find_by_address(&self, address: &Address) -> impl Future<Output = Result<Vec<StoredUser>, StoreError>> + Send;

    /// Returns the same rows, and the hash of a registration that the owner of the address has deleted. It takes the same
    /// time for every address.
    fn find_hashes(&self, address: &Address) -> impl Future<Output = Result<AddressHashes, StoreError>> + Send;

    /// Replaces an account's hash by a hash of the same password with other parameters. The row of the address stores the
    /// new parameters too, so that later registrations of the address use them.
    ///
    /// Returns `false` if nothing was changed: the hash is no longer `old`, or the address has a pending registration.
    /// That row's hash cannot be computed without its password.
    fn rehash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Replaces the hash of an active account that another system has made by a hash of the same password with the parameters
    /// of the address. A pending registration of the address does not matter: it has the same parameters.
    ///
    /// Returns `false` if nothing was changed: the account is not active, or `foreign` is no longer its hash.
    fn replace_foreign(
        &self,
        id: UserId,
        foreign: &ForeignHash,
        new: &PasswordHash,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Replaces an active account's hash by the hash of another password, made with the same parameters. Queues a mail
    /// that informs the owner.
    ///
    /// Returns `false` if nothing was changed: the hash is no longer `old`, or the account is not active.
    fn change_password(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Queues a code mail for a password reset of an address, with or without an account. It neither reads nor writes users,
    /// so it takes the same time for every address. Returns the wait until the next such mail is allowed.
    ///
    /// The waits are those of [`Pacing`](crate::domain::pacing::Pacing), counted apart from those of registrations.
    fn request_reset(
        &self,
        id: ResetId,
        address: &Address,
        nonce: Nonce,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<Duration, RequestResetError>> + Send;

    /// Returns the account that the address's latest reset code was made for. `None` if there is no such code, the code was
    /// used, or the account is gone, disabled, or has changed its password since.
    fn find_reset_account(&self, id: ResetId) -> impl Future<Output = Result<Option<StoredUser>, StoreError>> + Send;

    /// Replaces the hash of the account that the address's latest reset code was made for, by a hash with the same
    /// parameters. Uses up the code, deletes a queued one, and queues a mail that informs the owner.
    ///
    /// Returns `false` if nothing was changed: the code is not one for this account with the hash `old`, or the account is
    /// not active.
    fn reset_password(
        &self,
        id: ResetId,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Grants the new address a code mail and queues it, with a notice to the old address. It replaces an earlier change of the
    /// user. Accounts of the new address are not read. Returns the wait until the next code mail to the new address is allowed.
    fn request_address_change(
        &self,
        change: &NewAddressChange<'_>,
    ) -> impl Future<Output = Result<Duration, RequestAddressError>> + Send;

    /// Returns the latest change that the user has asked for and not confirmed.
    fn find_address_change(
        &self,
        user: UserId,
    ) -> impl Future<Output = Result<Option<AddressChange>, StoreError>> + Send;

    /// Gives an active account the address of its latest change, with a hash of the parameters of that address.
    fn confirm_address_change(
        &self,
        user: UserId,
        old: &PasswordHash,
        address: &Address,
        new: &PasswordHash,
    ) -> impl Future<Output = Result<User, ConfirmAddressError>> + Send;

    /// Gives the account of a link its old address back, whether or not the change was confirmed. Its hash becomes one of
    /// `random`, which no password has. Deletes all links and changes of the user, and queues a mail that informs the owner.
    fn restore_address(
        &self,
        link: &RestoreHash,
        random: [u8; 32],
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<RestoredAddress, StoreError>> + Send;

    fn find(&self, id: UserId) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// Makes exactly this pending row an active account. Replaces its unsent code mail by a mail that informs the owner.
    ///
    /// Returns `None` if the row is gone, is no longer pending, or its address has another account.
    fn activate(
        &self,
        id: UserId,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// Does the same as [`Users::activate`] for an operator. The mail says that the people who run the service did it.
    fn activate_as_operator(
        &self,
        id: UserId,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// Whether a code mail to this user is queued: neither sent nor given up.
    fn has_queued_code_mail(&self, id: UserId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns at most `limit` users after the cursor, newest first.
    fn list(
        &self,
        filter: &UserFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<User>, StoreError>> + Send;

    /// Returns at most `limit` users after the cursor, sorted by address.
    fn search(
        &self,
        search: &AddressSearch,
        after: Option<&SearchCursor>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<FoundUser>, StoreError>> + Send;

    /// Changes this account, unless no active admin would be left. If two admins demote each other at the same time, one
    /// stays admin.
    fn update(&self, id: UserId, change: AccountChange) -> impl Future<Output = Result<User, UpdateError>> + Send;

    /// Sets the language of the user's mails, pending or active. Returns `None` if the row is gone or disabled.
    fn set_locale(
        &self,
        id: UserId,
        locale: Option<Locale>,
    ) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// Deletes this row and its unsent mails, unless no active admin would be left. Only an operator deletes a disabled
    /// account. The grants of the address stay; without a user, the store keeps no address in clear text.
    fn delete(&self, id: UserId, by: DeletedBy) -> impl Future<Output = Result<(), DeleteError>> + Send;

    /// Deletes the pending registration of a "this was not me" link that has not expired, and gives its address this ticket,
    /// in one transaction. The ticket replaces an earlier one. The wait of the address does not change.
    ///
    /// Returns `None` if nothing was changed.
    fn report_not_me(
        &self,
        link: &NotMeHash,
        ticket: &TicketHash,
    ) -> impl Future<Output = Result<Option<UserId>, StoreError>> + Send;

    /// Deletes pending rows whose address was granted no code mail for `pending_ttl`, expired links, and counts of mailboxes
    /// and of password resets that no rule needs. Forgets the grants of addresses that have no user and were granted nothing for a year. Returns the
    /// number of deleted pending rows.
    fn purge(&self, pending_ttl: Duration) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// Result of [`Codes::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The code is live, and its lifetime starts now.
    Live,
    /// A later grant's code was stored before. This grant's code stays invalid.
    Superseded,
    /// Wrong guesses or [`Codes::discard`] invalidated this grant's code for good.
    Invalidated,
    /// The store has lost the wrong guesses of this grant. Its code is invalid for good, because nothing would limit the
    /// guesses.
    Spent,
    /// A later attempt for the same grant has stored the code: this attempt has lost its claim. Nothing was changed.
    ClaimLost,
}

/// Result of [`Codes::redeem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    Match,
    WrongGuess {
        /// Guesses left. At 0 this guess destroyed the code.
        remaining: u8,
    },
    NoCode(NoCodeReason),
}

/// The store of live codes: Redis. The store's own clock decides about expiry.
pub trait Codes: Send + Sync + 'static {
    /// Makes the grant's code the live code of the key and restarts its lifetime. Wrong guesses already counted for the
    /// grant stay counted. With `None` it stores a decoy, which counts wrong guesses like a code and matches no guess.
    ///
    /// `first`: whether this may be the first put of the grant. Otherwise the store must still have its wrong guesses; if
    /// it has lost them, the code is [`PutOutcome::Spent`].
    fn put(
        &self,
        key: CodeKey,
        attempt: MailAttempt,
        code: Option<&Code>,
        first: bool,
    ) -> impl Future<Output = Result<PutOutcome, StoreError>> + Send;

    /// Makes the grant's code invalid until the next [`Codes::put`], because its mail was not sent. Wrong guesses stay
    /// counted. Changes nothing after a later attempt has stored the code.
    fn withdraw(&self, key: CodeKey, attempt: MailAttempt) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Compares the guess with the live code and counts a wrong guess, in one atomic step. A match changes nothing: the
    /// activation in PostgreSQL decides.
    fn redeem(&self, key: CodeKey, code: &Code) -> impl Future<Output = Result<Redeemed, StoreError>> + Send;

    /// Invalidates the key's code for good: a retry of its mail does not make it live again.
    fn discard(&self, key: CodeKey) -> impl Future<Output = Result<(), StoreError>> + Send;
}
