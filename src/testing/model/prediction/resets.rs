//! Predictions about password resets.

use std::time::Duration;

use time::OffsetDateTime;

use super::super::super::{LOCAL_CALLER, QueuedReset, wrong_code_for};
use super::super::under_test::ServiceUnderTest;
use super::{Account, Model, PASSWORDS, assert_near};
use crate::accounts::errors::{RequestResetError, ResetPasswordError};
use crate::accounts::ports::{Codes as _, PutOutcome};
use crate::domain::code::{Code, MAX_WRONG_GUESSES, MailAttempt};
use crate::domain::pacing::Pacing;
use crate::domain::password::Password;
use crate::domain::user::UserId;

const RESET_CODE_TTL: Duration = Duration::from_secs(10 * 60);

pub(super) struct MailedReset {
    mail: QueuedReset,
    wrong_guesses: u8,
    put_at: OffsetDateTime,
    /// The account that the code was made for, and how often its password had been changed then. `None`: a decoy.
    account: Option<(UserId, u32)>,
    is_used: bool,
    /// Whether Redis has lost the code.
    pub(super) is_lost: bool,
}

impl<S: ServiceUnderTest> Model<'_, S> {
    pub(super) async fn request_reset(&mut self, index: usize) {
        let response = self.service.accounts().request_password_reset(self.emails[index].address(), None).await;
        let history = &mut self.addresses[index].reset_history;
        match (Pacing::of_resets().grant(history.as_ref(), self.now), response) {
            (Ok((granted, _)), Ok(wait)) => {
                assert_eq!(wait, granted.wait);
                *history = Some(granted);
            }
            (Err(expected), Err(RequestResetError::TooSoon { left })) => assert_near(expected.left, left),
            (expected, response) => panic!("requesting a reset: {response:?} instead of {expected:?}"),
        }
    }

    /// The worker puts the code of a reset mail once, and forgets the mail after it has stored a decoy.
    pub(super) async fn send_reset_mails(&mut self) {
        for (email, address) in self.emails.iter().zip(&mut self.addresses) {
            let id = self.secret.reset_id(email.address());
            let Some(mail) = self.service.queued_reset(id, email.address()).await else {
                continue;
            };
            let granted_at = address.reset_history.as_ref().expect("the mail was requested").granted_at;
            let active = address.account.as_ref().filter(|account| !account.is_disabled);
            let account = active.map(|account| (account.user, account.changes));
            let same = address.reset.as_ref().filter(|mailed| mailed.mail == mail);
            if let Some(same) = same {
                if same.account.is_some() {
                    let is_bound = self.service.bind_reset(id, &mail).await;
                    assert_eq!(is_bound, !same.is_used && same.account == account);
                }
            } else if self.now < granted_at + RESET_CODE_TTL {
                let code = self.secret.code(&mail.nonce, mail.length);
                let attempt = MailAttempt { grant: mail.grant, number: 1 };
                let put = self.service.codes().put(id.into(), attempt, account.map(|_| &code), true).await;
                assert_eq!(put.expect("the store answers"), PutOutcome::Live);
                assert_eq!(self.service.bind_reset(id, &mail).await, account.is_some());
                let (put_at, wrong_guesses, is_used, is_lost) = (self.now, 0, false, false);
                address.reset = Some(MailedReset { mail, wrong_guesses, put_at, account, is_used, is_lost });
            }
        }
    }

    pub(super) async fn guess_reset(&mut self, index: usize, password: usize, right: bool) {
        let email = &self.emails[index];
        let address = &mut self.addresses[index];
        let code = match &address.reset {
            Some(mailed) => self.secret.code(&mailed.mail.nonce, mailed.mail.length),
            None => Code::parse("00420042").expect("digits"),
        };
        let guess = if right { code } else { wrong_code_for(&code) };
        let new = Password::present(PASSWORDS[password]).expect("a valid password");
        let response = self.service.accounts().reset_password(email.address(), &guess, new, LOCAL_CALLER).await;
        let live = address.reset.as_mut().filter(|mailed| {
            !mailed.is_lost && mailed.wrong_guesses < MAX_WRONG_GUESSES && self.now < mailed.put_at + RESET_CODE_TTL
        });
        let active = address.account.as_mut().filter(|account| !account.is_disabled);
        match (live, response) {
            (None, Err(ResetPasswordError::NoCode)) => {}
            (Some(mailed), Err(ResetPasswordError::Incorrect { remaining })) if !right || mailed.account.is_none() => {
                mailed.wrong_guesses += 1;
                assert_eq!(remaining, MAX_WRONG_GUESSES - mailed.wrong_guesses);
            }
            (Some(mailed), response) if right && mailed.account.is_some() => {
                let is_same = |account: &&mut Account| mailed.account == Some((account.user, account.changes));
                match (active.filter(|_| !mailed.is_used).filter(is_same), response) {
                    (Some(account), Ok(())) => {
                        mailed.is_used = true;
                        (account.password, account.changes) = (password, account.changes + 1);
                    }
                    (None, Err(ResetPasswordError::NoCode)) => {}
                    (account, response) => {
                        panic!("resetting: {response:?} although valid is {}", account.is_some())
                    }
                }
            }
            (live, response) => panic!("resetting: {response:?} although live is {}", live.is_some()),
        }
    }
}
