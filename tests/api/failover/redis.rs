//! Redis becomes a replica, or another server takes over.

use crate::private_servers::PrivateRedis;
use crate::support::{Relay, Service, eventually};

/// The old master keeps its connections, and answers a PING. Only changes are refused.
#[tokio::test]
async fn a_redis_that_has_become_a_replica_is_left_without_a_failed_request() {
    let [old, new] = [PrivateRedis::start().await, PrivateRedis::start().await];
    let relay = Relay::before(&old.url).await;
    let service = Service::start_with(&["--redis-url", &relay.redirect(&old.url)]).await;
    service.register_active("before@example.com").await;
    let (host, port) = new.url.trim_start_matches("redis://").split_once(':').unwrap();
    let () = old.command(&["REPLICAOF", host, port]).await.unwrap();
    eventually("the replica to follow", async || {
        let role: String = old.command(&["INFO", "replication"]).await.unwrap();
        role.contains("master_link_status:up").then_some(())
    })
    .await;
    relay.lead_to(&new.url);
    for n in 0..5 {
        service.register_active(&format!("after{n}@example.com")).await;
    }
    eventually("the events", async || {
        let keys: Vec<String> = new.command(&["KEYS", "*events"]).await.unwrap();
        (keys.len() == 1).then_some(())
    })
    .await;
}
