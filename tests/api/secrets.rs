//! What is told to the service in confidence reaches no log, no metrics, no error; and what is stored reveals no code.

use std::collections::HashSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use nix::sys::signal::Signal;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sixty::domain::code::{Code, CodeSecret};
use sixty::domain::user::UserId;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::process::{Running, sixty};
use crate::support::{self, Answer, PASSWORD, Service, eventually};

const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_SECRET: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
/// In every field that may hold text. Codes are digits, so these are their own.
const CANARY: &str = "c4n4ry";
const CODE_CANARY: &str = "7391847261";

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// Everything that can be asked of the API, with canaries wherever somebody might put something.
fn requests(http: &Client, api: &str, email: &str, password: &str) -> Vec<RequestBuilder> {
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
                json!({ "email": format!("{CANARY} no address"), "password": CANARY, "code": CANARY }),
                json!({ "email": { CANARY: CANARY }, "password": [CANARY], "code": { CANARY: [CANARY] } }),
                json!({ "unknown": CANARY, "email": format!("{CANARY}\0@example.com"), "password": format!("{CANARY}\0") }),
                json!([CANARY]),
                json!(CANARY),
            ] {
                requests.push(request().json(&body));
                // The user is needed to the end, and deleted then.
                if method != Method::DELETE {
                    requests.push(request().json(&body).basic_auth(email, Some(password)));
                }
                requests.push(request().json(&body).basic_auth(email, Some(format!("{CANARY} wrong"))));
            }
            let text = "application/json";
            requests.push(request().header("content-type", text).body(format!("{{\"email\": \"{CANARY}")));
            requests.push(request().header("content-type", format!("text/{CANARY}")).body(CANARY));
            requests.push(request().header("content-type", text).body(CANARY.repeat(4000)));
            requests.push(request().header("authorization", format!("Basic {CANARY}")));
            requests.push(request().header("authorization", format!("Bearer {CANARY}")));
            let fields =
                ["cookie", "user-agent", "referer", "traceparent", "tracestate", "idempotency-key", "if-none-match"];
            requests.push(fields.iter().fold(request(), |request, field| request.header(*field, CANARY)));
        }
    }
    for path in ["", "problems/", "docs/", "openapi.json?q=", "v1/users/", "readyz?q="] {
        requests.push(http.get(format!("{api}/{path}{CANARY}")));
        requests.push(http.delete(format!("{api}/{path}{CANARY}")));
    }
    requests
}

/// What only an admin is not refused at once, and which changes nothing all the same.
fn requests_of_an_admin(http: &Client, api: &str, id: &str) -> Vec<RequestBuilder> {
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
    // Of the last admin.
    requests.push(http.delete(format!("{api}/v1/users/{id}")));
    requests
}

/// `serve` as a process, with everything in its log that anybody in it can say.
async fn serve(database_url: &str, redis_url: &str, mail_url: &str) -> (Running, String) {
    let mut serve = sixty(&["serve", "--log-level=trace"]);
    serve.env("DATABASE_URL", database_url).env("REDIS_URL", redis_url).env("MAIL_URL", mail_url);
    serve
        .env("REDIS_PREFIX", format!("t{}", support::unique_name()))
        .env("CODE_SECRET", SECRET)
        .env("CLIENT_LIMITS", "false");
    if database_url.ends_with(CANARY) {
        // The one that is not there is waited for by every request.
        serve.env("DATABASE_TIMEOUT", "50ms");
    }
    // Ten digits can be looked for in a log.
    serve.env("SHORT_CODES_PER_YEAR", "0");
    Running::serve(&mut serve).await
}

