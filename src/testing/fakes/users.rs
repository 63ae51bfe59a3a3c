//! In-memory fake of PostgreSQL's users, addresses and outbox.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use time::OffsetDateTime;

use super::super::{QueuedAddressChange, QueuedMail, QueuedReset};
use super::{ManualClock, lock};
use crate::accounts::errors::{
    ConfirmAddressError, DeleteError, RegisterError, RequestAddressError, RequestResetError, ResendError, UpdateError,
};
use crate::accounts::ports::*;
use crate::domain::address_change::{LINK_LIFETIME, RestoreHash};
use crate::domain::code::{CodeLength, Grant, Nonce, ResetId};
use crate::domain::email::Address;
use crate::domain::locale::Locale;
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::pacing::{History, Pacing, YEAR};
use crate::domain::ticket::{self, TicketHash};
use crate::domain::user::{Role, Status, User, UserId};
use crate::passwords::{AddressCost, ForeignHash, HashParams, PasswordHash};
use crate::telemetry::trace::TraceContext;

/// Fake of `store/postgres/users`.
pub struct InMemoryUsers {
    clock: ManualClock,
    pacing: Pacing,
    tables: Mutex<Tables>,
}

#[derive(Default)]
pub(super) struct Tables {
    addresses: HashMap<Address, (HashParams, History)>,
    pub(super) users: Vec<Row>,
    outbox: Vec<QueuedMail>,
    /// The user of each "this was not me" link, and when the link expires.
    links: HashMap<NotMeHash, (UserId, OffsetDateTime)>,
    /// The hash of the latest deleted registration of each address, and until when it is recognised.
    disowned: HashMap<Address, (PasswordHash, OffsetDateTime)>,
    /// The ticket of each address, and when it expires.
    tickets: HashMap<Address, (TicketHash, OffsetDateTime)>,
    resets: HashMap<ResetId, Reset>,
    /// The new address of each user who has asked for one, and the nonce and the grant of its mail.
    address_changes: HashMap<UserId, QueuedAddressChange>,
    address_links: HashMap<RestoreHash, AddressLink>,
    latest_grant: i64,
}

/// A row of the table `password_resets`, and the queued mail of its latest grant.
struct Reset {
    history: History,
    queued: Option<QueuedReset>,
    /// The grant whose code is bound to an account.
    bound: Option<Grant>,
    /// The account that the code was made for, and the account's hash then.
    account: Option<(UserId, String)>,
}

/// A row of the table `address_links`.
struct AddressLink {
    user: UserId,
    address: Address,
    email: String,
    expires_at: OffsetDateTime,
}

/// A row of the table `users`.
pub(super) struct Row {
    pub(super) address: Address,
    pub(super) user: User,
    hash: PasswordHash,
    foreign: Option<ForeignHash>,
}

impl Row {
    fn is_pending(&self) -> bool {
        self.user.status == Status::Pending
    }
}

impl InMemoryUsers {
    pub fn new(clock: ManualClock, pacing: Pacing) -> Self {
        Self { clock, pacing, tables: Mutex::default() }
    }

    /// Returns the code mails that the mail worker would claim, oldest first.
    pub fn queued_mails(&self) -> Vec<QueuedMail> {
        lock(&self.tables).outbox.clone()
    }

    /// Stores a "this was not me" link, as the mail worker does before it sends a mail. Returns `false` if the user is not
    /// pending.
    pub fn store_not_me_link(&self, user: UserId, link: NotMeHash) -> bool {
        let mut tables = lock(&self.tables);
        let is_pending = tables.pending(user).is_some();
        if is_pending {
            tables.links.insert(link, (user, self.clock.now() + not_me::LIFETIME));
        }
        is_pending
    }

    /// Returns the change of address that a user has asked for, with its queued mail.
    pub fn queued_address_change(&self, user: UserId) -> Option<QueuedAddressChange> {
        lock(&self.tables).address_changes.get(&user).cloned()
    }

    /// Returns the queued reset mail of the address with this id.
    pub fn queued_reset(&self, id: ResetId) -> Option<QueuedReset> {
        lock(&self.tables).resets.get(&id)?.queued.clone()
    }

