//! Prepares the schema at the start: inspects the database, and applies pending migrations.

use super::inspection::Inspection;
use super::migrations::{MigrateError, Migration, State, check_states};
use super::{Postgres, STORE, read_only};
use crate::store::fault::{Cure, Fault};

/// Why the service cannot use the schema of its database.
#[derive(Debug)]
pub enum SchemaError {
    Migrate(MigrateError),
    Store(Fault),
}

impl From<MigrateError> for SchemaError {
    fn from(error: MigrateError) -> Self {
        Self::Migrate(error)
    }
}

impl Postgres {
    /// Makes one attempt to get a database with all migrations of this binary. `apply`: applies pending migrations.
    /// Otherwise another process must do so, and this returns a fault until it has.
    pub async fn prepare_schema(&self, apply: bool) -> Result<Inspection, SchemaError> {
        let inspection = self.inspect().await.map_err(SchemaError::Store)?;
        if let Some(fault) = inspection.fault() {
            return Err(SchemaError::Store(fault));
        }
        check_states(&inspection.migrations)?;
        if inspection.read_only {
            return Err(SchemaError::Store(read_only()));
        }
        let pending = pending(&inspection.migrations);
        let Some(first) = pending.first() else {
            return match inspection.missing_rights() {
                Some(fault) => Err(SchemaError::Store(fault)),
                None => Ok(inspection),
            };
        };
        if !apply {
            return Err(SchemaError::Store(not_applied(*first, pending.len())));
        }
        self.apply_migrations().await?;
        self.inspect().await.map_err(SchemaError::Store)
    }
}

/// Returns the versions of the pending migrations.
pub(super) fn pending(migrations: &[Migration]) -> Vec<i64> {
    migrations.iter().filter(|it| it.state == State::Pending).map(|it| it.version).collect()
}

fn not_applied(first: i64, count: usize) -> Fault {
    let reason = format!(
        "MIGRATE: is false, and the migrations from {first:04} are not applied yet ({count}); run `sixty migrate up`, or set \
         MIGRATE=true"
    );
    let summary = "is not set up yet: the migrations are not applied yet";
    Fault { store: STORE, summary, reason, cure: Cure::Time }
}

/// The role may neither create nor change tables. `version`: of the migration that failed.
pub(super) fn may_not_migrate(version: Option<i64>) -> Fault {
    let pending = version
        .map_or_else(|| "migrations are pending".to_owned(), |version| format!("migration {version:04} is pending"));
    let reason = format!(
        "DATABASE_URL: {pending}, and the role may not create or change the tables (SQLSTATE 42501); GRANT CREATE ON SCHEMA to \
         it, or run `sixty migrate up` as the owner of the tables"
    );
    Fault { store: STORE, summary: "refuses the migrations", reason, cure: Cure::Defect }
}

/// The database has a table or an index of the same name. `version`: of the migration that failed.
pub(super) fn foreign_table(version: Option<i64>) -> Fault {
    let reason = format!(
        "DATABASE_URL: migration {:04} creates a table or an index whose name another program uses in this schema (SQLSTATE \
         42P07 or 42710); use a database or a schema of its own",
        version.unwrap_or_default()
    );
    Fault { store: STORE, summary: "has tables of another program", reason, cure: Cure::Setting }
}
