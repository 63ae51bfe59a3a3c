//! Login throttle: failed authentications delay further attempts on the same address from the same network.

use std::time::Duration;

use reqwest::Method;

use crate::observability::ServeProcess;
use crate::support::{Answer, PASSWORD, Service, concurrently};

const WRONG_PASSWORD: &str = "wrong password";
const ATTACKER_PASSWORD: &str = "a password of my own";

/// Starts a service with the login throttle. The service trusts the tests' network as a proxy, so that a test can send
/// from many client addresses. Requests may wait 20 s for a hasher thread, so that a busy machine refuses none.
async fn start_throttled() -> Service {
    let flags = ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--redis-timeout=20s", "--mail-lease=2m"];
    Service::start_with(&[&flags[..], &["--hash-max-wait=20s"]].concat()).await
}

impl Service {
    fn login(&self, client: &str, email: &str, password: &str) -> reqwest::RequestBuilder {
        let request = self.request(Method::GET, "/v1/users/me").header("X-Forwarded-For", client);
        request.basic_auth(email, Some(password))
    }

    async fn login_from(&self, client: &str, email: &str, password: &str) -> Answer {
        Answer::of(self.login(client, email, password)).await
    }

    /// Returns the Redis keys that count failures, each for one address from one network.
    async fn address_failure_keys(&self) -> Vec<String> {
        self.redis(&["KEYS", &format!("{}:limit:*:failures:*", self.prefix)]).await
    }

    /// Returns the Redis keys that count failures, each for one network over all addresses.
    async fn network_failure_keys(&self) -> Vec<String> {
        self.redis(&["KEYS", &format!("{}:limit:*:failures", self.prefix)]).await
    }

    /// Ends every wait and keeps the counted failures.
    async fn end_waits(&self) {
        for key in [self.address_failure_keys().await, self.network_failure_keys().await].concat() {
            let _: i64 = self.redis(&["HDEL", &key, "until"]).await;
        }
    }

    /// Returns the wait for the only address that has failed, by Redis's clock.
    async fn address_wait(&self) -> Duration {
        const REMAINING_MS: &str = "local t = redis.call('TIME')
            return math.max(0, redis.call('HGET', KEYS[1], 'until') / 1000 - t[1] * 1000 - t[2] / 1000)";

        let keys = self.address_failure_keys().await;
        let [key] = &keys[..] else { panic!("{keys:?}") };
        Duration::from_millis(self.redis(&["EVAL", REMAINING_MS, "1", key]).await)
    }

    /// Fails to authenticate `times` times, and ends the wait before each attempt.
    async fn fail_logins(&self, client: &str, email: &str, times: u32) {
        for _ in 0..times {
            self.end_waits().await;
            assert_eq!(self.login_from(client, email, WRONG_PASSWORD).await.outcome(), (401, "unauthenticated"));
        }
    }
}

#[tokio::test]
async fn the_wait_doubles_after_five_failures_up_to_fifteen_minutes() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    for _ in 0..5 {
        let answer = service.login_from("192.0.2.1", "ada@example.com", WRONG_PASSWORD).await;
        assert_eq!(answer.outcome(), (401, "unauthenticated"));
    }
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let (wait, longest) = (service.address_wait().await, Duration::from_secs(seconds));
        assert!(wait <= longest && (seconds < 32 || wait > longest / 2), "{wait:?} of {seconds} s");
        service.fail_logins("192.0.2.1", "ada@example.com", 1).await;
    }
    // During the wait, the service refuses the right password too.
    for password in [WRONG_PASSWORD, PASSWORD] {
        let refused = service.login_from("192.0.2.1", "ada@example.com", password).await;
        assert_eq!(refused.outcome(), (429, "too-many-requests"));
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((450..=900).contains(&seconds), "{seconds}");
    }
    let key = service.address_failure_keys().await.remove(0);
    let ttl: i64 = service.redis(&["TTL", &key]).await;
    assert!((3600..=15 * 600).contains(&ttl), "the failures must expire, but only after the wait: {ttl} s");
}

