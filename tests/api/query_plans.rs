//! The plans of the statements behind the lists of users: a page reads a number of rows that depends on the size of the page
//! alone, not on the number of users.

use std::time::Duration;

use serde_json::Value;
use sixty::accounts::ports::{AddressSearch, Cursor, SearchCursor, UserFilter, Users as _};
use sixty::domain::address_search::{AddressDomain, AddressPrefix};
use sixty::domain::pacing::Pacing;
use sixty::domain::user::{Status, UserId};
use sixty::store::postgres::users::PgUsers;
use sixty::store::postgres::{Postgres, PostgresConfig};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

use crate::support;

/// Number of users in the database. A page reads far fewer.
const USERS: i64 = 20_000;
const LIMIT: u32 = 20;

/// Returns the number of rows that the scans in a plan have read, including those that a filter removed.
fn rows_read(plan: &Value) -> f64 {
    let count = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let per_loop = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"].map(count);
    let is_scan = plan["Node Type"].as_str().unwrap().contains("Scan") && plan["Relation Name"] == "users";
    let here = if is_scan { per_loop.iter().sum::<f64>() * count("Actual Loops") } else { 0.0 };
    here + plan["Plans"].as_array().into_iter().flatten().map(rows_read).sum::<f64>()
}

/// Executes the statement of this connection that contains all of these texts, once with a plan for these parameters and once
/// with a plan for any. Returns the larger number of rows that a plan has read.
async fn rows_read_by(connection: &mut PgConnection, texts: &[&str], parameters: &str) -> f64 {
    let prepared: Vec<(String, String)> =
        sqlx::query_as("SELECT name, statement FROM pg_prepared_statements").fetch_all(&mut *connection).await.unwrap();
    let mut matching = prepared.iter().filter(|(_, statement)| texts.iter().all(|text| statement.contains(text)));
    let (Some((name, _)), None) = (matching.next(), matching.next()) else {
        panic!("{texts:?} must match one of {prepared:?}");
    };
    let mut most: f64 = 0.0;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        sqlx::raw_sql(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).execute(&mut *connection).await.unwrap();
        let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE \"{name}\"({parameters})");
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *connection).await.unwrap();
        let plan: Value = rows.get(0);
        most = most.max(rows_read(&plan[0]["Plan"]));
    }
    most
}

#[tokio::test]
async fn a_page_of_a_search_reads_as_many_rows_among_many_users_as_among_few() {
    let url = support::create_database().await;
    // One connection, which prepares the statements that the test then explains.
    let config = PostgresConfig { url: url.as_str().into(), max_connections: 1, timeout: Duration::from_secs(20) };
    let postgres = Postgres::new(&config).unwrap();
    postgres.migrate().await.unwrap();
    let users = PgUsers::new(postgres.clone(), Pacing::default());
    // Few are disabled, few have another domain, and both are the oldest.
    sqlx::raw_sql(AssertSqlSafe(
        format!(
            "INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at)
         SELECT 'user' || n || CASE WHEN n < 100 THEN '@few.example' ELSE '@many.example' END,
             sha256('')::bytea, 'm=8,t=1,p=1', now(), '1 minute', '{{}}' FROM generate_series(1, {USERS}) AS n;
         INSERT INTO users (id, address, email, password_hash, status, created_at, activated_at)
         SELECT gen_random_uuid(), address, address, '', CASE WHEN n < 100 THEN 'disabled' ELSE 'active' END,
             now() - make_interval(secs => {USERS} - n), now()
         FROM (SELECT address, substring(address, '[0-9]+')::integer AS n FROM addresses) AS numbered;
         ANALYZE"
        )
        .replace("sha256('')::bytea", "substring(sha256(''), 1, 16)"),
    ))
    .execute(&postgres.pool())
    .await
    .unwrap();

    let prefix = |text: &str| AddressPrefix::parse(text).unwrap();
    let domain = |name: &str| Some(AddressDomain::parse(name).unwrap());
    let limit = LIMIT + 1;
    let at_most = f64::from(3 * limit);
    let middle = SearchCursor { address: "user5".to_owned(), id: UserId(Uuid::nil()) };
    for status in [None, Some(Status::Active), Some(Status::Disabled)] {
        let statuses = match status {
            None => "ARRAY['pending', 'active', 'disabled']".to_owned(),
            Some(status) => format!("ARRAY['{}']", status.as_str()),
        };
        for (text, after) in [("user", None), ("user", Some(&middle)), ("user19999", None), ("nobody", None)] {
            let start = after.map_or(text, |after| &after.address);
            let nil = Uuid::nil();
            let in_all = (None, "", "WHERE users.status");
            let in_few = (domain("few.example"), ", 'few.example'", "WHERE split_part");
            for (domain, last_parameter, condition) in [in_all, in_few] {
                let search = AddressSearch { prefix: prefix(text), domain, status };
                users.search(&search, after, limit).await.unwrap();
                let end = search.prefix.end();
                let parameters = format!("{statuses}, '{start}', '{nil}', '{end}', {limit}{last_parameter}");
                let texts = [condition, "ORDER BY address"];
                let read = rows_read_by(&mut postgres.pool().acquire().await.unwrap(), &texts, &parameters).await;
                assert!(read <= at_most, "{search:?} {text}: {read} rows");
            }
        }
        for name in ["few.example", "many.example", "none.example"] {
            let filter = UserFilter { status, domain: domain(name), ..UserFilter::default() };
            let first = users.list(&filter, None::<Cursor>, limit).await.unwrap();
            let parameters = format!("{statuses}, '{name}', NULL, NULL, {limit}");
            let texts = ["WHERE split_part", "ORDER BY created_at"];
            let read = rows_read_by(&mut postgres.pool().acquire().await.unwrap(), &texts, &parameters).await;
            assert!(read <= at_most, "{name} {status:?}: {read} rows for {} users", first.len());
        }
    }
}
