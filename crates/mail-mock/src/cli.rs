//! The mock's settings, for its own program and for programs that embed it.

use std::net::SocketAddr;

use clap::Args;
use secrecy::SecretString;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Credentials, Faults, MailMock, Options, serve};

/// Settings of a mock that runs alone.
#[derive(Args)]
pub struct MailMockArgs {
    /// Address of the mock: its API and its inbox
    ///
    /// The inbox is a web page
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8025")]
    pub mail_mock_addr: SocketAddr,
    #[command(flatten)]
    pub faults: FaultArgs,
    #[command(flatten)]
    pub mailjet: MailjetArgs,
}

/// Faults from the start; `PUT /api/faults` changes them while the mock runs.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mock mail provider")]
pub struct FaultArgs {
    /// Share of mails to refuse, from 0 to 1
    #[arg(long, env, value_name = "SHARE", default_value_t = 0.0)]
    mail_mock_fail_rate: f64,
    /// Status of the answer to a refused mail
    #[arg(long, env, value_name = "STATUS", default_value_t = 500)]
    mail_mock_status: u16,
    /// Milliseconds before every answer
    #[arg(long, env, value_name = "MS", default_value_t = 0)]
    mail_mock_latency_ms: u64,
    /// Share of answers to cut off, from 0 to 1
    ///
    /// The mail is taken then, but its sender cannot know
    #[arg(long, env, value_name = "SHARE", default_value_t = 0.0)]
    mail_mock_drop_rate: f64,
}

/// Credentials that `POST /v3.1/send` asks for. Without both, any that are not empty will do.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailjetArgs {
    /// Mailjet API key
    #[arg(long, env, value_name = "KEY", requires = "mailjet_api_secret")]
    mailjet_api_key: Option<String>,
    /// Mailjet secret key
    #[arg(long, env, value_name = "SECRET", requires = "mailjet_api_key")]
    mailjet_api_secret: Option<SecretString>,
}

/// Why the mock does not start. One line.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{name}: {reason}")]
    Setting { name: &'static str, reason: String },
    #[error("MAIL_MOCK_ADDR: cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
}

impl FaultArgs {
    /// # Errors
    /// A fault that is out of its limits, by the name of its setting.
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
    fn credentials(self) -> Option<Credentials> {
        self.mailjet_api_key.zip(self.mailjet_api_secret).map(|(key, secret)| Credentials { key, secret })
    }
}

/// Serves a mock until `stop`. Calls `listening` once, with the address.
pub async fn run(
    args: MailMockArgs,
    listening: impl FnOnce(SocketAddr),
    stop: CancellationToken,
) -> Result<(), StartError> {
    let options = Options { faults: args.faults.faults()?, mailjet: args.mailjet.credentials(), api_url: None };
    let addr = args.mail_mock_addr;
    let listener = TcpListener::bind(addr).await.map_err(|source| StartError::Listen { addr, source })?;
    listening(listener.local_addr().unwrap_or(addr));
    serve(listener, &MailMock::new(options, crate::random_seed()), stop).await;
    Ok(())
}
