//! Checks of the settings, the stores and the mail provider: `sixty doctor` prints their findings, `serve` logs those that
//! are no success.

mod mail;
pub mod postgres;
mod redis;
mod settings;

use futures_util::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::connections::Connections;
use super::error::AppError;
use crate::config::Config;
use crate::mail::route::Route;
use crate::rng::Rng;
use crate::store::fault::Fault;
use crate::store::redis::Redis;
use crate::store::redis::limits::LimitsConfig;
use crate::store::waiting::Waiting;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub status: Status,
    /// One line: what was found, and what to do if that is no success. It repeats no secret.
    pub found: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// The service works, and something is to be corrected.
    Warning,
    /// A part of the service does not work.
    Failed,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, found: found.into() }
    }

    fn warning(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Warning, found: found.into() }
    }

    pub fn failed(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Failed, found: found.into() }
    }

    fn of_fault(check: &'static str, fault: &Fault) -> Self {
        Self::failed(check, &*fault.reason)
    }

    /// Logs a finding that is no success.
    pub fn log(&self) {
        if self.status != Status::Ok {
            warn!("self-check: {}: {}", self.check, self.found);
        }
    }
}

/// Runs all checks once, for a person who waits for them.
///
/// # Errors
/// A setting is invalid.
pub async fn run(config: &Config) -> Result<Vec<Finding>, AppError> {
    let Connections { postgres, redis, route } = Connections::new(config)?;
    let limits = redis_limits(config);
    let rng = Rng::from_system();
    let (database, redis, mail) = tokio::join!(
        Box::pin(postgres.inspect()),
        Box::pin(redis.inspect(limits, &rng)),
        Box::pin(mail_findings(&route, true))
    );
    let mut findings = match &database {
        Ok(inspection) => {
            let mut findings = postgres::findings(inspection, config.postgres.max_connections as usize);
            findings.push(postgres::migrations(inspection, config.migrate));
            findings
        }
        Err(fault) => vec![Finding::of_fault("postgresql", fault)],
    };
    findings.extend(match &redis {
        Ok(inspection) => redis::findings(inspection),
        Err(fault) => vec![Finding::of_fault("redis", fault)],
    });
    findings.extend(mail);
    findings.extend(settings::findings(config));
    Ok(findings)
}

/// The checks of `serve` at its start, except those of PostgreSQL, on which the migrations wait. Returns when Redis has
/// passed its checks, or `stop` is cancelled.
///
/// # Errors
/// The fault of a Redis that no patience can cure.
pub(super) async fn at_start(
    redis: Redis,
    limits: LimitsConfig,
    route: Route,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let redis = async {
        let (mut waiting, rng) = (Waiting::default(), Rng::from_system());
        loop {
            match Box::pin(redis.inspect(limits, &rng)).await {
                Ok(inspection) => break redis::findings(&inspection).iter().for_each(Finding::log),
                Err(fault) => waiting.pause(fault).await.map_err(AppError::Store)?,
            }
        }
        Ok(())
    };
    let checks = async {
        let (redis, mail) = tokio::join!(redis, Box::pin(mail_findings(&route, false)));
        mail.iter().for_each(Finding::log);
        redis
    };
    stop.run_until_cancelled(checks).await.unwrap_or(Ok(()))
}

/// The findings about the providers, all asked at once.
async fn mail_findings(route: &Route, thoroughly: bool) -> Vec<Finding> {
    join_all(route.providers().map(|provider| mail::finding(provider, thoroughly))).await
}

/// The limits whose scripts are tried. `CLIENT_LIMITS=false` needs none, but may be switched on later.
pub(super) fn redis_limits(config: &Config) -> LimitsConfig {
    config.client_limits.unwrap_or_default()
}

/// Logs the settings that work and are not what production needs.
pub fn log_settings(config: &Config) {
    settings::findings(config).iter().for_each(Finding::log);
}
