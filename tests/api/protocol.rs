//! HTTP behaviour of all routes: bodies, paths, methods, headers, CORS, HTML pages and health checks.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{self, Answer, PASSWORD, Service};

/// Sends a body to `POST /v1/users`.
async fn post_users(service: &Service, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = service.request(Method::POST, "/v1/users").header(CONTENT_TYPE, content_type).body(body);
    Answer::of(request).await
}

#[tokio::test]
async fn bodies_that_are_not_valid_json_get_details_that_tell_the_reasons_apart() {
    let service = Service::start().await;
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let duplicate_member = r#"{"email":"a@example.com","email":"b@example.com","password":"correct horse battery"}"#;
    let cases: [(Vec<u8>, &str); 18] = [
        (b"".to_vec(), "The body is empty; a JSON object was expected."),
        (" \n".into(), "The body is empty; a JSON object was expected."),
        ("\u{feff}".into(), "The body is empty; a JSON object was expected."),
        (utf_16("{}"), "The body is in UTF-16 or UTF-32; JSON must be in UTF-8."),
        (utf_16("\u{feff}{}"), "The body is in UTF-16 or UTF-32; JSON must be in UTF-8."),
        (vec![0xfe, 0xff, 0, b'{', 0, b'}'], "The body is in UTF-16 or UTF-32; JSON must be in UTF-8."),
        (b"{\"email\":\"\xe4\"}".to_vec(), "The body is not in UTF-8: octet 10 is invalid, as in Latin-1."),
        (b"{\"email\":\"\x80\"}".to_vec(), "The body is not in UTF-8: octet 10 is invalid."),
        (b"{\"email\":\"\xe2\x82\"}".to_vec(), "The body is not in UTF-8: octet 10 is invalid."),
        (b"{\"email\":\"\xe2\x82".to_vec(), "The body is not in UTF-8: it ends within a character."),
        (r#"{"email":"\ud800"}"#.into(), "A string of the body contains half of a surrogate pair."),
        (r#"{"email":"\udc00x"}"#.into(), "A string of the body contains half of a surrogate pair."),
        (duplicate_member.into(), "The body names a member twice."),
        ("{".into(), "The body ends in the middle of the JSON text."),
        ("email=a".into(), "The body is not JSON: line 1, column 1 is not valid."),
        ("{'email': 1}".into(), "The body is not JSON: line 1, column 2 is not valid."),
        ("[".repeat(10_000).into(), "The body ends in the middle of the JSON text."),
        (r#"{"email":"#.repeat(1000).into(), "The body is nested too deeply."),
    ];
    for (body, detail) in cases {
        let answer = post_users(&service, "application/json", body).await;
        assert_eq!((answer.outcome(), &answer.body["detail"]), ((400, "malformed-request"), &json!(detail)));
    }
}

#[tokio::test]
async fn a_byte_order_mark_ascii_the_charset_utf8_and_the_encoding_identity_are_accepted() {
    let service = Service::start().await;
    let body =
        |name: &str| format!("\u{feff}{}", json!({ "email": format!("{name}@example.com"), "password": PASSWORD }));
    assert_eq!(post_users(&service, "application/json", body("bom")).await.status, 201);
    assert_eq!(post_users(&service, "application/json; charset=utf8", body("utf8")).await.status, 201);
    let ascii = json!({ "email": "ascii@example.com", "password": PASSWORD }).to_string();
    assert_eq!(post_users(&service, "application/json; charset=\"US-ASCII\"", ascii).await.status, 201);
    let encoded = async |encoding: &str, name: &str| {
        let request = service.request(Method::POST, "/v1/users").header(CONTENT_TYPE, "application/json");
        Answer::of(request.header("Content-Encoding", encoding).body(body(name))).await.status.as_u16()
    };
    assert_eq!((encoded("Identity", "identity").await, encoded("gzip", "gzip").await), (201, 415));
    assert_eq!(encoded("", "empty").await, 201);
}

#[tokio::test]
async fn each_missing_mistyped_or_unknown_json_member_is_named() {
    let service = Service::start().await;
    let cases: [(Value, &[&str]); 8] = [
        (json!(null), &[""]),
        (json!([]), &[""]),
        (json!("text"), &[""]),
        (json!({}), &["/email", "/password"]),
        (json!({ "email": null, "password": null }), &["/email", "/password"]),
        (json!({ "email": 1, "password": { "secret": "x" } }), &["/email", "/password"]),
        (json!({ "email": "a@example.com", "password": PASSWORD, "role": "admin" }), &["/role"]),
        (json!({ "email": "a@example.com", "password": PASSWORD, "a/b~c": 1 }), &["/a~1b~0c"]),
    ];
    for (body, pointers) in cases {
        let answer = post_users(&service, "application/json", body.to_string()).await;
        assert_eq!((answer.outcome(), answer.pointers()), ((422, "invalid-field"), pointers.to_vec()), "{body}");
        assert!(!answer.body.to_string().contains("secret"));
    }
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&service.db).await.unwrap();
    assert_eq!(users, 0);
}

#[tokio::test]
async fn content_types_other_than_json_are_rejected() {
    let service = Service::start().await;
    let body = json!({ "email": "a@example.com", "password": PASSWORD }).to_string();
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/vnd.api+json",
        "application/json; charset=latin1",
        "",
    ] {
        let answer = post_users(&service, content_type, body.clone()).await;
        assert_eq!(answer.outcome(), (415, "unsupported-media-type"), "{content_type}");
        assert_eq!((answer.header("accept"), answer.header("accept-encoding")), ("application/json", "identity"));
    }
    let untyped = Answer::of(service.request(Method::POST, "/v1/users").body(body.clone())).await;
    assert_eq!(untyped.outcome(), (415, "unsupported-media-type"));
    assert_eq!(post_users(&service, "Application/JSON; charset=UTF-8", body).await.status, 201);
}

#[tokio::test]
async fn bodies_over_the_size_limit_are_rejected_with_or_without_content_length() {
    let service = Service::start().await;
    let large = vec![b' '; 3_000_000];
    assert_eq!(post_users(&service, "application/json", large.clone()).await.outcome(), (413, "payload-too-large"));
    let chunks = large.chunks(65_536).map(|chunk| std::io::Result::Ok(chunk.to_vec())).collect::<Vec<_>>();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_eq!(post_users(&service, "application/json", chunked).await.outcome(), (413, "payload-too-large"));
}

#[tokio::test]
async fn unknown_paths_answer_404_and_wrong_methods_answer_405_with_allow() {
    let service = Service::start().await;
    for path in ["/", "/v1", "/v1/users/", "/V1/users", "/v1/users/me/", "/nothing", "/problems/nonsense"] {
        assert_eq!(Answer::of(service.request(Method::GET, path)).await.outcome(), (404, "not-found"), "{path}");
    }
    for (method, path, allow) in [
        (Method::PUT, "/v1/users", "GET, HEAD, OPTIONS, POST"),
        (Method::PUT, "/v1/users/me", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        (Method::PUT, "/v1/users/me/activation", "OPTIONS, POST"),
        (Method::TRACE, "/v1/users", "GET, HEAD, OPTIONS, POST"),
        (Method::POST, "/livez", "GET, HEAD, OPTIONS"),
        (Method::from_bytes(b"BREW").unwrap(), "/docs", "GET, HEAD, OPTIONS"),
    ] {
        let answer = Answer::of(service.request(method.clone(), path)).await;
        assert_eq!(answer.outcome(), (405, "method-not-allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn options_lists_the_methods_and_head_answers_as_get_without_a_body() {
    let service = Service::start().await;
    for (path, allow, accept_patch) in [
        ("/v1/users", "GET, HEAD, OPTIONS, POST", ""),
        ("/v1/users/7", "DELETE, GET, HEAD, OPTIONS, PATCH", "application/json, application/merge-patch+json"),
        ("/not-me/x", "GET, HEAD, OPTIONS, POST", ""),
        ("/openapi.yaml", "GET, HEAD, OPTIONS", ""),
    ] {
        let answer = Answer::of(service.request(Method::OPTIONS, path)).await;
        let found = (answer.status.as_u16(), answer.header("allow"), answer.header("accept-patch"));
        assert_eq!(found, (204, allow, accept_patch), "{path}");
    }
    assert_eq!(Answer::of(service.request(Method::OPTIONS, "/v1/nothing")).await.outcome(), (404, "not-found"));
    for path in ["/openapi.json", "/livez", "/v1/users/me"] {
        let send = async |method| service.request(method, path).send().await.unwrap();
        let (get, head) = (send(Method::GET).await, send(Method::HEAD).await);
        assert_eq!((get.status(), &get.headers()[CONTENT_TYPE]), (head.status(), &head.headers()[CONTENT_TYPE]));
        assert_eq!((get.bytes().await.unwrap().is_empty(), head.bytes().await.unwrap().len()), (false, 0), "{path}");
    }
}

#[tokio::test]
async fn only_problem_type_pages_negotiate_content_by_accept() {
    let service = Service::start().await;
    let get = async |path: &str, accept: &'static str| {
        let answer = service.request(Method::GET, path).header("Accept", accept).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        (answer.status().as_u16(), header("content-type"), header("vary"))
    };
    for accept in ["application/xml", "text/html", "application/json;q=0", "nonsense"] {
        let problem = (401, "application/problem+json".to_owned(), String::new());
        assert_eq!(get("/v1/users/me", accept).await, problem, "{accept}");
        assert_eq!(get("/livez", accept).await.1, "application/json", "{accept}");
    }
    let (html, json) = ("text/html; charset=utf-8", "application/json");
    for (accept, content_type) in [
        ("text/html", html),
        ("application/xhtml+xml, TEXT/HTML ;q=0.9, */*;q=0.8", html),
        ("text/plain", json),
        ("text/html;q=0, application/json", json),
        ("text/html; q=0.000", json),
        ("*/*", json),
        ("application/json, text/html;q=0.1", json),
        ("text/html;q=0.1, application/json", json),
        ("application/json, text/html", json),
        ("text/html, application/json", json),
        ("text/html, */*", json),
        ("text/html;q=0.5, application/json;q=0.500", json),
        // What browsers send.
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", html),
        ("text/html ; q = 0.5, */* ;q= 0.4", html),
        // A range with an invalid weight does not count.
        ("text/html;q=2", json),
        ("text/html;q=", json),
        ("text/html;q=nan, */*;q=0", json),
        ("text/html;q=0.5, application/json;q=0.1234", html),
        ("application/json, text/plain, */*", json),
        ("text/*;q=0.3, */*;Q=0.5", json),
        ("text/*, application/*;q=0.9", html),
        ("text/html;q=0.5, */*;q=0.1", html),
    ] {
        // Only the page has languages.
        let vary = if content_type == html { "Accept, Accept-Language" } else { "Accept" };
        let negotiated = (200, content_type.to_owned(), vary.to_owned());
        assert_eq!(get("/problems/internal", accept).await, negotiated, "{accept}");
    }
}

#[tokio::test]
async fn responses_under_v1_are_not_cached_and_have_no_etag() {
    let service = Service::start().await;
    for (method, path) in [
        (Method::GET, "/v1/users/me"),
        (Method::POST, "/v1/users"),
        (Method::PUT, "/v1/users"),
        (Method::GET, "/v1/users/7"),
        (Method::OPTIONS, "/v1/users/me"),
        (Method::GET, "/v1/users/me/"),
        (Method::GET, "/v1/nothing"),
    ] {
        let answer = Answer::of(service.request(method.clone(), path)).await;
        assert_eq!((answer.header("cache-control"), answer.header("etag")), ("no-store", ""), "{method} {path}");
    }
}

#[tokio::test]
async fn every_response_has_a_request_id_and_an_invalid_id_is_replaced() {
    let service = Service::start().await;
    let valid = service.request(Method::GET, "/livez").header("X-Request-Id", "from-the-client.1");
    assert_eq!(Answer::of(valid).await.header("x-request-id"), "from-the-client.1");
    let invalid = service.request(Method::GET, "/livez").header("X-Request-Id", "two words=");
    let answer = Answer::of(invalid).await;
    assert_eq!(answer.header("x-request-id").len(), 32, "{answer:?}");
}

#[tokio::test]
async fn the_docs_page_the_openapi_document_and_problem_type_pages_are_served() {
    let service = Service::start().await;
    let get = async |path: &str, accept: &str| {
        let response = service.request(Method::GET, path).header("Accept", accept).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        (content_type, response.text().await.unwrap())
    };
    let (_, json) = get("/openapi.json", "*/*").await;
    let document: Value = serde_json::from_str(&json).unwrap();
    let (_, yaml) = get("/openapi.yaml", "*/*").await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), document);
    let (content_type, docs) = get("/docs", "text/html").await;
    assert!(content_type.starts_with("text/html") && docs.contains("registerUser"));
    let external_links = docs.match_indices("src=\"http").count() + docs.match_indices("href=\"http").count();
    assert_eq!(external_links, 0, "the docs page must not load or link to another origin");
    for problem_type in sixty::http::problem_type::ProblemType::ALL {
        let path = format!("/problems/{}", problem_type.name());
        assert!(get(&path, "text/html").await.0.starts_with("text/html"));
        assert_eq!(serde_json::from_str::<Value>(&get(&path, "*/*").await.1).unwrap()["name"], problem_type.name());
    }
}

#[tokio::test]
async fn documents_are_compressed_and_cached_by_clients() {
    let service = Service::start().await;
    for (path, compressed_at_most) in [("/docs", 700_000), ("/openapi.json", 30_000), ("/openapi.yaml", 30_000)] {
        let get = async |fields: &[(&str, &str)]| {
            let request = fields
                .iter()
                .fold(service.request(Method::GET, path), |request, (name, value)| request.header(*name, *value));
            request.send().await.unwrap()
        };
        let whole = get(&[]).await;
        let compressed = get(&[("Accept-Encoding", "gzip, deflate, br")]).await;
        let tag_of = |answer: &reqwest::Response| answer.headers()["etag"].to_str().unwrap().to_owned();
        for answer in [&whole, &compressed] {
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["vary"], "accept-encoding");
            assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
            assert_eq!(answer.headers().contains_key("content-security-policy"), path == "/docs");
        }
        let (whole_tag, compressed_tag) = (tag_of(&whole), tag_of(&compressed));
        assert_ne!(whole_tag, compressed_tag);
        assert!(whole.headers().get("content-encoding").is_none());
        assert_eq!(compressed.headers()["content-encoding"], "gzip");
        let (whole, compressed) = (whole.bytes().await.unwrap(), compressed.bytes().await.unwrap());
        assert!(
            compressed.len() < compressed_at_most && compressed.len() < whole.len() / 2,
            "{path}: {}",
            compressed.len()
        );
        for fields in
            [&[("If-None-Match", &*whole_tag)][..], &[("If-None-Match", &compressed_tag), ("Accept-Encoding", "gzip")]]
        {
            let unchanged = get(fields).await;
            assert_eq!(unchanged.status(), 304, "{path}");
            assert_eq!(unchanged.headers()["vary"], "accept-encoding");
            assert!(unchanged.bytes().await.unwrap().is_empty());
        }
        let head = service.request(Method::HEAD, path).header("Accept-Encoding", "gzip").send().await.unwrap();
        assert_eq!(tag_of(&head), compressed_tag);
    }
}

#[tokio::test]
async fn html_pages_have_a_strict_content_security_policy() {
    let service = Service::start().await;
    let headers = async |path: &str, accept: &str| {
        let response = service.request(Method::GET, path).header("Accept", accept).send().await.unwrap();
        let header = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        [header("content-security-policy"), header("referrer-policy"), header("cross-origin-opener-policy")]
    };
    let [policy, referrer, opener] = headers("/problems/internal", "text/html").await;
    assert_eq!(
        policy,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    assert_eq!((&*referrer, &*opener), ("no-referrer", "same-origin"));
    let [docs_policy, _, _] = headers("/docs", "text/html").await;
    let added_for_docs = docs_policy.strip_prefix(&policy).unwrap();
    assert!(
        added_for_docs.starts_with("; script-src 'sha256-") && !added_for_docs.contains("unsafe"),
        "{added_for_docs}"
    );
    assert_eq!(added_for_docs.matches("'sha256-").count(), 4, "{added_for_docs}");
    assert_eq!(headers("/problems/internal", "*/*").await, ["", "", ""]);
}

/// Returns the CORS headers and `Vary` of an answer, as pairs of name and value.
fn cors_headers(answer: &Answer) -> Vec<(&str, &str)> {
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    headers.filter(|(name, _)| name.starts_with("access-control-") || *name == "vary").collect()
}

#[tokio::test]
async fn listed_cors_origins_may_call_the_api_and_read_its_responses() {
    let service = Service::start_with(&["--cors-origins=https://app.example.com,http://localhost:3000"]).await;
    let request =
        |method: Method, path: &str, origin: &'static str| service.request(method, path).header("Origin", origin);
    let preflight = |path: &str, origin| {
        let preflight = request(Method::OPTIONS, path, origin).header("Access-Control-Request-Method", "POST");
        preflight.header("Access-Control-Request-Headers", "authorization,content-type")
    };
    let allowed = Answer::of(preflight("/v1/users/me/activation", "https://app.example.com")).await;
    assert_eq!(allowed.status, 204);
    let exposed = "Accept, Accept-Encoding, Accept-Patch, Allow, Location, RateLimit, RateLimit-Policy, Registration-Ticket, \
                   Retry-After, WWW-Authenticate, X-Request-Id";
    let allowed_headers = "Authorization, Content-Type, Registration-Ticket, X-Request-Id, X-Requested-With, traceparent, \
                           tracestate, baggage";
    let for_listed_origins = [
        ("vary", "Origin"),
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-expose-headers", exposed),
    ];
    let mut preflight_only = cors_headers(&allowed);
    assert_eq!(preflight_only.split_off(3), for_listed_origins);
    preflight_only.sort_unstable();
    assert_eq!(
        preflight_only,
        [
            ("access-control-allow-headers", allowed_headers),
            ("access-control-allow-methods", "OPTIONS, POST"),
            ("access-control-max-age", "3600"),
        ]
    );

    // Pages of listed origins can read errors, too. Other origins get a response without the CORS headers.
    let me = Answer::of(request(Method::GET, "/v1/users/me", "https://app.example.com")).await;
    assert_eq!((me.status.as_u16(), cors_headers(&me)), (401, for_listed_origins.to_vec()));
    for origin in ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"] {
        let answer = Answer::of(request(Method::GET, "/v1/users/me", origin)).await;
        assert_eq!((answer.status.as_u16(), cors_headers(&answer)), (401, vec![("vary", "Origin")]));
        let refused = Answer::of(preflight("/v1/users", origin)).await;
        assert_eq!((refused.status.as_u16(), cors_headers(&refused)), (204, vec![("vary", "Origin")]));
    }
    let no_origin = Answer::of(service.request(Method::OPTIONS, "/v1/users")).await;
    assert_eq!((no_origin.status.as_u16(), cors_headers(&no_origin)), (204, vec![("vary", "Origin")]));
    let no_preflight = Answer::of(request(Method::OPTIONS, "/v1/users", "https://app.example.com")).await;
    assert_eq!((no_preflight.status.as_u16(), cors_headers(&no_preflight)), (204, for_listed_origins.to_vec()));
    assert_eq!(Answer::of(preflight("/v1/nothing", "https://app.example.com")).await.outcome(), (404, "not-found"));
    let page = Answer::of(request(Method::GET, "/problems/internal", "https://app.example.com")).await;
    assert_eq!(cors_headers(&page), [("vary", "Accept")]);
}

#[tokio::test]
async fn apps_and_subdomains_may_be_listed_as_cors_origins() {
    let service =
        Service::start_with(&["--cors-origins=capacitor://localhost,tauri://localhost,https://*.example.com"]).await;
    for (origin, expected) in [
        ("capacitor://localhost", true),
        ("tauri://localhost", true),
        ("https://app.example.com", true),
        ("https://example.com", false),
        ("http://localhost", false),
    ] {
        let answer = Answer::of(service.request(Method::GET, "/v1/users/me").header("Origin", origin)).await;
        let allowed = answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, expected.then_some(origin));
    }
}

