//! The settings (`settings.rs`) and the checks across settings. No error message repeats a setting's value, because it
//! may be a secret.

mod conflicts;
mod error;
mod mail_account;
mod settings;
pub mod values;

use std::sync::Arc;
use std::time::Duration;

use listen_address::ListenAddress;
use url::Url;

pub use self::error::InvalidSetting;
pub use self::mail_account::MailAccount;
pub use self::settings::*;

use crate::accounts::{ExistingAccount, Registration};
use crate::domain::code::{CodeLifetimes, CodeSecret};
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::domain::mailbox::MailboxQuota;
use crate::domain::pacing::Pacing;
use crate::domain::policy::Policy;
use crate::http::cors::CorsOrigins;
use crate::http::server::ServerLimits;
use crate::http::trusted_proxies::TrustedProxies;
use crate::language::Brand;
use crate::mail::mails::Mails;
use crate::mail::provider::FromHeader;
use crate::passwords::HashCost;
use crate::store::postgres::PostgresConfig;
use crate::store::redis::RedisConfig;
use crate::store::redis::codes::CodeStorage;
use crate::store::redis::limits::{LimitsConfig, Quota};

/// The checked configuration of the service. Neither `Config` nor its sections implement `Debug`: URLs may hold
/// passwords.
#[derive(Clone)]
pub struct Config {
    pub api_addr: ListenAddress,
    pub ops_addr: ListenAddress,
    /// `None` means the address on which the API listens.
    pub public_url: Option<Url>,
    pub brand: Brand,
    /// The language of people who have chosen none.
    pub default_locale: Locale,
    pub mails: Arc<Mails>,
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
    pub code_lifetimes: CodeLifetimes,
    pub pacing: Pacing,
    /// The pacing of reset mails.
    pub reset_pacing: Pacing,
    pub mailbox_quota: MailboxQuota,
    pub registration: Registration,
    pub existing_account: ExistingAccount,
    pub pending_ttl: Duration,
    pub policy: Policy,
    pub hash_cost: HashCost,
    /// `None` means as many as there are cores, if the memory limit has room for them.
    pub hash_threads: Option<usize>,
    pub hash_max_wait: Duration,
    /// How long verified passwords are remembered, and of how many users. `None`: never.
    pub auth_cache: Option<(Duration, usize)>,
    pub mail: MailAccount,
    /// The provider that gets the mails while the first one fails.
    pub mail_fallback: Option<MailAccount>,
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
        let ServiceArgs { brand, codes, registrations, passwords, hash, mail, clients, limits, log: _, traces: _ } =
            service;
        conflicts::check(&listen, &codes, &registrations, &hash, &mail, &limits)?;
        let code_secret = codes.secret()?;
        let code_storage = match codes.code_storage {
            CodeFormat::Plain => CodeStorage::Plain,
            CodeFormat::Hmac => CodeStorage::Hmac(code_secret.clone()),
        };
        let code_length = codes.length()?;
        let reset_code_length = codes.reset_length()?;
        let mail_timeout = mail.mail_timeout.unwrap_or_else(|| MAIL_TIMEOUT.min(codes.code_ttl));
        let (account, mail_fallback) = mail_account::accounts(provider, mail.mail_dialect, mail.credentials)?;
        Email::parse(&mail.mail_from).map_err(|error| InvalidSetting::new("MAIL_FROM", error))?;
        let hash_cost = passwords.hash_cost()?;
        Ok(Self {
            api_addr: listen.api_addr,
            ops_addr: listen.ops_addr,
            public_url: listen.public_url,
            mails: Arc::new(brand.mails()?),
            default_locale: brand.default_locale,
            brand: brand.brand(),
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
            code_lifetimes: CodeLifetimes { registration: codes.code_ttl, password_reset: codes.reset_code_ttl },
            reset_pacing: codes.reset_pacing()?,
            pacing: codes.pacing()?,
            mailbox_quota: MailboxQuota {
                per_hour: codes.mailbox_codes_per_hour,
                per_day: codes.mailbox_codes_per_day,
            },
            policy: Policy {
                password_min: usize::from(passwords.password_min_length),
                code_length,
                reset_code_length,
                email_domains: registrations.email_domains.unwrap_or_default(),
            },
            registration: registrations.registration,
            existing_account: registrations.existing_account,
            pending_ttl: registrations.pending_ttl,
            hash_cost,
            hash_threads: (hash.hash_threads > 0).then_some(usize::from(hash.hash_threads)),
            hash_max_wait: hash.hash_max_wait,
            auth_cache: (!hash.auth_cache_ttl.is_zero())
                .then_some((hash.auth_cache_ttl, hash.auth_cache_size as usize)),
            mail: account,
            mail_fallback,
            mail_from: FromHeader { email: mail.mail_from, name: mail.mail_from_name.unwrap_or(brand.service_name) },
            mail_timeout,
            mail_lease: mail.mail_lease,
            mail_give_up: mail.mail_give_up,
            mail_concurrency: usize::from(mail.mail_concurrency),
        })
    }
}

