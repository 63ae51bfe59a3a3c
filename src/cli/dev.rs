//! `sixty dev`: runs the service, its stores and a mock mail provider on this machine.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use dev_stack::{ENV_FILE, Stack, StackEvent, StackOptions};
use futures_util::StreamExt as _;
use listen_address::{ListenAddress, Listener};
use mail_mock::cli::{FaultArgs, HostArgs};
use mail_mock::{ApiKeys, MailMock, MailjetCredentials, MockOptions};
use redis::RedisResult;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::addresses::DevAddresses;
use super::error::CliError;
use super::process::{on_signal, print, print_error};
use crate::app::App;
use crate::config::{Config, CredentialArgs, ServiceArgs};
use crate::rng::Rng;
use crate::telemetry;
use crate::telemetry::metrics::Metrics;

#[derive(Args)]
pub struct DevArgs {
    /// Address of the API
    ///
    /// Default: 127.0.0.1:8000, or the next free port
    #[arg(long, env, value_name = "ADDR")]
    api_addr: Option<ListenAddress>,
    /// Address of the mock mail provider and its inbox
    ///
    /// Default: 127.0.0.1:8025, or the next free port
    #[arg(long, env, value_name = "ADDR")]
    mail_mock_addr: Option<ListenAddress>,
    /// Address of /metrics, for operators only
    ///
    /// Default: 127.0.0.1:9000, or the next free port
    #[arg(long, env, value_name = "ADDR")]
    ops_addr: Option<ListenAddress>,
    /// Folder of the data and the file `env`
    ///
    /// Default: target/dev, with `cargo run` in the folder of the crate
    #[arg(long, env, value_name = "FOLDER")]
    dev_folder: Option<PathBuf>,
    #[command(flatten)]
    hosts: HostArgs,
    #[command(flatten)]
    faults: FaultArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

pub async fn run(args: DevArgs) -> Result<(), CliError> {
    args.service.start_telemetry()?;
    let metrics = telemetry::metrics::start().map_err(|error| CliError::Failed(error.to_string()))?;
    let stop = on_signal()?;
    let folder = args.dev_folder.clone().unwrap_or_else(default_folder);
    let env_file = folder.join(ENV_FILE);

    let api = Port::bind("API_ADDR", args.api_addr, 8000).await?;
    let mail = Port::bind("MAIL_MOCK_ADDR", args.mail_mock_addr, 8025).await?;
    let ops = Port::bind("OPS_ADDR", args.ops_addr, 9000).await?;
    let CredentialArgs { mailjet, postmark_server_token, brevo_api_key, sendgrid_api_key, resend_api_key } =
        args.service.mail.credentials.clone();
    let mailjet = mailjet.mailjet_api_key.zip(mailjet.mailjet_api_secret);
    let mock = MockOptions {
        faults: args.faults.faults()?,
        mailjet: mailjet.map(|(key, secret)| MailjetCredentials { key: key.expose_secret().to_owned(), secret }),
        keys: ApiKeys {
            postmark: postmark_server_token,
            brevo: brevo_api_key,
            sendgrid: sendgrid_api_key,
            resend: resend_api_key,
        },
        api_url: Some(format!("http://{}", api.addr)),
        hosts: args.hosts.hosts(),
    };
    let mock = MailMock::new(mock, mail_mock::random_seed());
    let mut service = args.service;
    service
        .codes
        .code_secret
        .get_or_insert_with(|| SecretString::from(STANDARD.encode(Rng::from_system().bytes::<32>())));
    let mut addresses = DevAddresses {
        api: api.addr,
        mail: mail.addr,
        ops: ops.addr,
        database_url: String::new(),
        redis_url: String::new(),
    };
    // Check the settings before any server starts. The URLs of the stores are not known yet.
    let mut config = addresses.config(service.clone())?;

    let program = std::env::current_exe()
        .map_err(|error| CliError::Failed(format!("cannot find the path of this program: {error}")))?;
    let options = StackOptions { program, folder: folder.clone(), keep: true };
    let started = tokio::task::spawn_blocking(move || Stack::start(&options, |step| print_error(step)));
    let mut stack = tokio::select! {
        stack = started => stack.expect("Stack::start does not panic").map_err(|error| CliError::Failed(error.to_string()))?,
        // The guardian stops the servers when this process ends.
        () = stop.cancelled() => return Ok(()),
    };

    print_error("Applying migrations and starting the API …");
    addresses.database_url = stack.database_url().to_owned();
    addresses.redis_url = stack.redis_url().to_owned();
    config.postgres.url = stack.database_url().into();
    config.redis.url = stack.redis_url().into();
    let servers = Servers { api, mail, ops, addresses, mock, metrics, service, config, env_file: env_file.clone() };
    let outcome = tokio::select! {
        outcome = servers.serve(&stop) => outcome,
        line = guardian_end(&mut stack) => Err(CliError::Failed(line)),
    };
    stop.cancel();
    remove(&env_file)?;
    let stopped = tokio::task::spawn_blocking(move || stack.stop()).await;
    stopped.expect("Stack::stop does not panic");
    if outcome.is_ok() {
        print_error(format_args!("All servers have stopped. The data remain in {}.", folder.display()));
    }
    outcome
}

/// Resolves with a message when the guardian has ended, and with it the stores. Logs the end of a single store: the service
/// keeps running, so that a developer can see it without that store.
async fn guardian_end(stack: &mut Stack) -> String {
    loop {
        match stack.event().await {
            StackEvent::ServerDied(line) => {
                warn!("{line}; the API keeps running, and reconnects if the server starts at the same address")
            }
            StackEvent::GuardianEnded(line) => return line,
        }
    }
}

/// The servers that run as soon as the stores are ready.
struct Servers {
    api: Port,
    mail: Port,
    ops: Port,
    addresses: DevAddresses,
    mock: MailMock,
    metrics: Metrics,
    service: ServiceArgs,
    config: Config,
    env_file: PathBuf,
}

impl Servers {
    async fn serve(self, stop: &CancellationToken) -> Result<(), CliError> {
        let Self { api, mail, ops, addresses, mock, metrics, service, config, env_file } = self;
        let env = addresses.environment(&service);
        let prefix = config.redis.prefix.clone();
        let app = App::with_listeners(config, api.listener, ops.listener, move || metrics.render())?;
        let app = async {
            let ended = app.run(stop.clone()).await;
            // Stop the other servers too if the service has failed.
            stop.cancel();
            ended
        };
        let announce = async {
            wait_until_ready(&addresses.api_url()).await?;
            write_private(&env_file, &env).map_err(|error| file_error("write", &env_file, &error))?;
            print(&addresses.welcome(&env_file))
        };
        let announce = async {
            let announced = tokio::select! {
                announced = announce => announced,
                () = stop.cancelled() => Ok(()),
            };
            // Nobody would know the addresses: stop all servers.
            if announced.is_err() {
                stop.cancel();
            }
            announced
        };
        let expiries = async {
            tokio::select! {
                () = log_expired_codes(&addresses.redis_url, &prefix) => {}
                () = stop.cancelled() => {}
            }
        };
        let mock = mail_mock::serve(mail.listener, &mock, stop.clone());
        let (app, (), (), announced) = tokio::join!(app, mock, expiries, announce);
        app?;
        announced
    }
}

/// Logs expired codes, by Redis keyspace notifications. The service itself does not notice when Redis deletes a code.
async fn log_expired_codes(redis_url: &str, prefix: &str) {
    let code_prefix = format!("{prefix}:code:");
    let listen = async || -> RedisResult<()> {
        let client = redis::Client::open(redis_url)?;
        let mut redis = client.get_multiplexed_async_connection().await?;
        // This Redis is private, so that changing its configuration affects nobody else.
        let () = redis::cmd("CONFIG").arg(&["SET", "notify-keyspace-events", "Ex"]).query_async(&mut redis).await?;
        let mut events = client.get_async_pubsub().await?;
        events.subscribe("__keyevent@0__:expired").await?;
        let mut events = events.on_message();
        while let Some(event) = events.next().await {
            let key: String = event.get_payload()?;
            if let Some(user) = key.strip_prefix(&code_prefix) {
                info!(user.id = user.trim_matches(['{', '}']), "a code expired");
            }
        }
        Ok(())
    };
    loop {
        // Retry: Redis may have been killed and restarted.
        let _ = listen().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A bound port. Binding early prevents other processes from taking the port during the start.
struct Port {
    listener: Listener,
    /// An address that reaches the port from this machine.
    addr: SocketAddr,
}

impl Port {
    /// Binds the wanted address, or else the first free port from `default` on.
    async fn bind(setting: &str, wanted: Option<ListenAddress>, default: u16) -> Result<Self, CliError> {
        let failed = |addr: &ListenAddress, error: io::Error| {
            CliError::Failed(format!("{setting}: cannot listen on {addr}: {error}"))
        };
        let bind = async |addr: &ListenAddress| -> io::Result<Self> {
            let listener = addr.bind().await?;
            let mut addr = listener.local_addr()?;
            if addr.ip().is_unspecified() {
                addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
            }
            Ok(Self { listener, addr })
        };
        if let Some(addr) = wanted {
            return bind(&addr).await.map_err(|error| failed(&addr, error));
        }
        for port in default..default + 100 {
            let addr = ListenAddress::loopback(port);
            match bind(&addr).await {
                Ok(bound) => {
                    if port != default {
                        print_error(format_args!("Port {default} is in use; {setting} is {addr} instead."));
                    }
                    return Ok(bound);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(failed(&addr, error)),
            }
        }
        Err(CliError::Failed(format!("{setting}: all ports from {default} to {} are in use", default + 99)))
    }
}

/// Returns `target/dev` in the crate's folder under `cargo run`, or else in the current folder.
fn default_folder() -> PathBuf {
    let base = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from);
    base.join("target/dev")
}

/// Polls `/readyz` until the service is ready, for at most 30 s.
async fn wait_until_ready(api_url: &str) -> Result<(), CliError> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(|error| CliError::Failed(error.to_string()))?;
    for _ in 0..600 {
        let answer = client.get(format!("{api_url}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(CliError::Failed("the service was not ready within 30 s".to_owned()))
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // Rename a complete file: another process may wait for the file to appear.
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(new, path)
}

fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", path, &error)),
        _ => Ok(()),
    }
}

fn file_error(action: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot {action} {}: {error}", path.display()))
}
