//! The OpenAPI document says what the service does.

use serde_json::Value;

#[tokio::test]
async fn the_committed_document_is_the_codes() {
    let committed = include_str!("../../docs/openapi.json");
    let same = committed == sixty::app::document().json();
    assert!(same, "the document has changed; accept it by: cargo run -- openapi > docs/openapi.json");
}

#[tokio::test]
async fn every_operation_declares_its_security_and_its_problems() {
    let document: Value = serde_json::from_str(&sixty::app::document().json()).unwrap();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let mut ids = vec![];
    for operation in operations {
        ids.push(operation["operationId"].as_str().unwrap());
        let basic = !operation["security"].as_array().unwrap().is_empty();
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(responses.contains_key("401"), basic);
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{status}");
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
            "getCurrentUser",
            "getUser",
            "listUsers",
            "registerUser",
            "resendCode",
            "updateUser"
        ]
    );
}
