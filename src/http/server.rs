//! The accept loop, over hyper. The framework's own loop never closes a connection that stalls while sending its header.

mod header_timeout;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, warn};

use self::header_timeout::{HeaderStream, HeaderTimer};
use super::framing::TwoLengths;
use super::request_heads::HeadReader;

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// The maximum number of open connections. Further connections wait in the kernel's accept queue.
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

/// Serves HTTP/1.1 until `stop` is cancelled, then waits until all open requests are finished. There is no time limit for
/// that wait; the caller can drop the future.
///
/// Each request runs in its own task, so it finishes even if the client disconnects. From the moment that `draining` is
/// cancelled, each response ends its connection, so that a reverse proxy does not send another request over it.
pub async fn serve<E>(
    listener: TcpListener,
    endpoint: E,
    limits: ServerLimits,
    draining: CancellationToken,
    stop: CancellationToken,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let endpoint = Arc::new(endpoint);
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let (graceful, requests) = (GracefulShutdown::new(), TaskTracker::new());
    let mut http = http1::Builder::new();
    // `HeaderTimer` ignores the duration here, but hyper has no timer without one.
    http.header_read_timeout(limits.stall_timeout).max_buf_size(MAX_HEADER);

    loop {
        let (slot, stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let connection =
            connection(&http, stream, peer, limits, Arc::clone(&endpoint), requests.clone(), draining.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // An error here comes from the client: it disconnected, stalled, or sent invalid HTTP.
            let _ = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    requests.close();
    requests.wait().await;
}

/// Waits for a free slot, then accepts the next connection.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (slot, stream, peer),
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
    endpoint: Arc<E>,
    requests: TaskTracker,
    draining: CancellationToken,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + use<E>
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
    let timer = HeaderTimer::new(limits);
    let stream = HeaderStream { stream: Box::pin(stream), octets_read: Arc::clone(&timer.octets_read) };
    // hyper may read a little more than its maximum.
    let stream = HeadReader::new(stream, 2 * MAX_HEADER);
    let heads = stream.heads();
    let service = service_fn(move |request| {
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
