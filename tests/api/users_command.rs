//! `sixty users`: an operator's command that works on the database of a running service.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use nix::pty::openpty;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::process::{failure_line, output, sixty};
use crate::support::{PASSWORD, Service, create_database, wrong_code};

const ROOT: &str = "root@example.com";

/// Returns a standard input that contains `text`. Passwords go there, never into arguments or the environment.
fn stdin(text: &str) -> Stdio {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    Stdio::from(reader)
}

fn users(service: &Service, arguments: &[&str]) -> tokio::process::Command {
    users_of(&service.database_url, arguments)
}

fn users_of(database_url: &str, arguments: &[&str]) -> tokio::process::Command {
    let mut command = sixty(&[&["users"], arguments].concat());
    command.env("DATABASE_URL", database_url);
    command.env("ARGON2_MEMORY_KIB", "8").env("ARGON2_PASSES", "1");
    command
}

/// Runs a command, which must succeed. Returns its standard output.
async fn printed(mut command: tokio::process::Command) -> String {
    let output = output(&mut command).await;
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `sixty users` with `--json`. Returns the printed objects.
async fn json(service: &Service, arguments: &[&str]) -> Vec<Value> {
    let text = printed(users(service, &[arguments, &["--json"]].concat())).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn create(service: &Service, arguments: &[&str], password: &str) -> Value {
    let mut command = users(service, &[&["create", "--json"], arguments].concat());
    command.stdin(stdin(&format!("{password}\n")));
    serde_json::from_str(&printed(command).await).unwrap()
}

#[tokio::test]
async fn the_first_admin_is_created_and_accounts_are_managed() {
    let service = Service::start().await;
    let root = create(&service, &[" Root@Example.com", "--role", "admin"], PASSWORD).await;
    assert_eq!(service.me(ROOT, PASSWORD).await.body, root);
    assert_eq!(
        (&root["status"], &root["role"], &root["email"]),
        (&"active".into(), &"admin".into(), &"Root@Example.com".into())
    );

    let ada = service.register_active("ada@example.com").await;
    for (arguments, member, value) in [
        (["disable", &ada].as_slice(), "status", "disabled"),
        (&["enable", " ADA@example.com"], "status", "active"),
        (&["set-role", "ada@example.com", "admin"], "role", "admin"),
        (&["set-role", &ada, "user"], "role", "user"),
        (&["show", &ada], "id", &ada),
    ] {
        assert_eq!(json(&service, arguments).await[0][member], value, "{arguments:?}");
    }
    assert_eq!(
        json(&service, &["show", "ada@example.com"]).await,
        [service.me("ada@example.com", PASSWORD).await.body]
    );
    assert_eq!(json(&service, &["delete", "ada@example.com"]).await[0]["id"], ada.as_str());
    assert_eq!(service.me("ada@example.com", PASSWORD).await.status, 401);

    // A registration for an account made by the command is answered like any other, and its owner gets a mail.
    assert_eq!(service.register(ROOT, "another password").await.status, 201);
    assert!(service.wait_for_mail(ROOT, 1).await.starts_with("You already have an account"));
    // Two users have the address: the address means the active account, and the pending user has an id.
    assert_eq!(json(&service, &["show", ROOT]).await[0]["id"], root["id"]);
    let pending = json(&service, &["list", "--status", "pending"]).await[0]["id"].as_str().unwrap().to_owned();
    json(&service, &["delete", &pending]).await;
    assert_eq!(json(&service, &["list"]).await, [root]);
}

#[tokio::test]
async fn set_password_changes_the_password_and_mails_the_owner() {
    let service = Service::start().await;
    service.register_active("ada@example.com").await;
    let mut command = users(&service, &["set-password", "ada@example.com"]);
    command.stdin(stdin("cafe\u{301} noir 9\r\n"));
    let table = printed(command).await;
    assert!(table.contains("ada@example.com") && !table.contains("noir"), "{table}");
    assert_eq!(service.me("ada@example.com", "caf\u{e9} noir 9").await.status, 200);
    assert_eq!(service.me("ada@example.com", PASSWORD).await.status, 401);
    assert!(service.wait_for_mail("ada@example.com", 3).await.starts_with("Your Sixty password was changed"));
}

#[tokio::test]
async fn a_refused_command_prints_one_line_and_changes_nothing() {
    let service = Service::start().await;
    create(&service, &[ROOT, "--role", "admin"], PASSWORD).await;
    service.register_pending("ada@example.com").await;
    let unknown_id = "01a1fb31-109f-7fd3-a969-470eb5982bb2";
    let before = json(&service, &["list"]).await;
    for (status, arguments, typed, line) in [
        (1, ["show", unknown_id].as_slice(), "", "no user has this id or address"),
        (1, &["delete", "eve@example.com"], "", "no user has this id or address"),
        (2, &["show", "ada"], "", "USER: must be an id or an e-mail address"),
        (2, &["show", "ada@"], "", "EMAIL: must have a domain name that can be registered, such as example.com"),
        (1, &["enable", "ada@example.com"], "", "the user is pending; activate it first: sixty users activate"),
        (
            1,
            &["set-password", "ada@example.com"],
            PASSWORD,
            "the user is pending; activate it first: sixty users activate",
        ),
        (
            1,
            &["disable", ROOT],
            "",
            "this is the only active admin; make another account an admin first: sixty users set-role",
        ),
        (
            1,
            &["set-role", ROOT, "user"],
            "",
            "this is the only active admin; make another account an admin first: sixty users set-role",
        ),
        (
            1,
            &["delete", ROOT],
            "",
            "this is the only active admin; make another account an admin first: sixty users set-role",
        ),
        (1, &["create", ROOT], PASSWORD, "the address already has an account"),
        (2, &["create", "eve"], PASSWORD, "EMAIL: must have an @ between a mailbox and a domain"),
        (1, &["create", "eve@example.com"], "", "the password must have at least 8 characters"),
        (
            1,
            &["create", "eve@example.com"],
            "password",
            "the password is one of the most common passwords: attackers try it first",
        ),
        (
            1,
            &["create", "adalovelace@example.com"],
            "adalovelace",
            "the password consists of parts of the e-mail address: attackers try it first",
        ),
        (
            1,
            &["set-password", ROOT],
            "root@example.com",
            "the password consists of parts of the e-mail address: attackers try it first",
        ),
    ] {
        let mut command = users(&service, arguments);
        let failure = failure_line(command.stdin(stdin(typed))).await;
        assert_eq!(failure, (status, format!("sixty: {line}\n")), "{arguments:?}");
    }
    assert_eq!(json(&service, &["list"]).await, before);
}

#[tokio::test]
async fn a_missing_setting_or_migration_is_named() {
    let without = failure_line(&mut sixty(&["users", "list"])).await;
    assert_eq!(without, (2, "sixty: DATABASE_URL: must be set\n".to_owned()));
    let (status, line) = failure_line(&mut users_of("postgres://sixty:c4n4ry@127.0.0.1:1/sixty", &["list"])).await;
    assert!(status != 0 && line.starts_with("sixty: DATABASE_URL: ") && !line.contains("c4n4ry"), "{line}");
    let empty = failure_line(&mut users_of(&create_database().await, &["list"])).await;
    assert_eq!(empty, (1, "sixty: some migrations are pending; apply them first: sixty migrate up\n".to_owned()));
    let refused =
        output(&mut users_of("postgres://127.0.0.1:1/sixty", &["create", "ada@example.com", "--password=x"])).await;
    assert_eq!(refused.status.code(), Some(2), "there must be no argument for a password");
}

#[tokio::test]
async fn many_users_are_seeded_and_all_are_listed() {
    let service = Service::start().await;
    let seeded = json(&service, &["seed", "--count", "2100"]).await;
    assert_eq!(
        (&seeded[0]["first"], &seeded[0]["last"]),
        (&"user1@seed.example".into(), &"user2100@seed.example".into())
    );
    let password = seeded[0]["password"].as_str().unwrap();
    for user in ["user1@seed.example", "user2100@seed.example"] {
        assert_eq!(service.me(user, password).await.body["status"], "active");
    }
    let again = json(&service, &["seed", "--count", "1"]).await;
    assert_eq!(again[0]["first"], "user2101@seed.example");

    let listed = json(&service, &["list"]).await;
    let times: Vec<&str> = listed.iter().map(|user| user["created_at"].as_str().unwrap()).collect();
    assert!(listed.len() == 2101 && times.is_sorted_by(|newer, older| newer >= older), "{}", listed.len());
    assert_eq!(json(&service, &["list", "--limit", "1500"]).await, listed[..1500]);
    let shown = output(&mut users(&service, &["list"])).await;
    assert_eq!(
        String::from_utf8_lossy(&shown.stderr),
        "There are more users: --limit N lists N of them, --json lists all.\n"
    );
    let table = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(table.lines().count(), 21);
    assert_eq!(printed(users(&service, &["list", "--limit", "20"])).await, table);
    let column = table.find("EMAIL").unwrap();
    assert!(table.lines().skip(1).all(|line| line[column..].starts_with("user")), "{table}");
    assert_eq!(json(&service, &["list", "--email", "USER7@seed.example"]).await.len(), 1);
}

/// At a terminal, `sixty users create` asks for the password twice and does not echo it.
#[tokio::test]
async fn a_typed_password_is_not_echoed() {
    let service = Service::start().await;
    for (again, created) in [(PASSWORD, true), ("another password", false)] {
        let terminal = openpty(None, None).unwrap();
        let mut keyboard = std::fs::File::from(OwnedFd::try_clone(&terminal.master).unwrap());
        let mut command = users(&service, &["create", ROOT]);
        command.stdin(Stdio::from(terminal.slave)).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(command);
        let (mut stderr, mut seen) = (child.stderr.take().unwrap(), String::new());
        for (prompt, answer) in [("Password: ", PASSWORD), ("Repeat the password: ", again)] {
            // The command turns the echo off before it prints the prompt.
            while !seen.ends_with(prompt) {
                let mut octet = [0];
                assert_eq!(stderr.read(&mut octet).await.unwrap(), 1, "{seen}");
                seen.push(char::from(octet[0]));
            }
            writeln!(keyboard, "{answer}").unwrap();
        }
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.success(), created, "{output:?}");
        let mut screen = [0; 1024];
        let shown = std::io::Read::read(&mut keyboard, &mut screen).unwrap_or(0);
        assert!(
            !String::from_utf8_lossy(&screen[..shown]).contains("password") && shown < 10,
            "the terminal echoed the password"
        );
        assert_eq!(service.me(ROOT, PASSWORD).await.status, 200);
    }
}

#[tokio::test]
async fn an_account_created_beside_a_pending_registration_is_told_to_whom_has_the_right_code_alone() {
    let service = Service::start().await;
    let pending = service.register_pending("ada@example.com").await;
    let code = service.wait_for_code("ada@example.com", 1).await;
    let account = create(&service, &["ada@example.com"], "staple battery horse").await;
    let ids: Vec<Value> = json(&service, &["list"]).await.into_iter().map(|user| user["id"].clone()).collect();
    assert_eq!(ids, [account["id"].clone(), pending.as_str().into()]);

    // Whoever registered the address sees what he would see without the account.
    assert_eq!(service.me("ada@example.com", PASSWORD).await.body["status"], "pending");
    assert_eq!(service.resend("ada@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));
    let wrong = service.activate("ada@example.com", PASSWORD, &wrong_code(&code)).await;
    assert_eq!((wrong.outcome(), &wrong.body["attempts_remaining"]), ((422, "incorrect-code"), &2.into()));
    // The right code proves that the client reads the mailbox.
    let right = service.activate("ada@example.com", PASSWORD, &code).await;
    assert_eq!(right.outcome(), (409, "email-taken"));
    assert_eq!(
        right.body["detail"],
        "The code is right, but the people who run the service have made an account of this address in the meantime. Use \
         that account: this registration cannot become one."
    );
    let again = service.activate("ada@example.com", "staple battery horse", &code).await;
    assert_eq!(again.outcome(), (409, "already-active"));
    assert_eq!(service.me("ada@example.com", "staple battery horse").await.body, account);

    // A later code of the registration goes nowhere: the owner of the account gets the notice instead.
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.resend("ada@example.com", PASSWORD).await.status, 202);
    assert!(service.wait_for_mail("ada@example.com", 2).await.starts_with("You already have an account"));
    assert_eq!(service.activate("ada@example.com", PASSWORD, &code).await.outcome(), (422, "incorrect-code"));
}

#[tokio::test]
async fn a_pending_registration_is_activated_by_the_command() {
    let service = Service::start().await;
    let id = service.register_pending("ada@example.com").await;
    let code = service.wait_for_code("ada@example.com", 1).await;
    let active = json(&service, &["activate", " ADA@example.com"]).await;
    assert_eq!((&active[0]["id"], &active[0]["status"]), (&id.as_str().into(), &"active".into()));
    assert_eq!(service.me("ada@example.com", PASSWORD).await.body, active[0]);
    let mail = service.wait_for_mail("ada@example.com", 2).await;
    assert!(mail.contains("The people who run Sixty have activated your account"), "{mail}");
    // The code is still in Redis, and activates nothing.
    assert_eq!(service.activate("ada@example.com", PASSWORD, &code).await.outcome(), (409, "already-active"));

    service.age_grants(Duration::from_secs(60)).await;
    let shadow = service.register("ada@example.com", "another password").await.body["id"].as_str().unwrap().to_owned();
    let beside = "the address has an account, so this registration cannot become one; delete one of the two first";
    let before = "the account was activated before; it needs no code";
    for (arguments, line) in [
        (["activate", &id], before),
        (["activate", "ada@example.com"], beside),
        (["activate", &shadow], beside),
        (["activate", "eve@example.com"], "no user has this id or address"),
    ] {
        let failure = failure_line(&mut users(&service, &arguments)).await;
        assert_eq!(failure, (1, format!("sixty: {line}\n")), "{arguments:?}");
    }
}

#[tokio::test]
async fn another_code_is_queued_by_the_command_within_the_pacing() {
    let service = Service::start().await;
    let id = service.register_pending("ada@example.com").await;
    service.wait_for_code("ada@example.com", 1).await;
    let resend = |user: &str| {
        let mut command = users(&service, &["resend", user, "--json"]);
        command.env("CODE_SECRET", crate::support::CODE_SECRET);
        command
    };
    let (status, line) = failure_line(&mut resend(&id)).await;
    assert!(status == 1 && line.starts_with("sixty: the next code for this address can be asked for in "), "{line}");
    service.age_grants(Duration::from_secs(60)).await;
    let printed: Value = serde_json::from_str(&printed(resend("ada@example.com")).await).unwrap();
    assert_eq!(printed["id"], id.as_str());
    let code = service.wait_for_code("ada@example.com", 2).await;
    assert_eq!(service.activate("ada@example.com", PASSWORD, &code).await.status, 200);
    let done = failure_line(&mut resend(&id)).await;
    assert_eq!(done, (1, "sixty: the account was activated before; it needs no code\n".to_owned()));
    let without = failure_line(&mut users(&service, &["resend", &id])).await;
    assert_eq!(without, (2, "sixty: CODE_SECRET: must be set\n".to_owned()));
}
