//! Rate limits of client networks: code requests, wrong codes and flood mode.
//!
//! The service trusts the tests' network as a proxy, so that a test can send from many client addresses.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use nix::sys::signal::Signal;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sixty::domain::code::CodeSecret;
use sixty::domain::email::Email;
use sixty::domain::network::Network;
use sixty::store::redis::limits::{LimitsConfig, Quota, RedisLimits};
use sixty::store::redis::{Redis, RedisConfig};
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use crate::private_servers::PrivateRedis;
use crate::support::{self, Answer, PASSWORD, Service, concurrently, eventually, wrong_code};

/// Switches the limits on. The Redis timeout is long, because the limits fail open when Redis is late.
const LIMITS_ON: [&str; 4] =
    ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--redis-timeout=20s", "--mail-lease=2m"];

async fn start_limited(flags: &[&str]) -> Service {
    Service::start_with(&[&LIMITS_ON[..], flags].concat()).await
}

impl Service {
    fn request_from(&self, client: &str, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("X-Forwarded-For", client)
    }

    fn registration_from(&self, client: &str, email: &str) -> RequestBuilder {
        let body = json!({ "email": email, "password": PASSWORD });
        self.request_from(client, Method::POST, "/v1/users").json(&body)
    }

    fn guess_from(&self, client: &str, email: &str, code: &str) -> RequestBuilder {
        let request = self.request_from(client, Method::POST, "/v1/users/me/activation");
        request.basic_auth(email, Some(PASSWORD)).json(&json!({ "code": code }))
    }

    async fn register_from(&self, client: &str, email: &str) -> Answer {
        Answer::of(self.registration_from(client, email)).await
    }

    async fn activate_from(&self, client: &str, email: &str, code: &str) -> Answer {
        Answer::of(self.guess_from(client, email, code)).await
    }
}

