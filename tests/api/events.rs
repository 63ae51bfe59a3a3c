//! The event stream for other programs: its content and order, and what happens when Redis or the relay fails.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use sixty::domain::not_me::NotMeToken;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::not_me::press_button;
use crate::private_servers::{Frozen, throttled_proxy};
use crate::process::{Running, output, sixty};
use crate::support::{
    Answer, CODE_SECRET, PASSWORD, Service, concurrently, create_database, eventually, stack, unique_name,
};

const ADA: &str = "ada@example.com";
const NEW_PASSWORD: &str = "staple battery horse";

impl Service {
    fn stream_key(&self) -> String {
        format!("{}:events", self.prefix)
    }

    /// Returns the events in the Redis stream, oldest first.
    async fn stream_events(&self) -> Vec<Value> {
        let entries: Vec<(String, Vec<String>)> = self.redis(&["XRANGE", &self.stream_key(), "-", "+"]).await;
        let event = |(_, fields): (_, Vec<String>)| {
            assert_eq!((fields.len(), &*fields[0]), (2, "event"));
            serde_json::from_str(&fields[1]).unwrap()
        };
        entries.into_iter().map(event).collect()
    }

    /// Returns the number of events in PostgreSQL that the relay has not yet appended to the stream.
    async fn unrelayed_events(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&self.db).await.unwrap()
    }

    /// Waits until the relay has appended all events. Returns the events in the stream, oldest first.
    pub async fn relayed_events(&self) -> Vec<Value> {
        eventually("the relay to append all events", async || (self.unrelayed_events().await == 0).then_some(())).await;
        self.stream_events().await
    }

    /// Inserts `count` events in one statement, without users.
    async fn insert_events(&self, count: i32) {
        let insert = "INSERT INTO events (type, user_id, status, role)
            SELECT 'user.deleted', gen_random_uuid(), 'active', 'user' FROM generate_series(1, $1)";
        sqlx::query(insert).bind(count).execute(&self.db).await.unwrap();
    }

    async fn patch_as_admin(&self, id: &str, change: Value) {
        let request = self.request(Method::PATCH, &format!("/v1/users/{id}"));
        let answer = Answer::of(request.basic_auth("root@example.com", Some(PASSWORD)).json(&change)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// Returns the types of a user's events, in the order of the stream.
pub fn types_of(events: &[Value], id: &str) -> Vec<String> {
    let of_user = events.iter().filter(|event| event["subject"] == id);
    of_user.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Runs `sixty users --json` with `arguments`, and with `input` as its standard input. Returns its output.
async fn users_command(service: &Service, arguments: &[&str], input: Option<&str>) -> Value {
    let mut command = sixty(&[&["users", "--json"], arguments].concat());
    command.env("DATABASE_URL", &service.database_url).env("ARGON2_MEMORY_KIB", "8").env("ARGON2_PASSES", "1");
    if let Some(input) = input {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, format!("{input}\n").as_bytes()).unwrap();
        command.stdin(Stdio::from(reader));
    }
    let output = output(&mut command).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn every_change_of_an_account_appends_one_event_in_order() {
    let service = Service::start().await;
    let root = service.register_active("root@example.com").await;
    sqlx::query("UPDATE users SET role = 'admin'").execute(&service.db).await.unwrap();
    let ada = service.register_pending(" Ada@example.com").await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    let change = service.request(Method::PUT, "/v1/users/me/password").json(&json!({ "password": NEW_PASSWORD }));
    assert_eq!(Answer::of(change.basic_auth(ADA, Some(PASSWORD))).await.status, 204);
    assert_eq!(service.request_reset(ADA).await.status, 202);
    let code = service.wait_for_code(ADA, 4).await;
    assert_eq!(service.reset_password(ADA, &code, NEW_PASSWORD).await.status, 204);
    service.patch_as_admin(&ada, json!({ "status": "disabled" })).await;
    service.patch_as_admin(&ada, json!({ "status": "active", "role": "admin" })).await;
    assert_eq!(service.delete(ADA, NEW_PASSWORD).await.status, 204);
    // A change without effect appends no event, nor does a refused request.
    service.patch_as_admin(&root, json!({ "status": "active", "role": "admin" })).await;
    assert_eq!(service.delete("root@example.com", PASSWORD).await.outcome(), (409, "last-admin"));
    assert_eq!(service.register("root@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));

    let events = service.relayed_events().await;
    assert_eq!(types_of(&events, &root), ["user.registered", "user.activated"]);
    let of_ada: Vec<&Value> = events.iter().filter(|event| event["subject"] == ada.as_str()).collect();
    let types_and_data: Vec<_> =
        of_ada.iter().map(|event| (event["type"].as_str().unwrap(), event["data"].clone())).collect();
    let data = |status, role| json!({ "email": "Ada@example.com", "status": status, "role": role });
    assert_eq!(
        types_and_data,
        [
            ("user.registered", data("pending", "user")),
            ("user.activated", data("active", "user")),
            ("user.password_changed", data("active", "user")),
            ("user.password_reset", data("active", "user")),
            ("user.disabled", data("disabled", "user")),
            ("user.enabled", data("active", "admin")),
            ("user.role_changed", data("active", "admin")),
            // The event of a deletion does not repeat the deleted address.
            ("user.deleted", json!({ "status": "active", "role": "admin" })),
        ]
    );

    let mut ids = HashSet::new();
    let mut previous_time = OffsetDateTime::UNIX_EPOCH;
    for event in of_ada {
        let keys: Vec<_> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"]);
        assert_eq!((&event["specversion"], &event["datacontenttype"]), (&json!("1.0"), &json!("application/json")));
        assert_eq!(event["source"], format!("{}/", service.url));
        let id: Uuid = event["id"].as_str().unwrap().parse().unwrap();
        assert!((id.get_version_num(), id.get_variant()) == (7, uuid::Variant::RFC4122) && ids.insert(id), "{event}");
        let timestamp = event["time"].as_str().unwrap();
        let time = OffsetDateTime::parse(timestamp, &Rfc3339).unwrap();
        // Two events of one change may have the same time.
        assert!(timestamp.ends_with('Z') && time >= previous_time, "{time} after {previous_time}");
        previous_time = time;
    }
}

#[tokio::test]
async fn a_pending_registration_that_ends_appends_a_deletion_event() {
    let service = Service::start().await;
    let replaced = service.register_pending(ADA).await;
    // A mail whose registration was replaced before is not sent.
    service.wait_for_mail(ADA, 1).await;
    service.age_grants(Duration::from_secs(60)).await;
    let reported_not_me = service.register_pending(ADA).await;
    let text = service.wait_for_mail(ADA, 2).await;
    let link = text.lines().last().unwrap();
    assert!(NotMeToken::parse(link.rsplit_once('/').unwrap().1).is_some());
    assert_eq!(press_button(&service, link).await.0, 200);
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    service.age_grants(Duration::from_secs(120)).await;
    let self_deleted = service.register_pending(ADA).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    let purged = service.register_pending("eve@example.com").await;
    service.age_grants(Duration::from_secs(8 * 24 * 60 * 60)).await;
    // A service purges old registrations when it starts.
    let _replica = service.replica(&[]).await;
    eventually("the purge", async || {
        let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&service.db).await.unwrap();
        (users == 0).then_some(())
    })
    .await;
    let events = service.relayed_events().await;
    for id in [&replaced, &reported_not_me, &self_deleted, &purged] {
        assert_eq!(types_of(&events, id), ["user.registered", "user.deleted"]);
        let deleted = events.iter().find(|event| event["subject"] == **id && event["type"] == "user.deleted").unwrap();
        assert_eq!(deleted["data"], json!({ "status": "pending", "role": "user" }));
    }
    let position = |id: &str, event_type: &str| {
        events.iter().position(|event| event["subject"] == id && event["type"] == event_type)
    };
    assert!(
        position(&replaced, "user.deleted") < position(&reported_not_me, "user.registered"),
        "the deletion of the replaced registration must precede the new registration"
    );
}

#[tokio::test]
async fn the_users_command_appends_events_except_for_seeded_users() {
    let service = Service::start().await;
    let root = users_command(&service, &["create", "root@example.com", "--role", "admin"], Some(PASSWORD)).await;
    let root = root["id"].as_str().unwrap();
    let ada = service.register_active(ADA).await;
    users_command(&service, &["set-password", ADA], Some(NEW_PASSWORD)).await;
    users_command(&service, &["disable", ADA], None).await;
    users_command(&service, &["disable", ADA], None).await;
    users_command(&service, &["enable", ADA], None).await;
    users_command(&service, &["set-role", ADA, "admin"], None).await;
    users_command(&service, &["delete", ADA], None).await;
    users_command(&service, &["seed", "--count", "10"], None).await;
    let events = service.relayed_events().await;
    assert_eq!(types_of(&events, root), ["user.registered", "user.activated"]);
    let of_ada = ["registered", "activated", "password_changed", "disabled", "enabled", "role_changed", "deleted"];
    assert_eq!(types_of(&events, &ada), of_ada.map(|name| format!("user.{name}")));
    assert_eq!(events.len(), 9);
}

#[tokio::test]
async fn a_rehash_at_a_higher_cost_appends_no_event() {
    let service = Service::start().await;
    let ada = service.register_active(ADA).await;
    let higher_cost = service.replica(&["--argon2-memory-kib=16"]).await;
    let hash = async || -> String {
        sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(&service.db).await.unwrap()
    };
    let before = hash().await;
    assert_eq!(higher_cost.me(ADA, PASSWORD).await.status, 200);
    assert_ne!(hash().await, before);
    assert_eq!(types_of(&service.relayed_events().await, &ada), ["user.registered", "user.activated"]);
}

#[tokio::test]
async fn events_wait_in_postgresql_while_redis_refuses_them_and_requests_succeed() {
    let service = Service::start().await;
    let _: String = service.redis(&["SET", &service.stream_key(), "not a stream"]).await;
    let ada = service.register_active(ADA).await;
    service.register_pending("eve@example.com").await;
    // The relay retries several times in this time, and every attempt fails.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(service.unrelayed_events().await, 3);
    let _: i64 = service.redis(&["DEL", &service.stream_key()]).await;
    let events = service.relayed_events().await;
    assert_eq!(types_of(&events, &ada), ["user.registered", "user.activated"]);
    assert_eq!(events.len(), 3);

    // After the stream is deleted, the relay appends new events to a new stream.
    let _: i64 = service.redis(&["DEL", &service.stream_key()]).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    assert_eq!(types_of(&service.relayed_events().await, &ada), ["user.deleted"]);
}

/// When a batch times out, the relay sends smaller batches instead of repeating the same batch.
#[tokio::test]
async fn the_relay_sends_smaller_batches_to_a_slow_redis() {
    let (redis_url, _slow_redis) = throttled_proxy(stack().redis_url(), 100_000).await;
    let service = Service::start_with(&["--redis-url", &redis_url]).await;
    service.insert_events(600).await;
    let events = service.relayed_events().await;
    let ids: HashSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 600);
    // Redis also appended the batches that timed out, so some events occur more than once.
    assert!(events.len() < 3 * 600, "{}", events.len());
}

/// PostgreSQL assigns sequence numbers before the commit, so a lower number can become visible after a higher one.
#[tokio::test]
async fn the_relay_does_not_skip_an_event_that_is_committed_after_a_later_one() {
    let service = Service::start().await;
    let mut late_transaction = service.db.begin().await.unwrap();
    let user = Uuid::from_u128(1);
    sqlx::query("INSERT INTO events (type, user_id, status, role) VALUES ('user.deleted', $1, 'active', 'user')")
        .bind(user)
        .execute(&mut *late_transaction)
        .await
        .unwrap();
    let ada = service.register_pending(ADA).await;
    assert_eq!(types_of(&service.relayed_events().await, &ada), ["user.registered"]);
    late_transaction.commit().await.unwrap();
    let events = service.relayed_events().await;
    assert_eq!((events.len(), events[1]["subject"].as_str()), (2, Some(&*user.to_string())));
}

#[tokio::test]
async fn the_stream_is_trimmed_to_about_events_maxlen() {
    let service = Service::start_with(&["--events-maxlen=100"]).await;
    service.insert_events(1200).await;
    let order: Vec<Uuid> =
        sqlx::query_scalar("SELECT user_id FROM events ORDER BY sequence").fetch_all(&service.db).await.unwrap();
    let events = service.relayed_events().await;
    // Redis trims whole nodes of 100 entries.
    assert!((100..=200).contains(&events.len()), "{}", events.len());
    assert_eq!(events.last().unwrap()["subject"], order.last().unwrap().to_string());
}

/// A database, a Redis prefix and a mail provider for several service processes.
struct Cluster {
    database_url: String,
    prefix: String,
    /// Provides only its mock mail provider.
    mock: Service,
}

impl Cluster {
    async fn new() -> Self {
        Self {
            database_url: create_database().await,
            prefix: format!("t{}", unique_name()),
            mock: Service::start().await,
        }
    }

    /// Starts a service process.
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
    /// Waits until a relay holds the advisory lock. Returns the PostgreSQL backend process that holds the lock.
    async fn relay_lock_pid(&self) -> i32 {
        let lock_pid = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually("a relay to hold the lock", async || {
            sqlx::query_scalar(lock_pid).fetch_optional(&self.db).await.unwrap()
        })
        .await
    }
}

/// Returns the metric `sixty_events_relayed_total` of a process.
async fn relayed_total(running: &Running) -> u64 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = http.get(format!("{}/metrics", running.ops())).send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("sixty_events_relayed_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn one_process_relays_and_another_takes_over_when_it_is_killed_or_frozen() {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let cluster = Cluster::new().await;
        let (mut first, service) = cluster.start().await;
        service.register_pending(ADA).await;
        assert_eq!(service.relayed_events().await.len(), 1);
        let first_lock_pid = service.relay_lock_pid().await;
        let (mut second, service) = cluster.start().await;
        service.register_pending("bob@example.com").await;
        assert_eq!(service.relayed_events().await.len(), 2);
        assert_eq!((relayed_total(&first).await, relayed_total(&second).await), (2, 0));

        let frozen = (signal == Signal::SIGSTOP).then(|| Frozen::new(first.pid()));
        if frozen.is_none() {
            first.end(signal).await;
        }
        let eve = service.register_pending("eve@example.com").await;
        assert_eq!(types_of(&service.relayed_events().await, &eve), ["user.registered"]);
        assert_ne!(service.relay_lock_pid().await, first_lock_pid);
        assert_eq!((service.stream_events().await.len(), relayed_total(&second).await), (3, 1));
        // The thawed process finds that it has lost the lock, and appends nothing.
        drop(frozen);
        service.register_pending("mia@example.com").await;
        assert_eq!(service.relayed_events().await.len(), 4);
        assert!(second.end(Signal::SIGTERM).await.success());
    }
}

/// The relay dies after it appended the events to the stream, and before it deleted them from PostgreSQL.
#[tokio::test]
async fn events_of_a_killed_relay_are_appended_again_with_the_same_ids() {
    let cluster = Cluster::new().await;
    let (mut killed, service) = cluster.start().await;
    let _: String = service.redis(&["SET", &service.stream_key(), "not a stream"]).await;
    let ada = service.register_pending(ADA).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    let mut locked_rows = service.db.begin().await.unwrap();
    sqlx::query("SELECT FROM events FOR UPDATE").execute(&mut *locked_rows).await.unwrap();
    let _: i64 = service.redis(&["DEL", &service.stream_key()]).await;
    eventually("both events in the stream", async || (service.stream_events().await.len() == 2).then_some(())).await;
    killed.end(Signal::SIGKILL).await;
    locked_rows.rollback().await.unwrap();
    let (_running, service) = cluster.start().await;
    let events = service.relayed_events().await;
    let types = types_of(&events, &ada);
    assert!(types.len() > 2 && types.len().is_multiple_of(2), "{types:?}");
    let ids: HashSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    let first: Vec<_> = events.iter().take(2).map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(first, ["user.registered", "user.deleted"]);
}

#[tokio::test]
async fn concurrent_changes_append_each_users_events_in_order() {
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
    let events = service.relayed_events().await;
    let mut last_types: HashMap<&str, &str> = HashMap::new();
    for event in &events {
        let (event_type, user) = (event["type"].as_str().unwrap(), event["subject"].as_str().unwrap());
        let previous_type = last_types.insert(user, event_type);
        assert_ne!(previous_type, Some(event_type), "a user's event types must alternate: {events:?}");
    }
    let read = service.request(Method::GET, &format!("/v1/users/{ada}")).basic_auth("root@example.com", Some(PASSWORD));
    let status = Answer::of(read).await.body["status"].clone();
    let last = events.iter().rfind(|event| event["subject"] == ada.as_str()).unwrap();
    assert_eq!(last["data"]["status"], status);
    assert_eq!(types_of(&events, &root).len(), 2);
}

/// The locks of an installation belong to its schema.
#[tokio::test]
async fn two_installations_in_schemas_of_one_database_both_migrate_and_relay() {
    let database_url = create_database().await;
    let mut admin = PgConnection::connect(&database_url).await.unwrap();
    sqlx::raw_sql("CREATE SCHEMA one; CREATE SCHEMA two").execute(&mut admin).await.unwrap();
    let url_of = |schema| format!("{database_url}?options=-csearch_path%3D{schema}");
    let (one, two) = (url_of("one"), url_of("two"));
    let installations = [Service::start_in(&database_url).await, Service::start_in(&one).await];
    // A migration in another schema holds a lock of its own.
    let lock = "SELECT pg_advisory_lock(hashtextextended('one', $1))";
    sqlx::query(lock).bind(i64::from_be_bytes(*b"sixty mi")).execute(&mut admin).await.unwrap();
    let third = Service::start_in(&two).await;
    for service in installations.iter().chain([&third]) {
        let id = service.register_active(ADA).await;
        assert_eq!(types_of(&service.relayed_events().await, &id), ["user.registered", "user.activated"]);
    }
}
