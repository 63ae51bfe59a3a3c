//! A running service that a test owns.

use std::time::Duration;

use clap::Parser;
use mail_mock::MockOptions;
use reqwest::Client;
use sixty::app::App;
use sixty::config::{Config, ServeArgs};
use sqlx::PgPool;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{create_database, eventually, stack, start_mail_mock, unique_name};

/// 32 zero octets, in base64.
pub const CODE_SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The flags of `sixty serve`. The last value of a repeated flag wins, so that a test can override a default.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Flags {
    #[command(flatten)]
    settings: ServeArgs,
}

/// A handle to a running service, its database, its Redis keys and its mail provider. Dropping the handle cancels its
/// stop token.
pub struct Service {
    pub url: String,
    pub mail_url: String,
    pub database_url: String,
    pub prefix: String,
    pub db: PgPool,
    pub http: Client,
    _stop: DropGuard,
}

/// Runs the service in this process with the test defaults and `flags`. Returns its URL before the service is ready.
pub async fn run_service(flags: &[&str], stop: CancellationToken) -> String {
    let mut args = vec!["sixty", "--api-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"];
    args.extend(["--argon2-memory-kib=8", "--argon2-passes=1", "--hash-threads=2"]);
    // All tests send from one client network and would share its limits.
    args.extend(["--client-limits=false"]);
    args.extend(["--code-secret", CODE_SECRET]);
    args.extend(flags);
    let flags = Flags::parse_from(args);
    let config = Config::new(flags.settings).unwrap();
    let app = App::bind(config, String::new).await.unwrap();
    let url = format!("http://{}", app.api_addr());
    tokio::spawn(async move { app.run(stop).await.unwrap() });
    url
}

impl Service {
    /// Starts a service with its own database, Redis key prefix and mail provider, and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Does the same as [`Service::start`], with flags of `sixty serve`.
    pub async fn start_with(flags: &[&str]) -> Self {
        let stop = CancellationToken::new();
        let mail_url = start_mail_mock(MockOptions::default(), stop.clone()).await;
        let prefix = format!("t{}", unique_name());
        Self::start_on(&create_database().await, &prefix, &mail_url, flags, stop).await
    }

    /// Starts a service on a database, with a Redis key prefix and a mail provider of its own.
    pub async fn start_in(database_url: &str) -> Self {
        let stop = CancellationToken::new();
        let mail_url = start_mail_mock(MockOptions::default(), stop.clone()).await;
        Self::start_on(database_url, &format!("t{}", unique_name()), &mail_url, &[], stop).await
    }

    /// Starts a second service on the same database, Redis keys and mail provider, and on other ports.
    pub async fn replica(&self, flags: &[&str]) -> Self {
        Self::start_on(&self.database_url, &self.prefix, &self.mail_url, flags, CancellationToken::new()).await
    }

    async fn start_on(
        database_url: &str,
        prefix: &str,
        mail_url: &str,
        flags: &[&str],
        stop: CancellationToken,
    ) -> Self {
        let mut args = vec!["--database-url", database_url, "--redis-url", stack().redis_url()];
        args.extend(["--redis-prefix", prefix, "--mail-url", mail_url]);
        args.extend(flags);
        let url = run_service(&args, stop.clone()).await;
        Self::connect(url, mail_url, database_url, prefix, stop).await
    }

    /// Returns a handle to a service that already runs, in this process or in another, and waits until it is ready.
    pub async fn connect(
        url: String,
        mail_url: &str,
        database_url: &str,
        prefix: &str,
        stop: CancellationToken,
    ) -> Self {
        let service = Self {
            url,
            mail_url: mail_url.to_owned(),
            database_url: database_url.to_owned(),
            prefix: prefix.to_owned(),
            db: PgPool::connect(database_url).await.unwrap(),
            // The service closes connections that are idle for 10 s. The client closes idle connections first, so that
            // no request meets a closing connection.
            http: Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(5)).build().unwrap(),
            _stop: stop.drop_guard(),
        };
        eventually("ready service", async || {
            let ready = service.http.get(service.url_of("/readyz")).send().await.unwrap();
            ready.status().is_success().then_some(())
        })
        .await;
        service
    }
}
