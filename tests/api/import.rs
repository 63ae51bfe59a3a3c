//! `sixty users import`: accounts of another system, with their password hashes.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::process::{Folder, output, sixty};
use crate::support::{PASSWORD, Service, eventually, unique_name};

// The passwords are shorter than new ones may be, or common: the other system had other rules.
const BCRYPT_OF_ABC: &str = "$2y$04$mJtY0QNnkx6PThk.70NJgebesolEZr6LWkxh347BwRe1w16yjNNxW";
const BCRYPT_OF_PASSWORD: &str = "$2y$04$dBVc7GzoIr.Wi4Dc9fAyFuws8ag1pWHJFA.W65OyG3sNWTwi7adva";
/// Of `correct horse`, as the following.
const ARGON2I: &str = "$argon2i$v=19$m=64,t=2,p=1$S0d2NHVxNFdEai9qTG5TNw$WQp39eJRodNZapSVdhKOx/NqkSxS01IvzfxfLFDnMao";
const ARGON2ID: &str = "$argon2id$v=19$m=64,t=2,p=1$azVjVUdkcmU4Ni84eTNyYw$lvpGG9bkjSDhh+V0iS9cuT3TWJwENWVJ9fWhVyruZFk";
const PBKDF2: &str = "$pbkdf2-sha256$i=1000,l=32$c2l4dGVlbiBvY3RldHMhIQ$NtymXruKfr1iQSBfN3KVKM3JHLCn6mlV6fUpXlk7Mo4";
const PASSLIB: &str = "$pbkdf2-sha256$1000$..................../w$Fmdb1minWw0CnTpIIPJDmN8ycyYjPM0dqKkUiRur7Gk";
const WORDS: &str = "correct horse";

fn line(email: &str, hash: &str) -> Value {
    json!({ "email": email, "password_hash": hash })
}

/// Writes the lines to a file of a new folder.
fn file_of(lines: &[String]) -> (Folder, String) {
    let folder = Folder::new(&unique_name());
    std::fs::create_dir_all(&folder.0).unwrap();
    let path = folder.join("users.jsonl");
    let mut file = std::fs::File::create(&path).unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
    (folder, path.to_str().unwrap().to_owned())
}

fn import(service: &Service, arguments: &[&str]) -> Command {
    let mut command = sixty(&[&["users", "import"], arguments].concat());
    command.env("DATABASE_URL", &service.database_url).env("ARGON2_MEMORY_KIB", "8").env("ARGON2_PASSES", "1");
    command
}

