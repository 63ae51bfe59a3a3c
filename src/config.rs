//! Every setting, one struct a section. Each is an environment variable and a flag with the same name, and `--help`
//! lists it with its default. Secrets are never printed, not even in an error about them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::accounts::register::ExistingAccount;
use crate::domain::code::{CodeLength, CodeSecret};
use crate::domain::email::Email;
use crate::domain::pacing::Pacing;
use crate::domain::policy::Policy;
use crate::http::client::TrustedProxies;
use crate::http::cors::CorsOrigins;
use crate::http::openapi::Contact;
use crate::http::server::ServerLimits;
use crate::mail::mailjet::Mailjet;
use crate::mail::mailpit::Mailpit;
use crate::mail::provider::{Dialect, Sender};
use crate::passwords::HashCost;
use crate::store::postgres::PostgresConfig;
use crate::store::redis::RedisConfig;
use crate::store::redis::codes::CodeStorage;
use crate::store::redis::limits::{LimitsConfig, Quota};

/// A setting that does not make sense. One line, with the setting's name, without its value.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name}: {reason}")]
pub struct BadSetting {
    pub name: &'static str,
    pub reason: String,
}

fn bad(name: &'static str, reason: impl ToString) -> BadSetting {
    BadSetting { name, reason: reason.to_string() }
}

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

/// A setting of time: `250ms`, `60s`, `4h`, or seconds as a bare number. Never zero.
fn time(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    };
    match duration {
        Ok(duration) if duration.is_zero() => Err("must be more than zero".to_owned()),
        // Beyond that arithmetic with the stores' clocks gets delicate.
        Ok(duration) if duration >= Duration::from_secs(10 * 365 * 86_400) => {
            Err("must be less than ten years".to_owned())
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err("must be a time such as 250ms, 60s or 4h".to_owned()),
    }
}

/// The same, or zero.
fn time_or_none(text: &str) -> Result<Duration, String> {
    if ["0", "0s"].contains(&text) { Ok(Duration::ZERO) } else { time(text) }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = text.parse().ok().filter(|url: &Url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    url.ok_or_else(|| "must begin with http:// or https:// and name a host".to_owned())
}

/// The base of links in mails, which everybody may read.
fn public_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if bare { Ok(url) } else { Err("must have neither a user nor a password, ? or #".to_owned()) }
}

/// All that the service needs to know, checked. It cannot be printed, nor can the sections: URLs may hold passwords.
#[derive(Clone)]
pub struct Config {
    pub api_addr: SocketAddr,
    pub ops_addr: SocketAddr,
    /// None: where the API listens.
    pub public_url: Option<Url>,
    pub contact: Option<Contact>,
    pub server: ServerLimits,
    pub body_timeout: Duration,
    pub trusted_proxies: TrustedProxies,
    pub cors_origins: CorsOrigins,
    /// None: a client network may do what it likes.
    pub client_limits: Option<LimitsConfig>,
    pub shutdown_delay: Duration,
    pub shutdown_grace: Duration,
    pub postgres: PostgresConfig,
    pub migrate: bool,
    pub redis: RedisConfig,
    pub events_maxlen: u64,
    pub code_secret: CodeSecret,
    pub code_storage: CodeStorage,
    pub code_ttl: Duration,
    pub pacing: Pacing,
    pub existing_account: ExistingAccount,
    pub pending_ttl: Duration,
    pub policy: Policy,
    pub hash_cost: HashCost,
    pub hash_threads: usize,
    pub hash_max_wait: Duration,
    pub mail_url: Url,
    pub mail_dialect: Arc<dyn Dialect>,
    pub mail_from: Sender,
    pub mail_timeout: Duration,
    pub mail_lease: Duration,
    pub mail_give_up: Duration,
    pub mail_concurrency: usize,
}

