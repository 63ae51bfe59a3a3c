//! InMemoryService of the stores that live in memory, with a clock that a test moves. They pass `contract.rs` like the real ones,
//! which is what makes the use cases' tests worth something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::accounts::Accounts;
use crate::accounts::activate::ActivateError;
use crate::accounts::authenticate::AuthenticateError;
use crate::accounts::ports::*;
use crate::accounts::register::{ExistingAccount, RegisterError};
use crate::domain::code::{Code, CodeSecret, Grant, MAX_MISSES, Nonce};
use crate::domain::email::{Address, Email};
use crate::domain::not_me::{self, NotMeHash, NotMeToken};
use crate::domain::pacing::{History, Pacing};
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::user::{Role, Status, User, UserId};
use crate::passwords::{HashCost, HashParams, Hasher, PasswordHash};
use crate::rng::Rng;

/// Stands still until it is moved.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<OffsetDateTime>>);

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(OffsetDateTime::UNIX_EPOCH)))
    }
}

impl ManualClock {
    pub fn now(&self) -> OffsetDateTime {
        *lock(&self.0)
    }

    pub fn advance(&self, by: Duration) {
        *lock(&self.0) += by;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The twin of `store/postgres`.
pub struct InMemoryUsers {
    clock: ManualClock,
    pacing: Pacing,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    addresses: HashMap<Address, (HashParams, History)>,
    users: Vec<(Address, User, PasswordHash)>,
    outbox: Vec<QueuedMail>,
    links: HashMap<NotMeHash, (UserId, OffsetDateTime)>,
    grants: i64,
}

#[derive(Debug, Clone, Copy)]
pub struct QueuedMail {
    pub user: UserId,
    pub code: GrantedCode,
}

impl InMemoryUsers {
    pub fn new(clock: ManualClock, pacing: Pacing) -> Self {
        Self { clock, pacing, tables: Mutex::default() }
    }

    /// The mails that the worker would claim.
    pub fn queued(&self) -> Vec<QueuedMail> {
        lock(&self.tables).outbox.clone()
    }

    /// What the worker does before it sends a mail. `false`: there is no such pending row.
    pub fn link(&self, user: UserId, link: NotMeHash) -> bool {
        let mut tables = lock(&self.tables);
        let pending = tables.users.iter().any(|(_, of, _)| of.id == user && of.status == Status::Pending);
        if pending {
            tables.links.insert(link, (user, self.clock.now() + not_me::LIFETIME));
        }
        pending
    }

    /// What an operator would do.
    pub fn disable(&self, id: UserId) {
        if let Some((_, user, _)) = lock(&self.tables).users.iter_mut().find(|(_, user, _)| user.id == id) {
            user.status = Status::Disabled;
        }
    }
}

impl Tables {
    /// With what refers to them, as ON DELETE CASCADE does. Returns how many.
    fn delete(&mut self, which: impl Fn(&Address, &User) -> bool) -> usize {
        let before = self.users.len();
        self.users.retain(|(of, user, _)| !which(of, user));
        let left = &self.users;
        self.outbox.retain(|mail| left.iter().any(|(_, user, _)| user.id == mail.user));
        self.links.retain(|_, (of, _)| left.iter().any(|(_, user, _)| user.id == *of));
        before - self.users.len()
    }

    fn is_last_admin(&self, id: UserId) -> bool {
        let admin = |user: &User| user.role == Role::Admin && user.status == Status::Active;
        let mut admins = self.users.iter().map(|(_, user, _)| user).filter(|user| admin(user)).map(|user| user.id);
        (admins.next(), admins.next()) == (Some(id), None)
    }

    fn queue(&mut self, user: UserId, nonce: Nonce, length: crate::domain::code::CodeLength) {
        self.outbox.retain(|mail| mail.user != user);
        self.grants += 1;
        self.outbox.push(QueuedMail { user, code: GrantedCode { grant: Grant(self.grants), nonce, length } });
    }
}

impl Users for InMemoryUsers {
    async fn address_state(&self, address: &Address) -> Result<AddressState, StoreError> {
        let tables = lock(&self.tables);
        let Some((params, history)) = tables.addresses.get(address) else {
            return Ok(AddressState { params: None, wait: None });
        };
        let wait = self.pacing.grant(Some(history), self.clock.now()).err().map(|too_soon| too_soon.left);
        Ok(AddressState { params: Some(*params), wait })
    }

    async fn register(&self, new: &NewUser<'_>) -> Result<Registration, StoreError> {
        let mut tables = lock(&self.tables);
        let now = self.clock.now();
        let address = new.email.address().clone();
        let before = tables.addresses.get(&address);
        let (params, history) = before.map_or((new.hash.params, None), |(params, history)| (*params, Some(history)));
        let (history, length) = match self.pacing.grant(history, now) {
            Ok(granted) if params == new.hash.params => granted,
            Ok((history, _)) => return Ok(Registration::TooSoon { left: history.wait }),
            Err(too_soon) => return Ok(Registration::TooSoon { left: too_soon.left }),
        };
        tables.addresses.insert(address.clone(), (params, history));
        tables.delete(|of, user| *of == address && user.status == Status::Pending);
        let user = User {
            id: new.id,
            email: new.email.as_typed().to_owned(),
            status: Status::Pending,
            role: Role::User,
            created_at: now,
            activated_at: None,
        };
        tables.users.push((address, user.clone(), new.hash.clone()));
        tables.queue(new.id, new.nonce, length);
        Ok(Registration::Registered(user))
    }

    async fn grant_again(&self, id: UserId, nonce: Nonce) -> Result<Regrant, StoreError> {
        let mut tables = lock(&self.tables);
        let pending = |(_, user, _): &&(Address, User, _)| user.id == id && user.status == Status::Pending;
        let Some((address, ..)) = tables.users.iter().find(pending) else {
            return Ok(Regrant::NotPending);
        };
        let address = address.clone();
        let (params, history) = tables.addresses[&address].clone();
        match self.pacing.grant(Some(&history), self.clock.now()) {
            Err(too_soon) => Ok(Regrant::TooSoon { left: too_soon.left }),
            Ok((history, length)) => {
                let wait = history.wait;
                tables.addresses.insert(address, (params, history));
                tables.queue(id, nonce, length);
                Ok(Regrant::Granted { wait })
            }
        }
    }

    async fn find_by_address(&self, address: &Address) -> Result<Vec<StoredUser>, StoreError> {
        let tables = lock(&self.tables);
        let of_address = tables.users.iter().filter(|(of, ..)| of == address);
        Ok(of_address.map(|(_, user, hash)| StoredUser { user: user.clone(), hash: hash.clone() }).collect())
    }

    async fn rehash(&self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        let mut tables = lock(&self.tables);
        let Some(at) = tables.users.iter().position(|(_, user, _)| user.id == id) else {
            return Ok(false);
        };
        let (address, user, hash) = &tables.users[at];
        let alone = tables.users.iter().filter(|(of, ..)| of == address).count() == 1;
        if !alone || user.status == Status::Pending || hash.to_phc() != old.to_phc() {
            return Ok(false);
        }
        let address = address.clone();
        tables.users[at].2 = new.clone();
        tables.addresses.entry(address).and_modify(|(params, _)| *params = new.params);
        Ok(true)
    }

    async fn change_password(&self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        let mut tables = lock(&self.tables);
        let row = tables
            .users
            .iter_mut()
            .find(|(_, user, hash)| user.id == id && user.status == Status::Active && hash.to_phc() == old.to_phc());
        Ok(row.map(|(_, _, hash)| *hash = new.clone()).is_some())
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(lock(&self.tables).users.iter().find(|(_, user, _)| user.id == id).map(|(_, user, _)| user.clone()))
    }

    async fn activate(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let mut tables = lock(&self.tables);
        let now = self.clock.now();
        let Some(at) = tables.users.iter().position(|(_, user, _)| user.id == id && user.status == Status::Pending)
        else {
            return Ok(None);
        };
        let address = tables.users[at].0.clone();
        if tables.users.iter().any(|(of, user, _)| *of == address && user.status != Status::Pending) {
            return Ok(None);
        }
        tables.outbox.retain(|mail| mail.user != id);
        let user = &mut tables.users[at].1;
        (user.status, user.activated_at) = (Status::Active, Some(now));
        Ok(Some(user.clone()))
    }

    async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: u32) -> Result<Vec<User>, StoreError> {
        let place = |user: &User| Cursor { created_at: user.created_at, id: user.id };
        let tables = lock(&self.tables);
        let mut listed: Vec<User> = tables
            .users
            .iter()
            .filter(|(address, ..)| filter.address.as_ref().is_none_or(|wanted| wanted == address))
            .map(|(_, user, _)| user)
            .filter(|user| filter.status.is_none_or(|wanted| wanted == user.status))
            .filter(|user| after.is_none_or(|after| place(user) < after))
            .cloned()
            .collect();
        listed.sort_by_key(|user| std::cmp::Reverse(place(user)));
        listed.truncate(limit as usize);
        Ok(listed)
    }

    async fn update(&self, id: UserId, change: Change) -> Result<Update, StoreError> {
        let mut tables = lock(&self.tables);
        let is_last = tables.is_last_admin(id);
        let Some((_, user, _)) = tables.users.iter_mut().find(|(_, user, _)| user.id == id) else {
            return Ok(Update::NotFound);
        };
        if user.status == Status::Pending {
            return Ok(Update::NotActive);
        }
        if is_last && (change.disabled == Some(true) || change.role == Some(Role::User)) {
            return Ok(Update::LastAdmin);
        }
        if let Some(disabled) = change.disabled {
            user.status = if disabled { Status::Disabled } else { Status::Active };
        }
        user.role = change.role.unwrap_or(user.role);
        Ok(Update::Updated(user.clone()))
    }

    async fn delete(&self, id: UserId, by: DeletedBy) -> Result<Deletion, StoreError> {
        let mut tables = lock(&self.tables);
        let status = tables.users.iter().find(|(_, user, _)| user.id == id).map(|(_, user, _)| user.status);
        Ok(match status {
            None => Deletion::NotFound,
            Some(Status::Disabled) if by == DeletedBy::Oneself => Deletion::Disabled,
            Some(_) if tables.is_last_admin(id) => Deletion::LastAdmin,
            Some(_) => {
                tables.delete(|_, user| user.id == id);
                Deletion::Deleted
            }
        })
    }

    async fn report_not_me(&self, link: &NotMeHash) -> Result<Option<UserId>, StoreError> {
        let mut tables = lock(&self.tables);
        let now = self.clock.now();
        let Some(&(id, _)) = tables.links.get(link).filter(|(_, expires_at)| *expires_at > now) else {
            return Ok(None);
        };
        let pending = |(_, user, _): &&(Address, User, _)| user.id == id && user.status == Status::Pending;
        let Some((address, ..)) = tables.users.iter().find(pending) else {
            return Ok(None);
        };
        let address = address.clone();
        if let Some((_, history)) = tables.addresses.get_mut(&address) {
            history.granted_at = history.granted_at.min(now - history.wait);
        }
        tables.delete(|_, user| user.id == id);
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
        let purged = tables.delete(|of, user| user.status == Status::Pending && stale.contains(of));
        tables.links.retain(|_, (_, expires_at)| *expires_at > now);
        Ok(purged as u64)
    }
}

/// The twin of `store/redis/codes.rs`.
pub struct InMemoryCodes {
    clock: ManualClock,
    ttl: Duration,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    codes: HashMap<UserId, (Option<Code>, OffsetDateTime)>,
    tries: HashMap<UserId, Tries>,
}

#[derive(Clone, Copy)]
struct Tries {
    grant: Grant,
    misses: u8,
    withdrawn: bool,
    dies: OffsetDateTime,
}

/// How long misses are remembered: far longer than a mail is retried.
pub const TRIES_TTL: Duration = Duration::from_secs(60 * 60);

impl InMemoryCodes {
    pub fn new(clock: ManualClock, ttl: Duration) -> Self {
        Self { clock, ttl, keys: Mutex::default() }
    }

