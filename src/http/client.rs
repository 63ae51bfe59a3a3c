//! The client of a request: its network, for rate limits.
//!
//! The network comes from the peer address of the connection. If the peer is a trusted reverse proxy, it comes from
//! `X-Forwarded-For` or `Forwarded` (RFC 7239).

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::{Addr, Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response};

use super::trusted_proxies::TrustedProxies;
use crate::domain::network::Network;
use crate::store::redis::limits::QuotaState;

/// The client of a request, and the quota state that the response reports to it.
#[derive(Debug, Clone)]
pub struct Client {
    pub network: Network,
    quota_state: Arc<Mutex<Option<QuotaState>>>,
}

impl Client {
    /// Sets the quota state for the `RateLimit` headers of the response.
    pub fn report_quota(&self, state: QuotaState) {
        *self.quota_state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    fn add_quota_headers(&self, headers: &mut HeaderMap) {
        let Some(state) = *self.quota_state.lock().unwrap_or_else(PoisonError::into_inner) else {
            return;
        };
        for (name, value) in [(RATELIMIT_POLICY, state.policy()), (RATELIMIT, state.to_string())] {
            headers.insert(name, HeaderValue::try_from(value).expect("quota names and numbers are visible ASCII"));
        }
    }
}

/// The header of draft-ietf-httpapi-ratelimit-headers with the remaining quota.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The header of draft-ietf-httpapi-ratelimit-headers with the quota and its window.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl<'a> FromRequest<'a> for Client {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data::<Self>().expect("`identify` adds the client to every request").clone())
    }
}

/// Middleware: adds the [`Client`] to the request, and the `RateLimit` headers to the response.
pub async fn identify<E: Endpoint<Output: IntoResponse>>(
    endpoint: Arc<E>,
    mut request: Request,
    proxies: TrustedProxies,
) -> poem::Result<Response> {
    let peer = match &request.remote_addr().0 {
        Addr::SocketAddr(peer) => peer.ip(),
        // The service listens on IP sockets only.
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let client = Client { network: proxies.client_network(peer, request.headers()), quota_state: Arc::default() };
    request.set_data(client.clone());
    let mut response = match endpoint.call(request).await {
        Err(error) if error.is_from_response() => error.into_response(),
        answered => answered?.into_response(),
    };
    client.add_quota_headers(response.headers_mut());
    Ok(response)
}
