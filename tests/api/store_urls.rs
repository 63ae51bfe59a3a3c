//! The forms of `DATABASE_URL` and `REDIS_URL` on real servers: passwords with any character, and unix sockets.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sixty::store::postgres::{Postgres, PostgresConfig};
use sixty::store::redis::{Redis, RedisConfig};
use sqlx::{Connection, PgConnection};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

use crate::process::Folder;
use crate::support::{create_database, stack, unique_name};

/// Every printable ASCII character, and some beyond ASCII.
fn password() -> String {
    (' '..='~').chain("é€".chars()).collect()
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

async fn postgres_answers(url: &str) {
    let config = PostgresConfig { url: url.into(), max_connections: 1, timeout: Duration::from_secs(20) };
    let postgres = Postgres::new(&config).unwrap_or_else(|error| panic!("{url}: {error}"));
    sqlx::query("SELECT").execute(&postgres.pool()).await.unwrap_or_else(|error| panic!("{url}: {error}"));
}

async fn redis_answers(url: &str) {
    let config =
        RedisConfig { url: url.into(), max_connections: 1, timeout: Duration::from_secs(20), prefix: "t".into() };
    let redis = Redis::new(&config).unwrap_or_else(|error| panic!("{url}: {error}"));
    redis.check(Duration::from_secs(20)).await.unwrap_or_else(|error| panic!("{url}: {error}"));
}

/// Listens on a unix socket and forwards each connection to an address.
fn forward(socket: &Path, address: &str) {
    let (listener, address) = (UnixListener::bind(socket).unwrap(), address.to_owned());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let address = address.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(&address).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
}

/// Splits a URL with user and password: what stands before the host, host and port, and the rest.
fn split(url: &str) -> (String, String, String) {
    let (credentials, rest) = url.rsplit_once('@').unwrap();
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    (credentials.to_owned(), address.to_owned(), path.to_owned())
}

#[tokio::test]
async fn postgresql_is_reached_with_any_password_and_over_a_unix_socket() {
    let url = create_database().await;
    let (credentials, address, database) = split(&url);
    let (role, password) = (format!("r{}", unique_name()), password());
    let quoted = password.replace('\'', "''");
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD '{quoted}'");
    let mut admin = PgConnection::connect(stack().database_url()).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
    postgres_answers(&format!("postgres://{role}:{}@{address}/{database}", percent_encoded(&password))).await;
    postgres_answers(&format!("postgres://{address}/{database}?user={role}&password={}", percent_encoded(&password)))
        .await;
    let drop_role = format!("DROP ROLE {role}");
    sqlx::query(sqlx::AssertSqlSafe(drop_role)).execute(&mut admin).await.unwrap();

    // In /tmp: the path of a unix socket has at most 107 octets.
    let folder = Folder(std::env::temp_dir().join(format!("s{}", &unique_name()[..8])));
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.to_str().unwrap();
    forward(&folder.join(".s.PGSQL.5499"), &address);
    let encoded = path.replace('/', "%2F");
    postgres_answers(&format!("{credentials}@{encoded}:5499/{database}")).await;
    postgres_answers(&format!("{credentials}@/{database}?host={path}&port=5499")).await;
}

#[tokio::test]
async fn redis_is_reached_with_any_password_over_a_unix_socket_and_in_any_database() {
    let url = stack().redis_url();
    let (_, address, _) = split(url);
    let mut admin = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let user = format!("u{}", unique_name());
    let passwords = [password(), "a,b".to_owned(), "50%,redis".to_owned()];
    let mut create = redis::cmd("ACL");
    create.arg(&["SETUSER", &user, "on", "~*", "&*", "+@all"]);
    passwords.iter().for_each(|password| {
        create.arg(format!(">{password}"));
    });
    let () = create.query_async(&mut admin).await.unwrap();
    redis_answers(&format!("redis://{user}:{}@{address}", percent_encoded(&passwords[0]))).await;
    redis_answers(&format!("redis://{user}:a,b@{address}/3")).await;
    redis_answers(&format!("redis://{user}:50%,redis@{address}/0")).await;

    let folder = Folder(std::env::temp_dir().join(format!("s{}", &unique_name()[..8])));
    fs::create_dir_all(&folder.0).unwrap();
    let socket = folder.join("redis.sock");
    forward(&socket, &address);
    let path = socket.display();
    redis_answers(&format!("unix://{path}?db=5&user={user}&pass={}", percent_encoded(&passwords[0]))).await;
    redis_answers(&format!("redis+unix://{path}?user={user}&pass=a,b")).await;
    let () = redis::cmd("ACL").arg(&["DELUSER", &user]).query_async(&mut admin).await.unwrap();
}
