//! Submitted values, codes and secrets appear in no log line, metric or error. Dumps of the stores reveal no code.

use std::collections::HashSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use nix::sys::signal::Signal;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sixty::domain::code::{Code, CodeSecret};
use sixty::domain::user::UserId;
use sixty::http::not_me_form::FIELD;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::process::{Running, sixty};
use crate::support::{self, Answer, PASSWORD, Service, eventually};

const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_SECRET: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
/// Marks every submitted text, so that a leak can be found by searching for this string.
const CANARY: &str = "c4n4ry";
/// Marks submitted codes, which consist of digits.
const CODE_CANARY: &str = "7391847261";

/// Loads the page of a "not me" link, and presses its button until the service accepts the press.
async fn press_button(http: &Client, link: &str) -> reqwest::Response {
    let page = http.get(link).send().await.unwrap().text().await.unwrap();
    let (_, field) = page.split_once(&format!("name=\"{FIELD}\" value=\"")).unwrap();
    let form = format!("{FIELD}={}", field.split_once('"').unwrap().0);
    let form_type = "application/x-www-form-urlencoded";
    eventually("accepted press", async || {
        let press = http.post(link).header("content-type", form_type).body(form.clone()).send().await.unwrap();
        let is_accepted = press.status() != 200 || press.headers().contains_key("registration-ticket");
        is_accepted.then_some(press)
    })
    .await
}

fn http_client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// Returns requests for every operation of the OpenAPI document, with canaries in each part that a client controls.
fn canary_requests(http: &Client, api: &str, email: &str, password: &str) -> Vec<RequestBuilder> {
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let mut requests = vec![];
    let paths = document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = ["{id}", "{name}", "{token}"].iter().fold(path.clone(), |path, name| path.replace(name, CANARY));
            let request = || http.request(method.clone(), format!("{api}{path}?{CANARY}={CANARY}"));
            for body in [
                json!({ "email": email, "password": password }),
                json!({ "code": CODE_CANARY }),
                json!({ "email": email }),
                json!({ "email": email, "code": &CODE_CANARY[..8], "password": password }),
                json!({ "email": format!("{CANARY} no address"), "password": CANARY, "code": CANARY }),
                json!({ "email": { CANARY: CANARY }, "password": [CANARY], "code": { CANARY: [CANARY] } }),
                json!({ "unknown": CANARY, "email": format!("{CANARY}\0@example.com"), "password": format!("{CANARY}\0") }),
                json!([CANARY]),
                json!(CANARY),
            ] {
                requests.push(request().json(&body));
                // The caller deletes the user last, because the other requests need it.
                if method != Method::DELETE {
                    requests.push(request().json(&body).basic_auth(email, Some(password)));
                }
                requests.push(request().json(&body).basic_auth(email, Some(format!("{CANARY} wrong"))));
            }
            let json_type = "application/json";
            requests.push(request().header("content-type", json_type).body(format!("{{\"email\": \"{CANARY}")));
            requests.push(request().header("content-type", format!("text/{CANARY}")).body(CANARY));
            requests.push(request().header("content-type", json_type).body(CANARY.repeat(4000)));
            requests.push(request().header("authorization", format!("Basic {CANARY}")));
            requests.push(request().header("authorization", format!("Bearer {CANARY}")));
            let names =
                ["cookie", "user-agent", "referer", "traceparent", "tracestate", "idempotency-key", "if-none-match"];
            requests.push(names.iter().fold(request(), |request, name| request.header(*name, CANARY)));
            let registration = json!({ "email": email, "password": password });
            requests.push(request().header("registration-ticket", CANARY).json(&registration));
        }
    }
    for path in ["", "problems/", "docs/", "openapi.json?q=", "v1/users/", "readyz?q=", "not-me/"] {
        requests.push(http.get(format!("{api}/{path}{CANARY}")));
        requests.push(http.post(format!("{api}/{path}{CANARY}")).body(CANARY));
        requests.push(http.delete(format!("{api}/{path}{CANARY}")));
    }
    requests
}

