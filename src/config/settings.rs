//! What can be set, one struct a section. Each field is an environment variable and a flag with the same name, and its
//! comment is its help.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Url;
use secrecy::SecretString;

use super::values::{http_url, public_url, time, time_or_none};
use super::{BadSetting, bad};
use crate::http::client::TrustedProxies;
use crate::http::cors::CorsOrigins;
use crate::http::openapi::Contact;
use crate::passwords::HashCost;

/// Where the service listens.
#[derive(Clone, Args)]
#[command(next_help_heading = "Listening")]
pub struct ListenArgs {
    /// Address of the API
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub api_addr: SocketAddr,
    /// Address of the operators' own port: /metrics
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub ops_addr: SocketAddr,
    /// Base URL at which people reach the API
    ///
    /// For links in mails, and for clients of the OpenAPI document. Without it http:// and API_ADDR
    #[arg(long, env, value_name = "URL", value_parser = public_url)]
    pub public_url: Option<Url>,
    /// Whom users of the API may ask
    ///
    /// An e-mail address or a URL; the OpenAPI document names it
    #[arg(long, env, value_name = "CONTACT")]
    pub contact: Option<Contact>,
}

/// The stores.
#[derive(Clone, Args)]
#[command(next_help_heading = "Stores")]
pub struct StoreArgs {
    /// PostgreSQL: postgres://user:password@host/database
    ///
    /// With a port and TLS: host:5432/database?sslmode=verify-full
    #[arg(long, env, value_name = "URL")]
    pub database_url: SecretString,
    /// Redis: redis://default:password@host/0
    ///
    /// rediss:// is TLS. Several URLs, separated by commas, are nodes of a cluster
    #[arg(long, env, value_name = "URL")]
    pub redis_url: SecretString,
    /// Apply pending migrations at the start
    ///
    /// Replicas that start together take turns
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub migrate: bool,
}

/// Limits that hold wherever the stores are.
#[derive(Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Connections to PostgreSQL at the most
    #[arg(long, env, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub database_max_connections: u32,
    /// Time for one call to PostgreSQL
    ///
    /// The wait for a connection included
    #[arg(long, env, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub database_timeout: Duration,
    /// Connections to Redis at the most
    #[arg(long, env, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub redis_max_connections: u32,
    /// Time for one call to Redis
    ///
    /// The wait for a connection included
    #[arg(long, env, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub redis_timeout: Duration,
    /// What every key in Redis begins with
    #[arg(long, env, value_name = "TEXT", default_value = "sixty")]
    pub redis_prefix: String,
    /// Events that the Redis Stream keeps, about
    ///
    /// Redis drops the oldest beyond that, whether or not anybody has read them
    #[arg(long, env, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events_maxlen: u64,
    /// HTTP connections open at once
    #[arg(long, env, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Time for a request to arrive
    ///
    /// For its header, then for its body; and for a client to take some of its answer
    #[arg(long, env, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub request_timeout: Duration,
    /// Time to go on serving when told to stop
    ///
    /// Unready meanwhile, so that load balancers notice before connections are refused
    #[arg(long, env, value_name = "TIME", default_value = "0s", value_parser = time_or_none)]
    pub shutdown_delay: Duration,
    /// Time to finish in when told to stop
    ///
    /// For requests and mails under way
    #[arg(long, env, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub shutdown_grace: Duration,
}

/// Who asks, and how much a client network may ask for: an IPv4 address or an IPv6 /64.
#[derive(Clone, Args)]
#[command(next_help_heading = "Clients")]
pub struct ClientArgs {
    /// Limit what a client network may do
    ///
    /// An IPv4 address or an IPv6 /64 is a network. It is counted in Redis; without it everything is let through
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub client_limits: bool,
    /// Proxies that say who asks
    ///
    /// Such as 10.0.0.0/8,192.0.2.1; by X-Forwarded-For or Forwarded. Without them a proxy's clients are one network
    #[arg(long, env, value_name = "NETWORKS", default_value = "")]
    pub trusted_proxies: TrustedProxies,
    /// Origins of pages that may use the API
    ///
    /// Such as https://app.example.com, separated by commas; from a browser, by CORS
    #[arg(long, env, value_name = "ORIGINS", default_value = "")]
    pub cors_origins: CorsOrigins,
    /// Codes that a network may ask for
    ///
    /// By registering, too; and changes of a password. So many at once, and then spread over the hour
    #[arg(long, env, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub client_codes_per_hour: u32,
    /// Wrong codes that a network may send
    ///
    /// So many at once, and then spread over the hour
    #[arg(long, env, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub client_misses_per_hour: u32,
    /// Wrong codes in all that are a flood
    ///
    /// While it lasts there is an alarm, and guesses cost the networks that contribute more
    #[arg(long, env, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub flood_misses_per_minute: u32,
}

