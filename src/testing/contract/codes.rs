//! Contract of the store of live codes.

use std::time::Duration;

use super::super::wrong_code_for;
use super::under_test::CodesUnderTest;
use crate::accounts::errors::NoCodeReason;
use crate::accounts::ports::{Codes as _, PutOutcome, Redeemed};
use crate::domain::code::{Code, CodeKey, Grant, MailAttempt, ResetId};
use crate::rng::Rng;

/// Tests everything that [`Codes`](crate::accounts::ports::Codes) promises.
pub async fn codes(store: &impl CodesUnderTest) {
    for new_key in [|rng: &Rng| CodeKey::from(rng.user_id()), |rng: &Rng| CodeKey::from(ResetId(rng.bytes()))] {
        every_key(CodesFixture::new(store, new_key)).await;
    }
}

async fn every_key(fixture: CodesFixture<'_, impl CodesUnderTest>) {
    fixture.key_without_a_code_gets_not_mailed().await;
    fixture.match_changes_nothing_and_is_bound_to_the_key().await;
    fixture.third_wrong_guess_destroys_the_code_and_later_grants_start_over().await;
    fixture.second_put_restarts_the_lifetime().await;
    fixture.wrong_guesses_stay_counted_after_expiry_and_discard_is_final().await;
    fixture.withdrawn_code_is_invalid_until_the_next_put().await;
    fixture.decoy_counts_guesses_and_never_matches().await;
    fixture.code_is_spent_when_its_wrong_guesses_are_lost().await;
    fixture.attempt_that_lost_its_claim_changes_nothing().await;
}

fn first_attempt(grant: i64) -> MailAttempt {
    MailAttempt { grant: Grant(grant), number: 1 }
}

struct CodesFixture<'a, T> {
    store: &'a T,
    new_key: fn(&Rng) -> CodeKey,
    rng: Rng,
    code: Code,
    wrong: Code,
}

impl<'a, T: CodesUnderTest> CodesFixture<'a, T> {
    fn new(store: &'a T, new_key: fn(&Rng) -> CodeKey) -> Self {
        let code = Code::parse("0042").expect("digits");
        Self { store, new_key, rng: Rng::from_system(), wrong: wrong_code_for(&code), code }
    }

    fn new_key(&self) -> CodeKey {
        (self.new_key)(&self.rng)
    }

    async fn redeem(&self, key: CodeKey, code: &Code) -> Redeemed {
        self.store.codes().redeem(key, code).await.expect("the store answers")
    }

    /// Puts a code for the first time, or again while its wrong guesses are stored.
    async fn put(&self, key: CodeKey, grant: i64, code: Option<&Code>) -> PutOutcome {
        self.store.codes().put(key, first_attempt(grant), code, true).await.expect("the store answers")
    }

    async fn put_again(&self, key: CodeKey, grant: i64, code: Option<&Code>) -> PutOutcome {
        self.store.codes().put(key, first_attempt(grant), code, false).await.expect("the store answers")
    }

    async fn key_without_a_code_gets_not_mailed(&self) {
        let key = self.new_key();
        assert_eq!(self.redeem(key, &self.code).await, Redeemed::NoCode(NoCodeReason::NotMailed));
        self.store.codes().discard(key).await.expect("discarding nothing is not an error");
    }

    async fn match_changes_nothing_and_is_bound_to_the_key(&self) {
        let key = self.new_key();
        assert_eq!(self.put(key, 1, Some(&self.code)).await, PutOutcome::Live);
        assert_eq!(self.redeem(key, &self.code).await, Redeemed::Match);
        assert_eq!(self.redeem(key, &self.code).await, Redeemed::Match);
        let other_key = self.new_key();
        assert_eq!(self.redeem(other_key, &self.code).await, Redeemed::NoCode(NoCodeReason::NotMailed));
    }

