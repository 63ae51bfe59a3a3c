//! The composition root: builds the service from a [`Config`] and serves until told to stop. The only place that knows
//! everyone.

mod gauges;

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use self::gauges::Gauges;
use crate::accounts::Accounts;
use crate::accounts::purge;
use crate::config::Config;
use crate::domain::policy::Policy;
use crate::events::Relay;
use crate::http::client_limits::ClientLimits;
use crate::http::health::Health;
use crate::http::openapi::{Document, Operator};
use crate::http::routes::ApiConfig;
use crate::http::{routes, server};
use crate::mail::circuit_breaker::CircuitBreaker;
use crate::mail::provider::Provider;
use crate::mail::worker::Worker;
use crate::passwords::Hasher;
use crate::rng::Rng;
use crate::store::postgres::outbox::Outbox;
use crate::store::postgres::users::PgUsers;
use crate::store::postgres::{MigrateError, Migration, Postgres, State};
use crate::store::redis::Redis;
use crate::store::redis::codes::RedisCodes;
use crate::store::redis::events::EventStream;
use crate::store::redis::limits::RedisLimits;

/// Why the service did not start, or stopped by itself. One line each.
#[derive(Debug, Error)]
pub enum AppError {
    #[error("{name}: {reason}")]
    Setting { name: &'static str, reason: String },
    #[error("{setting}: cannot listen on {addr}: {source}")]
    Listen { setting: &'static str, addr: std::net::SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}

/// A service that holds its ports and has not begun to serve.
pub struct App {
    config: Config,
    clients: Clients,
    api: TcpListener,
    ops: TcpListener,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl App {
    /// Takes the ports; port 0 takes a free one. `metrics` renders what the operators' port shows.
    pub async fn bind(config: Config, metrics: impl Fn() -> String + Send + Sync + 'static) -> Result<Self, AppError> {
        let api = listen("API_ADDR", config.api_addr).await?;
        let ops = listen("OPS_ADDR", config.ops_addr).await?;
        Self::with_listeners(config, api, ops, metrics)
    }

    /// For who holds the ports already.
    pub fn with_listeners(
        config: Config,
        api: TcpListener,
        ops: TcpListener,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, AppError> {
        let clients = Clients::new(&config)?;
        Ok(Self { config, clients, api, ops, metrics: Arc::new(metrics) })
    }

    pub fn api_addr(&self) -> std::net::SocketAddr {
        self.api.local_addr().expect("a bound socket has an address")
    }

    pub fn ops_addr(&self) -> std::net::SocketAddr {
        self.ops.local_addr().expect("a bound socket has an address")
    }

    /// Serves until `stop`. Then it is unready, and after `SHUTDOWN_DELAY` takes no further connection and lets what is under
    /// way finish, for `SHUTDOWN_GRACE` at the most.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AppError> {
        let public_url = self.config.public_url.clone().unwrap_or_else(|| public_url(self.api_addr()));
        let Self { config, clients: Clients { postgres, redis, provider }, api, ops, metrics } = self;
        let rng = Rng::from_system();
        let users = Arc::new(PgUsers::new(postgres.clone(), config.pacing));
        let codes = Arc::new(RedisCodes::new(redis.clone(), config.code_storage.clone(), config.code_ttl));
        let hasher = Hasher::start(config.hash_cost, config.hash_threads, config.hash_max_wait);
        let mail_queued = Arc::new(Notify::new());
        let (migrated, is_migrated) = watch::channel(false);
        let health = health(&postgres, &redis, is_migrated, stop.clone());
        let outbox = Outbox::new(postgres.clone(), config.mail_lease);
        let gauges = Gauges {
            health: health.clone(),
            hasher: hasher.clone(),
            outbox: outbox.clone(),
            postgres: postgres.clone(),
            redis: redis.clone(),
        };
        let relay = Relay {
            postgres: postgres.clone(),
            stream: EventStream::new(redis.clone(), config.events_maxlen),
            source: public_url.to_string(),
        };
        let api_config = ApiConfig {
            operator: Operator { public_url: config.public_url, contact: config.contact },
            body_timeout: config.body_timeout,
            limits: ClientLimits(
                config.client_limits.map(|limits| RedisLimits::new(redis, config.code_secret.clone(), limits)),
            ),
            proxies: config.trusted_proxies,
            cors: config.cors_origins,
        };

        let accounts = Accounts::new(
            Arc::clone(&users),
            Arc::clone(&codes),
            hasher,
            rng.clone(),
            Arc::clone(&mail_queued),
            config.existing_account,
        );
        let announcement = health.clone().announce();
        let api_routes = routes::api(accounts, config.policy, health.clone(), rng.clone(), api_config);
        let metrics = move || {
            let (gauges, metrics) = (gauges.clone(), Arc::clone(&metrics));
            async move {
                gauges.set().await;
                metrics()
            }
        };
        let ops_routes = routes::ops(metrics, health, rng.clone(), config.body_timeout);
        let worker = Worker {
            outbox,
            codes,
            provider,
            secret: config.code_secret.clone(),
            code_ttl: config.code_ttl,
            public_url,
            give_up_after: config.mail_give_up,
            concurrency: config.mail_concurrency,
            circuit_breaker: CircuitBreaker::default(),
            rng,
            queued: mail_queued,
        };
        // Every part owns what it uses, so that the whole may be spawned.
        let (closing, done, hand_over) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let api = server::serve(api, api_routes, config.server, closing.clone());
        let purge = purge::run(users, config.pending_ttl, closing.clone());
        let worker = worker.run(closing.clone(), hand_over.clone());
        let relay = relay.run(closing.clone());
        let tasks = async move { tokio::join!(worker, purge, relay) };
        // Boxed, because each future around it would hold it twice: too much for a thread's stack.
        let jobs = Box::pin(jobs(postgres, config.migrate, migrated, tasks, closing.clone()));
        // Operators watch to the end.
        let ops = server::serve(ops, ops_routes, config.server, done.clone());
        let work = async move {
            tokio::try_join!(served(api), jobs)?;
            done.cancel();
            Ok(())
        };
        let all = async move { tokio::try_join!(work, served(ops), served(announcement)).map(drop) };
        let (delay, grace) = (config.shutdown_delay, config.shutdown_grace);
        let grace_over = async move {
            stop.cancelled().await;
            if !delay.is_zero() {
                info!(?delay, "stopping: not ready any more, but still serving");
                tokio::time::sleep(delay).await;
            }
            closing.cancel();
            info!("stopping: finishing what is under way");
            // The rest of the time is for telling PostgreSQL which mails others may take over at once.
            let finishing = grace.mul_f64(0.8);
            tokio::time::sleep(finishing).await;
            hand_over.cancel();
            tokio::time::sleep(grace - finishing).await;
        };
        tokio::select! {
            ended = all => ended,
            () = grace_over => {
                warn!(?grace, "not everything under way could be finished in time");
                Ok(())
            }
        }
    }
}

async fn served(server: impl Future<Output = ()>) -> Result<(), AppError> {
    server.await;
    Ok(())
}

/// Migrates, or waits until somebody else has, and then sends mails, relays events and purges until told to stop.
async fn jobs(
    postgres: Postgres,
    migrate: bool,
    migrated: watch::Sender<bool>,
    tasks: impl Future,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let migration = async {
        if migrate {
            postgres.migrate().await?;
        }
        postgres.await_migrations().await
    };
    tokio::select! {
        newer = migration => tell_of_newer(&newer?),
        () = stop.cancelled() => return Ok(()),
    }
    migrated.send_replace(true);
    tasks.await;
    Ok(())
}

/// Says aloud that the database is ahead: that is how it is after a release was rolled back, and at no other time.
fn tell_of_newer(migrations: &[Migration]) {
    let newer: Vec<i64> = migrations.iter().filter(|it| it.state == State::Newer).map(|it| it.version).collect();
    if !newer.is_empty() {
        warn!(?newer, "the database has migrations that this release does not know; going on with it");
    }
    gauge!("sixty_migrations_newer").set(newer.len() as f64);
}

/// The OpenAPI document of this version, with default settings. The types of the stores suffice: nothing connects to them.
pub fn document() -> Document {
    Document::new::<PgUsers, RedisCodes>(&Policy::default(), &Operator::default())
}

/// What speaks to the outside. Nothing is connected to yet.
struct Clients {
    postgres: Postgres,
    redis: Redis,
    provider: Provider,
}

impl Clients {
    fn new(config: &Config) -> Result<Self, AppError> {
        let setting = |name, reason: String| AppError::Setting { name, reason };
        // The errors' own words may repeat the URL, and with it a password.
        let postgres = Postgres::new(&config.postgres)
            .map_err(|_| setting("DATABASE_URL", "must be a URL of PostgreSQL".to_owned()))?;
        let redis = Redis::new(&config.redis).map_err(|_| setting("REDIS_URL", "must be a URL of Redis".to_owned()))?;
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

async fn listen(setting: &'static str, addr: std::net::SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(addr).await.map_err(|source| AppError::Listen { setting, addr, source })
}

/// Where people reach an API that listens there, if nobody says otherwise: on this machine.
fn public_url(listening: std::net::SocketAddr) -> Url {
    let url = if listening.ip().is_unspecified() {
        format!("http://localhost:{}", listening.port())
    } else {
        format!("http://{listening}")
    };
    url.parse().expect("an address is the authority of a URL")
}

/// How long a dependency may take to say that it is there.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

fn health(postgres: &Postgres, redis: &Redis, migrated: watch::Receiver<bool>, stop: CancellationToken) -> Health {
    let (postgres, redis) = (postgres.clone(), redis.clone());
    let in_time =
        |answer: Result<Result<(), String>, _>| answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    Health::new(
        vec![
            (
                "postgresql",
                Box::new(move || {
                    let (postgres, migrated) = (postgres.clone(), migrated.clone());
                    Box::pin(async move {
                        let migrated = *migrated.borrow();
                        let asked = async { if migrated { postgres.ping().await } else { postgres.answers().await } };
                        let ping = async { asked.await.map_err(|_| "does not answer".to_owned()) };
                        in_time(tokio::time::timeout(CHECK_TIMEOUT, ping).await)?;
                        if migrated { Ok(()) } else { Err("migrations are not applied yet".to_owned()) }
                    })
                }),
            ),
            (
                "redis",
                Box::new(move || {
                    let redis = redis.clone();
                    Box::pin(async move {
                        let ping = async { redis.ping().await.map_err(|_| "does not answer".to_owned()) };
                        in_time(tokio::time::timeout(CHECK_TIMEOUT, ping).await)
                    })
                }),
            ),
        ],
        stop,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_that_listens_everywhere_is_reached_on_this_machine() {
        for (listening, expected) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
            ("0.0.0.0:8000", "http://localhost:8000/"),
            ("[::]:8000", "http://localhost:8000/"),
            ("[::1]:8000", "http://[::1]:8000/"),
        ] {
            assert_eq!(public_url(listening.parse().unwrap()).as_str(), expected);
        }
    }
}
