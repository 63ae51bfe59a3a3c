//! Failed authentications: the wait grows for who fails, and for nobody else.

use std::time::Duration;

use reqwest::Method;

use crate::support::{Answer, PASSWORD, Service, concurrently};

const WRONG: &str = "wrong password";

/// The tests' own network is a proxy that is trusted, so that a test can be many clients. What would have to wait for the
/// hasher waits.
async fn throttled() -> Service {
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

    /// The keys that failures are remembered in: of addresses, or of networks.
    async fn failures(&self, of_addresses: bool) -> Vec<String> {
        let keys: Vec<String> = self.redis(&["KEYS", &format!("{}:limit:*", self.prefix)]).await;
        let of_failures =
            |key: &String| if of_addresses { key.contains(":failures:") } else { key.ends_with(":failures") };
        keys.into_iter().filter(of_failures).collect()
    }

    /// Makes every wait pass, and what is remembered stay.
    async fn let_attempts_wait_pass(&self) {
        for of_addresses in [true, false] {
            for key in self.failures(of_addresses).await {
                let _: i64 = self.redis(&["HDEL", &key, "until"]).await;
            }
        }
    }

    /// How long the only address that has failed must wait, by Redis's clock.
    async fn wait(&self) -> Duration {
        const LEFT: &str = "local t = redis.call('TIME')
            return math.max(0, redis.call('HGET', KEYS[1], 'until') / 1000 - t[1] * 1000 - t[2] / 1000)";
        let keys = self.failures(true).await;
        let [key] = &keys[..] else { panic!("{keys:?}") };
        Duration::from_millis(self.redis(&["EVAL", LEFT, "1", key]).await)
    }

    /// Fails as often, each time as soon as it may.
    async fn fail(&self, client: &str, email: &str, times: u32) {
        for _ in 0..times {
            self.let_attempts_wait_pass().await;
            assert_eq!(self.login_from(client, email, WRONG).await.outcome(), (401, "unauthenticated"));
        }
    }
}

#[tokio::test]
async fn after_five_failures_the_wait_doubles_up_to_a_quarter_of_an_hour() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    for _ in 0..5 {
        let answer = service.login_from("192.0.2.1", "ada@example.com", WRONG).await;
        assert_eq!(answer.outcome(), (401, "unauthenticated"));
    }
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let (wait, most) = (service.wait().await, Duration::from_secs(seconds));
        assert!(wait <= most && (seconds < 32 || wait > most / 2), "{wait:?} of {seconds} s");
        service.fail("192.0.2.1", "ada@example.com", 1).await;
    }
    // Whatever the password, nobody looks at it.
    for password in [WRONG, PASSWORD] {
        let refused = service.login_from("192.0.2.1", "ada@example.com", password).await;
        assert_eq!(refused.outcome(), (429, "too-many-requests"));
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((450..=900).contains(&seconds), "{seconds}");
    }
    let key = service.failures(true).await.remove(0);
    let left: i64 = service.redis(&["TTL", &key]).await;
    assert!((3600..=15 * 600).contains(&left), "it is forgotten, but not before the wait is over: {left}");
}

