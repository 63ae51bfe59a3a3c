//! The mock's HTTP server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use listen_address::Listener;
use poem::http::StatusCode;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint as _, Request};
use tokio_util::sync::CancellationToken;

use crate::MailMock;

/// The longest wait for open requests during the shutdown. A latency fault may take much longer.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// The pause after a failed `accept`. Without it the loop would spin while no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 until `stop` is cancelled, then waits at most one second for open requests.
///
/// Uses hyper directly, because the fault `drop_rate` closes a connection by an error in the response body.
pub async fn serve(listener: impl Into<Listener>, mock: &MailMock, stop: CancellationToken) {
    let listener = listener.into();
    let endpoint = Arc::new(mock.endpoint());
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let local = LocalAddr(Addr::SocketAddr(stream.local_addr().unwrap_or(peer)));
        let remote = RemoteAddr(Addr::SocketAddr(peer));
        let endpoint = Arc::clone(&endpoint);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let request = Request::from((request, local.clone(), remote.clone(), Scheme::HTTP));
            let endpoint = Arc::clone(&endpoint);
            // Run the request in its own task: a provider accepts a mail even if the client disconnects.
            let response = tokio::spawn(async move { endpoint.get_response(request).await });
            async move {
                let response = response.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into());
                Ok::<_, Infallible>(hyper::Response::from(response))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // Ignore errors: they are dropped responses and disconnected clients.
        tokio::spawn(connections.watch(connection));
    }
    drop(listener);
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, connections.shutdown()).await;
}
