//! The admin routes: list, read, change and delete users.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, concurrently};

const ADMIN: &str = "admin@example.com";
const ADA: &str = "ada@example.com";
const UNKNOWN_ID: &str = "01a1fb31-109f-7fd3-a969-470eb5982bb2";

impl Service {
    /// Creates an active account with the role admin. Returns its id.
    async fn create_admin(&self, email: &str) -> String {
        let id = self.register_active(email).await;
        let promote = sqlx::query("UPDATE users SET role = 'admin' WHERE id = $1::uuid").bind(&id);
        promote.execute(&self.db).await.unwrap();
        id
    }

    async fn request_as(&self, email: &str, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path).basic_auth(email, Some(PASSWORD))).await
    }

    async fn get_as_admin(&self, path: &str) -> Answer {
        self.request_as(ADMIN, Method::GET, path).await
    }

    async fn patch_user_as(&self, email: &str, id: &str, change: Value) -> Answer {
        let request = self.request(Method::PATCH, &format!("/v1/users/{id}"));
        Answer::of(request.basic_auth(email, Some(PASSWORD)).json(&change)).await
    }

    async fn patch_user(&self, id: &str, change: Value) -> Answer {
        self.patch_user_as(ADMIN, id, change).await
    }

    async fn delete_user(&self, id: &str) -> Answer {
        self.request_as(ADMIN, Method::DELETE, &format!("/v1/users/{id}")).await
    }
}

