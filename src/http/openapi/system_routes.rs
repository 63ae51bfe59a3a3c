//! The routes beside the API: documents, pages, probes. They are not the framework's, so what is known of them stands here.

use serde_json::{Map, Value, json};

/// All of them, by operation.
pub const OPERATIONS: [&str; 8] = [
    "getOpenapiJson",
    "getOpenapiYaml",
    "getDocs",
    "getProblem",
    "showNotMe",
    "disownRegistration",
    "getLiveness",
    "getReadiness",
];

const NOT_ME: &str = "The token of a mail. Whoever has it may press the button.";

pub fn tag() -> Value {
    json!({ "name": "Service", "description": "What the service says of itself, and the page that its mails lead to." })
}

pub fn paths() -> Map<String, Value> {
    let get = |id: &str, summary: &str, responses: Value| json!({ "get": operation(id, summary, responses) });
    let mut problem = get(
        "getProblem",
        "Read what a problem means",
        json!({ "200": {
        "description": "What it means and what to do; as a page for who accepts text/html.",
        "headers": { "Vary": { "description": "Accept", "required": true, "schema": { "type": "string" } } },
        "content": {
            "application/json": { "schema": { "$ref": "#/components/schemas/ProblemDescription" } },
            "text/html": { "schema": { "type": "string" } },
        },
    } }),
    );
    problem["get"]["parameters"] = json!([path("name", "The problem's name, the last segment of its type.")]);
    let gone = page("The link works no more.");
    let (no_link, not_now) = (page("The link is not complete."), page("It could not be done just now."));
    let mut wait = not_now.clone();
    wait["headers"] = json!({ "Retry-After": {
        "description": "Seconds to wait.", "required": true, "schema": { "type": "integer", "minimum": 1 },
    } });
    let mut shown = operation(
        "showNotMe",
        "Show the page “Was it not you?”",
        json!({
            "200": page("The page with the button. Nothing is looked up."),
            "404": no_link,
        }),
    );
    let mut disowned = operation(
        "disownRegistration",
        "Delete a registration that was somebody else's",
        json!({
            "200": page("The registration is deleted."),
            "404": no_link,
            "410": gone,
            "500": not_now,
            "503": wait,
        }),
    );
    for operation in [&mut shown, &mut disowned] {
        operation["parameters"] = json!([path("token", NOT_ME)]);
    }
    let not_me = json!({ "get": shown, "post": disowned });
    let paths = json!({
        "/openapi.json": get("getOpenapiJson", "Read this document", json!({ "200": {
            "description": "The document in JSON.",
            "content": { "application/json": { "schema": { "type": "object", "additionalProperties": true } } },
        } })),
        "/openapi.yaml": get("getOpenapiYaml", "Read this document in YAML", json!({ "200": {
            "description": "The document in YAML.",
            "content": { "application/yaml": { "schema": {} } },
        } })),
        "/docs": get("getDocs", "Try the operations in a browser", json!({ "200": page("The page.") })),
        "/problems/{name}": problem,
        "/not-me/{token}": not_me,
        "/livez": get("getLiveness", "Ask whether the process answers", json!({ "200": health("It does.") })),
        "/readyz": get("getReadiness", "Ask whether requests make sense", json!({
            "200": health("PostgreSQL and Redis answer, and the schema is applied."),
        })),
    });
    let Value::Object(paths) = paths else { unreachable!("written as one") };
    paths
}

fn operation(id: &str, summary: &str, responses: Value) -> Value {
    json!({ "tags": ["Service"], "summary": summary, "operationId": id, "responses": responses })
}

fn path(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description })
}

fn page(description: &str) -> Value {
    json!({ "description": description, "content": { "text/html": { "schema": { "type": "string" } } } })
}

fn health(description: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Health" });
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}