#[tokio::test]
async fn failures_from_one_network_do_not_lock_the_account_for_another() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    service.fail_logins("192.0.2.1", "ada@example.com", 12).await;
    let stranger = service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await;
    assert_eq!(stranger.outcome(), (429, "too-many-requests"));
    assert_eq!(service.login_from("192.0.2.2", "ada@example.com", PASSWORD).await.status, 200);
    // The wait does not apply to another account from the same network either.
    service.register_active("bob@example.com").await;
    assert_eq!(service.login_from("192.0.2.1", "bob@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn unknown_addresses_are_throttled_like_known_ones_and_redis_stores_no_address() {
    let service = start_throttled().await;
    service.register_active("tom@example.com").await;
    let mut refusals = vec![];
    for (client, email) in [("192.0.2.1", "tom@example.com"), ("192.0.2.2", "eve@example.com"), ("192.0.2.3", "eve")] {
        service.fail_logins(client, email, 14).await;
        let refused = service.login_from(client, email, WRONG_PASSWORD).await;
        let names: Vec<_> = refused.headers.keys().map(ToString::to_string).collect();
        let (status, name) = refused.outcome();
        refusals.push((status, name.to_owned(), refused.body["title"].clone(), names));
    }
    assert_eq!((refusals[0].0, &refusals[0]), (429, &refusals[1]));
    assert_eq!(refusals[1], refusals[2]);
    let keys = service.address_failure_keys().await;
    assert_eq!(keys.len(), 3);
    for key in &keys {
        let values: Vec<String> = service.redis(&["HVALS", key]).await;
        assert!(!format!("{key}{values:?}").contains("tom") && !key.contains("eve"), "{key} {values:?}");
    }
}

#[tokio::test]
async fn after_many_failures_only_one_of_concurrent_attempts_is_checked() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    service.fail_logins("192.0.2.1", "ada@example.com", 12).await;
    service.end_waits().await;
    let answers = concurrently(20, |_| Answer::of(service.login("192.0.2.1", "ada@example.com", WRONG_PASSWORD))).await;
    let checked = answers.iter().filter(|answer| answer.status == 401).count();
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!((checked, refused), (1, 19));
}

#[tokio::test]
async fn at_most_nine_of_eighty_concurrent_wrong_passwords_are_checked() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    for email in ["ada@example.com", "eve@example.com"] {
        let answers = concurrently(80, |_| Answer::of(service.login("192.0.2.1", email, WRONG_PASSWORD))).await;
        let checked = answers.iter().filter(|answer| answer.status == 401).count();
        let refused = answers.iter().filter(|answer| answer.outcome() == (429, "too-many-requests")).count();
        assert!((5..=9).contains(&checked) && checked + refused == 80, "{checked} {refused}");
    }
}

#[tokio::test]
async fn fifty_concurrent_logins_with_the_right_password_succeed() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    let answers = concurrently(50, |_| Answer::of(service.login("192.0.2.1", "ada@example.com", PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(service.address_failure_keys().await.len() + service.network_failure_keys().await.len(), 0);
}

#[tokio::test]
async fn a_login_never_resets_failures() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    service.fail_logins("192.0.2.1", "ada@example.com", 4).await;
    assert_eq!(service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await.status, 200);
    assert_eq!(service.address_failure_keys().await.len(), 1);
    assert_eq!(service.network_failure_keys().await.len(), 1, "a login must not reset the failures of the network");

    // An attacker registers the owner's address again. Logins with the attacker's own password must not reset the
    // failures at the owner's password either.
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.register("ada@example.com", ATTACKER_PASSWORD).await.status, 201);
    service.fail_logins("192.0.2.1", "ada@example.com", 8).await;
    for _ in 0..2 {
        service.end_waits().await;
        let pending_login = service.login_from("192.0.2.1", "ada@example.com", ATTACKER_PASSWORD).await;
        assert_eq!(pending_login.status, 200);
        // A successful login causes no wait, but the earlier failures still count.
        let pending_login = service.login_from("192.0.2.1", "ada@example.com", ATTACKER_PASSWORD).await;
        assert_eq!(pending_login.status, 200);
        assert_eq!(service.login_from("192.0.2.1", "ada@example.com", WRONG_PASSWORD).await.status, 401);
        assert!(service.address_wait().await > Duration::from_secs(64));
    }
}

/// A neighbour fails four times, the owner logs in, and the neighbour fails twice more. The responses must not reveal
/// whether the address has an account.
#[tokio::test]
async fn a_neighbour_cannot_see_a_login() {
    let service = start_throttled().await;
    service.register_active("account@example.com").await;
    assert_eq!(service.register("pending@example.com", PASSWORD).await.status, 201);
    for (client, email) in [
        ("192.0.2.1", "account@example.com"),
        ("192.0.2.2", "pending@example.com"),
        ("192.0.2.3", "nobody@example.com"),
    ] {
        for _ in 0..4 {
            assert_eq!(service.login_from(client, email, WRONG_PASSWORD).await.status, 401);
        }
        service.login_from(client, email, PASSWORD).await;
        if email == "nobody@example.com" {
            // The password of nobody is wrong: that attempt was the fifth failure.
            assert_eq!(service.login_from(client, email, WRONG_PASSWORD).await.status, 429);
            continue;
        }
        let probes = [WRONG_PASSWORD; 2].map(|password| service.login(client, email, password));
        let mut statuses = vec![];
        for probe in probes {
            statuses.push(Answer::of(probe).await.status.as_u16());
        }
        assert_eq!(statuses, [401, 429], "{email}");
    }
}

/// Neighbours fail at the owner's address until it must wait. The owner's program goes on with the right password.
#[tokio::test]
async fn verified_credentials_do_not_wait_for_a_neighbours_failures() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    assert_eq!(service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await.status, 200);
    service.fail_logins("192.0.2.1", "ada@example.com", 8).await;
    for _ in 0..3 {
        assert_eq!(service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await.status, 200);
    }
    let neighbour = service.login_from("192.0.2.1", "ada@example.com", WRONG_PASSWORD).await;
    assert_eq!(neighbour.outcome(), (429, "too-many-requests"));

    // The old password is wrong after a change. Its entry must not let anybody guess on.
    let body = serde_json::json!({ "password": "another long password" });
    let change = service.request(Method::PUT, "/v1/users/me/password").json(&body);
    let change = change.header("X-Forwarded-For", "192.0.2.1").basic_auth("ada@example.com", Some(PASSWORD));
    assert_eq!(Answer::of(change).await.status, 204);
    assert_eq!(service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(
        service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await.outcome(),
        (429, "too-many-requests")
    );
}