#[tokio::test]
async fn pages_can_read_every_header_of_every_response() {
    let service = Service::start_with(&["--cors-origins=https://app.example.com"]).await;
    // Safelisted by the Fetch Standard, needed by HTTP itself, or set by CORS.
    let readable = ["cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"];
    let transport = ["connection", "date", "transfer-encoding", "vary", "x-content-type-options"];
    for (method, path, body) in [
        (Method::POST, "/v1/users", json!({ "email": "ada@example.com", "password": PASSWORD }).to_string()),
        (Method::POST, "/v1/users", json!({ "email": "ada@example.com", "password": PASSWORD }).to_string()),
        (Method::POST, "/v1/users", "{}".to_owned()),
        (Method::GET, "/v1/users/me", String::new()),
        (Method::PUT, "/v1/users", String::new()),
        (Method::OPTIONS, "/v1/users/01a1ff2a-67dc-7470-9dc8-33935843e864", String::new()),
    ] {
        let request = service.request(method, path).header("Origin", "https://app.example.com");
        let typed = Answer::of(request.header(CONTENT_TYPE, "application/json").body(body)).await;
        let exposed = typed.headers["access-control-expose-headers"].to_str().unwrap().to_lowercase();
        for name in typed.headers.keys().map(|name| name.as_str()) {
            let known = readable.iter().chain(&transport).any(|known| *known == name);
            let is_exposed = exposed.split(", ").any(|exposed| exposed == name);
            assert!(known || is_exposed || name.starts_with("access-control-"), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn responses_have_no_cors_headers_by_default() {
    let service = Service::start().await;
    let preflight = service.request(Method::OPTIONS, "/v1/users").header("Origin", "https://app.example.com");
    let preflight = Answer::of(preflight.header("Access-Control-Request-Method", "POST")).await;
    assert_eq!((preflight.status.as_u16(), cors_headers(&preflight)), (204, vec![]));
    let request = service.request(Method::GET, "/v1/users/me").header("Origin", "https://app.example.com");
    assert!(cors_headers(&Answer::of(request).await).is_empty());
}

#[tokio::test]
async fn readyz_names_unreachable_stores_while_livez_answers_200() {
    // Nothing listens on port 1. The service must keep running and report what it cannot reach.
    let unreachable = [
        "--redis-url=redis://127.0.0.1:1/0",
        "--database-url=postgres://x@127.0.0.1:1/x",
        "--mail-url=http://127.0.0.1:1",
    ];
    let timeouts = ["--database-timeout=300ms", "--redis-timeout=300ms"];
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let url = support::run_service(&[&unreachable[..], &timeouts[..]].concat(), stop).await;
    let answer = Answer::of(reqwest::Client::new().get(format!("{url}/readyz"))).await;
    assert_eq!(answer.outcome(), (503, "unavailable"));
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("postgresql") && detail.contains("redis"), "{detail}");
    assert_eq!(Answer::of(reqwest::Client::new().get(format!("{url}/livez"))).await.status, 200);
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    let answer = Answer::of(reqwest::Client::new().post(format!("{url}/v1/users")).json(&body)).await;
    assert_eq!(answer.outcome(), (503, "unavailable"));
}

#[tokio::test]
async fn urls_in_responses_have_the_path_of_public_url() {
    let service = Service::start_with(&["--public-url=https://sixty.example/accounts/"]).await;
    let problem_type = async |request: RequestBuilder| -> Value {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        answer.json::<Value>().await.unwrap()["type"].clone()
    };
    let get = |path| service.request(Method::GET, path);
    assert_eq!(problem_type(get("/v1/users/me")).await, "/accounts/problems/unauthenticated");
    assert_eq!(problem_type(get("/nothing")).await, "/accounts/problems/not-found");
    assert_eq!(
        problem_type(service.request(Method::PATCH, "/v1/users")).await,
        "/accounts/problems/method-not-allowed"
    );
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    let registered = service.request(Method::POST, "/v1/users").json(&body).send().await.unwrap();
    assert_eq!(registered.headers()["location"], "/accounts/v1/users/me");
    let page = get("/problems/internal").header("Accept", "text/html").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("href=\"../docs\"") && !page.contains("href=\"/"), "{page}");
}
