//! Listening sockets.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};

use super::{Host, ListenAddress};

/// The length of the queue of connections that the kernel has accepted and the server has not.
const BACKLOG: i32 = 1024;

/// The sockets of one address: one, or one for each address of a host name.
#[derive(Debug)]
pub struct Listener {
    first: TcpListener,
    others: Vec<TcpListener>,
}

impl From<TcpListener> for Listener {
    fn from(first: TcpListener) -> Self {
        Self { first, others: vec![] }
    }
}

impl Listener {
    /// Returns the address of the first socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.first.local_addr()
    }

    /// Waits for the next connection on any of the sockets.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            let sockets = std::iter::once(&self.first).chain(&self.others);
            let mut accepted = sockets.map(|socket| socket.poll_accept(context));
            accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }

    /// Closes the sockets. Returns the connections that are still in their queues: the kernel would reset them, and their
    /// requests would be lost.
    pub fn close(self) -> Vec<(TcpStream, SocketAddr)> {
        std::iter::once(self.first).chain(self.others).flat_map(|socket| drain(socket).unwrap_or_default()).collect()
    }
}

/// Empties the queue of a socket. Not by `TcpListener::accept`, which knows only of connections that the runtime was told of.
fn drain(socket: TcpListener) -> io::Result<Vec<(TcpStream, SocketAddr)>> {
    // The kernel queues no more connections. Their clients try again, and then find the socket closed.
    SockRef::from(&socket).listen(0)?;
    let socket = socket.into_std()?;
    let mut queued = vec![];
    while let Ok((stream, peer)) = socket.accept() {
        stream.set_nonblocking(true)?;
        queued.push((TcpStream::from_std(stream)?, peer));
    }
    Ok(queued)
}

impl ListenAddress {
    /// Opens the sockets. For all interfaces it opens one socket for IPv6 and IPv4, or for IPv4 alone if this machine has no
    /// IPv6.
    pub async fn bind(&self) -> io::Result<Listener> {
        match &self.host {
            Host::Ip(ip) => Ok(TcpListener::bind((*ip, self.port)).await?.into()),
            Host::All => match dual_stack(self.port) {
                Ok(socket) => Ok(socket.into()),
                Err(error) if is_about_the_port(&error) => Err(error),
                Err(_) => Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)).await?.into()),
            },
            Host::Name(name) => {
                let mut addresses: Vec<IpAddr> =
                    lookup_host((name.as_str(), self.port)).await?.map(|address| address.ip()).collect();
                // Clients that know one address of the machine mostly know the one of IPv4.
                addresses.sort();
                addresses.dedup();
                bind_each(addresses, self.port).await
            }
        }
    }
}

/// Opens a socket for each address. An address that this machine does not have, such as one of IPv6, is skipped if another
/// remains.
async fn bind_each(addresses: Vec<IpAddr>, wanted: u16) -> io::Result<Listener> {
    let (mut sockets, mut port, mut failure) = (vec![], wanted, None);
    for address in addresses {
        match TcpListener::bind((address, port)).await {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            // The free port of the first socket need not be free for the next address.
            Err(error) if is_about_the_port(&error) && (wanted != 0 || sockets.is_empty()) => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    let mut sockets = sockets.into_iter();
    match sockets.next() {
        Some(first) => Ok(Listener { first, others: sockets.collect() }),
        None => Err(failure.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into())),
    }
}

fn is_about_the_port(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

/// Opens a socket for IPv6 and IPv4, whatever the system's default is.
fn dual_stack(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    // A restarted server may take the port although connections of the previous one are still closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    async fn is_reached(listener: &Listener, ip: IpAddr) -> bool {
        let port = listener.local_addr().unwrap().port();
        let connected = TcpStream::connect((ip, port)).await.is_ok();
        connected && listener.accept().await.is_ok()
    }

    #[tokio::test]
    async fn all_interfaces_are_reached_over_both_versions_of_ip() {
        let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok();
        for text in [":0", "[::]:0", "*:0", "localhost:0"] {
            let listener = text.parse::<ListenAddress>().unwrap().bind().await.unwrap();
            assert!(is_reached(&listener, Ipv4Addr::LOCALHOST.into()).await, "{text}");
            if has_ipv6 && text != "localhost:0" {
                assert!(is_reached(&listener, Ipv6Addr::LOCALHOST.into()).await, "{text}");
            }
        }
    }

    #[tokio::test]
    async fn connections_in_the_queue_survive_the_end_of_the_listener() {
        let listener = Listener::from(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = listener.local_addr().unwrap();
        // The runtime learns of these connections only when it waits for something.
        let mut clients: Vec<_> = (0..8).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let queued = listener.close();
        assert_eq!(queued.len(), clients.len());
        for (stream, _) in queued {
            stream.into_std().unwrap().write_all(b"served").unwrap();
        }
        for client in &mut clients {
            let mut served = String::new();
            client.read_to_string(&mut served).unwrap();
            assert_eq!(served, "served");
        }
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_for_all_interfaces_too() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        for host in ["", "[::]", "127.0.0.1", "localhost"] {
            let address: ListenAddress = format!("{host}:{port}").parse().unwrap();
            assert_eq!(address.bind().await.unwrap_err().kind(), ErrorKind::AddrInUse, "{address}");
        }
    }
}
