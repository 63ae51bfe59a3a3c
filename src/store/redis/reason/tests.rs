use deadpool_redis::redis::{Client, parse_redis_value};

use super::*;

/// Returns the fault behind an error line of the server.
fn answered(line: &str) -> Fault {
    let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
    fault(&value.extract_error().unwrap_err())
}

#[test]
fn a_refusal_names_the_setting_and_what_to_do() {
    use Cure::{Defect, Setting, SettingOrTime, Time};
    for (line, cure, words) in [
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            SettingOrTime,
            "refuses the user or the password",
        ),
        ("NOAUTH Authentication required.", SettingOrTime, "or requires one"),
        (
            "ERR AUTH <password> called without any password configured for the default user.",
            SettingOrTime,
            "Redis has none",
        ),
        ("ERR Client sent AUTH, but no password is set", SettingOrTime, "Redis has none"),
        ("DENIED Redis is running in protected mode", SettingOrTime, "protected mode"),
        ("NOPERM this user has no permissions to run the 'evalsha' command", Defect, "may not run EVALSHA; grant it"),
        ("NOPERM User c4n4ry has no permissions to run the 'script|load' command", Defect, "may not run SCRIPT|LOAD"),
        (
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            Defect,
            "may not use the keys",
        ),
        (
            "ERR The user executing the script can't run this command or subcommand script: 10, on @user_script:1.",
            Defect,
            "of a script",
        ),
        (
            "ERR The user executing the script can't access at least one of the keys mentioned",
            Defect,
            "may not use the keys",
        ),
        ("ERR DB index is out of range", Setting, "does not have the database number"),
        ("ERR SELECT is not allowed in cluster mode", Setting, "only database 0"),
        ("ERR This instance has cluster support disabled", Setting, "is no cluster"),
        ("ERR max number of clients reached", Time, "raise its maxclients"),
        ("ERR unknown command `EVALSHA`, with args beginning with: c4n4ry", Defect, "does not know a command"),
        ("MOVED 1234 192.0.2.1:6379", Time, "another node of the Redis Cluster has the key"),
        ("READONLY You can't write against a read only replica.", Time, "must lead to the master"),
        ("MISCONF Redis is configured to save RDB snapshots, but", Time, "cannot save to its disk"),
        ("NOREPLICAS Not enough good replicas to write.", Time, "too few replicas"),
        ("LOADING Redis is loading the dataset in memory", Time, "passes by itself"),
        ("MASTERDOWN Link with MASTER is down", Time, "whose master is down"),
        ("OOM command not allowed when used memory > 'maxmemory'.", Time, "out of memory"),
        (
            "ERR Error running script (call to f_1): @user_script: 1: -OOM command not allowed when",
            Time,
            "out of memory",
        ),
        ("BUSY Redis is busy running a script.", Time, "is busy"),
        ("CLUSTERDOWN The cluster is down", Time, "a master is missing"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Defect, "WRONGTYPE"),
        ("ERR Error running script (call to f_1): @user_script:3: WRONGTYPE Operation against", Defect, "WRONGTYPE"),
        ("NOSCRIPT No matching script.", Defect, "NOSCRIPT"),
        ("CROSSSLOT Keys in request don't hash to the same slot", Defect, "CROSSSLOT"),
        ("ERR c4n4ry", Defect, "ERR"),
    ] {
        let fault = answered(line);
        assert!(fault.cure == cure && fault.reason.contains(words), "{line}: {fault:?}");
        assert!(!fault.reason.contains("c4n4ry") && !fault.reason.contains('\n'), "{fault}");
        assert!(!fault.reason.contains("does not answer") && fault.summary != "does not answer", "{fault:?}");
    }
}

#[tokio::test]
async fn an_unreachable_server_is_described() {
    let connect = async |url: &str| {
        fault(&Client::open(url).unwrap().get_multiplexed_async_connection().await.map(drop).unwrap_err())
    };
    let closed = connect("redis://:c4n4ry@127.0.0.1:1").await;
    assert!(closed.summary == "refuses connections" && closed.cure == Cure::Time, "{closed:?}");
    let unknown = connect("redis://:c4n4ry@nowhere.invalid").await;
    assert!(unknown.reason.contains("has no address (DNS)"), "{unknown}");
    let socket = connect("redis+unix:///no/such/socket").await;
    assert!(socket.reason.contains("unix socket does not exist"), "{socket}");
}

#[test]
fn a_failed_tls_handshake_is_explained() {
    for (text, words) in [
        ("received corrupt message of type InvalidContentType", "speaks without TLS"),
        ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
        ("invalid peer certificate: NotValidForName", "for another host name"),
        ("invalid peer certificate: Expired", "has expired"),
        ("received fatal alert: CertificateRequired", "client certificate"),
        ("received fatal alert: c4n4ry", "TLS handshake with Redis failed"),
    ] {
        let fault = tls_fault(text);
        assert!(fault.reason.contains(words) && fault.cure == Cure::Setting, "{text}: {fault}");
        assert!(!fault.reason.contains("c4n4ry"), "{fault}");
    }
}
