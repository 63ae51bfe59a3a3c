//! `GET /v1/auth`, the answer for gateways.

use reqwest::Method;

use crate::support::{Answer, PASSWORD, Service};

impl Service {
    async fn check_credentials(&self, email: &str, password: &str) -> Answer {
        Answer::of(self.request(Method::GET, "/v1/auth").basic_auth(email, Some(password))).await
    }
}

#[tokio::test]
async fn only_active_accounts_pass() {
    let service = Service::start().await;
    let pending = service.register_pending("ada@example.com").await;
    assert_eq!(service.check_credentials("ada@example.com", PASSWORD).await.outcome(), (403, "not-active"));
    let code = service.wait_for_code("ada@example.com", 1).await;
    assert_eq!(service.activate("ada@example.com", PASSWORD, &code).await.status, 200);
    let active = service.check_credentials(" ADA@Example.com", PASSWORD).await;
    assert_eq!((active.status.as_u16(), &active.body), (204, &serde_json::Value::Null));
    let header = |name| active.header(name);
    assert_eq!(["x-user-id", "x-user-email", "x-user-role"].map(header), [&pending, "ada@example.com", "user"]);
    assert_eq!(active.header("cache-control"), "no-store");

    sqlx::query("UPDATE users SET role = 'admin'").execute(&service.db).await.unwrap();
    assert_eq!(service.check_credentials("ada@example.com", PASSWORD).await.header("x-user-role"), "admin");
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    assert_eq!(service.check_credentials("ada@example.com", PASSWORD).await.outcome(), (403, "account-disabled"));
}

#[tokio::test]
async fn wrong_and_missing_credentials_get_the_challenge() {
    let service = Service::start().await;
    service.register_active("ada@example.com").await;
    let wrong = service.check_credentials("ada@example.com", "wrong password").await;
    let unknown = service.check_credentials("eve@example.com", PASSWORD).await;
    let missing = Answer::of(service.request(Method::GET, "/v1/auth")).await;
    for answer in [&wrong, &unknown, &missing] {
        assert_eq!(answer.outcome(), (401, "unauthenticated"));
        assert!(["x-user-id", "x-user-email", "x-user-role"].iter().all(|name| answer.header(name).is_empty()));
    }
    assert_eq!(wrong.body, unknown.body);
}

/// A gateway that asks with its client's method must not take the answer for a permission.
#[tokio::test]
async fn no_other_method_gets_a_success() {
    let service = Service::start_with(&["--cors-origins=https://app.example"]).await;
    for method in [Method::OPTIONS, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE] {
        let request = service.request(method, "/v1/auth").header("Origin", "https://app.example");
        let answer = Answer::of(request.header("Access-Control-Request-Method", "GET")).await;
        assert_eq!((answer.outcome(), answer.header("allow")), ((405, "method-not-allowed"), "GET, HEAD"));
    }
}

/// A shadow registration must not let a stranger pass as the owner, nor the owner out.
#[tokio::test]
async fn a_stranger_s_registration_of_an_account_s_address_does_not_pass() {
    let service = Service::start().await;
    let owner = service.register_active("ada@example.com").await;
    service.age_grants(std::time::Duration::from_secs(3600)).await;
    assert_eq!(service.register("ada@example.com", "a stranger's password").await.status, 201);
    let stranger = service.check_credentials("ada@example.com", "a stranger's password").await;
    assert_eq!(stranger.outcome(), (403, "not-active"));
    assert_eq!(service.check_credentials("ada@example.com", PASSWORD).await.header("x-user-id"), owner);
}

#[tokio::test]
async fn an_address_beyond_ascii_is_sent_in_utf_8() {
    let service = Service::start().await;
    service.register_active("jörg@bücher.example").await;
    let answer = service.check_credentials("jörg@bücher.example", PASSWORD).await;
    assert_eq!(answer.headers["x-user-email"].as_bytes(), "jörg@bücher.example".as_bytes());
}

#[tokio::test]
async fn failures_are_throttled_by_the_network_that_the_gateway_names() {
    let service = Service::start_with(&["--client-limits=true", "--trusted-proxies=127.0.0.1"]).await;
    service.register_active("ada@example.com").await;
    let check = async |client: &str, password: &str| {
        let request = service.request(Method::GET, "/v1/auth").header("X-Forwarded-For", client);
        Answer::of(request.basic_auth("ada@example.com", Some(password))).await
    };
    loop {
        let refused = check("192.0.2.1", "wrong password").await;
        if refused.outcome() == (429, "too-many-requests") {
            break;
        }
        assert_eq!(refused.outcome(), (401, "unauthenticated"));
    }
    assert_eq!(check("192.0.2.2", PASSWORD).await.status, 204);
}
