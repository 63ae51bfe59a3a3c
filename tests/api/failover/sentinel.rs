//! Sentinel names the master, and another one after a failover.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::private_servers::PrivateRedis;
use crate::process::Folder;
use crate::support::{Service, eventually};

/// Three Sentinels of one master and its replica.
struct Sentinels {
    master: PrivateRedis,
    replica: PrivateRedis,
    ports: Vec<u16>,
    processes: Vec<Child>,
    _folder: Folder,
}

impl Sentinels {
    async fn start(test: &str) -> Self {
        let folder = Folder::new(test);
        std::fs::create_dir_all(&folder.0).unwrap();
        let [mut master, mut replica] = [PrivateRedis::start().await, PrivateRedis::start().await];
        for server in [&mut master, &mut replica] {
            for setting in ["masterauth", "requirepass"] {
                let () = server.command(&["CONFIG", "SET", setting, "test-only"]).await.unwrap();
            }
            server.url = server.url.replace("//", "//:test-only@");
        }
        let port = master.port().to_string();
        let () = replica.command(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
        eventually("the replica", async || {
            let info: String = replica.command(&["INFO", "replication"]).await.unwrap();
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        let (mut ports, mut processes) = (vec![], vec![]);
        for n in 0..3 {
            let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = folder.join(&format!("{n}.conf"));
            let settings = format!(
                "bind 127.0.0.1\nport {own}\nsentinel monitor sixty 127.0.0.1 {port} 2\n\
                 sentinel auth-pass sixty test-only\nsentinel down-after-milliseconds sixty 1000\n\
                 sentinel failover-timeout sixty 3000\n"
            );
            std::fs::write(&config, settings).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "redis-server"]).arg(config).arg("--sentinel");
            processes.push(command.stdout(Stdio::null()).spawn().unwrap());
            ports.push(own);
        }
        let sentinels = Self { master, replica, ports, processes, _folder: folder };
        for port in &sentinels.ports {
            eventually("the Sentinels", async || {
                let url = format!("redis://127.0.0.1:{port}");
                let mut sentinel = redis::Client::open(url).ok()?.get_multiplexed_async_connection().await.ok()?;
                let known: redis::RedisResult<Vec<String>> =
                    redis::cmd("SENTINEL").arg("MASTER").arg("sixty").query_async(&mut sentinel).await;
                let known = known.ok()?;
                let field = |name: &str| known.iter().skip_while(|word| *word != name).nth(1).cloned();
                let has_all =
                    field("num-other-sentinels").as_deref() == Some("2") && field("num-slaves").as_deref() == Some("1");
                has_all.then_some(())
            })
            .await;
        }
        sentinels
    }

    fn url(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://:test-only@{}/sixty/0", hosts.join(","))
    }

    async fn wait_for_failover(&self) {
        eventually("the failover", async || {
            // Sentinel closes the connections of a server whose role changes.
            let info: String = self.replica.command(&["INFO", "replication"]).await.ok()?;
            info.contains("role:master").then_some(())
        })
        .await;
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[tokio::test]
async fn the_master_that_sentinel_names_is_used() {
    let mut sentinels = Sentinels::start("sentinel-kill").await;
    let service = Service::start_with(&["--redis-url", &sentinels.url()]).await;
    service.register_active("before@example.com").await;
    // The others still name the master.
    sentinels.processes[0].kill().unwrap();
    sentinels.master.kill();
    sentinels.wait_for_failover().await;
    for n in 0..3 {
        service.register_active(&format!("after{n}@example.com")).await;
    }
}

#[tokio::test]
async fn a_frozen_master_is_left_when_sentinel_names_another_one() {
    let sentinels = Sentinels::start("sentinel-freeze").await;
    let service = Service::start_with(&["--redis-url", &sentinels.url()]).await;
    service.register_active("before@example.com").await;
    sentinels.master.signal(Signal::SIGSTOP);
    sentinels.wait_for_failover().await;
    for n in 0..3 {
        service.register_active(&format!("after{n}@example.com")).await;
    }
    // The old master comes back, and believes for a moment that it still is one.
    sentinels.master.signal(Signal::SIGCONT);
    service.register_active("returned@example.com").await;
}
