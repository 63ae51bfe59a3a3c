//! Connections: nobody holds one for ever, and there are no more of them than the limit says.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::{PATIENCE, PROGRAM, Running};
use crate::support::{Service, eventually};

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// What comes until the connection is closed, which it must be.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = vec![];
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset, for who still sends, is as good.
    let _ = closed.expect("the connection is closed");
    String::from_utf8(answer).unwrap()
}

const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nHost: sixty\r\n\r\n";

/// Asks over an open connection, and leaves it open.
async fn live(stream: &mut TcpStream) {
    stream.write_all(LIVE).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("{\"status\":\"live\"}\n") {
        let mut octets = [0; 1024];
        let n = stream.read(&mut octets).await.unwrap();
        assert!(n > 0, "closed after {answer}");
        answer.push_str(std::str::from_utf8(&octets[..n]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_stalls_is_cut_off() {
    let service = Service::start_with(&["--request-timeout=300ms"]).await;
    let head = "POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n";
    for (sent, answered) in [("", ""), ("POST /v1/us", ""), (head, "HTTP/1.1 400 Bad Request")] {
        let mut stream = connect(&service.url).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(answered), "{answer}");
    }
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let service = Service::start_with(&["--request-timeout=300ms", "--max-connections=1"]).await;
    let mut deaf = connect(&service.url).await;
    // More pages than all buffers on the way can hold.
    let request = "GET /docs HTTP/1.1\r\nHost: sixty\r\n\r\n".repeat(50);
    deaf.write_all(request.as_bytes()).await.unwrap();
    // The only connection there is comes free again.
    let live = tokio::time::timeout(Duration::from_secs(10), service.request(Method::GET, "/livez").send()).await;
    assert_eq!(live.expect("an answer").unwrap().status(), 200);
    drop(deaf);
}

#[tokio::test]
async fn who_trickles_is_cut_off_too() {
    let service = Service::start_with(&["--request-timeout=300ms"]).await;
    let endless_header = "GET /livez HTTP/1.1\r\nHost: sixty\r\nX-Long: ";
    let head =
        "POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n";
    for (begin, answered) in [(endless_header, ""), (head, "HTTP/1.1 400 Bad Request")] {
        let mut stream = connect(&service.url).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        let (mut incoming, mut outgoing) = stream.split();
        let trickle = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            while outgoing.write_all(b"x").await.is_ok() {
                ticks.tick().await;
            }
            std::future::pending().await
        };
        let mut answer = [0; 24];
        let answer = tokio::select! {
            read = incoming.read(&mut answer) => read.map_or("", |n| std::str::from_utf8(&answer[..n]).unwrap()),
            () = trickle => unreachable!("it never ends"),
            () = tokio::time::sleep(PATIENCE) => panic!("it goes on"),
        };
        assert_eq!(answer, answered);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let service = Service::start_with(&["--request-timeout=300ms"]).await;
    let mut idle = connect(&service.url).await;
    live(&mut idle).await;
    assert_eq!(rest(&mut idle).await, "");
}

#[tokio::test]
async fn what_is_too_long_before_the_body_is_refused() {
    let service = Service::start().await;
    let long = "x".repeat(300_000);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (line, fields) in
        [("/livez", format!("X-Long: {long}\r\n")), ("/livez", many), (&*format!("/livez?{long}"), String::new())]
    {
        let mut stream = connect(&service.url).await;
        let request = format!("GET {line} HTTP/1.1\r\nHost: sixty\r\n{fields}\r\n");
        // The rest of it may meet a connection that is closed already.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "), "{answer}");
    }
}

#[tokio::test]
async fn one_connection_too_many_waits_for_another_to_end() {
    let service = Service::start_with(&["--max-connections=2"]).await;
    // The one by which the test saw that the service is ready.
    let mut first = connect(&service.url).await;
    live(&mut first).await;
    let mut further = connect(&service.url).await;
    further.write_all(LIVE).await.unwrap();
    for _ in 0..20 {
        live(&mut first).await;
    }
    let mut octets = [0; 1024];
    let early = further.try_read(&mut octets);
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    let n = tokio::time::timeout(PATIENCE, further.read(&mut octets)).await.expect("an answer").unwrap();
    assert!(octets[..n].starts_with(b"HTTP/1.1 200"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn out_of_file_descriptors_it_waits_rather_than_spins() {
    let mut serve = Command::new("sh");
    serve.args(["-c", r#"ulimit -n 40; exec "$0" "$@""#, PROGRAM, "serve"]).env_clear().kill_on_drop(true);
    serve
        .env("DATABASE_URL", "postgres://x@127.0.0.1:1/x")
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .env("MAIL_URL", "http://127.0.0.1:1")
        .env("CODE_SECRET", "AAAA".repeat(11));
    let (mut running, api) = Running::serve(&mut serve).await;
    let mut open = connect(&api).await;
    live(&mut open).await;
    let begun = Instant::now();
    let mut more = vec![];
    for _ in 0..60 {
        more.push(connect(&api).await);
    }
    let refused = |running: &Running| running.stderr().matches("a connection could not be accepted").count();
    running.until("no descriptor is left", async |running| (refused(running) > 2).then_some(())).await;
    // A pause of 100 ms after each.
    let (times, most) = (refused(&running), begun.elapsed().as_millis() / 100 + 1);
    assert!(times as u128 <= most, "{times} in {:?}", begun.elapsed());
    live(&mut open).await;
    drop(more);
    eventually("a new connection", async || {
        let answer = reqwest::get(format!("{api}/livez")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
