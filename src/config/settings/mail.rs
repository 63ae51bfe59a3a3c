//! Settings of the mail provider and the mail worker.

use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use url::Url;

use crate::config::values::{Choice, http_url, number, secret, text, time};

/// Where the mail providers are.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct ProviderArgs {
    /// Base URL of the mail provider's API
    ///
    /// Such as https://api.mailjet.com. docs/providers.md has the URL of each provider
    #[arg(long, env, value_name = "URL", value_parser = http_url)]
    pub mail_url: Url,
    /// Base URL of a second provider
    ///
    /// Its account gets the mails while the first provider fails, and must be able to send from MAIL_FROM. Without it, mails wait for the first provider
    #[arg(long, env, value_name = "URL", value_parser = http_url, requires = "mail_fallback_dialect")]
    pub mail_fallback_url: Option<Url>,
    /// Send API of the second provider
    ///
    /// One of the values of MAIL_DIALECT, and another one than MAIL_DIALECT, unless both are mailpit. Required with MAIL_FALLBACK_URL
    #[arg(long, env, value_name = "KIND", value_parser = Choice::<MailDialect>::default(), requires = "mail_fallback_url")]
    pub mail_fallback_dialect: Option<MailDialect>,
}

/// The send API of the mail provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MailDialect {
    /// Mailpit's `/api/v1/send`
    Mailpit,
    /// Mailjet's `/v3.1/send`
    Mailjet,
    /// Postmark's `/email`
    Postmark,
    /// Brevo's `/v3/smtp/email`
    Brevo,
    /// SendGrid's `/v3/mail/send`
    Sendgrid,
    /// Resend's `/emails`
    Resend,
}

/// Credentials of a Mailjet account. The service sends them; the mock provider checks them.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailjetArgs {
    /// Mailjet API key
    ///
    /// Sent if MAIL_DIALECT or MAIL_FALLBACK_DIALECT is mailjet. The mock provider requires this key; without the setting it accepts any key
    #[arg(long, env, value_name = "KEY", value_parser = secret, requires = "mailjet_api_secret")]
    pub mailjet_api_key: Option<SecretString>,
    /// Mailjet secret key
    ///
    /// Required with MAILJET_API_KEY
    #[arg(long, env, value_name = "SECRET", value_parser = secret, requires = "mailjet_api_key")]
    pub mailjet_api_secret: Option<SecretString>,
}

/// Credentials of the accounts at all providers. The service sends them; the mock provider checks them.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct CredentialArgs {
    #[command(flatten)]
    pub mailjet: MailjetArgs,
    /// Postmark server API token
    ///
    /// Sent if MAIL_DIALECT or MAIL_FALLBACK_DIALECT is postmark. The mock provider requires this token; without the setting it accepts any
    #[arg(long, env, value_name = "TOKEN", value_parser = secret)]
    pub postmark_server_token: Option<SecretString>,
    /// Brevo API key
    ///
    /// For the dialect brevo, like POSTMARK_SERVER_TOKEN
    #[arg(long, env, value_name = "KEY", value_parser = secret)]
    pub brevo_api_key: Option<SecretString>,
    /// SendGrid API key
    ///
    /// For the dialect sendgrid, like POSTMARK_SERVER_TOKEN
    #[arg(long, env, value_name = "KEY", value_parser = secret)]
    pub sendgrid_api_key: Option<SecretString>,
    /// Resend API key
    ///
    /// For the dialect resend, like POSTMARK_SERVER_TOKEN
    #[arg(long, env, value_name = "KEY", value_parser = secret)]
    pub resend_api_key: Option<SecretString>,
}

/// Sender, timeouts and concurrency of the mail worker.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailArgs {
    /// Send API of the provider
    ///
    /// mailpit, mailjet, postmark, brevo, sendgrid or resend. Each but mailpit requires its credentials below
    #[arg(long, env, value_name = "KIND", default_value = "mailpit", value_parser = Choice::<MailDialect>::default())]
    pub mail_dialect: MailDialect,
    #[command(flatten)]
    pub credentials: CredentialArgs,
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
    #[arg(long, env, value_name = "N", default_value_t = 32, value_parser = number::<u16>(1..=1024))]
    pub mail_concurrency: u16,
}