fn ids(page: &Answer) -> Vec<&str> {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["items"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_admin_route_refuses_non_admins_before_it_validates_the_request() {
    let service = Service::start().await;
    let admin = service.create_admin(ADMIN).await;
    let ada = service.register_active(ADA).await;
    service.register_pending("bob@example.com").await;
    let paths = ["/v1/users?limit=0", &format!("/v1/users/{admin}"), &format!("/v1/users/{ada}"), "/v1/users/x"];
    for (n, path) in paths.iter().enumerate() {
        for method in [Method::GET, Method::PATCH, Method::DELETE] {
            if n == 0 && method != Method::GET {
                continue;
            }
            let invalid_request = || service.request(method.clone(), path).json(&json!({ "status": 7 }));
            for email in [ADA, "bob@example.com"] {
                let refused = Answer::of(invalid_request().basic_auth(email, Some(PASSWORD))).await;
                assert_eq!(refused.outcome(), (403, "forbidden"), "{method} {path}");
            }
            let wrong_password = Answer::of(invalid_request().basic_auth(ADMIN, Some("wrong password"))).await;
            assert_eq!(wrong_password.outcome(), (401, "unauthenticated"));
            assert_eq!(Answer::of(invalid_request()).await.outcome(), (401, "unauthenticated"));
        }
    }
    // A removed role and a disabled account take effect at the next request.
    sqlx::query("UPDATE users SET role = 'admin' WHERE id = $1::uuid").bind(&ada).execute(&service.db).await.unwrap();
    assert_eq!(service.patch_user_as(ADA, &admin, json!({ "status": "disabled" })).await.status, 200);
    assert_eq!(service.get_as_admin("/v1/users").await.outcome(), (403, "account-disabled"));
    assert_eq!(service.patch_user_as(ADA, &admin, json!({ "status": "active", "role": "user" })).await.status, 200);
    assert_eq!(service.get_as_admin("/v1/users").await.outcome(), (403, "forbidden"));
}

#[tokio::test]
async fn the_user_list_is_newest_first_and_its_pages_contain_each_user_once() {
    let service = Service::start().await;
    let mut expected = vec![service.create_admin(ADMIN).await];
    for n in 0..6 {
        expected.push(service.register_pending(&format!("{n}@example.com")).await);
    }
    expected.reverse();
    let full_list = service.get_as_admin("/v1/users").await;
    assert_eq!(
        (ids(&full_list), &full_list.body["next_cursor"]),
        (expected.iter().map(String::as_str).collect(), &Value::Null)
    );
    assert_eq!(full_list.header("cache-control"), "no-store");
    assert_eq!(full_list.body["items"][6], service.me(ADMIN, PASSWORD).await.body);

    for limit in [1, 3, 6, 7, 100] {
        let (mut seen, mut path): (Vec<String>, _) = (vec![], format!("/v1/users?limit={limit}"));
        loop {
            let page = service.get_as_admin(&path).await;
            assert!((1..=limit).contains(&ids(&page).len()), "{page:?}");
            seen.extend(ids(&page).into_iter().map(ToOwned::to_owned));
            let Some(cursor) = page.body["next_cursor"].as_str() else { break };
            path = format!("/v1/users?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
    assert_eq!(service.get_as_admin("/v1/users?unknown=x").await.status, 200);
}

#[tokio::test]
async fn the_user_list_filters_by_status_and_email() {
    let service = Service::start().await;
    let admin = service.create_admin(ADMIN).await;
    let ada = service.register_active("Ada@B\u{fc}cher.example").await;
    service.age_grants(Duration::from_secs(60)).await;
    let second_registration = service.register_pending("ada@b\u{fc}cher.example").await;
    let bob = service.register_active("bob@example.com").await;
    assert_eq!(service.patch_user(&bob, json!({ "status": "disabled" })).await.body["status"], "disabled");
    for (query, expected) in [
        ("status=pending", vec![&second_registration]),
        ("status=active", vec![&ada, &admin]),
        ("status=disabled", vec![&bob]),
        ("email=ADA@xn--bcher-kva.example", vec![&second_registration, &ada]),
        ("email=%09ada@b%C3%BCcher.example", vec![&second_registration, &ada]),
        ("email=ada@b%C3%BCcher.example&status=active", vec![&ada]),
        ("email=eve@example.com", vec![]),
        ("email=bob@example.com&status=pending", vec![]),
    ] {
        assert_eq!(ids(&service.get_as_admin(&format!("/v1/users?{query}")).await), expected, "{query}");
    }
    let first = service.get_as_admin("/v1/users?email=ada@b%C3%BCcher.example&limit=1").await;
    assert_eq!(ids(&first), [&second_registration]);
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let second =
        service.get_as_admin(&format!("/v1/users?email=ada@b%C3%BCcher.example&limit=1&cursor={cursor}")).await;
    assert_eq!((ids(&second), &second.body["next_cursor"]), (vec![&*ada], &Value::Null));
}

/// Returns the addresses in a page, as typed.
fn emails(page: &Answer) -> Vec<&str> {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn users_are_found_by_the_beginning_and_the_domain_of_their_address() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    for email in ["ada@example.com", "Ada+news@b\u{fc}cher.example", "adam@example.com", "bob@b\u{fc}cher.example"] {
        service.register_pending(email).await;
    }
    service.register_active("Ada.L@example.com").await;
    for (query, expected) in [
        (
            "email_prefix=ada",
            vec!["Ada+news@b\u{fc}cher.example", "Ada.L@example.com", "ada@example.com", "adam@example.com"],
        ),
        ("email_prefix=ADA@", vec!["ada@example.com"]),
        ("email_prefix=ada%2B", vec!["Ada+news@b\u{fc}cher.example"]),
        ("email_prefix=ada&status=active", vec!["Ada.L@example.com"]),
        ("email_prefix=ada&domain=example.com&status=pending", vec!["ada@example.com", "adam@example.com"]),
        ("email_prefix=%25", vec![]),
        ("email_prefix=a_a", vec![]),
        ("domain=b%C3%BCcher.example", vec!["bob@b\u{fc}cher.example", "Ada+news@b\u{fc}cher.example"]),
        (
            "domain=XN--BCHER-KVA.example&status=pending",
            vec!["bob@b\u{fc}cher.example", "Ada+news@b\u{fc}cher.example"],
        ),
        ("domain=example.com.", vec!["Ada.L@example.com", "adam@example.com", "ada@example.com", ADMIN]),
        ("domain=example.com", vec!["Ada.L@example.com", "adam@example.com", "ada@example.com", ADMIN]),
        ("domain=example.org", vec![]),
    ] {
        let (mut found, mut path) = (vec![], format!("/v1/users?{query}"));
        assert_eq!(emails(&service.get_as_admin(&path).await), expected, "{query}");
        // One by one.
        loop {
            let page = service.get_as_admin(&format!("{path}&limit=1")).await;
            found.extend(emails(&page).into_iter().map(ToOwned::to_owned));
            let Some(cursor) = page.body["next_cursor"].as_str() else { break };
            path = format!("/v1/users?{query}&cursor={cursor}");
        }
        assert_eq!(found, expected, "{query}");
    }
}

#[tokio::test]
async fn invalid_searches_are_named() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    service.register_pending(ADA).await;
    let errors = async |query: &str| {
        let answer = service.get_as_admin(&format!("/v1/users?{query}")).await;
        assert_eq!(answer.outcome(), (422, "invalid-field"), "{query}");
        answer.body["errors"].clone()
    };
    let blank = "must not contain spaces or control characters; a + in a query stands for a blank, send it as %2B";
    for invalid in ["ada+news", "zed+", "+zed", "+"] {
        let expected = json!([{ "parameter": "email_prefix", "detail": blank }]);
        assert_eq!(errors(&format!("email_prefix={invalid}")).await, expected, "{invalid}");
    }
    let invisible = "must not contain spaces, control characters or invisible ones; \
        a + in a query stands for a blank, send it as %2B";
    for invalid in ["ada+news@example.com", "+a@b.example", "a@b.example+", "+"] {
        let expected = json!([{ "parameter": "email", "detail": invisible }]);
        assert_eq!(errors(&format!("email={invalid}")).await, expected, "{invalid}");
    }
    assert_eq!(errors("domain=+example.com").await, json!([{ "parameter": "domain", "detail": blank }]));
    let ascii = "must have its domain in the ASCII form, xn--…, after the @";
    assert_eq!(errors("email_prefix=ada@b%C3%BC").await, json!([{ "parameter": "email_prefix", "detail": ascii }]));
    let domain = json!([{ "parameter": "domain", "detail": "must be a domain name such as example.com" }]);
    for invalid in ["com", "@example.com", "exa+mple.com", "127.0.0.1", "example.com/"] {
        assert_eq!(errors(&format!("domain={invalid}")).await, domain, "{invalid}");
    }
    let combined = "cannot be combined with email, which names one address";
    assert_eq!(
        errors("email=ada@example.com&email_prefix=ada&domain=example.com").await,
        json!([{ "parameter": "email_prefix", "detail": combined }, { "parameter": "domain", "detail": combined }])
    );
    assert_eq!(errors("email_prefix=&domain=").await.as_array().unwrap().len(), 2);
    // A cursor of another list.
    let first = service.get_as_admin("/v1/users?email_prefix=a&limit=1").await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    assert_eq!(errors(&format!("cursor={cursor}")).await[0]["parameter"], "cursor");
    assert_eq!(errors(&format!("email_prefix=b&cursor={cursor}")).await[0]["parameter"], "cursor");
    assert_eq!(errors("email_prefix=a&cursor=AAZgs_vKEAEBofsxEJ9_06lpRw61mCuy").await[0]["parameter"], "cursor");
}

#[tokio::test]
async fn all_invalid_query_parameters_are_named_without_their_values() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let refused = service.get_as_admin("/v1/users?status=c4n4ry&email=c4n4ry&limit=c4n4ry&cursor=c4n4ry").await;
    assert_eq!(refused.outcome(), (422, "invalid-field"));
    let errors = json!([
        { "parameter": "status", "detail": "must be pending, active or disabled" },
        { "parameter": "email", "detail": "must have an @ between a mailbox and a domain" },
        { "parameter": "limit", "detail": "must be a number from 1 to 100" },
        { "parameter": "cursor", "detail": "must be the next_cursor of an earlier page with the same parameters" },
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
        let refused = service.get_as_admin(&format!("/v1/users?{query}")).await;
        assert_eq!(refused.outcome(), (422, "invalid-field"), "{query}");
        assert_eq!(refused.body["errors"][0]["parameter"], parameter, "{query}");
    }
}

#[tokio::test]
async fn a_bare_plus_in_the_email_parameter_is_explained() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let detail = async |query: &str| {
        let answer = service.get_as_admin(&format!("/v1/users?{query}")).await;
        assert_eq!(
            (answer.outcome(), &answer.body["errors"][0]["parameter"]),
            ((422, "invalid-field"), &json!("email"))
        );
        answer.body["errors"][0]["detail"].as_str().unwrap().to_owned()
    };
    let hint = "; a + in a query stands for a blank, send it as %2B";
    for query in ["email=ada+b@example.com", "limit=5&email=ada+b@example.com"] {
        assert!(detail(query).await.ends_with(hint), "{query}");
    }
    assert!(!detail("email=ada&cursor=a+b").await.contains("%2B"));
    assert_eq!(service.get_as_admin("/v1/users?email=ada%2Bb@example.com").await.status, 200);
}

#[tokio::test]
async fn a_merge_patch_updates_a_user_and_is_no_body_of_other_methods() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let id = service.register_active(ADA).await;
    let send = async |method, path: &str, body: &'static str| {
        let request = service.request(method, path).basic_auth(ADMIN, Some(PASSWORD));
        Answer::of(request.header("Content-Type", "application/merge-patch+json").body(body)).await
    };
    let user = format!("/v1/users/{id}");
    let patched = send(Method::PATCH, &user, r#"{"status":"disabled"}"#).await;
    assert_eq!((patched.status.as_u16(), &patched.body["status"]), (200, &json!("disabled")));
    // In a merge patch, null removes a member. A user always has a status.
    let removed = send(Method::PATCH, &user, r#"{"status":null}"#).await;
    assert_eq!((removed.outcome(), removed.pointers()), ((422, "invalid-field"), vec!["/status"]));
    assert_eq!(send(Method::POST, "/v1/users", "{}").await.outcome(), (415, "unsupported-media-type"));
    for (content_type, start) in
        [("text/plain", "The Content-Type of the body"), ("", "The header Content-Type is missing; the body")]
    {
        let request = service.request(Method::PATCH, &user).basic_auth(ADMIN, Some(PASSWORD)).body("{}");
        let request = if content_type.is_empty() { request } else { request.header("Content-Type", content_type) };
        let refused = Answer::of(request).await;
        let detail = format!("{start} must be application/json or application/merge-patch+json.");
        assert_eq!((refused.outcome(), &refused.body["detail"]), ((415, "unsupported-media-type"), &json!(detail)));
    }
}

#[tokio::test]
async fn an_admin_reads_a_user_and_an_unknown_or_malformed_id_is_404() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let ada = service.register_pending(ADA).await;
    let found = service.get_as_admin(&format!("/v1/users/{ada}")).await;
    assert_eq!((found.status.as_u16(), &found.body), (200, &service.me(ADA, PASSWORD).await.body));
    let id_in_braces = format!("%7B{ada}%7D");
    for id in [UNKNOWN_ID, "x", "0", "ada@example.com", "%00", "%FF", &id_in_braces, &ada[1..], &ada.replace('-', "")] {
        assert_eq!(service.get_as_admin(&format!("/v1/users/{id}")).await.outcome(), (404, "user-not-found"), "{id}");
        assert_eq!(service.delete_user(id).await.outcome(), (404, "user-not-found"), "{id}");
        let patched = service.patch_user(id, json!({ "status": "active" })).await;
        assert_eq!(patched.outcome(), (404, "user-not-found"), "{id}");
    }
    assert_eq!(service.get_as_admin("/v1/users/").await.outcome(), (404, "not-found"));
    let put = service.request_as(ADMIN, Method::PUT, &format!("/v1/users/{ada}")).await;
    assert_eq!(
        (put.outcome(), put.header("allow")),
        ((405, "method-not-allowed"), "DELETE, GET, HEAD, OPTIONS, PATCH")
    );
    assert_eq!(
        service.request_as(ADMIN, Method::PUT, "/v1/users/me").await.header("allow"),
        "DELETE, GET, HEAD, OPTIONS, PATCH"
    );
    assert_eq!(service.request_as(ADMIN, Method::PUT, "/v1/users").await.header("allow"), "GET, HEAD, OPTIONS, POST");
}

#[tokio::test]
async fn an_admin_disables_enables_and_promotes_an_account() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let ada = service.register_active(ADA).await;
    let before = service.me(ADA, PASSWORD).await.body;
    let disabled = service.patch_user(&ada, json!({ "status": "disabled" })).await;
    assert_eq!(
        (&disabled.body["status"], &disabled.body["activated_at"]),
        (&json!("disabled"), &before["activated_at"])
    );
    assert_eq!(service.me(ADA, PASSWORD).await.outcome(), (403, "account-disabled"));
    assert_eq!(service.patch_user(&ada, json!({ "status": "disabled" })).await.status, 200);
    assert_eq!(service.patch_user(&ada, json!({ "status": "active" })).await.body, before);
    assert_eq!(service.patch_user(&ada, json!({})).await.body, before);
    assert_eq!(service.me(ADA, PASSWORD).await.body, before);
    assert_eq!(service.patch_user(&ada, json!({ "role": "admin" })).await.body["role"], "admin");
    assert_eq!(service.request_as(ADA, Method::GET, "/v1/users").await.status, 200);
    assert_eq!(service.patch_user(&ada, json!({ "role": "user", "status": "disabled" })).await.status, 200);

    for (change, pointers) in [
        (json!({ "status": "pending" }), vec!["/status"]),
        (json!({ "status": null }), vec!["/status"]),
        (json!({ "role": null, "status": 1 }), vec!["/status", "/role"]),
        (json!({ "role": "root", "email": "eve@example.com" }), vec!["/role", "/email"]),
        (json!({ "activated_at": null }), vec!["/activated_at"]),
        (json!("disabled"), vec![""]),
    ] {
        let refused = service.patch_user(&ada, change.clone()).await;
        assert_eq!((refused.outcome(), refused.pointers()), ((422, "invalid-field"), pointers), "{change}");
    }
}

#[tokio::test]
async fn an_admin_cannot_change_a_pending_registration_but_can_delete_it_with_its_code() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let ada = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    for change in [json!({ "status": "active" }), json!({ "status": "disabled" }), json!({ "role": "admin" })] {
        assert_eq!(service.patch_user(&ada, change).await.outcome(), (409, "not-active"));
    }
    service.wait_for_empty_outbox().await;
    assert_eq!(service.delete_user(&ada).await.status, 204);
    assert_eq!(service.delete_user(&ada).await.outcome(), (404, "user-not-found"));
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (401, "unauthenticated"));
    let code_exists: bool = service.redis(&["EXISTS", &service.redis_key("code", &ada)]).await;
    assert!(!code_exists);

    let bob = service.register_active("bob@example.com").await;
    assert_eq!(service.patch_user(&bob, json!({ "status": "disabled" })).await.status, 200);
    assert_eq!(service.delete_user(&bob).await.status, 204, "an admin can delete a disabled account");
}