/// What Redis keeps of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StorageChoice {
    /// A MAC under CODE_SECRET: reading Redis reveals no code
    Hmac,
    /// The code itself, for showing what happens
    Plain,
}

/// Codes, and how often an address is granted one.
#[derive(Clone, Args)]
#[command(next_help_heading = "Codes")]
pub struct CodeArgs {
    /// Key of the codes: openssl rand -base64 32
    ///
    /// At least 32 octets in base64, the same for all replicas
    #[arg(long, env, value_name = "BASE64", required = true)]
    pub code_secret: Option<SecretString>,
    /// What Redis keeps of a code: hmac or plain
    #[arg(long, env, value_name = "KIND", default_value = "hmac")]
    pub code_storage: StorageChoice,
    /// How long a code lives
    ///
    /// From the moment when its mail was accepted
    #[arg(long, env, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub code_ttl: Duration,
    /// Wait between two codes for an address
    ///
    /// It doubles with each code, up to CODE_WAIT_MAX
    #[arg(long, env, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub code_wait: Duration,
    /// Longest wait between two codes
    #[arg(long, env, value_name = "TIME", default_value = "4h", value_parser = time)]
    pub code_wait_max: Duration,
    /// Quiet time after which CODE_WAIT holds again
    #[arg(long, env, value_name = "TIME", default_value = "24h", value_parser = time)]
    pub code_wait_reset: Duration,
    /// Digits of a code, from 4 to 10
    #[arg(long, env, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=10))]
    pub code_digits: u8,
    /// Codes of so few digits for an address a year
    ///
    /// Codes of CODE_DIGITS digits, in any 365 days; later ones have ten digits
    #[arg(long, env, value_name = "N", default_value_t = 30)]
    pub short_codes_per_year: u16,
}

/// What whoever registers an address learns of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExistingChoice {
    /// Nothing: the answer is that of a new address, and the owner is told by mail
    Hide,
    /// That there is one: 409 email-taken
    Reveal,
}

/// Registrations.
#[derive(Clone, Args)]
#[command(next_help_heading = "Registrations")]
pub struct RegistrationArgs {
    /// What is said of a known address: hide or reveal
    #[arg(long, env, value_name = "KIND", default_value = "hide")]
    pub existing_account: ExistingChoice,
    /// How long a registration waits for activation
    ///
    /// After the last code that its address was granted
    #[arg(long, env, value_name = "TIME", default_value = "7d", value_parser = time)]
    pub pending_ttl: Duration,
}

/// What a new password must be, and what its hash costs.
#[derive(Clone, Args)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordArgs {
    /// Characters of a new password, from 8 to 64
    #[arg(long, env, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(8..=64))]
    pub password_min_length: u8,
    /// Memory of a hash in KiB: argon2id's m
    ///
    /// When m × t rises, an account's hash is made anew at its next login
    #[arg(long, env, value_name = "KIB", default_value_t = 19456)]
    pub argon2_memory_kib: u32,
    /// Passes of a hash: argon2id's t
    #[arg(long, env, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub argon2_passes: u32,
    /// Lanes of a hash: argon2id's p
    #[arg(long, env, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub argon2_lanes: u32,
}

impl PasswordArgs {
    pub fn hash_cost(&self) -> Result<HashCost, BadSetting> {
        let cost = HashCost::new(self.argon2_memory_kib, self.argon2_passes, self.argon2_lanes);
        cost.map_err(|error| bad("ARGON2_MEMORY_KIB", error))
    }
}

