//! The use cases on the fakes respond as the model predicts.

use std::time::Duration;

use proptest::prelude::*;

use super::super::model::{self, ServiceUnderTest, Step};
use super::super::{QueuedMail, QueuedReset};
use super::{InMemoryCodes, InMemoryService, InMemoryUsers};
use crate::accounts::Accounts;
use crate::accounts::ports::Users as _;
use crate::domain::code::{CodeSecret, ResetId};
use crate::domain::email::Address;
use crate::domain::not_me::NotMeHash;
use crate::domain::user::UserId;

impl ServiceUnderTest for InMemoryService {
    type Users = InMemoryUsers;
    type Codes = InMemoryCodes;

    fn accounts(&self) -> &Accounts<InMemoryUsers, InMemoryCodes> {
        &self.accounts
    }

    fn codes(&self) -> &InMemoryCodes {
        &self.codes
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn lose_codes(&self) {
        self.codes.lose_all();
    }

    async fn queued_mails(&self) -> Vec<QueuedMail> {
        self.users.queued_mails()
    }

    async fn store_not_me_link(&self, user: UserId, link: NotMeHash) -> bool {
        self.users.store_not_me_link(user, link)
    }

    async fn queued_reset(&self, id: ResetId, _: &Address) -> Option<QueuedReset> {
        self.users.queued_reset(id)
    }

    async fn bind_reset(&self, id: ResetId, mail: &QueuedReset) -> bool {
        self.users.bind_reset(id, mail)
    }

    async fn purge(&self, pending_ttl: Duration) {
        self.users.purge(pending_ttl).await.expect("the fake returns no errors");
    }
}

proptest! {
    #[test]
    fn fakes_respond_to_any_sequence_as_the_model_predicts(numbers in prop::collection::vec(any::<u32>(), 1..200)) {
        let steps: Vec<Step> = numbers.into_iter().map(Step::from_number).collect();
        let secret = CodeSecret::new(vec![60; 32]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // The model predicts one response, so remembered passwords make no difference.
        for service in [InMemoryService::new(), InMemoryService::new().remember_passwords()] {
            runtime.block_on(model::run(&service, &secret, "example.com", &steps));
        }
    }
}
