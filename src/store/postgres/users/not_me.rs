//! "This was not me": deletes the pending registration of a mailed link, and stores a ticket for its owner.

use super::PgUsers;
use crate::domain::not_me::NotMeHash;
use crate::domain::ticket::{self, TicketHash};
use crate::domain::user::UserId;

impl PgUsers {
    pub(super) async fn try_report_not_me(
        &self,
        link: &NotMeHash,
        ticket: &TicketHash,
    ) -> Result<Option<UserId>, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        let pending = sqlx::query!(
            "
            SELECT users.id, address FROM not_me_links JOIN users ON users.id = user_id
            WHERE token_hash = $1 AND expires_at > now() AND status = 'pending'
            ",
            &link.0[..],
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(registration) = pending else {
            return Ok(None);
        };
        // Lock order: address, then user, as in a registration.
        sqlx::query!(
            "
            UPDATE addresses SET ticket_hash = $2, ticket_expires_at = now() + make_interval(secs => $3)
            WHERE address = $1
            ",
            registration.address,
            &ticket.0[..],
            ticket::LIFETIME.as_secs_f64(),
        )
        .execute(&mut *transaction)
        .await?;
        // The links are deleted with the row, so of two simultaneous uses only one deletes a row, and the rollback below
        // keeps its ticket. A row that was just activated stays.
        let deleted = sqlx::query!(
            "
            WITH deleted AS (
                DELETE FROM users WHERE id = $1 AND status = 'pending' RETURNING id, status, role
            )
            INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM deleted
            ",
            registration.id
        )
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        transaction.commit().await?;
        Ok(Some(UserId(registration.id)))
    }
}
