//! `sixty healthcheck`: a liveness probe for containers without curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use reqwest::Client;
use url::Url;

use super::error::CliError;
use super::process::print;

#[derive(Args)]
pub struct HealthcheckArgs {
    /// Address of the API on this machine
    ///
    /// The same as for `serve`. If it is unspecified, such as 0.0.0.0, the request goes to the loopback address
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    api_addr: SocketAddr,
    /// Request this URL instead of the API's /livez
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

pub async fn run(args: HealthcheckArgs) -> Result<(), CliError> {
    let url = match args.url {
        Some(url) => url.to_string(),
        None => format!("http://{}/livez", reachable(args.api_addr)),
    };
    let failed = |error: reqwest::Error| {
        // The outermost error describes the request, the innermost the cause.
        let cause = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source()).last();
        CliError::Failed(format!("not healthy: {}", cause.unwrap_or(&error)))
    };
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(4)).build().map_err(failed)?;
    let response = client.get(url).send().await.map_err(failed)?;
    let status = response.status();
    let body = response.text().await.map_err(failed)?;
    if status.is_success() {
        print(&format!("{}\n", body.trim_end()))
    } else {
        Err(CliError::Failed(format!("not healthy: {status}: {}", body.trim_end())))
    }
}

/// Replaces an unspecified address, such as 0.0.0.0, by the loopback address.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
