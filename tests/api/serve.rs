//! `sixty serve` with stores that start late, freeze or are missing, and its shutdown.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::Instant;

use super::process::{PATIENCE, Running, failure_line, output, send_signal, sixty};
use super::support::{Answer, PASSWORD, create_database, eventually, stack};

fn serve(database_url: &str, redis_url: &str) -> Command {
    let mut serve = sixty(&["serve"]);
    serve
        .env("DATABASE_URL", database_url)
        .env("REDIS_URL", redis_url)
        .env("MAIL_URL", "http://127.0.0.1:1")
        .env("CODE_SECRET", "AAAA".repeat(11))
        // Calls to a frozen store must time out before the test's deadline.
        .env("DATABASE_TIMEOUT", "2s");
    serve
}

async fn get(url: String) -> Answer {
    Answer::of(Client::builder().no_proxy().build().unwrap().get(url)).await
}

async fn wait_until_ready(running: &mut Running, api: &str) {
    running
        .until("ready service", async |_| get(format!("{api}/readyz")).await.status.is_success().then_some(()))
        .await;
}

fn healthcheck(api: &str) -> Command {
    sixty(&["healthcheck", "--api-addr", api.strip_prefix("http://").unwrap()])
}

#[tokio::test]
async fn without_stores_it_is_live_and_readyz_names_the_missing_stores() {
    let (mut running, api) =
        Running::serve(&mut serve("postgres://sixty:c4n4ry@127.0.0.1:1/sixty", "redis://:c4n4ry@127.0.0.1:1")).await;
    assert_eq!(get(format!("{api}/livez")).await.status, 200);

    let answer = get(format!("{api}/readyz")).await;
    assert_eq!(answer.outcome(), (503, "unavailable"));
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("postgresql (") && detail.contains("redis ("), "{detail}");

    let healthy = output(&mut healthcheck(&api)).await;
    assert!(healthy.status.success(), "the process is live: {healthy:?}");
    let (status, line) = failure_line(&mut sixty(&["healthcheck", "--url", &format!("{api}/readyz")])).await;
    assert_eq!(status, 1);
    assert!(line.starts_with("sixty: not healthy: 503 "), "{line}");

    assert!(running.end(Signal::SIGTERM).await.success());
    assert!(!running.stderr().contains("c4n4ry"), "{}", running.stderr());
}

#[tokio::test]
async fn healthcheck_of_a_missing_service_fails() {
    let (status, line) = failure_line(&mut healthcheck("http://127.0.0.1:1")).await;
    assert_eq!(status, 1);
    assert!(line.starts_with("sixty: not healthy: "), "{line}");
}

