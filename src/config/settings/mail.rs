//! Settings of the mail provider and the mail worker.

use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use url::Url;

use crate::config::values::{Choice, http_url, number, secret, text, time};

/// Where the mail provider is.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct ProviderArgs {
    /// Base URL of the mail provider's API
    ///
    /// Mailjet's is https://api.mailjet.com
    #[arg(long, env, value_name = "URL", value_parser = http_url)]
    pub mail_url: Url,
}

/// The send API of the mail provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MailDialect {
    /// Mailpit's `/api/v1/send`
    Mailpit,
    /// Mailjet's `/v3.1/send`
    Mailjet,
}

/// Credentials of a Mailjet account. The service sends them; the mock provider checks them.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailjetArgs {
    /// Mailjet API key
    ///
    /// Sent if MAIL_DIALECT is mailjet. The mock provider requires this key; without the setting it accepts any key
    #[arg(long, env, value_name = "KEY", value_parser = secret, requires = "mailjet_api_secret")]
    pub mailjet_api_key: Option<SecretString>,
    /// Mailjet secret key
    ///
    /// Required with MAILJET_API_KEY
    #[arg(long, env, value_name = "SECRET", value_parser = secret, requires = "mailjet_api_key")]
    pub mailjet_api_secret: Option<SecretString>,
}

/// Sender, timeouts and concurrency of the mail worker.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailArgs {
    /// Provider's send API: mailpit or mailjet
    ///
    /// mailjet requires MAILJET_API_KEY and MAILJET_API_SECRET
    #[arg(long, env, value_name = "KIND", default_value = "mailpit", value_parser = Choice::<MailDialect>::default())]
    pub mail_dialect: MailDialect,
    #[command(flatten)]
    pub mailjet: MailjetArgs,
    /// Sender address of the mails
    #[arg(long, env, value_name = "ADDRESS", default_value = "no-reply@sixty.example", value_parser = text)]
    pub mail_from: String,
    /// Sender name of the mails
    ///
    /// Default: SERVICE_NAME
    #[arg(long, env, value_name = "NAME", value_parser = text)]
    pub mail_from_name: Option<String>,
    /// Timeout of one request to the provider
    ///
    /// Choose more than a slow provider takes. CODE_TTL and MAIL_GIVE_UP are upper limits. Default: 20s, or a shorter CODE_TTL
    #[arg(long, env, value_name = "TIME", value_parser = time)]
    pub mail_timeout: Option<Duration>,
    /// Duration of a worker's lease on a mail
    ///
    /// A running worker renews its lease. Another worker takes over the mail of a dead one when the lease ends
    #[arg(long, env, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub mail_lease: Duration,
    /// Age at which the worker gives up a mail
    ///
    /// Until then it retries a mail that the provider has not accepted
    #[arg(long, env, value_name = "TIME", default_value = "15m", value_parser = time)]
    pub mail_give_up: Duration,
    /// Maximum number of concurrent sends
    #[arg(long, env, value_name = "N", default_value_t = 8, value_parser = number::<u16>(1..=1024))]
    pub mail_concurrency: u16,
}