/// Returns invalid requests that pass authorization only for an admin, and that change nothing.
fn admin_canary_requests(http: &Client, api: &str, id: &str) -> Vec<RequestBuilder> {
    let mut requests = vec![];
    for parameter in ["status", "email", "limit", "cursor"] {
        requests.push(http.get(format!("{api}/v1/users?{parameter}={CANARY}")));
    }
    for body in [
        json!({ "status": CANARY, "role": CANARY }),
        json!({ "status": [CANARY], "role": { CANARY: CANARY } }),
        json!({ "status": "active", "unknown": CANARY }),
        json!(CANARY),
    ] {
        requests.push(http.patch(format!("{api}/v1/users/{id}")).json(&body));
    }
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        requests.push(http.request(method, format!("{api}/v1/users/{CANARY}")).json(&json!({ "role": "user" })));
    }
    // The last admin cannot be deleted.
    requests.push(http.delete(format!("{api}/v1/users/{id}")));
    requests
}

/// Starts `sixty serve` as a process that logs at level `trace`. Returns the process and the URL of its API.
async fn start_serve(database_url: &str, redis_url: &str, mail_url: &str) -> (Running, String) {
    // Libraries log only if the filter names them.
    let libraries = ["sqlx", "redis", "hyper", "hyper_util", "reqwest", "rustls"].map(|name| format!(",{name}=trace"));
    let mut serve = sixty(&["serve", &format!("--log-level=trace{}", libraries.concat())]);
    serve.env("DATABASE_URL", database_url).env("REDIS_URL", redis_url).env("MAIL_URL", mail_url);
    serve
        .env("REDIS_PREFIX", format!("t{}", support::unique_name()))
        .env("CODE_SECRET", SECRET)
        .env("CLIENT_LIMITS", "false");
    if database_url.ends_with(CANARY) {
        // The database is unreachable, so each request waits for this timeout.
        serve.env("DATABASE_TIMEOUT", "50ms");
    }
    // A code of ten digits is long enough to search for in a log; four digits also occur by chance.
    serve.env("SHORT_CODES_PER_YEAR", "0");
    Running::serve(&mut serve).await
}

#[tokio::test]
async fn no_log_line_metric_or_error_repeats_submitted_values() {
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    // Only the mock mail provider of this service is used.
    let mock = Service::start().await;
    let unreachable = "127.0.0.1:1";
    let database = support::create_database().await;
    // Every store works, then Redis, the mail provider and PostgreSQL are unreachable in turn.
    let cases = [
        (database.clone(), stack.redis_url().to_owned(), mock.mail_url.clone()),
        (support::create_database().await, format!("redis://:{CANARY}@{unreachable}"), mock.mail_url.clone()),
        (
            support::create_database().await,
            stack.redis_url().to_owned(),
            format!("http://{CANARY}:{CANARY}@{unreachable}/{CANARY}"),
        ),
        (
            format!("postgres://sixty:{CANARY}@{unreachable}/{CANARY}"),
            stack.redis_url().to_owned(),
            mock.mail_url.clone(),
        ),
    ];
    for (n, (database_url, redis_url, mail_url)) in cases.into_iter().enumerate() {
        let (mut running, api) = start_serve(&database_url, &redis_url, &mail_url).await;
        let has_database = n < 3;
        let http = http_client();
        if has_database {
            eventually("the migrations", async || {
                let ready = Answer::of(http.get(format!("{api}/readyz"))).await;
                (!ready.body.to_string().contains("postgresql")).then_some(())
            })
            .await;
        }
        let (email, password) = (format!("{CANARY}.{n}@example.com"), format!("{CANARY} horse battery"));
        let mut statuses = vec![];
        for request in canary_requests(&http, &api, &email, &password) {
            let answer = Answer::of(request).await;
            let is_user = answer.status.is_success() && answer.body["email"] == email.as_str();
            assert!(is_user || !format!("{answer:?}").contains(CANARY), "{answer:?}");
            assert!(!format!("{answer:?}").contains(CODE_CANARY), "{answer:?}");
            statuses.push(answer.status.as_u16());
        }
        let mut secrets = vec![CANARY.to_owned(), CODE_CANARY.to_owned()];
        if n == 0 {
            for status in [201, 400, 401, 403, 404, 405, 413, 415, 422, 429] {
                assert!(statuses.contains(&status), "no request was answered {status}: {statuses:?}");
            }
            let code = mock.wait_for_code(&email, 1).await;
            assert_eq!(code.len(), 10);
            let mail = mock.wait_for_mail(&email, 1).await;
            let db = sqlx::PgPool::connect(&database).await.unwrap();
            let hash: String = sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(&db).await.unwrap();
            let activation = http.post(format!("{api}/v1/users/me/activation")).basic_auth(&email, Some(&password));
            let answer = Answer::of(activation.json(&json!({ "code": code }))).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(!format!("{answer:?}").contains(&code));
            sqlx::query("UPDATE users SET role = 'admin'").execute(&db).await.unwrap();
            let mut admin_statuses = vec![];
            for request in admin_canary_requests(&http, &api, answer.body["id"].as_str().unwrap()) {
                let answer = Answer::of(request.basic_auth(&email, Some(&password))).await;
                assert!(!format!("{answer:?}").contains(CANARY), "{answer:?}");
                admin_statuses.push(answer.status.as_u16());
            }
            admin_statuses.sort_unstable();
            admin_statuses.dedup();
            assert_eq!(admin_statuses, [404, 409, 422]);
            sqlx::query("UPDATE users SET role = 'user'").execute(&db).await.unwrap();
            let link = mail.lines().last().unwrap();
            assert_eq!(press_button(&http, link).await.status(), 410);
            secrets.push(link.rsplit_once('/').unwrap().1.to_owned());

            // A registration ticket, from its issue to its use.
            let strangers = format!("stranger-{email}");
            let registration = || {
                let body = json!({ "email": strangers, "password": password });
                http.post(format!("{api}/v1/users")).json(&body)
            };
            assert_eq!(Answer::of(registration()).await.status, 201);
            let mail = mock.wait_for_mail(&strangers, 1).await;
            let press = press_button(&http, mail.lines().last().unwrap()).await;
            let ticket = press.headers()["registration-ticket"].to_str().unwrap().to_owned();
            for status in [201, 429] {
                let answer = Answer::of(registration().header("Registration-Ticket", &ticket)).await;
                assert_eq!(answer.status, status);
                assert!(!format!("{answer:?}").contains(&ticket));
            }
            secrets.push(ticket);
            secrets.extend([code, hash.rsplit_once('$').unwrap().1.to_owned(), SECRET.to_owned()]);
        } else if !has_database {
            assert!(statuses.contains(&503), "{statuses:?}");
        }
        let deletion =
            http.delete(format!("{api}/v1/users/me")).json(&json!(CANARY)).basic_auth(&email, Some(&password));
        assert_eq!(Answer::of(deletion).await.status, if has_database { 204 } else { 503 });
        let metrics = http_client().get(format!("{}/metrics", running.ops())).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("sixty_registrations_total"));
        assert!(running.end(Signal::SIGTERM).await.success());
        let log = running.stderr();
        assert!(log.contains("POST /v1/users "), "{log}");
        for secret in secrets {
            for (place, text) in [("the metrics", &metrics), ("the log lines", &log)] {
                let line = text.lines().find(|line| line.contains(&secret));
                assert!(line.is_none(), "case {n}: {place} contain a secret: {}", line.unwrap());
            }
        }
    }
}

