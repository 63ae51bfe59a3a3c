//! The model: the predicted state of two addresses, and the predicted response to every step.

mod resets;

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;

use super::super::{LOCAL_CALLER, QueuedMail, wrong_code_for};
use super::step::Step;
use super::under_test::ServiceUnderTest;
use crate::accounts::errors::{
    ActivateError, AuthenticateError, ChangePasswordError, NoCodeReason, RegisterError, ResendError,
};
use crate::accounts::ports::{AccountChange, Codes as _, PutOutcome, StoredUser};
use crate::domain::code::{Code, CodeSecret, MAX_WRONG_GUESSES, MailAttempt};
use crate::domain::email::Email;
use crate::domain::network::Network;
use crate::domain::not_me::{self, NotMeToken};
use crate::domain::pacing::{History, Pacing};
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::ticket::{self, RegistrationTicket};
use crate::domain::user::{Status, User, UserId};
use resets::MailedReset;

const PASSWORDS: [&str; 2] = ["correct horse", "battery staple"];
const CODE_TTL: Duration = Duration::from_secs(60);
/// A mail older than this is not sent again, as in the mail worker.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15 * 60);
/// Lifetime of a guess counter after the latest mail.
const GUESS_COUNTER_TTL: Duration = Duration::from_secs(60 * 60);
const PENDING_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Tolerance for waits: the clocks of real stores advance during a test, the model's clock does not. No [`Step::Wait`] is
/// shorter.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// The predicted state of an address.
#[derive(Default)]
struct Address {
    account: Option<Account>,
    pending: Option<Pending>,
    history: Option<History>,
    /// The links of all mails to the address, oldest first.
    links: Vec<MailedLink>,
    /// The latest ticket.
    ticket: Option<IssuedTicket>,
    /// The password index of the latest registration that a link has deleted, and until when it is recognised.
    disowned: Option<(usize, OffsetDateTime)>,
    /// The grants of reset mails.
    reset_history: Option<History>,
    /// The latest reset mail that was sent, or whose decoy was stored.
    reset: Option<MailedReset>,
}

struct Account {
    user: UserId,
    password: usize,
    /// The number of times that the password was changed.
    changes: u32,
    is_disabled: bool,
}

struct IssuedTicket {
    ticket: RegistrationTicket,
    issued_at: OffsetDateTime,
    used: bool,
}

struct Pending {
    user: User,
    password: usize,
    /// Time of the latest grant.
    granted_at: OffsetDateTime,
    /// The latest mailed code.
    code: Option<MailedCode>,
}

struct MailedCode {
    mail: QueuedMail,
    wrong_guesses: u8,
    put_at: OffsetDateTime,
    is_decoy: bool,
    /// Whether Redis has lost the code and its wrong guesses since the latest put.
    is_lost: bool,
    /// Whether a put found that Redis had lost the wrong guesses.
    is_spent: bool,
}

struct MailedLink {
    token: NotMeToken,
    user: UserId,
    mailed_at: OffsetDateTime,
}

/// Performs the steps and compares every response with the model's prediction.
///
/// # Panics
/// If a response differs from the prediction.
pub async fn run<S: ServiceUnderTest>(service: &S, secret: &CodeSecret, domain: &str, steps: &[Step]) {
    let mut model = Model {
        service,
        secret,
        emails: [format!("ada@{domain}"), format!("bob@{domain}")]
            .map(|email| Email::parse(&email).expect("a valid address")),
        pacing: Pacing::default(),
        now: OffsetDateTime::UNIX_EPOCH,
        addresses: Default::default(),
        wrong_guesses: HashMap::new(),
    };
    for step in steps {
        match *step {
            Step::Register { address, password } => model.register(address, password, None).await,
            Step::RegisterByTicket { address, password, own } => {
                let issued_for = if own { address } else { 1 - address };
                let ticket = model.addresses[issued_for].ticket.as_ref().map(|issued| issued.ticket.clone());
                model.register(address, password, ticket).await;
            }
            Step::Resend { address, password } => model.resend(address, password).await,
            Step::Guess { address, password, right } => model.guess(address, password, right).await,
            Step::SendMails => model.send_mails().await,
            Step::Wait(by) => {
                service.advance(by).await;
                model.now += by;
            }
            Step::ChangePassword { address, password } => model.change_password(address, password).await,
            Step::RequestReset { address } => model.request_reset(address).await,
            Step::GuessReset { address, password, right } => model.guess_reset(address, password, right).await,
            Step::Delete { address, password } => model.delete(address, password).await,
            Step::SetDisabled { address, disabled } => model.set_disabled(address, disabled).await,
            Step::ReportNotMe { address, latest } => model.report_not_me(address, latest).await,
            Step::Purge => model.purge().await,
            Step::LoseCodes => model.lose_codes().await,
        }
    }
}