/// Imports the lines. Returns the exit status, standard output and standard error.
async fn imported(service: &Service, lines: &[String], flags: &[&str]) -> (i32, String, String) {
    let (_folder, path) = file_of(lines);
    let output = output(&mut import(service, &[&[path.as_str()], flags].concat())).await;
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn imported_accounts_log_in_and_their_hashes_become_argon2id() {
    let service = Service::start().await;
    let accounts = [
        ("a@example.com", BCRYPT_OF_ABC, "abc"),
        ("B@B\u{fc}cher.example", BCRYPT_OF_PASSWORD, "password"),
        ("c@example.com", ARGON2I, WORDS),
        ("d@example.com", ARGON2ID, WORDS),
        ("e@example.com", PBKDF2, WORDS),
        ("f@example.com", PASSLIB, WORDS),
    ];
    let mut lines: Vec<Value> = accounts.iter().map(|(email, hash, _)| line(email, hash)).collect();
    lines[0]["created_at"] = "2019-05-31T12:00:00Z".into();
    lines[0]["locale"] = "de-CH".into();
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let done = imported(&service, &lines, &[]).await;
    assert_eq!(
        done,
        (0, "6 imported, 0 skipped because the address has an account, 0 refused\n".to_owned(), String::new())
    );

    let foreign = "SELECT count(*) FROM users WHERE foreign_hash IS NOT NULL";
    let foreign = async || sqlx::query_scalar::<_, i64>(foreign).fetch_one(&service.db).await.unwrap();
    // An argon2id hash in the form of the service needs no replacement.
    assert_eq!(foreign().await, 5);
    for (email, _, password) in accounts {
        for wrong in ["wrong", "", PASSWORD] {
            assert_eq!(service.me(email, wrong).await.outcome(), (401, "unauthenticated"), "{email}");
        }
        for _ in 0..2 {
            let me = service.me(email, password).await;
            assert_eq!((&me.body["email"], &me.body["status"]), (&email.into(), &"active".into()), "{me:?}");
        }
    }
    assert_eq!(foreign().await, 0);
    let oldest = service.me("a@example.com", "abc").await.body;
    assert_eq!(oldest["created_at"], "2019-05-31T12:00:00Z");
    let hashes: Vec<String> =
        sqlx::query_scalar("SELECT password_hash FROM users ORDER BY address").fetch_all(&service.db).await.unwrap();
    assert_eq!(hashes.iter().filter(|hash| hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$")).count(), 5);
    assert!(hashes.contains(&ARGON2ID.to_owned()), "{hashes:?}");
    // Neither a mail nor an event tells of an import.
    service.wait_for_empty_outbox().await;
    assert!(service.mails("a@example.com").await.is_empty());
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&service.db).await.unwrap();
    let relayed: bool = service.redis(&["EXISTS", &format!("{}:events", service.prefix)]).await;
    assert_eq!((events, relayed), (0, false));
}

#[tokio::test]
async fn refused_lines_are_reported_without_their_content_and_the_others_are_imported() {
    let service = Service::start().await;
    let mut lines = vec![
        line("a@example.com", BCRYPT_OF_ABC).to_string(),
        "c4n4ry".to_owned(),
        line("c4n4ry", BCRYPT_OF_ABC).to_string(),
        String::new(),
        line("c4n4ry@example.com", "c4n4ry").to_string(),
        line("c4n4ry@example.com", &BCRYPT_OF_ABC.replace("$04$", "$31$")).to_string(),
        json!({ "email": "c4n4ry@example.com", "password_hash": PBKDF2, "status": "pending" }).to_string(),
        line("A@example.com", BCRYPT_OF_PASSWORD).to_string(),
        json!({ "email": "b@example.com", "password_hash": PBKDF2, "status": "disabled" }).to_string(),
    ];
    let long = format!("{{\"email\":\"c@example.com\",\"password_hash\":\"{}\"}}", "c4n4ry".repeat(10_000));
    lines.extend([long, line("d@example.com", PASSLIB).to_string()]);
    let reasons = "\
        line 2: is not a JSON object in UTF-8\n\
        line 3: email must have an @ between a mailbox and a domain\n\
        line 5: password_hash must begin with $argon2id$, $argon2i$, $argon2d$, $2a$, $2b$, $2y$ or $pbkdf2-sha256$: other \
        schemes are not supported\n\
        line 6: password_hash must have a bcrypt cost from 4 to 14: a login would take too long\n\
        line 7: status must be active or disabled; people whose address is not proved register anew, to get a code\n\
        line 10: is longer than 16384 octets\n\
        sixty: lines refused: 6; correct them and import the file again\n";
    let summary = "3 would be imported, 1 skipped because the address has an account, 6 refused\n";
    let rehearsal = imported(&service, &lines, &["--dry-run"]).await;
    assert_eq!(rehearsal, (1, summary.to_owned(), reasons.to_owned()));
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM addresses").fetch_one(&service.db).await.unwrap();
    assert_eq!(users, 0);
    let done = imported(&service, &lines, &[]).await;
    assert_eq!(done, (1, summary.replace("would be ", ""), reasons.to_owned()));
    // Of two lines with one address the first counts.
    assert_eq!(service.me("a@example.com", "abc").await.status, 200);
    assert_eq!(service.me("b@example.com", WORDS).await.outcome(), (403, "account-disabled"));
    assert_eq!(service.me("b@example.com", "wrong").await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me("d@example.com", WORDS).await.status, 200);

    let (status, stdout, _) = imported(&service, &lines, &["--json", "--show-skipped"]).await;
    let report: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, report.len()), (1, 11));
    assert_eq!(report[0], json!({ "line": 1, "reason": "skipped: the address has an account" }));
    assert_eq!(report[1], json!({ "line": 2, "reason": "is not a JSON object in UTF-8" }));
    assert_eq!(report[10], json!({ "imported": 0, "skipped": 4, "refused": 6, "dry_run": false }));
}

