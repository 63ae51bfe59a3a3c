//! A thousand people register with a provider that fails and drops, and one of two processes dies in the middle.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::world::World;
use crate::support::{PASSWORD, Service, eventually_within};

const PEOPLE: usize = 1000;
/// How many of them ask for something at the same time.
const AT_ONCE: usize = 16;
/// Far more than it takes: what this waits for is that nobody is left.
const PATIENCE: Duration = Duration::from_secs(300);

/// The processes, of which some may be dead.
struct Sixty {
    replicas: Vec<Service>,
    at_once: Semaphore,
}

impl Sixty {
    /// What a person does: ask, and ask again after 503 and when nobody answers, until there is an answer. Its status and
    /// the name of its problem.
    async fn ask(&self, first: usize, request: impl Fn(&Service) -> RequestBuilder) -> (u16, String) {
        let mut replicas = self.replicas.iter().cycle().skip(first);
        eventually_within(PATIENCE, "an answer", async || {
            let _permit = self.at_once.acquire().await.unwrap();
            let answer = request(replicas.next().unwrap()).send().await.ok()?;
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.ok()?;
            (status != 503).then(|| (status, body["type"].as_str().unwrap_or_default().to_owned()))
        })
        .await
    }
}

/// Registers, waits for the mail, and activates at once. How long the mail took after the answer, and whether its code
/// worked.
async fn person(n: usize, sixty: &Sixty, world: &World, registered: &AtomicUsize) -> (Duration, bool) {
    let email = format!("person{n}@example.com");
    let body = json!({ "email": email, "password": PASSWORD });
    let (status, problem) = sixty.ask(n, |service| service.request(Method::POST, "/v1/users").json(&body)).await;
    let answered = Instant::now();
    // Who got no answer may have been registered all the same, and is told to wait for the next code.
    assert!(status == 201 || problem == "/problems/too-many-codes", "{status} {problem}");
    registered.fetch_add(1, Ordering::Relaxed);
    let (at, code) = eventually_within(PATIENCE, "a mail", async || world.provider.first_to(&email)).await;
    let activate = |service: &Service| {
        let request = service.request(Method::POST, "/v1/users/me/activation");
        request.basic_auth(&email, Some(PASSWORD)).json(&json!({ "code": code }))
    };
    let (status, problem) = sixty.ask(n, activate).await;
    // As above: who asks again may be active already.
    (at.saturating_duration_since(answered), status == 200 || problem == "/problems/already-active")
}

#[tokio::test]
async fn of_a_thousand_people_none_is_lost() {
    let world = World::new().await;
    // All are one network here.
    let (mut killed, one) = world.serve(&["--client-limits=false"]).await;
    let (_survivor, other) = world.serve(&["--client-limits=false"]).await;
    // A fifth of all is two sevenths of what does not fail.
    one.set_mail_faults(json!({ "fail_rate": 0.3, "drop_rate": 2.0 / 7.0 })).await;
    let sixty = Sixty { replicas: vec![one, other], at_once: Semaphore::new(AT_ONCE) };
    let registered = AtomicUsize::new(0);

    let begun = Instant::now();
    let people = (0..PEOPLE).map(|n| person(n, &sixty, &world, &registered));
    let kill = async {
        let half = async || (registered.load(Ordering::Relaxed) >= PEOPLE / 2).then_some(());
        eventually_within(PATIENCE, "half of them", half).await;
        killed.end(Signal::SIGKILL).await;
    };
    let (people, ()) = tokio::join!(futures_util::future::join_all(people), kill);

    let attempts = world.provider.attempts().len();
    let survivor = &sixty.replicas[1];
    // What is left tells of activations.
    survivor.set_mail_faults(json!({})).await;
    eventually_within(PATIENCE, "the end of all mails", async || (survivor.outbox_len().await == 0).then_some(()))
        .await;
    let active = "SELECT count(*) FROM users WHERE status = 'active'";
    let active: i64 = sqlx::query_scalar(active).fetch_one(&survivor.db).await.unwrap();
    let lost = people.iter().filter(|(_, in_time)| !in_time).count() + PEOPLE - active as usize;
    let mails: Vec<_> = world.provider.taken().into_iter().filter(|mail| !mail.code.is_empty()).collect();
    let last = mails.iter().map(|mail| mail.at).max().unwrap() - begun;
    let slowest = people.iter().map(|(took, _)| *took).max().unwrap();
    println!(
        "{PEOPLE} registrations: {lost} lost, {} duplicates, the last mail {:.1} s after the first registration, the \
         slowest {:.1} s after its own; {attempts} attempts",
        mails.len() - PEOPLE,
        last.as_secs_f64(),
        slowest.as_secs_f64(),
    );
    assert_eq!((lost, active), (0, PEOPLE as i64));
    for mail in &mails {
        let (_, code) = world.provider.first_to(&mail.to).unwrap();
        assert_eq!(mail.code, code, "a copy is another mail");
    }
}
