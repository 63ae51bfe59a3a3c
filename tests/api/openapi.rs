//! The OpenAPI document: complete, current and as configured.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Service};

#[tokio::test]
async fn the_committed_document_equals_the_generated_one() {
    let committed = include_str!("../../docs/openapi.json");
    let is_current = committed == sixty::app::document().json();
    assert!(is_current, "docs/openapi.json is out of date; regenerate it: cargo run -- openapi > docs/openapi.json");
}

fn document() -> Value {
    serde_json::from_str(&sixty::app::document().json()).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
}

#[tokio::test]
async fn every_operation_declares_its_security_and_its_problem_types() {
    let document = document();
    let mut ids = vec![];
    for operation in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        ids.push(id);
        let requires_basic = !operation["security"].as_array().unwrap().is_empty();
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(responses.contains_key("401"), requires_basic);
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{id} {status}");
            let declares = |header: &str| response["headers"][header].is_object();
            assert!(declares("X-Request-Id"));
            match status.as_str() {
                "401" => assert!(declares("WWW-Authenticate")),
                "415" => assert!(declares("Accept")),
                "429" | "503" => assert!(declares("Retry-After"), "{id} {status}"),
                _ => {}
            }
        }
    }
    ids.sort_unstable();
    assert_eq!(
        ids,
        [
            "activateUser",
            "activateUserAsAdmin",
            "changeEmail",
            "changePassword",
            "checkCredentials",
            "confirmEmail",
            "deleteCurrentUser",
            "deleteUser",
            "getCurrentUser",
            "getLiveness",
            "getProblem",
            "getReadiness",
            "getUser",
            "listUsers",
            "registerUser",
            "requestPasswordReset",
            "resendCode",
            "resendCodeAsAdmin",
            "resetPassword",
            "updateCurrentUser",
            "updateUser"
        ]
    );
}

#[tokio::test]
async fn every_operation_has_a_summary_a_description_and_examples() {
    let document = document();
    for operation in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(operation["summary"].is_string() && operation["description"].is_string(), "{id}");
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(parameters.iter().all(|parameter| !parameter["example"].is_null()), "{id}");
        let bodies =
            [&operation["requestBody"]].into_iter().chain(operation["responses"].as_object().unwrap().values());
        for json in bodies.map(|body| &body["content"]["application/json"]).filter(|json| json.is_object()) {
            assert!(json["example"].is_object(), "{id}");
        }
    }
}

/// The schemas that have a name, with their names.
fn schemas(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["components"]["schemas"].as_object().unwrap().iter()
}

