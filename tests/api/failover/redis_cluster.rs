//! A master of a Redis Cluster hangs, and slots move.

use reqwest::Method;

use super::register;
use crate::redis_cluster::PrivateCluster;
use crate::support::{Answer, PASSWORD, Service, eventually, unique_name};

/// Returns the address of a new user whose keys are on this master, or on another one.
async fn register_on(service: &Service, cluster: &PrivateCluster, master: usize, is_there: bool) -> String {
    loop {
        let address = format!("{}@example.com", unique_name());
        let id = service.register_pending(&address).await;
        if (cluster.master_of(&format!("{{{id}}}")).await == master) == is_there {
            return address;
        }
    }
}

async fn activate_with_mail(service: &Service, address: &str) -> u16 {
    let code = service.wait_for_code(address, 1).await;
    service.activate(address, PASSWORD, &code).await.status.as_u16()
}

/// The driver itself would go on asking the frozen master.
#[tokio::test]
async fn a_frozen_master_is_left_when_its_replica_is_elected() {
    let cluster = PrivateCluster::start("frozen-master", 3, true).await;
    // One node of the cluster suffices.
    let service = Service::start_with(&["--redis-url", &cluster.nodes[0].url]).await;
    service.register_active("before@example.com").await;
    let frozen = 0;
    cluster.nodes[frozen].signal(nix::sys::signal::Signal::SIGSTOP);
    let strict = Answer::of(service.request(Method::GET, "/readyz?require=redis")).await;
    assert_eq!(strict.body["detail"], "Not ready: redis (has a master that cannot be used)", "{strict:?}");
    assert_eq!(Answer::of(service.request(Method::GET, "/readyz")).await.status, 200);
    // The users of the other masters notice nothing, whatever happens to the first one.
    let healthy = register_on(&service, &cluster, frozen, false).await;
    assert_eq!(activate_with_mail(&service, &healthy).await, 200);
    cluster.wait_for_election(frozen).await;
    // A mail that was tried during the election is dropped later, because it may have been read.
    for _ in 0..3 {
        let address = register_on(&service, &cluster, frozen, true).await;
        assert_eq!(activate_with_mail(&service, &address).await, 200);
    }
}

/// A transaction would be aborted, and the driver would never ask where the slot is.
#[tokio::test]
async fn events_follow_their_slot() {
    let cluster = PrivateCluster::start("moved-events", 3, false).await;
    let service = Service::start_with(&["--redis-url", &cluster.nodes[1].url]).await;
    let events = format!("{}:events", service.prefix);
    let from = cluster.master_of(&events).await;
    let to = (from + 1) % 3;
    let length = async |master: usize| cluster.nodes[master].command::<u64>(&["XLEN", &events]).await.unwrap_or(0);
    assert_eq!(register(&service).await.status, 201);
    eventually("the first event", async || (length(from).await == 1).then_some(())).await;
    cluster.move_slot_of(&events, to).await;
    assert_eq!(register(&service).await.status, 201);
    eventually("the second event", async || (length(to).await == 2).then_some(())).await;
}
