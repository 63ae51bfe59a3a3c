//! Tests of the routes. The last tests use a socket, to see closed connections.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use poem::http::{Method, StatusCode};
use poem::{Body, Endpoint, Request, Response};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

pub(super) fn mock() -> MailMock {
    MailMock::new(MockOptions::default(), 1)
}

fn with_faults(faults: Faults) -> MailMock {
    MailMock::new(MockOptions { faults, ..MockOptions::default() }, 1)
}

pub(super) fn mail_to(address: &str) -> Value {
    json!({"From": {"Email": "app@example.org", "Name": "App"}, "To": [{"Email": address}], "Subject": "Hi", "Text": "1234"})
}

pub(super) async fn call(
    mock: &MailMock,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Response {
    let defaults = [("Host", "localhost"), ("Content-Type", "application/json")];
    let missing = defaults.iter().filter(|(name, _)| headers.iter().all(|(other, _)| other != name));
    let mut request = Request::builder().method(method).uri(path.parse().unwrap());
    for (name, value) in headers.iter().chain(missing) {
        request = request.header(*name, *value);
    }
    mock.endpoint().get_response(request.body(body)).await
}

async fn value(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.into_body().into_json().await.unwrap())
}

pub(super) async fn read(mock: &MailMock, path: &str) -> (u16, Value) {
    value(call(mock, Method::GET, path, &[], ()).await).await
}

pub(super) async fn send_mail(mock: &MailMock, body: &Value, key: &str) -> (u16, Value) {
    value(call(mock, Method::POST, "/api/v1/send", &[("Idempotency-Key", key)], body.to_string()).await).await
}

pub(super) async fn set_faults(mock: &MailMock, faults: Value) -> (u16, Value) {
    value(call(mock, Method::PUT, "/api/faults", &[], faults.to_string()).await).await
}

async fn mailjet(mock: &MailMock, messages: Value, pair: &str) -> (u16, Value) {
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(pair));
    let body = json!({ "Messages": messages }).to_string();
    value(call(mock, Method::POST, "/v3.1/send", &[("Authorization", &authorization)], body).await).await
}

fn subjects(list: &Value) -> Vec<&str> {
    list["messages"].as_array().unwrap().iter().map(|mail| mail["Subject"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_sent_mail_is_listed_and_shown() {
    let mock = mock();
    let mail = json!({
        "From": {"Email": "app@example.org", "Name": "App"}, "To": [{"Email": "Ann@example.org", "Name": null}],
        "Subject": "Your code", "Text": "It is\n\n  1234.", "HTML": "<p>1234</p>", "Headers": {"X-Kind": "code"},
        "Cc": [], "Tags": ["a"], "Attachments": [],
    });
    let (status, sent) = send_mail(&mock, &mail, "").await;
    assert_eq!(status, 200);

    let (_, mut list) = read(&mock, "/api/v1/messages").await;
    let created = list["messages"][0]["Created"].take();
    OffsetDateTime::parse(created.as_str().unwrap(), &time::format_description::well_known::Rfc3339).unwrap();
    assert!(created.as_str().unwrap().ends_with('Z') && created.as_str().unwrap().len() == 24, "{created}");
    let people =
        (json!({"Name": "App", "Address": "app@example.org"}), json!([{"Name": "", "Address": "Ann@example.org"}]));
    assert_eq!(
        list,
        json!({"total": 1, "messages_count": 1, "start": 0, "messages": [{
            "ID": sent["ID"], "From": people.0, "To": people.1,
            "Subject": "Your code", "Created": null, "Snippet": "It is 1234.",
        }]})
    );

    let (status, shown) = read(&mock, &format!("/api/v1/message/{}", sent["ID"].as_str().unwrap())).await;
    assert_eq!(status, 200);
    assert_eq!(
        shown,
        json!({
            "ID": sent["ID"], "From": people.0, "To": people.1, "Subject": "Your code", "Date": created,
            "Text": "It is\n\n  1234.", "HTML": "<p>1234</p>", "Headers": {"X-Kind": "code"},
        })
    );
    assert_eq!(read(&mock, "/api/v1/message/latest").await.1, shown);
}

#[tokio::test]
async fn lists_are_newest_first_and_paged() {
    let mock = mock();
    for number in 1..=60 {
        let mut mail = mail_to("a@example.org");
        mail["Subject"] = number.to_string().into();
        send_mail(&mock, &mail, "").await;
    }

    let (_, list) = read(&mock, "/api/v1/messages?start=1&limit=2").await;
    assert_eq!((subjects(&list), &list["total"]), (vec!["59", "58"], &json!(60)));
    let (_, list) = read(&mock, "/api/v1/messages?limit=many").await;
    assert_eq!(subjects(&list).len(), 50);
}

#[tokio::test]
async fn search_compares_whole_addresses_ignoring_case() {
    let mock = mock();
    for address in ["ann@example.org", "Joann@example.org", "o+1@example.org"] {
        send_mail(&mock, &mail_to(address), "").await;
    }

    for query in ["to:ANN@example.org", "to:%22ann@example.org%22", "to:o%2B1@example.org", "to:joann@EXAMPLE.org+hi"] {
        let (_, found) = read(&mock, &format!("/api/v1/search?query={query}")).await;
        assert_eq!((&found["total"], subjects(&found).len()), (&json!(1), 1), "{query}");
    }
    assert_eq!(read(&mock, "/api/v1/search?query=to:nn@example.org").await.1["total"], 0);
    assert_eq!(read(&mock, "/api/v1/search?query=123").await.1["total"], 3);
    assert_eq!(read(&mock, "/api/v1/search?query=+").await.0, 400);
    assert_eq!(read(&mock, "/api/v1/search").await.0, 400);
}

#[tokio::test]
async fn an_invalid_mail_is_refused_with_a_reason() {
    let mock = mock();
    let with = |field: &str, value: Value| {
        let mut mail = mail_to("a@example.org");
        mail[field] = value;
        mail
    };
    for body in [
        with("From", json!({"Name": "App"})),
        with("From", Value::Null),
        with("To", json!([])),
        with("To", json!([{"Email": "nobody"}])),
        with("To", json!("a@example.org")),
        with("Headers", json!({"subject": "x"})),
        json!("{"),
    ] {
        let (status, answer) = send_mail(&mock, &body, "").await;
        assert!(status == 400 && answer["Error"].is_string(), "{body} {status} {answer}");
    }
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 0);
}

#[tokio::test]
async fn a_repeated_idempotency_key_returns_the_same_mail() {
    let mock = mock();
    let (_, first) = send_mail(&mock, &mail_to("a@example.org"), "k").await;
    let (_, again) = send_mail(&mock, &mail_to("a@example.org"), "k").await;
    let (_, other) = send_mail(&mock, &mail_to("a@example.org"), "l").await;
    assert!(first == again && first != other);
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 2);

    let emptied = call(&mock, Method::DELETE, "/api/v1/messages", &[], ()).await;
    assert_eq!(emptied.into_body().into_string().await.unwrap(), "ok");
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 0);
    assert_ne!(send_mail(&mock, &mail_to("a@example.org"), "k").await.1, first);
}

