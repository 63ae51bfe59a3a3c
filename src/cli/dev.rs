//! `sixty dev`: everything on this machine, with one command.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::mail_mock::{self, MockArgs};
use super::{CliError, on_signal, print};
use crate::app::App;
use crate::config::{Config, ListenArgs, ProviderArgs, ServiceArgs, StorageChoice, StoreArgs};
use crate::dev::{ENV_FILE, Event, Stack, StackOptions};
use crate::entropy::Entropy;
use crate::mail_mock::MailMock;
use crate::telemetry;

#[derive(Args)]
pub struct DevArgs {
    /// Address of the API; without it 127.0.0.1:8000 or the next free port
    #[arg(long, env, value_name = "ADDR")]
    api_addr: Option<SocketAddr>,
    /// Address of the mock mail provider; without it 127.0.0.1:8025 or the next free port
    #[arg(long, env, value_name = "ADDR")]
    mail_mock_addr: Option<SocketAddr>,
    /// Address of the operators' own port; without it 127.0.0.1:9000 or the next free port
    #[arg(long, env, value_name = "ADDR")]
    ops_addr: Option<SocketAddr>,
    /// Where PostgreSQL's data and the file `env` go; without it target/dev in the crate's folder or the current one
    #[arg(long, env, value_name = "FOLDER")]
    dev_folder: Option<PathBuf>,
    #[command(flatten)]
    mock: MockArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

pub async fn run(args: DevArgs) -> Result<(), CliError> {
    telemetry::log(&args.service.log)?;
    let metrics = telemetry::metrics().map_err(|error| CliError::Failed(error.to_string()))?;
    let stop = on_signal()?;
    let folder = args.dev_folder.clone().unwrap_or_else(default_folder);
    let env_file = folder.join(ENV_FILE);

    let api = Port::take("API_ADDR", args.api_addr, 8000).await?;
    let mail = Port::take("MAIL_MOCK_ADDR", args.mail_mock_addr, 8025).await?;
    let ops = Port::take("OPS_ADDR", args.ops_addr, 9000).await?;
    let mock = args.mock.mock()?;
    let mut service = args.service;
    service
        .codes
        .code_secret
        .get_or_insert_with(|| SecretString::from(STANDARD.encode(Entropy::from_system().bytes::<32>())));
    let mut addresses = Addresses {
        api: api.addr,
        mail: mail.addr,
        ops: ops.addr,
        database_url: String::new(),
        redis_url: String::new(),
    };
    // Checked before anything is started; where the stores are is known only then.
    let mut config = addresses.config(service.clone())?;

    eprintln!("Starting PostgreSQL and Redis …");
    let program = std::env::current_exe().map_err(|error| CliError::Failed(format!("cannot find myself: {error}")))?;
    let options = StackOptions { program, folder: folder.clone(), keep: true };
    let started = tokio::task::spawn_blocking(move || Stack::start(&options));
    let mut stack = tokio::select! {
        stack = started => stack.expect("starting does not panic").map_err(|error| CliError::Failed(error.to_string()))?,
        // The guardian notices that we are gone, and stops what it has started.
        () = stop.cancelled() => return Ok(()),
    };

    addresses.database_url = stack.database_url().to_owned();
    addresses.redis_url = stack.redis_url().to_owned();
    config.postgres.url = stack.database_url().into();
    config.redis.url = stack.redis_url().into();
    let parts = Parts { api, mail, ops, addresses, mock, metrics, service, config, env_file: env_file.clone() };
    let outcome = tokio::select! {
        outcome = parts.serve(&stop) => outcome,
        line = lost(&mut stack) => Err(CliError::Failed(line)),
    };
    stop.cancel();
    remove(&env_file)?;
    let stopped = tokio::task::spawn_blocking(move || stack.stop()).await;
    stopped.expect("stopping does not panic");
    if outcome.is_ok() {
        eprintln!("Everything is stopped. The data are kept in {}.", folder.display());
    }
    outcome
}

/// Resolves when the guardian has ended, and the stores with it. A store alone is told of: what the service does without
/// it is worth a look.
async fn lost(stack: &mut Stack) -> String {
    loop {
        match stack.event().await {
            Event::ServerDied(line) => {
                warn!("{line}; the API goes on without it, and finds it again at the same address")
            }
            Event::Ended(line) => return line,
        }
    }
}

/// What is served once the stores are there.
struct Parts {
    api: Port,
    mail: Port,
    ops: Port,
    addresses: Addresses,
    mock: MailMock,
    metrics: PrometheusHandle,
    service: ServiceArgs,
    config: Config,
    env_file: PathBuf,
}

impl Parts {
    async fn serve(self, stop: &CancellationToken) -> Result<(), CliError> {
        let Self { api, mail, ops, addresses, mock, metrics, service, config, env_file } = self;
        let env = addresses.environment(&service);
        let app = App::with_listeners(config, api.listener, ops.listener, move || metrics.render())?;
        let app = async {
            let ended = app.run(stop.clone()).await;
            // Whatever ended it, the others have nothing left to do.
            stop.cancel();
            ended
        };
        let announce = async {
            ready(&addresses.api_url()).await?;
            write_private(&env_file, &env).map_err(|error| file_error("write", &env_file, &error))?;
            print(&addresses.screen(&env_file))
        };
        let announce = async {
            let announced = tokio::select! {
                announced = announce => announced,
                () = stop.cancelled() => Ok(()),
            };
            // What nobody is told of is not left running.
            if announced.is_err() {
                stop.cancel();
            }
            announced
        };
        let (app, (), announced) = tokio::join!(app, mail_mock::serve(mail.listener, &mock, stop.clone()), announce);
        app?;
        announced
    }
}

/// A port that is held already, so that nobody else takes it while the rest starts.
struct Port {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Port {
    /// The address that was asked for, or the first free port from the default on.
    async fn take(setting: &str, wanted: Option<SocketAddr>, default: u16) -> Result<Self, CliError> {
        let failed = |addr: SocketAddr, error: io::Error| {
            CliError::Failed(format!("{setting}: cannot listen on {addr}: {error}"))
        };
        if let Some(addr) = wanted {
            let listener = TcpListener::bind(addr).await.map_err(|error| failed(addr, error))?;
            let addr = listener.local_addr().map_err(|error| failed(addr, error))?;
            return Ok(Self { listener, addr });
        }
        for port in default..default + 100 {
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            match TcpListener::bind(addr).await {
                Ok(listener) => {
                    if port != default {
                        eprintln!("Port {default} is taken: {setting} is {addr} instead.");
                    }
                    return Ok(Self { listener, addr });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(failed(addr, error)),
            }
        }
        Err(CliError::Failed(format!("{setting}: no port from {default} on is free")))
    }
}

/// Where everything is.
struct Addresses {
    api: SocketAddr,
    mail: SocketAddr,
    ops: SocketAddr,
    database_url: String,
    redis_url: String,
}

impl Addresses {
    fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    fn mail_url(&self) -> String {
        format!("http://{}", self.mail)
    }