#[tokio::test]
async fn the_last_active_admin_cannot_be_demoted_disabled_or_deleted() {
    let service = Service::start().await;
    let admin = service.create_admin(ADMIN).await;
    let disabled = service.create_admin("closed@example.com").await;
    assert_eq!(service.patch_user(&disabled, json!({ "status": "disabled" })).await.status, 200);
    for change in [json!({ "role": "user" }), json!({ "status": "disabled" })] {
        assert_eq!(service.patch_user(&admin, change).await.outcome(), (409, "last-admin"));
    }
    assert_eq!(service.delete_user(&admin).await.outcome(), (409, "last-admin"));
    assert_eq!(service.delete(ADMIN, PASSWORD).await.outcome(), (409, "last-admin"));
    assert_eq!(service.patch_user(&admin, json!({ "role": "admin", "status": "active" })).await.status, 200);
    assert_eq!(service.patch_user(&disabled, json!({ "status": "active" })).await.status, 200);
    assert_eq!(service.delete(ADMIN, PASSWORD).await.status, 204);
}

#[tokio::test]
async fn one_admin_remains_when_admins_remove_each_other_concurrently() {
    let service = Service::start().await;
    let emails: Vec<String> = (0..4).map(|n| format!("admin{n}@example.com")).collect();
    let mut admins = vec![];
    for email in &emails {
        admins.push(service.create_admin(email).await);
    }
    for change in [json!({ "role": "user" }), json!({ "status": "disabled" }), Value::Null] {
        // Each admin removes the next one. `null` stands for DELETE.
        let removals = concurrently(4, |n| {
            let path = format!("/v1/users/{}", admins[(n + 1) % 4]);
            let method = if change.is_null() { Method::DELETE } else { Method::PATCH };
            let request = service.request(method, &path).basic_auth(&emails[n], Some(PASSWORD));
            Answer::of(if change.is_null() { request } else { request.json(&change) })
        })
        .await;
        let active_admins: Vec<String> =
            sqlx::query_scalar("SELECT id::text FROM users WHERE role = 'admin' AND status = 'active'")
                .fetch_all(&service.db)
                .await
                .unwrap();
        assert!(!active_admins.is_empty(), "{removals:?}");
        for removal in removals {
            let outcome = removal.outcome();

            // An admin who was removed before its own request gets one of the other refusals.
            let refusals =
                [(409, "last-admin"), (403, "forbidden"), (403, "account-disabled"), (401, "unauthenticated")];
            assert!(removal.status.is_success() || refusals.contains(&outcome), "{outcome:?}");
        }
        sqlx::query("UPDATE users SET role = 'admin', status = 'active'").execute(&service.db).await.unwrap();
    }
}