impl Config {
    /// Puts the sections together and checks what one alone cannot know.
    pub fn new(settings: ServeArgs) -> Result<Self, BadSetting> {
        let ServeArgs { listen, stores, provider, service } = settings;
        let ServiceArgs { codes, registrations, passwords, hash, mail, clients, limits, log: _ } = service;
        let code_secret = codes.code_secret.as_ref().ok_or_else(|| bad("CODE_SECRET", "must be set"))?;
        let code_secret = parse_secret(code_secret)?;
        let code_storage = match codes.code_storage {
            StorageChoice::Plain => CodeStorage::Plain,
            StorageChoice::Hmac => CodeStorage::Hmac(code_secret.clone()),
        };
        if codes.code_wait < codes.code_ttl {
            return Err(bad("CODE_WAIT", "must not be shorter than CODE_TTL, or a live code could be replaced"));
        }
        if codes.code_wait_max < codes.code_wait {
            return Err(bad("CODE_WAIT_MAX", "must not be shorter than CODE_WAIT"));
        }
        let code_length = CodeLength::new(codes.code_digits).ok_or_else(|| bad("CODE_DIGITS", "must be in 4..=10"))?;
        let mail_timeout = mail.mail_timeout.min(codes.code_ttl);
        // It is renewed after each third of it, and a call to Redis follows within what was just renewed.
        if mail.mail_lease < Duration::from_secs(1) || mail.mail_lease <= limits.redis_timeout {
            return Err(bad(
                "MAIL_LEASE",
                "must be at least 1s and longer than REDIS_TIMEOUT, or it would be lost unnoticed",
            ));
        }
        // Wrong guesses are remembered for an hour; a code must not outlive them, nor be sent again without them.
        for (name, time) in [("CODE_TTL", codes.code_ttl), ("MAIL_GIVE_UP", mail.mail_give_up)] {
            if time > Duration::from_secs(30 * 60) {
                return Err(bad(name, "must not be longer than 30m"));
            }
        }
        if registrations.pending_ttl < mail.mail_give_up + codes.code_ttl {
            let reason = "must not be shorter than MAIL_GIVE_UP and CODE_TTL together, or a registration could be deleted \
                          under a live code";
            return Err(bad("PENDING_TTL", reason));
        }
        let mail_dialect: Arc<dyn Dialect> = match mail.mail_dialect {
            DialectChoice::Mailpit => Arc::new(Mailpit),
            DialectChoice::Mailjet => {
                let needed = || bad("MAILJET_API_KEY", "must be set if MAIL_DIALECT is mailjet");
                let MailjetArgs { mailjet_api_key: key, mailjet_api_secret: secret } = mail.mailjet;
                let key = key.filter(|key| !key.is_empty()).ok_or_else(needed)?;
                let secret = secret.filter(|secret| !secret.expose_secret().is_empty()).ok_or_else(needed)?;
                Arc::new(Mailjet { key, secret })
            }
        };
        Email::parse(&mail.mail_from).map_err(|error| bad("MAIL_FROM", error))?;
        let hash_cost = passwords.hash_cost()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            api_addr: listen.api_addr,
            ops_addr: listen.ops_addr,
            public_url: listen.public_url,
            contact: listen.contact,
            server: ServerLimits {
                max_connections: limits.max_connections as usize,
                stall_timeout: limits.request_timeout,
            },
            body_timeout: limits.request_timeout,
            trusted_proxies: clients.trusted_proxies,
            cors_origins: clients.cors_origins,
            client_limits: clients.client_limits.then_some(LimitsConfig {
                codes: Quota::per_hour(clients.client_codes_per_hour),
                misses: Quota::per_hour(clients.client_misses_per_hour),
                flood: Quota { units: clients.flood_misses_per_minute, window: Duration::from_secs(60) },
                max_wait: hash.hash_max_wait,
            }),
            shutdown_delay: limits.shutdown_delay,
            shutdown_grace: limits.shutdown_grace,
            postgres: PostgresConfig {
                url: stores.database_url,
                max_connections: limits.database_max_connections,
                timeout: limits.database_timeout,
            },
            migrate: stores.migrate,
            redis: RedisConfig {
                url: stores.redis_url,
                max_connections: limits.redis_max_connections as usize,
                timeout: limits.redis_timeout,
                prefix: limits.redis_prefix,
            },
            events_maxlen: limits.events_maxlen,
            code_secret,
            code_storage,
            code_ttl: codes.code_ttl,
            pacing: Pacing {
                first_wait: codes.code_wait,
                longest_wait: codes.code_wait_max,
                quiet: codes.code_wait_reset,
                short_codes: codes.short_codes_per_year,
                short_length: code_length,
            },
            policy: Policy { password_min: usize::from(passwords.password_min_length), code_length },
            existing_account: match registrations.existing_account {
                ExistingChoice::Hide => ExistingAccount::Hide,
                ExistingChoice::Reveal => ExistingAccount::Reveal,
            },
            pending_ttl: registrations.pending_ttl,
            hash_cost,
            hash_threads: if hash.hash_threads == 0 { cores } else { usize::from(hash.hash_threads) },
            hash_max_wait: hash.hash_max_wait,
            mail_url: provider.mail_url,
            mail_dialect,
            mail_from: Sender { email: mail.mail_from, name: mail.mail_from_name },
            mail_timeout,
            mail_lease: mail.mail_lease,
            mail_give_up: mail.mail_give_up,
            mail_concurrency: usize::from(mail.mail_concurrency),
        })
    }
}

