use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Connects to a server that refuses with this SQLSTATE and message.
async fn refused(code: &str, message: &str) -> Fault {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ada:c4n4ry@{}/db?sslmode=disable", listener.local_addr().unwrap());
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let refuse = async {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut startup = [0; 1024];
        let _ = client.read(&mut startup).await.unwrap();
        client.write_u8(b'E').await.unwrap();
        client.write_u32(4 + fields.len() as u32).await.unwrap();
        client.write_all(fields.as_bytes()).await.unwrap();
    };
    let options: PgConnectOptions = url.parse().unwrap();
    let (connected, ()) = tokio::join!(options.connect(), refuse);
    fault(&connected.unwrap_err())
}

#[tokio::test]
async fn a_refusal_names_the_setting_and_what_to_do() {
    use Cure::{Defect, Setting, SettingOrTime, Time};
    for (code, message, cure, words) in [
        (
            "28P01",
            "password authentication failed for user \"c4n4ry\"",
            SettingOrTime,
            "refuses the user or the password",
        ),
        ("28000", "role \"c4n4ry\" does not exist", SettingOrTime, "refuses the user or the password"),
        (
            "28000",
            "no pg_hba.conf entry for host \"192.0.2.1\", user \"c4n4ry\", database \"db\", no encryption",
            SettingOrTime,
            "without TLS from here (SQLSTATE 28000); set sslmode=require",
        ),
        (
            "28000",
            "no pg_hba.conf entry for host \"192.0.2.1\", user \"c4n4ry\", SSL off",
            SettingOrTime,
            "set sslmode=require",
        ),
        (
            "28000",
            "pg_hba.conf rejects connection for host \"h\", user \"c4n4ry\", SSL encryption",
            SettingOrTime,
            "pg_hba.conf refuses",
        ),
        ("28000", "connection requires a valid client certificate", SettingOrTime, "set sslcert and sslkey"),
        ("3D000", "database \"c4n4ry\" does not exist", SettingOrTime, "has no such database (SQLSTATE 3D000)"),
        ("55000", "database \"template0\" is not currently accepting connections", SettingOrTime, "SQLSTATE 55000"),
        ("53300", "sorry, too many clients already", Time, "raise its max_connections"),
        ("53300", "too many connections for role \"c4n4ry\"", Time, "or the limit of the role"),
        ("57P03", "the database system is starting up", Time, "this passes by itself"),
        ("57P01", "terminating connection due to administrator command", Time, "ended the connection"),
        ("42501", "permission denied for database \"c4n4ry\"", Defect, "lacks a right"),
        ("08P01", "unsupported startup parameter: options", Setting, "ignore_startup_parameters"),
        ("08P01", "unsupported startup parameter in options: statement_timeout", Setting, "ignore_startup_parameters"),
        ("08P01", "no such user: c4n4ry", SettingOrTime, "auth_file"),
        ("08P01", "password authentication failed", SettingOrTime, "auth_file"),
        ("08P01", "SASL authentication failed", SettingOrTime, "auth_file"),
        ("08P01", "server login failed: FATAL c4n4ry", SettingOrTime, "or PostgreSQL refuses PgBouncer's"),
        ("08P01", "no such database: c4n4ry", SettingOrTime, "add it to [databases]"),
        ("08P01", "SSL required", Setting, "set sslmode=require"),
        ("08P01", "no more connections allowed (max_client_conn)", Time, "raise max_client_conn"),
        ("08P01", "pgbouncer cannot connect to server", Time, "its log has the reason"),
        ("08P01", "query_wait_timeout", Time, "its log has the reason"),
        ("08006", "c4n4ry", Time, "SQLSTATE 08006"),
        ("XX000", "c4n4ry", Defect, "SQLSTATE XX000"),
    ] {
        let fault = refused(code, message).await;
        assert!(fault.cure == cure && fault.reason.contains(words), "{code} {message}: {fault:?}");
        assert!(!fault.reason.contains("c4n4ry") && !fault.reason.contains('\n'), "{fault}");
        assert!(!fault.reason.contains("does not answer") && fault.summary != "does not answer", "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_of_another_kind_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ada@{}/db", listener.local_addr().unwrap());
    let answer = async {
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    };
    let options: PgConnectOptions = url.parse().unwrap();
    let (connected, ()) = tokio::join!(options.connect(), answer);
    let fault = fault(&connected.unwrap_err());
    assert!(fault.reason.contains("does not speak PostgreSQL's protocol"), "{fault}");
}

#[tokio::test]
async fn an_unreachable_server_is_described() {
    let connect = async |url: &str| {
        let error = sqlx::PgConnection::connect(url).await.unwrap_err();
        fault(&error)
    };
    let closed = connect("postgres://ada:c4n4ry@127.0.0.1:1/db").await;
    assert!(closed.summary == "refuses connections" && closed.cure == Cure::Time, "{closed:?}");
    let unknown = connect("postgres://ada:c4n4ry@nowhere.invalid/db").await;
    assert!(unknown.reason.contains("has no address (DNS)"), "{unknown}");
    let socket = connect("postgres://ada:c4n4ry@%2Fno%2Fsuch%2Ffolder/db").await;
    assert!(socket.reason.contains("unix socket does not exist"), "{socket}");
}

#[test]
fn a_failed_tls_handshake_is_explained() {
    for (text, words) in [
        ("invalid peer certificate: UnknownIssuer", "the certificate of its CA"),
        ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "not the server's own"),
        (
            "invalid peer certificate: certificate not valid for name \"c4n4ry\"; certificate is only valid for",
            "for another host name",
        ),
        ("invalid peer certificate: Expired", "has expired"),
        ("server does not support TLS", "sslmode=disable"),
        ("something `c4n4ry`", "TLS handshake with PostgreSQL failed: something"),
    ] {
        let fault = tls_fault(text);
        assert!(fault.reason.contains(words) && fault.cure == Cure::Setting, "{text}: {fault}");
        assert!(!fault.reason.contains("c4n4ry"), "{fault}");
    }
}

/// What connect(2) answers for a unix socket whose queue is full.
#[test]
fn a_full_queue_of_the_socket_says_nothing_about_the_open_connections() {
    let fault = fault(&sqlx::Error::Io(io::ErrorKind::WouldBlock.into()));
    assert_eq!(fault.summary, "has too many connections");
    assert!(!is_of_connection(fault.summary));
}
