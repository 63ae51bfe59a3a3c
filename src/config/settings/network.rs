//! Settings of the HTTP servers and their clients.

use clap::Args;
use listen_address::ListenAddress;
use url::Url;

use crate::config::values::{boolean, number, public_url};
use crate::http::cors::CorsOrigins;
use crate::http::trusted_proxies::TrustedProxies;

/// Addresses on which the service listens, and the URL under which clients reach it.
#[derive(Clone, Args)]
#[command(next_help_heading = "Listening")]
pub struct ListenArgs {
    /// Address of the API
    ///
    /// Such as 127.0.0.1:8000 or localhost:8000. With :8000, all interfaces over IPv6 and IPv4
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub api_addr: ListenAddress,
    /// Address of /metrics, for operators only
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub ops_addr: ListenAddress,
    /// Base URL under which clients reach the API
    ///
    /// For the links in mails and for the OpenAPI document. Without it, http:// and API_ADDR
    #[arg(long, env, value_name = "URL", value_parser = public_url)]
    pub public_url: Option<Url>,
}

/// Trusted proxies, CORS, and the rate limits of a client network.
#[derive(Clone, Args)]
#[command(next_help_heading = "Clients")]
pub struct ClientArgs {
    /// Apply rate limits to client networks
    ///
    /// A client network is an IPv4 address or an IPv6 /64. Redis keeps the counters. Without the limits, every client may
    /// send any number of requests
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, value_parser = boolean)]
    pub client_limits: bool,
    /// Trusted reverse proxies
    ///
    /// Networks such as 10.0.0.0/8,192.0.2.1. The service takes the client's address from their X-Forwarded-For or
    /// Forwarded header. Without this setting, all clients of a proxy count as one network
    #[arg(long, env, value_name = "NETWORKS", default_value = "")]
    pub trusted_proxies: TrustedProxies,
    /// Origins that CORS allows to use the API
    ///
    /// Such as https://app.example.com, https://*.example.com or capacitor://localhost, separated by commas
    #[arg(long, env, value_name = "ORIGINS", default_value = "")]
    pub cors_origins: CorsOrigins,
    /// Code requests per hour and client network
    ///
    /// Registrations, resends and password changes count. A network may use the quota at once; it refills evenly over the
    /// hour
    #[arg(long, env, value_name = "N", default_value_t = 100, value_parser = number::<u32>(1..=10_000))]
    pub client_codes_per_hour: u32,
    /// Wrong codes per hour and client network
    ///
    /// A network may use the quota at once; it refills evenly over the hour
    #[arg(long, env, value_name = "N", default_value_t = 30, value_parser = number::<u32>(1..=10_000))]
    pub client_misses_per_hour: u32,
    /// Logins of pending users, per hour
    ///
    /// Counted for each client network. Each pending user has ten more of its own. Logins of active users are not counted
    #[arg(long, env, value_name = "N", default_value_t = 300, value_parser = number::<u32>(1..=10_000))]
    pub client_pending_per_hour: u32,
    /// Wrong codes per minute that mean a flood
    ///
    /// Counted over all clients. During a flood the service logs a warning, and each wrong code costs its network more of
    /// CLIENT_MISSES_PER_HOUR
    #[arg(long, env, value_name = "N", default_value_t = 100, value_parser = number::<u32>(1..=10_000))]
    pub flood_misses_per_minute: u32,
}
