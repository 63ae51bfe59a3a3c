//! The clients of PostgreSQL, Redis and the mail providers.

use super::error::AppError;
use crate::config::{Config, MailAccount};
use crate::mail::provider::{Provider, Role};
use crate::mail::route::Route;
use crate::store::postgres::Postgres;
use crate::store::redis::Redis;

/// The clients of the external systems. They connect on first use.
pub(super) struct Connections {
    pub postgres: Postgres,
    pub redis: Redis,
    pub route: Route,
}

impl Connections {
    pub fn new(config: &Config) -> Result<Self, AppError> {
        let setting = |name, reason: String| AppError::Setting { name, reason };
        let postgres = Postgres::new(&config.postgres).map_err(|error| setting("DATABASE_URL", error.to_string()))?;
        let redis = Redis::new(&config.redis).map_err(|error| setting("REDIS_URL", error.to_string()))?;
        let provider = |account: &MailAccount, role: Role| {
            Provider::new(&account.url, account.dialect.clone(), config.mail_from.clone(), config.mail_timeout)
                .map_err(|reason| setting(role.url_setting(), reason))
        };
        let first = provider(&config.mail, Role::First)?;
        let fallback = config.mail_fallback.as_ref().map(|account| provider(account, Role::Fallback)).transpose()?;
        Ok(Self { postgres, redis, route: Route::new(first, fallback) })
    }
}
