//! Two mail providers: the fallback gets the mails while the first one fails, and only then.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use mail_mock::{ApiKeys, MailMock, MockOptions};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::observability::ServeProcess;
use crate::support::{PASSWORD, code_in, eventually, eventually_within, start_mail_mock};

/// A `sixty serve` process. The first provider is the mock of `process.service`, unless a flag names another one.
struct Providers {
    process: ServeProcess,
    fallback: String,
    _mock: DropGuard,
}

/// `first` is appended to the flags: `--mail-dialect` and the like.
async fn start(first: &[&str]) -> Providers {
    let stop = CancellationToken::new();
    let fallback = start_mail_mock(MockOptions::default(), stop.clone()).await;
    let flags = [&["--mail-fallback-url", &fallback, "--mail-fallback-dialect=mailpit"], first].concat();
    Providers { process: ServeProcess::start(&flags).await, fallback, _mock: stop.drop_guard() }
}

impl Providers {
    fn first(&self) -> &str {
        &self.process.service.mail_url
    }

    async fn metric(&self, name: &str) -> f64 {
        self.process.metric(name).await
    }

    async fn set_faults(&self, provider: &str, faults: Value) {
        let request = self.process.service.http.put(format!("{provider}/api/faults"));
        assert!(request.json(&faults).send().await.unwrap().status().is_success());
    }

    /// Returns all mails with a code to an address at a provider.
    async fn mails(&self, provider: &str, email: &str) -> Vec<Value> {
        let http = &self.process.service.http;
        let get = async |path: String| -> Value {
            http.get(format!("{provider}/api/v1/{path}")).send().await.unwrap().json().await.unwrap()
        };
        let found = get(format!("search?query=to:{email}")).await;
        let mut mails = vec![];
        for mail in found["messages"].as_array().unwrap() {
            let mail = get(format!("message/{}", mail["ID"].as_str().unwrap())).await;
            mails.extend(code_in(mail["Text"].as_str().unwrap()).is_some().then_some(mail));
        }
        mails
    }

    async fn wait_for_mail(&self, provider: &str, email: &str) -> Value {
        eventually("mail", async || self.mails(provider, email).await.pop()).await
    }

    /// Registers many users, whose mails open the circuit of a failing first provider.
    async fn register_crowd(&self) -> Vec<String> {
        let users: Vec<String> = (0..12).map(|n| format!("user{n}@example.com")).collect();
        for user in &users {
            self.process.service.register_pending(user).await;
        }
        users
    }

    /// Registers further users until the first provider gets a mail again.
    async fn wait_until_first_is_used(&self) {
        let mut n = 0;
        eventually_within(Duration::from_secs(60), "mail by the first provider", async || {
            n += 1;
            let user = format!("later{n}@example.com");
            self.process.service.register_pending(&user).await;
            self.process.service.wait_for_empty_outbox().await;
            let [first, fallback] =
                [self.mails(self.first(), &user).await.len(), self.mails(&self.fallback, &user).await.len()];
            assert_eq!(first + fallback, 1, "{user} gets one mail");
            (first == 1).then_some(())
        })
        .await;
    }
}

