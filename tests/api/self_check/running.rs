//! Faults of the stores while the service runs: what is unavailable is 503 and named, what is a defect is 500.

use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use super::postgres::{create_role, execute, with_user};
use super::{get, serve};
use crate::private_servers::PrivateRedis;
use crate::process::{Running, output, sixty};
use crate::support::{
    Answer, PASSWORD, Service, create_database, eventually, stack, start_mail_mock, unique_name, wrong_code,
};

const ADA: &str = "ada@example.com";

/// Starts `serve` with its own mail provider. The handle uses the database as its owner.
async fn start(owner_url: &str, database_url: &str, redis_url: &str) -> (Running, Service) {
    let stop = CancellationToken::new();
    let mail_url = start_mail_mock(mail_mock::MockOptions::default(), stop.clone()).await;
    let prefix = format!("t{}", unique_name());
    let mut serve = serve(database_url, redis_url);
    let (running, api) = Running::serve(serve.env("MAIL_URL", &mail_url).args(["--redis-prefix", &prefix])).await;
    let service = Service::connect(api, &mail_url, owner_url, &prefix, stop).await;
    (running, service)
}

fn detail(answer: &Answer) -> &str {
    answer.body["detail"].as_str().unwrap()
}

#[tokio::test]
async fn a_password_that_was_changed_at_postgresql_is_unavailable() {
    let owner = create_database().await;
    assert!(output(sixty(&["migrate", "up"]).env("DATABASE_URL", &owner)).await.status.success());
    let role = create_role(&owner).await;
    execute(&owner, &format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let (mut running, service) = start(&owner, &with_user(&owner, &role, "c4n4ry"), stack().redis_url()).await;
    service.register_pending(ADA).await;
    execute(&owner, &format!("ALTER ROLE {role} PASSWORD 'other'")).await;
    // In a transaction of its own: until the change is committed, new sessions begin with the old password.
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    execute(&owner, &end).await;
    let answer = eventually("refused password", async || {
        // The session may end a moment after the statement that ends it.
        let answer = service.register(&format!("{}@example.com", unique_name()), PASSWORD).await;
        assert!(answer.status == 201 || answer.outcome() == (503, "unavailable"), "{answer:?}");
        Some(answer).filter(|answer| answer.status == 503 && detail(answer).contains("refuses the service"))
    })
    .await;
    assert_eq!(detail(&answer), "PostgreSQL refuses the service.");
    execute(&owner, &format!("ALTER ROLE {role} NOLOGIN PASSWORD 'c4n4ry'")).await;
    let answer = service.register("bob@example.com", PASSWORD).await;
    assert_eq!((answer.outcome(), detail(&answer)), ((503, "unavailable"), "PostgreSQL refuses the service."));
    execute(&owner, &format!("ALTER ROLE {role} LOGIN")).await;
    eventually("recovery", async || (service.register("bob@example.com", PASSWORD).await.status == 201).then_some(()))
        .await;
    assert!(running.end(Signal::SIGTERM).await.success());
    assert!(
        running.stderr().contains("SQLSTATE 28P01") && !running.stderr().contains("c4n4ry"),
        "{}",
        running.stderr()
    );
}

#[tokio::test]
async fn a_dropped_database_is_unavailable() {
    let owner = create_database().await;
    let (mut running, service) = start(&owner, &owner, stack().redis_url()).await;
    let name = owner.rsplit_once('/').unwrap().1;
    service.db.close().await;
    execute(stack().database_url(), &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    eventually("missing database", async || {
        let answer = service.register(ADA, PASSWORD).await;
        assert_eq!(answer.outcome(), (503, "unavailable"), "{answer:?}");
        (detail(&answer) == "PostgreSQL has no such database.").then_some(())
    })
    .await;
    assert!(running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn a_defect_of_a_script_is_500_and_not_unavailable() {
    let redis = PrivateRedis::start().await;
    let () = redis.command(&["ACL", "SETUSER", "sixty", "on", ">c4n4ry", "~*", "+@all"]).await.unwrap();
    let owner = create_database().await;
    let url = redis.url.replace("redis://", "redis://sixty:c4n4ry@");
    let (mut running, service) = start(&owner, &owner, &url).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let id = service.me(ADA, PASSWORD).await.body["id"].as_str().unwrap().to_owned();

    let () = redis.command(&["SET", &service.redis_key("code", &id), "no hash", "KEEPTTL"]).await.unwrap();
    for guess in [&code, &wrong_code(&code)] {
        let answer = service.activate(ADA, PASSWORD, guess).await;
        assert_eq!(answer.outcome(), (500, "internal"), "WRONGTYPE");
    }
    let () = redis.command(&["ACL", "SETUSER", "sixty", "-evalsha"]).await.unwrap();
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (500, "internal"), "NOPERM");
    let log = running.stderr();
    let is_error = |words: &str| log.lines().any(|line| line.contains("\"ERROR\"") && line.contains(words));
    assert!(is_error("WRONGTYPE") && is_error("may not run EVALSHA"), "{log}");
    assert!(is_error("each process limits client networks by itself"), "the limits do not hold: {log}");
    assert!(running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn a_detail_names_the_store_and_is_true() {
    let redis = PrivateRedis::start().await;
    let owner = create_database().await;
    let (mut running, service) = start(&owner, &owner, &redis.url).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    for (fault, end, expected) in [
        (&["CONFIG", "SET", "maxmemory", "1"][..], &["CONFIG", "SET", "maxmemory", "0"][..], "Redis is out of memory."),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], "Redis is read-only."),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "Redis accepts no changes.",
        ),
        (&["CONFIG", "SET", "requirepass", "x"], &["PING"], "Redis refuses the service."),
    ] {
        let () = redis.command(fault).await.unwrap();
        if fault.contains(&"requirepass") {
            // Open connections stay logged in.
            let mut other =
                ::redis::Client::open(redis.url.replace("redis://", "redis://:x@")).unwrap().get_connection().unwrap();
            let _: () = ::redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("NORMAL").query(&mut other).unwrap();
        }
        eventually(expected, async || {
            let answer = service.activate(ADA, PASSWORD, &code).await;
            assert_eq!(answer.outcome(), (503, "unavailable"), "{answer:?}");
            (detail(&answer) == expected).then_some(())
        })
        .await;
        if !fault.contains(&"requirepass") {
            let () = redis.command(end).await.unwrap();
        }
    }
    let ready = get(service.url_of("/readyz")).await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(running.end(Signal::SIGTERM).await.success());
}
