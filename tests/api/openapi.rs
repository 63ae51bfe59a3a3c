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
            let is_html_page =
                ["showNotMe", "disownRegistration"].contains(&id) && response["content"]["text/html"].is_object();
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert!(is_html_page || schema == "#/components/schemas/Problem", "{id} {status}");
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
            "changePassword",
            "deleteCurrentUser",
            "deleteUser",
            "disownRegistration",
            "getCurrentUser",
            "getDocs",
            "getLiveness",
            "getOpenapiJson",
            "getOpenapiYaml",
            "getProblem",
            "getReadiness",
            "getUser",
            "listUsers",
            "registerUser",
            "resendCode",
            "showNotMe",
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

#[tokio::test]
async fn secret_properties_are_write_only_and_of_format_password() {
    let document = document();
    let mut secrets = vec![];
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
            if ["password", "code"].contains(&property.as_str()) {
                assert_eq!((&schema["format"], &schema["writeOnly"]), (&json!("password"), &json!(true)));
                secrets.push(format!("{name}.{property}"));
            }
        }
    }
    secrets.sort_unstable();
    assert_eq!(secrets, ["ActivateUser.code", "ChangePassword.password", "RegisterUser.password"]);
}

#[tokio::test]
async fn the_document_contains_the_configured_contact_and_server() {
    let flags = ["--public-url=https://api.example.com/sixty/", "--contact=help@example.com"];
    let service = Service::start_with(&flags).await;
    let document = Answer::of(service.request(Method::GET, "/openapi.json")).await.body;
    assert_eq!(document["servers"], json!([{ "url": "https://api.example.com/sixty" }]));
    assert_eq!(document["info"]["contact"]["email"], "help@example.com");
    let page = service.request(Method::GET, "/docs").send().await.unwrap().text().await.unwrap();
    assert!(page.contains(r#""url": "/sixty""#), "the docs page must send its requests to the path of the public URL");
}
