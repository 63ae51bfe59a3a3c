//! `sixty mail-mock`: the mock mail provider, as a server of its own.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{CliError, on_signal, print};
use crate::config::{BadSetting, MailjetArgs};
use crate::entropy::Entropy;
use crate::http::server::{self, ServerLimits};
use crate::mail_mock::{Credentials, Faults, MailMock, Options};

#[derive(Args)]
pub struct MailMockArgs {
    /// Address of the mock: its API and its inbox
    ///
    /// The inbox is a web page
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8025")]
    mail_mock_addr: SocketAddr,
    #[command(flatten)]
    mock: MockArgs,
    #[command(flatten)]
    mailjet: MailjetArgs,
}

/// How the mock behaves; faults can be changed while it runs, by PUT /api/faults.
#[derive(Clone, Args)]
#[command(next_help_heading = "Mock mail provider")]
pub struct MockArgs {
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

impl MockArgs {
    /// `api_url` is where the API is, if that is known.
    pub fn mock(self, mailjet: MailjetArgs, api_url: Option<String>) -> Result<MailMock, CliError> {
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
            BadSetting { name, reason: error.rule.to_owned() }
        })?;
        let mailjet = mailjet.mailjet_api_key.zip(mailjet.mailjet_api_secret);
        let mailjet = mailjet.map(|(key, secret)| Credentials { key, secret });
        Ok(MailMock::new(Options { faults, mailjet, api_url }, u64::from_ne_bytes(Entropy::from_system().bytes())))
    }
}

pub async fn run(args: MailMockArgs) -> Result<(), CliError> {
    let mock = args.mock.mock(args.mailjet, None)?;
    let stop = on_signal()?;
    let addr = args.mail_mock_addr;
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|error| CliError::Failed(format!("MAIL_MOCK_ADDR: cannot listen on {addr}: {error}")))?;
    print(&format!("The mock mail provider listens on http://{}\n", listener.local_addr().unwrap_or(addr)))?;
    serve(listener, &mock, stop).await;
    Ok(())
}

/// Serves the mock until told to stop.
pub async fn serve(listener: TcpListener, mock: &MailMock, stop: CancellationToken) {
    let limits = ServerLimits { max_connections: 1024, stall_timeout: Duration::from_secs(10) };
    let grace = async {
        stop.cancelled().await;
        // An ordered latency may be long; nobody waits for a mock.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        () = server::serve(listener, mock.endpoint(), limits, stop.clone()) => {}
        () = grace => {}
    }
}