#[tokio::test]
async fn a_stranger_elsewhere_locks_nobody_out() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    service.fail("192.0.2.1", "ada@example.com", 12).await;
    let stranger = service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await;
    assert_eq!(stranger.outcome(), (429, "too-many-requests"));
    assert_eq!(service.login_from("192.0.2.2", "ada@example.com", PASSWORD).await.status, 200);
    // Nor another's account from the same network.
    service.register_active("bob@example.com").await;
    assert_eq!(service.login_from("192.0.2.1", "bob@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn unknown_addresses_are_treated_like_known_ones_and_none_is_written_down() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    let mut stories = vec![];
    for (client, email) in [("192.0.2.1", "ada@example.com"), ("192.0.2.2", "eve@example.com"), ("192.0.2.3", "eve")] {
        service.fail(client, email, 14).await;
        let refused = service.login_from(client, email, WRONG).await;
        let names: Vec<_> = refused.headers.keys().map(ToString::to_string).collect();
        let (status, name) = refused.outcome();
        stories.push((status, name.to_owned(), refused.body["title"].clone(), names));
    }
    assert_eq!((stories[0].0, &stories[0]), (429, &stories[1]));
    assert_eq!(stories[1], stories[2]);
    let keys = service.failures(true).await;
    assert_eq!(keys.len(), 3);
    for key in &keys {
        let values: Vec<String> = service.redis(&["HVALS", key]).await;
        assert!(!format!("{key}{values:?}").contains("ada") && !key.contains("eve"), "{key} {values:?}");
    }
}

#[tokio::test]
async fn who_is_suspected_tries_one_after_the_other() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    service.fail("192.0.2.1", "ada@example.com", 12).await;
    service.let_attempts_wait_pass().await;
    let answers = concurrently(20, |_| Answer::of(service.login("192.0.2.1", "ada@example.com", WRONG))).await;
    let tried = answers.iter().filter(|answer| answer.status == 401).count();
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!((tried, refused), (1, 19));
}

#[tokio::test]
async fn of_many_wrong_ones_at_once_a_few_are_looked_at() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    for email in ["ada@example.com", "eve@example.com"] {
        let answers = concurrently(80, |_| Answer::of(service.login("192.0.2.1", email, WRONG))).await;
        let tried = answers.iter().filter(|answer| answer.status == 401).count();
        let refused = answers.iter().filter(|answer| answer.outcome() == (429, "too-many-requests")).count();
        assert!((5..=9).contains(&tried) && tried + refused == 80, "{tried} {refused}");
    }
}

#[tokio::test]
async fn right_credentials_may_come_many_at_once() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    let answers = concurrently(50, |_| Answer::of(service.login("192.0.2.1", "ada@example.com", PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(service.failures(true).await.len() + service.failures(false).await.len(), 0);
}

#[tokio::test]
async fn an_accounts_password_forgives_and_a_pending_rows_does_not() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    service.fail("192.0.2.1", "ada@example.com", 4).await;
    assert_eq!(service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await.status, 200);
    assert_eq!(service.failures(true).await.len(), 0);
    assert_eq!(service.failures(false).await.len(), 1, "the network's are not forgotten");

    // A stranger registers the address anew, to have a password that fits in between guesses at the owner's.
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.register("ada@example.com", "a password of my own").await.status, 201);
    service.fail("192.0.2.1", "ada@example.com", 12).await;
    for _ in 0..2 {
        service.let_attempts_wait_pass().await;
        let own = service.login_from("192.0.2.1", "ada@example.com", "a password of my own").await;
        assert_eq!(own.status, 200);
        // What was right makes nobody wait, and what was wrong before still counts.
        let own = service.login_from("192.0.2.1", "ada@example.com", "a password of my own").await;
        assert_eq!(own.status, 200);
        assert_eq!(service.login_from("192.0.2.1", "ada@example.com", WRONG).await.status, 401);
        assert!(service.wait().await > Duration::from_secs(64));
    }
}

#[tokio::test]
async fn a_network_that_fails_at_many_addresses_waits_too() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    let mut tried = 0;
    while service.login_from("192.0.2.1", &format!("a{tried}@example.com"), WRONG).await.status == 401 {
        tried += 1;
        assert!(tried < 100);
    }
    assert!(tried >= 60, "{tried}");
    assert_eq!(service.login_from("192.0.2.2", "ada@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_disabled_accounts_credentials_are_no_failure() {
    let service = throttled().await;
    service.register_active("ada@example.com").await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    for _ in 0..7 {
        let answer = service.login_from("192.0.2.1", "ada@example.com", PASSWORD).await;
        assert_eq!(answer.outcome(), (403, "account-disabled"));
    }
}