#[tokio::test]
async fn delete_removes_the_mails_with_the_given_ids() {
    let mock = mock();
    let (_, first) = send_mail(&mock, &mail_to("a@example.org"), "").await;
    let (_, second) = send_mail(&mock, &mail_to("b@example.org"), "").await;
    call(&mock, Method::DELETE, "/api/v1/messages", &[], json!({"IDs": [first["ID"]]}).to_string()).await;
    let (_, list) = read(&mock, "/api/v1/messages").await;
    assert_eq!((&list["total"], &list["messages"][0]["ID"]), (&json!(1), &second["ID"]));
}

#[tokio::test]
async fn mailjet_accepts_valid_messages_and_reports_errors_of_others() {
    let mock = mock();
    let good = json!({
        "From": {"Email": "app@example.org", "Name": "App"}, "To": [{"Email": "a@example.org"}, {"Email": "b@example.org"}],
        "Subject": "Hi", "TextPart": "1234", "HTMLPart": "<p>", "CustomID": "mine", "Headers": {"X-A": "b"}, "Priority": 2,
    });
    let (status, answer) = mailjet(&mock, json!([good]), "key:secret").await;
    assert_eq!(status, 200);
    let message = &answer["Messages"][0];
    assert_eq!((&message["Status"], &message["CustomID"]), (&json!("success"), &json!("mine")));
    assert_eq!((&message["Cc"], &message["Bcc"]), (&json!([]), &json!([])));
    let recipients = message["To"].as_array().unwrap();
    assert_eq!(recipients[1]["Email"], "b@example.org");
    assert!(recipients[0]["MessageID"].as_u64() < recipients[1]["MessageID"].as_u64());
    let href = recipients[1]["MessageHref"].as_str().unwrap().strip_prefix("http://localhost").unwrap();
    let (_, shown) = read(&mock, href).await;
    assert_eq!((&shown["Text"], &shown["HTML"]), (&json!("1234"), &json!("<p>")));

    let invalid = json!({"From": {}, "To": [{"Email": "@"}]});
    let (status, answer) = mailjet(&mock, json!([invalid, good, 7]), "key:secret").await;
    assert_eq!(status, 400);
    let statuses: Vec<_> = (0..3).map(|n| answer["Messages"][n]["Status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["error", "success", "error"]);
    let errors = answer["Messages"][0]["Errors"].as_array().unwrap();
    let codes: Vec<_> =
        errors.iter().map(|error| (error["ErrorCode"].as_str().unwrap(), &error["ErrorRelatedTo"])).collect();
    assert_eq!(
        codes,
        [
            ("mj-0003", &json!(["From.Email"])),
            ("mj-0013", &json!(["To[0].Email"])),
            ("send-0003", &json!(["TextPart", "HTMLPart"])),
        ]
    );
    assert!(errors.iter().all(|error| error["StatusCode"] == 400 && error["ErrorIdentifier"].is_string()));
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 2);

    assert_eq!(mailjet(&mock, json!([]), "key:secret").await.0, 400);
    let (status, answer) = mailjet(&mock, json!([good]), "key:").await;
    assert_eq!((status, &answer["StatusCode"], answer["ErrorMessage"].is_string()), (401, &json!(401), true));
}

#[tokio::test]
async fn put_replaces_all_faults_and_checks_their_limits() {
    let mock = mock();
    let none = json!({"fail_rate": 0.0, "status": 500, "latency_ms": 0, "drop_rate": 0.0});
    assert_eq!(read(&mock, "/api/faults").await, (200, none.clone()));

    let (status, now) = set_faults(&mock, json!({"fail_rate": 1, "status": 503})).await;
    assert_eq!((status, &now["fail_rate"], &now["status"]), (200, &json!(1.0), &json!(503)));
    for wrong in [
        json!({"fail_rate": 1.5}),
        json!({"drop_rate": -0.1}),
        json!({"status": 200}),
        json!({"latency_ms": 600_001}),
        json!({"latency_ms": -1}),
        json!({"fail": 1}),
        json!([]),
    ] {
        let (status, answer) = set_faults(&mock, wrong.clone()).await;
        assert!(status == 400 && answer["Error"].is_string(), "{wrong}");
    }
    assert_eq!(read(&mock, "/api/faults").await.1, now);
    assert_eq!(set_faults(&mock, json!({})).await, (200, none));
}

#[tokio::test]
async fn a_failed_request_stores_no_mail_and_no_key() {
    let mock = with_faults(Faults { fail_rate: 1.0, status: 503, ..Faults::default() });
    let body = mail_to("a@example.org").to_string();
    for path in ["/api/v1/send", "/v3.1/send"] {
        let failed = call(&mock, Method::POST, path, &[("Idempotency-Key", "k")], body.clone()).await;
        assert_eq!(failed.header("Retry-After"), Some("1"));
        assert_eq!(value(failed).await, (503, json!({"Error": "fault"})));
    }
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 0);

    set_faults(&mock, json!({})).await;
    assert_eq!(send_mail(&mock, &mail_to("a@example.org"), "k").await.0, 200);
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 1);
}