fn count_status(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Returns `r`, the remaining quota, from the `RateLimit` header field.
fn remaining(answer: &Answer) -> u32 {
    let field = answer.header("ratelimit");
    let (_, rest) = field.split_once(";r=").unwrap_or_else(|| panic!("no r in {field:?} of {answer:?}"));
    rest.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn concurrent_registrations_on_two_replicas_use_exactly_the_quota() {
    let service = start_limited(&["--client-codes-per-hour=30"]).await;
    let replica = service.replica(&[&LIMITS_ON[..], &["--client-codes-per-hour=30"]].concat()).await;
    let answers = concurrently(100, |n| {
        let target = if n % 2 == 0 { &service } else { &replica };
        Answer::of(target.registration_from("192.0.2.1", &format!("a{n}@example.com")))
    })
    .await;
    assert_eq!((count_status(&answers, 201), count_status(&answers, 429)), (30, 70));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.outcome(), (429, "too-many-requests"));
    assert_eq!(refused.header("ratelimit-policy"), r#""codes";q=30;w=3600"#);
    assert_eq!(refused.header("ratelimit"), format!(r#""codes";r=0;t={}"#, refused.header("retry-after")));

    // The quota of another network is unaffected.
    let other_network = service.register_from("192.0.2.2", "b@example.com").await;
    assert_eq!(other_network.status, 201);
    assert_eq!(other_network.header("ratelimit"), r#""codes";r=29;t=120"#);
}

#[tokio::test]
async fn an_ipv6_64_prefix_is_one_network_and_so_is_an_ipv4_address_in_any_notation() {
    let service = start_limited(&["--client-codes-per-hour=2"]).await;
    let remaining_after_registration =
        async |client: &str, email: &str| remaining(&service.register_from(client, email).await);
    assert_eq!(remaining_after_registration("2001:db8:0:1::1", "a@example.com").await, 1);
    assert_eq!(remaining_after_registration("2001:db8:0:1:ffff:ffff:ffff:ffff", "b@example.com").await, 0);
    assert_eq!(remaining_after_registration("2001:db8:0:2::1", "c@example.com").await, 1);
    assert_eq!(remaining_after_registration("192.0.2.1", "d@example.com").await, 1);
    assert_eq!(remaining_after_registration("::ffff:192.0.2.1", "e@example.com").await, 0);
    assert_eq!(service.register_from("2001:db8:0:1::2", "f@example.com").await.outcome(), (429, "too-many-requests"));
}

#[tokio::test]
async fn forwarded_fields_are_ignored_without_trusted_proxies() {
    let service = Service::start_with(&["--client-limits=true", "--client-codes-per-hour=2"]).await;
    for (client, status) in [("192.0.2.1", 201), ("192.0.2.2", 201), ("192.0.2.3", 429)] {
        let request = service.registration_from(client, &format!("{client}@example.com"));
        let answer = Answer::of(request.header("Forwarded", format!("for={client}"))).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn registrations_of_known_and_unknown_addresses_use_the_quota_equally() {
    let service = start_limited(&[]).await;
    service.register_active("ada@example.com").await;
    service.age_grants(Duration::from_secs(60)).await;
    for (client, email) in [("192.0.2.1", "ada@example.com"), ("192.0.2.2", "eve@example.com")] {
        // The second registration comes during the wait between code mails.
        for (status, expected_remaining) in [(201, 99), (429, 98)] {
            let answer = service.register_from(client, email).await;
            assert_eq!((answer.status.as_u16(), remaining(&answer)), (status, expected_remaining), "{answer:?}");
            assert_eq!(answer.header("ratelimit-policy"), r#""codes";q=100;w=3600"#);
        }
    }
}

#[tokio::test]
async fn resending_a_code_uses_the_same_quota_as_registering() {
    let service = start_limited(&["--client-codes-per-hour=2"]).await;
    let resend = || service.request_from("192.0.2.1", Method::POST, "/v1/users/me/verification-code");
    let resend = async || Answer::of(resend().basic_auth("ada@example.com", Some(PASSWORD))).await;
    service.register_from("192.0.2.1", "ada@example.com").await;
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!((resend().await.status.as_u16(), resend().await.outcome()), (202, (429, "too-many-requests")));
}

#[tokio::test]
async fn a_request_that_the_service_fails_does_not_use_the_quota() {
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    let prefix = format!("t{}", support::unique_name());
    let stores = ["--database-url=postgres://x@127.0.0.1:1/x", "--database-timeout=300ms", "--redis-url"];
    let flags =
        [&LIMITS_ON[..], &stores, &[stack.redis_url(), "--redis-prefix", &prefix, "--mail-url=http://127.0.0.1:1"]];
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let url = support::run_service(&flags.concat(), stop).await;
    let request = reqwest::Client::new().post(format!("{url}/v1/users"));
    let answer = Answer::of(request.json(&json!({ "email": "ada@example.com", "password": PASSWORD }))).await;
    assert_eq!((answer.outcome(), remaining(&answer)), ((503, "unavailable"), 100));
}

/// Registers five users, with three guesses each. Returns their addresses and codes.
async fn register_five(service: &Service) -> Vec<(String, String)> {
    let mut users = vec![];
    for n in 0..5 {
        let email = format!("p{n}@example.com");
        assert_eq!(service.register_from("198.51.100.1", &email).await.status, 201);
        let code = service.wait_for_code(&email, 1).await;
        users.push((email, code));
    }
    service.wait_for_empty_outbox().await;
    users
}

#[tokio::test]
async fn concurrent_wrong_codes_use_exactly_the_quota() {
    let service = start_limited(&["--client-misses-per-hour=7"]).await;
    let users = register_five(&service).await;
    let answers = concurrently(15, |n| {
        let (email, code) = &users[n % 5];
        Answer::of(service.guess_from("192.0.2.1", email, &wrong_code(code)))
    })
    .await;
    let wrong_guesses = answers.iter().filter(|answer| answer.outcome() == (422, "incorrect-code")).count();
    let refused = answers.iter().filter(|answer| answer.outcome() == (429, "too-many-requests")).count();
    assert_eq!((wrong_guesses, refused), (7, 8));

    // The service refuses even the right code from this network, and accepts it from another.
    let (email, code) = &users[0];
    let refused = service.activate_from("192.0.2.1", email, code).await;
    assert_eq!(refused.outcome(), (429, "too-many-requests"));
    let (email, code) = live_code(&service, &users).await;
    let other_network = service.activate_from("192.0.2.2", &email, &code).await;
    assert_eq!(other_network.status, 200, "{other_network:?}");
    // A right code uses none of the quota.
    assert_eq!(other_network.header("ratelimit"), r#""misses";r=7;t=0"#);
    assert_eq!(other_network.header("ratelimit-policy"), r#""misses";q=7;w=3600"#);
}

/// Returns an address and its code that is still live. Seven wrong guesses can destroy at most two of the five codes.
async fn live_code(service: &Service, users: &[(String, String)]) -> (String, String) {
    for (email, code) in users {
        let key = service.redis_key("code", &service.user_id(email).await);
        if service.redis::<bool>(&["EXISTS", &key]).await {
            return (email.clone(), code.clone());
        }
    }
    panic!("all codes are gone");
}

impl Service {
    async fn user_id(&self, email: &str) -> String {
        sqlx::query_scalar("SELECT id::text FROM users WHERE email = $1").bind(email).fetch_one(&self.db).await.unwrap()
    }
}

#[tokio::test]
async fn right_and_expired_codes_do_not_use_the_wrong_code_quota() {
    let service = start_limited(&["--client-misses-per-hour=2"]).await;
    service.register_from("192.0.2.1", "ada@example.com").await;
    let code = service.wait_for_code("ada@example.com", 1).await;
    service.wait_for_empty_outbox().await;
    for _ in 0..3 {
        let answer = service.activate_from("192.0.2.1", "ada@example.com", &code).await;
        assert!(answer.status == 200 || answer.outcome() == (409, "already-active"), "{answer:?}");
        assert_eq!(remaining(&answer), 2);
    }
    service.register_from("192.0.2.1", "eve@example.com").await;
    let key = service.redis_key("code", &service.user_id("eve@example.com").await);
    service.wait_for_empty_outbox().await;
    let _: i64 = service.redis(&["DEL", &key]).await;
    for _ in 0..3 {
        let answer = service.activate_from("192.0.2.1", "eve@example.com", "0000").await;
        assert_eq!((answer.outcome(), remaining(&answer)), ((410, "code-expired"), 2));
    }
}

#[tokio::test]
async fn flood_mode_sets_its_metric_and_charges_contributing_networks_more() {
    let metrics = PrometheusBuilder::new().build_recorder();
    let rendered = metrics.handle();
    let _metrics = metrics::set_default_local_recorder(&metrics);
    let service = start_limited(&["--flood-misses-per-minute=5"]).await;
    let users = register_five(&service).await;
    let in_flood_mode = || rendered.render().contains("sixty_wrong_code_flood 1");
    let guess_wrong = async |client: &str, n: usize| {
        let (email, code) = &users[n];
        let answer = service.activate_from(client, email, &wrong_code(code)).await;
        assert_eq!(answer.outcome(), (422, "incorrect-code"));
        remaining(&answer)
    };
    // The wrong codes come in sequence. Their count decays a little in the meantime.
    let mut remaining_by_guess = vec![];
    for n in [0, 0, 0, 1, 1, 1, 2, 2, 2] {
        let was_in_flood_mode = in_flood_mode();
        remaining_by_guess.push((was_in_flood_mode, guess_wrong("192.0.2.1", n).await));
    }
    assert!(in_flood_mode(), "{remaining_by_guess:?}");
    let first_in_flood_mode = remaining_by_guess.iter().position(|(in_flood_mode, _)| *in_flood_mode).unwrap();
    assert!(first_in_flood_mode >= 5, "{remaining_by_guess:?}");

    // In flood mode, a wrong code costs 5 units instead of 1.
    assert_eq!(
        remaining_by_guess[first_in_flood_mode].1 + 5,
        remaining_by_guess[first_in_flood_mode - 1].1,
        "{remaining_by_guess:?}"
    );
    // A network that did not contribute to the flood still pays 1 unit for a wrong code.
    assert_eq!((guess_wrong("192.0.2.2", 3).await, guess_wrong("192.0.2.2", 3).await), (29, 28));
    let (email, code) = &users[4];
    assert_eq!(service.activate_from("192.0.2.3", email, code).await.status, 200);
}

#[tokio::test]
async fn flood_mode_switches_off_after_the_flood_and_can_start_again() {
    let metrics = PrometheusBuilder::new().build_recorder();
    let rendered = metrics.handle();
    let _metrics = metrics::set_default_local_recorder(&metrics);
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    let config = RedisConfig {
        url: stack.redis_url().into(),
        max_connections: 2,
        timeout: Duration::from_secs(20),
        prefix: format!("t{}", support::unique_name()),
    };
    let flood = Quota { units: 3, window: Duration::from_millis(300) };
    let limits_config = LimitsConfig {
        codes: Quota::per_hour(1),
        misses: Quota::per_hour(100),
        pending_logins: Quota::per_hour(1),
        flood,
        max_wait: Duration::ZERO,
    };
    let secret = CodeSecret::new(vec![60; 32]).unwrap();
    let limits = RedisLimits::new(Redis::new(&config).unwrap(), secret, limits_config);
    let network = Network::of("192.0.2.1".parse().unwrap());
    let ada = Email::parse("ada@example.com").unwrap();
    let cost = async || {
        let before = limits.quotas.consume_guess(network, ada.address()).await.unwrap().unwrap().state.remaining;
        before - limits.quotas.consume_guess(network, ada.address()).await.unwrap().unwrap().state.remaining
    };
    for _ in 0..2 {
        assert_eq!(cost().await, 1);
    }
    let flood_metric_is = |value: u8| rendered.render().contains(&format!("sixty_wrong_code_flood {value}"));
    for _ in 0..2 {
        eventually("flood mode", async || {
            futures_util::future::join_all((0..20).map(|_| limits.quotas.count_miss(network, true))).await;
            flood_metric_is(1).then_some(())
        })
        .await;
        eventually("the end of flood mode", async || flood_metric_is(0).then_some(())).await;
        assert_eq!(cost().await, 1);
    }
}

/// Ten registrations of a neighbour use up the network's wrong guesses. The first guess of others is answered.
#[tokio::test]
async fn a_neighbours_wrong_codes_do_not_make_a_right_code_worthless() {
    let service = start_limited(&[]).await;
    // One registered before the neighbour's guesses, one will register after them.
    assert_eq!(service.register_from("192.0.2.1", "before@example.com").await.status, 201);
    for n in 0..10 {
        let email = format!("neighbour{n}@example.com");
        assert_eq!(service.register_from("192.0.2.1", &email).await.status, 201);
        let code = service.wait_for_code(&email, 1).await;
        for _ in 0..3 {
            let answer = service.activate_from("192.0.2.1", &email, &wrong_code(&code)).await;
            assert_eq!(answer.outcome(), (422, "incorrect-code"));
        }
    }
    let code = service.wait_for_code("before@example.com", 1).await;
    assert_eq!(service.activate_from("192.0.2.1", "before@example.com", &code).await.status, 200);
    assert_eq!(service.register_from("192.0.2.1", "after@example.com").await.status, 201);
    let code = service.wait_for_code("after@example.com", 1).await;
    service.wait_for_empty_outbox().await;
    let wrong = service.activate_from("192.0.2.1", "after@example.com", &wrong_code(&code)).await;
    assert_eq!(wrong.outcome(), (422, "incorrect-code"));
    // The second guess is one of the network's, which are used up.
    let second = service.activate_from("192.0.2.1", "after@example.com", &code).await;
    assert_eq!(second.outcome(), (429, "too-many-requests"));
}

#[tokio::test]
async fn a_guess_that_finds_no_code_leaves_the_first_guess_free() {
    let service = start_limited(&["--client-misses-per-hour=1"]).await;
    let neighbour = service.register_from("192.0.2.1", "neighbour@example.com").await;
    assert_eq!(neighbour.status, 201);
    let code = service.wait_for_code("neighbour@example.com", 1).await;
    for expected in [(422, "incorrect-code"), (429, "too-many-requests")] {
        let answer = service.activate_from("192.0.2.1", "neighbour@example.com", &wrong_code(&code)).await;
        assert_eq!(answer.outcome(), expected);
    }
    assert_eq!(service.register_from("192.0.2.1", "ada@example.com").await.status, 201);
    let code = service.wait_for_code("ada@example.com", 1).await;
    service.wait_for_empty_outbox().await;
    let key = service.redis_key("code", &service.user_id("ada@example.com").await);
    let ttl: i64 = service.redis(&["PTTL", &key]).await;
    let field: Vec<String> = service.redis(&["HGETALL", &key]).await;
    let _: i64 = service.redis(&["DEL", &key]).await;
    for _ in 0..3 {
        let early = service.activate_from("192.0.2.1", "ada@example.com", &code).await;
        assert_eq!(early.outcome(), (410, "code-expired"));
    }
    let mut restore = vec!["HSET", &key];
    restore.extend(field.iter().map(String::as_str));
    let _: i64 = service.redis(&restore).await;
    let _: i64 = service.redis(&["PEXPIRE", &key, &ttl.to_string()]).await;
    assert_eq!(service.activate_from("192.0.2.1", "ada@example.com", &code).await.status, 200);
}

/// A day has ten times the wrong codes of an hour. Beyond that a network cannot register, but what is registered works.
#[tokio::test]
async fn too_many_wrong_codes_in_a_day_stop_registrations_of_the_network() {
    let service = start_limited(&["--client-misses-per-hour=1"]).await;
    let mut refused = None;
    for n in 0..20 {
        let email = format!("p{n}@example.com");
        let answer = service.register_from("192.0.2.1", &email).await;
        if answer.status == 429 {
            refused = Some((n, answer));
            break;
        }
        let code = service.wait_for_code(&email, 1).await;
        let answer = service.activate_from("192.0.2.1", &email, &wrong_code(&code)).await;
        assert_eq!(answer.outcome(), (422, "incorrect-code"));
    }
    let (n, refused) = refused.expect("registrations are refused");
    assert_eq!((n, refused.outcome()), (10, (429, "too-many-requests")));
    // A tenth of a day.
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((8_000..=8_640).contains(&seconds), "{seconds}");
    assert_eq!(service.register_from("192.0.2.2", "elsewhere@example.com").await.status, 201);
}

#[tokio::test]
async fn wider_ipv6_prefixes_have_larger_quotas() {
    let service = start_limited(&["--client-codes-per-hour=2"]).await;
    let mut accepted = 0;
    // A new /64 of one /56 each time: four times the quota of one network.
    while service
        .register_from(&format!("2001:db8:1:{accepted:x}::1"), &format!("a{accepted}@example.com"))
        .await
        .status
        == 201
    {
        accepted += 1;
        assert!(accepted < 50);
    }
    assert_eq!(accepted, 8);
    // New /56 networks of the same /48: sixteen times.
    while service
        .register_from(&format!("2001:db8:1:{accepted:x}00::1"), &format!("a{accepted}@example.com"))
        .await
        .status
        == 201
    {
        accepted += 1;
        assert!(accepted < 50);
    }
    assert_eq!(accepted, 32);
    assert_eq!(service.register_from("2001:db8:2::1", "elsewhere@example.com").await.status, 201);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn each_process_limits_networks_while_redis_hangs() {
    let redis = PrivateRedis::start().await;
    let own = format!("--redis-url={}", redis.url);
    let service = start_limited(&[&own, "--redis-timeout=1s", "--client-codes-per-hour=1"]).await;
    eventually("a refusal by the limit", async || {
        let answer = service.register_from("192.0.2.1", &format!("{}@example.com", support::unique_name())).await;
        (answer.outcome() == (429, "too-many-requests")).then_some(())
    })
    .await;

    redis.signal(Signal::SIGSTOP);
    // The limit of this process is whole, and it is the same for each network.
    let answer = service.register_from("192.0.2.1", "first@example.com").await;
    assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (201, ""));
    for n in 0..20 {
        let answer = service.register_from("192.0.2.1", &format!("a{n}@example.com")).await;
        assert_eq!(answer.outcome(), (429, "too-many-requests"));
    }
    assert_eq!(service.register_from("192.0.2.2", "elsewhere@example.com").await.status, 201);
    redis.signal(Signal::SIGCONT);
    eventually("a refusal by the limit", async || {
        let answer = service.register_from("192.0.2.1", &format!("{}@example.com", support::unique_name())).await;
        (answer.outcome() == (429, "too-many-requests")).then_some(())
    })
    .await;
}