#[tokio::test]
async fn no_log_metric_or_error_repeats_what_was_sent() {
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    // The mail API of a service that is here only for its mock.
    let mock = Service::start().await;
    let nowhere = "127.0.0.1:1";
    let database = support::create_database().await;
    let worlds = [
        (database.clone(), stack.redis_url().to_owned(), mock.mail_url.clone()),
        (support::create_database().await, format!("redis://:{CANARY}@{nowhere}"), mock.mail_url.clone()),
        (
            support::create_database().await,
            stack.redis_url().to_owned(),
            format!("http://{CANARY}:{CANARY}@{nowhere}/{CANARY}"),
        ),
        (format!("postgres://sixty:{CANARY}@{nowhere}/{CANARY}"), stack.redis_url().to_owned(), mock.mail_url.clone()),
    ];
    for (n, (database_url, redis_url, mail_url)) in worlds.into_iter().enumerate() {
        let (mut running, api) = serve(&database_url, &redis_url, &mail_url).await;
        let has_database = n < 3;
        let http = client();
        if has_database {
            eventually("its tables", async || {
                let ready = Answer::of(http.get(format!("{api}/readyz"))).await;
                (!ready.body.to_string().contains("postgresql")).then_some(())
            })
            .await;
        }
        let (email, password) = (format!("{CANARY}.{n}@example.com"), format!("{CANARY} horse battery"));
        let mut seen = vec![];
        for request in requests(&http, &api, &email, &password) {
            let answer = Answer::of(request).await;
            let user = answer.status.is_success() && answer.body["email"] == email.as_str();
            assert!(user || !format!("{answer:?}").contains(CANARY), "{answer:?}");
            assert!(!format!("{answer:?}").contains(CODE_CANARY), "{answer:?}");
            seen.push(answer.status.as_u16());
        }
        let mut secrets = vec![CANARY.to_owned(), CODE_CANARY.to_owned()];
        if n == 0 {
            for status in [201, 400, 401, 403, 404, 405, 413, 415, 422, 429] {
                assert!(seen.contains(&status), "{status} was not made: {seen:?}");
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
            let mut refused = vec![];
            for request in requests_of_an_admin(&http, &api, answer.body["id"].as_str().unwrap()) {
                let answer = Answer::of(request.basic_auth(&email, Some(&password))).await;
                assert!(!format!("{answer:?}").contains(CANARY), "{answer:?}");
                refused.push(answer.status.as_u16());
            }
            refused.sort_unstable();
            refused.dedup();
            assert_eq!(refused, [404, 409, 422]);
            sqlx::query("UPDATE users SET role = 'user'").execute(&db).await.unwrap();
            let link = mail.lines().last().unwrap();
            assert_eq!(http.get(link).send().await.unwrap().status(), 200);
            assert_eq!(http.post(link).send().await.unwrap().status(), 410);
            secrets.push(link.rsplit_once('/').unwrap().1.to_owned());
            secrets.extend([code, hash.rsplit_once('$').unwrap().1.to_owned(), SECRET.to_owned()]);
        } else if !has_database {
            assert!(seen.contains(&503), "{seen:?}");
        }
        let leave = http.delete(format!("{api}/v1/users/me")).json(&json!(CANARY)).basic_auth(&email, Some(&password));
        assert_eq!(Answer::of(leave).await.status, if has_database { 204 } else { 503 });
        let metrics = client().get(format!("{}/metrics", running.ops())).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("sixty_registrations_total"));
        assert!(running.end(Signal::SIGTERM).await.success());
        let log = running.stderr();
        assert!(log.contains("POST /v1/users "), "{log}");
        for secret in secrets {
            for (what, text) in [("the metrics", &metrics), ("the log", &log)] {
                let line = text.lines().find(|line| line.contains(&secret));
                assert!(line.is_none(), "{what} of world {n}: {}", line.unwrap());
            }
        }
    }
}

