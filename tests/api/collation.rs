//! The order of text keys does not depend on the collation of the database, whose order changes with the C library and ICU.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{PASSWORD, Service, create_database_with, stack};

/// Returns the options of `CREATE DATABASE` for each provider of collations that this PostgreSQL has.
async fn database_options() -> Vec<String> {
    let url = tokio::task::spawn_blocking(|| stack().database_url()).await.unwrap();
    let mut admin = PgConnection::connect(url).await.unwrap();
    let libc: Option<String> = sqlx::query_scalar(
        "SELECT collcollate::text FROM pg_collation
         WHERE collprovider = 'c' AND collcollate::text NOT IN ('C', 'POSIX') AND collencoding IN (-1, 6)
         ORDER BY collcollate::text DESC LIMIT 1",
    )
    .fetch_optional(&mut admin)
    .await
    .unwrap();
    let has_icu: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    let libc = libc.map(|locale| format!("TEMPLATE template0 LOCALE '{locale}'"));
    let icu = has_icu.then(|| "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'".to_owned());
    libc.into_iter().chain(icu).collect()
}

/// Addresses that other collations of ICU order differently.
fn addresses() -> Vec<String> {
    let names = (0..8).flat_map(|n| {
        let n = ["a", "b", "aa", "z", "ä", "o", "ö", "y"][n];
        [format!("{n}-b"), format!("{n}b"), format!("{n}.b"), format!("{n}_b"), format!("{n}+b"), format!("{n}'b")]
    });
    names.map(|name| format!("{name}@example.com")).collect()
}

#[tokio::test]
async fn every_user_is_found_after_the_order_of_the_collation_has_changed() {
    for options in database_options().await {
        let url = create_database_with(&options).await;
        let service = Service::start_in(&url).await;
        let indexes: Vec<String> = sqlx::query_scalar(
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid,
                unnest(indcollation::oid[]) AS key_collation
             WHERE relnamespace = 'public'::regnamespace
                AND key_collation NOT IN (0, (SELECT oid FROM pg_collation WHERE collname = 'C'))",
        )
        .fetch_all(&service.db)
        .await
        .unwrap();
        assert_eq!(indexes, [""; 0], "{options}");
        for address in addresses() {
            service.register_pending(&address).await;
        }
        if options.contains("icu") {
            change_order_of_icu(&url).await;
        }
        let replica = service.replica(&[]).await;
        for address in addresses() {
            assert_eq!(replica.me(&address, PASSWORD).await.status, 200, "{options}, {address}");
            assert_eq!(replica.register(&address, PASSWORD).await.outcome(), (429, "too-many-codes"), "{address}");
        }
    }
}

/// Makes new sessions of the database order text in another way, as a new version of ICU does.
async fn change_order_of_icu(url: &str) {
    let mut session = PgConnection::connect(url).await.unwrap();
    let sorted = "SELECT string_agg(text, ' ' ORDER BY text) FROM unnest(ARRAY['a-c', 'ab']) AS text";
    let before: String = sqlx::query_scalar(sorted).fetch_one(&mut session).await.unwrap();
    let column: String = sqlx::query_scalar(
        "SELECT attname::text FROM pg_attribute
         WHERE attrelid = 'pg_database'::regclass AND attname IN ('daticulocale', 'datlocale')",
    )
    .fetch_one(&mut session)
    .await
    .unwrap();
    let change = format!("UPDATE pg_database SET {column} = 'en-US-u-ka-shifted' WHERE datname = current_database()");
    sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut session).await.unwrap();
    let mut session = PgConnection::connect(url).await.unwrap();
    let after: String = sqlx::query_scalar(sorted).fetch_one(&mut session).await.unwrap();
    assert_ne!(before, after);
}