#[tokio::test]
async fn without_redis_it_is_ready_but_degraded() {
    let database_url = create_database().await;
    let redis = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redis_url = format!("redis://{}", redis.local_addr().unwrap());
    drop(redis);
    let (mut running, api) = Running::serve(&mut serve(&database_url, &redis_url)).await;
    wait_until_ready(&mut running, &api).await;
    let ops = running.ops();
    for port in [&api, &ops] {
        let answer = get(format!("{port}/readyz")).await;
        assert_eq!(answer.body, serde_json::json!({ "status": "ready", "degraded": ["redis"] }), "{answer:?}");
        let answer = get(format!("{port}/readyz?require=postgresql")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for strict in
            ["require=redis", "q=1&require=redis", "require=postgresql,redis", "require=%72edis", "require=reddis"]
        {
            let answer = get(format!("{port}/readyz?{strict}")).await;
            assert_eq!(answer.outcome(), (503, "unavailable"), "{strict}: {answer:?}");
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("redis (") || detail.contains("require"), "{detail}");
            assert!(!detail.contains("reddis"), "{detail}");
        }
    }
    let metrics = running.metrics().await;
    for line in ["sixty_ready 1\n", "sixty_store_up{store=\"redis\"} 0\n", "sixty_store_up{store=\"postgresql\"} 1\n"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    running
        .until("log line about Redis", async |running| running.stderr().contains("ready without redis (").then_some(()))
        .await;
    assert!(running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn with_all_stores_it_is_ready_and_not_degraded() {
    let database_url = create_database().await;
    let (mut running, api) = Running::serve(&mut serve(&database_url, stack().redis_url())).await;
    wait_until_ready(&mut running, &api).await;
    let answer = get(format!("{api}/readyz?require=redis")).await;
    assert_eq!(answer.body, serde_json::json!({ "status": "ready" }), "{answer:?}");
    assert!(running.end(Signal::SIGTERM).await.success());
}

/// As a load balancer sends requests that has not noticed the restart.
#[tokio::test]
async fn a_request_during_the_start_is_served() {
    let database = create_database().await;
    for n in 0..3 {
        let (running, api) = Running::serve(&mut serve(&database, stack().redis_url())).await;
        let body = serde_json::json!({ "email": format!("ada{n}@example.com"), "password": PASSWORD });
        let http = Client::builder().no_proxy().build().unwrap();
        let answer = Answer::of(http.post(format!("{api}/v1/users")).json(&body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        drop(running);
    }
}

#[tokio::test]
async fn a_second_stop_signal_ends_the_process_at_once() {
    for (first, second, status) in [
        (Signal::SIGTERM, Signal::SIGTERM, 143),
        (Signal::SIGINT, Signal::SIGINT, 130),
        (Signal::SIGTERM, Signal::SIGINT, 130),
    ] {
        let database_url = create_database().await;
        let mut serve = serve(&database_url, stack().redis_url());
        let (mut running, _) = Running::serve(serve.args(["--shutdown-delay=10m"])).await;
        send_signal(running.pid(), first);
        running
            .until("log line about the shutdown", async |running| running.stderr().contains("stopping").then_some(()))
            .await;
        // The process takes a signal within 10 ms of the first for the same one, so this sends until the process exits.
        let exit = eventually("exit of the process", async || {
            send_signal(running.pid(), second);
            tokio::time::timeout(Duration::from_millis(100), running.wait()).await.ok()
        })
        .await;
        assert_eq!(exit.code(), Some(status), "{first} {second}");
        assert!(running.stderr().contains("second stop signal"), "{}", running.stderr());
    }
}

/// A port in front of a store. Connections wait until `open`, which forwards them to the store.
struct Gate(TcpListener);

impl Gate {
    async fn new() -> Gate {
        Gate(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Returns the store's URL with the address of this port.
    fn redirect(&self, url: &str) -> String {
        url.replace(&addr(url), &self.0.local_addr().unwrap().to_string())
    }

    fn open(self, url: &str) {
        let store: SocketAddr = addr(url).parse().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = self.0.accept().await {
                tokio::spawn(async move {
                    let mut store = TcpStream::connect(store).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut store).await;
                });
            }
        });
    }
}

/// Returns host and port of a URL.
fn addr(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split('/').next().unwrap().rsplit('@').next().unwrap().to_owned()
}

#[tokio::test]
async fn it_becomes_ready_when_its_stores_are() {
    let database_url = create_database().await;
    let redis_url = stack().redis_url();
    let (postgres, redis) = (Gate::new().await, Gate::new().await);
    let (mut running, api) = Running::serve(
        serve(&postgres.redirect(&database_url), &redis.redirect(redis_url)).env("REDIS_TIMEOUT", "500ms"),
    )
    .await;
    assert_eq!(get(format!("{api}/readyz")).await.status, 503);
    redis.open(redis_url);
    running
        .until("readiness problem about PostgreSQL only", async |_| {
            let answer = get(format!("{api}/readyz")).await;
            let detail = answer.body["detail"].as_str().unwrap();
            (detail.contains("postgresql") && !detail.contains("redis")).then_some(())
        })
        .await;
    postgres.open(&database_url);
    wait_until_ready(&mut running, &api).await;

    let healthy = output(&mut healthcheck(&api)).await;
    assert!(healthy.status.success() && healthy.stderr.is_empty(), "{healthy:?}");
    assert!(running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn it_logs_which_stores_it_waits_for() {
    let (mut running, _) =
        Running::serve(&mut serve("postgres://sixty:c4n4ry@127.0.0.1:1/sixty", "redis://127.0.0.1:1")).await;
    running
        .until("log line about missing stores", async |running| {
            let log = running.stderr();
            log.contains("waiting for postgresql (refuses connections); redis (refuses connections)").then_some(())
        })
        .await;
    assert!(running.end(Signal::SIGTERM).await.success());
}

/// Waits until `/readyz` gives a reason that contains `words`.
async fn wait_for_detail(running: &mut Running, api: &str, words: &str) {
    running
        .until(words, async |_| {
            let answer = get(format!("{api}/readyz")).await;
            answer.body["detail"].as_str().unwrap().contains(words).then_some(())
        })
        .await;
}

#[tokio::test]
async fn without_migrate_it_waits_until_the_migrations_are_applied() {
    let database_url = create_database().await;
    let (mut running, api) = Running::serve(serve(&database_url, stack().redis_url()).args(["--migrate=false"])).await;
    wait_for_detail(&mut running, &api, "migrations are not applied yet").await;
    // Reverting only the last migration leaves all tables in place.
    let migrate = async |action| output(sixty(&["migrate", action]).env("DATABASE_URL", &database_url)).await;
    assert!(migrate("up").await.status.success());
    wait_until_ready(&mut running, &api).await;
    assert!(running.end(Signal::SIGTERM).await.success());
    assert!(migrate("down").await.status.success());
    let (mut running, api) = Running::serve(serve(&database_url, stack().redis_url()).args(["--migrate=false"])).await;
    wait_for_detail(&mut running, &api, "migrations are not applied yet").await;
    assert!(migrate("up").await.status.success());
    wait_until_ready(&mut running, &api).await;
    assert!(running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn a_database_with_newer_migrations_is_served_with_a_warning() {
    let database_url = create_database().await;
    assert!(output(sixty(&["migrate", "up"]).env("DATABASE_URL", &database_url)).await.status.success());
    let newer = r"INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                  VALUES (9999, 'of the next release', true, '\x00', 0)";
    sqlx::query(newer).execute(&sqlx::PgPool::connect(&database_url).await.unwrap()).await.unwrap();
    for migrate in ["--migrate=true", "--migrate=false"] {
        let (mut running, api) = Running::serve(serve(&database_url, stack().redis_url()).arg(migrate)).await;
        wait_until_ready(&mut running, &api).await;
        assert!(running.stderr().contains("the database has migrations that this release does not contain"));
        let metrics = Client::builder().no_proxy().build().unwrap().get(format!("{}/metrics", running.ops()));
        let metrics = metrics.send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("sixty_migrations_newer 1\n"), "{metrics}");
        assert!(running.end(Signal::SIGTERM).await.success());
    }
}

#[tokio::test]
async fn a_stopping_service_is_unready_first_and_refuses_connections_later() {
    let database_url = create_database().await;
    let mail = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut serve = serve(&database_url, stack().redis_url());
    serve.env("MAIL_URL", format!("http://{}", mail.local_addr().unwrap()));
    let (mut running, api) = Running::serve(serve.args(["--shutdown-delay=3s", "--shutdown-grace=10s"])).await;
    wait_until_ready(&mut running, &api).await;
    let ops = running.ops();
    let register = async |email: &str| {
        let body = serde_json::json!({ "email": email, "password": PASSWORD });
        Client::builder().no_proxy().build().unwrap().post(format!("{api}/v1/users")).json(&body).send().await
    };
    assert_eq!(register("ada@example.com").await.unwrap().status(), 201);
    // The provider never answers, so the mail keeps the process busy until SHUTDOWN_GRACE is over.
    let (_mail, _) = mail.accept().await.unwrap();
    send_signal(running.pid(), Signal::SIGTERM);
    for port in [&api, &ops] {
        running
            .until("unready service", async |_| {
                let answer = get(format!("{port}/readyz")).await;
                (answer.outcome() == (503, "unavailable")).then_some(())
            })
            .await;
        assert_eq!(get(format!("{port}/livez")).await.status, 200);
    }
    assert_eq!(register("bob@example.com").await.unwrap().status(), 201, "a request during SHUTDOWN_DELAY is served");
    running.until("refused connection", async |_| register("eve@example.com").await.is_err().then_some(())).await;
    assert_eq!(get(format!("{ops}/readyz")).await.status, 503, "the operators' port answers until the end");
    assert!(running.wait().await.success());
}

/// Opens a connection, gets one response, and keeps the connection open.
pub async fn idle_connection(api: &str) -> TcpStream {
    let mut idle = TcpStream::connect(addr(api)).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: sixty\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    idle.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    idle
}

#[tokio::test]
async fn a_stopping_service_closes_each_connection_after_its_next_response() {
    let database_url = create_database().await;
    let mut serve = serve(&database_url, stack().redis_url());
    let (mut running, api) = Running::serve(serve.args(["--shutdown-delay=10m"])).await;
    wait_until_ready(&mut running, &api).await;
    let ops = running.ops();
    let mut connections = vec![];
    for port in [&api, &ops, &api] {
        connections.push(idle_connection(port).await);
    }
    send_signal(running.pid(), Signal::SIGTERM);
    running.until("unready service", async |_| (get(format!("{api}/readyz")).await.status == 503).then_some(())).await;
    for connection in &mut connections {
        connection.write_all(b"GET /livez HTTP/1.1\r\nHost: sixty\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        // The server closes the connection, or this would wait for its idle timeout.
        tokio::time::timeout(PATIENCE, connection.read_to_string(&mut answers)).await.unwrap().unwrap();
        let (_, answer) = answers.rsplit_once("HTTP/1.1 ").unwrap();
        assert!(answer.starts_with("200") && answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answers}");
        assert!(!answers[..answers.len() - answer.len()].to_lowercase().contains("connection: close"), "{answers}");
    }
}

#[tokio::test]
async fn an_idle_service_stops_at_once_despite_an_open_connection() {
    let database_url = create_database().await;
    let (mut running, api) = Running::serve(&mut serve(&database_url, stack().redis_url())).await;
    wait_until_ready(&mut running, &api).await;
    let _idle = idle_connection(&api).await;
    let start = Instant::now();
    assert!(running.end(Signal::SIGTERM).await.success());
    assert!(start.elapsed() < PATIENCE / 10, "{:?}", start.elapsed());
}

#[tokio::test]
async fn forwarding_headers_that_disagree_are_logged_once() {
    let mut serve = serve("postgres://sixty@127.0.0.1:1/sixty", "redis://127.0.0.1:1");
    let (mut running, api) = Running::serve(serve.args(["--trusted-proxies=127.0.0.1"])).await;
    let http = Client::builder().no_proxy().build().unwrap();
    let line = "sent X-Forwarded-For and Forwarded with different clients";
    for (forwarded, expected) in [("for=192.0.2.1", 0), ("for=192.0.2.2", 1), ("for=192.0.2.3", 1)] {
        let request = http.get(format!("{api}/livez")).header("X-Forwarded-For", "192.0.2.1");
        assert_eq!(request.header("Forwarded", forwarded).send().await.unwrap().status(), 200);
        running
            .until("log line", async |running| (running.stderr().matches(line).count() == expected).then_some(()))
            .await;
    }
    assert!(running.end(Signal::SIGTERM).await.success());
    assert_eq!(running.stderr().matches(line).count(), 1, "{}", running.stderr());
}
