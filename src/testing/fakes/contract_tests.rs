//! The fakes pass the contract tests of the ports.

use std::time::Duration;

use super::super::contract::{self, CodesUnderTest, UsersUnderTest};
use super::super::{QueuedMail, QueuedReset};
use super::{InMemoryCodes, InMemoryUsers, ManualClock};
use crate::domain::code::{CodeLifetimes, ResetId};
use crate::domain::not_me::NotMeHash;
use crate::domain::pacing::Pacing;
use crate::domain::user::UserId;
use crate::passwords::{ForeignHash, PasswordHash};

struct FakeUsers {
    clock: ManualClock,
    users: InMemoryUsers,
}

impl UsersUnderTest for FakeUsers {
    type Users = InMemoryUsers;

    fn users(&self) -> &InMemoryUsers {
        &self.users
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn queued_mails(&self) -> Vec<QueuedMail> {
        self.users.queued_mails()
    }

    async fn store_not_me_link(&self, user: UserId, link: NotMeHash) -> bool {
        self.users.store_not_me_link(user, link)
    }

    async fn queued_reset(&self, id: ResetId, _: &str) -> Option<QueuedReset> {
        self.users.queued_reset(id)
    }

    async fn bind_reset(&self, id: ResetId, mail: &QueuedReset) -> bool {
        self.users.bind_reset(id, mail)
    }

    async fn disable(&self, user: UserId) {
        self.users.disable(user);
    }

    async fn set_foreign(&self, user: UserId, foreign: &ForeignHash, unknown: &PasswordHash) {
        self.users.set_foreign(user, foreign.clone(), unknown.clone());
    }
}

const LIFETIMES: CodeLifetimes =
    CodeLifetimes { registration: Duration::from_secs(60), password_reset: Duration::from_secs(60) };

struct FakeCodes {
    clock: ManualClock,
    codes: InMemoryCodes,
}

impl CodesUnderTest for FakeCodes {
    type Codes = InMemoryCodes;

    fn codes(&self) -> &InMemoryCodes {
        &self.codes
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn lose_all(&self) {
        self.codes.lose_all();
    }
}

#[tokio::test]
async fn in_memory_users_pass_the_contract() {
    let clock = ManualClock::default();
    let users = InMemoryUsers::new(clock.clone(), Pacing::default());
    contract::users(&FakeUsers { clock, users }).await;
}

#[tokio::test]
async fn in_memory_codes_pass_the_contract() {
    let clock = ManualClock::default();
    let codes = InMemoryCodes::new(clock.clone(), LIFETIMES);
    contract::codes(&FakeCodes { clock, codes }).await;
}