struct Model<'a, S> {
    service: &'a S,
    secret: &'a CodeSecret,
    emails: [Email; 2],
    pacing: Pacing,
    now: OffsetDateTime,
    addresses: [Address; 2],
    /// Responses "wrong code" per grant.
    wrong_guesses: HashMap<i64, u8>,
}

impl<S: ServiceUnderTest> Model<'_, S> {
    async fn register(&mut self, index: usize, password: usize, ticket: Option<RegistrationTicket>) {
        let email = &self.emails[index];
        let chosen = Policy::default().password(PASSWORDS[password], Some(email)).expect("a valid password");
        let response = self.service.accounts().register(email, chosen, ticket.as_ref(), None, LOCAL_CALLER).await;
        let address = &mut self.addresses[index];
        let history = address.history.as_ref();
        let valid = address.ticket.as_mut().filter(|issued| {
            !issued.used && self.now < issued.issued_at + ticket::LIFETIME && Some(&issued.ticket) == ticket.as_ref()
        });
        let expected = match valid {
            Some(issued) => {
                issued.used = true;
                Ok(self.pacing.grant_by_ticket(history, self.now))
            }
            None => self.pacing.grant(history, self.now),
        };
        match (expected, response) {
            (Ok((history, _)), Ok(user)) => {
                assert_eq!(user.status, Status::Pending);
                address.history = Some(history);
                address.pending = Some(Pending { user, password, granted_at: self.now, code: None });
            }
            (Err(expected), Err(RegisterError::TooSoon { left })) => assert_near(expected.left, left),
            (expected, response) => panic!("registering: {response:?} instead of {expected:?}"),
        }
    }

    /// Returns the row that the credentials match: an account, a pending row, or `None`.
    async fn authenticate(&self, index: usize, password: usize) -> Option<StoredUser> {
        let presented = Password::present(PASSWORDS[password]).expect("a valid password");
        let response =
            self.service.accounts().authenticate(Some(self.emails[index].address()), presented, Network::LOCAL).await;
        let Address { account, pending, disowned, .. } = &self.addresses[index];
        let is_disowned = disowned.is_some_and(|(other, until)| other == password && self.now < until);
        let pending = pending.as_ref().filter(|pending| pending.password == password);
        let account = account.as_ref().filter(|account| account.password == password);
        match response {
            Err(AuthenticateError::Disabled) => assert!(account.is_some_and(|account| account.is_disabled)),
            Ok(ref row) if account.is_some_and(|account| !account.is_disabled) => {
                assert_eq!(row.user.status, Status::Active);
            }
            Ok(ref row) => assert_eq!(Some(&row.user), pending.map(|pending| &pending.user)),
            Err(AuthenticateError::WrongCredentials | AuthenticateError::Disowned) => {
                assert!(account.is_none() && pending.is_none());
                assert_eq!(matches!(response, Err(AuthenticateError::Disowned)), is_disowned);
            }
            Err(ref error) => panic!("{error}"),
        }
        response.ok()
    }

    async fn resend(&mut self, index: usize, password: usize) {
        let Some(StoredUser { user, .. }) = self.authenticate(index, password).await else {
            return;
        };
        let response = self.service.accounts().resend(&user, None).await;
        let address = &mut self.addresses[index];
        if user.status == Status::Active {
            assert!(matches!(response, Err(ResendError::AlreadyActive)));
            return;
        }
        match (self.pacing.grant(address.history.as_ref(), self.now), response) {
            (Ok((history, _)), Ok(wait)) => {
                assert_eq!(wait, history.wait);
                address.history = Some(history);
                address.pending.as_mut().expect("a pending row was authenticated").granted_at = self.now;
            }
            (Err(expected), Err(ResendError::TooSoon { left })) => assert_near(expected.left, left),
            (expected, response) => panic!("resending: {response:?} instead of {expected:?}"),
        }
    }

    async fn send_mails(&mut self) {
        self.send_reset_mails().await;
        let queued = self.service.queued_mails().await;
        for address in &mut self.addresses {
            let has_account = address.account.is_some();
            let Some(pending) = &mut address.pending else {
                continue;
            };
            if self.now > pending.granted_at + GIVE_UP_AFTER {
                continue;
            }
            let mails: Vec<_> = queued.iter().filter(|mail| mail.user == pending.user.id).collect();
            assert_eq!(mails.len(), 1, "a pending row has one mail");
            let mail = *mails[0];
            let code = self.secret.code(&mail.nonce, mail.length);
            let same = pending.code.take().filter(|mailed| mailed.mail == mail);
            let stored_code = (!has_account).then_some(&code);
            let attempt = MailAttempt { grant: mail.grant, number: 1 };
            let put = self.service.codes().put(pending.user.id.into(), attempt, stored_code, same.is_none()).await;
            let put = put.expect("the store answers");
            let token = self.secret.not_me(&mail.nonce);
            assert!(self.service.store_not_me_link(pending.user.id, token.hash()).await);
            address.links.push(MailedLink { token, user: pending.user.id, mailed_at: self.now });
            pending.code = Some(match same {
                None => {
                    assert_eq!(put, PutOutcome::Live);
                    let (is_lost, is_spent) = (false, false);
                    MailedCode { mail, wrong_guesses: 0, put_at: self.now, is_decoy: has_account, is_lost, is_spent }
                }
                Some(mailed) if mailed.is_lost => {
                    assert_eq!(put, PutOutcome::Spent);
                    MailedCode { put_at: self.now, is_lost: false, is_spent: true, ..mailed }
                }
                // A destroyed code is not put again.
                Some(mailed) if mailed.is_spent || mailed.wrong_guesses >= MAX_WRONG_GUESSES => {
                    assert_eq!(put, PutOutcome::Invalidated);
                    mailed
                }
                Some(mailed) => {
                    assert_eq!(put, PutOutcome::Live);
                    MailedCode { put_at: self.now, is_decoy: has_account, ..mailed }
                }
            });
        }
    }

    async fn guess(&mut self, index: usize, password: usize, right: bool) {
        let Some(StoredUser { user, .. }) = self.authenticate(index, password).await else {
            return;
        };
        let address = &mut self.addresses[index];
        let mailed = address.pending.as_mut().and_then(|pending| pending.code.as_mut());
        let code = match &mailed {
            Some(mailed) => self.secret.code(&mailed.mail.nonce, mailed.mail.length),
            None => Code::parse("0042").expect("digits"),
        };
        let guess = if right { code } else { wrong_code_for(&code) };
        let response = self.service.accounts().activate(&user, &guess, None).await;
        if user.status == Status::Active {
            assert!(matches!(response, Err(ActivateError::AlreadyActive)));
            return;
        }
        let expected = match mailed {
            None => Err(NoCodeReason::OnItsWay),
            Some(mailed) if mailed.is_lost => Err(NoCodeReason::OnItsWay),
            Some(mailed) if self.now >= mailed.put_at + GUESS_COUNTER_TTL => Err(NoCodeReason::OnItsWay),
            Some(mailed) if mailed.is_spent => Err(NoCodeReason::Expired),
            Some(mailed) if mailed.wrong_guesses >= MAX_WRONG_GUESSES => Err(NoCodeReason::Destroyed),
            Some(mailed) if self.now >= mailed.put_at + CODE_TTL => Err(NoCodeReason::Expired),
            Some(mailed) => Ok(mailed),
        };
        match (expected, response) {
            (Err(expected), Err(ActivateError::NoCode(reason))) => assert_eq!(reason, expected),
            // A decoy treats a right guess like a wrong one.
            (Ok(mailed), Err(ActivateError::Incorrect { remaining })) if !right || mailed.is_decoy => {
                mailed.wrong_guesses += 1;
                assert_eq!(remaining, MAX_WRONG_GUESSES - mailed.wrong_guesses);
                let wrong_guesses = self.wrong_guesses.entry(mailed.mail.grant.0).or_default();
                *wrong_guesses += 1;
                assert!(*wrong_guesses <= MAX_WRONG_GUESSES, "a grant allowed more than three wrong guesses");
            }
            (Ok(mailed), Ok(active)) if right && !mailed.is_decoy => {
                assert_eq!((active.id, active.status), (user.id, Status::Active));
                address.account = Some(Account { user: user.id, password, changes: 0, is_disabled: false });
                address.pending = None;
            }
            (expected, response) => {
                panic!("guessing: {response:?} instead of {:?}", expected.map(|mailed| mailed.wrong_guesses))
            }
        }
    }

    async fn change_password(&mut self, index: usize, password: usize) {
        let Some(row) = self.authenticate(index, password).await else {
            return;
        };
        let other = 1 - password;
        let new = Password::present(PASSWORDS[other]).expect("a valid password");
        let response = self.service.accounts().change_password(&row, new, LOCAL_CALLER).await;
        if row.user.status == Status::Pending {
            assert!(matches!(response, Err(ChangePasswordError::NotActive)));
            return;
        }
        response.expect("the password is the account's");
        let account = self.addresses[index].account.as_mut().expect("an account was authenticated");
        (account.password, account.changes) = (other, account.changes + 1);
    }

    async fn set_disabled(&mut self, index: usize, disabled: bool) {
        let Some(account) = &mut self.addresses[index].account else {
            return;
        };
        let change = AccountChange { disabled: Some(disabled), role: None };
        self.service.accounts().update(account.user, change).await.expect("no account is an admin");
        account.is_disabled = disabled;
    }

    async fn delete(&mut self, index: usize, password: usize) {
        let Some(StoredUser { user, .. }) = self.authenticate(index, password).await else {
            return;
        };
        self.service.accounts().delete(&user).await.expect("a disabled account was not authenticated");
        let address = &mut self.addresses[index];
        if user.status == Status::Active {
            address.account = None;
        } else {
            address.pending = None;
        }
    }

    async fn report_not_me(&mut self, index: usize, latest: bool) {
        let address = &mut self.addresses[index];
        let link = if latest { address.links.last() } else { address.links.first() };
        let Some(link) = link else {
            return;
        };
        let is_pending = address.pending.as_ref().is_some_and(|pending| pending.user.id == link.user);
        // A link that was mailed again is valid from its latest mail on.
        let same_link = address.links.iter().filter(|other| other.token == link.token);
        let mailed_at = same_link.map(|link| link.mailed_at).max().unwrap_or(link.mailed_at);
        let works = is_pending && self.now < mailed_at + not_me::LIFETIME;
        let ticket = self.service.accounts().report_not_me(&link.token).await.expect("the store answers");
        assert_eq!(ticket.is_some(), works);
        if let Some(ticket) = ticket {
            let pending = address.pending.take().expect("the link works for a pending row only");
            address.disowned = Some((pending.password, self.now + not_me::DISOWNED_FOR));
            address.ticket = Some(IssuedTicket { ticket, issued_at: self.now, used: false });
        }
    }

    async fn lose_codes(&mut self) {
        self.service.lose_codes().await;
        for pending in self.addresses.iter_mut().filter_map(|address| address.pending.as_mut()) {
            if let Some(mailed) = &mut pending.code {
                mailed.is_lost = true;
            }
        }
        for reset in self.addresses.iter_mut().filter_map(|address| address.reset.as_mut()) {
            reset.is_lost = true;
        }
    }

    /// The number of deleted rows is not predicted: a real database also holds rows of earlier sequences.
    async fn purge(&mut self) {
        self.service.purge(PENDING_TTL).await;
        for address in &mut self.addresses {
            let is_stale = |history: &History| history.granted_at + PENDING_TTL <= self.now;
            if address.history.as_ref().is_some_and(is_stale) {
                address.pending = None;
            }
        }
    }
}

/// Asserts that a remaining wait is the expected one, less the time that passed since.
fn assert_near(expected: Duration, actual: Duration) {
    assert!(actual <= expected && actual + CLOCK_TOLERANCE > expected, "{actual:?} instead of {expected:?}");
}