/// The time that a slow provider gets, unless `MAIL_TIMEOUT` says otherwise.
const MAIL_TIMEOUT: Duration = Duration::from_secs(20);

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
        assert_eq!(config.code_lifetimes, CodeLifetimes::default());
        assert_eq!(config.reset_pacing, Pacing::of_resets());
        let short = config_with(&["--reset-code-ttl=1s", "--code-wait-reset=5h"]).reset_pacing;
        assert_eq!((short.first_wait.as_secs(), short.quiet.as_secs()), (60, 8 * 60 * 60));
        assert!(matches!(config.code_storage, CodeStorage::Hmac(_)));
        assert_eq!(config.existing_account, ExistingAccount::Hide);
        assert_eq!(config.registration, Registration::Open);
        assert_eq!(config.pending_ttl, Duration::from_secs(7 * 24 * 60 * 60));
        assert_eq!(config.policy, Policy::default());
        assert_eq!(config.mail_timeout, Duration::from_secs(20));
        assert_eq!(config.auth_cache, Some((Duration::from_secs(60), 10_000)));
        assert_eq!(config_with(&["--auth-cache-ttl=0"]).auth_cache, None);
        let short_lived = config_with(&["--code-ttl=8s", "--mail-give-up=1s"]);
        assert_eq!(short_lived.mail_timeout, Duration::from_secs(8));
    }

    fn config_with(flags: &[&str]) -> Config {
        config(&[&["--code-secret", SECRET][..], flags].concat()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn each_provider_has_a_dialect() {
        let names = |flags: &[&str]| {
            let config = config_with(flags);
            (config.mail.dialect.name(), config.mail_fallback.map(|account| account.dialect.name()))
        };
        assert_eq!(names(&[]), ("mailpit", None));
        assert_eq!(names(&["--mail-dialect=postmark", "--postmark-server-token=x"]), ("postmark", None));
        assert_eq!(names(&["--mail-dialect=brevo", "--brevo-api-key=x"]), ("brevo", None));
        assert_eq!(names(&["--mail-dialect=sendgrid", "--sendgrid-api-key=x"]), ("sendgrid", None));
        let fallback = ["--mail-fallback-url=http://b", "--mail-fallback-dialect=resend", "--resend-api-key=x"];
        assert_eq!(names(&fallback), ("mailpit", Some("resend")));
        // Two servers of one's own.
        assert_eq!(
            names(&["--mail-fallback-url=http://b", "--mail-fallback-dialect=mailpit"]),
            ("mailpit", Some("mailpit"))
        );
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
        for (flags, expected) in [
            (&["--api-addr=:8000", "--ops-addr=127.0.0.1:8000"][..], "OPS_ADDR"),
            (&["--ops-addr=127.0.0.1:8000"], "OPS_ADDR"),
            (&["--mailbox-codes-per-hour=5", "--mailbox-codes-per-day=4"], "MAILBOX_CODES_PER_DAY"),
            (&["--mail-timeout=61s"], "MAIL_TIMEOUT"),
            (&["--mail-timeout=20s", "--mail-give-up=19s"], "MAIL_TIMEOUT"),
            (&["--code-ttl=31m", "--code-wait=31m"], "CODE_TTL"),
            (&["--reset-code-ttl=31m"], "RESET_CODE_TTL"),
            (&["--mail-give-up=31m"], "MAIL_GIVE_UP"),
            (&["--redis-timeout=5s"], "MAIL_LEASE"),
            (&["--auth-cache-ttl=61m"], "AUTH_CACHE_TTL"),
            (&["--mail-dialect=mailjet", "--mailjet-api-key=", "--mailjet-api-secret=x"], "MAILJET_API_KEY"),
            (&["--mail-dialect=mailjet", "--mailjet-api-key=x", "--mailjet-api-secret="], "MAILJET_API_SECRET"),
            (&["--mail-dialect=postmark"], "POSTMARK_SERVER_TOKEN"),
            (&["--mail-dialect=brevo", "--brevo-api-key="], "BREVO_API_KEY"),
            (&["--mail-dialect=sendgrid", "--resend-api-key=x"], "SENDGRID_API_KEY"),
            (&["--mail-dialect=resend"], "RESEND_API_KEY"),
            (&["--mail-fallback-url=http://b", "--mail-fallback-dialect=resend"], "RESEND_API_KEY"),
            (&["--mail-fallback-url=http://mail/", "--mail-fallback-dialect=mailpit"], "MAIL_FALLBACK_URL"),
            (
                &[
                    "--mail-dialect=resend",
                    "--resend-api-key=x",
                    "--mail-fallback-url=http://b",
                    "--mail-fallback-dialect=resend",
                ],
                "MAIL_FALLBACK_DIALECT",
            ),
        ] {
            assert_eq!(name(&[&["--code-secret", SECRET][..], flags].concat()), expected, "{flags:?}");
        }
        assert_eq!(name(&["--code-secret", SECRET, "--mail-from=nobody"]), "MAIL_FROM");
        assert_eq!(name(&["--code-secret", SECRET, "--mail-dialect=mailjet"]), "MAILJET_API_KEY");
        let empty = ["--mail-dialect=mailjet", "--mailjet-api-key=", "--mailjet-api-secret="];
        assert_eq!(name(&[&["--code-secret", SECRET][..], &empty].concat()), "MAILJET_API_KEY");
        assert_eq!(name(&["--code-secret", SECRET, "--argon2-memory-kib=1"]), "ARGON2_MEMORY_KIB");
    }
}