fn code(mail: &Value) -> String {
    code_in(mail["Text"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn mails_go_by_the_fallback_while_the_first_fails_and_return_to_it() {
    let providers = start(&[]).await;
    assert_eq!(providers.metric("sixty_mail_fallback").await, 0.0);
    providers.set_faults(providers.first(), json!({ "fail_rate": 1, "status": 503 })).await;
    let users = providers.register_crowd().await;
    for user in &users {
        let mail = providers.wait_for_mail(&providers.fallback, user).await;
        assert_eq!(providers.process.service.activate(user, PASSWORD, &code(&mail)).await.status, 200);
    }
    // The circuit is open: the next mails go by the fallback, at the latest with the second attempt.
    for n in 0..5 {
        let next = format!("next{n}@example.com");
        providers.process.service.register_pending(&next).await;
        providers.wait_for_mail(&providers.fallback, &next).await;
    }
    providers.process.service.wait_for_empty_outbox().await;
    let log = providers.process.running.stderr();
    let accepted = log.lines().filter(|line| line.contains("a mail was accepted by the provider"));
    for line in accepted.rev().take(5) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["attempts"].as_u64().unwrap() <= 2, "{line}");
    }
    for user in &users {
        assert_eq!(providers.mails(&providers.fallback, user).await.len(), 1, "{user}");
        assert!(providers.mails(providers.first(), user).await.is_empty(), "{user}");
    }
    assert_eq!(providers.metric("sixty_mail_fallback").await, 1.0);
    assert_eq!(providers.metric("sixty_mail_probing").await, 0.0);
    assert!(providers.metric(r#"sixty_mails_accepted_total{provider="fallback"}"#).await >= 25.0);
    assert_eq!(providers.metric(r#"sixty_mails_accepted_total{provider="first"}"#).await, 0.0);
    let log = providers.process.running.stderr();
    assert!(log.contains("the mail provider fails; mails go by the fallback until it accepts one"), "{log}");
    assert!(log.contains(r#""fallback":true"#), "{log}");

    providers.set_faults(providers.first(), json!({})).await;
    providers.wait_until_first_is_used().await;
    assert_eq!(providers.metric("sixty_mail_fallback").await, 0.0);
    assert!(providers.process.running.stderr().contains("the mail provider accepts mails again"));
    let accepted = providers.metric(r#"sixty_mails_accepted_total{provider="fallback"}"#).await;
    providers.process.service.register_pending("last@example.com").await;
    providers.wait_for_mail(providers.first(), "last@example.com").await;
    assert_eq!(providers.metric(r#"sixty_mails_accepted_total{provider="fallback"}"#).await, accepted);
}

/// The first provider takes the mails, and its responses are lost. Nobody can know that, so the fallback gets them too.
#[tokio::test]
async fn both_providers_get_the_same_code_and_the_same_idempotency_key() {
    let providers = start(&[]).await;
    providers.set_faults(providers.first(), json!({ "drop_rate": 1 })).await;
    let users = providers.register_crowd().await;
    let mut both = 0;
    for user in &users {
        let by_fallback = providers.wait_for_mail(&providers.fallback, user).await;
        for by_first in providers.mails(providers.first(), user).await {
            both += 1;
            assert_eq!(code(&by_first), code(&by_fallback), "{user}");
            let ids: HashSet<&str> =
                [&by_first, &by_fallback].map(|mail| mail["Headers"]["Message-ID"].as_str().unwrap()).into();
            assert_eq!(ids.len(), 1, "{ids:?}");
        }
        let answer = providers.process.service.activate(user, PASSWORD, &code(&by_fallback)).await;
        assert_eq!(answer.status, 200, "{user}");
    }
    assert!(both > 0);
}

#[tokio::test]
async fn a_refused_key_of_the_first_sends_the_next_attempt_to_the_fallback() {
    let stop = CancellationToken::new();
    let keys = ApiKeys { resend: Some("secret".into()), ..ApiKeys::default() };
    let first = start_mail_mock(MockOptions { keys, ..MockOptions::default() }, stop.clone()).await;
    let providers = start_with_first(&first, &["--mail-dialect=resend", "--resend-api-key=wrong"]).await;
    let users = providers.register_crowd().await;
    for user in &users {
        providers.wait_for_mail(&providers.fallback, user).await;
    }
    providers.process.service.wait_for_empty_outbox().await;
    for user in &users {
        assert_eq!(providers.mails(&providers.fallback, user).await.len(), 1, "{user}");
        assert!(providers.mails(&first, user).await.is_empty(), "{user}");
    }
    assert_eq!(providers.metric(r#"sixty_mail_account_refused{provider="first"}"#).await, 1.0);
    assert_eq!(providers.metric(r#"sixty_mail_account_refused{provider="fallback"}"#).await, 0.0);
    assert_eq!(providers.metric("sixty_mail_fallback").await, 1.0);
    let log = providers.process.running.stderr();
    for words in ["refuses the account; mails go by the fallback", "check RESEND_API_KEY, MAIL_FROM and MAIL_URL"] {
        assert!(log.contains(words), "{log}");
    }
    stop.cancel();
}

/// Starts a process whose first provider is another one than the mock of its service.
async fn start_with_first(first: &str, flags: &[&str]) -> Providers {
    let stop = CancellationToken::new();
    let fallback = start_mail_mock(MockOptions::default(), stop.clone()).await;
    let flags = [&["--mail-fallback-url", &fallback, "--mail-fallback-dialect=mailpit"], flags].concat();
    let process = ServeProcess::start_with_mail_url(first, &flags).await;
    Providers { process, fallback, _mock: stop.drop_guard() }
}

/// Asking the first provider whether it works again costs no mail.
#[tokio::test]
async fn an_unreachable_first_provider_gets_the_mails_when_it_is_back() {
    let port = TcpSocket::new_v4().unwrap();
    port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let first = format!("http://{}", port.local_addr().unwrap());
    let providers = start_with_first(&first, &[]).await;
    let users = providers.register_crowd().await;
    for user in &users {
        providers.wait_for_mail(&providers.fallback, user).await;
    }
    providers.process.service.wait_for_empty_outbox().await;
    let attempts = async || providers.metric(r#"sixty_mail_attempts_total{outcome="retry"}"#).await;
    let failed = attempts().await;
    for n in 0..10 {
        providers.process.service.register_pending(&format!("more{n}@example.com")).await;
        providers.process.service.wait_for_empty_outbox().await;
    }
    assert_eq!(attempts().await, failed, "no further mail is given to a provider that does not answer");

    let stop = CancellationToken::new();
    let (listener, stopped) = (port.listen(64).unwrap(), stop.clone());
    tokio::spawn(async move { mail_mock::serve(listener, &MailMock::new(MockOptions::default(), 1), stopped).await });
    providers.wait_until_first_is_used().await;
    stop.cancel();
}

#[tokio::test]
async fn no_mail_is_lost_while_both_providers_fail() {
    let providers = start(&[]).await;
    for provider in [providers.first(), &providers.fallback] {
        providers.set_faults(provider, json!({ "fail_rate": 1 })).await;
    }
    let users = providers.register_crowd().await;
    let service = &providers.process.service;
    eventually("open circuits", async || (providers.metric("sixty_mail_probing").await == 1.0).then_some(())).await;
    assert_eq!(providers.metric("sixty_mail_fallback").await, 0.0);
    let leases =
        async || -> i64 { sqlx::query_scalar("SELECT count(lease) FROM outbox").fetch_one(&service.db).await.unwrap() };
    eventually("end of the attempts in progress", async || (leases().await <= 1).then_some(())).await;
    for _ in 0..20 {
        assert!(leases().await <= 1, "one mail at a time");
    }

    providers.set_faults(&providers.fallback, json!({})).await;
    for user in &users {
        providers.wait_for_mail(&providers.fallback, user).await;
    }
    service.wait_for_empty_outbox().await;
    for user in &users {
        assert_eq!(providers.mails(&providers.fallback, user).await.len(), 1, "{user}");
    }
    assert_eq!(providers.metric("sixty_mail_probing").await, 0.0);
    assert_eq!(providers.metric("sixty_mail_fallback").await, 1.0);
    assert_eq!(providers.metric(r#"sixty_mail_attempts_total{outcome="given_up"}"#).await, 0.0);
}