#[test]
fn a_chance_of_zero_or_one_is_certain() {
    let mock = mock();
    let count = |share| (0..1000).filter(|_| mock.chance(share)).count();
    assert!((250..350).contains(&count(0.3)));
    assert_eq!((count(0.0), count(1.0), count(f64::NAN)), (0, 1000, 0));
}

#[tokio::test]
async fn a_mail_is_stored_after_the_latency() {
    let mock = with_faults(Faults { latency_ms: 600_000, ..Faults::default() });
    let mail = mail_to("a@example.org");
    assert!(send_mail(&mock, &mail, "").now_or_never().is_none());
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 0);
}

#[tokio::test]
async fn bodies_over_one_mebibyte_are_refused() {
    let mock = mock();
    let mut mail = mail_to("a@example.org");
    mail["Text"] = "x".repeat(wire::BODY_LIMIT - mail.to_string().len() + 4).into();
    assert_eq!(mail.to_string().len(), wire::BODY_LIMIT);
    assert_eq!(send_mail(&mock, &mail, "").await.0, 200);

    let (status, answer) = send_mail(&mock, &json!("x".repeat(wire::BODY_LIMIT)), "").await;
    assert!(status == 413 && answer["Error"].is_string());
}

#[tokio::test]
async fn bodies_other_than_json_are_refused() {
    let mock = mock();
    let mail = mail_to("a@example.org").to_string();
    let routes = [(Method::POST, "/api/v1/send"), (Method::POST, "/v3.1/send"), (Method::PUT, "/api/faults")];
    for (method, path) in routes {
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
            "text/plain; application/json",
            "application/jsonp",
        ] {
            let headers = [("Content-Type", content_type), ("Authorization", "Basic azpz")];
            let (status, answer) = value(call(&mock, method.clone(), path, &headers, mail.clone()).await).await;
            assert!(status == 415 && answer["Error"].is_string(), "{path} {content_type:?} {status} {answer}");
        }
    }
    assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 0);
    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let sent = call(&mock, Method::POST, "/api/v1/send", &[("Content-Type", content_type)], mail.clone()).await;
        assert_eq!(sent.status(), StatusCode::OK, "{content_type}");
    }
}

