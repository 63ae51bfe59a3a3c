//! Gauges that are read from their source at each scrape, rather than updated with every change.

use metrics::gauge;

use super::health::CHECK_TIMEOUT;
use crate::http::health::{self, Health};
use crate::passwords::Hasher;
use crate::store::postgres::Postgres;
use crate::store::postgres::events::EventQueue;
use crate::store::postgres::outbox::{Backlog, Outbox};
use crate::store::redis::Redis;

#[derive(Clone)]
pub(super) struct Gauges {
    pub health: Health,
    pub hasher: Hasher,
    pub outbox: Outbox,
    pub postgres: Postgres,
    pub redis: Redis,
    /// Whether the limits of client networks are switched on.
    pub client_limits: bool,
}

impl Gauges {
    /// Updates all gauges. A store that does not answer delays this by at most [`CHECK_TIMEOUT`].
    pub async fn update(&self) {
        let backlog = tokio::time::timeout(CHECK_TIMEOUT, self.outbox.backlog());
        let lag = tokio::time::timeout(CHECK_TIMEOUT, EventQueue::lag(&self.postgres));
        let evicted = tokio::time::timeout(CHECK_TIMEOUT, self.redis.evicted_keys());
        let (checks, backlog, lag, evicted) = tokio::join!(self.health.run_checks(), backlog, lag, evicted);
        for check in &checks {
            gauge!("sixty_store_up", "store" => check.name).set(f64::from(u8::from(check.failure.is_none())));
        }
        let ready = !self.health.is_stopping() && health::is_ready(&checks);
        gauge!("sixty_ready").set(f64::from(u8::from(ready)));

        // NaN instead of the last value, which would look current.
        let (mails, oldest) = match backlog {
            Ok(Ok(Backlog { mails, oldest })) => (mails as f64, oldest.as_secs_f64()),
            _ => (f64::NAN, f64::NAN),
        };
        gauge!("sixty_outbox_mails").set(mails);
        gauge!("sixty_outbox_oldest_age_seconds").set(oldest);
        let lag = if let Ok(Ok(lag)) = lag { lag.as_secs_f64() } else { f64::NAN };
        gauge!("sixty_events_lag_seconds").set(lag);

        // A value that is not known is not set: increase() returns NaN for a range that contains NaN.
        if let Ok(Ok(evicted)) = evicted {
            gauge!("sixty_redis_evicted_keys").set(evicted as f64);
        }
        gauge!("sixty_client_limits").set(f64::from(u8::from(self.client_limits)));

        gauge!("sixty_hasher_threads").set(self.hasher.threads() as f64);
        gauge!("sixty_hasher_queue_length").set(self.hasher.queue_length() as f64);

        for (store, pool) in [("postgresql", Some(self.postgres.pool_state())), ("redis", self.redis.pool_state())] {
            let Some(pool) = pool else { continue };
            gauge!("sixty_pool_connections", "store" => store, "state" => "idle").set(pool.idle as f64);
            gauge!("sixty_pool_connections", "store" => store, "state" => "used").set(pool.used as f64);
            gauge!("sixty_pool_max_connections", "store" => store).set(pool.max as f64);
        }
    }
}