    fn live(&self) -> MutexGuard<'_, Keys> {
        let now = self.clock.now();
        let mut keys = lock(&self.keys);
        keys.codes.retain(|_, (_, dies)| *dies > now);
        keys.tries.retain(|_, tries| tries.dies > now);
        keys
    }
}

impl Codes for InMemoryCodes {
    async fn put(&self, user: UserId, grant: Grant, code: Option<&Code>) -> Result<Put, StoreError> {
        let mut keys = self.live();
        let mut misses = 0;
        if let Some(latest) = keys.tries.get(&user) {
            if latest.grant > grant {
                return Ok(Put::Overtaken);
            }
            if latest.grant == grant {
                misses = latest.misses;
            }
        }
        if misses >= MAX_MISSES {
            return Ok(Put::Spent);
        }
        let dies = self.clock.now() + TRIES_TTL;
        keys.tries.insert(user, Tries { grant, misses, withdrawn: false, dies });
        keys.codes.insert(user, (code.cloned(), self.clock.now() + self.ttl));
        Ok(Put::Armed)
    }

    async fn withdraw(&self, user: UserId, grant: Grant) -> Result<(), StoreError> {
        let mut keys = self.live();
        if let Some(tries) = keys.tries.get_mut(&user).filter(|tries| tries.grant == grant) {
            tries.withdrawn = true;
            keys.codes.remove(&user);
        }
        Ok(())
    }