fn parse_secret(text: &SecretString) -> Result<CodeSecret, BadSetting> {
    let octets = STANDARD.decode(text.expose_secret().trim()).map_err(|_| bad("CODE_SECRET", "must be base64"))?;
    CodeSecret::new(octets).map_err(|error| bad("CODE_SECRET", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        settings: ServeArgs,
    }

    const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn config(flags: &[&str]) -> Result<Config, BadSetting> {
        let stores = ["--database-url=postgres://db", "--redis-url=redis://redis", "--mail-url=http://mail"];
        let all = All::parse_from(["sixty"].iter().chain(&stores).chain(flags));
        Config::new(all.settings)
    }

    #[test]
    fn the_defaults_are_the_designs() {
        let config = config(&["--code-secret", SECRET]).unwrap();
        assert_eq!(config.pacing, Pacing::default());
        assert_eq!(config.hash_cost, HashCost::default());
        assert_eq!(config.code_ttl, Duration::from_secs(60));
        assert!(matches!(config.code_storage, CodeStorage::Hmac(_)));
        assert_eq!(config.existing_account, ExistingAccount::Hide);
        assert_eq!(config.pending_ttl, Duration::from_secs(7 * 24 * 60 * 60));
        assert_eq!(config.policy, Policy::default());
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let name = |flags: &[&str]| config(flags).err().unwrap().name;
        assert_eq!(name(&["--code-secret=short"]), "CODE_SECRET");
        assert_eq!(name(&["--code-secret", SECRET, "--code-ttl=2m"]), "CODE_WAIT");
        assert_eq!(name(&["--code-secret", SECRET, "--code-wait-max=59s"]), "CODE_WAIT_MAX");
        assert_eq!(name(&["--code-secret", SECRET, "--mail-lease=1s"]), "MAIL_LEASE");
        assert_eq!(name(&["--code-secret", SECRET, "--pending-ttl=15m"]), "PENDING_TTL");
        assert_eq!(name(&["--code-secret", SECRET, "--mail-from=nobody"]), "MAIL_FROM");
        assert_eq!(name(&["--code-secret", SECRET, "--mail-dialect=mailjet"]), "MAILJET_API_KEY");
        let empty = ["--mail-dialect=mailjet", "--mailjet-api-key=", "--mailjet-api-secret="];
        assert_eq!(name(&[&["--code-secret", SECRET][..], &empty].concat()), "MAILJET_API_KEY");
        assert_eq!(name(&["--code-secret", SECRET, "--argon2-memory-kib=1"]), "ARGON2_MEMORY_KIB");
    }

    #[test]
    fn a_public_url_is_a_base_that_everybody_may_read() {
        for good in ["http://localhost:8000", "https://sixty.example/accounts/"] {
            assert!(public_url(good).is_ok(), "{good}");
        }
        for bad in
            ["sixty.example", "ftp://sixty.example", "https://user@h", "https://:pw@h", "https://h?x", "https://h#x"]
        {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, millis) in [("60", 60_000), ("60s", 60_000), ("250ms", 250), ("4h", 14_400_000), ("1m 30s", 90_000)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)));
        }
        for (text, reason) in [
            ("", "a time such as"),
            ("-1s", "a time such as"),
            ("soon", "a time such as"),
            ("0", "more than zero"),
            ("0s", "more than zero"),
            ("20years", "less than ten years"),
        ] {
            let error = time(text).unwrap_err();
            assert!(error.starts_with(&format!("must be {reason}")), "{text}: {error}");
        }
    }
}
