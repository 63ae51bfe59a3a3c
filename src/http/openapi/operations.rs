//! What is said of each operation: its problems, parameters, headers and examples.

use serde_json::{Map, Value, json};

use super::schemas::{self, EMAIL_FORMAT};
use crate::domain::email;
use crate::http::admin;
use crate::http::problem::{CHALLENGE, MEDIA_TYPE, Problem};
use crate::http::problem_type::ProblemType;

/// What any operation that takes a body can answer, besides its own.
const BODY: [ProblemType; 4] = [
    ProblemType::MalformedRequest,
    ProblemType::PayloadTooLarge,
    ProblemType::UnsupportedMediaType,
    ProblemType::InvalidField,
];
/// What any operation that asks for credentials can answer.
const AUTH: [ProblemType; 3] =
    [ProblemType::Unauthenticated, ProblemType::AccountDisabled, ProblemType::TooManyRequests];
/// What any operation on the stores can answer.
const ANY: [ProblemType; 2] = [ProblemType::Internal, ProblemType::Unavailable];
/// What an operation without a body can answer to one that is sent all the same.
const NO_BODY: [ProblemType; 2] = [ProblemType::MalformedRequest, ProblemType::PayloadTooLarge];

/// The operations that are counted by client network, and what their answers may say of it.
const RATE_LIMITED: [&str; 4] = ["registerUser", "activateUser", "resendCode", "changePassword"];
const RATE_LIMIT_HEADERS: [(&str, &str, &str); 2] = [
    (
        "RateLimit-Policy",
        "What the client's network may do (draft-ietf-httpapi-ratelimit-headers): a quota q for a window of w seconds, \
         and what is counted. Absent when nothing was counted.",
        "\"codes\";q=100;w=3600",
    ),
    (
        "RateLimit",
        "What is left of it: r, and more in t seconds. There when RateLimit-Policy is.",
        "\"codes\";r=99;t=36",
    ),
];

/// What leads from one answer to the next request: the operation that answers, the link's name and description, the
/// operation that is asked, its parameter, and where the value is.
const LINKS: [(&str, &str, &str, &str, &str, &str); 4] = [
    ("listUsers", "nextPage", "The next page, if there is one.", "listUsers", "cursor", "$response.body#/next_cursor"),
    ("listUsers", "getUser", "A user of the page.", "getUser", "id", "$response.body#/items/0/id"),
    ("listUsers", "updateUser", "A user of the page.", "updateUser", "id", "$response.body#/items/0/id"),
    ("listUsers", "deleteUser", "A user of the page.", "deleteUser", "id", "$response.body#/items/0/id"),
];

/// The one table of who answers with what; the tests hold every answer that they see to it.
fn problems(operation_id: &str) -> Vec<ProblemType> {
    let groups: &[&[ProblemType]] = match operation_id {
        "registerUser" => {
            &[&BODY, &ANY, &[ProblemType::EmailTaken, ProblemType::TooManyCodes, ProblemType::TooManyRequests]]
        }
        "activateUser" => {
            &[&BODY, &AUTH, &ANY, &[ProblemType::AlreadyActive, ProblemType::CodeExpired, ProblemType::IncorrectCode]]
        }
        "resendCode" => &[&NO_BODY, &AUTH, &ANY, &[ProblemType::AlreadyActive, ProblemType::TooManyCodes]],
        "changePassword" => &[&BODY, &AUTH, &ANY, &[ProblemType::NotActive]],
        "getCurrentUser" => &[&NO_BODY, &AUTH, &ANY],
        "deleteCurrentUser" => &[&NO_BODY, &AUTH, &ANY, &[ProblemType::LastAdmin]],
        "listUsers" => &[&NO_BODY, &AUTH, &ANY, &[ProblemType::Forbidden, ProblemType::InvalidField]],
        "getUser" => &[&NO_BODY, &AUTH, &ANY, &[ProblemType::Forbidden, ProblemType::UserNotFound]],
        "updateUser" => &[
            &BODY,
            &AUTH,
            &ANY,
            &[ProblemType::Forbidden, ProblemType::UserNotFound, ProblemType::NotActive, ProblemType::LastAdmin],
        ],
        "deleteUser" => {
            &[&NO_BODY, &AUTH, &ANY, &[ProblemType::Forbidden, ProblemType::UserNotFound, ProblemType::LastAdmin]]
        }
        other => unreachable!("the problems of {other} are not in the table"),
    };
    groups.iter().copied().flatten().copied().collect()
}

