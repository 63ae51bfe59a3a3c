//! What PostgreSQL keeps of a deleted user.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::not_me::press_button;
use crate::process::{output, sixty};
use crate::support::{CODE_SECRET, PASSWORD, Service, eventually};

const ADA: &str = "ada@example.com";
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The shortest values that the settings allow, so that a replica with them purges often.
const SHORTEST_TTLS: [&str; 3] = ["--code-ttl=1s", "--mail-give-up=1s", "--pending-ttl=2s"];

impl Service {
    /// Returns the tables with a row that contains a text.
    async fn tables_with(&self, text: &str) -> Vec<String> {
        let tables = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&self.db).await.unwrap();
        let mut found = vec![];
        for table in tables {
            let exists = format!("SELECT EXISTS (SELECT FROM {table} WHERE {table}::text ILIKE '%' || $1 || '%')");
            if sqlx::query_scalar(AssertSqlSafe(exists)).bind(text).fetch_one(&self.db).await.unwrap() {
                found.push(table);
            }
        }
        found
    }

    /// Waits until the relay has published the events, which have the address until then.
    async fn wait_until_forgotten(&self, text: &str) {
        eventually("no row with the address", async || self.tables_with(text).await.is_empty().then_some(())).await;
    }

    async fn address_rows(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM addresses").fetch_one(&self.db).await.unwrap()
    }
}

#[tokio::test]
async fn a_deleted_user_leaves_no_address_and_its_grants_still_count() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    assert!(service.tables_with("ada@").await.contains(&"users".to_owned()));
    let salt =
        async || -> Vec<u8> { sqlx::query_scalar("SELECT salt FROM addresses").fetch_one(&service.db).await.unwrap() };
    let before = salt().await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    assert!(!service.tables_with("ada@").await.contains(&"addresses".to_owned()));
    service.wait_until_forgotten("ada@").await;
    assert_eq!(service.register(ADA, PASSWORD).await.outcome(), (429, "too-many-codes"));
    assert_eq!(service.register("ADA@Example.com ", PASSWORD).await.outcome(), (429, "too-many-codes"));
    service.wait_until_forgotten("ada@").await;

    service.age_grants(Duration::from_secs(60)).await;
    service.register_pending(ADA).await;
    assert_eq!((salt().await, service.address_rows().await), (before, 1));
    let wait: f64 = sqlx::query_scalar("SELECT extract(epoch FROM wait)::float8 FROM addresses")
        .fetch_one(&service.db)
        .await
        .unwrap();
    assert!((wait - 120.0).abs() < 0.1, "{wait}");
    let code = service.wait_for_code(ADA, 3).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn every_way_to_delete_a_user_forgets_its_address() {
    let service = Service::start().await;
    // "This was not me".
    service.register_pending("notme@example.com").await;
    let link = service.wait_for_not_me_link("notme@example.com", 1).await;
    assert_eq!(press_button(&service, &link).await.0, 200);
    assert!(!service.tables_with("notme@").await.contains(&"addresses".to_owned()));
    // A command, which does not know CODE_SECRET. The row of the address has its MAC.
    service.register_active("command@example.com").await;
    delete_by_command(&service, "command@example.com").await;
    assert!(!service.tables_with("command@").await.contains(&"addresses".to_owned()));
    // A row that an earlier release has stored has none. The purge of a service computes it.
    service.register_active("earlier@example.com").await;
    sqlx::query("UPDATE addresses SET mac = NULL WHERE address = 'earlier@example.com'")
        .execute(&service.db)
        .await
        .unwrap();
    delete_by_command(&service, "earlier@example.com").await;
    assert!(service.tables_with("earlier@").await.contains(&"addresses".to_owned()));
    // The purge of pending users.
    service.register_pending("pending@example.com").await;
    let _purging = service.replica(&SHORTEST_TTLS).await;
    for name in ["notme@", "command@", "earlier@", "pending@"] {
        service.wait_until_forgotten(name).await;
    }
    assert_eq!(service.register("pending@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));

    // After a year without a grant nothing is left.
    assert_eq!(service.address_rows().await, 4);
    service.register_active(ADA).await;
    service.age_grants(YEAR).await;
    eventually("the end of the rows", async || (service.address_rows().await == 1).then_some(())).await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 200);
}

async fn delete_by_command(service: &Service, address: &str) {
    let mut command = sixty(&["users", "delete", address]);
    let output = output(command.env("DATABASE_URL", &service.database_url)).await;
    assert!(output.status.success(), "{output:?}");
}

/// During a rolling update, and after a rollback, an earlier release does not find the row of an address without a user.
#[tokio::test]
async fn a_second_row_that_an_earlier_release_has_stored_is_merged() {
    for has_pending_user in [false, true] {
        let service = Service::start().await;
        service.register_pending(ADA).await;
        service.wait_for_code(ADA, 1).await;
        service.wait_for_empty_outbox().await;
        let hash: String = sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(&service.db).await.unwrap();
        assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
        let again = "INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at)
            SELECT $1, salt, hash_cost, now() - interval '1 h', '60 s', ARRAY[now()] FROM addresses";
        sqlx::query(again).bind(ADA).execute(&service.db).await.unwrap();
        if has_pending_user {
            let pending =
                "INSERT INTO users (id, address, email, password_hash) VALUES (gen_random_uuid(), $1, $1, $2)";
            sqlx::query(pending).bind(ADA).bind(hash).execute(&service.db).await.unwrap();
            assert_eq!(service.resend(ADA, PASSWORD).await.status, 202);
        } else {
            service.register_pending(ADA).await;
        }
        let (address, short): (String, i32) =
            sqlx::query_as("SELECT address, cardinality(short_granted_at) FROM addresses")
                .fetch_one(&service.db)
                .await
                .unwrap();
        assert_eq!((address.as_str(), short), (ADA, 3));
    }
}

/// The MAC of an address without a user needs the secret under which it was made.
#[tokio::test]
async fn another_secret_forgets_the_grants_of_addresses_without_a_user() {
    let service = Service::start().await;
    service.register_active("bob@example.com").await;
    service.register_pending(ADA).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    let other_secret = CODE_SECRET.replace('A', "Q");
    let rotated = service.replica(&["--code-secret", &other_secret]).await;
    assert_eq!(rotated.register("bob@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));
    assert_eq!(rotated.register(ADA, PASSWORD).await.status, 201);
    // The address has two rows until the purge forgets the first one.
    assert_eq!(service.register(ADA, PASSWORD).await.outcome(), (429, "too-many-codes"));
    assert_eq!(rotated.delete(ADA, PASSWORD).await.status, 204);
    service.wait_until_forgotten("ada@").await;
}
