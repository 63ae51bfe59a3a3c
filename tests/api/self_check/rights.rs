//! The least rights of `docs/operations/rights.md` suffice for a whole registration.

use std::path::Path;

use mail_mock::MockOptions;
use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use super::command;
use super::postgres::{execute, with_user};
use crate::private_servers::PrivateRedis;
use crate::process::{Running, output, sixty};
use crate::support::{PASSWORD, Service, create_database, eventually, start_mail_mock, unique_name, wrong_code};

/// Returns the block of the page that begins with a fence of this language.
fn block(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/rights.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[tokio::test]
async fn the_least_rights_of_the_documentation_suffice() {
    let owner = create_database().await;
    assert!(output(sixty(&["migrate", "up"]).env("DATABASE_URL", &owner)).await.status.success());
    let database = owner.rsplit_once('/').unwrap().1;
    let role = format!("r{}", unique_name());
    // PostgreSQL before 15 lets everybody create tables in this schema.
    execute(&owner, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    execute(
        &owner,
        &block("sql").replace("sixty_service", &role).replace("DATABASE sixty", &format!("DATABASE {database}")),
    )
    .await;
    let redis = PrivateRedis::start().await;
    let acl = block("text");
    let () = redis.command(&acl.split_whitespace().collect::<Vec<_>>()).await.unwrap();
    let () = redis.command(&["ACL", "SETUSER", "default", "off"]).await.unwrap_or(());

    let stop = CancellationToken::new();
    let mail_url = start_mail_mock(MockOptions::default(), stop.clone()).await;
    let database_url = with_user(&owner, &role, "change-me");
    let redis_url = redis.url.replace("redis://", "redis://sixty:change-me@");
    let mut doctor = command("doctor", &database_url, &redis_url);
    let report =
        output(doctor.env("MAIL_URL", &mail_url).env("MIGRATE", "false").env("DATABASE_MAX_CONNECTIONS", "2")).await;
    assert!(report.status.success(), "{report:?}");

    let mut serve = command("serve", &database_url, &redis_url);
    // The client limits use most scripts.
    serve.env("MAIL_URL", &mail_url).env("MIGRATE", "false");
    let (mut running, api) = Running::serve(&mut serve).await;
    let service = Service::connect(api, &mail_url, &owner, "sixty", stop).await;
    let ada = "ada@example.com";
    service.register_pending(ada).await;
    let code = service.wait_for_code(ada, 1).await;
    assert_eq!(service.activate(ada, PASSWORD, &wrong_code(&code)).await.status, 422);
    assert_eq!(service.activate(ada, PASSWORD, &code).await.status, 200);
    assert_eq!(service.me(ada, "a wrong password").await.status, 401);
    assert_eq!(service.me(ada, PASSWORD).await.body["status"], "active");
    let events = eventually("relayed events", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&service.db).await.unwrap();
        (left == 0).then_some(())
    });
    events.await;
    service.wait_for_empty_outbox().await;
    let log = running.stderr();
    assert!(!log.contains("\"WARN\",\"message\":\"Redis") && !log.contains("\"ERROR\""), "{log}");
    assert!(running.end(Signal::SIGTERM).await.success());
}
