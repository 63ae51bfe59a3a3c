//! Lists of users by parts of their address.
//!
//! Each statement reads one range of an index for each wanted status, and merges the results. So it reads at most three
//! times as many rows as the page has, whichever filters are set. The indexes are those of the migration `searches`.

use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use super::{PgUsers, UserRow};
use crate::accounts::ports::{AddressSearch, Cursor, FoundUser, SearchCursor, StoreError};
use crate::domain::address_search::AddressDomain;
use crate::domain::user::{Status, UserId};

/// A user and its canonical address.
pub(super) struct FoundRow {
    id: Uuid,
    email: String,
    status: String,
    role: String,
    created_at: OffsetDateTime,
    activated_at: Option<OffsetDateTime>,
    locale: Option<String>,
    address: String,
}

impl TryFrom<FoundRow> for FoundUser {
    type Error = StoreError;

    fn try_from(row: FoundRow) -> Result<Self, StoreError> {
        let FoundRow { id, email, status, role, created_at, activated_at, locale, address } = row;
        let user = UserRow { id, email, status, role, created_at, activated_at, locale }.try_into()?;
        Ok(Self { user, position: SearchCursor { address, id: UserId(id) } })
    }
}

/// The wanted statuses: one, or all.
fn statuses(status: Option<Status>) -> Vec<String> {
    let all = [Status::Pending, Status::Active, Status::Disabled];
    status.as_ref().map_or(&all[..], std::slice::from_ref).iter().map(|status| status.as_str().to_owned()).collect()
}

impl PgUsers {
    /// Lists the users of a domain, newest first.
    pub(super) async fn try_list_domain(
        &self,
        domain: &AddressDomain,
        status: Option<Status>,
        after: Option<Cursor>,
        limit: i64,
    ) -> Result<Vec<UserRow>, sqlx::Error> {
        sqlx::query_as!(
            UserRow,
            r#"
            SELECT id AS "id!", email AS "email!", found.status AS "status!", role AS "role!",
                created_at AS "created_at!", activated_at, locale
            FROM unnest($1::text[]) AS wanted (status) CROSS JOIN LATERAL (
                SELECT id, email, users.status, role, created_at, activated_at, locale FROM users
                WHERE split_part(address, '@', 2) = $2 AND users.status COLLATE "C" = wanted.status
                    AND (created_at, id) < (coalesce($3::timestamptz, 'infinity'), $4::uuid)
                ORDER BY created_at DESC, id DESC LIMIT $5
            ) AS found
            ORDER BY created_at DESC, id DESC LIMIT $5
            "#,
            &statuses(status),
            domain.as_str(),
            after.map(|after| after.created_at),
            after.map(|after| after.id.0),
            limit,
        )
        .fetch_all(&mut *self.acquire().await?)
        .await
    }

    /// Lists the users whose address has the prefix, sorted by address.
    pub(super) async fn try_search(
        &self,
        search: &AddressSearch,
        after: Option<&SearchCursor>,
        limit: u32,
    ) -> Result<Vec<FoundRow>, sqlx::Error> {
        let AddressSearch { prefix, domain, status } = search;
        let (statuses, end, limit) = (statuses(*status), prefix.end(), i64::from(limit));
        // No id is nil, so this position is before the prefix itself, if that is an address.
        let start = SearchCursor { address: prefix.as_str().to_owned(), id: UserId(Uuid::nil()) };
        let after = after.unwrap_or(&start).max(&start);
        match domain {
            None => {
                sqlx::query_as!(
                    FoundRow,
                    r#"
                    SELECT id AS "id!", email AS "email!", found.status AS "status!", role AS "role!",
                        created_at AS "created_at!", activated_at, locale, address AS "address!"
                    FROM unnest($1::text[]) AS wanted (status) CROSS JOIN LATERAL (
                        SELECT id, email, users.status, role, created_at, activated_at, locale, address FROM users
                        WHERE users.status COLLATE "C" = wanted.status
                            AND (address, id) > ($2, $3) AND address < $4
                        ORDER BY address, id LIMIT $5
                    ) AS found
                    ORDER BY address, id LIMIT $5
                    "#,
                    &statuses,
                    after.address,
                    after.id.0,
                    end,
                    limit,
                )
                .fetch_all(&mut *self.acquire().await?)
                .await
            }
            Some(domain) => {
                sqlx::query_as!(
                    FoundRow,
                    r#"
                    SELECT id AS "id!", email AS "email!", found.status AS "status!", role AS "role!",
                        created_at AS "created_at!", activated_at, locale, address AS "address!"
                    FROM unnest($1::text[]) AS wanted (status) CROSS JOIN LATERAL (
                        SELECT id, email, users.status, role, created_at, activated_at, locale, address FROM users
                        WHERE split_part(address, '@', 2) = $6 AND users.status COLLATE "C" = wanted.status
                            AND (address, id) > ($2, $3) AND address < $4
                        ORDER BY address, id LIMIT $5
                    ) AS found
                    ORDER BY address, id LIMIT $5
                    "#,
                    &statuses,
                    after.address,
                    after.id.0,
                    end,
                    limit,
                    domain.as_str(),
                )
                .fetch_all(&mut *self.acquire().await?)
                .await
            }
        }
    }
}
