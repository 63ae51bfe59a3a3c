//! What admins may do, and nobody else.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, concurrently};

const ADMIN: &str = "admin@example.com";
const ADA: &str = "ada@example.com";
const NOBODY: &str = "01a1fb31-109f-7fd3-a969-470eb5982bb2";

impl Service {
    /// An account with the role admin. Returns its id.
    async fn admin(&self, email: &str) -> String {
        let id = self.register_active(email).await;
        let promote = sqlx::query("UPDATE users SET role = 'admin' WHERE id = $1::uuid").bind(&id);
        promote.execute(&self.db).await.unwrap();
        id
    }

    async fn ask_as(&self, email: &str, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path).basic_auth(email, Some(PASSWORD))).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask_as(ADMIN, Method::GET, path).await
    }

    async fn patch_as(&self, email: &str, id: &str, change: Value) -> Answer {
        let request = self.request(Method::PATCH, &format!("/v1/users/{id}"));
        Answer::of(request.basic_auth(email, Some(PASSWORD)).json(&change)).await
    }

    async fn patch(&self, id: &str, change: Value) -> Answer {
        self.patch_as(ADMIN, id, change).await
    }

    async fn remove(&self, id: &str) -> Answer {
        self.ask_as(ADMIN, Method::DELETE, &format!("/v1/users/{id}")).await
    }
}

