//! What client networks may do. The tests' own network is a proxy that the service trusts, so that a test can be many.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use nix::sys::signal::Signal;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sixty::domain::code::CodeSecret;
use sixty::domain::network::Network;
use sixty::store::redis::limits::{LimitsConfig, Quota, QuotaName, RedisLimits};
use sixty::store::redis::{Redis, RedisConfig};
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use crate::own::OwnRedis;
use crate::support::{self, Answer, PASSWORD, Service, concurrently, eventually, wrong_code};

/// Limits on. Calls to Redis have all the time that a busy machine needs: one that is late limits nothing.
const LIMITED: [&str; 4] =
    ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--redis-timeout=20s", "--mail-lease=2m"];

async fn limited(flags: &[&str]) -> Service {
    Service::start_with(&[&LIMITED[..], flags].concat()).await
}

impl Service {
    fn from(&self, client: &str, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("X-Forwarded-For", client)
    }

    fn registration(&self, client: &str, email: &str) -> RequestBuilder {
        let body = json!({ "email": email, "password": PASSWORD });
        self.from(client, Method::POST, "/v1/users").json(&body)
    }

    fn guess(&self, client: &str, email: &str, code: &str) -> RequestBuilder {
        let request = self.from(client, Method::POST, "/v1/users/me/activation");
        request.basic_auth(email, Some(PASSWORD)).json(&json!({ "code": code }))
    }

    async fn registered_from(&self, client: &str, email: &str) -> Answer {
        Answer::of(self.registration(client, email)).await
    }

