//! The clients of PostgreSQL, Redis and the mail provider.

use std::sync::Arc;

use super::error::AppError;
use crate::config::Config;
use crate::mail::provider::Provider;
use crate::store::postgres::Postgres;
use crate::store::redis::Redis;

/// The clients of the external systems. They connect on first use.
pub(super) struct Connections {
    pub postgres: Postgres,
    pub redis: Redis,
    pub provider: Provider,
}

impl Connections {
    pub fn new(config: &Config) -> Result<Self, AppError> {
        let setting = |name, reason: String| AppError::Setting { name, reason };
        let postgres = Postgres::new(&config.postgres).map_err(|error| setting("DATABASE_URL", error.to_string()))?;
        let redis = Redis::new(&config.redis).map_err(|error| setting("REDIS_URL", error.to_string()))?;
        let provider = Provider::new(
            &config.mail_url,
            Arc::clone(&config.mail_dialect),
            config.mail_from.clone(),
            config.mail_timeout,
        )
        .map_err(|reason| setting("MAIL_URL", reason))?;
        Ok(Self { postgres, redis, provider })
    }
}
