//! What is stored at the end of an attempt to send a mail. The wait of the address must not end before the code of the mail.

use std::time::Duration;

use super::{Claim, MailKind, Outbox};
use crate::accounts::ports::StoreError;

/// The code that an attempt to send a code mail leaves in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftCode {
    /// None that anybody could know: no code was stored, or it was withdrawn.
    None,
    /// The code may be live for up to this time from now.
    Live(Duration),
}

impl LeftCode {
    /// The longest rest of the code's lifetime in seconds. `None`: there is no code.
    pub(super) fn seconds(self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Live(ttl) => Some(ttl.as_secs_f64()),
        }
    }
}

/// A statement that runs `$change`, a change of the claimed row of the outbox, and moves the wait of the mail's address: a
/// code that an attempt has left must die before the wait ends, because the next grant replaces it. Without a code the wait
/// ends when it was to end.
///
/// The lease decides about both changes. The address is locked first, as in a registration; `$change` must read the CTE
/// `address`, so that it runs after that. The time that the mail has moved the wait by is stored in the outbox: a second
/// attempt does not move it twice. `$change` may use the parameters from $4 on. Returns the number of changed rows.
macro_rules! change_and_move_wait {
    ($claim:expr, $left:expr, $change:literal $(, $more:expr)* $(,)?) => {
        sqlx::query_scalar!(
            r#"
            WITH address AS MATERIALIZED (
                SELECT addresses.address, wait_moved AS before,
                    CASE WHEN $3::float8 IS NULL THEN interval '0 s'
                        ELSE greatest(now() - outbox.created_at + make_interval(secs => $3) - wait, wait_moved, interval '0 s')
                    END AS after
                FROM outbox JOIN users ON users.id = user_id JOIN addresses ON addresses.address = users.address
                WHERE outbox.id = $1 AND lease = $2 AND kind = 'code'
                FOR NO KEY UPDATE OF addresses
            ), changed AS (
                "# + $change + r#"
                RETURNING outbox.id
            ), moved AS (
                UPDATE addresses SET granted_at = granted_at + (after - before) FROM address
                WHERE addresses.address = address.address AND after <> before AND EXISTS (SELECT FROM changed)
            )
            SELECT count(*) AS "changed!" FROM changed
            "#,
            $claim.grant.0,
            $claim.lease,
            $left.seconds(),
            $($more),*
        )
    };
}

impl Outbox {
    /// Moves the wait for the next grant so that it does not end before a code which is live for `ttl` from now. Returns
    /// `false` if the lease was lost; nothing was changed.
    ///
    /// Otherwise, if the mail was late, the wait would end while the code is live, and a registration could replace it.
    pub async fn extend_wait(&self, claim: &Claim, ttl: Duration) -> Result<bool, StoreError> {
        let left = LeftCode::Live(ttl);
        if self.batched.extend_wait(claim, left).await? {
            return Ok(true);
        }
        let extend = change_and_move_wait!(
            claim,
            left,
            "UPDATE outbox SET wait_moved = after FROM address WHERE outbox.id = $1 AND lease = $2",
        );
        Ok(self.postgres.bounded(async { extend.fetch_one(&mut *self.postgres.acquire().await?).await }).await? == 1)
    }

    /// Deletes a mail that was accepted or given up. Returns `false` if the lease was lost; nothing was changed.
    pub async fn finish(&self, claim: &Claim, left: LeftCode) -> Result<bool, StoreError> {
        if claim.kind == MailKind::Code && self.batched.finish(claim, left).await? {
            return Ok(true);
        }
        let done = change_and_move_wait!(
            claim,
            left,
            "DELETE FROM outbox WHERE outbox.id = $1 AND lease = $2 AND (SELECT count(*) FROM address) >= 0",
        );
        Ok(self.postgres.bounded(async { done.fetch_one(&mut *self.postgres.acquire().await?).await }).await? == 1)
    }

    /// Releases the lease, so that any process can claim the mail after `delay`. `unsent`: whether certainly no attempt
    /// reached the provider. Returns `false` if the lease was lost.
    pub async fn retry(
        &self,
        claim: &Claim,
        delay: Duration,
        unsent: bool,
        left: LeftCode,
    ) -> Result<bool, StoreError> {
        let back = change_and_move_wait!(
            claim,
            left,
            "
            UPDATE outbox SET lease = NULL, due_at = now() + make_interval(secs => $4), unsent = $5,
                wait_moved = coalesce((SELECT after FROM address), wait_moved)
            WHERE outbox.id = $1 AND lease = $2
            ",
            delay.as_secs_f64(),
            unsent,
        );
        Ok(self.postgres.bounded(async { back.fetch_one(&mut *self.postgres.acquire().await?).await }).await? == 1)
    }
}