impl Service {
    async fn activate_user(&self, id: &str) -> Answer {
        self.request_as(ADMIN, Method::POST, &format!("/v1/users/{id}/activation")).await
    }

    async fn resend_code_of(&self, id: &str) -> Answer {
        self.request_as(ADMIN, Method::POST, &format!("/v1/users/{id}/verification-code")).await
    }
}

#[tokio::test]
async fn an_admin_activates_a_pending_user_who_keeps_the_password() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let active = service.activate_user(&id).await;
    assert_eq!((active.status.as_u16(), &active.body["status"]), (200, &"active".into()));
    assert_eq!(service.me(ADA, PASSWORD).await.body, active.body);
    let mail = service.wait_for_mail(ADA, 2).await;
    assert!(mail.contains("The people who run Sixty have activated your account"), "{mail}");
    let live: bool = service.redis(&["EXISTS", &service.redis_key("code", &id)]).await;
    assert!(!live, "the code is discarded");
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (409, "already-active"));

    assert_eq!(service.activate_user(&id).await.outcome(), (409, "already-active"));
    assert_eq!(service.resend_code_of(&id).await.outcome(), (409, "already-active"));
    // The registration of an address that has an account can never become one.
    service.age_grants(Duration::from_secs(60)).await;
    let shadow = service.register_pending(ADA).await;
    assert_eq!(service.activate_user(&shadow).await.outcome(), (409, "email-taken"));
    assert_eq!(service.resend_code_of(&shadow).await.outcome(), (409, "email-taken"));
    for unknown in [UNKNOWN_ID, "x"] {
        assert_eq!(service.activate_user(unknown).await.outcome(), (404, "user-not-found"));
        assert_eq!(service.resend_code_of(unknown).await.outcome(), (404, "user-not-found"));
    }
}

