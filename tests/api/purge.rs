//! Any `sixty serve` process deletes pending registrations that are older than `PENDING_TTL`.

use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use crate::process::{Running, sixty};
use crate::support::{self, PASSWORD, Service, eventually, stack};

/// The shortest values that the settings allow, so that a test can wait for the deletion.
const SHORTEST_TTLS: [&str; 3] = ["--code-ttl=1s", "--mail-give-up=1s", "--pending-ttl=2s"];

/// Returns the number of pending registrations in the database.
async fn count_pending(service: &Service) -> i64 {
    let count = "SELECT count(*) FROM users WHERE status = 'pending'";
    sqlx::query_scalar(count).fetch_one(&service.db).await.unwrap()
}

#[tokio::test]
async fn old_pending_registrations_are_deleted_and_active_accounts_are_kept() {
    let service = Service::start().await;
    let ada = service.register_active("ada@example.com").await;
    service.register_pending("eve@example.com").await;
    let _purging_replica = service.replica(&SHORTEST_TTLS).await;
    eventually("the purge", async || (count_pending(&service).await == 0).then_some(())).await;
    assert_eq!(service.me("eve@example.com", PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me("ada@example.com", PASSWORD).await.body["id"], ada.as_str());
    // The wait of the address outlives the deleted registration.
    assert_eq!(service.register("eve@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));
}

#[tokio::test]
async fn the_purge_goes_on_after_a_postgresql_error() {
    let database = support::create_database().await;
    let prefix = format!("t{}", support::unique_name());
    let mut serve = sixty(&["serve"]);
    serve.args(SHORTEST_TTLS).env("DATABASE_URL", &database).env("REDIS_URL", stack().redis_url());
    serve.env("REDIS_PREFIX", &prefix).env("MAIL_URL", "http://127.0.0.1:1").env("CODE_SECRET", "AAAA".repeat(11));
    let (mut running, api) = Running::serve(&mut serve).await;
    let service = Service::connect(api, "http://127.0.0.1:1", &database, &prefix, CancellationToken::new()).await;
    sqlx::query("ALTER TABLE addresses RENAME TO elsewhere").execute(&service.db).await.unwrap();
    let logged = "cannot delete expired registrations; will keep trying";
    running.until("the error in the log", async |running| running.stderr().contains(logged).then_some(())).await;
    sqlx::query("ALTER TABLE elsewhere RENAME TO addresses").execute(&service.db).await.unwrap();
    service.register_pending("eve@example.com").await;
    let logged = "deleted registrations that were not activated in time";
    running.until("the purge", async |running| running.stderr().contains(logged).then_some(())).await;
    assert_eq!(count_pending(&service).await, 0);
    assert!(!running.stderr().contains("eve@"), "{}", running.stderr());
    assert!(running.end(Signal::SIGTERM).await.success());
}
