//! The background jobs: first the migrations and the hash costs, then the mail worker, the purge and the event relay.

use metrics::gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::error::AppError;
use super::self_check::{self, Finding};
use crate::store::postgres::{Inspection, Migration, Postgres, SchemaError, State};
use crate::store::waiting::Waiting;

/// Applies the migrations, or waits until another process has applied them. Then runs `prepare`, sets `migrated` and runs
/// `tasks`. The service is not ready before `migrated` is set.
///
/// # Errors
/// A migration fails, the database contains an unexpected one, or no patience can make the database usable.
pub(super) async fn run(
    postgres: Postgres,
    apply_migrations: bool,
    migrated: watch::Sender<bool>,
    prepare: impl Future,
    tasks: impl Future,
    stop: CancellationToken,
) -> Result<(), AppError> {
    tokio::select! {
        prepared = prepare_schema(&postgres, apply_migrations) => {
            let inspection = prepared?;
            report_newer_migrations(&inspection.migrations);
            self_check::postgres::findings(&inspection, postgres.pool_state().max).iter().for_each(Finding::log);
        }
        () = stop.cancelled() => return Ok(()),
    }
    postgres.open();
    tokio::select! {
        _ = prepare => {}
        () = stop.cancelled() => return Ok(()),
    }
    migrated.send_replace(true);
    tasks.await;
    Ok(())
}

/// Waits until the database has all migrations. Meanwhile all calls are refused with the reason of the wait.
async fn prepare_schema(postgres: &Postgres, apply_migrations: bool) -> Result<Inspection, AppError> {
    let mut waiting = Waiting::default();
    loop {
        match Box::pin(postgres.prepare_schema(apply_migrations)).await {
            Ok(inspection) => return Ok(inspection),
            Err(SchemaError::Migrate(error)) => return Err(error.into()),
            Err(SchemaError::Store(fault)) => {
                postgres.close(fault.clone());
                waiting.pause(fault).await.map_err(AppError::Store)?;
            }
        }
    }
}

/// Logs migrations that this release does not contain. The database has such migrations after a rollback of the release.
fn report_newer_migrations(migrations: &[Migration]) {
    let newer: Vec<i64> = migrations.iter().filter(|it| it.state == State::Newer).map(|it| it.version).collect();
    if !newer.is_empty() {
        warn!(?newer, "the database has migrations that this release does not contain; continuing");
    }
    gauge!("sixty_migrations_newer").set(newer.len() as f64);
}
