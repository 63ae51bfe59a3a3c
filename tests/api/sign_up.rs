//! Who may register: `REGISTRATION` and `EMAIL_DOMAINS`.

use reqwest::Method;
use serde_json::json;

use crate::process::{failure_line, sixty};
use crate::support::{Answer, PASSWORD, Service};

#[tokio::test]
async fn closed_registration_refuses_every_address_alike_and_existing_users_go_on() {
    let open = Service::start().await;
    open.register_active("ada@example.com").await;
    let pending = open.register_pending("bob@example.com").await;
    let code = open.wait_for_code("bob@example.com", 1).await;
    let closed = open.replica(&["--registration=closed"]).await;
    let mut answers = vec![];
    for email in ["ada@example.com", "bob@example.com", "new@example.com"] {
        answers.push(closed.register(email, "another password").await);
    }
    // The members of the body do not matter, and nothing is hashed.
    let invalid = closed.request(Method::POST, "/v1/users").json(&json!({ "email": "ada", "password": "x" }));
    answers.push(Answer::of(invalid).await);
    for answer in &answers {
        assert_eq!(answer.outcome(), (403, "registration-closed"));
        assert_eq!(answer.body, answers[0].body);
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&closed.db).await.unwrap();
    assert_eq!(rows, 2);

    assert_eq!(closed.me("ada@example.com", PASSWORD).await.status, 200);
    assert_eq!(closed.resend("bob@example.com", PASSWORD).await.outcome(), (429, "too-many-codes"));
    assert_eq!(closed.activate("bob@example.com", PASSWORD, &code).await.body["id"], pending.as_str());
    let page = Answer::of(closed.request(Method::GET, "/problems/registration-closed")).await;
    assert_eq!((&page.body["status"], &page.body["title"]), (&403.into(), &"Registration is closed".into()));
}

#[tokio::test]
async fn addresses_of_other_domains_are_refused_before_any_lookup() {
    let open = Service::start().await;
    open.register_active("ada@other.example").await;
    let bound = open.replica(&["--email-domains=b\u{fc}cher.example, *.example.org"]).await;
    for email in ["ada@B\u{dc}CHER.example", "bob@a.example.org", "cleo@b.a.example.org"] {
        assert_eq!(bound.register(email, PASSWORD).await.status, 201, "{email}");
    }
    let mut answers = vec![];
    for email in ["ada@other.example", "new@other.example", "dan@example.org", "eve@example.org.eve.example"] {
        answers.push(bound.register(email, PASSWORD).await);
    }
    for answer in &answers {
        assert_eq!(answer.outcome(), (422, "invalid-field"));
        let detail = "must have a domain whose addresses this service accepts (EMAIL_DOMAINS)";
        assert_eq!(answer.body["errors"], json!([{ "pointer": "/email", "detail": detail }]));
        assert_eq!(answer.body, answers[0].body);
    }
    // An existing user of such a domain is not bound by it.
    assert_eq!(bound.me("ada@other.example", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn an_invalid_domain_stops_the_start_with_one_line() {
    let mut command = sixty(&["serve", "--email-domains=example.com,c4n4ry"]);
    let urls = [("DATABASE_URL", "postgres://127.0.0.1:1/x"), ("REDIS_URL", "redis://127.0.0.1:1")];
    command.envs(urls).env("MAIL_URL", "http://127.0.0.1:1").env("CODE_SECRET", crate::support::CODE_SECRET);
    let line = "sixty: EMAIL_DOMAINS: must list domains such as example.com, or *.example.com for subdomains; entry 2 is neither\n";
    assert_eq!(failure_line(&mut command).await, (2, line.to_owned()));
}