#[tokio::test]
async fn requests_for_unknown_host_names_are_refused() {
    let mock = MailMock::new(MockOptions { hosts: vec!["mail-mock".into()], ..MockOptions::default() }, 1);
    let list = async |host: &str| call(&mock, Method::GET, "/api/v1/messages", &[("Host", host)], ()).await;
    for host in ["localhost", "LOCALHOST:8025", "127.0.0.1", "192.0.2.7:8025", "[::1]:8025", "mail-mock:8025"] {
        assert_eq!(list(host).await.status(), StatusCode::OK, "{host}");
    }
    for host in [
        "",
        "rebound.example",
        "localhost.rebound.example:8025",
        "127.0.0.1.rebound.example",
        "mail-mock.example",
        "1.2.3",
    ] {
        let (status, answer) = value(list(host).await).await;
        assert!(status == 403 && answer["Error"].is_string(), "{host} {status} {answer}");
    }
    for path in ["/", "/inbox.js", "/nowhere", "/api/inbox"] {
        let refused = call(&mock, Method::GET, path, &[("Host", "rebound.example")], ()).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let twice = [("Host", "localhost"), ("Host", "localhost")];
    assert_eq!(call(&mock, Method::GET, "/", &twice, ()).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn errors_404_and_405_are_json() {
    let mock = mock();
    for path in ["/nowhere", "/api/v1/message/x", "/api/v1/message/latest", "/view/x.html", "/view/x"] {
        let (status, answer) = read(&mock, path).await;
        assert!(status == 404 && answer["Error"].is_string(), "{path}");
    }
    let refused = call(&mock, Method::PUT, "/api/v1/messages", &[], ()).await;
    assert_eq!(refused.header("Allow"), Some("DELETE, GET, HEAD"));
    let (status, answer) = value(refused).await;
    assert!(status == 405 && answer["Error"].is_string());
    assert_eq!(call(&mock, Method::GET, "/livez", &[], ()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_mails_html_has_a_sandbox_policy() {
    let mock = mock();
    let mut mail = mail_to("a@example.org");
    mail["HTML"] = "<script>alert(1)</script>".into();
    let (_, sent) = send_mail(&mock, &mail, "").await;

    let part = call(&mock, Method::GET, &format!("/view/{}.html", sent["ID"].as_str().unwrap()), &[], ()).await;
    let policy = part.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("sandbox allow-popups") && policy.contains("; default-src 'none'"), "{policy}");
    assert!(!policy.contains("script") && !policy.contains("same-origin") && !policy.contains("forms"), "{policy}");

    let page = call(&mock, Method::GET, "/", &[], ()).await;
    assert!(page.header("Content-Security-Policy").unwrap().contains("script-src 'self';"));
    for path in ["/inbox.css", "/inbox.js", "/faults.js"] {
        assert_eq!(call(&mock, Method::GET, path, &[], ()).await.status(), StatusCode::OK);
    }
}

async fn serve(mock: &MailMock) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mock = mock.clone();
    tokio::spawn(async move { super::serve(listener, &mock, CancellationToken::new()).await });
    address
}

fn post_bytes(path: &str, body: &str) -> String {
    let authorization = BASE64_STANDARD.encode("key:secret");
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nAuthorization: Basic {authorization}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_dropped_response_closes_the_connection_but_stores_the_mail() {
    let mock = with_faults(Faults { drop_rate: 1.0, ..Faults::default() });
    let address = serve(&mock).await;
    let mailpit = mail_to("a@example.org").to_string();
    let mailjet = json!({"Messages": [{
        "From": {"Email": "app@example.org"}, "To": [{"Email": "b@example.org"}], "TextPart": "1234",
    }]});
    for (path, body) in [("/api/v1/send", mailpit.clone()), ("/v3.1/send", mailjet.to_string())] {
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(post_bytes(path, &body).as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            assert_eq!(stream.read_to_end(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
        }
    }
    let (_, list) = read(&mock, "/api/v1/messages").await;
    assert_eq!(list["total"], 2, "one mail per API, in spite of the repetition");

    // A refused request gets a response. A repeated key returns the mail whose first response was dropped.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(post_bytes("/api/v1/send", "{}").as_bytes()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H');
    set_faults(&mock, json!({})).await;
    let (status, answer) = send_mail(&mock, &mail_to("a@example.org"), "k").await;
    assert_eq!((status, &answer["ID"]), (200, &list["messages"][1]["ID"]));
}

#[tokio::test]
async fn a_client_with_an_oversized_body_receives_the_413() {
    let mock = mock();
    let mut stream = TcpStream::connect(serve(&mock).await).await.unwrap();
    let body = "x".repeat(4 * wire::BODY_LIMIT);
    stream.write_all(post_bytes("/api/v1/send", &body).as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}