/// The hasher.
#[derive(Clone, Args)]
#[command(next_help_heading = "Passwords")]
pub struct HashArgs {
    /// Threads that hash; 0: one a core
    #[arg(long, env, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub hash_threads: u16,
    /// Wait for a hash above which the answer is 503
    ///
    /// As predicted when the request arrives
    #[arg(long, env, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub hash_max_wait: Duration,
}

/// The mail provider.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct ProviderArgs {
    /// Base URL of the provider's API
    ///
    /// Mailjet's is https://api.mailjet.com
    #[arg(long, env, value_name = "URL", value_parser = http_url)]
    pub mail_url: Url,
}

/// Whose API the provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectChoice {
    /// That of Mailpit's `/api/v1/send`
    Mailpit,
    /// That of Mailjet's `/v3.1/send`
    Mailjet,
}

/// An account at Mailjet: to the service, what it sends; to the mock, what it asks for.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailjetArgs {
    /// Key of Mailjet's API
    ///
    /// Sent if MAIL_DIALECT is mailjet; the mock asks for it, or without it takes any
    #[arg(long, env, value_name = "KEY", requires = "mailjet_api_secret")]
    pub mailjet_api_key: Option<String>,
    /// Secret of Mailjet's API
    ///
    /// It goes with MAILJET_API_KEY
    #[arg(long, env, value_name = "SECRET", requires = "mailjet_api_key")]
    pub mailjet_api_secret: Option<SecretString>,
}

/// How mails are sent, wherever the provider is.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailArgs {
    /// The API's dialect: mailpit or mailjet
    ///
    /// Mailjet needs MAILJET_API_KEY and MAILJET_API_SECRET
    #[arg(long, env, value_name = "KIND", default_value = "mailpit")]
    pub mail_dialect: DialectChoice,
    #[command(flatten)]
    pub mailjet: MailjetArgs,
    /// Address that mails come from
    #[arg(long, env, value_name = "ADDRESS", default_value = "no-reply@sixty.example")]
    pub mail_from: String,
    /// Name that mails come from
    #[arg(long, env, value_name = "NAME", default_value = "Sixty")]
    pub mail_from_name: String,
    /// Time for one attempt to hand a mail over
    ///
    /// Longer than a slow provider takes, never longer than CODE_TTL
    #[arg(long, env, value_name = "TIME", default_value = "20s", value_parser = time)]
    pub mail_timeout: Duration,
    /// How long a dead worker holds a mail
    ///
    /// Then another takes it over; a living one renews its lease
    #[arg(long, env, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub mail_lease: Duration,
    /// Age at which a mail is given up
    ///
    /// One that could not be delivered until then
    #[arg(long, env, value_name = "TIME", default_value = "15m", value_parser = time)]
    pub mail_give_up: Duration,
    /// Mails under way at once
    #[arg(long, env, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub mail_concurrency: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Pretty,
    /// For machines: an object a line
    Json,
}

/// The log, on standard error.
#[derive(Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// What is logged, such as info or info,sixty=debug
    #[arg(long, env, value_name = "FILTER", default_value = "info,sqlx=warn")]
    pub log_level: String,
    /// How it is written: pretty or json
    #[arg(long, env, value_name = "FORMAT", default_value = "pretty")]
    pub log_format: LogFormat,
}

/// The settings that hold wherever the service runs and whatever it is connected to.
#[derive(Clone, Args)]
pub struct ServiceArgs {
    #[command(flatten)]
    pub codes: CodeArgs,
    #[command(flatten)]
    pub registrations: RegistrationArgs,
    #[command(flatten)]
    pub passwords: PasswordArgs,
    #[command(flatten)]
    pub hash: HashArgs,
    #[command(flatten)]
    pub mail: MailArgs,
    #[command(flatten)]
    pub clients: ClientArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// All settings of `sixty serve`.
#[derive(Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub listen: ListenArgs,
    #[command(flatten)]
    pub stores: StoreArgs,
    #[command(flatten)]
    pub provider: ProviderArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
}
