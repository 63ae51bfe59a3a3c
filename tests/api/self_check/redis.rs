//! A Redis that `serve` cannot use.

use std::process::{Command, Stdio};

use super::{assert_refused, assert_waits, get, serve, stop, wait_until_ready};
use crate::private_servers::PrivateRedis;
use crate::process::{Folder, output, shell};
use crate::support::{create_database, eventually};

/// Returns `redis://user:password@host:port` of a server.
fn with_user(redis: &PrivateRedis, user_info: &str) -> String {
    redis.url.replace("redis://", &format!("redis://{user_info}@"))
}

#[tokio::test]
async fn a_redis_that_no_patience_can_cure_ends_the_start() {
    let database = create_database().await;
    let redis = PrivateRedis::start().await;
    for rule in [
        "ACL SETUSER all on >c4n4ry ~* +@all",
        "ACL SETUSER notime on >c4n4ry ~* +@all -time",
        "ACL SETUSER noevalsha on >c4n4ry ~* +@all -evalsha",
        "ACL SETUSER noload on >c4n4ry ~* +@all -script",
        "ACL SETUSER noping on >c4n4ry ~* +@all -ping",
        "ACL SETUSER noxadd on >c4n4ry ~* +@all -xadd",
        "ACL SETUSER nohset on >c4n4ry ~* +@all -hset",
        "ACL SETUSER nohincrby on >c4n4ry ~* +@all -hincrby",
        "ACL SETUSER nohexists on >c4n4ry ~* +@all -hexists",
        "ACL SETUSER noincr on >c4n4ry ~* +@all -incr",
        "ACL SETUSER otherkeys on >c4n4ry ~other:* +@all",
        "ACL SETUSER fewkeys on >c4n4ry ~sixty:check:* ~sixty:code:* +@all",
    ] {
        let () = redis.command(&rule.split(' ').collect::<Vec<_>>()).await.unwrap();
    }
    let user = |name: &str| with_user(&redis, &format!("{name}:c4n4ry"));
    let cases = [
        (with_user(&redis, "all:c4n4ry-wrong"), "refuses the user or the password"),
        (with_user(&redis, "nobody:c4n4ry"), "refuses the user or the password"),
        (with_user(&redis, ":c4n4ry"), "Redis has none for this user"),
        (format!("{}/99", redis.url), "does not have the database number"),
        (redis.url.replace("redis://", "rediss://"), "begins with rediss:// (TLS)"),
        (format!("{0},{0}", redis.url), "lists several nodes, and Redis is no cluster"),
        (user("notime"), "NOPERM"),
        (user("noevalsha"), "may not run EVALSHA"),
        (user("nohincrby"), "may not run HINCRBY"),
        (user("nohexists"), "may not run HEXISTS"),
        (user("noincr"), "may not run INCR"),
        (user("noload"), "may not run SCRIPT|LOAD"),
        (user("noping"), "may not run PING"),
        (user("noxadd"), "may not run XADD"),
        (user("nohset"), "may not run HSET"),
        (user("otherkeys"), "may not use the keys"),
        (user("fewkeys"), "may not use the keys"),
    ];
    let refused = cases.map(|(url, words)| {
        let serve = serve(&database, &url);
        async move { assert_refused(serve, &["sixty: REDIS_URL: ", words]).await }
    });
    futures_util::future::join_all(refused).await;
}

#[tokio::test]
async fn a_redis_with_a_password_refuses_a_url_without_one() {
    let redis = PrivateRedis::start().await;
    let () = redis.command(&["CONFIG", "SET", "requirepass", "c4n4ry"]).await.unwrap();
    let database = create_database().await;
    assert_refused(serve(&database, &redis.url), &["sixty: REDIS_URL: ", "or requires one (WRONGPASS, NOAUTH)"]).await;
    let (mut running, api) = assert_waits(serve(&database, &with_user(&redis, ":c4n4ry")), &["ready"]).await;
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
}