    fn config(&self, service: ServiceArgs) -> Result<Config, CliError> {
        let stores = StoreArgs {
            database_url: self.database_url.as_str().into(),
            redis_url: self.redis_url.as_str().into(),
            migrate: true,
        };
        let mail_url = self.mail_url().parse().expect("an address is the authority of a URL");
        let listen = ListenArgs { api_addr: self.api, ops_addr: self.ops };
        Ok(Config::new(listen, stores, ProviderArgs { mail_url }, service)?)
    }

    /// Shell assignments: where everything is, and every setting by which a second `sixty serve` joins.
    fn environment(&self, service: &ServiceArgs) -> String {
        let codes = &service.codes;
        let secret = codes.code_secret.as_ref().map_or("", |secret| secret.expose_secret().trim());
        let storage = match codes.code_storage {
            StorageChoice::Plain => "plain",
            StorageChoice::Hmac => "hmac",
        };
        let assignments = [
            ("API_URL", self.api_url()),
            ("MAIL_URL", self.mail_url()),
            ("OPS_URL", format!("http://{}", self.ops)),
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
            ("REDIS_PREFIX", service.limits.redis_prefix.clone()),
            ("CODE_SECRET", secret.to_owned()),
            ("CODE_STORAGE", storage.to_owned()),
            ("CODE_TTL", millis(codes.code_ttl)),
            ("CODE_WAIT", millis(codes.code_wait)),
            ("CODE_WAIT_MAX", millis(codes.code_wait_max)),
            ("CODE_WAIT_RESET", millis(codes.code_wait_reset)),
            ("SHORT_CODES_PER_YEAR", codes.short_codes_per_year.to_string()),
            ("ARGON2_MEMORY_KIB", service.hash.argon2_memory_kib.to_string()),
            ("ARGON2_PASSES", service.hash.argon2_passes.to_string()),
            ("ARGON2_LANES", service.hash.argon2_lanes.to_string()),
        ];
        assignments.iter().fold(String::new(), |mut lines, (name, value)| {
            writeln!(lines, "{name}={}", quoted(value)).expect("writing to a string does not fail");
            lines
        })
    }

    fn screen(&self, env_file: &Path) -> String {
        let (api, mail) = (self.api_url(), self.mail_url());
        // A person who is new each time: the accounts of earlier runs are still there.
        let letters = Entropy::from_system().bytes::<4>().map(|byte| char::from(b'a' + byte % 26));
        let ada = format!("ada.{}@example.com", String::from_iter(letters));
        format!(
            r#"
  Sixty is ready.

  API         {api}           documentation: {api}/docs
  Inbox       {mail}
  Metrics     http://{ops}/metrics
  PostgreSQL  {postgres}
  Redis       {redis}
  All of it as shell assignments: {env_file}

  Register, read the code from the mail, activate:

  curl -i {api}/v1/users -H 'Content-Type: application/json' -d '{{"email":"{ada}","password":"correct horse battery"}}'
  CODE=$(curl -s '{mail}/api/v1/search?query=to:{ada}' | grep -o 'code is [0-9]*' | head -n 1 | grep -o '[0-9]*')
  curl -i -u '{ada}:correct horse battery' {api}/v1/users/me/activation -H 'Content-Type: application/json' -d "{{\"code\":\"$CODE\"}}"

  Ctrl-C stops everything.

"#,
            ops = self.ops,
            postgres = self.database_url,
            redis = self.redis_url,
            env_file = env_file.display(),
        )
    }
}

/// What `cargo run` says is the crate's folder, or the current one.
fn default_folder() -> PathBuf {
    let base = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from);
    base.join("target/dev")
}

/// Waits until the service says that it is ready.
async fn ready(api_url: &str) -> Result<(), CliError> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(|error| CliError::Failed(error.to_string()))?;
    for _ in 0..600 {
        let answer = client.get(format!("{api_url}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(CliError::Failed("the service did not get ready within 30 s".to_owned()))
}

/// As one word of a shell, without quotes where none are needed, for those who read the file without one.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/@%+=".contains(&byte);
    if value.bytes().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // Whole or not at all: somebody may be waiting for it to appear.
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