    async fn third_wrong_guess_destroys_the_code_and_later_grants_start_over(&self) {
        let Self { code, wrong, .. } = self;
        let key = self.new_key();
        assert_eq!(self.put(key, 1, Some(code)).await, PutOutcome::Live);
        assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 2 });
        assert_eq!(self.put(key, 1, Some(code)).await, PutOutcome::Live);
        assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 1 });
        assert_eq!(self.redeem(key, code).await, Redeemed::Match);
        assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 0 });
        assert_eq!(self.redeem(key, code).await, Redeemed::NoCode(NoCodeReason::Destroyed));
        assert_eq!(self.put(key, 1, Some(code)).await, PutOutcome::Invalidated);
        assert_eq!(self.redeem(key, code).await, Redeemed::NoCode(NoCodeReason::Destroyed));

        assert_eq!(self.put(key, 3, Some(code)).await, PutOutcome::Live);
        assert_eq!(self.put(key, 2, Some(wrong)).await, PutOutcome::Superseded);
        assert_eq!(self.redeem(key, code).await, Redeemed::Match);
        assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 2 });
    }

    async fn second_put_restarts_the_lifetime(&self) {
        let key = self.new_key();
        self.put(key, 1, Some(&self.code)).await;
        self.store.advance(Duration::from_secs(40)).await;
        self.put(key, 1, Some(&self.code)).await;
        self.store.advance(Duration::from_secs(40)).await;
        assert_eq!(self.redeem(key, &self.code).await, Redeemed::Match);
        self.store.advance(Duration::from_secs(20)).await;
        assert_eq!(self.redeem(key, &self.code).await, Redeemed::NoCode(NoCodeReason::Expired));
    }

    async fn wrong_guesses_stay_counted_after_expiry_and_discard_is_final(&self) {
        let Self { code, wrong, .. } = self;
        let key = self.new_key();
        self.put(key, 1, Some(code)).await;
        self.redeem(key, wrong).await;
        self.store.advance(Duration::from_secs(60)).await;
        self.put(key, 1, Some(code)).await;
        assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 1 });

        self.store.codes().discard(key).await.expect("the store answers");
        assert!(matches!(self.redeem(key, code).await, Redeemed::NoCode(_)));
        assert_eq!(self.put(key, 1, Some(code)).await, PutOutcome::Invalidated);
    }

    async fn withdrawn_code_is_invalid_until_the_next_put(&self) {
        let Self { code, wrong, .. } = self;
        let (codes, key) = (self.store.codes(), self.new_key());
        self.put(key, 2, Some(code)).await;
        self.redeem(key, wrong).await;
        codes.withdraw(key, first_attempt(1)).await.expect("the store answers");
        assert_eq!(self.redeem(key, code).await, Redeemed::Match, "withdrawing an earlier grant must change nothing");
        codes.withdraw(key, first_attempt(2)).await.expect("the store answers");
        assert_eq!(self.redeem(key, code).await, Redeemed::NoCode(NoCodeReason::NotMailed));
        assert_eq!(self.put(key, 2, Some(code)).await, PutOutcome::Live);
        assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 1 });
        codes.withdraw(self.new_key(), first_attempt(1)).await.expect("withdrawing nothing is not an error");
    }

    async fn decoy_counts_guesses_and_never_matches(&self) {
        let key = self.new_key();
        assert_eq!(self.put(key, 1, None).await, PutOutcome::Live);
        for remaining in [2, 1, 0] {
            assert_eq!(self.redeem(key, &self.code).await, Redeemed::WrongGuess { remaining });
        }
        assert_eq!(self.redeem(key, &self.code).await, Redeemed::NoCode(NoCodeReason::Destroyed));
        assert_eq!(self.put(key, 1, None).await, PutOutcome::Invalidated);
    }

    async fn code_is_spent_when_its_wrong_guesses_are_lost(&self) {
        let Self { code, wrong, .. } = self;
        for code in [Some(code), None] {
            let key = self.new_key();
            assert_eq!(self.put(key, 2, code).await, PutOutcome::Live);
            assert_eq!(self.put_again(key, 2, code).await, PutOutcome::Live);
            assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 2 });
            self.store.lose_all().await;
            assert_eq!(self.redeem(key, wrong).await, Redeemed::NoCode(NoCodeReason::NotMailed));
            assert_eq!(self.put_again(key, 2, code).await, PutOutcome::Spent);
            assert_eq!(self.redeem(key, wrong).await, Redeemed::NoCode(NoCodeReason::Expired));
            assert_eq!(self.put_again(key, 2, code).await, PutOutcome::Invalidated);
            assert_eq!(self.put(key, 2, code).await, PutOutcome::Invalidated);
            assert_eq!(self.put(key, 1, code).await, PutOutcome::Superseded);
            assert_eq!(self.put(key, 3, code).await, PutOutcome::Live);
            assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 2 });
            // A replica that became the primary may still have the guesses of an earlier grant.
            assert_eq!(self.put_again(key, 4, code).await, PutOutcome::Spent);
            assert_eq!(self.redeem(key, wrong).await, Redeemed::NoCode(NoCodeReason::Expired));
        }
    }

    async fn attempt_that_lost_its_claim_changes_nothing(&self) {
        let Self { code, wrong, .. } = self;
        let (codes, key) = (self.store.codes(), self.new_key());
        let attempt = |grant, number| MailAttempt { grant: Grant(grant), number };
        let put = async |attempt| codes.put(key, attempt, Some(code), true).await.expect("the store answers");
        assert_eq!(put(attempt(1, 1)).await, PutOutcome::Live);
        assert_eq!(put(attempt(1, 3)).await, PutOutcome::Live);
        self.store.advance(Duration::from_secs(40)).await;
        assert_eq!(put(attempt(1, 2)).await, PutOutcome::ClaimLost);
        codes.withdraw(key, attempt(1, 2)).await.expect("the store answers");
        assert_eq!(self.redeem(key, code).await, Redeemed::Match);
        self.store.advance(Duration::from_secs(20)).await;
        assert_eq!(self.redeem(key, code).await, Redeemed::NoCode(NoCodeReason::Expired), "the lifetime was restarted");
        // The attempts of a later grant are counted from one again.
        assert_eq!(put(attempt(2, 1)).await, PutOutcome::Live);
        assert_eq!(self.redeem(key, wrong).await, Redeemed::WrongGuess { remaining: 2 });
        codes.withdraw(key, attempt(2, 1)).await.expect("the store answers");
        assert_eq!(self.redeem(key, code).await, Redeemed::NoCode(NoCodeReason::NotMailed));
    }
}