    /// Returns the active account of the address of a reset mail, as the mail worker's claim does.
    pub fn active_account(&self, address: &Address) -> Option<UserId> {
        lock(&self.tables).active_account(address).map(|row| row.user.id)
    }

    /// Binds the code of a reset mail to the account and its password, as the mail worker does before it sends the mail.
    /// Returns `false` if the mail is not wanted any more.
    pub fn bind_reset(&self, id: ResetId, mail: &QueuedReset) -> bool {
        let mut tables = lock(&self.tables);
        let account = tables.active_account(&mail.address).map(|row| (row.user.id, row.hash.to_phc()));
        let (Some(account), Some(reset)) = (account, tables.resets.get_mut(&id)) else {
            return false;
        };
        if reset.queued.as_ref() != Some(mail) {
            return false;
        }
        if reset.bound == Some(mail.grant) {
            return reset.account.as_ref() == Some(&account);
        }
        (reset.bound, reset.account) = (Some(mail.grant), Some(account));
        true
    }

    /// Counts the accounts by the cost of a login.
    pub fn accounts_by_cost(&self) -> Vec<(AddressCost, u64)> {
        let mut counts = HashMap::new();
        for row in lock(&self.tables).users.iter().filter(|row| !row.is_pending()) {
            let foreign = row.foreign.as_ref().map(ForeignHash::cost);
            *counts.entry(AddressCost { argon2id: row.hash.params.cost, foreign }).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    /// Gives an account a hash that another system has made, as an import does. `unknown` is a hash that no password has, with
    /// the parameters of the address.
    pub fn set_foreign(&self, id: UserId, foreign: ForeignHash, unknown: PasswordHash) {
        if let Some(row) = lock(&self.tables).row_mut(id) {
            (row.foreign, row.hash) = (Some(foreign), unknown);
        }
    }

    /// Disables an account, as an operator does.
    pub fn disable(&self, id: UserId) {
        if let Some(row) = lock(&self.tables).row_mut(id) {
            row.user.status = Status::Disabled;
        }
    }
}

impl Tables {
    fn row(&self, id: UserId) -> Option<&Row> {
        self.users.iter().find(|row| row.user.id == id)
    }

    fn row_mut(&mut self, id: UserId) -> Option<&mut Row> {
        self.users.iter_mut().find(|row| row.user.id == id)
    }

    fn pending(&self, id: UserId) -> Option<&Row> {
        self.row(id).filter(|row| row.is_pending())
    }

    fn of_address(&self, address: &Address) -> impl Iterator<Item = &Row> {
        self.users.iter().filter(move |row| row.address == *address)
    }

    fn active_account(&self, address: &Address) -> Option<&Row> {
        self.of_address(address).find(|row| row.user.status == Status::Active)
    }

    /// Binds the reset code of an account to another hash of the same password.
    fn move_reset(&mut self, account: UserId, old: &PasswordHash, new: &PasswordHash) {
        for (user, phc) in self.resets.values_mut().filter_map(|reset| reset.account.as_mut()) {
            if *user == account && *phc == old.to_phc() {
                *phc = new.to_phc();
            }
        }
    }

    /// Deletes the queued reset mail of an address.
    fn delete_queued_reset(&mut self, address: &Address) {
        for reset in self.resets.values_mut() {
            reset.queued.take_if(|mail| mail.address == *address);
        }
    }

    /// Deletes users with their mails and links, as ON DELETE CASCADE does. Returns the number of deleted users.
    fn delete(&mut self, selects: impl Fn(&Row) -> bool) -> usize {
        let before = self.users.len();
        self.users.retain(|row| !selects(row));
        let left = &self.users;
        self.outbox.retain(|mail| left.iter().any(|row| row.user.id == mail.user));
        self.links.retain(|_, (user, _)| left.iter().any(|row| row.user.id == *user));
        before - self.users.len()
    }

    /// Whether this is the address's ticket and has not expired.
    fn is_valid_ticket(&self, address: &Address, ticket: Option<&TicketHash>, now: OffsetDateTime) -> bool {
        self.tickets.get(address).is_some_and(|(valid, expires_at)| Some(valid) == ticket && *expires_at > now)
    }

    fn is_last_admin(&self, id: UserId) -> bool {
        let mut admins =
            self.users.iter().filter(|row| row.user.role == Role::Admin && row.user.status == Status::Active);
        admins.next().is_some_and(|row| row.user.id == id) && admins.next().is_none()
    }

    fn queue(&mut self, user: UserId, nonce: Nonce, length: CodeLength) {
        self.outbox.retain(|mail| mail.user != user);
        self.latest_grant += 1;
        self.outbox.push(QueuedMail { user, grant: Grant(self.latest_grant), nonce, length });
    }
}

impl Users for InMemoryUsers {
    async fn address_state(&self, address: &Address, ticket: Option<&TicketHash>) -> Result<AddressState, StoreError> {
        let tables = lock(&self.tables);
        let Some((params, history)) = tables.addresses.get(address) else {
            return Ok(AddressState { params: None, wait: None });
        };
        let now = self.clock.now();
        let has_ticket = tables.is_valid_ticket(address, ticket, now);
        let wait = self.pacing.grant(Some(history), now).err().filter(|_| !has_ticket).map(|too_soon| too_soon.left);
        Ok(AddressState { params: Some(*params), wait })
    }

    async fn hash_costs(&self) -> Result<Vec<(AddressCost, u64)>, StoreError> {
        Ok(self.accounts_by_cost())
    }

    async fn register(&self, new: &NewUser<'_>) -> Result<User, RegisterError> {
        let mut tables = lock(&self.tables);
        let now = self.clock.now();
        let address = new.email.address().clone();
        let before = tables.addresses.get(&address);
        let (params, history) = before.map_or((new.hash.params, None), |(params, history)| (*params, Some(history)));
        let has_ticket = tables.is_valid_ticket(&address, new.ticket.as_ref(), now);
        let granted =
            if has_ticket { Ok(self.pacing.grant_by_ticket(history, now)) } else { self.pacing.grant(history, now) };
        let (history, length) = match granted {
            Ok(granted) if params == new.hash.params => granted,
            Ok((history, _)) => return Err(RegisterError::TooSoon { left: history.wait }),
            Err(too_soon) => return Err(RegisterError::TooSoon { left: too_soon.left }),
        };
        tables.addresses.insert(address.clone(), (params, history));
        if has_ticket {
            tables.tickets.remove(&address);
        }
        tables.delete(|row| row.address == address && row.is_pending());
        let user = User {
            id: new.id,
            email: new.email.as_typed().to_owned(),
            status: Status::Pending,
            role: Role::User,
            created_at: now,
            activated_at: None,
            locale: new.locale,
        };
        tables.users.push(Row { address, user: user.clone(), hash: new.hash.clone(), foreign: None });
        tables.queue(new.id, new.nonce, length);
        Ok(user)
    }

    async fn resend(&self, id: UserId, nonce: Nonce, _: Option<TraceContext>) -> Result<Duration, ResendError> {
        let mut tables = lock(&self.tables);
        let row = tables.row(id).ok_or(ResendError::Gone)?;
        if !row.is_pending() {
            return Err(ResendError::AlreadyActive);
        }
        let address = row.address.clone();
        let (params, history) = tables.addresses[&address].clone();
        let (history, length) = self
            .pacing
            .grant(Some(&history), self.clock.now())
            .map_err(|too_soon| ResendError::TooSoon { left: too_soon.left })?;
        let wait = history.wait;
        tables.addresses.insert(address, (params, history));
        tables.queue(id, nonce, length);
        Ok(wait)
    }

    async fn find_by_address(&self, address: &Address) -> Result<Vec<StoredUser>, StoreError> {
        let tables = lock(&self.tables);
        let stored = |row: &Row| StoredUser { user: row.user.clone(), hash: row.hash.clone() };
        Ok(tables.of_address(address).map(stored).collect())
    }

    async fn find_hashes(&self, address: &Address) -> Result<AddressHashes, StoreError> {
        let rows = self.find_by_address(address).await?;
        let tables = lock(&self.tables);
        let disowned = tables.disowned.get(address).filter(|(_, until)| *until > self.clock.now());
        let foreign = tables.of_address(address).find_map(|row| row.foreign.clone());
        Ok(AddressHashes { rows, disowned: disowned.map(|(hash, _)| hash.clone()), foreign })
    }

    async fn rehash(&self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        let mut tables = lock(&self.tables);
        let Some(row) = tables.row(id) else {
            return Ok(false);
        };
        let address = row.address.clone();
        if tables.of_address(&address).count() != 1 || row.is_pending() || row.hash.to_phc() != old.to_phc() {
            return Ok(false);
        }
        tables.move_reset(id, old, new);
        if let Some(row) = tables.row_mut(id) {
            (row.hash, row.foreign) = (new.clone(), None);
        }
        tables.addresses.entry(address).and_modify(|(params, _)| *params = new.params);
        Ok(true)
    }

    async fn change_password(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        _: Option<TraceContext>,
    ) -> Result<bool, StoreError> {
        let mut tables = lock(&self.tables);
        let row = tables.row_mut(id);
        let Some(row) = row.filter(|row| row.user.status == Status::Active && row.hash.to_phc() == old.to_phc()) else {
            return Ok(false);
        };
        (row.hash, row.foreign) = (new.clone(), None);
        let address = row.address.clone();
        tables.delete_queued_reset(&address);
        Ok(true)
    }

    async fn request_reset(
        &self,
        id: ResetId,
        address: &Address,
        nonce: Nonce,
        _: Option<TraceContext>,
    ) -> Result<Duration, RequestResetError> {
        let mut tables = lock(&self.tables);
        let before = tables.resets.get(&id).map(|reset| &reset.history);
        let granted = Pacing::of_resets().grant(before, self.clock.now());
        let (history, length) = granted.map_err(|too_soon| RequestResetError::TooSoon { left: too_soon.left })?;
        let wait = history.wait;
        tables.latest_grant += 1;
        let queued = Some(QueuedReset { address: address.clone(), grant: Grant(tables.latest_grant), nonce, length });
        tables.resets.insert(id, Reset { history, queued, bound: None, account: None });
        Ok(wait)
    }

    async fn find_reset_account(&self, id: ResetId) -> Result<Option<StoredUser>, StoreError> {
        let tables = lock(&self.tables);
        let bound = tables.resets.get(&id).and_then(|reset| reset.account.as_ref());
        let account = bound.and_then(|(user, phc)| {
            let row = tables.row(*user)?;
            (row.user.status == Status::Active && row.hash.to_phc() == *phc).then_some(row)
        });
        Ok(account.map(|row| StoredUser { user: row.user.clone(), hash: row.hash.clone() }))
    }

    async fn reset_password(
        &self,
        id: ResetId,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        _: Option<TraceContext>,
    ) -> Result<bool, StoreError> {
        let mut tables = lock(&self.tables);
        let is_bound = tables.resets.get(&id).is_some_and(|reset| reset.account == Some((user, old.to_phc())));
        let row = tables
            .row_mut(user)
            .filter(|row| is_bound && row.user.status == Status::Active && row.hash.to_phc() == old.to_phc());
        let Some(row) = row else {
            return Ok(false);
        };
        (row.hash, row.foreign) = (new.clone(), None);
        let address = row.address.clone();
        tables.delete_queued_reset(&address);
        tables.resets.entry(id).and_modify(|reset| reset.account = None);
        Ok(true)
    }

    async fn replace_foreign(&self, id: UserId, foreign: &ForeignHash, new: &PasswordHash) -> Result<bool, StoreError> {
        let mut tables = lock(&self.tables);
        let row = tables.row_mut(id).filter(|row| row.user.status == Status::Active);
        let row = row.filter(|row| row.foreign.as_ref().is_some_and(|now| now.as_str() == foreign.as_str()));
        let Some(row) = row else {
            return Ok(false);
        };
        let old = std::mem::replace(&mut row.hash, new.clone());
        row.foreign = None;
        tables.move_reset(id, &old, new);
        Ok(true)
    }

    async fn request_address_change(&self, change: &NewAddressChange<'_>) -> Result<Duration, RequestAddressError> {
        let mut tables = lock(&self.tables);
        let (now, address) = (self.clock.now(), change.email.address().clone());
        let before = tables.addresses.get(&address);
        let (params, history) = before.map_or((change.params, None), |(params, history)| (*params, Some(history)));
        let (history, length) = match self.pacing.grant(history, now) {
            Ok(granted) if params == change.params => granted,
            Ok((history, _)) => return Err(RequestAddressError::TooSoon { left: history.wait }),
            Err(too_soon) => return Err(RequestAddressError::TooSoon { left: too_soon.left }),
        };
        let owner = tables
            .row(change.user)
            .filter(|row| row.user.status == Status::Active && row.hash.to_phc() == change.old.to_phc());
        let Some(link) = owner.map(|row| AddressLink {
            user: change.user,
            address: row.address.clone(),
            email: row.user.email.clone(),
            expires_at: now + LINK_LIFETIME,
        }) else {
            return Err(RequestAddressError::Changed);
        };
        let wait = history.wait;
        tables.addresses.insert(address, (params, history));
        tables.address_links.insert(change.link, link);
        tables.latest_grant += 1;
        let grant = Grant(tables.latest_grant);
        let queued = QueuedAddressChange { email: change.email.clone(), grant, nonce: change.nonce, length };
        tables.address_changes.insert(change.user, queued);
        Ok(wait)
    }

    async fn find_address_change(&self, user: UserId) -> Result<Option<AddressChange>, StoreError> {
        let tables = lock(&self.tables);
        Ok(tables.address_changes.get(&user).and_then(|change| {
            let address = change.email.address().clone();
            let (params, _) = tables.addresses.get(&address)?;
            Some(AddressChange { address, params: *params })
        }))
    }

    async fn confirm_address_change(
        &self,
        user: UserId,
        old: &PasswordHash,
        address: &Address,
        new: &PasswordHash,
    ) -> Result<User, ConfirmAddressError> {
        let mut tables = lock(&self.tables);
        let change = tables.address_changes.get(&user).filter(|change| change.email.address() == address).cloned();
        let is_of_address = tables.addresses.get(address).is_some_and(|(params, _)| *params == new.params);
        let is_owner =
            tables.row(user).is_some_and(|row| row.user.status == Status::Active && row.hash.to_phc() == old.to_phc());
        let Some(change) = change.filter(|_| is_of_address && is_owner) else {
            return Err(ConfirmAddressError::Changed);
        };
        if tables.of_address(address).any(|row| !row.is_pending()) {
            return Err(ConfirmAddressError::Taken);
        }
        tables.address_changes.remove(&user);
        let row = tables.row_mut(user).ok_or(ConfirmAddressError::Changed)?;
        (row.address, row.hash, row.foreign) = (address.clone(), new.clone(), None);
        row.user.email = change.email.as_typed().to_owned();
        Ok(row.user.clone())
    }

    async fn restore_address(
        &self,
        link: &RestoreHash,
        random: [u8; 32],
        _: Option<TraceContext>,
    ) -> Result<RestoredAddress, StoreError> {
        let mut tables = lock(&self.tables);
        let now = self.clock.now();
        let Some(link) = tables.address_links.get(link).filter(|link| link.expires_at > now) else {
            return Ok(RestoredAddress::NoLink);
        };
        let (user, address, email) = (link.user, link.address.clone(), link.email.clone());
        if tables.of_address(&address).any(|row| !row.is_pending() && row.user.id != user) {
            return Ok(RestoredAddress::Taken);
        }
        let params = tables.addresses[&address].0;
        let Some(row) = tables.row_mut(user) else {
            return Ok(RestoredAddress::NoLink);
        };
        (row.address, row.user.email, row.foreign) = (address, email, None);
        row.hash = PasswordHash::of_digest(params.salt, params.cost, random);
        tables.address_changes.remove(&user);
        tables.address_links.retain(|_, link| link.user != user);
        Ok(RestoredAddress::Restored(user))
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(lock(&self.tables).row(id).map(|row| row.user.clone()))
    }

    async fn activate(&self, id: UserId, _: Option<TraceContext>) -> Result<Option<User>, StoreError> {
        let mut tables = lock(&self.tables);
        let Some(row) = tables.pending(id) else {
            return Ok(None);
        };
        if tables.of_address(&row.address).any(|other| !other.is_pending()) {
            return Ok(None);
        }
        tables.outbox.retain(|mail| mail.user != id);
        let now = self.clock.now();
        Ok(tables.row_mut(id).map(|row| {
            (row.user.status, row.user.activated_at) = (Status::Active, Some(now));
            row.user.clone()
        }))
    }

    async fn activate_as_operator(&self, id: UserId, trace: Option<TraceContext>) -> Result<Option<User>, StoreError> {
        self.activate(id, trace).await
    }

    async fn has_queued_code_mail(&self, id: UserId) -> Result<bool, StoreError> {
        Ok(lock(&self.tables).outbox.iter().any(|mail| mail.user == id))
    }

    async fn list(&self, filter: &UserFilter, after: Option<Cursor>, limit: u32) -> Result<Vec<User>, StoreError> {
        Ok(lock(&self.tables).list(filter, after, limit))
    }

    async fn search(
        &self,
        search: &AddressSearch,
        after: Option<&SearchCursor>,
        limit: u32,
    ) -> Result<Vec<FoundUser>, StoreError> {
        Ok(lock(&self.tables).search(search, after, limit))
    }

    async fn update(&self, id: UserId, change: AccountChange) -> Result<User, UpdateError> {
        let mut tables = lock(&self.tables);
        let is_last_admin = tables.is_last_admin(id);
        let row = tables.row_mut(id).ok_or(UpdateError::NotFound)?;
        if row.is_pending() {
            return Err(UpdateError::NotActive);
        }
        if is_last_admin && change.removes_admin() {
            return Err(UpdateError::LastAdmin);
        }
        if let Some(disabled) = change.disabled {
            row.user.status = if disabled { Status::Disabled } else { Status::Active };
        }
        row.user.role = change.role.unwrap_or(row.user.role);
        Ok(row.user.clone())
    }

    async fn set_locale(&self, id: UserId, locale: Option<Locale>) -> Result<Option<User>, StoreError> {
        let mut tables = lock(&self.tables);
        let row = tables.row_mut(id).filter(|row| row.user.status != Status::Disabled);
        Ok(row.map(|row| {
            row.user.locale = locale;
            row.user.clone()
        }))
    }

    async fn delete(&self, id: UserId, by: DeletedBy) -> Result<(), DeleteError> {
        let mut tables = lock(&self.tables);
        let row = tables.row(id).ok_or(DeleteError::NotFound)?;
        if row.user.status == Status::Disabled && by == DeletedBy::User {
            return Err(DeleteError::Disabled);
        }
        if tables.is_last_admin(id) {
            return Err(DeleteError::LastAdmin);
        }
        tables.delete(|row| row.user.id == id);
        Ok(())
    }

    async fn report_not_me(&self, link: &NotMeHash, ticket: &TicketHash) -> Result<Option<UserId>, StoreError> {
        let mut tables = lock(&self.tables);
        let now = self.clock.now();
        let Some(&(id, _)) = tables.links.get(link).filter(|(_, expires_at)| *expires_at > now) else {
            return Ok(None);
        };
        let Some((address, hash)) = tables.pending(id).map(|row| (row.address.clone(), row.hash.clone())) else {
            return Ok(None);
        };
        tables.disowned.insert(address.clone(), (hash, now + not_me::DISOWNED_FOR));
        tables.tickets.insert(address, (*ticket, now + ticket::LIFETIME));
        tables.delete(|row| row.user.id == id);
        Ok(Some(id))
    }

    async fn purge(&self, pending_ttl: Duration) -> Result<u64, StoreError> {
        let mut tables = lock(&self.tables);
        let now = self.clock.now();
        let stale: Vec<Address> = tables
            .addresses
            .iter()
            .filter(|(_, (_, history))| history.granted_at + pending_ttl <= now)
            .map(|(address, _)| address.clone())
            .collect();
        let purged = tables.delete(|row| row.is_pending() && stale.contains(&row.address));
        tables.links.retain(|_, (_, expires_at)| *expires_at > now);
        let pacing = Pacing::of_resets();
        tables.resets.retain(|_, reset| reset.history.granted_at + pacing.quiet.max(pacing.longest_wait) > now);
        let Tables { addresses, users, .. } = &mut *tables;
        addresses.retain(|address, (_, history)| {
            history.granted_at + history.wait.max(YEAR) > now || users.iter().any(|row| row.address == *address)
        });
        Ok(purged as u64)
    }
}
