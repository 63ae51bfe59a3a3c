//! The PostgreSQL and Redis servers that all tests of a run share.

use std::path::Path;
use std::sync::OnceLock;

use dev_stack::{Stack, StackOptions};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// Returns this run's PostgreSQL and Redis servers. The first call starts them; a guardian process stops them when the
/// test process ends.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack");
        let program = env!("CARGO_BIN_EXE_sixty").into();
        Stack::start(&StackOptions { program, folder, keep: false }, |_| ()).unwrap()
    })
}

/// Creates an empty database with a unique name. Returns its URL.
pub async fn create_database() -> String {
    create_database_with("").await
}

/// Creates an empty database with options of `CREATE DATABASE`. Returns its URL.
pub async fn create_database_with(options: &str) -> String {
    let stack = tokio::task::spawn_blocking(stack).await.unwrap();
    let name = format!("t{}", unique_name());
    let mut admin = PgConnection::connect(stack.database_url()).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} {options}"));
    sqlx::query(create).execute(&mut admin).await.unwrap();
    let (server, _) = stack.database_url().rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// Returns 32 random hexadecimal digits.
#[expect(clippy::disallowed_methods, reason = "two test runs must not share a name")]
pub fn unique_name() -> String {
    Uuid::new_v4().simple().to_string()
}