/// Calls `visit` with every object in the document and its JSON pointer.
fn for_each_object(value: &Value, pointer: &str, visit: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(pointer, members);
            for (name, value) in members {
                for_each_object(value, &format!("{pointer}/{name}"), visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| for_each_object(item, pointer, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_contains_no_page_and_not_itself() {
    let document = document();
    let outside: Vec<&String> =
        document["paths"].as_object().unwrap().keys().filter(|path| !path.starts_with("/v1/")).collect();
    assert_eq!(outside, ["/problems/{name}", "/livez", "/readyz"]);
}

/// Python generators turn `format: password` into a type whose JSON is asterisks. TypeScript generators leave members with
/// `writeOnly` out of request types.
#[tokio::test]
async fn no_schema_has_a_keyword_that_makes_clients_lose_a_password() {
    let document = document();
    for_each_object(&document, "", &mut |pointer, members| {
        assert!(members.get("format") != Some(&json!("password")), "{pointer}");
        assert!(!members.contains_key("writeOnly") && !members.contains_key("readOnly"), "{pointer}");
    });
    for (schema, member) in [("RegisterUser", "password"), ("ChangePassword", "password"), ("ActivateUser", "code")] {
        let schema = &document["components"]["schemas"][schema];
        assert!(schema["required"].as_array().unwrap().contains(&json!(member)));
        assert_eq!(schema["properties"][member]["type"], "string");
    }
}

#[tokio::test]
async fn members_that_may_be_null_are_not_required() {
    let document = document();
    let mut nullable = vec![];
    for (name, schema) in schemas(&document) {
        for (property, _) in
            schema["properties"].as_object().into_iter().flatten().filter(|(_, schema)| schema["nullable"] == true)
        {
            let is_required = schema["required"].as_array().is_some_and(|names| names.contains(&json!(property)));
            assert!(!is_required, "{name}.{property}");
            nullable.push(format!("{name}.{property}"));
        }
    }
    nullable.sort_unstable();
    assert_eq!(nullable, ["UpdateCurrentUser.locale", "User.activated_at", "User.locale", "UserList.next_cursor"]);
}

#[tokio::test]
async fn enums_are_named_and_every_property_has_an_example() {
    let document = document();
    for_each_object(&document, "", &mut |pointer, members| {
        let is_named = pointer.strip_prefix("/components/schemas/").is_some_and(|name| !name.contains('/'));
        assert!(!members.contains_key("enum") || (is_named && members.contains_key("example")), "{pointer}");
    });
    for (name, schema) in schemas(&document) {
        for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(schema.get("$ref").is_some() || !schema["example"].is_null(), "{name}.{property}");
        }
    }
    let listed = &document["paths"]["/v1/users"]["get"]["parameters"][0];
    assert_eq!((&listed["name"], &listed["schema"]["$ref"]), (&json!("status"), &json!("#/components/schemas/Status")));
}

/// A generated client contains a pattern as a literal: between slashes in Ruby and ECMAScript, where a slash ends it, and
/// in PHP, which compares octets, unless the generator asks for characters.
#[tokio::test]
async fn patterns_are_valid_literals_in_every_language() {
    let document = document();
    let mut patterns = vec![];
    for_each_object(&document, "", &mut |_, members| {
        patterns.extend(members.get("pattern").and_then(Value::as_str).map(str::to_owned));
    });
    assert!(patterns.len() > 3, "{patterns:?}");
    let high_octet = regex::Regex::new(r"\\x[89a-fA-F]|\\u|\\p").unwrap();
    for pattern in &patterns {
        assert!(pattern.is_ascii() && !pattern.contains('/') && !high_octet.is_match(pattern), "{pattern}");
    }
    let password = document["components"]["schemas"]["RegisterUser"]["properties"]["password"]["pattern"].clone();
    let by_octets = regex::bytes::Regex::new(&format!("(?-u){}", password.as_str().unwrap())).unwrap();
    for accepted in ["pässwört-lang", "ÉÉÉÉÉÉÉÉ", "пароль-длинный", "パスワードは長い"] {
        assert!(by_octets.is_match(accepted.as_bytes()), "{accepted}");
    }
    for refused in ["correct\0horse", "correct\nhorse", "correct\x7fhorse"] {
        assert!(!by_octets.is_match(refused.as_bytes()), "{refused:?}");
    }
}

#[tokio::test]
async fn the_document_contains_the_configured_contact_and_server() {
    let flags = ["--public-url=https://api.example.com/sixty/", "--contact=help@example.com"];
    let service = Service::start_with(&flags).await;
    let document = Answer::of(service.request(Method::GET, "/openapi.json")).await.body;
    assert_eq!(document["servers"], json!([{ "url": "https://api.example.com/sixty" }]));
    assert_eq!(document["info"]["contact"]["email"], "help@example.com");
    let (text, paths) = (document.to_string(), document["paths"].as_object().unwrap());
    assert!(
        text.contains("\"/sixty/problems/internal\"") && text.contains("\"example\":\"/sixty/v1/users/me\""),
        "{text}"
    );
    assert!(!text.contains("\":\"/problems/") && !text.contains("\":\"/v1/"), "{text}");
    assert!(paths.contains_key("/v1/users/me"), "the paths are relative to the server");
    let page = service.request(Method::GET, "/docs").send().await.unwrap().text().await.unwrap();
    assert!(page.contains(r#""url": "/sixty""#), "the docs page must send its requests to the path of the public URL");
}