/// Anybody can register an address and poll it. Only the poller must wait.
#[tokio::test]
async fn polling_a_pending_registration_is_limited_and_neighbours_are_not() {
    let flags = ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--redis-timeout=20s", "--mail-lease=2m"];
    let flags = [&flags[..], &["--hash-max-wait=20s", "--client-pending-per-hour=5"]].concat();
    let service = Service::start_with(&flags).await;
    for email in ["poller@example.com", "ada@example.com"] {
        assert_eq!(service.register(email, PASSWORD).await.status, 201);
    }
    let mut logins = 0;
    while service.login_from("192.0.2.1", "poller@example.com", PASSWORD).await.status == 200 {
        logins += 1;
        assert!(logins < 50);
    }
    // Ten of its own, five of the network, and the one that exhausted both.
    assert_eq!(logins, 16);
    for _ in 0..10 {
        assert_eq!(service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await.status, 200);
    }
    assert_eq!(service.login_from("192.0.2.2", "poller@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn failures_at_many_addresses_throttle_the_network() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    let mut failures = 0;
    while service.login_from("192.0.2.1", &format!("a{failures}@example.com"), WRONG_PASSWORD).await.status == 401 {
        failures += 1;
        assert!(failures < 100, "the network is not throttled after {failures} failures");
    }
    assert!(failures >= 60, "{failures}");
    assert_eq!(service.login_from("192.0.2.2", "ada@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_right_password_of_a_disabled_account_does_not_count_as_a_failure() {
    let service = start_throttled().await;
    service.register_active("ada@example.com").await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    for _ in 0..7 {
        let answer = service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await;
        assert_eq!(answer.outcome(), (403, "account-disabled"));
    }
}

/// A network with right passwords offers far more logins than the hasher can evaluate. A client of another network must
/// not be refused.
#[tokio::test]
async fn a_flood_of_right_passwords_refuses_no_client_of_another_network() {
    const FLOOD: usize = 300;
    let flags = ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--redis-timeout=20s", "--mail-lease=2m"];
    let hasher = ["--argon2-memory-kib=16384", "--argon2-passes=2", "--hash-threads=1", "--hash-max-wait=2s"];
    let service = Service::start_with(&[&flags[..], &hasher].concat()).await;
    service.register_active("victim@example.com").await;
    for n in 0..3 {
        service.register_active(&format!("flood{n}@example.com")).await;
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let flood = futures_util::future::join_all((0..FLOOD).map(|n| {
        let (service, is_over) = (&service, &is_over);
        async move {
            let email = format!("flood{}@example.com", n % 3);
            let mut refused = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = service.login_from("192.0.2.1", &email, PASSWORD).await;
                refused += usize::from(answer.status == 503);
            }
            refused
        }
    }));
    let victim = async {
        for _ in 0..20 {
            assert_eq!(service.login_from("192.0.2.2", "victim@example.com", PASSWORD).await.status, 200);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (refused, ()) = futures_util::future::join(flood, victim).await;
    assert!(refused.into_iter().sum::<usize>() > 0, "the flood is more than the hasher can evaluate");
}

/// Each network fails less often than its limit, all together fail often.
#[tokio::test]
async fn guessing_from_many_networks_is_counted_whether_or_not_there_is_an_account() {
    for limits in ["--client-limits=true", "--client-limits=false"] {
        let flags =
            [limits, "--trusted-proxies=127.0.0.1", "--redis-timeout=20s", "--mail-lease=2m", "--hash-max-wait=20s"];
        let process = ServeProcess::start(&flags).await;
        let service = &process.service;
        service.register_active("ada@example.com").await;
        let guess = async |network: u32, email: &str| {
            let client = format!("198.51.{}.{}", network / 250, network % 250 + 1);
            let answer = service.login_from(&client, email, WRONG_PASSWORD).await;
            assert_eq!(answer.outcome(), (401, "unauthenticated"));
        };
        // Many people mistype their passwords, each a few times.
        for person in 0..30 {
            for _ in 0..3 {
                guess(person, &format!("user{person}@example.com")).await;
            }
        }
        assert_eq!(process.metric("sixty_guessed_logins_total").await, 0.0);
        for (n, email) in ["ada@example.com", "nobody@example.com"].into_iter().enumerate() {
            for network in 0..60 {
                guess(100 + network, email).await;
            }
            assert_eq!(process.metric("sixty_guessed_logins_total").await, 10.0 * (n as f64 + 1.0));
        }
        let log = process.running.stderr();
        assert_eq!(log.matches("somebody guesses the password of one address").count(), 2, "{log}");
    }
}
