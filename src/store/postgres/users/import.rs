//! Accounts that another system has had, in batches.

use std::collections::HashSet;

use sqlx::types::time::OffsetDateTime;

use super::PgUsers;
use crate::accounts::ports::StoreError;
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::domain::user::{Status, UserId};
use crate::passwords::{ForeignHash, HashCost, PasswordHash, Salt};

/// An account to import.
pub struct ImportedUser {
    pub id: UserId,
    pub email: Email,
    /// Active or disabled.
    pub status: Status,
    pub created_at: OffsetDateTime,
    pub hash: ImportedHash,
    /// The language of the person's mails. `None`: the default language.
    pub locale: Option<Locale>,
}

/// The hash of an imported account.
#[derive(Debug)]
pub enum ImportedHash {
    /// In the form of this service's own hashes. If the address is new, it gets the parameters of this hash.
    Own(PasswordHash),
    Foreign(ForeignHash),
}

impl PgUsers {
    /// Creates accounts whose address has none. Returns the addresses of the accounts that were created, in canonical form.
    ///
    /// Each address must be in the batch at most once. Other accounts and pending registrations do not change. The call can be
    /// repeated after an error: what is stored already is not stored again. No events are recorded.
    ///
    /// The account gets a hash of `random`, which no password has, with the salt and cost of its address; `salt` and `cost`
    /// are those of an address that is new. Beside it stands the foreign hash.
    ///
    /// The addresses are written in their order, so two imports at the same time do not deadlock.
    pub async fn import(
        &self,
        batch: &[ImportedUser],
        cost: HashCost,
        random: impl Fn() -> (Salt, [u8; 32]),
    ) -> Result<HashSet<String>, StoreError> {
        let mut rows = Columns::default();
        for user in batch {
            let (salt, digest) = random();
            rows.push(user, PasswordHash::of_digest(salt, cost, digest));
        }
        let import = sqlx::query_scalar!(
            r#"
            WITH input AS MATERIALIZED (
                SELECT line.*
                FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::bytea[],
                    $9::text[], $12::text[]) AS line (id, address, email, status, created_at, hash, own, salt, hash_cost, locale)
                WHERE NOT EXISTS (SELECT FROM users WHERE users.address = line.address AND users.status <> 'pending')
            ), kept AS (
                INSERT INTO addresses AS a (address, salt, hash_cost, granted_at, wait, short_granted_at)
                SELECT address, salt, hash_cost, now() - make_interval(secs => $10), make_interval(secs => $11), '{}'
                FROM input ORDER BY address
                ON CONFLICT (address) DO UPDATE SET salt = a.salt
                RETURNING a.address, a.salt, a.hash_cost
            ), imported AS (
                INSERT INTO users (id, address, email, password_hash, foreign_hash, status, created_at, activated_at,
                    locale)
                SELECT id, input.address, email,
                    '$argon2id$v=19$' || kept.hash_cost || '$' || rtrim(encode(kept.salt, 'base64'), '=') || '$'
                        || split_part(own, '$', 6),
                    CASE WHEN hash <> own OR kept.salt <> input.salt OR kept.hash_cost <> input.hash_cost THEN hash END,
                    status, created_at, created_at, locale
                FROM input JOIN kept USING (address)
                ON CONFLICT (address) WHERE status <> 'pending' DO NOTHING
                RETURNING address
            )
            SELECT address AS "address!" FROM imported
            "#,
            &rows.ids,
            &rows.addresses,
            &rows.emails,
            &rows.statuses,
            &rows.created_at,
            &rows.hashes,
            &rows.own_hashes,
            &rows.salts,
            &rows.costs,
            self.pacing.quiet.as_secs_f64(),
            self.pacing.first_wait.as_secs_f64(),
            &rows.locales as &[Option<&str>],
        );
        let imported = self.postgres.bounded(async { import.fetch_all(&mut *self.acquire().await?).await }).await?;
        Ok(imported.into_iter().collect())
    }

    /// Returns those of the canonical addresses that have an account.
    pub async fn with_account(&self, addresses: &[String]) -> Result<HashSet<String>, StoreError> {
        let found = sqlx::query_scalar!(
            "SELECT address FROM users WHERE address = ANY ($1) AND users.status <> 'pending'",
            addresses
        );
        let found = self.postgres.bounded(async { found.fetch_all(&mut *self.acquire().await?).await }).await?;
        Ok(found.into_iter().collect())
    }

    /// Returns the time of PostgreSQL's clock.
    pub async fn now(&self) -> Result<OffsetDateTime, StoreError> {
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#);
        self.postgres.bounded(async { now.fetch_one(&mut *self.acquire().await?).await }).await
    }
}

/// The columns of a batch. Each has one value for each user.
#[derive(Default)]
struct Columns {
    ids: Vec<uuid::Uuid>,
    addresses: Vec<String>,
    emails: Vec<String>,
    statuses: Vec<String>,
    created_at: Vec<OffsetDateTime>,
    hashes: Vec<String>,
    /// The same for a hash in the form of this service; otherwise a hash that no password has.
    own_hashes: Vec<String>,
    salts: Vec<Vec<u8>>,
    costs: Vec<String>,
    locales: Vec<Option<&'static str>>,
}

impl Columns {
    fn push(&mut self, user: &ImportedUser, unknown: PasswordHash) {
        let (hash, own) = match &user.hash {
            ImportedHash::Own(hash) => (hash.to_phc(), hash),
            ImportedHash::Foreign(hash) => (hash.as_str().to_owned(), &unknown),
        };
        self.ids.push(user.id.0);
        self.addresses.push(user.email.address().as_str().to_owned());
        self.emails.push(user.email.as_typed().to_owned());
        self.statuses.push(user.status.as_str().to_owned());
        self.created_at.push(user.created_at);
        self.hashes.push(hash);
        self.own_hashes.push(own.to_phc());
        self.salts.push(own.params.salt.0.to_vec());
        self.costs.push(own.params.cost.to_string());
        self.locales.push(user.locale.map(Locale::tag));
    }
}
