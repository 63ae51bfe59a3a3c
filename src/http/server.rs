//! The accept loop, over hyper. The framework's own loop never closes a connection that stalls while sending its header.

mod connections;
mod header_timeout;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use listen_address::Listener;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request, Response};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, warn};

use self::connections::{Admission, Connections, Slot};
use self::header_timeout::HeaderTimer;
use super::framing::TwoLengths;
use super::request_heads::HeadReader;
use super::trusted_proxies::TrustedProxies;
use crate::domain::network::Network;

/// A port that a server serves.
#[derive(Debug, Clone)]
pub struct Port {
    /// The name of the port in metrics.
    pub name: &'static str,
    pub limits: ServerLimits,
    /// The proxies whose connections belong to many clients.
    pub proxies: TrustedProxies,
}

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// The maximum number of open connections. For a further one, the longest idle connection closes. If none is idle, the
    /// further ones wait in the kernel's accept queue. One client network gets three quarters of them.
    pub max_connections: usize,
    /// The timeout for receiving a complete request header, counted from its first octet. Also the timeout for a client to
    /// read more of a response.
    pub stall_timeout: Duration,
    /// The timeout for the first octet of a request, counted from when the connection opens or becomes idle.
    pub idle_timeout: Duration,
}

/// The approximate maximum size of a request line with its headers, in bytes. hyper answers longer ones with a bare 414
/// or 431.
const MAX_HEADER: usize = 64 * 1024;

/// The time for a last request over each connection when the server stops: the request may be on its way.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// Serves HTTP/1.1 until `stop` is cancelled, then waits until all open requests are finished. There is no time limit for
/// that wait; the caller can drop the future.
///
/// Each request runs in its own task, so it finishes even if the client disconnects. From the moment that `draining` is
/// cancelled, each response ends its connection, so that a reverse proxy does not send another request over it.
pub async fn serve<E>(
    listener: impl Into<Listener>,
    endpoint: E,
    port: Port,
    draining: CancellationToken,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let (listener, endpoint) = (listener.into(), Arc::new(endpoint));
    let connections = Connections::new(port.name, port.limits.max_connections);
    let (tasks, requests) = (TaskTracker::new(), TaskTracker::new());
    let mut http = http1::Builder::new();
    // `HeaderTimer` ignores the duration here, but hyper has no timer without one.
    http.header_read_timeout(port.limits.stall_timeout).max_buf_size(MAX_HEADER);

    let serve_connection = |admission, stream, peer| {
        let (http, limits, stop) = (http.clone(), port.limits, stop.clone());
        let request = (Arc::clone(&endpoint), requests.clone(), draining.clone());
        tasks.spawn(async move {
            let slot = match admission {
                Admission::Open(slot) => Arc::new(slot),
                Admission::Refused => return,
                Admission::Queued(queued) => tokio::select! {
                    slot = queued.admitted() => Arc::new(slot),
                    () = stop.cancelled() => return,
                },
            };
            let connection = connection(&http, stream, peer, limits, Arc::clone(&slot), request);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // An error here comes from the client: it disconnected, stalled, or sent invalid HTTP.
                _ = connection.as_mut() => return,
                () = slot.evicted() => return,
                () = stop.cancelled() => {}
            }
            if tokio::time::timeout(LAST_REQUEST, connection.as_mut()).await.is_ok() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        });
    };
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        // Waits until there is room for the connection. The others wait in the kernel's queue.
        let admission = tokio::select! {
            () = stop.cancelled() => break,
            admission = connections.admit(network(peer, &port.proxies)) => admission,
        };
        serve_connection(admission, stream, peer);
    }
    for (stream, peer) in listener.close() {
        if let Some(admission) = connections.admit(network(peer, &port.proxies)).now_or_never() {
            serve_connection(admission, stream, peer);
        }
    }
    tasks.close();
    tasks.wait().await;
    requests.close();
    requests.wait().await;
}

/// The client network of a connection; `None` for a proxy, whose connections belong to many clients.
fn network(peer: SocketAddr, proxies: &TrustedProxies) -> Option<Network> {
    let address = peer.ip().to_canonical();
    (!proxies.trusts(address)).then(|| Network::of(address).fairness_key())
}

async fn accept(listener: &Listener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Usually the process has no free file descriptor. Without a pause this loop would use a whole core.
            Err(error) => {
                warn!(%error, "cannot accept a connection; trying again in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one connection. The returned future ends when the connection closes.
fn connection<E>(
    http: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    limits: ServerLimits,
    slot: Arc<Slot>,
    (endpoint, requests, draining): (Arc<E>, TaskTracker, CancellationToken),
) -> impl GracefulConnection<Error = hyper::Error> + use<E>
where
    E: Endpoint<Output = Response> + 'static,
{
    // Each response is one small write. Nagle's algorithm would only delay it.
    let _ = stream.set_nodelay(true);
    let local = LocalAddr(stream.local_addr().map(Addr::SocketAddr).unwrap_or_else(|_| Addr::SocketAddr(peer)));
    let remote = RemoteAddr(Addr::SocketAddr(peer));
    // hyper has no write timeout. A client that never reads would keep its connection and its response forever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stall_timeout));
    let timer = HeaderTimer::new(limits, Arc::clone(&slot));
    // hyper may read a little more than its maximum.
    let stream = HeadReader::new(Box::pin(stream), 2 * MAX_HEADER, Arc::clone(&slot.head_begun));
    let heads = stream.heads();
    let service = service_fn(move |request| {
        slot.serves();
        let mut request = Request::from((request, local.clone(), remote.clone(), Scheme::HTTP));
        if heads.next_has_two_lengths() {
            request.set_data(TwoLengths);
        }
        let endpoint = Arc::clone(&endpoint);
        let task = requests.spawn(async move { endpoint.get_response(request).await }.in_current_span());
        let draining = draining.clone();
        async move {
            let mut response = task.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into());
            if draining.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    http.clone().timer(timer).serve_connection(TokioIo::new(stream), service)
}
