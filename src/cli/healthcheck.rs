//! `sixty healthcheck`: a liveness probe for containers without curl.

use std::time::Duration;

use clap::Args;
use listen_address::ListenAddress;
use reqwest::Client;
use url::Url;

use super::error::CliError;
use super::process::print;
use crate::config::values::http_url;

#[derive(Args)]
pub struct HealthcheckArgs {
    /// Address of the API on this machine
    ///
    /// The same as for `serve`. If it is all interfaces, such as :8000, the request goes to the loopback address
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    api_addr: ListenAddress,
    /// Request this URL instead of the API's /livez
    #[arg(long, value_name = "URL", value_parser = http_url)]
    url: Option<Url>,
}

pub async fn run(args: HealthcheckArgs) -> Result<(), CliError> {
    let urls = match args.url {
        Some(url) => vec![url.to_string()],
        None => args.api_addr.local_authorities().iter().map(|host| format!("http://{host}/livez")).collect(),
    };
    let failed = |error: reqwest::Error| {
        // The outermost error describes the request, the innermost the cause.
        let cause = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
        CliError::Failed(format!("not healthy: {}", cause.unwrap_or(&error)))
    };
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(4)).build().map_err(failed)?;
    let mut answered = None;
    for url in urls {
        let answer = client.get(url).send().await;
        let done = answer.is_ok();
        answered = Some(answer);
        if done {
            break;
        }
    }
    let response = answered.expect("every address has a URL").map_err(failed)?;
    let status = response.status();
    let body = response.text().await.map_err(failed)?;
    if status.is_success() {
        print(&format!("{}\n", body.trim_end()))
    } else {
        Err(CliError::Failed(format!("not healthy: {status}: {}", body.trim_end())))
    }
}
