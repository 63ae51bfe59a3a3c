//! Two processes serve together, on one schema. `PREVIOUS_SIXTY` names the program of the other one:
//!
//!     PREVIOUS_SIXTY=$(bash .ci/previous-release) cargo test --test api previous_release::
//!
//! Without it, both are this release.

use std::path::PathBuf;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;

use crate::matrix::environment::Environment;
use crate::process::PROGRAM;
use crate::support::{Answer, PASSWORD, Service, eventually};

const NEW_PASSWORD: &str = "another correct horse";
/// All users are in one client network, and each enters a wrong password.
const FLAGS: [&str; 1] = ["--client-limits=false"];

/// The life of one user. Each request goes to the next of the services.
async fn live(name: &str, services: [&Service; 2]) {
    let mut turn = services.into_iter().cycle();
    let mut next = || turn.next().unwrap();
    let email = format!("{name}@example.com");
    assert_eq!(next().register(&email, PASSWORD).await.status, 201);
    next().activate_with_mailed_code(&email).await;
    assert_eq!(next().me(&email, PASSWORD).await.body["status"], "active");
    let change = next().request(Method::PUT, "/v1/users/me/password").basic_auth(&email, Some(PASSWORD));
    let changed = Answer::of(change.json(&json!({ "password": NEW_PASSWORD }))).await;
    assert_eq!(changed.status, 204, "{changed:?}");
    // No process remembers the old password.
    for _ in 0..2 {
        let service = next();
        assert_eq!(service.me(&email, PASSWORD).await.status, 401);
        assert_eq!(service.me(&email, NEW_PASSWORD).await.status, 200);
    }
    assert_eq!(next().delete(&email, NEW_PASSWORD).await.status, 204);
    assert_eq!(next().me(&email, NEW_PASSWORD).await.status, 401);
}

async fn live_many(round: &str, one: &Service, other: &Service) {
    let lives = (0..20).map(|n| async move {
        let services = if n % 2 == 0 { [one, other] } else { [other, one] };
        live(&format!("{round}{n}"), services).await;
    });
    join_all(lives).await;
}

#[tokio::test]
async fn the_previous_release_and_this_one_serve_together_in_both_directions() {
    let program = std::env::var_os("PREVIOUS_SIXTY").map_or(PathBuf::from(PROGRAM), PathBuf::from);
    let environment = Environment::new().await;
    let (mut old_running, old) = environment.serve_by(&program, &FLAGS).await;
    live_many("old", &old, &old).await;
    // The upgrade: this release applies its migrations under the old one.
    let (mut new_running, new) = environment.serve(&FLAGS).await;
    live_many("upgrade", &old, &new).await;
    assert!(old_running.end(Signal::SIGTERM).await.success());
    live_many("new", &new, &new).await;
    // The way back: the old release starts on the new schema.
    let (mut old_running, old) = environment.serve_by(&program, &FLAGS).await;
    live_many("rollback", &new, &old).await;
    assert!(new_running.end(Signal::SIGTERM).await.success());
    live_many("back", &old, &old).await;
    eventually("an empty outbox", async || {
        let mails: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&old.db).await.unwrap();
        (mails == 0).then_some(())
    })
    .await;
    assert!(old_running.end(Signal::SIGTERM).await.success());
}