    async fn guessed_from(&self, client: &str, email: &str, code: &str) -> Answer {
        Answer::of(self.guess(client, email, code)).await
    }
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// `r` of the field `RateLimit`.
fn remaining(answer: &Answer) -> u32 {
    let field = answer.header("ratelimit");
    let (_, rest) = field.split_once(";r=").unwrap_or_else(|| panic!("no r in {field:?} of {answer:?}"));
    rest.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn of_a_hundred_registrations_at_once_exactly_the_allowed_number_passes() {
    let one = limited(&["--client-codes-per-hour=30"]).await;
    let two = one.replica(&[&LIMITED[..], &["--client-codes-per-hour=30"]].concat()).await;
    let answers = concurrently(100, |n| {
        let service = if n % 2 == 0 { &one } else { &two };
        Answer::of(service.registration("192.0.2.1", &format!("a{n}@example.com")))
    })
    .await;
    assert_eq!((statuses(&answers, 201), statuses(&answers, 429)), (30, 70));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.outcome(), (429, "too-many-requests"));
    assert_eq!(refused.header("ratelimit-policy"), r#""codes";q=30;w=3600"#);
    assert_eq!(refused.header("ratelimit"), format!(r#""codes";r=0;t={}"#, refused.header("retry-after")));

    // Elsewhere nobody notices.
    let elsewhere = one.registered_from("192.0.2.2", "b@example.com").await;
    assert_eq!(elsewhere.status, 201);
    assert_eq!(elsewhere.header("ratelimit"), r#""codes";r=29;t=120"#);
}

#[tokio::test]
async fn an_ipv6_64_is_one_network_and_an_ipv4_address_is_one_however_written() {
    let service = limited(&["--client-codes-per-hour=2"]).await;
    let left = async |client: &str, email: &str| remaining(&service.registered_from(client, email).await);
    assert_eq!(left("2001:db8:0:1::1", "a@example.com").await, 1);
    assert_eq!(left("2001:db8:0:1:ffff:ffff:ffff:ffff", "b@example.com").await, 0);
    assert_eq!(left("2001:db8:0:2::1", "c@example.com").await, 1);
    assert_eq!(left("192.0.2.1", "d@example.com").await, 1);
    assert_eq!(left("::ffff:192.0.2.1", "e@example.com").await, 0);
    assert_eq!(service.registered_from("2001:db8:0:1::2", "f@example.com").await.outcome(), (429, "too-many-requests"));
}

#[tokio::test]
async fn without_trusted_proxies_forwarded_fields_are_nothing() {
    let service = Service::start_with(&["--client-limits=true", "--client-codes-per-hour=2"]).await;
    for (client, status) in [("192.0.2.1", 201), ("192.0.2.2", 201), ("192.0.2.3", 429)] {
        let request = service.registration(client, &format!("{client}@example.com"));
        let answer = Answer::of(request.header("Forwarded", format!("for={client}"))).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn known_and_unknown_addresses_are_counted_alike() {
    let service = limited(&[]).await;
    service.register_active("ada@example.com").await;
    service.age_grants(Duration::from_secs(60)).await;
    for (client, email) in [("192.0.2.1", "ada@example.com"), ("192.0.2.2", "eve@example.com")] {
        // Now, and inside the wait.
        for (status, left) in [(201, 99), (429, 98)] {
            let answer = service.registered_from(client, email).await;
            assert_eq!((answer.status.as_u16(), remaining(&answer)), (status, left), "{answer:?}");
            assert_eq!(answer.header("ratelimit-policy"), r#""codes";q=100;w=3600"#);
        }
    }
}

#[tokio::test]
async fn asking_for_another_code_is_counted_as_registering_is() {
    let service = limited(&["--client-codes-per-hour=2"]).await;
    let resend = || service.from("192.0.2.1", Method::POST, "/v1/users/me/verification-code");
    let resend = async || Answer::of(resend().basic_auth("ada@example.com", Some(PASSWORD))).await;
    service.registered_from("192.0.2.1", "ada@example.com").await;
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!((resend().await.status.as_u16(), resend().await.outcome()), (202, (429, "too-many-requests")));
}

#[tokio::test]
async fn what_fails_by_our_fault_is_not_counted() {
    let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
    let prefix = format!("t{}", support::unique_name());
    let stores = ["--database-url=postgres://x@127.0.0.1:1/x", "--database-timeout=300ms", "--redis-url"];
    let flags =
        [&LIMITED[..], &stores, &[stack.redis_url(), "--redis-prefix", &prefix, "--mail-url=http://127.0.0.1:1"]];
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let url = support::run_service(&flags.concat(), stop).await;
    let request = reqwest::Client::new().post(format!("{url}/v1/users"));
    let answer = Answer::of(request.json(&json!({ "email": "ada@example.com", "password": PASSWORD }))).await;
    assert_eq!((answer.outcome(), remaining(&answer)), ((503, "unavailable"), 100));
}

/// Five people, each of whom has three guesses.
async fn five(service: &Service) -> Vec<(String, String)> {
    let mut people = vec![];
    for n in 0..5 {
        let email = format!("p{n}@example.com");
        assert_eq!(service.registered_from("198.51.100.1", &email).await.status, 201);
        let code = service.wait_for_code(&email, 1).await;
        people.push((email, code));
    }
    service.wait_for_empty_outbox().await;
    people
}

#[tokio::test]
async fn wrong_codes_are_counted_exactly_however_many_come_at_once() {
    let service = limited(&["--client-misses-per-hour=7"]).await;
    let people = five(&service).await;
    let answers = concurrently(15, |n| {
        let (email, code) = &people[n % 5];
        Answer::of(service.guess("192.0.2.1", email, &wrong_code(code)))
    })
    .await;
    let misses = answers.iter().filter(|answer| answer.outcome() == (422, "incorrect-code")).count();
    let refused = answers.iter().filter(|answer| answer.outcome() == (429, "too-many-requests")).count();
    assert_eq!((misses, refused), (7, 8));

    // The right code is not asked for any more from there, but it is from elsewhere.
    let (email, code) = &people[0];
    let there = service.guessed_from("192.0.2.1", email, code).await;
    assert_eq!(there.outcome(), (429, "too-many-requests"));
    let (live, code) = eventually_live(&service, &people).await;
    let elsewhere = service.guessed_from("192.0.2.2", &live, &code).await;
    assert_eq!(elsewhere.status, 200, "{elsewhere:?}");
    // What was no miss is given back.
    assert_eq!(elsewhere.header("ratelimit"), r#""misses";r=7;t=0"#);
    assert_eq!(elsewhere.header("ratelimit-policy"), r#""misses";q=7;w=3600"#);
}

/// Seven misses cannot have destroyed five codes.
async fn eventually_live(service: &Service, people: &[(String, String)]) -> (String, String) {
    for (email, code) in people {
        let key = service.redis_key("code", &service.id(email).await);
        if service.redis::<bool>(&["EXISTS", &key]).await {
            return (email.clone(), code.clone());
        }
    }
    panic!("no code is left");
}

impl Service {
    async fn id(&self, email: &str) -> String {
        sqlx::query_scalar("SELECT id::text FROM users WHERE email = $1").bind(email).fetch_one(&self.db).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_no_miss_costs_nothing() {
    let service = limited(&["--client-misses-per-hour=2"]).await;
    service.registered_from("192.0.2.1", "ada@example.com").await;
    let code = service.wait_for_code("ada@example.com", 1).await;
    service.wait_for_empty_outbox().await;
    for _ in 0..3 {
        let answer = service.guessed_from("192.0.2.1", "ada@example.com", &code).await;
        assert!(answer.status == 200 || answer.outcome() == (409, "already-active"), "{answer:?}");
        assert_eq!(remaining(&answer), 2);
    }
    service.registered_from("192.0.2.1", "eve@example.com").await;
    let key = service.redis_key("code", &service.id("eve@example.com").await);
    service.wait_for_empty_outbox().await;
    let _: i64 = service.redis(&["DEL", &key]).await;
    for _ in 0..3 {
        let answer = service.guessed_from("192.0.2.1", "eve@example.com", "0000").await;
        assert_eq!((answer.outcome(), remaining(&answer)), ((410, "code-expired"), 2));
    }
}

#[tokio::test]
async fn a_flood_of_wrong_codes_raises_an_alarm_and_slows_those_who_contribute() {
    let metrics = PrometheusBuilder::new().build_recorder();
    let rendered = metrics.handle();
    let _metrics = metrics::set_default_local_recorder(&metrics);
    let service = limited(&["--flood-misses-per-minute=5"]).await;
    let people = five(&service).await;
    let flooded = || rendered.render().contains("sixty_wrong_code_flood 1");
    let miss = async |client: &str, n: usize| {
        let (email, code) = &people[n];
        let answer = service.guessed_from(client, email, &wrong_code(code)).await;
        assert_eq!(answer.outcome(), (422, "incorrect-code"));
        remaining(&answer)
    };
    // One after the other: some drips away in the meantime, but not much.
    let mut left = vec![];
    for n in [0, 0, 0, 1, 1, 1, 2, 2, 2] {
        let before = flooded();
        left.push((before, miss("192.0.2.1", n).await));
    }
    assert!(flooded(), "{left:?}");
    let first_slow = left.iter().position(|(before, _)| *before).unwrap();
    assert!(first_slow >= 5, "{left:?}");
    assert_eq!(left[first_slow].1 + 5, left[first_slow - 1].1, "{left:?}");
    // Who has nothing to do with it is not slowed: a miss costs what it always does.
    assert_eq!((miss("192.0.2.2", 3).await, miss("192.0.2.2", 3).await), (29, 28));
    let (email, code) = &people[4];
    assert_eq!(service.guessed_from("192.0.2.3", email, code).await.status, 200);
}

#[tokio::test]
async fn a_flood_ends() {
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
    let config_of_limits =
        LimitsConfig { codes: Quota::per_hour(1), misses: Quota::per_hour(100), flood, max_wait: Duration::ZERO };
    let secret = CodeSecret::new(vec![60; 32]).unwrap();
    let limits = RedisLimits::new(Redis::new(&config).unwrap(), secret, config_of_limits);
    let network = Network::of("192.0.2.1".parse().unwrap());
    let costs = async || {
        let before = limits.consume(QuotaName::Misses, network).await.unwrap().unwrap().state.remaining;
        before - limits.consume(QuotaName::Misses, network).await.unwrap().unwrap().state.remaining
    };
    for _ in 0..2 {
        assert_eq!(costs().await, 1);
    }
    let alarm = |is: u8| rendered.render().contains(&format!("sixty_wrong_code_flood {is}"));
    for _ in 0..2 {
        eventually("the alarm", async || {
            futures_util::future::join_all((0..20).map(|_| limits.count_miss())).await;
            alarm(1).then_some(())
        })
        .await;
        eventually("the end of the flood", async || alarm(0).then_some(())).await;
        assert_eq!(costs().await, 1);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_redis_nothing_is_limited_and_with_it_everything_is_again() {
    let redis = OwnRedis::start().await;
    let own = format!("--redis-url={}", redis.url);
    let service = limited(&[&own, "--redis-timeout=1s", "--client-codes-per-hour=1"]).await;
    eventually("a limit", async || {
        let answer = service.registered_from("192.0.2.1", &format!("{}@example.com", support::unique_name())).await;
        (answer.outcome() == (429, "too-many-requests")).then_some(())
    })
    .await;

    redis.signal(Signal::SIGSTOP);
    for n in 0..20 {
        let answer = service.registered_from("192.0.2.1", &format!("a{n}@example.com")).await;
        assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (201, ""));
    }
    redis.signal(Signal::SIGCONT);
    eventually("a limit", async || {
        let answer = service.registered_from("192.0.2.1", &format!("{}@example.com", support::unique_name())).await;
        (answer.outcome() == (429, "too-many-requests")).then_some(())
    })
    .await;
}
