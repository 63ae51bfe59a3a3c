//! Accounts that an operator creates directly as active.

use thiserror::Error;

use super::{PgUsers, UserRow};
use crate::accounts::ports::StoreError;
use crate::domain::email::Email;
use crate::domain::user::{Role, User, UserId};
use crate::passwords::PasswordHash;

/// Nothing was created.
#[derive(Debug, Error)]
pub enum CreateError {
    /// The address has an active or a disabled account.
    #[error("the address has an account")]
    Taken,
    /// The hash was not made with the parameters of the address: a simultaneous request registered the address.
    #[error("the address was registered at the same time")]
    ParamsChanged,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PgUsers {
    /// Creates an active account. Grants its address no mail.
    ///
    /// A pending registration of the address stays, as one that comes after the account does. Without it, a stranger who
    /// registered the address would see that it got an account, and a person with the right code would not learn why it
    /// activates nothing.
    pub async fn create(
        &self,
        id: UserId,
        email: &Email,
        hash: &PasswordHash,
        role: Role,
    ) -> Result<User, CreateError> {
        self.postgres.within_timeout(self.try_create(id, email, hash, role)).await
    }

    async fn try_create(
        &self,
        id: UserId,
        email: &Email,
        hash: &PasswordHash,
        role: Role,
    ) -> Result<User, CreateError> {
        let mut transaction = self.postgres.begin().await?;
        // The address starts as after a quiet period: its first code mail will be granted at once, with the first wait.
        let kept = sqlx::query!(
            "
            INSERT INTO addresses AS a (address, salt, hash_cost, granted_at, wait, short_granted_at)
            VALUES ($1, $2, $3, now() - make_interval(secs => $4), make_interval(secs => $5), '{}')
            ON CONFLICT (address) DO UPDATE SET salt = a.salt WHERE a.salt = $2 AND a.hash_cost = $3
            ",
            email.address().as_str(),
            &hash.params.salt.0[..],
            hash.params.cost.to_string(),
            self.pacing.quiet.as_secs_f64(),
            self.pacing.first_wait.as_secs_f64(),
        )
        .execute(&mut *transaction)
        .await?;
        if kept.rows_affected() == 0 {
            transaction.rollback().await?;
            return Err(CreateError::ParamsChanged);
        }
        // Records both events, so that subscribers that count registrations or activations include the account.
        let created = sqlx::query_as!(
            UserRow,
            r#"
            WITH created AS (
                INSERT INTO users (id, address, email, password_hash, status, role, activated_at)
                VALUES ($1, $2, $3, $4, 'active', $5, now())
                RETURNING *
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT type, id, email, status, role
                FROM created, unnest(ARRAY['user.registered', 'user.activated']) AS type
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at, locale
            FROM created
            "#,
            id.0,
            email.address().as_str(),
            email.as_typed(),
            hash.to_phc(),
            role.as_str(),
        )
        .fetch_one(&mut *transaction)
        .await;
        match created {
            Ok(row) => {
                transaction.commit().await?;
                Ok(row.try_into()?)
            }
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_one_account") => {
                transaction.rollback().await?;
                Err(CreateError::Taken)
            }
            Err(error) => Err(error.into()),
        }
    }
}