/// Completes an operation below `/v1`, which the framework has declared.
pub fn complete_api(operation: &mut Value) {
    let id = operation["operationId"].as_str().expect("every operation has an id").to_owned();
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = parameter["name"].as_str().expect("every parameter has a name");
        let (schema, example) = parameter_schema(name);
        (parameter["schema"], parameter["example"]) = (schema, example);
    }
    if let Some(body) = operation.pointer_mut("/requestBody/content/application~1json") {
        let reference = body["schema"]["$ref"].as_str().expect("request bodies have named schemas");
        let name = reference.rsplit('/').next().expect("a reference has a last segment");
        body["example"] = schemas::request_example(name);
    }
    let responses = operation["responses"].as_object_mut().expect("every operation has responses");
    for response in responses.values_mut() {
        if let Some(media) = response.pointer_mut("/content/application~1json") {
            media["example"] = schemas::response_example(&id);
        }
    }
    for (_, name, description, target, parameter, value) in LINKS.iter().filter(|link| link.0 == id) {
        responses["200"]["links"][*name] =
            json!({ "description": description, "operationId": target, "parameters": { *parameter: value } });
    }
    complete(operation, problems(&id));
    if RATE_LIMITED.contains(&&*id) {
        for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            for (name, description, example) in RATE_LIMIT_HEADERS {
                response["headers"][name] =
                    json!({ "description": description, "schema": { "type": "string" }, "example": example });
            }
        }
    }
}

/// Completes an operation of the system routes.
pub fn complete_system(operation: &mut Value, problems: &[ProblemType]) {
    complete(operation, [&NO_BODY, problems].concat());
}

/// Adds what all operations declare: a description, the security requirement, the problems, and `X-Request-Id`.
fn complete(operation: &mut Value, mut problems: Vec<ProblemType>) {
    if operation.get("description").is_none() {
        operation["description"] = operation["summary"].clone();
    }
    if operation.get("security").is_none() {
        // An empty list is explicit: this operation is public. An absent one looks like an oversight.
        operation["security"] = json!([]);
    }
    let responses = operation["responses"].as_object_mut().expect("every operation has responses");
    for headers in responses.values_mut().filter_map(|response| response.get_mut("headers")?.as_object_mut()) {
        *headers = std::mem::take(headers).into_iter().map(|(name, header)| (title_case(&name), header)).collect();
        for header in headers.values_mut().filter_map(Value::as_object_mut) {
            header.remove("deprecated");
            header.insert("example".to_owned(), json!("/v1/users/me"));
            header.insert("schema".to_owned(), json!({ "type": "string", "format": "uri-reference" }));
        }
    }
    problems.sort_by_key(|problem_type| problem_type.status());
    for same_status in problems.chunk_by(|a, b| a.status() == b.status()) {
        responses.insert(same_status[0].status().as_str().to_owned(), problem_response(same_status));
    }
    for response in responses.values_mut() {
        let description =
            "The id of this request in the service's log: the client's own X-Request-Id, if it sent a valid one.";
        let schema = json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$" });
        response["headers"]["X-Request-Id"] = always(description, schema, "7f3b2f0e-0c1e-4a52-9d37-0d6b0a1c2e4f");
    }
}

/// What a parameter must hold (operations take any text, to say what is wrong with it), and an example.
fn parameter_schema(name: &str) -> (Value, Value) {
    match name {
        "id" => (json!({ "type": "string", "format": "uuid" }), json!(schemas::USER_ID)),
        "status" => (json!({ "type": "string", "enum": ["pending", "active", "disabled"] }), json!("pending")),
        "email" => {
            let schema = json!({ "type": "string", "format": EMAIL_FORMAT, "maxLength": email::MAX_OCTETS });
            (schema, json!("ada@example.com"))
        }
        "limit" => {
            let (most, default) = (admin::MAX_LIMIT, admin::DEFAULT_LIMIT);
            let schema = json!({
                "type": "integer", "format": "int32", "minimum": 1, "maximum": most, "default": default,
            });
            (schema, json!(50))
        }
        "cursor" => (json!({ "type": "string" }), json!(schemas::CURSOR)),
        other => unreachable!("the parameter {other} has no schema"),
    }
}

/// A response header that is always there.
fn always(description: &str, schema: Value, example: impl Into<Value>) -> Value {
    json!({ "description": description, "required": true, "schema": schema, "example": example.into() })
}

/// One response for all problems of a status.
fn problem_response(kinds: &[ProblemType]) -> Value {
    let described: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.name(), kind.title())).collect();
    let example = |kind: &ProblemType| {
        let example = json!({ "summary": kind.title(), "value": Problem::example(*kind).to_json() });
        (kind.name().to_owned(), example)
    };
    let examples: Map<String, Value> = kinds.iter().map(example).collect();
    let mut response = json!({
        "description": described.join(" "),
        "content": { MEDIA_TYPE: {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "examples": examples,
        } },
    });
    let text = || json!({ "type": "string" });
    match kinds[0].status().as_u16() {
        401 => {
            let challenge = always("Basic, in UTF-8 (RFC 7617).", text(), CHALLENGE);
            response["headers"] = json!({ "WWW-Authenticate": challenge });
        }
        415 => {
            response["headers"] = json!({
                "Accept": always("The media type of bodies.", text(), "application/json"),
                "Accept-Encoding": always("Bodies are not compressed.", text(), "identity"),
            });
        }
        429 | 503 => {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            response["headers"] = json!({ "Retry-After": always("Seconds to wait.", seconds, 42) });
        }
        _ => {}
    }
    response
}

/// The framework writes `LOCATION`; readers expect `Location`.
fn title_case(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + &rest.to_lowercase()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
