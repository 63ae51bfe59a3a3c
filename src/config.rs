//! Every setting (`settings.rs`), and what must be true of all of them together. Secrets are never printed, not even in an
//! error about them.

mod settings;
mod values;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

pub use settings::*;

use crate::accounts::ExistingAccount;
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
use crate::mail::provider::{Dialect, FromHeader};
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
    pub mail_from: FromHeader,
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
            mail_from: FromHeader { email: mail.mail_from, name: mail.mail_from_name },
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
}
