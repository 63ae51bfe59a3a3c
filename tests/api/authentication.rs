//! HTTP Basic authentication: every invalid credential gets the same 401.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::support::{Answer, PASSWORD, Service, concurrently};

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let service = Service::start().await;
    service.register_pending("ada@example.com").await;
    service.register_active("active@example.com").await;
    let expected = service.me("ada@example.com", "wrong password").await;
    assert_eq!(expected.outcome(), (401, "unauthenticated"));
    for (name, password) in [("active@example.com", "wrong password"), ("eve@example.com", PASSWORD), ("eve", PASSWORD)]
    {
        let answer = service.me(name, password).await;
        assert_eq!((answer.status, &answer.body), (expected.status, &expected.body));
        let header_names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(header_names(&answer), header_names(&expected));
    }
}

#[tokio::test]
async fn the_right_credentials_authenticate_in_utf_8_and_in_latin_1() {
    let service = Service::start().await;
    assert_eq!(service.register("jörg@example.com", "pässwört-lang").await.status, 201);
    let status = async |pair: &[u8]| {
        let field = format!("Basic {}", STANDARD.encode(pair));
        Answer::of(service.request(Method::GET, "/v1/users/me").header(AUTHORIZATION, field)).await.status.as_u16()
    };
    assert_eq!(status("jörg@example.com:pässwört-lang".as_bytes()).await, 200);
    assert_eq!(status(b"j\xf6rg@example.com:p\xe4ssw\xf6rt-lang").await, 200);
    // The address in UTF-8, the password in Latin-1.
    assert_eq!(status(b"j\xc3\xb6rg@example.com:p\xe4ssw\xf6rt-lang").await, 200);
    assert_eq!(status(b"j\xf6rg@example.com:p\xe4sswort-lang").await, 401);
}

#[tokio::test]
async fn requests_of_a_script_get_a_challenge_that_browsers_do_not_prompt_for() {
    let service = Service::start().await;
    let challenge = async |name: &'static str, value: &'static str| {
        let answer = Answer::of(service.request(Method::GET, "/v1/users/me").header(name, value)).await;
        assert_eq!(answer.outcome(), (401, "unauthenticated"));
        answer.header("www-authenticate").to_owned()
    };
    let (basic, silent) = (r#"Basic realm="sixty", charset="UTF-8""#, r#"xBasic realm="sixty", charset="UTF-8""#);
    for (name, value, expected) in [
        ("Accept", "*/*", basic),
        ("Sec-Fetch-Mode", "navigate", basic),
        ("Sec-Fetch-Mode", "no-cors", basic),
        ("Sec-Fetch-Mode", "cors", silent),
        ("Sec-Fetch-Mode", "same-origin", silent),
        ("Sec-Fetch-Dest", "document", basic),
        ("Sec-Fetch-Dest", "empty", silent),
        ("X-Requested-With", "XMLHttpRequest", silent),
    ] {
        assert_eq!(challenge(name, value).await, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn malformed_authorization_fields_are_refused() {
    let service = Service::start().await;
    service.register_pending("ada@example.com").await;
    let basic = |credentials: &[u8]| format!("Basic {}", STANDARD.encode(credentials)).into_bytes();
    let fields: [Vec<u8>; 9] = [
        b"".to_vec(),
        b"Basic".to_vec(),
        b"Bearer abc".to_vec(),
        b"Basic not-base64!".to_vec(),
        basic(b"no colon"),
        basic(b"ada@example.com:\xff\xfe\xfd"),
        basic(b"ada@example.com:correct horse battery\0"),
        basic(b"\0ada@example.com:correct horse battery"),
        basic(format!("ada@example.com:{}", "x".repeat(10_000)).as_bytes()),
    ];
    let without_field = Answer::of(service.request(Method::GET, "/v1/users/me")).await;
    assert_eq!(without_field.outcome(), (401, "unauthenticated"));
    for field in fields {
        let value = HeaderValue::from_bytes(&field).unwrap();
        let answer = Answer::of(service.request(Method::GET, "/v1/users/me").header(AUTHORIZATION, value)).await;
        assert_eq!(answer.outcome(), (401, "unauthenticated"), "{}", String::from_utf8_lossy(&field));
    }
    assert_eq!(service.me("ada@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_first_login_after_a_cost_increase_rehashes_the_password() {
    let service = Service::start().await;
    service.register_active("ada@example.com").await;
    let hash = async || -> String {
        sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(&service.db).await.unwrap()
    };
    let before = hash().await;
    assert!(before.contains("$m=8,t=1,p=1$"), "{before}");

    let higher_cost = service.replica(&["--argon2-memory-kib=16"]).await;
    assert_eq!(higher_cost.me("ada@example.com", "wrong password").await.status, 401);
    assert_eq!(hash().await, before);
    // Of two concurrent logins, the later one finds that the first has already replaced the hash.
    let logins = concurrently(2, |_| {
        let request = higher_cost.request(Method::GET, "/v1/users/me").basic_auth("ada@example.com", Some(PASSWORD));
        Answer::of(request)
    });
    assert!(logins.await.iter().all(|login| login.status == 200));
    let after = hash().await;
    assert!(after.contains("$m=16,t=1,p=1$"), "{after}");
    for service in [&service, &higher_cost] {
        assert_eq!(service.me("ada@example.com", PASSWORD).await.status, 200);
        assert_eq!(service.me("ada@example.com", "wrong password").await.status, 401);
    }
    assert_eq!(hash().await, after, "a login at the lower cost must not rehash");
}

/// Otherwise the time of a response would reveal which addresses have an account.
#[tokio::test]
async fn registrations_have_the_hash_costs_of_the_accounts_after_a_cost_change() {
    let service = Service::start().await;
    service.register_active("ada@example.com").await;
    let cost_of = async |email: &str| -> String {
        let cost = "SELECT hash_cost FROM addresses WHERE address = $1";
        sqlx::query_scalar(cost).bind(email).fetch_one(&service.db).await.unwrap()
    };
    let higher_cost = service.replica(&["--argon2-memory-kib=16", "--argon2-passes=2"]).await;
    higher_cost.register_pending("bob@example.com").await;
    assert_eq!(cost_of("bob@example.com").await, "m=8,t=1,p=1");

    // The login rehashes the only account. A process reads the costs when it starts.
    assert_eq!(higher_cost.me("ada@example.com", PASSWORD).await.status, 200);
    let lower_cost = service.replica(&[]).await;
    lower_cost.register_pending("cleo@example.com").await;
    assert_eq!(cost_of("cleo@example.com").await, "m=16,t=2,p=1");
}

#[tokio::test]
async fn a_disabled_account_gets_account_disabled_only_with_the_right_password() {
    let service = Service::start().await;
    service.register_active("ada@example.com").await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    assert_eq!(service.me("ada@example.com", PASSWORD).await.outcome(), (403, "account-disabled"));
    assert_eq!(service.me("ada@example.com", "wrong password").await.outcome(), (401, "unauthenticated"));
    let activation = service.activate("ada@example.com", PASSWORD, "0000").await;
    assert_eq!(activation.outcome(), (403, "account-disabled"));
}
