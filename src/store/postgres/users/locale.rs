//! The language of a user's mails.

use super::{PgUsers, UserRow};
use crate::domain::locale::Locale;
use crate::domain::user::UserId;

impl PgUsers {
    pub(super) async fn try_set_locale(
        &self,
        id: UserId,
        locale: Option<Locale>,
    ) -> Result<Option<UserRow>, sqlx::Error> {
        let set = sqlx::query_as!(
            UserRow,
            "
            UPDATE users SET locale = $2 WHERE id = $1 AND status || '' <> 'disabled'
            RETURNING id, email, status, role, created_at, activated_at, locale
            ",
            id.0,
            locale.map(Locale::tag),
        );
        set.fetch_optional(&mut *self.acquire().await?).await
    }
}
