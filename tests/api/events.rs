//! Events: what other programs read of users, whatever becomes of those that write them and of Redis.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use sixty::domain::not_me::NotMeToken;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::own::{Frozen, slow_way};
use crate::process::{Running, output, sixty};
use crate::support::{
    Answer, CODE_SECRET, PASSWORD, Service, concurrently, create_database, eventually, stack, unique_name,
};

const ADA: &str = "ada@example.com";
const NEW: &str = "staple battery horse";

impl Service {
    fn stream(&self) -> String {
        format!("{}:events", self.prefix)
    }

    /// All that is in the stream, oldest first.
    async fn stream_now(&self) -> Vec<Value> {
        let entries: Vec<(String, Vec<String>)> = self.redis(&["XRANGE", &self.stream(), "-", "+"]).await;
        let event = |(_, fields): (_, Vec<String>)| {
            assert_eq!((fields.len(), &*fields[0]), (2, "event"));
            serde_json::from_str(&fields[1]).unwrap()
        };
        entries.into_iter().map(event).collect()
    }

    /// Those that are written but not relayed.
    async fn waiting(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&self.db).await.unwrap()
    }

    /// All that is in the stream once nothing waits for it.
    async fn events(&self) -> Vec<Value> {
        eventually("the relay", async || (self.waiting().await == 0).then_some(())).await;
        self.stream_now().await
    }

    /// Writes so many events at once, without users.
    async fn tell_of(&self, users: i32) {
        let tell = "INSERT INTO events (type, user_id, status, role)
            SELECT 'user.deleted', gen_random_uuid(), 'active', 'user' FROM generate_series(1, $1)";
        sqlx::query(tell).bind(users).execute(&self.db).await.unwrap();
    }

    async fn patch_as_admin(&self, id: &str, change: Value) {
        let request = self.request(Method::PATCH, &format!("/v1/users/{id}"));
        let answer = Answer::of(request.basic_auth("root@example.com", Some(PASSWORD)).json(&change)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The types of a user's events.
fn types_of(events: &[Value], id: &str) -> Vec<String> {
    let of = events.iter().filter(|event| event["subject"] == id);
    of.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

async fn terminal(service: &Service, arguments: &[&str], typed: Option<&str>) -> Value {
    let mut command = sixty(&[&["users", "--json"], arguments].concat());
    command.env("DATABASE_URL", &service.database_url).env("ARGON2_MEMORY_KIB", "8").env("ARGON2_PASSES", "1");
    if let Some(typed) = typed {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, format!("{typed}\n").as_bytes()).unwrap();
        command.stdin(Stdio::from(reader));
    }
    let output = output(&mut command).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn an_accounts_whole_life_is_told_in_order() {
    let service = Service::start().await;
    let root = service.register_active("root@example.com").await;
    sqlx::query("UPDATE users SET role = 'admin'").execute(&service.db).await.unwrap();
    let ada = service.register_pending(" Ada@example.com").await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    let change = service.request(Method::PUT, "/v1/users/me/password").json(&json!({ "password": NEW }));
    assert_eq!(Answer::of(change.basic_auth(ADA, Some(PASSWORD))).await.status, 204);
    service.patch_as_admin(&ada, json!({ "status": "disabled" })).await;
    service.patch_as_admin(&ada, json!({ "status": "active", "role": "admin" })).await;
    assert_eq!(service.delete(ADA, NEW).await.status, 204);
    // What changes nothing is no event; nor what is refused.
    service.patch_as_admin(&root, json!({ "status": "active", "role": "admin" })).await;
    assert_eq!(service.delete("root@example.com", PASSWORD).await.outcome(), (409, "last-admin"));
    assert_eq!(service.register("root@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));

    let events = service.events().await;
    assert_eq!(types_of(&events, &root), ["user.registered", "user.activated"]);
    let of_ada: Vec<&Value> = events.iter().filter(|event| event["subject"] == ada.as_str()).collect();
    let told: Vec<_> = of_ada.iter().map(|event| (event["type"].as_str().unwrap(), event["data"].clone())).collect();
    let data = |status, role| json!({ "email": "Ada@example.com", "status": status, "role": role });
    assert_eq!(
        told,
        [
            ("user.registered", data("pending", "user")),
            ("user.activated", data("active", "user")),
            ("user.password_changed", data("active", "user")),
            ("user.disabled", data("disabled", "user")),
            ("user.enabled", data("active", "admin")),
            ("user.role_changed", data("active", "admin")),
            // Whoever must forget somebody is not told again whom.
            ("user.deleted", json!({ "status": "active", "role": "admin" })),
        ]
    );

    let mut ids = HashSet::new();
    let mut before = OffsetDateTime::UNIX_EPOCH;
    for event in of_ada {
        let keys: Vec<_> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"]);
        assert_eq!((&event["specversion"], &event["datacontenttype"]), (&json!("1.0"), &json!("application/json")));
        assert_eq!(event["source"], format!("{}/", service.url));
        let id: Uuid = event["id"].as_str().unwrap().parse().unwrap();
        assert!((id.get_version_num(), id.get_variant()) == (7, uuid::Variant::RFC4122) && ids.insert(id), "{event}");
        let written = event["time"].as_str().unwrap();
        let time = OffsetDateTime::parse(written, &Rfc3339).unwrap();
        // Two events of one change may be of one microsecond.
        assert!(written.ends_with('Z') && time >= before, "{time} after {before}");
        before = time;
    }
}

#[tokio::test]
async fn a_registration_that_ends_without_an_account_is_told_as_deleted() {
    let service = Service::start().await;
    let replaced = service.register_pending(ADA).await;
    service.age_grants(Duration::from_secs(60)).await;
    let disowned = service.register_pending(ADA).await;
    let text = service.wait_for_mail(ADA, 2).await;
    let link = text.lines().last().unwrap();
    assert!(NotMeToken::parse(link.rsplit_once('/').unwrap().1).is_some());
    assert_eq!(service.http.post(link).send().await.unwrap().status(), 200);
    let left = service.register_pending(ADA).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    let purged = service.register_pending("eve@example.com").await;
    service.age_grants(Duration::from_secs(8 * 24 * 60 * 60)).await;
    let _purges_at_its_start = service.replica(&[]).await;
    eventually("the purge", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&service.db).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    let events = service.events().await;
    for id in [&replaced, &disowned, &left, &purged] {
        assert_eq!(types_of(&events, id), ["user.registered", "user.deleted"]);
        let deleted = events.iter().find(|event| event["subject"] == **id && event["type"] == "user.deleted").unwrap();
        assert_eq!(deleted["data"], json!({ "status": "pending", "role": "user" }));
    }
    let place = |id: &str, kind: &str| events.iter().position(|event| event["subject"] == id && event["type"] == kind);
    assert!(place(&replaced, "user.deleted") < place(&disowned, "user.registered"), "who makes room goes first");
}

#[tokio::test]
async fn what_is_done_from_a_terminal_is_told_and_fixtures_are_not() {
    let service = Service::start().await;
    let root = terminal(&service, &["create", "root@example.com", "--role", "admin"], Some(PASSWORD)).await;
    let root = root["id"].as_str().unwrap();
    let ada = service.register_active(ADA).await;
    terminal(&service, &["set-password", ADA], Some(NEW)).await;
    terminal(&service, &["disable", ADA], None).await;
    terminal(&service, &["disable", ADA], None).await;
    terminal(&service, &["enable", ADA], None).await;
    terminal(&service, &["set-role", ADA, "admin"], None).await;
    terminal(&service, &["delete", ADA], None).await;
    terminal(&service, &["seed", "--count", "10"], None).await;
    let events = service.events().await;
    assert_eq!(types_of(&events, root), ["user.registered", "user.activated"]);
    let of_ada = ["registered", "activated", "password_changed", "disabled", "enabled", "role_changed", "deleted"];
    assert_eq!(types_of(&events, &ada), of_ada.map(|kind| format!("user.{kind}")));
    assert_eq!(events.len(), 9);
}

#[tokio::test]
async fn a_higher_cost_is_no_change_of_the_password() {
    let service = Service::start().await;
    let ada = service.register_active(ADA).await;
    let raised = service.replica(&["--argon2-memory-kib=16"]).await;
    let hash = async || -> String {
        sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(&service.db).await.unwrap()
    };
    let before = hash().await;
    assert_eq!(raised.me(ADA, PASSWORD).await.status, 200);
    assert_ne!(hash().await, before);
    assert_eq!(types_of(&service.events().await, &ada), ["user.registered", "user.activated"]);
}

#[tokio::test]
async fn while_redis_takes_no_events_they_wait_and_nobody_is_refused() {
    let service = Service::start().await;
    let _: String = service.redis(&["SET", &service.stream(), "no stream"]).await;
    let ada = service.register_active(ADA).await;
    service.register_pending("eve@example.com").await;
    // Some rounds, each of which fails.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(service.waiting().await, 3);
    let _: i64 = service.redis(&["DEL", &service.stream()]).await;
    let events = service.events().await;
    assert_eq!(types_of(&events, &ada), ["user.registered", "user.activated"]);
    assert_eq!(events.len(), 3);

    // A flush takes what was there, and nothing that comes.
    let _: i64 = service.redis(&["DEL", &service.stream()]).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    assert_eq!(types_of(&service.events().await, &ada), ["user.deleted"]);
}

/// What cannot be appended together in time is appended in parts, not over and over.
#[tokio::test]
async fn a_slow_redis_gets_fewer_events_at_a_time() {
    let (redis_url, _slow) = slow_way(stack().redis_url(), 100_000).await;
    let service = Service::start_with(&["--redis-url", &redis_url]).await;
    service.tell_of(600).await;
    let events = service.events().await;
    let ids: HashSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 600);
    // Those that took too long were appended all the same.
    assert!(events.len() < 3 * 600, "{}", events.len());
}

/// Numbers are drawn before commits, so one that is lower may be seen later.
#[tokio::test]
async fn an_event_that_is_committed_after_younger_ones_is_not_skipped() {
    let service = Service::start().await;
    let mut late = service.db.begin().await.unwrap();
    let user = Uuid::from_u128(1);
    sqlx::query("INSERT INTO events (type, user_id, status, role) VALUES ('user.deleted', $1, 'active', 'user')")
        .bind(user)
        .execute(&mut *late)
        .await
        .unwrap();
    let ada = service.register_pending(ADA).await;
    assert_eq!(types_of(&service.events().await, &ada), ["user.registered"]);
    late.commit().await.unwrap();
    let events = service.events().await;
    assert_eq!((events.len(), events[1]["subject"].as_str()), (2, Some(&*user.to_string())));
}

#[tokio::test]
async fn the_stream_keeps_about_as_many_as_it_is_told() {
    let service = Service::start_with(&["--events-maxlen=100"]).await;
    service.tell_of(1200).await;
    let order: Vec<Uuid> =
        sqlx::query_scalar("SELECT user_id FROM events ORDER BY sequence").fetch_all(&service.db).await.unwrap();
    let events = service.events().await;
    // Whole nodes of a hundred are dropped.
    assert!((100..=200).contains(&events.len()), "{}", events.len());
    assert_eq!(events.last().unwrap()["subject"], order.last().unwrap().to_string());
}

/// Processes on one database, one of which relays.
struct Relays {
    database_url: String,
    prefix: String,
    /// For its mails alone.
    mock: Service,
}

impl Relays {
    async fn new() -> Self {
        Self {
            database_url: create_database().await,
            prefix: format!("t{}", unique_name()),
            mock: Service::start().await,
        }
    }

    async fn start(&self) -> (Running, Service) {
        let mut serve = sixty(&["serve", "--code-secret", CODE_SECRET, "--client-limits=false"]);
        serve.args(["--database-url", &self.database_url, "--redis-url", stack().redis_url()]);
        serve.args(["--redis-prefix", &self.prefix, "--mail-url", &self.mock.mail_url]);
        let (running, api) = Running::serve(&mut serve).await;
        let stop = CancellationToken::new();
        let service = Service::connect(api, &self.mock.mail_url, &self.database_url, &self.prefix, stop).await;
        (running, service)
    }
}

impl Service {
    /// Who holds the lock: the server's process for its session.
    async fn holder(&self) -> i32 {
        let holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually("somebody who relays", async || sqlx::query_scalar(holder).fetch_optional(&self.db).await.unwrap())
            .await
    }
}

async fn relayed(running: &Running) -> u64 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = http.get(format!("{}/metrics", running.ops())).send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("sixty_events_relayed_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn of_two_processes_one_relays_and_the_other_takes_over_when_it_is_killed_or_frozen() {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let relays = Relays::new().await;
        let (mut first, service) = relays.start().await;
        service.register_pending(ADA).await;
        assert_eq!(service.events().await.len(), 1);
        let before = service.holder().await;
        let (mut second, service) = relays.start().await;
        service.register_pending("bob@example.com").await;
        assert_eq!(service.events().await.len(), 2);
        assert_eq!((relayed(&first).await, relayed(&second).await), (2, 0));

        let frozen = (signal == Signal::SIGSTOP).then(|| Frozen::new(first.pid()));
        if frozen.is_none() {
            first.end(signal).await;
        }
        let eve = service.register_pending("eve@example.com").await;
        assert_eq!(types_of(&service.events().await, &eve), ["user.registered"]);
        assert_ne!(service.holder().await, before);
        assert_eq!((service.stream_now().await.len(), relayed(&second).await), (3, 1));
        // Who comes back finds that it has lost the lock, and appends nothing.
        drop(frozen);
        service.register_pending("mia@example.com").await;
        assert_eq!(service.events().await.len(), 4);
        assert!(second.end(Signal::SIGTERM).await.success());
    }
}

/// It has appended and not yet deleted.
#[tokio::test]
async fn who_dies_in_the_middle_leaves_events_to_be_appended_again_under_their_ids() {
    let relays = Relays::new().await;
    let (mut killed, service) = relays.start().await;
    let _: String = service.redis(&["SET", &service.stream(), "no stream"]).await;
    let ada = service.register_pending(ADA).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    let mut held = service.db.begin().await.unwrap();
    sqlx::query("SELECT FROM events FOR UPDATE").execute(&mut *held).await.unwrap();
    let _: i64 = service.redis(&["DEL", &service.stream()]).await;
    eventually("both in the stream", async || (service.stream_now().await.len() == 2).then_some(())).await;
    killed.end(Signal::SIGKILL).await;
    held.rollback().await.unwrap();
    let (_running, service) = relays.start().await;
    let events = service.events().await;
    let types = types_of(&events, &ada);
    assert!(types.len() > 2 && types.len().is_multiple_of(2), "{types:?}");
    let ids: HashSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    let first: Vec<_> = events.iter().take(2).map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(first, ["user.registered", "user.deleted"]);
}

#[tokio::test]
async fn each_users_events_are_in_order_whatever_happens_at_once() {
    let service = Service::start().await;
    let _replica = service.replica(&[]).await;
    let root = service.register_active("root@example.com").await;
    sqlx::query("UPDATE users SET role = 'admin'").execute(&service.db).await.unwrap();
    let ada = service.register_active(ADA).await;
    let answers = concurrently(40, |n| {
        let status = if n % 2 == 0 { "disabled" } else { "active" };
        let request = service.request(Method::PATCH, &format!("/v1/users/{ada}"));
        Answer::of(request.basic_auth("root@example.com", Some(PASSWORD)).json(&json!({ "status": status })))
    })
    .await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let events = service.events().await;
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for event in &events {
        let (kind, user) = (event["type"].as_str().unwrap(), event["subject"].as_str().unwrap());
        let before = seen.insert(user, kind);
        assert_ne!(before, Some(kind), "they alternate: {events:?}");
    }
    let now = service.request(Method::GET, &format!("/v1/users/{ada}")).basic_auth("root@example.com", Some(PASSWORD));
    let now = Answer::of(now).await.body["status"].clone();
    let last = events.iter().rfind(|event| event["subject"] == ada.as_str()).unwrap();
    assert_eq!(last["data"]["status"], now);
    assert_eq!(types_of(&events, &root).len(), 2);
}