    async fn redeem(&self, user: UserId, code: &Code) -> Result<Redeemed, StoreError> {
        let mut keys = self.live();
        let Some((live, _)) = keys.codes.get(&user) else {
            return Ok(Redeemed::NoCode(match keys.tries.get(&user) {
                None => NoCode::NotMailed,
                Some(tries) if tries.misses >= MAX_MISSES => NoCode::Destroyed,
                Some(tries) if tries.withdrawn => NoCode::NotMailed,
                Some(_) => NoCode::Expired,
            }));
        };
        if live.as_ref() == Some(code) {
            return Ok(Redeemed::Match);
        }
        let Some(Tries { misses, .. }) = keys.tries.get_mut(&user) else {
            // The misses outlive the code; without them nothing bounds the guesses.
            keys.codes.remove(&user);
            return Ok(Redeemed::NoCode(NoCode::Expired));
        };
        *misses += 1;
        let remaining = MAX_MISSES.saturating_sub(*misses);
        if remaining == 0 {
            keys.codes.remove(&user);
        }
        Ok(Redeemed::Miss { remaining })
    }

    async fn discard(&self, user: UserId) -> Result<(), StoreError> {
        let mut keys = self.live();
        keys.codes.remove(&user);
        if let Some(tries) = keys.tries.get_mut(&user) {
            tries.misses = MAX_MISSES;
        }
        Ok(())
    }
}

