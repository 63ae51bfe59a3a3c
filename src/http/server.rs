//! The accept loop. The framework's own never closes a connection that stalls in its header, so hyper is driven here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::StatusCode;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, warn};

#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections open at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// For the whole header of a request to arrive, from the moment the connection is open or idle; and for a client to
    /// take some of an answer that waits for it.
    pub stall_timeout: Duration,
}

/// Bounds a request's line and header: about so many octets. Longer ones get a bare 414 or 431 from hyper.
const MAX_HEADER: usize = 64 * 1024;

/// Serves HTTP/1.1 until told to stop, then lets open requests finish; however long that takes, the caller decides when
/// to wait no more.
///
/// A request runs in a task of its own: what it has begun it finishes, even if the client goes away.
pub async fn serve<E>(listener: TcpListener, endpoint: E, limits: ServerLimits, stop: CancellationToken)
where
    E: Endpoint<Output = Response> + 'static,
{
    let endpoint = Arc::new(endpoint);
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let (graceful, requests) = (GracefulShutdown::new(), TaskTracker::new());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.stall_timeout).max_buf_size(MAX_HEADER);

    loop {
        let (slot, stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let connection = connection(&http, stream, peer, limits, Arc::clone(&endpoint), requests.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // An error here is the client's: it went away, stalled, or did not speak HTTP.
            let _ = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    requests.close();
    requests.wait().await;
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (slot, stream, peer),
            // Out of file descriptors, most likely: without a pause this would spin until one is free.
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn connection<E>(
    http: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    limits: ServerLimits,
    endpoint: Arc<E>,
    requests: TaskTracker,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + use<E>
where
    E: Endpoint<Output = Response> + 'static,
{
    // Answers are small and written at once; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let local = LocalAddr(stream.local_addr().map(Addr::SocketAddr).unwrap_or_else(|_| Addr::SocketAddr(peer)));
    let remote = RemoteAddr(Addr::SocketAddr(peer));
    let service = service_fn(move |request| {
        let request = Request::from((request, local.clone(), remote.clone(), Scheme::HTTP));
        let endpoint = Arc::clone(&endpoint);
        let task = requests.spawn(async move { endpoint.get_response(request).await }.in_current_span());
        async move {
            let response = task.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into());
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    // hyper has no deadline for writing: a client that never reads would keep its connection, and its answer, for ever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stall_timeout));
    http.serve_connection(TokioIo::new(Box::pin(stream)), service)
}
