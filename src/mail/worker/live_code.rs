//! The live code of a mail: nobody replaces it before it dies, and it does not stay if its mail was not sent.

use std::time::Duration;

use tracing::debug;

use super::Worker;
use crate::accounts::ports::{Codes, StoreError};
use crate::domain::code::CodeKey;
use crate::store::postgres::outbox::{Claim, LeftCode};

/// After this time from the grant of a mail, the wait for the next grant is extended before its code gets a new lifetime, and
/// not only after it. The rest of the wait is certainly longer than the time in between if a mail is not late.
const LATE: Duration = Duration::from_secs(1);

impl<C: Codes> Worker<C> {
    /// Extends the wait for the next grant if the mail is late, before its code becomes live: otherwise the wait could end in
    /// between, and another grant could replace the code. Returns `false` if the claim was lost.
    pub(super) async fn extend_wait_if_late(&self, claim: &Claim) -> Result<bool, StoreError> {
        if claim.age + claim.claimed.elapsed() <= LATE {
            return Ok(true);
        }
        self.outbox.extend_wait(claim, self.lifetimes.registration).await
    }

    /// Withdraws the code if no attempt can have reached the provider. Returns what is left of the code.
    pub(super) async fn withdraw_unsent(&self, claim: &Claim, key: CodeKey, unsent: bool) -> LeftCode {
        let live = LeftCode::Live(self.lifetimes.registration);
        if !unsent {
            return live;
        }
        match self.withdraw(claim, key).await {
            Ok(()) => LeftCode::None,
            Err(error) => {
                debug!(%error, "the code of an unsent mail was not withdrawn; it expires by itself");
                live
            }
        }
    }

    /// Deletes the code of an unsent mail: nobody has the code, so a guess at it must not count as wrong.
    async fn withdraw(&self, claim: &Claim, key: CodeKey) -> Result<(), StoreError> {
        // After a renewal, the claim is certain for a whole lease. Without it, another process may have sent the code.
        if self.outbox.renew(claim).await? { self.codes.withdraw(key, claim.attempt()).await } else { Ok(()) }
    }
}
