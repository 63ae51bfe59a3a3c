//! Addresses without a user. Their rows keep the grants under a MAC of the address, and are deleted when no rule needs the
//! grants any more.
//!
//! A row without a user has `'~'` and the MAC as its address. The next grant of the address inserts a row with the same MAC,
//! so `addresses_mac` refuses it. The grant is then tried again after [`PgUsers::bring_back_address`], in one transaction.

use std::collections::HashMap;
use std::sync::PoisonError;

use sqlx::PgConnection;
use tracing::warn;

use super::PgUsers;
use crate::accounts::ports::StoreError;
use crate::domain::pacing::YEAR;

/// Maximum number of rows that one statement changes, so that it holds its locks for a short time.
const BATCH: u32 = 1000;

/// Maximum number of batches of a search for addresses without users.
const BATCHES_PER_SEARCH: u32 = 1000;

impl PgUsers {
    /// Returns the MAC of an address; `None` in a process that has no `CODE_SECRET`.
    pub(super) fn mac(&self, address: &str) -> Option<Vec<u8>> {
        self.secret.as_ref().map(|secret| secret.address_row(address).to_vec())
    }

    /// Replaces addresses that have no user by their MACs, in the background of a deletion that has succeeded. After an
    /// error the next search of [`PgUsers::search_addresses_without_users`] finds them.
    pub(super) async fn retire_addresses(&self, addresses: &[String]) {
        if let Err(error) = self.postgres.bounded(self.try_retire_addresses(addresses)).await {
            warn!(%error, "addresses of deleted users could not be replaced by their MACs yet; the purge will do it");
        }
    }

    /// Returns the number of replaced addresses. An address that a transaction has locked is skipped, as is an address
    /// whose MAC is unknown here.
    ///
    /// Whoever writes a user locks the row of its address before. So a user that the statement after the lock does not see
    /// does not exist.
    async fn try_retire_addresses(&self, addresses: &[String]) -> Result<u64, sqlx::Error> {
        let mut transaction = self.postgres.begin().await?;
        let locked = sqlx::query!(
            "
            SELECT address, mac FROM addresses WHERE address = ANY ($1) AND forget_at IS NULL
            ORDER BY address FOR UPDATE SKIP LOCKED
            ",
            addresses,
        )
        .fetch_all(&mut *transaction)
        .await?;
        let by_address: HashMap<String, Vec<u8>> = locked
            .into_iter()
            .filter_map(|row| self.mac(&row.address).or(row.mac).map(|mac| (row.address, mac)))
            .collect();
        let (addresses, macs): (Vec<String>, Vec<Vec<u8>>) = by_address.into_iter().unzip();
        merge_duplicates(&mut transaction, &addresses, &macs).await?;
        let retired = sqlx::query!(
            "
            UPDATE addresses SET mac = retired.mac, address = '~' || encode(retired.mac, 'hex'),
                forget_at = granted_at + greatest(wait, make_interval(secs => $3), make_interval(secs => $4))
            FROM unnest($1::text[], $2::bytea[]) AS retired (address, mac)
            WHERE addresses.address = retired.address
                AND NOT EXISTS (SELECT FROM users WHERE users.address = retired.address)
            ",
            &addresses[..],
            &macs[..],
            YEAR.as_secs_f64(),
            self.pacing.quiet.as_secs_f64(),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(retired.rows_affected())
    }

    /// Merges the rows of an address that has a user; see [`merge_duplicates`].
    pub(super) async fn merge_duplicates(
        &self,
        transaction: &mut PgConnection,
        address: &str,
    ) -> Result<(), sqlx::Error> {
        match self.mac(address) {
            Some(mac) => merge_duplicates(transaction, &[address.to_owned()], &[mac]).await,
            None => Ok(()),
        }
    }

    /// Gives the row of an address without a user its address back.
    pub(super) async fn bring_back_address(
        &self,
        transaction: &mut PgConnection,
        address: &str,
    ) -> Result<(), sqlx::Error> {
        let Some(mac) = self.mac(address) else {
            return Ok(());
        };
        let (addresses, macs) = ([address.to_owned()], [mac]);
        merge_duplicates(transaction, &addresses, &macs).await?;
        sqlx::query!(
            "UPDATE addresses SET address = $1, forget_at = NULL WHERE mac = $2 AND forget_at IS NOT NULL",
            address,
            &macs[0][..],
        )
        .execute(transaction)
        .await
        .map(drop)
    }

    /// Finds addresses whose users an earlier release has deleted, or an operator from a terminal, or a process that died
    /// then. Each call continues where the last one ended.
    pub(super) async fn search_addresses_without_users(&self) -> Result<(), StoreError> {
        for _ in 0..BATCHES_PER_SEARCH {
            let after = self.searched_until.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let page = sqlx::query!(
                r#"
                SELECT address, EXISTS (SELECT FROM users WHERE users.address = page.address) AS "has_user!"
                FROM (
                    SELECT address FROM addresses WHERE address > $1 AND forget_at IS NULL ORDER BY address LIMIT $2
                ) AS page
                ORDER BY address
                "#,
                after.as_str(),
                i64::from(BATCH),
            );
            let page = self.postgres.bounded(async { page.fetch_all(&mut *self.acquire().await?).await }).await?;
            let is_last = page.len() < BATCH as usize;
            let last = page.last().filter(|_| !is_last).map(|row| row.address.clone());
            let unused: Vec<String> = page.into_iter().filter(|row| !row.has_user).map(|row| row.address).collect();
            if !unused.is_empty() {
                self.postgres.bounded(self.try_retire_addresses(&unused)).await?;
            }
            *self.searched_until.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or_default();
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Deletes the rows of addresses without a user that no rule needs any more.
    pub(super) async fn forget_addresses(&self) -> Result<(), StoreError> {
        loop {
            // The outer condition is checked again after a wait for a row that is being restored.
            let forget = sqlx::query!(
                "
                WITH forgotten AS MATERIALIZED (
                    SELECT address FROM addresses WHERE forget_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED
                )
                DELETE FROM addresses USING forgotten
                WHERE addresses.address = forgotten.address AND forget_at <= now()
                ",
                i64::from(BATCH),
            );
            let forgotten = self.postgres.bounded(async { forget.execute(&mut *self.acquire().await?).await }).await?;
            if forgotten.rows_affected() < u64::from(BATCH) {
                return Ok(());
            }
        }
    }
}

/// Merges two rows of an address. An earlier release does not find a row without a user, and stores a second row: this
/// deletes the first one, and adds its short codes to the second one.
async fn merge_duplicates(
    transaction: &mut PgConnection,
    addresses: &[String],
    macs: &[Vec<u8>],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        WITH duplicates AS (
            DELETE FROM addresses AS earlier USING unnest($1::text[], $2::bytea[]) AS merged (address, mac)
            WHERE earlier.mac = merged.mac AND forget_at IS NOT NULL
                AND EXISTS (SELECT FROM addresses AS later WHERE later.address = merged.address)
            RETURNING merged.address, earlier.short_granted_at
        )
        UPDATE addresses AS later SET short_granted_at = later.short_granted_at || duplicates.short_granted_at
        FROM duplicates WHERE later.address = duplicates.address
        ",
        addresses,
        macs,
    )
    .execute(transaction)
    .await
    .map(drop)
}