/// Returns all rows of all tables in PostgreSQL as JSON text.
async fn dump_postgresql(service: &Service) -> String {
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
        .fetch_all(&service.db)
        .await
        .unwrap();
    let mut dump = String::new();
    for table in tables {
        let rows = sqlx::AssertSqlSafe(format!("SELECT row_to_json(t)::text FROM {table} AS t"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&service.db).await.unwrap();
        dump.push_str(&rows.join("\n"));
    }
    dump
}

/// Returns all keys of the service in Redis with their values as text.
async fn dump_redis(service: &Service) -> String {
    let mut dump = String::new();
    for key in service.redis::<Vec<String>>(&["KEYS", &format!("{}:*", service.prefix)]).await {
        let redis_type: String = service.redis(&["TYPE", &key]).await;
        let value = match &*redis_type {
            "hash" => service.redis::<Vec<String>>(&["HGETALL", &key]).await.join(" "),
            "stream" => format!("{:?}", service.redis::<Vec<(String, Vec<String>)>>(&["XRANGE", &key, "-", "+"]).await),
            "string" => service.redis::<String>(&["GET", &key]).await,
            other => panic!("{key} has the Redis type {other}: add this type to the dump"),
        };
        dump.push_str(&format!("{key} {value}\n"));
    }
    dump
}

/// Splits a dump into words of ASCII letters and digits.
fn words(dump: &str) -> HashSet<&str> {
    dump.split(|c: char| !c.is_ascii_alphanumeric()).collect()
}

/// Returns the values that an attacker with a dump, but without the code secret, can derive from a guessed code.
///
/// The first value is the guess itself. The others are SHA-256 hashes of the guess alone, hashes of the guess with each
/// of the `stored` values, and HMACs with each of the `stored` values as key.
fn derived_values(guess: &str, stored: &[Vec<u8>]) -> Vec<String> {
    let mut derived = vec![guess.to_owned(), hex::encode(Sha256::digest(guess))];
    for value in stored {
        derived.push(hex::encode(Sha256::digest([value, guess.as_bytes()].concat())));
        derived.push(hex::encode(Sha256::digest([guess.as_bytes(), value].concat())));
        let mut mac = Hmac::<Sha256>::new_from_slice(value).unwrap();
        mac.update(guess.as_bytes());
        derived.push(hex::encode(mac.finalize().into_bytes()));
    }
    derived
}

#[tokio::test]
async fn a_dump_of_the_stores_reveals_no_code_without_the_code_secret() {
    for storage in ["hmac", "plain"] {
        let service = Service::start_with(&["--code-storage", storage]).await;
        // The provider drops each answer, so the grant stays in the outbox while the code is in Redis.
        service.set_mail_faults(json!({ "drop_rate": 1 })).await;
        let id: Uuid = service.register_pending("ada@example.com").await.parse().unwrap();
        let code = service.wait_for_code("ada@example.com", 1).await;
        let redis = eventually("the code in Redis", async || {
            let dump = dump_redis(&service).await;
            dump.contains(&service.redis_key("code", &id.to_string())).then_some(dump)
        })
        .await;
        let postgresql = dump_postgresql(&service).await;
        let grants: Vec<(Vec<u8>, Vec<u8>, Uuid)> = sqlx::query_as(
            "SELECT nonce, salt, idempotency_key FROM outbox JOIN users ON users.id = user_id
             JOIN addresses ON addresses.address = users.address",
        )
        .fetch_all(&service.db)
        .await
        .unwrap();
        let (nonce, salt, key) = grants[0].clone();
        let stored = [nonce, salt, id.as_bytes().to_vec(), id.to_string().into_bytes(), key.as_bytes().to_vec()];

        // Ids and keys may contain any four digits by chance. So a plain code is searched for only as a `code` field of
        // Redis, and a hash only as a whole word.
        let (in_redis, in_postgresql) = (words(&redis), words(&postgresql));
        let found: Vec<String> = (0..10_000)
            .map(|n| format!("{n:04}"))
            .filter(|guess| {
                let derived = derived_values(guess, &stored);
                let hashes = &derived[1..];
                redis.contains(&format!("code {guess}"))
                    || hashes.iter().any(|hash| in_redis.contains(&**hash) || in_postgresql.contains(&**hash))
            })
            .collect();
        let secret = CodeSecret::new(vec![0; 32]).unwrap();
        let verifier = |code: &str| hex::encode(secret.verifier(UserId(id).into(), &Code::parse(code).unwrap()));
        match storage {
            // Plain storage proves that the search finds a code.
            "plain" => assert_eq!(found, [code]),
            _ => {
                assert_eq!(found, Vec::<String>::new());
                assert!(in_redis.contains(&*verifier(&code)), "Redis must hold the verifier of the code");
            }
        }
    }
}

#[tokio::test]
async fn a_changed_code_secret_invalidates_codes_until_a_resend() {
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    let (mock, database_url) = (Service::start().await, support::create_database().await);
    let prefix = format!("t{}", support::unique_name());
    let start = async |secret: &str| {
        let mut serve = sixty(&["serve", "--code-secret", secret, "--redis-prefix", &prefix]);
        serve.env("DATABASE_URL", &database_url).env("REDIS_URL", stack.redis_url()).env("MAIL_URL", &mock.mail_url);
        let (running, api) = Running::serve(&mut serve).await;
        let stop = CancellationToken::new();
        (running, Service::connect(api, &mock.mail_url, &database_url, &prefix, stop).await)
    };
    let (mut running, service) = start(SECRET).await;
    service.register_pending("ada@example.com").await;
    let old = service.wait_for_code("ada@example.com", 1).await;
    service.wait_for_empty_outbox().await;
    assert!(running.end(Signal::SIGTERM).await.success());

    let (_running, service) = start(OTHER_SECRET).await;
    assert_eq!(service.activate("ada@example.com", PASSWORD, &old).await.outcome(), (422, "incorrect-code"));
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.resend("ada@example.com", PASSWORD).await.status, 202);
    let new = service.wait_for_code("ada@example.com", 2).await;
    assert_eq!(service.activate("ada@example.com", PASSWORD, &new).await.status, 200);
}
