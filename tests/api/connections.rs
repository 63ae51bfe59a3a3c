//! Client connections: time limits for idle and slow clients, and the limit on open connections.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::{PATIENCE, PROGRAM, Running, sixty};
use crate::support::{Service, eventually};

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Reads until the server closes the connection. Panics if the server does not close it.
async fn read_until_closed(stream: &mut TcpStream) -> String {
    let mut answer = vec![];
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A client that is still sending sees a reset, which also closes the connection.
    let _ = closed.expect("the server must close the connection");
    String::from_utf8(answer).unwrap()
}

const GET_LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: sixty\r\n\r\n";

/// Sends `GET /livez` over an open connection, checks the answer, and leaves the connection open.
async fn get_livez(stream: &mut TcpStream) {
    stream.write_all(GET_LIVEZ).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("{\"status\":\"live\"}\n") {
        let mut octets = [0; 1024];
        let n = stream.read(&mut octets).await.unwrap();
        assert!(n > 0, "the server closed the connection after {answer:?}");
        answer.push_str(std::str::from_utf8(&octets[..n]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_disconnected() {
    let service = Service::start_with(&["--request-timeout=300ms", "--idle-timeout=300ms"]).await;
    let head = "POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n";
    for (sent, expected) in [("", ""), ("POST /v1/us", ""), (head, "HTTP/1.1 400 Bad Request")] {
        let mut stream = connect(&service.url).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read_until_closed(&mut stream).await;
        assert!(answer.starts_with(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let service = Service::start_with(&["--request-timeout=300ms", "--max-connections=1"]).await;
    let mut unread = connect(&service.url).await;
    // The answers are larger than all buffers between server and client.
    let request = "GET /docs HTTP/1.1\r\nHost: sixty\r\n\r\n".repeat(50);
    unread.write_all(request.as_bytes()).await.unwrap();
    // The service allows one connection, so an answer shows that it closed the first.
    let livez = tokio::time::timeout(Duration::from_secs(10), service.request(Method::GET, "/livez").send()).await;
    assert_eq!(livez.expect("an answer").unwrap().status(), 200);
    drop(unread);
}

#[tokio::test]
async fn a_client_that_sends_one_octet_at_a_time_is_disconnected() {
    let service = Service::start_with(&["--request-timeout=300ms"]).await;
    let endless_header = "GET /livez HTTP/1.1\r\nHost: sixty\r\nX-Long: ";
    let head =
        "POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n";
    for (sent_first, expected) in [(endless_header, ""), (head, "HTTP/1.1 400 Bad Request")] {
        let mut stream = connect(&service.url).await;
        stream.write_all(sent_first.as_bytes()).await.unwrap();
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
            () = trickle => unreachable!("`trickle` never returns"),
            () = tokio::time::sleep(PATIENCE) => panic!("the server did not close the connection within {PATIENCE:?}"),
        };
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let service = Service::start_with(&["--request-timeout=300ms", "--idle-timeout=300ms"]).await;
    let mut idle = connect(&service.url).await;
    get_livez(&mut idle).await;
    assert_eq!(read_until_closed(&mut idle).await, "");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_request_timeout() {
    let service = Service::start_with(&["--request-timeout=300ms"]).await;
    let (mut fresh, mut used) = (connect(&service.url).await, connect(&service.url).await);
    get_livez(&mut used).await;
    // The request timeout passes, because the server disconnects a client that stalls for as long.
    let mut stalled = connect(&service.url).await;
    stalled.write_all(b"GET /li").await.unwrap();
    assert_eq!(read_until_closed(&mut stalled).await, "");
    for connection in [&mut fresh, &mut used] {
        get_livez(connection).await;
        get_livez(connection).await;
    }
}

#[tokio::test]
async fn the_deadline_of_a_header_begins_with_its_first_octet() {
    let service = Service::start_with(&["--request-timeout=300ms", "--idle-timeout=10m"]).await;
    for requests_before in [0, 1, 2] {
        let mut stream = connect(&service.url).await;
        for _ in 0..requests_before {
            get_livez(&mut stream).await;
        }
        stream.write_all(b"G").await.unwrap();
        let begun = Instant::now();
        assert_eq!(read_until_closed(&mut stream).await, "");
        assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_request_head_that_is_too_long_is_refused() {
    let service = Service::start().await;
    let long_value = "x".repeat(300_000);
    let many_fields: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (target, fields) in [
        ("/livez", format!("X-Long: {long_value}\r\n")),
        ("/livez", many_fields),
        (&*format!("/livez?{long_value}"), String::new()),
    ] {
        let mut stream = connect(&service.url).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: sixty\r\n{fields}\r\n");
        // The server may close the connection before the client has sent the whole head.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = read_until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "), "{answer}");
    }
}

/// Sends one request and returns the whole answer. Panics if the server keeps the connection open.
async fn answer_and_close(url: &str, request: &str) -> String {
    let mut stream = connect(url).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until_closed(&mut stream).await
}

fn assert_malformed(answer: &str, request: &str) {
    assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
    assert!(answer.contains("/problems/malformed-request"), "{request:?}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
}

#[tokio::test]
async fn a_request_with_an_ambiguous_length_is_refused() {
    let service = Service::start().await;
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let smuggled = "GET /livez HTTP/1.1\r\nHost: sixty\r\n\r\n";
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let head = format!("POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Type: application/json\r\n{fields}\r\n");
        let request = format!("{head}{chunks}{smuggled}");
        assert_malformed(&answer_and_close(&service.url, &request).await, &request);
        // The same, not as the first request of the connection.
        let first = "POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Length: 2\r\n\r\n{}";
        let answer = answer_and_close(&service.url, &format!("{first}{request}")).await;
        let (second, count) = (answer.rfind("HTTP/1.1 ").unwrap(), answer.matches("HTTP/1.1 ").count());
        assert!(answer.starts_with("HTTP/1.1 415 ") && count == 2, "{fields:?}: {answer}");
        assert_malformed(&answer[second..], &request);
    }
}

#[tokio::test]
async fn a_chunked_body_is_read_and_then_the_connection_closes() {
    let service = Service::start().await;
    let head = "POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Type: application/json\r\n";
    for encoding in ["chunked", "Chunked "] {
        let request =
            format!("{head}Transfer-Encoding: {encoding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n");
        let answer = answer_and_close(&service.url, &request).await;
        assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused() {
    let service = Service::start().await;
    for fields in [
        "",
        "Host: sixty\r\nHost: sixty\r\n",
        "Host: sixty\r\nHost: other\r\n",
        "Host: \r\n",
        "Host: sixty, other\r\n",
        "Host: ada@sixty\r\n",
        "Host: sixty/path\r\n",
        "Host: sixty:port\r\n",
    ] {
        for target in ["/livez", "/nowhere", "http://sixty/livez"] {
            let request = format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
            assert_malformed(&answer_and_close(&service.url, &request).await, &request);
        }
    }
    let two = "GET /livez HTTP/1.0\r\nHost: sixty\r\nHost: sixty\r\n\r\n";
    assert!(answer_and_close(&service.url, two).await.contains(" 400 "));
    // HTTP/1.0 does not require the header.
    assert!(answer_and_close(&service.url, "GET /livez HTTP/1.0\r\n\r\n").await.contains(" 200 "));
    for host in ["127.0.0.1:8000", "[::1]", "sixty.example"] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert!(answer_and_close(&service.url, &request).await.starts_with("HTTP/1.1 200 "), "{host}");
    }
}

/// Sends the head of a request whose body does not follow, and waits until the service asks for the body.
async fn begin_request(stream: &mut TcpStream) {
    let fields = "Host: sixty\r\nContent-Type: application/json\r\nContent-Length: 50\r\nExpect: 100-continue";
    stream.write_all(format!("POST /v1/users HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Connects from a loopback address, which is a client network of its own.
#[cfg(target_os = "linux")]
async fn connect_from(client: [u8; 4], url: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(url.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_longest_idle_connection_closes_for_one_above_the_limit() {
    let service = Service::start_with(&["--max-connections=3", "--idle-timeout=10m"]).await;
    // `Service::start_with` already holds one connection: that of its request to `/readyz`.
    let (mut oldest, mut second, mut third) =
        (connect(&service.url).await, connect(&service.url).await, connect(&service.url).await);
    for connection in [&mut oldest, &mut second, &mut third] {
        get_livez(connection).await;
    }
    get_livez(&mut oldest).await;
    let mut another = connect(&service.url).await;
    get_livez(&mut another).await;
    assert_eq!(read_until_closed(&mut second).await, "");
    for connection in [&mut oldest, &mut third, &mut another] {
        get_livez(connection).await;
    }
}

#[tokio::test]
async fn a_connection_above_the_limit_waits_while_all_others_serve_requests() {
    let service = Service::start_with(&["--max-connections=2", "--request-timeout=10m"]).await;
    let (mut one, mut two) = (connect(&service.url).await, connect(&service.url).await);
    for busy in [&mut one, &mut two] {
        begin_request(busy).await;
    }
    let mut third = connect(&service.url).await;
    third.write_all(GET_LIVEZ).await.unwrap();
    let mut octets = [0; 1024];
    drop(one);
    let n = tokio::time::timeout(PATIENCE, third.read(&mut octets)).await.expect("an answer").unwrap();
    assert!(octets[..n].starts_with(b"HTTP/1.1 200"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn idle_and_stalled_connections_of_one_network_do_not_delay_others() {
    let service = Service::start_with(&["--max-connections=40", "--request-timeout=10m", "--idle-timeout=10m"]).await;
    let mut stalled = vec![];
    for n in 0..60 {
        let mut connection = connect_from([127, 0, 0, 2], &service.url).await;
        match n % 3 {
            0 => begin_request(&mut connection).await,
            1 => connection.write_all(b"GET /li").await.unwrap(),
            _ => {}
        }
        stalled.push(connection);
    }
    let mut other = connect_from([127, 0, 0, 3], &service.url).await;
    get_livez(&mut other).await;
    get_livez(&mut other).await;
    // The network itself is served too, as long as one of its connections is idle.
    let mut own = connect_from([127, 0, 0, 2], &service.url).await;
    get_livez(&mut own).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_trusted_proxy_may_have_all_connections() {
    let flags = ["--max-connections=8", "--trusted-proxies=127.0.0.2", "--idle-timeout=10m"];
    let service = Service::start_with(&flags).await;
    for (client, closed) in [([127, 0, 0, 2], 0), ([127, 0, 0, 3], 2)] {
        let mut connections = vec![];
        for _ in 0..8 {
            let mut connection = connect_from(client, &service.url).await;
            get_livez(&mut connection).await;
            connections.push(connection);
        }
        let (first, last) = connections.split_at_mut(closed);
        for connection in first {
            assert_eq!(read_until_closed(connection).await, "");
        }
        for connection in last {
            get_livez(connection).await;
        }
    }
}

#[tokio::test]
async fn the_metrics_show_open_connections_and_why_some_were_closed() {
    let mut serve = sixty(&["serve"]);
    serve
        .env("DATABASE_URL", "postgres://x@127.0.0.1:1/x")
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .env("MAIL_URL", "http://127.0.0.1:1")
        .env("CODE_SECRET", "AAAA".repeat(11))
        .env("MAX_CONNECTIONS", "4")
        .env("IDLE_TIMEOUT", "10m");
    let (running, api) = Running::serve(&mut serve).await;
    let mut open = vec![];
    for _ in 0..5 {
        let mut connection = connect(&api).await;
        get_livez(&mut connection).await;
        open.push(connection);
    }
    let metrics = running.metrics().await;
    for line in [
        "sixty_http_connections{port=\"api\"} 3\n",
        "sixty_http_connections{port=\"ops\"} 1\n",
        "sixty_http_max_connections{port=\"api\"} 4\n",
        "sixty_http_connections_closed_total{port=\"api\",reason=\"network\"} 2\n",
        "sixty_http_connections_closed_total{port=\"api\",reason=\"all\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(running.stderr().contains("a client network has its share of the connections"), "{}", running.stderr());
    drop(open);
    eventually("closed connections", async || {
        running.metrics().await.contains("sixty_http_connections{port=\"api\"} 0\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_beginning_of_a_header_counts_if_it_came_with_the_request_before() {
    let service = Service::start_with(&["--request-timeout=300ms", "--idle-timeout=10m"]).await;
    let mut stream = connect(&service.url).await;
    stream.write_all(&[GET_LIVEZ, b"G"].concat()).await.unwrap();
    assert!(read_until_closed(&mut stream).await.starts_with("HTTP/1.1 200"));
    // Empty lines between requests begin no header.
    let mut stream = connect(&service.url).await;
    get_livez(&mut stream).await;
    stream.write_all(b"\r\n").await.unwrap();
    let mut stalled = connect(&service.url).await;
    stalled.write_all(b"G").await.unwrap();
    assert_eq!(read_until_closed(&mut stalled).await, "");
    get_livez(&mut stream).await;
}

#[tokio::test]
async fn a_declared_length_beyond_the_limit_is_refused_at_once() {
    let service = Service::start_with(&["--request-timeout=10m"]).await;
    let head = |length: u64, more: &str| {
        let fields = "Host: sixty\r\nContent-Type: application/json";
        format!("POST /v1/users HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n{more}\r\n")
    };
    for (length, more, sent) in
        [(20_000, "", 0), (1 << 40, "", 0), (20_000, "Expect: 100-continue\r\n", 0), (20_000_000, "", 1_000_000)]
    {
        let mut stream = connect(&service.url).await;
        stream.write_all(head(length, more).as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let n = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer").unwrap();
        let answer = std::str::from_utf8(&answer[..n]).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close\r\n"), "{length}: {answer}");
        // What the client sends meanwhile is thrown away.
        stream.write_all(&vec![b'x'; sent]).await.unwrap();
        read_until_closed(&mut stream).await;
    }
    // A client that reads only after it has sent everything gets the answer, too.
    for framing in ["Content-Length: 3000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut stream = connect(&service.url).await;
        let head = format!("POST /v1/users HTTP/1.1\r\nHost: sixty\r\nContent-Type: application/json\r\n{framing}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        if framing.contains("chunked") {
            stream.write_all(b"2dc6c0\r\n").await.unwrap();
        }
        stream.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
        assert!(read_until_closed(&mut stream).await.starts_with("HTTP/1.1 413 "), "{framing}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_accept_loop_pauses_when_no_file_descriptor_is_left() {
    let mut serve = Command::new("sh");
    serve.args(["-c", r#"ulimit -n 40; exec "$0" "$@""#, PROGRAM, "serve"]).env_clear().kill_on_drop(true);
    serve
        .env("DATABASE_URL", "postgres://x@127.0.0.1:1/x")
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .env("MAIL_URL", "http://127.0.0.1:1")
        .env("CODE_SECRET", "AAAA".repeat(11));
    let (mut running, api) = Running::serve(&mut serve).await;
    let mut open = connect(&api).await;
    get_livez(&mut open).await;
    let started = Instant::now();
    let mut connections = vec![];
    for _ in 0..60 {
        connections.push(connect(&api).await);
    }
    let accept_errors = |running: &Running| running.stderr().matches("cannot accept a connection").count();
    running.until("no descriptor is left", async |running| (accept_errors(running) > 2).then_some(())).await;
    // The accept loop pauses for 100 ms after each error.
    let (errors, most) = (accept_errors(&running), started.elapsed().as_millis() / 100 + 1);
    assert!(errors as u128 <= most, "{errors} accept errors in {:?}", started.elapsed());
    get_livez(&mut open).await;
    drop(connections);
    eventually("a new connection", async || {
        let answer = reqwest::get(format!("{api}/livez")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
