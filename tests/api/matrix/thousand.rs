//! A thousand users register while the provider fails and drops responses, and one of two processes is killed halfway.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::environment::Environment;
use crate::support::{PASSWORD, Service, eventually_within};

const USERS: usize = 1000;
/// The maximum number of concurrent requests.
const CONCURRENCY: usize = 16;
/// Far longer than the test takes.
const DEADLINE: Duration = Duration::from_secs(300);

/// All replicas of the service, some of which may be dead.
struct Replicas {
    services: Vec<Service>,
    concurrency: Semaphore,
}

impl Replicas {
    /// Sends the request to one replica after the other until a replica answers with another status than 503. Returns
    /// the status and the problem type.
    async fn send(&self, first: usize, request: impl Fn(&Service) -> RequestBuilder) -> (u16, String) {
        let mut services = self.services.iter().cycle().skip(first);
        eventually_within(DEADLINE, "answer", async || {
            let _permit = self.concurrency.acquire().await.unwrap();
            let answer = request(services.next().unwrap()).send().await.ok()?;
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.ok()?;
            (status != 503).then(|| (status, body["type"].as_str().unwrap_or_default().to_owned()))
        })
        .await
    }
}

/// Registers a user, waits for the mail and activates with its code. Returns the time from the answer to the mail, and
/// whether the code worked.
async fn register_and_activate(
    n: usize,
    replicas: &Replicas,
    env: &Environment,
    registered: &AtomicUsize,
) -> (Duration, bool) {
    let email = format!("user{n}@example.com");
    let body = json!({ "email": email, "password": PASSWORD });
    let (status, problem) = replicas.send(n, |service| service.request(Method::POST, "/v1/users").json(&body)).await;
    let answered = Instant::now();
    // A request without a response may have registered the user. The next request then gets 429 too-many-codes.
    assert!(status == 201 || problem == "/problems/too-many-codes", "{status} {problem}");
    registered.fetch_add(1, Ordering::Relaxed);
    let (at, code) = eventually_within(DEADLINE, "mail", async || env.provider.first_to(&email)).await;
    let activate = |service: &Service| {
        let request = service.request(Method::POST, "/v1/users/me/activation");
        request.basic_auth(&email, Some(PASSWORD)).json(&json!({ "code": code }))
    };
    let (status, problem) = replicas.send(n, activate).await;
    // A request without a response may have activated the user.
    (at.saturating_duration_since(answered), status == 200 || problem == "/problems/already-active")
}

#[tokio::test]
async fn all_of_a_thousand_registrations_activate() {
    let env = Environment::new().await;
    // All requests come from one network.
    let (mut killed, one) = env.serve(&["--client-limits=false"]).await;
    let (_survivor, other) = env.serve(&["--client-limits=false"]).await;
    // 30 % of all requests fail, and 20 % of all requests lose their response: two sevenths of the other 70 %.
    one.set_mail_faults(json!({ "fail_rate": 0.3, "drop_rate": 2.0 / 7.0 })).await;
    let replicas = Replicas { services: vec![one, other], concurrency: Semaphore::new(CONCURRENCY) };
    let registered = AtomicUsize::new(0);

    let start = Instant::now();
    let users = (0..USERS).map(|n| register_and_activate(n, &replicas, &env, &registered));
    let kill = async {
        let half = async || (registered.load(Ordering::Relaxed) >= USERS / 2).then_some(());
        eventually_within(DEADLINE, "half of the registrations", half).await;
        killed.end(Signal::SIGKILL).await;
    };
    let (users, ()) = tokio::join!(futures_util::future::join_all(users), kill);

    let attempts = env.provider.attempts().len();
    let survivor = &replicas.services[1];
    // The remaining mails are about activations.
    survivor.set_mail_faults(json!({})).await;
    eventually_within(DEADLINE, "empty outbox", async || (survivor.outbox_len().await == 0).then_some(())).await;
    let active = "SELECT count(*) FROM users WHERE status = 'active'";
    let active: i64 = sqlx::query_scalar(active).fetch_one(&survivor.db).await.unwrap();
    let lost = users.iter().filter(|(_, in_time)| !in_time).count() + USERS - active as usize;
    let mails: Vec<_> = env.provider.accepted_mails().into_iter().filter(|mail| !mail.code.is_empty()).collect();
    let last = mails.iter().map(|mail| mail.at).max().unwrap() - start;
    let slowest = users.iter().map(|(took, _)| *took).max().unwrap();
    println!(
        "{USERS} registrations: {lost} lost, {} duplicates, the last mail {:.1} s after the first registration, the \
         slowest {:.1} s after its own; {attempts} attempts",
        mails.len() - USERS,
        last.as_secs_f64(),
        slowest.as_secs_f64(),
    );
    assert_eq!((lost, active), (0, USERS as i64));
    for mail in &mails {
        let (_, code) = env.provider.first_to(&mail.to).unwrap();
        assert_eq!(mail.code, code, "a copy has another code");
    }
}
