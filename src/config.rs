//! The settings (`settings.rs`) and the checks across settings. No error message repeats a setting's value, because it
//! may be a secret.

mod error;
mod settings;
mod values;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use self::error::InvalidSetting;
pub use self::settings::*;

use crate::accounts::ExistingAccount;
use crate::domain::code::{CodeLength, CodeSecret};
use crate::domain::email::Email;
use crate::domain::mailbox::MailboxQuota;
use crate::domain::pacing::Pacing;
use crate::domain::policy::Policy;
use crate::http::cors::CorsOrigins;
use crate::http::openapi::Contact;
use crate::http::server::ServerLimits;
use crate::http::trusted_proxies::TrustedProxies;
use crate::mail::mailjet::Mailjet;
use crate::mail::mailpit::Mailpit;
use crate::mail::provider::{Dialect, FromHeader};
use crate::passwords::HashCost;
use crate::store::postgres::PostgresConfig;
use crate::store::redis::RedisConfig;
use crate::store::redis::codes::CodeStorage;
use crate::store::redis::limits::{LimitsConfig, Quota};

/// The checked configuration of the service. Neither `Config` nor its sections implement `Debug`: URLs may hold
/// passwords.
#[derive(Clone)]
pub struct Config {
    pub api_addr: SocketAddr,
    pub ops_addr: SocketAddr,
    /// `None` means the address on which the API listens.
    pub public_url: Option<Url>,
    pub contact: Option<Contact>,
    pub server: ServerLimits,
    pub body_timeout: Duration,
    pub trusted_proxies: TrustedProxies,
    pub cors_origins: CorsOrigins,
    /// `None` switches the rate limits of client networks off.
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
    pub mailbox_quota: MailboxQuota,
    pub existing_account: ExistingAccount,
    pub pending_ttl: Duration,
    pub policy: Policy,
    pub hash_cost: HashCost,
    /// `None` means as many as there are cores, if the memory limit has room for them.
    pub hash_threads: Option<usize>,
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
    /// Builds the configuration and checks the rules that concern several settings.
    ///
    /// # Errors
    /// The first setting that breaks a rule.
    pub fn new(settings: ServeArgs) -> Result<Self, InvalidSetting> {
        let ServeArgs { listen, stores, provider, service } = settings;
        let ServiceArgs { codes, registrations, passwords, hash, mail, clients, limits, log: _, traces: _ } = service;
        let code_secret =
            codes.code_secret.as_ref().ok_or_else(|| InvalidSetting::new("CODE_SECRET", "must be set"))?;
        let code_secret = parse_code_secret(code_secret)?;
        let code_storage = match codes.code_storage {
            CodeFormat::Plain => CodeStorage::Plain,
            CodeFormat::Hmac => CodeStorage::Hmac(code_secret.clone()),
        };
        if codes.code_wait < codes.code_ttl {
            return Err(InvalidSetting::new(
                "CODE_WAIT",
                "must not be shorter than CODE_TTL, or a new code could replace a live one",
            ));
        }
        if codes.code_wait_max < codes.code_wait {
            return Err(InvalidSetting::new("CODE_WAIT_MAX", "must not be shorter than CODE_WAIT"));
        }
        if codes.code_wait_reset <= codes.code_wait_max {
            return Err(InvalidSetting::new(
                "CODE_WAIT_RESET",
                "must be longer than CODE_WAIT_MAX, or the wait for a code would never grow",
            ));
        }
        let code_length = CodeLength::new(codes.code_digits)
            .ok_or_else(|| InvalidSetting::new("CODE_DIGITS", "must be in 4..=10"))?;
        let mail_timeout = mail.mail_timeout.min(codes.code_ttl);
        // The worker renews its lease after each third of it. A call to Redis that starts after a renewal must end before
        // the lease does.
        if mail.mail_lease < Duration::from_secs(1) || mail.mail_lease <= limits.redis_timeout {
            return Err(InvalidSetting::new(
                "MAIL_LEASE",
                "must be at least 1s and longer than REDIS_TIMEOUT, or a worker could lose its lease without noticing",
            ));
        }
        // Redis keeps the count of wrong guesses for an hour. Neither a live code nor a resend may outlast the count.
        for (name, time) in [("CODE_TTL", codes.code_ttl), ("MAIL_GIVE_UP", mail.mail_give_up)] {
            if time > Duration::from_secs(30 * 60) {
                return Err(InvalidSetting::new(name, "must not be longer than 30m"));
            }
        }
        if registrations.pending_ttl < mail.mail_give_up + codes.code_ttl {
            let reason = "must not be shorter than MAIL_GIVE_UP plus CODE_TTL, or a registration could be deleted while its \
                          code is live";
            return Err(InvalidSetting::new("PENDING_TTL", reason));
        }
        let mail_dialect: Arc<dyn Dialect> = match mail.mail_dialect {
            MailDialect::Mailpit => Arc::new(Mailpit),
            MailDialect::Mailjet => {
                let missing = || InvalidSetting::new("MAILJET_API_KEY", "must be set if MAIL_DIALECT is mailjet");
                let MailjetArgs { mailjet_api_key: key, mailjet_api_secret: secret } = mail.mailjet;
                let key = key.filter(|key| !key.is_empty()).ok_or_else(missing)?;
                let secret = secret.filter(|secret| !secret.expose_secret().is_empty()).ok_or_else(missing)?;
                Arc::new(Mailjet { key, secret })
            }
        };
        Email::parse(&mail.mail_from).map_err(|error| InvalidSetting::new("MAIL_FROM", error))?;
        let hash_cost = passwords.hash_cost()?;
        Ok(Self {
            api_addr: listen.api_addr,
            ops_addr: listen.ops_addr,
            public_url: listen.public_url,
            contact: listen.contact,
            server: ServerLimits {
                max_connections: limits.max_connections as usize,
                stall_timeout: limits.request_timeout,
                idle_timeout: limits.idle_timeout,
            },
            body_timeout: limits.request_timeout,
            trusted_proxies: clients.trusted_proxies,
            cors_origins: clients.cors_origins,
            client_limits: clients.client_limits.then_some(LimitsConfig {
                codes: Quota::per_hour(clients.client_codes_per_hour),
                misses: Quota::per_hour(clients.client_misses_per_hour),
                pending_logins: Quota::per_hour(clients.client_pending_per_hour),
                flood: Quota { units: clients.flood_misses_per_minute, window: Duration::from_secs(60) },
                max_wait: hash.hash_max_wait,
            }),
            shutdown_delay: limits.shutdown_delay,
            shutdown_grace: limits.shutdown_grace,
            postgres: PostgresConfig {
                url: stores.database.url()?,
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
            mailbox_quota: MailboxQuota {
                per_hour: codes.mailbox_codes_per_hour,
                per_day: codes.mailbox_codes_per_day,
            },
            policy: Policy { password_min: usize::from(passwords.password_min_length), code_length },
            existing_account: registrations.existing_account,
            pending_ttl: registrations.pending_ttl,
            hash_cost,
            hash_threads: (hash.hash_threads > 0).then_some(usize::from(hash.hash_threads)),
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

fn parse_code_secret(text: &SecretString) -> Result<CodeSecret, InvalidSetting> {
    let key = STANDARD
        .decode(text.expose_secret().trim())
        .map_err(|_| InvalidSetting::new("CODE_SECRET", "must be base64"))?;
    CodeSecret::new(key).map_err(|error| InvalidSetting::new("CODE_SECRET", error))
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

    fn config(flags: &[&str]) -> Result<Config, InvalidSetting> {
        let stores = ["--database-url=postgres://db", "--redis-url=redis://redis", "--mail-url=http://mail"];
        let all = All::parse_from(["sixty"].iter().chain(&stores).chain(flags));
        Config::new(all.settings)
    }

    #[test]
    fn defaults_equal_the_designed_values() {
        let config = config(&["--code-secret", SECRET]).unwrap();
        assert_eq!(config.pacing, Pacing::default());
        assert_eq!(config.mailbox_quota, MailboxQuota::default());
        assert_eq!(config.hash_cost, HashCost::default());
        assert_eq!(config.code_ttl, Duration::from_secs(60));
        assert!(matches!(config.code_storage, CodeStorage::Hmac(_)));
        assert_eq!(config.existing_account, ExistingAccount::Hide);
        assert_eq!(config.pending_ttl, Duration::from_secs(7 * 24 * 60 * 60));
        assert_eq!(config.policy, Policy::default());
    }

    #[test]
    fn an_error_names_the_conflicting_setting() {
        let name = |flags: &[&str]| config(flags).err().unwrap().name;
        assert_eq!(name(&["--code-secret=short"]), "CODE_SECRET");
        assert_eq!(name(&["--code-secret", SECRET, "--code-ttl=2m"]), "CODE_WAIT");
        assert_eq!(name(&["--code-secret", SECRET, "--code-wait-max=59s"]), "CODE_WAIT_MAX");
        assert_eq!(name(&["--code-secret", SECRET, "--code-wait-reset=1s"]), "CODE_WAIT_RESET");
        assert_eq!(name(&["--code-secret", SECRET, "--code-wait-reset=4h"]), "CODE_WAIT_RESET");
        assert_eq!(name(&["--code-secret", SECRET, "--mail-lease=1s"]), "MAIL_LEASE");
        assert_eq!(name(&["--code-secret", SECRET, "--pending-ttl=15m"]), "PENDING_TTL");
        assert_eq!(name(&["--code-secret", SECRET, "--mail-from=nobody"]), "MAIL_FROM");
        assert_eq!(name(&["--code-secret", SECRET, "--mail-dialect=mailjet"]), "MAILJET_API_KEY");
        let empty = ["--mail-dialect=mailjet", "--mailjet-api-key=", "--mailjet-api-secret="];
        assert_eq!(name(&[&["--code-secret", SECRET][..], &empty].concat()), "MAILJET_API_KEY");
        assert_eq!(name(&["--code-secret", SECRET, "--argon2-memory-kib=1"]), "ARGON2_MEMORY_KIB");
    }
}
