//! The mock's settings and its start, for its own program and for `sixty mail-mock`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;
use listen_address::ListenAddress;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{ApiKeys, Faults, MailMock, MailjetCredentials, MockOptions, serve};

/// Settings of the mock as a program.
#[derive(Args)]
pub struct MailMockArgs {
    /// Address of the mock's API and inbox page
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8025")]
    pub mail_mock_addr: ListenAddress,
    #[command(flatten)]
    pub hosts: HostArgs,
    #[command(flatten)]
    pub faults: FaultArgs,
    #[command(flatten)]
    pub mailjet: MailjetArgs,
    #[command(flatten)]
    pub keys: KeyArgs,
}

/// Names under which clients may reach the mock.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mock mail provider")]
pub struct HostArgs {
    /// Host names of the mock besides localhost
    ///
    /// Separated by commas. The mock refuses requests for other names, so that no web page can reach it by DNS rebinding. It accepts all IP addresses
    #[arg(long, env, value_name = "HOSTS", default_value = "", hide_default_value = true)]
    mail_mock_hosts: String,
}

impl HostArgs {
    /// Returns the host names.
    pub fn hosts(&self) -> Vec<String> {
        self.mail_mock_hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect()
    }
}

/// Faults at the start. `PUT /api/faults` replaces them while the mock runs.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mock mail provider")]
pub struct FaultArgs {
    /// Share of mails to refuse, from 0 to 1
    #[arg(long, env, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    mail_mock_fail_rate: f64,
    /// HTTP status of a refused mail
    #[arg(long, env, value_name = "STATUS", default_value_t = 500, value_parser = number::<u16>)]
    mail_mock_status: u16,
    /// Delay of each send request in milliseconds
    #[arg(long, env, value_name = "MS", default_value_t = 0, value_parser = number::<u64>)]
    mail_mock_latency_ms: u64,
    /// Share of responses to drop, from 0 to 1
    ///
    /// The mock stores the mail and closes the connection without a response
    #[arg(long, env, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    mail_mock_drop_rate: f64,
}

/// Credentials that `POST /v3.1/send` requires. Without them it accepts every key and secret that are not empty.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailjetArgs {
    /// Mailjet API key
    #[arg(long, env, value_name = "KEY", requires = "mailjet_api_secret", value_parser = secret)]
    mailjet_api_key: Option<SecretString>,
    /// Mailjet secret key
    #[arg(long, env, value_name = "SECRET", requires = "mailjet_api_key", value_parser = secret)]
    mailjet_api_secret: Option<SecretString>,
}

/// Keys that the other providers' APIs require. Without a key its API accepts every key that is not empty.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct KeyArgs {
    /// Postmark server API token
    #[arg(long, env, value_name = "TOKEN", value_parser = secret)]
    postmark_server_token: Option<SecretString>,
    /// Brevo API key
    #[arg(long, env, value_name = "KEY", value_parser = secret)]
    brevo_api_key: Option<SecretString>,
    /// SendGrid API key
    #[arg(long, env, value_name = "KEY", value_parser = secret)]
    sendgrid_api_key: Option<SecretString>,
    /// Resend API key
    #[arg(long, env, value_name = "KEY", value_parser = secret)]
    resend_api_key: Option<SecretString>,
}

/// The mock could not be started. The message is one line.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{name}: {reason}")]
    Setting { name: &'static str, reason: String },
    #[error("MAIL_MOCK_ADDR: cannot listen on {addr}: {source}")]
    Listen { addr: ListenAddress, source: std::io::Error },
}

impl FaultArgs {
    /// Returns the faults.
    ///
    /// # Errors
    /// The first setting that is out of its limits.
    pub fn faults(&self) -> Result<Faults, StartError> {
        let faults = Faults {
            fail_rate: self.mail_mock_fail_rate,
            status: self.mail_mock_status,
            latency_ms: self.mail_mock_latency_ms,
            drop_rate: self.mail_mock_drop_rate,
        };
        faults.check().map_err(|error| {
            let name = match error.field {
                "fail_rate" => "MAIL_MOCK_FAIL_RATE",
                "drop_rate" => "MAIL_MOCK_DROP_RATE",
                "status" => "MAIL_MOCK_STATUS",
                _ => "MAIL_MOCK_LATENCY_MS",
            };
            StartError::Setting { name, reason: error.rule.to_owned() }
        })?;
        Ok(faults)
    }
}

impl MailjetArgs {
    fn credentials(self) -> Option<MailjetCredentials> {
        let (key, secret) = self.mailjet_api_key.zip(self.mailjet_api_secret)?;
        Some(MailjetCredentials { key: key.expose_secret().to_owned(), secret })
    }
}

// `FaultArgs::faults` checks the ranges.

fn share(text: &str) -> Result<f64, &'static str> {
    text.trim().parse().map_err(|_| "must be a number between 0 and 1, such as 0.25")
}

fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.trim().parse().map_err(|_| "must be a whole number, such as 503")
}

/// Parses a secret, without the line break that a file or a shell adds at its end.
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.trim().into())
}

/// Serves a mock until `stop` is cancelled. Calls `on_listening` once with the bound address.
pub async fn run(
    args: MailMockArgs,
    on_listening: impl FnOnce(SocketAddr),
    stop: CancellationToken,
) -> Result<(), StartError> {
    let options = MockOptions {
        faults: args.faults.faults()?,
        mailjet: args.mailjet.credentials(),
        keys: ApiKeys {
            postmark: args.keys.postmark_server_token,
            brevo: args.keys.brevo_api_key,
            sendgrid: args.keys.sendgrid_api_key,
            resend: args.keys.resend_api_key,
        },
        api_url: None,
        hosts: args.hosts.hosts(),
    };
    let addr = args.mail_mock_addr;
    let bound = addr.bind().await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (local, listener) = bound.map_err(|source| StartError::Listen { addr, source })?;
    on_listening(local);
    serve(listener, &MailMock::new(options, crate::random_seed()), stop).await;
    Ok(())
}