#[tokio::test]
async fn an_existing_user_is_never_changed() {
    let service = Service::start().await;
    service.register_active("ada@example.com").await;
    let pending = service.register_pending("bob@example.com").await;
    let code = service.wait_for_code("bob@example.com", 1).await;
    let lines = [
        line("ADA@example.com", BCRYPT_OF_ABC).to_string(),
        line("bob@example.com", BCRYPT_OF_ABC).to_string(),
        line("cleo@example.com", ARGON2ID).to_string(),
    ];
    for summary in [
        "2 imported, 1 skipped because the address has an account, 0 refused\n",
        "0 imported, 3 skipped because the address has an account, 0 refused\n",
    ] {
        assert_eq!(imported(&service, &lines, &[]).await, (0, summary.to_owned(), String::new()));
    }
    assert_eq!(service.me("ada@example.com", PASSWORD).await.status, 200);
    assert_eq!(service.me("ada@example.com", "abc").await.status, 401);
    // The registration stays as it is, and its right code says why it is worthless.
    assert_eq!(service.me("bob@example.com", PASSWORD).await.body["id"], pending.as_str());
    assert_eq!(service.me("bob@example.com", "abc").await.body["status"], "active");
    assert_eq!(service.activate("bob@example.com", PASSWORD, &code).await.outcome(), (409, "email-taken"));
    // The hash was replaced beside the pending registration.
    let foreign = "SELECT count(*) FROM users WHERE foreign_hash IS NOT NULL";
    assert_eq!(sqlx::query_scalar::<_, i64>(foreign).fetch_one(&service.db).await.unwrap(), 0);
    assert_eq!(service.me("bob@example.com", "abc").await.body["status"], "active");
    // An address of which the service has kept a deleted registration has parameters of its own.
    service.register_pending("dan@example.com").await;
    service.delete("dan@example.com", PASSWORD).await;
    service.register_pending("eve@example.com").await;
    let own = [line("dan@example.com", ARGON2ID).to_string(), line("eve@example.com", ARGON2ID).to_string()];
    assert_eq!(imported(&service, &own, &[]).await.0, 0);
    for email in ["dan@example.com", "eve@example.com"] {
        assert_eq!(service.me(email, WORDS).await.body["status"], "active", "{email}");
        assert_eq!(service.me(email, "wrong").await.status, 401);
    }
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(service.register("dan@example.com", PASSWORD).await.status, 201);
    assert_eq!(service.me("dan@example.com", PASSWORD).await.body["status"], "pending");
    assert_eq!(service.me("dan@example.com", WORDS).await.body["status"], "active");
}

#[tokio::test]
async fn a_new_password_ends_the_imported_one() {
    let service = Service::start().await;
    let lines = ["a", "b"].map(|name| line(&format!("{name}@example.com"), BCRYPT_OF_ABC).to_string());
    assert_eq!(imported(&service, &lines, &[]).await.0, 0);
    let change =
        service.request(reqwest::Method::PUT, "/v1/users/me/password").basic_auth("a@example.com", Some("abc"));
    assert_eq!(crate::support::Answer::of(change.json(&json!({ "password": PASSWORD }))).await.status, 204);
    // An earlier release knows nothing of foreign hashes and writes the password alone.
    let set = "UPDATE users SET password_hash = left(password_hash, -4) || 'AAAA' WHERE address = 'b@example.com'";
    sqlx::query(set).execute(&service.db).await.unwrap();
    for email in ["a@example.com", "b@example.com"] {
        assert_eq!(service.me(email, "abc").await.outcome(), (401, "unauthenticated"), "{email}");
    }
    assert_eq!(service.me("a@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn an_interrupted_import_is_finished_by_a_second_run() {
    let service = Service::start().await;
    let lines: Vec<String> = (0..5000).map(|n| line(&format!("user{n}@example.com"), PBKDF2).to_string()).collect();
    let count = "SELECT count(*) FROM users";
    let count = async || sqlx::query_scalar::<_, i64>(count).fetch_one(&service.db).await.unwrap();
    let mut command = import(&service, &["-"]);
    let mut child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for line in &lines[..2500] {
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
    stdin.flush().await.unwrap();
    eventually("the first batch", async || (count().await > 0).then_some(())).await;
    child.kill().await.unwrap();
    let before = count().await;
    assert!((1..5000).contains(&before), "{before}");
    let summary =
        format!("{} imported, {before} skipped because the address has an account, 0 refused\n", 5000 - before);
    assert_eq!(imported(&service, &lines, &[]).await, (0, summary, String::new()));
    assert_eq!(count().await, 5000);
    let duplicates = "SELECT count(*) FROM (SELECT FROM users GROUP BY address HAVING count(*) > 1) AS twice";
    assert_eq!(sqlx::query_scalar::<_, i64>(duplicates).fetch_one(&service.db).await.unwrap(), 0);
    assert_eq!(service.me("user4999@example.com", WORDS).await.status, 200);
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let service = Service::start().await;
    let failure = crate::process::failure_line(&mut import(&service, &["/nonexistent/users.jsonl"])).await;
    assert_eq!(failure.0, 1);
    assert!(failure.1.starts_with("sixty: cannot open the file: "), "{}", failure.1);
}