#[tokio::test]
async fn a_redis_with_tls_is_named_at_a_plain_url() {
    let folder = Folder::new("redis-with-tls");
    std::fs::create_dir_all(&folder.0).unwrap();
    let certificate =
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem";
    assert!(output(shell(certificate).current_dir(&folder.0)).await.status.success());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut redis = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "redis-server", "--port", "0", "--save", "", "--tls-port", &port])
        .args(["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem"])
        .args(["--tls-auth-clients", "no"])
        .current_dir(&folder.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let address = format!("127.0.0.1:{port}");
    eventually("open port", async || tokio::net::TcpStream::connect(&address).await.ok().map(drop)).await;
    let database = create_database().await;
    let words = ["sixty: REDIS_URL: ", "begins with redis://, and the server at its port requires TLS"];
    assert_refused(serve(&database, &format!("redis://:c4n4ry@{address}")), &words).await;
    let words = ["sixty: REDIS_URL: ", "not signed by a CA that this machine trusts"];
    assert_refused(serve(&database, &format!("rediss://:c4n4ry@localhost:{port}")), &words).await;
    redis.kill().unwrap();
    redis.wait().unwrap();
}

#[tokio::test]
async fn what_may_pass_is_waited_for_with_its_reason() {
    let redis = PrivateRedis::start().await;
    let database = create_database().await;
    for (fault, cure, summary, words) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "is out of memory", "(OOM)"),
        (["REPLICAOF", "127.0.0.1", "1", ""], ["REPLICAOF", "NO", "ONE", ""], "is read-only", "read-only replica"),
    ] {
        let words_of =
            |command: [&'static str; 4]| -> Vec<&str> { command.into_iter().filter(|it| !it.is_empty()).collect() };
        let () = redis.command(&words_of(fault)).await.unwrap();
        let (mut running, api) = assert_waits(serve(&database, &redis.url), &["waiting for Redis: ", words]).await;
        wait_until_ready(&mut running, &api).await;
        assert_eq!(
            get(format!("{api}/readyz")).await.body["degraded"][0],
            "redis",
            "it sees that Redis refuses writes"
        );
        let strict = get(format!("{api}/readyz?require=redis")).await;
        assert!(strict.body["detail"].as_str().unwrap().contains(summary), "{strict:?}");
        let () = redis.command(&words_of(cure)).await.unwrap();
        running
            .until("readiness", async |_| {
                (get(format!("{api}/readyz?require=redis")).await.status == 200).then_some(())
            })
            .await;
        stop(running).await;
    }
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_host_are_waited_for() {
    let database = create_database().await;
    let words = ["waiting for Redis: REDIS_URL: ", "the connection was refused"];
    let (running, _) = assert_waits(serve(&database, "redis://:c4n4ry@127.0.0.1:1"), &words).await;
    assert!(!running.stderr().contains("does not answer"), "{}", running.stderr());
    stop(running).await;
    let words = ["waiting for Redis: REDIS_URL: ", "has no address (DNS)"];
    let (running, _) = assert_waits(serve(&database, "redis://:c4n4ry@nowhere.invalid"), &words).await;
    stop(running).await;
}

#[tokio::test]
async fn an_eviction_policy_is_a_warning_and_a_metric() {
    let redis = PrivateRedis::start().await;
    let () = redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let (database, words) = (create_database().await, ["self-check: redis eviction: maxmemory-policy is allkeys-lru"]);
    let (running, _) = assert_waits(serve(&database, &redis.url), &words).await;
    assert!(running.metrics().await.contains("sixty_redis_may_evict 1\n"));
    stop(running).await;
}

#[tokio::test]
async fn the_check_leaves_no_code_and_no_event() {
    let redis = PrivateRedis::start().await;
    let (mut running, api) = assert_waits(serve(&create_database().await, &redis.url), &["ready"]).await;
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
    let keys: Vec<String> = redis.command(&["KEYS", "*"]).await.unwrap();
    assert!(keys.iter().all(|key| key == "sixty:check:ready"), "{keys:?}");
}

#[tokio::test]
async fn a_redis_without_a_free_connection_is_waited_for() {
    let redis = PrivateRedis::start().await;
    let client = ::redis::Client::open(&redis.url[..]).unwrap();
    let mut open = client.get_multiplexed_async_connection().await.unwrap();
    let mut set_max = async |most: &str| {
        let _: () = ::redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(most).query_async(&mut open).await.unwrap();
    };
    set_max("1").await;
    let database = create_database().await;
    for url in [redis.url.clone(), with_user(&redis, ":c4n4ry")] {
        let words = ["waiting for Redis: ", "max number of clients reached"];
        let (running, _) = assert_waits(serve(&database, &url), &words).await;
        stop(running).await;
    }
    set_max("100").await;
}
