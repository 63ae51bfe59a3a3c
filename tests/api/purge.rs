//! Registrations that nobody activates are forgotten, by whichever process gets to it.

use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use crate::process::{Running, sixty};
use crate::support::{self, PASSWORD, Service, eventually, stack};

/// As short as they may be, so that a test sees it happen.
const SHORT: [&str; 3] = ["--code-ttl=1s", "--mail-give-up=1s", "--pending-ttl=2s"];

async fn pending(service: &Service) -> i64 {
    let pending = "SELECT count(*) FROM users WHERE status = 'pending'";
    sqlx::query_scalar(pending).fetch_one(&service.db).await.unwrap()
}

#[tokio::test]
async fn a_registration_that_nobody_activates_is_forgotten_and_an_account_is_not() {
    let service = Service::start().await;
    let ada = service.register_active("ada@example.com").await;
    service.register_pending("eve@example.com").await;
    let _impatient = service.replica(&SHORT).await;
    eventually("the purge", async || (pending(&service).await == 0).then_some(())).await;
    assert_eq!(service.me("eve@example.com", PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me("ada@example.com", PASSWORD).await.body["id"], ada.as_str());
    // What the address was granted outlives it.
    assert_eq!(service.register("eve@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));
}

#[tokio::test]
async fn it_goes_on_when_postgresql_has_failed_it() {
    let database = support::create_database().await;
    let prefix = format!("t{}", support::unique_name());
    let mut serve = sixty(&["serve"]);
    serve.args(SHORT).env("DATABASE_URL", &database).env("REDIS_URL", stack().redis_url());
    serve.env("REDIS_PREFIX", &prefix).env("MAIL_URL", "http://127.0.0.1:1").env("CODE_SECRET", "AAAA".repeat(11));
    let (mut running, api) = Running::serve(&mut serve).await;
    let service = Service::connect(api, "http://127.0.0.1:1", &database, &prefix, CancellationToken::new()).await;
    sqlx::query("ALTER TABLE addresses RENAME TO elsewhere").execute(&service.db).await.unwrap();
    let told = "old registrations cannot be deleted; trying on";
    running.until("a word", async |running| running.stderr().contains(told).then_some(())).await;
    sqlx::query("ALTER TABLE elsewhere RENAME TO addresses").execute(&service.db).await.unwrap();
    service.register_pending("eve@example.com").await;
    let told = "registrations that nobody activated were deleted";
    running.until("the purge", async |running| running.stderr().contains(told).then_some(())).await;
    assert_eq!(pending(&service).await, 0);
    assert!(!running.stderr().contains("eve@"), "{}", running.stderr());
    assert!(running.end(Signal::SIGTERM).await.success());
}
