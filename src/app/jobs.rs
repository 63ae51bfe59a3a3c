//! The background jobs: first the migrations and the hash costs, then the mail worker, the purge and the event relay.

use metrics::gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::error::AppError;
use crate::store::postgres::{Migration, Postgres, State};

/// Applies the migrations, or waits until another process has applied them. Then runs `prepare`, sets `migrated` and runs
/// `tasks`. The service is not ready before `migrated` is set.
///
/// # Errors
/// A migration fails, or the database contains an unexpected one.
pub(super) async fn run(
    postgres: Postgres,
    apply_migrations: bool,
    migrated: watch::Sender<bool>,
    prepare: impl Future,
    tasks: impl Future,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let migration = async {
        if apply_migrations {
            postgres.migrate().await?;
        }
        postgres.await_migrations().await
    };
    tokio::select! {
        migrations = migration => report_newer_migrations(&migrations?),
        () = stop.cancelled() => return Ok(()),
    }
    tokio::select! {
        _ = prepare => {}
        () = stop.cancelled() => return Ok(()),
    }
    migrated.send_replace(true);
    tasks.await;
    Ok(())
}

/// Logs migrations that this release does not contain. The database has such migrations after a rollback of the release.
fn report_newer_migrations(migrations: &[Migration]) {
    let newer: Vec<i64> = migrations.iter().filter(|it| it.state == State::Newer).map(|it| it.version).collect();
    if !newer.is_empty() {
        warn!(?newer, "the database has migrations that this release does not contain; continuing");
    }
    gauge!("sixty_migrations_newer").set(newer.len() as f64);
}
