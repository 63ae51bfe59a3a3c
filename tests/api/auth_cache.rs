//! Verified passwords are remembered: a repeated request with the right credentials costs no hash, and everything else
//! costs one as before.

use reqwest::Method;
use serde_json::json;

use crate::observability::ServeProcess;
use crate::support::{Answer, PASSWORD, Service, eventually};

const ADA: &str = "ada@example.com";
const OTHER_PASSWORD: &str = "another horse battery";

impl ServeProcess {
    /// Returns the number of argon2id evaluations that `request` costs.
    async fn hashes_of(&self, request: impl Future) -> u64 {
        let count = async || {
            let metrics = self.running.metrics().await;
            let name = "sixty_hasher_evaluation_seconds_count ";
            metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0)
        };
        let before = count().await;
        request.await;
        count().await - before
    }

    async fn expect_me(&self, password: &str, expected: (u16, &str)) {
        assert_eq!(self.service.me(ADA, password).await.outcome(), expected);
    }
}

#[tokio::test]
async fn a_flow_costs_one_hash_and_repeated_requests_cost_none() {
    let process = ServeProcess::start(&[]).await;
    assert_eq!(process.hashes_of(process.service.register_active(ADA)).await, 1);
    let repeated = async {
        for _ in 0..5 {
            process.expect_me(PASSWORD, (200, "")).await;
        }
    };
    assert_eq!(process.hashes_of(repeated).await, 0);
}

#[tokio::test]
async fn without_the_cache_each_request_costs_a_hash() {
    let process = ServeProcess::start(&["--auth-cache-ttl=0"]).await;
    assert_eq!(process.hashes_of(process.service.register_active(ADA)).await, 2);
    assert_eq!(process.hashes_of(process.expect_me(PASSWORD, (200, ""))).await, 1);
}

#[tokio::test]
async fn failures_cost_a_hash_whatever_is_remembered() {
    let process = ServeProcess::start(&[]).await;
    process.service.register_active(ADA).await;
    process.expect_me(PASSWORD, (200, "")).await;
    for _ in 0..2 {
        let wrong = process.expect_me("wrong password", (401, "unauthenticated"));
        assert_eq!(process.hashes_of(wrong).await, 1);
        let unknown = process.service.me("eve@example.com", PASSWORD);
        assert_eq!(process.hashes_of(unknown).await, 1);
    }
    assert_eq!(process.hashes_of(process.expect_me(PASSWORD, (200, ""))).await, 0);
}

#[tokio::test]
async fn a_disabled_account_costs_a_hash_each_time() {
    let process = ServeProcess::start(&[]).await;
    let (ada, db) = (process.service.register_active(ADA).await, &process.service.db);
    process.expect_me(PASSWORD, (200, "")).await;
    let set_status = async |status: &str| {
        let update = sqlx::query("UPDATE users SET status = $1 WHERE id = $2::text::uuid");
        update.bind(status).bind(&ada).execute(db).await.unwrap();
    };
    set_status("disabled").await;
    for _ in 0..2 {
        let disabled = process.expect_me(PASSWORD, (403, "account-disabled"));
        assert_eq!(process.hashes_of(disabled).await, 1);
    }
    // A pending registration with the same password makes no difference.
    process.service.age_grants(std::time::Duration::from_secs(3600)).await;
    process.service.register_pending(ADA).await;
    let disabled = process.expect_me(PASSWORD, (403, "account-disabled"));
    assert_eq!(process.hashes_of(disabled).await, 1);
    set_status("active").await;
    process.expect_me(PASSWORD, (200, "")).await;
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let process = ServeProcess::start(&[]).await;
    process.service.register_active(ADA).await;
    process.expect_me(PASSWORD, (200, "")).await;
    let change = process.service.request(Method::PUT, "/v1/users/me/password").basic_auth(ADA, Some(PASSWORD));
    let change = change.json(&json!({ "password": OTHER_PASSWORD }));
    let change = async {
        assert_eq!(Answer::of(change).await.status, 204);
    };
    assert_eq!(process.hashes_of(change).await, 1, "the old password was remembered, and the new one is hashed");
    assert_eq!(process.hashes_of(process.expect_me(PASSWORD, (401, "unauthenticated"))).await, 1);
    assert_eq!(process.hashes_of(process.expect_me(OTHER_PASSWORD, (200, ""))).await, 0);
    // A change that another process makes counts at once, too.
    sqlx::query("UPDATE users SET password_hash = replace(password_hash, right(password_hash, 4), 'AAAA')")
        .execute(&process.service.db)
        .await
        .unwrap();
    process.expect_me(OTHER_PASSWORD, (401, "unauthenticated")).await;
}

/// Deleting the last user of an address takes longer, and only the hash hides that.
#[tokio::test]
async fn a_deletion_costs_a_hash() {
    let process = ServeProcess::start(&[]).await;
    process.service.register_pending(ADA).await;
    assert_eq!(process.hashes_of(process.expect_me(PASSWORD, (200, ""))).await, 0);
    let delete = async {
        assert_eq!(process.service.delete(ADA, PASSWORD).await.status, 204);
    };
    assert_eq!(process.hashes_of(delete).await, 1);
}

#[tokio::test]
async fn an_overloaded_hasher_refuses_no_remembered_client() {
    let slow = ["--argon2-memory-kib=16384", "--argon2-passes=40", "--hash-threads=1", "--hash-max-wait=1ms"];
    let service = Service::start_with(&[&["--client-limits=true"][..], &slow].concat()).await;
    service.register_active(ADA).await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 200);
    let stop = tokio_util::sync::CancellationToken::new();
    let keep_busy = async {
        while !stop.is_cancelled() {
            service.me("eve@example.com", PASSWORD).await;
        }
    };
    let check = async {
        // At the same moment a stranger is refused and the remembered client is not.
        eventually("an overload", async || {
            let [stranger, ada] = [service.me("bob@example.com", PASSWORD), service.me(ADA, PASSWORD)];
            let (stranger, ada) = tokio::join!(stranger, ada);
            assert_eq!(ada.status, 200);
            (stranger.outcome() == (503, "unavailable")).then_some(())
        })
        .await;
        stop.cancel();
    };
    tokio::join!(keep_busy, check);
}

#[tokio::test]
async fn a_new_registration_of_the_address_ends_what_was_remembered() {
    let process = ServeProcess::start(&[]).await;
    process.service.register_pending(ADA).await;
    assert_eq!(process.hashes_of(process.expect_me(PASSWORD, (200, ""))).await, 0);
    process.service.age_grants(std::time::Duration::from_secs(3600)).await;
    assert_eq!(process.service.register(ADA, OTHER_PASSWORD).await.status, 201);
    assert_eq!(process.hashes_of(process.expect_me(PASSWORD, (401, "unauthenticated"))).await, 1);
    assert_eq!(process.hashes_of(process.expect_me(OTHER_PASSWORD, (200, ""))).await, 0);
}
