//! The composition root: builds the service from a [`Config`] and runs it until the shutdown. The only module that depends
//! on all others.

mod components;
mod connections;
mod error;
mod gauges;
mod hash_threads;
mod health;
mod jobs;
mod memory_limit;
mod public_url;
pub mod self_check;
mod shutdown;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use listen_address::{ListenAddress, Listener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::components::Components;
use self::connections::Connections;
pub use self::error::AppError;
use self::public_url::default_public_url;
use self::shutdown::Shutdown;
use crate::accounts::{hash_costs, purge};
use crate::config::Config;
use crate::domain::policy::Policy;
use crate::http::openapi::{Document, Operator};
use crate::http::server::Port;
use crate::http::trusted_proxies::TrustedProxies;
use crate::http::{routes, server};
use crate::store::postgres::users::PgUsers;
use crate::store::redis::codes::RedisCodes;

/// How long the first requests wait for a service that is not ready yet.
const START_TIME: Duration = Duration::from_secs(1);

/// A service that has bound its ports and does not serve yet.
pub struct App {
    config: Config,
    connections: Connections,
    api: Listener,
    ops: Listener,
    render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl App {
    /// Binds the ports of the API and of the metrics; port 0 selects a free port. `render_metrics` returns the body of
    /// `/metrics`.
    pub async fn bind(
        config: Config,
        render_metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, AppError> {
        let api = listen("API_ADDR", &config.api_addr).await?;
        let ops = listen("OPS_ADDR", &config.ops_addr).await?;
        Self::with_listeners(config, api, ops, render_metrics)
    }

    /// Creates a service with listeners that the caller has bound.
    pub fn with_listeners(
        config: Config,
        api: Listener,
        ops: Listener,
        render_metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, AppError> {
        let connections = Connections::new(&config)?;
        Ok(Self { config, connections, api, ops, render_metrics: Arc::new(render_metrics) })
    }

    /// Logs the settings that work and are not what production needs. A setting that does not work has stopped the start with
    /// one line.
    pub fn warn_about_settings(&self) {
        self_check::log_settings(&self.config);
    }

    pub fn api_addr(&self) -> SocketAddr {
        self.api.local_addr().expect("a bound socket has an address")
    }

    pub fn ops_addr(&self) -> SocketAddr {
        self.ops.local_addr().expect("a bound socket has an address")
    }

    /// Serves until `stop` is cancelled, then shuts down.
    ///
    /// During `SHUTDOWN_DELAY` the service keeps serving but is not ready. Then it refuses connections and finishes open
    /// requests and mails, for at most `SHUTDOWN_GRACE`.
    ///
    /// # Errors
    /// A migration cannot be applied, or a store can never be used with these settings.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AppError> {
        let public_url = self.config.public_url.clone().unwrap_or_else(|| default_public_url(self.api_addr()));
        let Self { config, connections, api, ops, render_metrics } = self;
        let (migrated, is_migrated) = watch::channel(false);
        // Until the migrations are applied, the ports answer, and a request that needs the database gets 503.
        connections.postgres.close_until_prepared();
        // Boxed like `jobs`.
        let self_check = Box::pin(self_check::at_start(
            connections.redis.clone(),
            self_check::redis_limits(&config),
            connections.route.clone(),
            stop.clone(),
        ));
        let mut is_ready = is_migrated.clone();
        let components = Components::new(&config, connections, public_url, is_migrated, stop.clone());
        let (health, rng) = (components.health.clone(), components.rng.clone());
        let shutdown = Shutdown::default();
        let work_done = CancellationToken::new();

        let api_routes = routes::api(
            components.accounts(&config),
            config.policy.clone(),
            health.clone(),
            rng.clone(),
            components.api_config(&config),
        );
        let port = |name, proxies| Port { name, limits: config.server, proxies };
        let api_port = port("api", config.trusted_proxies.clone());
        let api = server::serve(api, api_routes, api_port, stop.clone(), shutdown.closing.clone());
        let stopped = stop.clone();
        let api = async move {
            // The first requests wait in the kernel's queue: a load balancer may send some before its next check.
            tokio::select! {
                _ = tokio::time::timeout(START_TIME, is_ready.wait_for(|is_ready| *is_ready)) => {}
                () = stopped.cancelled() => {}
            }
            api.await;
        };

        let gauges = components.gauges(&config);
        let metrics = move || {
            let (gauges, render_metrics) = (gauges.clone(), Arc::clone(&render_metrics));
            async move {
                gauges.update().await;
                render_metrics()
            }
        };
        let announcement = health.clone().log_until_ready();
        let ops_routes = routes::ops(metrics, health, rng, config.body_timeout);
        // Operators can read the metrics until everything else has stopped.
        let ops_port = port("ops", TrustedProxies::default());
        let ops = server::serve(ops, ops_routes, ops_port, stop.clone(), work_done.clone());

        let worker = components.worker(&config).run(shutdown.closing.clone(), shutdown.release_leases.clone());
        let purge = purge::run(Arc::clone(&components.users), config.pending_ttl, shutdown.closing.clone());
        let relay = components.relay(&config).run(shutdown.closing.clone());
        let load_costs = hash_costs::load(Arc::clone(&components.users), components.costs.clone());
        let costs = hash_costs::run(components.users, components.costs, shutdown.closing.clone());
        let verified = components.verified.map(|verified| verified.expire(shutdown.closing.clone()));
        let expiry = OptionFuture::from(verified);
        let tasks = async move { tokio::join!(worker, purge, relay, costs, expiry) };
        let jobs =
            jobs::run(components.postgres, config.migrate, migrated, load_costs, tasks, shutdown.closing.clone());
        // Boxed: the enclosing futures would otherwise contain it several times, too much for a thread's stack.
        let jobs = Box::pin(jobs);

        let work = async move {
            tokio::try_join!(infallible(api), jobs, self_check)?;
            work_done.cancel();
            Ok(())
        };
        let all = async move { tokio::try_join!(work, infallible(ops), infallible(announcement)).map(drop) };
        tokio::select! {
            result = all => result,
            () = shutdown.run(stop, config.shutdown_delay, config.shutdown_grace) => Ok(()),
        }
    }
}

async fn infallible(task: impl Future<Output = ()>) -> Result<(), AppError> {
    task.await;
    Ok(())
}

/// Returns the OpenAPI document of this version with default settings. It needs the types of the stores only, no connection.
pub fn document() -> Document {
    Document::new::<PgUsers, RedisCodes>(&Policy::default(), &Operator::default())
}

async fn listen(setting: &'static str, addr: &ListenAddress) -> Result<Listener, AppError> {
    addr.bind().await.map_err(|source| AppError::Listen { setting, addr: addr.clone(), source })
}
