//! The components of the service, and how they depend on each other and on the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::connections::Connections;
use super::gauges::Gauges;
use super::hash_threads::hash_threads;
use super::health;
use crate::accounts::Accounts;
use crate::config::Config;
use crate::events::Relay;
use crate::http::client_limits::ClientLimits;
use crate::http::health::Health;
use crate::http::not_me_form::NotMeForm;
use crate::http::openapi::Operator;
use crate::http::pages::Pages;
use crate::http::routes::ApiConfig;
use crate::mail::route::Route;
use crate::mail::worker::Worker;
use crate::passwords::{CostDraw, Hasher, VerifiedPasswords};
use crate::rng::Rng;
use crate::store::postgres::Postgres;
use crate::store::postgres::outbox::Outbox;
use crate::store::postgres::users::PgUsers;
use crate::store::redis::Redis;
use crate::store::redis::codes::RedisCodes;
use crate::store::redis::events::EventStream;
use crate::store::redis::limits::RedisLimits;

/// With so much work for the hashing threads, mails are claimed together.
const BUSY_BACKLOG: Duration = Duration::from_millis(10);

/// The components that several tasks share.
pub(super) struct Components {
    pub postgres: Postgres,
    pub users: Arc<PgUsers>,
    pub health: Health,
    pub rng: Rng,
    redis: Redis,
    route: Route,
    codes: Arc<RedisCodes>,
    pub costs: CostDraw,
    hasher: Hasher,
    pub verified: Option<VerifiedPasswords>,
    outbox: Outbox,
    /// Notified when this process has queued a mail.
    mail_queued: Arc<Notify>,
    /// Notified when this process has queued a reset mail.
    resets_queued: Arc<Notify>,
    public_url: Url,
}

impl Components {
    pub fn new(
        config: &Config,
        connections: Connections,
        public_url: Url,
        migrated: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Self {
        let Connections { postgres, redis, route } = connections;
        let rng = Rng::from_system();
        let hash_threads = hash_threads(config.hash_threads, config.hash_cost);
        Self {
            users: Arc::new(
                PgUsers::with_secret(postgres.clone(), config.pacing, config.code_secret.clone())
                    .with_reset_pacing(config.reset_pacing)
                    .with_events_maxlen(config.events_maxlen),
            ),
            codes: Arc::new(RedisCodes::new(redis.clone(), config.code_storage.clone(), config.code_lifetimes)),
            hasher: Hasher::start(config.hash_cost, hash_threads, config.hash_max_wait),
            verified: config.auth_cache.map(|(ttl, users)| VerifiedPasswords::new(ttl, users, &rng)),
            costs: CostDraw::new(config.code_secret.clone(), config.hash_cost),
            outbox: Outbox::new(postgres.clone(), config.mail_lease),
            health: health::store_checks(postgres.clone(), redis.clone(), migrated, stop),
            mail_queued: Arc::default(),
            resets_queued: Arc::default(),
            rng,
            postgres,
            redis,
            route,
            public_url,
        }
    }

    pub fn accounts(&self, config: &Config) -> Accounts<PgUsers, RedisCodes> {
        Accounts::new(
            Arc::clone(&self.users),
            Arc::clone(&self.codes),
            self.hasher.clone(),
            self.costs.clone(),
            self.rng.clone(),
            config.code_secret.clone(),
            Arc::clone(&self.mail_queued),
        )
        .with_existing_account(config.existing_account)
        .with_verified_passwords(self.verified.clone())
        .with_resets_queued(Arc::clone(&self.resets_queued))
        .with_registration(config.registration)
    }

    pub fn api_config(&self, config: &Config) -> ApiConfig {
        let limits =
            config.client_limits.map(|limits| RedisLimits::new(self.redis.clone(), config.code_secret.clone(), limits));
        ApiConfig {
            operator: Operator { public_url: config.public_url.clone(), brand: config.brand.clone() },
            pages: Pages::new(&config.brand, config.default_locale),
            body_timeout: config.body_timeout,
            limits: ClientLimits::new(limits, &self.rng),
            not_me: NotMeForm::new(config.code_secret.clone()),
            proxies: config.trusted_proxies.clone(),
            cors: config.cors_origins.clone(),
        }
    }

    pub fn gauges(&self, config: &Config) -> Gauges {
        Gauges {
            health: self.health.clone(),
            hasher: self.hasher.clone(),
            outbox: self.outbox.clone(),
            postgres: self.postgres.clone(),
            redis: self.redis.clone(),
            client_limits: config.client_limits.is_some(),
        }
    }

    pub fn worker(&self, config: &Config) -> Worker<RedisCodes> {
        let hasher = self.hasher.clone();
        Worker {
            outbox: self.outbox.clone(),
            codes: Arc::clone(&self.codes),
            route: self.route.clone(),
            secret: config.code_secret.clone(),
            lifetimes: config.code_lifetimes,
            mailbox_quota: config.mailbox_quota,
            public_url: self.public_url.clone(),
            mails: Arc::clone(&config.mails),
            give_up_after: config.mail_give_up,
            concurrency: config.mail_concurrency,
            rng: self.rng.clone(),
            queued: Arc::clone(&self.mail_queued),
            resets_queued: Arc::clone(&self.resets_queued),
            is_busy: Arc::new(move || hasher.backlog() >= BUSY_BACKLOG),
        }
    }

    pub fn relay(&self, config: &Config) -> Relay {
        Relay {
            postgres: self.postgres.clone(),
            stream: EventStream::new(self.redis.clone(), config.events_maxlen),
            source: self.public_url.to_string(),
        }
    }
}
