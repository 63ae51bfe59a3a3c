use futures_util::FutureExt as _;

use super::*;

fn network(last: u8) -> Option<Network> {
    Some(Network::of(std::net::Ipv4Addr::new(192, 0, 2, last).into()))
}

/// Returns a port with a maximum of connections, each of which may close at once.
fn connections(max: usize) -> Connections {
    let shared = Arc::into_inner(Connections::new("api", max).0).unwrap();
    Connections(Arc::new(Shared { recent: Duration::ZERO, ..shared }))
}

/// Admits a connection that must not wait.
fn admit(connections: &Connections, network: Option<Network>) -> Slot {
    match connections.admit(network).now_or_never() {
        Some(Admission::Open(slot)) => slot,
        _ => panic!("there is no room"),
    }
}

fn is_open(slot: &Slot) -> bool {
    slot.evicted().now_or_never().is_none()
}

#[test]
fn the_connection_that_waits_longest_makes_room() {
    let connections = connections(3);
    let [a, b, c] = [1, 2, 3].map(|n| admit(&connections, network(n)));
    a.serves();
    b.waits();
    let d = admit(&connections, network(4));
    assert_eq!([&a, &b, &c, &d].map(is_open), [true, true, false, true]);
    // The header of a request begins.
    b.waits();
    let e = admit(&connections, network(5));
    assert_eq!([&a, &b, &d, &e].map(is_open), [true, true, false, true]);
    e.serves();
    let f = admit(&connections, network(6));
    assert_eq!([&a, &b, &e, &f].map(is_open), [true, false, true, true]);
}

#[tokio::test]
async fn a_new_connection_waits_while_all_others_serve_requests() {
    let connections = connections(2);
    let [a, b] = [1, 2].map(|n| admit(&connections, network(n)));
    a.serves();
    b.serves();
    let admitting = connections.admit(network(3));
    tokio::pin!(admitting);
    assert!(futures_util::poll!(&mut admitting).is_pending());
    b.waits();
    let Admission::Open(c) = admitting.await else { panic!("a network of two connections has both") };
    assert_eq!([&a, &b, &c].map(is_open), [true, false, true]);
    let admitting = connections.admit(network(4));
    tokio::pin!(admitting);
    c.serves();
    assert!(futures_util::poll!(&mut admitting).is_pending());
    drop(a);
    assert!(matches!(admitting.await, Admission::Open(_)) && is_open(&c));
}

#[tokio::test]
async fn a_network_has_three_quarters_of_the_connections_and_a_trusted_proxy_all() {
    let connections = connections(8);
    let mut own: Vec<Slot> = (0..6).map(|_| admit(&connections, network(1))).collect();
    let other = admit(&connections, network(2));
    own.push(admit(&connections, network(1)));
    assert!(!is_open(&own[0]) && own[1..].iter().chain([&other]).all(is_open));

    // While all of the network serve requests, two more wait, and others are not affected.
    own.iter().for_each(Slot::serves);
    let mut queued = vec![];
    for _ in 0..2 {
        let Admission::Queued(waiting) = connections.admit(network(1)).await else { panic!("it is not queued") };
        queued.push(waiting);
    }
    assert!(matches!(connections.admit(network(1)).await, Admission::Refused));
    drop(admit(&connections, network(3)));
    let (first, second) = (queued[0].admitted(), queued[1].admitted());
    tokio::pin!(first, second);
    assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending());
    own[1].waits();
    let admitted = first.await;
    assert!(!is_open(&own[1]) && is_open(&admitted));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(own.pop());
    second.await;

    drop((own, admitted));
    let proxy: Vec<Slot> = (0..7).map(|_| admit(&connections, None)).collect();
    assert!(proxy.iter().chain([&other]).all(is_open));
}

#[tokio::test]
async fn a_recently_used_connection_does_not_close_while_the_new_one_can_wait() {
    let connections = Connections::new("api", 1);
    let used = admit(&connections, network(1));
    let admitting = connections.admit(network(2));
    tokio::pin!(admitting);
    assert!(futures_util::poll!(&mut admitting).is_pending() && is_open(&used));
    let Admission::Open(_) = admitting.await else { panic!("a network of one connection has it") };
    assert!(!is_open(&used));
}
