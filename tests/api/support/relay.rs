//! A relay before a store, which can break its connections as a network or a failover does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub struct Relay {
    address: SocketAddr,
    route: Arc<Mutex<Route>>,
}

/// Where new connections lead, and the tokens that break them later.
#[derive(Clone)]
struct Route {
    server: SocketAddr,
    silenced: CancellationToken,
    cut: CancellationToken,
}

impl Route {
    fn to(server: SocketAddr) -> Self {
        Self { server, silenced: CancellationToken::new(), cut: CancellationToken::new() }
    }
}

impl Relay {
    /// Starts a relay before the server of a URL.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let route = Arc::new(Mutex::new(Route::to(address_of(url))));
        let current = Arc::clone(&route);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let route = current.lock().unwrap().clone();
                tokio::spawn(forward(client, route));
            }
        });
        Self { address, route }
    }

    /// Returns the URL of a store with the address of this relay.
    pub fn redirect(&self, url: &str) -> String {
        url.replace(&address_of(url).to_string(), &self.address.to_string())
    }

    /// Drops all packets of the open connections: neither end learns of it. New connections work.
    pub fn silence(&self) {
        self.replace_route(None).silenced.cancel();
    }

    /// Closes the open connections. New connections work.
    pub fn cut(&self) {
        self.replace_route(None).cut.cancel();
    }

    /// Leads new connections to another server. The open ones stay where they are.
    pub fn lead_to(&self, url: &str) {
        self.replace_route(Some(address_of(url)));
    }

    fn replace_route(&self, server: Option<SocketAddr>) -> Route {
        let mut route = self.route.lock().unwrap();
        let server = server.unwrap_or(route.server);
        std::mem::replace(&mut route, Route::to(server))
    }
}

async fn forward(mut client: TcpStream, route: Route) {
    let Ok(mut server) = TcpStream::connect(route.server).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = route.cut.cancelled() => {}
        // Keeps both connections open, and reads nothing.
        () = route.silenced.cancelled() => std::future::pending().await,
    }
}

fn address_of(url: &str) -> SocketAddr {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split('/').next().unwrap().rsplit('@').next().unwrap().parse().unwrap()
}
