//! A Redis Cluster that belongs to one test.

use super::private_servers::PrivateRedis;
use super::process::Folder;
use super::support::eventually;

/// The slots of a cluster.
const SLOTS: usize = 16384;

/// Masters with equal shares of the slots, then their replicas in the same order.
pub struct PrivateCluster {
    pub nodes: Vec<PrivateRedis>,
    masters: usize,
    _folder: Folder,
}

impl PrivateCluster {
    /// Starts the masters, and one replica of each if `with_replicas`.
    pub async fn start(test: &str, masters: usize, with_replicas: bool) -> Self {
        let folder = Folder::new(test);
        std::fs::create_dir_all(&folder.0).unwrap();
        let count = if with_replicas { 2 * masters } else { masters };
        let (mut nodes, mut buses) = (vec![], vec![]);
        for n in 0..count {
            let bus = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            let config = folder.join(&format!("{n}.conf"));
            let arguments = ["--cluster-enabled", "yes", "--cluster-config-file", config.to_str().unwrap()];
            let more = ["--cluster-port", &bus, "--cluster-node-timeout", "1000"];
            nodes.push(PrivateRedis::start_with(&[&arguments[..], &more[..]].concat()).await);
            buses.push(bus);
        }
        let cluster = Self { nodes, masters, _folder: folder };
        for (n, node) in cluster.nodes[..masters].iter().enumerate() {
            let (first, last) = (n * SLOTS / masters, (n + 1) * SLOTS / masters - 1);
            let () = node.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await.unwrap();
        }
        for (node, bus) in cluster.nodes.iter().zip(&buses).skip(1) {
            let () = cluster.nodes[0]
                .command(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus])
                .await
                .unwrap();
        }
        cluster.wait_for(&format!("cluster_known_nodes:{count}")).await;
        for (replica, master) in cluster.nodes[masters..].iter().zip(&cluster.nodes) {
            let id: String = master.command(&["CLUSTER", "MYID"]).await.unwrap();
            let () = replica.command(&["CLUSTER", "REPLICATE", &id]).await.unwrap();
            eventually("the replica", async || {
                let info: String = replica.command(&["INFO", "replication"]).await.unwrap();
                info.contains("master_link_status:up").then_some(())
            })
            .await;
        }
        cluster.wait_for("cluster_state:ok").await;
        // A node elects a replica of another only if all have heard of it.
        for node in &cluster.nodes {
            eventually("the replicas", async || {
                let nodes: String = node.command(&["CLUSTER", "NODES"]).await.unwrap();
                (nodes.matches("slave ").count() == count - masters).then_some(())
            })
            .await;
        }
        cluster
    }

    async fn wait_for(&self, line: &str) {
        for node in &self.nodes {
            eventually("the cluster", async || {
                let info: String = node.command(&["CLUSTER", "INFO"]).await.unwrap();
                info.lines().any(|found| found == line).then_some(())
            })
            .await;
        }
    }

    /// Returns the number of the master that had a slot at the start.
    pub async fn master_of(&self, key: &str) -> usize {
        let any = self.nodes.last().unwrap();
        let slot: usize = any.command(&["CLUSTER", "KEYSLOT", key]).await.unwrap();
        (0..self.masters).find(|n| slot < (n + 1) * SLOTS / self.masters).unwrap()
    }

    pub async fn wait_for_election(&self, master: usize) {
        eventually("the election", async || {
            let info: String = self.nodes[self.masters + master].command(&["INFO", "replication"]).await.unwrap();
            info.contains("role:master").then_some(())
        })
        .await;
    }

    /// Moves the slot of a key, and its keys, to another master.
    pub async fn move_slot_of(&self, key: &str, to: usize) {
        let from = self.master_of(key).await;
        let slot: u16 = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).await.unwrap();
        let slot = slot.to_string();
        let [from, to] = [&self.nodes[from], &self.nodes[to]];
        let from_id: String = from.command(&["CLUSTER", "MYID"]).await.unwrap();
        let to_id: String = to.command(&["CLUSTER", "MYID"]).await.unwrap();
        let () = to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await.unwrap();
        let () = from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await.unwrap();
        let keys: Vec<String> = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).await.unwrap();
        for key in keys {
            let () = from.command(&["MIGRATE", "127.0.0.1", &to.port().to_string(), &key, "0", "5000"]).await.unwrap();
        }
        for node in [to, from] {
            let () = node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await.unwrap();
        }
    }
}