/// All that PostgreSQL holds, as text.
async fn dump_of_postgresql(service: &Service) -> String {
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

/// All that Redis holds of the service, as text.
async fn dump_of_redis(service: &Service) -> String {
    let mut dump = String::new();
    for key in service.redis::<Vec<String>>(&["KEYS", &format!("{}:*", service.prefix)]).await {
        let kind: String = service.redis(&["TYPE", &key]).await;
        let value = match &*kind {
            "hash" => service.redis::<Vec<String>>(&["HGETALL", &key]).await.join(" "),
            "stream" => format!("{:?}", service.redis::<Vec<(String, Vec<String>)>>(&["XRANGE", &key, "-", "+"]).await),
            "string" => service.redis::<String>(&["GET", &key]).await,
            other => panic!("{key} is a {other}: dump it here, too"),
        };
        dump.push_str(&format!("{key} {value}\n"));
    }
    dump
}

/// The words of a dump: what stands between anything but letters and digits.
fn words(dump: &str) -> HashSet<&str> {
    dump.split(|c: char| !c.is_ascii_alphanumeric()).collect()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What whoever has a dump, but no secret, can make of a guess: the guess itself, and hashes of it alone and with, or
/// keyed by, everything that lies beside it.
fn tries(guess: &str, beside: &[Vec<u8>]) -> Vec<String> {
    let mut tries = vec![guess.to_owned(), hex(Sha256::digest(guess))];
    for thing in beside {
        tries.push(hex(Sha256::digest([thing, guess.as_bytes()].concat())));
        tries.push(hex(Sha256::digest([guess.as_bytes(), thing].concat())));
        let mut mac = Hmac::<Sha256>::new_from_slice(thing).unwrap();
        mac.update(guess.as_bytes());
        tries.push(hex(mac.finalize().into_bytes()));
    }
    tries
}

#[tokio::test]
async fn a_dump_of_the_stores_yields_no_code_without_the_secret() {
    for storage in ["hmac", "plain"] {
        let service = Service::start_with(&["--code-storage", storage]).await;
        // Waits in the outbox, its code in Redis: as much as can lie anywhere at one time.
        service.set_mail_faults(json!({ "drop_rate": 1 })).await;
        let id: Uuid = service.register_pending("ada@example.com").await.parse().unwrap();
        let code = service.wait_for_code("ada@example.com", 1).await;
        let redis = eventually("the code in Redis", async || {
            let dump = dump_of_redis(&service).await;
            dump.contains(&service.redis_key("code", &id.to_string())).then_some(dump)
        })
        .await;
        let postgresql = dump_of_postgresql(&service).await;
        let beside: Vec<(Vec<u8>, Vec<u8>, Uuid)> = sqlx::query_as(
            "SELECT nonce, salt, idempotency_key FROM outbox JOIN users ON users.id = user_id JOIN addresses USING (address)",
        )
        .fetch_all(&service.db)
        .await
        .unwrap();
        let (nonce, salt, key) = beside[0].clone();
        let beside = [nonce, salt, id.as_bytes().to_vec(), id.to_string().into_bytes(), key.as_bytes().to_vec()];

        // Ids and keys are words of many digits and may hold four by chance; the fields of Redis are looked at whole.
        let (in_redis, in_postgresql) = (words(&redis), words(&postgresql));
        let found: Vec<String> = (0..10_000)
            .map(|n| format!("{n:04}"))
            .filter(|guess| {
                let mut tries = tries(guess, &beside);
                let hashes = tries.split_off(1);
                redis.contains(&format!("code {guess}"))
                    || hashes.iter().any(|hash| in_redis.contains(&**hash) || in_postgresql.contains(&**hash))
            })
            .collect();
        let secret = CodeSecret::new(vec![0; 32]).unwrap();
        let with_secret = |code: &str| hex(secret.verifier(UserId(id), &Code::parse(code).unwrap()));
        match storage {
            // What is looked for can be found.
            "plain" => assert_eq!(found, [code]),
            _ => {
                assert_eq!(found, Vec::<String>::new());
                assert!(in_redis.contains(&*with_secret(&code)), "with the secret it can be tried");
            }
        }
    }
}

#[tokio::test]
async fn another_code_secret_costs_a_resend() {
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