#[tokio::test]
async fn an_admin_requests_another_code_within_the_pacing_of_the_address() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let id = service.register_pending(ADA).await;
    service.wait_for_code(ADA, 1).await;
    let too_soon = service.resend_code_of(&id).await;
    assert_eq!(too_soon.outcome(), (429, "too-many-codes"));
    service.age_grants(Duration::from_secs(60)).await;
    let queued = service.resend_code_of(&id).await;
    assert_eq!((queued.status.as_u16(), &queued.body), (202, &json!({ "retry_after": 120 })));
    assert_eq!(service.resend(ADA, PASSWORD).await.outcome(), (429, "too-many-codes"));
    let code = service.wait_for_code(ADA, 2).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.body["id"], id.as_str());
}

#[tokio::test]
async fn one_of_eight_concurrent_activations_by_admins_and_by_code_succeeds() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let answers = concurrently(8, |n| {
        let (path, email) = match n % 2 {
            0 => (format!("/v1/users/{id}/activation"), ADMIN),
            _ => ("/v1/users/me/activation".to_owned(), ADA),
        };
        let request = service.request(Method::POST, &path).basic_auth(email, Some(PASSWORD));
        Answer::of(if n % 2 == 0 { request } else { request.json(&json!({ "code": code })) })
    })
    .await;
    let outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    assert_eq!(outcomes.iter().filter(|(status, _)| *status == 200).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| [(200, ""), (409, "already-active")].contains(outcome)), "{outcomes:?}");
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mails(ADA).await.len(), 2, "one mail tells of the activation");
}

#[tokio::test]
async fn only_admins_activate_users_and_request_their_codes() {
    let service = Service::start().await;
    service.create_admin(ADMIN).await;
    service.register_active("bob@example.com").await;
    let id = service.register_pending(ADA).await;
    for id in [id.as_str(), UNKNOWN_ID, "x"] {
        for step in ["activation", "verification-code"] {
            let path = format!("/v1/users/{id}/{step}");
            for email in [ADA, "bob@example.com"] {
                let refused = service.request_as(email, Method::POST, &path).await;
                assert_eq!(refused.outcome(), (403, "forbidden"), "{path}");
            }
            let without = Answer::of(service.request(Method::POST, &path)).await;
            assert_eq!(without.outcome(), (401, "unauthenticated"));
        }
    }
    assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "pending");
}
