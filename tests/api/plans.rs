//! PostgreSQL plans no statement over a partial index by anything but the key of the index.
//!
//! After an import of users, the statistics say that there are no pending users. Then a scan of the whole index of pending
//! users looks cheaper than a search by primary key, until autovacuum analyzes the table.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sixty::store::postgres::{Postgres, PostgresConfig};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::create_database;

/// The partial indexes of users, with the key column by which a statement may search them.
const PARTIAL_INDEXES: [(&str, &str); 2] = [("users_one_pending", "address"), ("users_one_account", "address")];

/// Returns every statement of the service, with the number of its parameters.
fn statements() -> Vec<(String, usize)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let statements = fs::read_dir(folder).unwrap().map(|file| {
        let file: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
        let parameters = file["describe"]["parameters"]["Left"].as_array().unwrap().len();
        (file["query"].as_str().unwrap().to_owned(), parameters)
    });
    statements.collect()
}

/// Returns the partial indexes that a plan scans without a condition on their key.
fn scanned_indexes(plan: &Value) -> Vec<&'static str> {
    let scanned = PARTIAL_INDEXES.iter().filter(|(index, key)| {
        plan["Index Name"] == *index && !plan["Index Cond"].as_str().unwrap_or_default().contains(key)
    });
    let mut found: Vec<_> = scanned.map(|(index, _)| *index).collect();
    found.extend(plan["Plans"].as_array().into_iter().flatten().flat_map(scanned_indexes));
    found
}

#[tokio::test]
async fn no_statement_scans_the_pending_users_that_the_statistics_do_not_know() {
    let url = create_database().await;
    let config = PostgresConfig { url: url.as_str().into(), max_connections: 1, timeout: Duration::from_secs(20) };
    Postgres::new(&config).unwrap().migrate().await.unwrap();
    let mut session = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at)
            SELECT n || '@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}'
            FROM generate_series(1, 20000) AS n;
         INSERT INTO users (id, address, email, password_hash, status, activated_at)
            SELECT gen_random_uuid(), address, address, '-', 'active', now() FROM addresses;
         ANALYZE;
         SET plan_cache_mode = force_generic_plan",
    )
    .execute(&mut session)
    .await
    .unwrap();
    let mut checked = 0;
    for (statement, parameters) in statements() {
        // The purge reads all pending users.
        if !statement.contains("users") || statement.contains("WITH stale AS MATERIALIZED") {
            continue;
        }
        let nulls = vec!["NULL"; parameters].join(", ");
        let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
        let prepare = format!("PREPARE statement AS {statement}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut session).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) EXECUTE statement{arguments}"));
        let plan: Value = sqlx::query_scalar(explain).fetch_one(&mut session).await.unwrap();
        let scanned = scanned_indexes(&plan[0]["Plan"]);
        assert!(scanned.is_empty(), "{scanned:?} in the plan of {statement}\n{plan:#}");
        sqlx::raw_sql("DEALLOCATE statement").execute(&mut session).await.unwrap();
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}
