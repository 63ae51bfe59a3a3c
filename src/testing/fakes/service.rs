//! The use cases on the in-memory fakes, with shortcuts for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::super::{LOCAL_CALLER, QueuedMail};
use super::{InMemoryCodes, InMemoryUsers, ManualClock, lock};
use crate::accounts::errors::{ActivateError, AuthenticateError, RegisterError};
use crate::accounts::ports::Codes as _;
use crate::accounts::{Accounts, ExistingAccount};
use crate::domain::code::{Code, CodeLifetimes, CodeSecret, MailAttempt};
use crate::domain::email::Email;
use crate::domain::network::Network;
use crate::domain::not_me::NotMeToken;
use crate::domain::pacing::Pacing;
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::ticket::RegistrationTicket;
use crate::domain::user::{User, UserId};
use crate::passwords::{CostDistribution, CostDraw, HashCost, Hasher, VerifiedPasswords};
use crate::rng::Rng;

/// The use cases on in-memory fakes that share one clock.
pub struct InMemoryService {
    pub clock: ManualClock,
    pub users: Arc<InMemoryUsers>,
    pub codes: Arc<InMemoryCodes>,
    pub accounts: Accounts<InMemoryUsers, InMemoryCodes>,
    secret: CodeSecret,
    /// The latest mail of each user. A test may send it again after the activation removed it from the outbox.
    latest_mails: Mutex<HashMap<UserId, QueuedMail>>,
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
        let codes = Arc::new(InMemoryCodes::new(clock.clone(), CodeLifetimes::default()));
        let minimum = HashCost::new(8, 1, 1).expect("the minimum cost of argon2");
        let accounts = Self::accounts(&users, &codes, minimum, existing_account);
        let secret = CodeSecret::new(vec![60; 32]).expect("32 octets");
        Self { clock, users, codes, accounts, secret, latest_mails: Mutex::default() }
    }

    fn accounts(
        users: &Arc<InMemoryUsers>,
        codes: &Arc<InMemoryCodes>,
        cost: HashCost,
        existing_account: ExistingAccount,
    ) -> Accounts<InMemoryUsers, InMemoryCodes> {
        let hasher = Hasher::start(cost, 1, Duration::from_secs(10));
        let secret = CodeSecret::new(vec![60; 32]).expect("32 octets");
        let costs = CostDraw::new(secret.clone(), cost);
        costs.set(CostDistribution::new(users.accounts_by_cost()));
        let (rng, queued) = (Rng::seeded(60), Arc::new(Notify::new()));
        Accounts::new(Arc::clone(users), Arc::clone(codes), hasher, costs, rng, secret, queued)
            .with_existing_account(existing_account)
    }

    /// Remembers verified passwords for the whole test: no clock moves on.
    pub fn remember_passwords(mut self) -> Self {
        let verified = VerifiedPasswords::new(Duration::from_secs(60 * 60), 1000, &Rng::seeded(61));
        self.accounts = self.accounts.with_verified_passwords(Some(verified));
        self
    }

    /// Replaces the hasher by one of another cost, as a restart with other settings does.
    pub fn set_hash_cost(&mut self, cost: HashCost) {
        self.accounts = Self::accounts(&self.users, &self.codes, cost, ExistingAccount::Hide);
    }

    pub async fn register(&self, email: &str, password: &str) -> Result<User, RegisterError> {
        let email = Email::parse(email).expect("a valid address");
        let password = Policy::default().password(password, Some(&email)).expect("a valid password");
        self.accounts.register(&email, password, None, None, LOCAL_CALLER).await
    }

    /// Registers an address with a registration ticket.
    pub async fn register_by_ticket(
        &self,
        email: &str,
        password: &str,
        ticket: &RegistrationTicket,
    ) -> Result<User, RegisterError> {
        let email = Email::parse(email).expect("a valid address");
        let password = Policy::default().password(password, Some(&email)).expect("a valid password");
        self.accounts.register(&email, password, Some(ticket), None, LOCAL_CALLER).await
    }

    pub async fn authenticate(&self, name: &str, password: &str) -> Result<User, AuthenticateError> {
        let email = Email::parse(name).ok();
        let password = Password::present(password).expect("a valid password");
        self.accounts
            .authenticate(email.as_ref().map(Email::address), password, Network::LOCAL)
            .await
            .map(|row| row.user)
    }

    /// Makes the code of the user's latest mail live, as the mail worker does. Repeated calls simulate retries of the mail.
    pub async fn send_mail(&self, user: &User) -> Code {
        let mut first = false;
        for mail in self.users.queued_mails() {
            let replaced = lock(&self.latest_mails).insert(mail.user, mail);
            first |= mail.user == user.id && replaced != Some(mail);
        }
        let mail = lock(&self.latest_mails)[&user.id];
        let code = self.secret.code(&mail.nonce, mail.length);
        let attempt = MailAttempt { grant: mail.grant, number: 1 };
        self.codes.put(user.id.into(), attempt, Some(&code), first).await.expect("the fake returns no errors");
        code
    }

    /// Makes the code of the queued reset mail of an address live, or a decoy, as the mail worker does. Returns the code.
    pub async fn send_reset_mail(&self, email: &str) -> Code {
        let address = Email::parse(email).expect("a valid address").address().clone();
        let id = self.secret.reset_id(&address);
        let mail = self.users.queued_reset(id).expect("a queued reset mail");
        let code = self.secret.code(&mail.nonce, mail.length);
        let attempt = MailAttempt { grant: mail.grant, number: 1 };
        let has_account = self.users.active_account(&address).is_some();
        self.codes
            .put(id.into(), attempt, has_account.then_some(&code), true)
            .await
            .expect("the fake returns no errors");
        assert_eq!(self.users.bind_reset(id, &mail), has_account);
        code
    }

    /// Stores the "this was not me" link of the user's queued mail and returns its token.
    pub fn store_not_me_link(&self, user: &User) -> NotMeToken {
        let queued = self.users.queued_mails();
        let mail = queued.iter().find(|mail| mail.user == user.id).expect("a queued mail");
        let token = self.secret.not_me(&mail.nonce);
        assert!(self.users.store_not_me_link(user.id, token.hash()));
        token
    }

    /// Sends the user's mail and activates the account with the code.
    pub async fn activate(&self, user: &User) -> Result<User, ActivateError> {
        let code = self.send_mail(user).await;
        self.accounts.activate(user, &code, None).await
    }
}