fn ids(page: &Answer) -> Vec<&str> {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["items"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn others_are_forbidden_everything_and_told_nothing() {
    let service = Service::start().await;
    let admin = service.admin(ADMIN).await;
    let ada = service.register_active(ADA).await;
    service.register_pending("bob@example.com").await;
    let paths = ["/v1/users?limit=0", &format!("/v1/users/{admin}"), &format!("/v1/users/{ada}"), "/v1/users/x"];
    for (n, path) in paths.iter().enumerate() {
        for method in [Method::GET, Method::PATCH, Method::DELETE] {
            if n == 0 && method != Method::GET {
                continue;
            }
            let ask = || service.request(method.clone(), path).json(&json!({ "status": 7 }));
            for email in [ADA, "bob@example.com"] {
                let refused = Answer::of(ask().basic_auth(email, Some(PASSWORD))).await;
                assert_eq!(refused.outcome(), (403, "forbidden"), "{method} {path}");
            }
            let wrong = Answer::of(ask().basic_auth(ADMIN, Some("wrong password"))).await;
            assert_eq!(wrong.outcome(), (401, "unauthenticated"));
            assert_eq!(Answer::of(ask()).await.outcome(), (401, "unauthenticated"));
        }
    }
    // A role that was taken away, or an account that was closed, is one from the next request on.
    sqlx::query("UPDATE users SET role = 'admin' WHERE id = $1::uuid").bind(&ada).execute(&service.db).await.unwrap();
    assert_eq!(service.patch_as(ADA, &admin, json!({ "status": "disabled" })).await.status, 200);
    assert_eq!(service.get("/v1/users").await.outcome(), (403, "account-disabled"));
    assert_eq!(service.patch_as(ADA, &admin, json!({ "status": "active", "role": "user" })).await.status, 200);
    assert_eq!(service.get("/v1/users").await.outcome(), (403, "forbidden"));
}

#[tokio::test]
async fn a_list_is_newest_first_and_its_pages_hold_everybody_once() {
    let service = Service::start().await;
    let mut expected = vec![service.admin(ADMIN).await];
    for n in 0..6 {
        expected.push(service.register_pending(&format!("{n}@example.com")).await);
    }
    expected.reverse();
    let whole = service.get("/v1/users").await;
    assert_eq!(
        (ids(&whole), &whole.body["next_cursor"]),
        (expected.iter().map(String::as_str).collect(), &Value::Null)
    );
    assert_eq!(whole.header("cache-control"), "no-store");
    assert_eq!(whole.body["items"][6], service.me(ADMIN, PASSWORD).await.body);

    for limit in [1, 3, 6, 7, 100] {
        let (mut seen, mut path): (Vec<String>, _) = (vec![], format!("/v1/users?limit={limit}"));
        loop {
            let page = service.get(&path).await;
            assert!((1..=limit).contains(&ids(&page).len()), "{page:?}");
            seen.extend(ids(&page).into_iter().map(ToOwned::to_owned));
            let Some(cursor) = page.body["next_cursor"].as_str() else { break };
            path = format!("/v1/users?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, expected, "{limit}");
    }
    assert_eq!(service.get("/v1/users?unknown=x").await.status, 200);
}

#[tokio::test]
async fn a_list_holds_those_of_a_status_or_an_address() {
    let service = Service::start().await;
    let admin = service.admin(ADMIN).await;
    let ada = service.register_active("Ada@B\u{fc}cher.example").await;
    service.age_grants(Duration::from_secs(60)).await;
    let shadow = service.register_pending("ada@b\u{fc}cher.example").await;
    let bob = service.register_active("bob@example.com").await;
    assert_eq!(service.patch(&bob, json!({ "status": "disabled" })).await.body["status"], "disabled");
    for (query, expected) in [
        ("status=pending", vec![&shadow]),
        ("status=active", vec![&ada, &admin]),
        ("status=disabled", vec![&bob]),
        ("email=ADA@xn--bcher-kva.example", vec![&shadow, &ada]),
        ("email=%20ada@b%C3%BCcher.example", vec![&shadow, &ada]),
        ("email=ada@b%C3%BCcher.example&status=active", vec![&ada]),
        ("email=eve@example.com", vec![]),
        ("email=bob@example.com&status=pending", vec![]),
    ] {
        assert_eq!(ids(&service.get(&format!("/v1/users?{query}")).await), expected, "{query}");
    }
    let first = service.get("/v1/users?email=ada@b%C3%BCcher.example&limit=1").await;
    assert_eq!(ids(&first), [&shadow]);
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let second = service.get(&format!("/v1/users?email=ada@b%C3%BCcher.example&limit=1&cursor={cursor}")).await;
    assert_eq!((ids(&second), &second.body["next_cursor"]), (vec![&*ada], &Value::Null));
}

#[tokio::test]
async fn every_bad_parameter_is_named_and_none_repeated() {
    let service = Service::start().await;
    service.admin(ADMIN).await;
    let refused = service.get("/v1/users?status=c4n4ry&email=c4n4ry&limit=c4n4ry&cursor=c4n4ry").await;
    assert_eq!(refused.outcome(), (422, "invalid-field"));
    let errors = json!([
        { "parameter": "status", "detail": "must be pending, active or disabled" },
        { "parameter": "email", "detail": "must have an @ between a mailbox and a domain" },
        { "parameter": "limit", "detail": "must be a number from 1 to 100" },
        { "parameter": "cursor", "detail": "must be the next_cursor of an earlier page" },
    ]);
    assert_eq!(refused.body["errors"], errors);
    assert!(!refused.body.to_string().contains("c4n4ry"));
    for (query, parameter) in [
        ("status=", "status"),
        ("status=Active", "status"),
        ("email=", "email"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("cursor=", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("cursor=________________________________", "cursor"),
    ] {
        let refused = service.get(&format!("/v1/users?{query}")).await;
        assert_eq!(refused.outcome(), (422, "invalid-field"), "{query}");
        assert_eq!(refused.body["errors"][0]["parameter"], parameter, "{query}");
    }
}

#[tokio::test]
async fn an_admin_looks_at_a_user_and_one_that_is_not_there_is_404() {
    let service = Service::start().await;
    service.admin(ADMIN).await;
    let ada = service.register_pending(ADA).await;
    let found = service.get(&format!("/v1/users/{ada}")).await;
    assert_eq!((found.status.as_u16(), &found.body), (200, &service.me(ADA, PASSWORD).await.body));
    let braced = format!("%7B{ada}%7D");
    for id in [NOBODY, "x", "0", "ada@example.com", "%00", "%FF", &braced, &ada[1..], &ada.replace('-', "")] {
        assert_eq!(service.get(&format!("/v1/users/{id}")).await.outcome(), (404, "user-not-found"), "{id}");
        assert_eq!(service.remove(id).await.outcome(), (404, "user-not-found"), "{id}");
        let patched = service.patch(id, json!({ "status": "active" })).await;
        assert_eq!(patched.outcome(), (404, "user-not-found"), "{id}");
    }
    assert_eq!(service.get("/v1/users/").await.outcome(), (404, "not-found"));
    let put = service.ask_as(ADMIN, Method::PUT, &format!("/v1/users/{ada}")).await;
    assert_eq!(
        (put.outcome(), put.header("allow")),
        ((405, "method-not-allowed"), "DELETE, GET, HEAD, OPTIONS, PATCH")
    );
    assert_eq!(
        service.ask_as(ADMIN, Method::PATCH, "/v1/users/me").await.header("allow"),
        "DELETE, GET, HEAD, OPTIONS"
    );
    assert_eq!(service.ask_as(ADMIN, Method::PUT, "/v1/users").await.header("allow"), "GET, HEAD, OPTIONS, POST");
}

#[tokio::test]
async fn an_account_is_closed_and_opened_and_promoted() {
    let service = Service::start().await;
    service.admin(ADMIN).await;
    let ada = service.register_active(ADA).await;
    let before = service.me(ADA, PASSWORD).await.body;
    let closed = service.patch(&ada, json!({ "status": "disabled" })).await;
    assert_eq!((&closed.body["status"], &closed.body["activated_at"]), (&json!("disabled"), &before["activated_at"]));
    assert_eq!(service.me(ADA, PASSWORD).await.outcome(), (403, "account-disabled"));
    assert_eq!(service.patch(&ada, json!({ "status": "disabled" })).await.status, 200);
    assert_eq!(service.patch(&ada, json!({ "status": "active" })).await.body, before);
    assert_eq!(service.patch(&ada, json!({})).await.body, before);
    assert_eq!(service.me(ADA, PASSWORD).await.body, before);
    assert_eq!(service.patch(&ada, json!({ "role": "admin" })).await.body["role"], "admin");
    assert_eq!(service.ask_as(ADA, Method::GET, "/v1/users").await.status, 200);
    assert_eq!(service.patch(&ada, json!({ "role": "user", "status": "disabled" })).await.status, 200);

    for (change, pointers) in [
        (json!({ "status": "pending" }), vec!["/status"]),
        (json!({ "status": null }), vec!["/status"]),
        (json!({ "role": null, "status": 1 }), vec!["/status", "/role"]),
        (json!({ "role": "root", "email": "eve@example.com" }), vec!["/role", "/email"]),
        (json!({ "activated_at": null }), vec!["/activated_at"]),
        (json!("disabled"), vec![""]),
    ] {
        let refused = service.patch(&ada, change.clone()).await;
        assert_eq!((refused.outcome(), refused.pointers()), ((422, "invalid-field"), pointers), "{change}");
    }
}

#[tokio::test]
async fn a_pending_registration_is_nobodys_to_change_but_can_be_deleted_with_its_code() {
    let service = Service::start().await;
    service.admin(ADMIN).await;
    let ada = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    for change in [json!({ "status": "active" }), json!({ "status": "disabled" }), json!({ "role": "admin" })] {
        assert_eq!(service.patch(&ada, change).await.outcome(), (409, "not-active"));
    }
    service.wait_for_empty_outbox().await;
    assert_eq!(service.remove(&ada).await.status, 204);
    assert_eq!(service.remove(&ada).await.outcome(), (404, "user-not-found"));
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (401, "unauthenticated"));
    let live: bool = service.redis(&["EXISTS", &service.redis_key("code", &ada)]).await;
    assert!(!live);

    let bob = service.register_active("bob@example.com").await;
    assert_eq!(service.patch(&bob, json!({ "status": "disabled" })).await.status, 200);
    assert_eq!(service.remove(&bob).await.status, 204, "disabled ones, too");
}

#[tokio::test]
async fn the_last_active_admin_stays() {
    let service = Service::start().await;
    let admin = service.admin(ADMIN).await;
    let closed = service.admin("closed@example.com").await;
    assert_eq!(service.patch(&closed, json!({ "status": "disabled" })).await.status, 200);
    for change in [json!({ "role": "user" }), json!({ "status": "disabled" })] {
        assert_eq!(service.patch(&admin, change).await.outcome(), (409, "last-admin"));
    }
    assert_eq!(service.remove(&admin).await.outcome(), (409, "last-admin"));
    assert_eq!(service.delete(ADMIN, PASSWORD).await.outcome(), (409, "last-admin"));
    assert_eq!(service.patch(&admin, json!({ "role": "admin", "status": "active" })).await.status, 200);
    assert_eq!(service.patch(&closed, json!({ "status": "active" })).await.status, 200);
    assert_eq!(service.delete(ADMIN, PASSWORD).await.status, 204);
}

#[tokio::test]
async fn of_admins_who_remove_each_other_at_once_one_stays() {
    let service = Service::start().await;
    let emails: Vec<String> = (0..4).map(|n| format!("admin{n}@example.com")).collect();
    let mut admins = vec![];
    for email in &emails {
        admins.push(service.admin(email).await);
    }
    for change in [json!({ "role": "user" }), json!({ "status": "disabled" }), Value::Null] {
        // Each removes the next one; DELETE is the third way.
        let removals = concurrently(4, |n| {
            let path = format!("/v1/users/{}", admins[(n + 1) % 4]);
            let method = if change.is_null() { Method::DELETE } else { Method::PATCH };
            let request = service.request(method, &path).basic_auth(&emails[n], Some(PASSWORD));
            Answer::of(if change.is_null() { request } else { request.json(&change) })
        })
        .await;
        let left: Vec<String> =
            sqlx::query_scalar("SELECT id::text FROM users WHERE role = 'admin' AND status = 'active'")
                .fetch_all(&service.db)
                .await
                .unwrap();
        assert!(!left.is_empty(), "{removals:?}");
        for removal in removals {
            let outcome = removal.outcome();
            // Who was removed before it was asked has no say any more.
            let losers = [(409, "last-admin"), (403, "forbidden"), (403, "account-disabled"), (401, "unauthenticated")];
            assert!(removal.status.is_success() || losers.contains(&outcome), "{outcome:?}");
        }
        sqlx::query("UPDATE users SET role = 'admin', status = 'active'").execute(&service.db).await.unwrap();
    }
}
