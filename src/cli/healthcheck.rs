//! `sixty healthcheck`: for a container's HEALTHCHECK, which has no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use reqwest::{Client, Url};

use super::{CliError, print};

#[derive(Args)]
pub struct HealthcheckArgs {
    /// Address of the API on this machine
    ///
    /// As `serve` has it: where that listens on every address, loopback is asked
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    api_addr: SocketAddr,
    /// Ask this URL instead of the API's /readyz
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

pub async fn run(args: HealthcheckArgs) -> Result<(), CliError> {
    let url = match args.url {
        Some(url) => url.to_string(),
        None => format!("http://{}/readyz", reachable(args.api_addr)),
    };
    let failed = |error: reqwest::Error| {
        // The outermost error names the request, the innermost what is wrong.
        let innermost = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
        CliError::Failed(format!("not ready: {}", innermost.unwrap_or(&error)))
    };
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(4)).build().map_err(failed)?;
    let response = client.get(url).send().await.map_err(failed)?;
    let status = response.status();
    let answer = response.text().await.map_err(failed)?;
    if status.is_success() {
        print(&format!("{}\n", answer.trim_end()))
    } else {
        Err(CliError::Failed(format!("not ready: {status}: {}", answer.trim_end())))
    }
}

/// Who listens on every address is reached by loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