/// The use cases over the service, and the hands of their tests.
pub struct InMemoryService {
    pub clock: ManualClock,
    pub users: Arc<InMemoryUsers>,
    pub codes: Arc<InMemoryCodes>,
    pub accounts: Accounts<InMemoryUsers, InMemoryCodes>,
    secret: CodeSecret,
    grants: Mutex<HashMap<UserId, GrantedCode>>,
}

impl Default for InMemoryService {
    fn default() -> Self {
        Self::new()
    }
}

impl InMemoryService {
    pub fn new() -> Self {
        Self::with(ExistingAccount::Hide)
    }

    pub fn with(existing_account: ExistingAccount) -> Self {
        let clock = ManualClock::default();
        let users = Arc::new(InMemoryUsers::new(clock.clone(), Pacing::default()));
        let codes = Arc::new(InMemoryCodes::new(clock.clone(), Duration::from_secs(60)));
        let cheap = HashCost::new(8, 1, 1).expect("argon2's least");
        let accounts = Self::accounts(&users, &codes, cheap, existing_account);
        let secret = CodeSecret::new(vec![60; 32]).expect("long enough");
        Self { clock, users, codes, accounts, secret, grants: Mutex::default() }
    }

    fn accounts(
        users: &Arc<InMemoryUsers>,
        codes: &Arc<InMemoryCodes>,
        cost: HashCost,
        existing_account: ExistingAccount,
    ) -> Accounts<InMemoryUsers, InMemoryCodes> {
        let hasher = Hasher::start(cost, 1, Duration::from_secs(10));
        let (rng, queued) = (Rng::seeded(60), Arc::new(Notify::new()));
        Accounts::new(Arc::clone(users), Arc::clone(codes), hasher, rng, queued, existing_account)
    }

    /// What a restart with another cost of hashing would do.
    pub fn hash_at(&mut self, cost: HashCost) {
        self.accounts = Self::accounts(&self.users, &self.codes, cost, ExistingAccount::Hide);
    }

    pub async fn register(&self, email: &str, password: &str) -> Result<User, RegisterError> {
        let email = Email::parse(email).expect("a test's address");
        let password = Policy::default().password(password, Some(&email)).expect("a test's password");
        self.accounts.register(&email, password).await
    }

    pub async fn authenticate(&self, name: &str, password: &str) -> Result<User, AuthenticateError> {
        let email = Email::parse(name).ok();
        let password = Password::present(password).expect("a test's password");
        self.accounts.authenticate(email.as_ref().map(Email::address), password).await.map(|row| row.user)
    }

    /// Does what the mail worker does with the user's latest grant, again if it was done before.
    pub async fn mail(&self, user: &User) -> Code {
        for mail in self.users.queued() {
            lock(&self.grants).insert(mail.user, mail.code);
        }
        let granted = lock(&self.grants)[&user.id];
        let code = self.secret.code(&granted.nonce, granted.length);
        self.codes.put(user.id, granted.grant, Some(&code)).await.expect("the twin answers");
        code
    }

    /// The link in the user's latest mail.
    pub fn link(&self, user: &User) -> NotMeToken {
        let queued = self.users.queued();
        let mail = queued.iter().find(|mail| mail.user == user.id).expect("a queued mail");
        let token = self.secret.not_me(&mail.code.nonce);
        assert!(self.users.link(user.id, token.hash()));
        token
    }

    pub async fn activate(&self, user: &User) -> Result<User, ActivateError> {
        let code = self.mail(user).await;
        self.accounts.activate(user, &code).await
    }
}

/// A code of the same length that is not this one.
pub fn other_than(code: &Code) -> Code {
    let swapped = code.expose().chars().map(|digit| if digit == '0' { '1' } else { '0' });
    Code::parse(&swapped.collect::<String>()).expect("digits")
}
