//! What the use cases need of the stores. The real ones are in `store/`, their service in `memory.rs`; both pass
//! `contract.rs`.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use time::OffsetDateTime;

use crate::domain::code::{Code, CodeLength, Grant, Nonce};
use crate::domain::email::{Address, Email};
use crate::domain::not_me::NotMeHash;
use crate::domain::user::{Role, Status, User, UserId};
use crate::passwords::{HashParams, PasswordHash};

/// The store could not be asked, or its answer made no sense. That something is not there is no error.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It does not answer now; the same call may succeed later. Whether a change was made is unknown.
    #[error("{store} is unavailable: {reason}")]
    Unavailable { store: &'static str, reason: String },
    /// A defect here or in the store's content.
    #[error("{store} answered what cannot be: {reason}")]
    Broken { store: &'static str, reason: String },
}

/// A registration to be written: the pending user, its grant and the mail, in one transaction.
#[derive(Debug)]
pub struct NewUser<'a> {
    pub id: UserId,
    pub email: &'a Email,
    pub hash: &'a PasswordHash,
    pub nonce: Nonce,
}

/// What is known of an address before anything is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressState {
    /// The params that all rows of the address share; none if it was never granted anything.
    pub params: Option<HashParams>,
    /// How long until the next grant, if not now.
    pub wait: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Registration {
    Registered(User),
    /// The address was granted a mail too short a time ago. Nothing has changed.
    TooSoon {
        left: Duration,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Regrant {
    /// A mail is queued; the next is granted after `wait`.
    Granted { wait: Duration },
    /// Nothing has changed.
    TooSoon { left: Duration },
    /// The row is no longer there or no longer pending. Nothing has changed.
    NotPending,
}

/// A user with what it authenticates by.
#[derive(Debug, Clone)]
pub struct StoredUser {
    pub user: User,
    pub hash: PasswordHash,
}

/// Which users a list holds.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub address: Option<Address>,
}

/// A place in a list, which is newest first: what comes after it is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub created_at: OffsetDateTime,
    pub id: UserId,
}

/// What an operator changes of an account; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    pub disabled: Option<bool>,
    pub role: Option<Role>,
}

/// But for the first, nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Update {
    Updated(User),
    NotFound,
    /// It is pending: only its owner can activate it, and until then it is nobody.
    NotActive,
    /// No active admin would be left.
    LastAdmin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedBy {
    Oneself,
    Operator,
}

/// But for the first, nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    NotFound,
    /// Nobody gets rid of that by registering again.
    Disabled,
    /// No active admin would be left.
    LastAdmin,
}

/// PostgreSQL's part: who is there, and who was granted what. Time is the store's.
pub trait Users: Send + Sync + 'static {
    fn address_state(&self, address: &Address) -> impl Future<Output = Result<AddressState, StoreError>> + Send;

    /// Grants the address a mail and replaces its pending row, whole or not at all. Accounts are neither read nor
    /// touched. A hash that was not made by the address's params, if it has one, is not
    /// written: somebody else was registering it at the same time.
    fn register(&self, new: &NewUser<'_>) -> impl Future<Output = Result<Registration, StoreError>> + Send;

    /// Grants another mail for a pending row; it takes the place of one that was not sent yet.
    fn grant_again(&self, id: UserId, nonce: Nonce) -> impl Future<Output = Result<Regrant, StoreError>> + Send;

    /// All rows of an address: at most one account and one pending.
    fn find_by_address(&self, address: &Address) -> impl Future<Output = Result<Vec<StoredUser>, StoreError>> + Send;

    /// Replaces an account's hash by one of another cost, and the address's cost with it, so that its next rows share it.
    /// `false`, and nothing has changed: the hash is no longer `old` (the password was changed meanwhile), or a pending row
    /// shadows the account, whose hash cannot be made anew without its password.
    fn rehash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Replaces an active account's hash by that of another password, made by the same params, and queues a mail that tells
    /// its owner. `false`, and nothing has changed: the hash is no longer `old`, or the account is not active.
    fn change_password(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    fn find(&self, id: UserId) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// KeyedSemaphore this very row from pending to active, and puts a mail that says so in the place of one that was not sent yet.
    /// `None`: the row is gone, no longer pending, or its address has got an account otherwise.
    fn activate(&self, id: UserId) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;

    /// At most so many users, the newest first, from the cursor on.
    fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<User>, StoreError>> + Send;

    /// Changes this very account, unless that leaves no active admin: of two admins who demote each other at once, one
    /// stays.
    fn update(&self, id: UserId, change: Change) -> impl Future<Output = Result<Update, StoreError>> + Send;

    /// Deletes this very row, unless that leaves no active admin; a disabled one only for an operator. Mails that were not
    /// sent yet go with it; what its address was granted stays.
    fn delete(&self, id: UserId, by: DeletedBy) -> impl Future<Output = Result<Deletion, StoreError>> + Send;

    /// Deletes the registration of a link that still works, if it is still pending, and ends its address's wait, in one
    /// transaction. The next wait doubles all the same, and no short code is given back. `None`: nothing has changed.
    fn report_not_me(&self, link: &NotMeHash) -> impl Future<Output = Result<Option<UserId>, StoreError>> + Send;

    /// Deletes pending rows whose address was granted nothing for so long, and links that work no more. What addresses
    /// were granted stays. Returns how many rows.
    fn purge(&self, pending_ttl: Duration) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// What a queued mail's code is made of, for who looks into a store: the contract, and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedCode {
    pub grant: Grant,
    pub nonce: Nonce,
    pub length: CodeLength,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The code is live, its minute begins now.
    Armed,
    /// A later grant was put before; this one is dead.
    Overtaken,
    /// This grant was destroyed by wrong guesses, or used; it stays so.
    Spent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    Match,
    Miss {
        /// Guesses left. At 0 the code was destroyed by this one.
        remaining: u8,
    },
    NoCode(NoCode),
}

/// Why there is no live code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCode {
    /// None was mailed lately, or its mail could not be sent yet.
    NotMailed,
    /// It was mailed; its minute is over.
    Expired,
    /// It was destroyed by wrong guesses.
    Destroyed,
}

/// Redis's part: the codes that live now. Expiry is the store's.
pub trait Codes: Send + Sync + 'static {
    /// Makes the grant's code the user's live one and starts its minute anew; misses already counted stay. `None` puts
    /// a decoy, which counts misses like a code and matches none.
    fn put(
        &self,
        user: UserId,
        grant: Grant,
        code: Option<&Code>,
    ) -> impl Future<Output = Result<Put, StoreError>> + Send;

    /// Takes the grant's code back until it is put again, because its mail was not sent. Misses stay.
    fn withdraw(&self, user: UserId, grant: Grant) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Compares and counts in one step. A match changes nothing: PostgreSQL decides what it is worth.
    fn redeem(&self, user: UserId, code: &Code) -> impl Future<Output = Result<Redeemed, StoreError>> + Send;

    /// Ends the user's code for good: no retry of its mail brings it back.
    fn discard(&self, user: UserId) -> impl Future<Output = Result<(), StoreError>> + Send;
}
