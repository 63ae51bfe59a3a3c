//! Completes operations: problems, parameters, response headers, links and examples.

use serde_json::{Map, Value, json};

use super::schemas::{self, EMAIL_FORMAT};
use crate::domain::email;
use crate::domain::policy::Policy;
use crate::http::accept_language;
use crate::http::list_query;
use crate::http::problem::{CHALLENGE, MEDIA_TYPE, Problem};
use crate::http::problem_type::ProblemType;
use crate::http::registration_ticket;

const CHALLENGE_DESCRIPTION: &str = "HTTP Basic authentication in UTF-8 (RFC 7617). For a web page's script the scheme is xBasic, which browsers ignore.";
/// Problem types of every operation with a request body.
const BODY: [ProblemType; 4] = [
    ProblemType::MalformedRequest,
    ProblemType::PayloadTooLarge,
    ProblemType::UnsupportedMediaType,
    ProblemType::InvalidField,
];
/// Problem types of every operation that requires credentials.
const AUTH: [ProblemType; 3] =
    [ProblemType::Unauthenticated, ProblemType::AccountDisabled, ProblemType::TooManyRequests];
/// Problem types of every operation that uses the stores.
const STORES: [ProblemType; 2] = [ProblemType::Internal, ProblemType::Unavailable];
/// Problem types of every operation without a request body, if the client sends a body.
const NO_BODY: [ProblemType; 2] = [ProblemType::MalformedRequest, ProblemType::PayloadTooLarge];

/// The operations with a quota per client network.
const RATE_LIMITED: [&str; 8] = [
    "registerUser",
    "activateUser",
    "resendCode",
    "changePassword",
    "requestPasswordReset",
    "resetPassword",
    "changeEmail",
    "confirmEmail",
];
/// Headers of their responses: name, description, example.
const RATE_LIMIT_HEADERS: [(&str, &str, &str); 2] = [
    (
        "RateLimit-Policy",
        "The quota of the client's network (draft-ietf-httpapi-ratelimit-headers): its name, q units per window of w \
         seconds. Absent if the request consumed no unit.",
        "\"codes\";q=100;w=3600",
    ),
    (
        "RateLimit",
        "The remaining quota: r units; the next unit is available in t seconds. Present with RateLimit-Policy.",
        "\"codes\";r=99;t=36",
    ),
];

/// An OpenAPI link: a value in the response of `listUsers` that is a parameter of another operation.
struct Link {
    name: &'static str,
    description: &'static str,
    operation_id: &'static str,
    parameter: &'static str,
    value: &'static str,
}

const fn link_to_user(operation_id: &'static str) -> Link {
    let (description, value) = ("A user of the page.", "$response.body#/items/0/id");
    Link { name: operation_id, description, operation_id, parameter: "id", value }
}

const LIST_USERS_LINKS: [Link; 6] = [
    Link {
        name: "nextPage",
        description: "The next page, if there is one.",
        operation_id: "listUsers",
        parameter: "cursor",
        value: "$response.body#/next_cursor",
    },
    link_to_user("getUser"),
    link_to_user("updateUser"),
    link_to_user("deleteUser"),
    link_to_user("activateUserAsAdmin"),
    link_to_user("resendCodeAsAdmin"),
];

/// The problems that each operation below `/v1` can return. The API tests check every response against this table.
fn problems(operation_id: &str) -> Vec<Problem> {
    let groups: &[&[ProblemType]] = match operation_id {
        "registerUser" => &[
            &BODY,
            &STORES,
            &[
                ProblemType::RegistrationClosed,
                ProblemType::EmailTaken,
                ProblemType::TooManyCodes,
                ProblemType::TooManyRequests,
            ],
        ],
        "activateUser" => &[
            &BODY,
            &AUTH,
            &STORES,
            &[
                ProblemType::AlreadyActive,
                ProblemType::EmailTaken,
                ProblemType::CodeExpired,
                ProblemType::IncorrectCode,
            ],
        ],
        "resendCode" => &[&NO_BODY, &AUTH, &STORES, &[ProblemType::AlreadyActive, ProblemType::TooManyCodes]],
        "changePassword" => &[&BODY, &AUTH, &STORES, &[ProblemType::NotActive]],
        "changeEmail" => &[&BODY, &AUTH, &STORES, &[ProblemType::NotActive, ProblemType::TooManyCodes]],
        "confirmEmail" => &[
            &BODY,
            &AUTH,
            &STORES,
            &[ProblemType::NotActive, ProblemType::EmailTaken, ProblemType::CodeExpired, ProblemType::IncorrectCode],
        ],
        "requestPasswordReset" => &[&BODY, &STORES, &[ProblemType::TooManyCodes, ProblemType::TooManyRequests]],
        "resetPassword" => {
            &[&BODY, &STORES, &[ProblemType::CodeExpired, ProblemType::IncorrectCode, ProblemType::TooManyRequests]]
        }
        "checkCredentials" => {
            let problems = examples(&[&NO_BODY[..], &AUTH, &STORES].concat());
            return [problems, vec![Problem::not_active_for_gateway()]].concat();
        }
        "updateCurrentUser" => &[&BODY, &AUTH, &STORES],
        "getCurrentUser" => &[&NO_BODY, &AUTH, &STORES],
        "deleteCurrentUser" => &[&NO_BODY, &AUTH, &STORES, &[ProblemType::LastAdmin]],
        "listUsers" => &[&NO_BODY, &AUTH, &STORES, &[ProblemType::Forbidden, ProblemType::InvalidField]],
        "getUser" => &[&NO_BODY, &AUTH, &STORES, &[ProblemType::Forbidden, ProblemType::UserNotFound]],
        "updateUser" => &[
            &BODY,
            &AUTH,
            &STORES,
            &[ProblemType::Forbidden, ProblemType::UserNotFound, ProblemType::NotActive, ProblemType::LastAdmin],
        ],
        "activateUserAsAdmin" => &[
            &NO_BODY,
            &AUTH,
            &STORES,
            &[ProblemType::Forbidden, ProblemType::UserNotFound, ProblemType::AlreadyActive, ProblemType::EmailTaken],
        ],
        "resendCodeAsAdmin" => &[
            &NO_BODY,
            &AUTH,
            &STORES,
            &[
                ProblemType::Forbidden,
                ProblemType::UserNotFound,
                ProblemType::AlreadyActive,
                ProblemType::EmailTaken,
                ProblemType::TooManyCodes,
            ],
        ],
        "deleteUser" => {
            &[&NO_BODY, &AUTH, &STORES, &[ProblemType::Forbidden, ProblemType::UserNotFound, ProblemType::LastAdmin]]
        }
        other => unreachable!("no problem types for the operation {other}; add them here"),
    };
    examples(&groups.concat())
}

fn examples(problem_types: &[ProblemType]) -> Vec<Problem> {
    problem_types.iter().copied().map(Problem::example).collect()
}

/// Completes an operation below `/v1`, which the framework has declared.
pub fn complete_api(operation: &mut Value, policy: &Policy) {
    let id = operation["operationId"].as_str().expect("every operation has an id").to_owned();
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        // Of no meaning for a text, and unknown to some generators.
        parameter.as_object_mut().expect("a parameter is an object").remove("explode");
        let name = parameter["name"].as_str().expect("every parameter has a name");
        let (schema, example) = parameter_schema(name);
        (parameter["schema"], parameter["example"]) = (schema, example);
    }
    if let Some(body) = operation.pointer_mut("/requestBody/content/application~1json") {
        let reference = body["schema"]["$ref"].as_str().expect("request bodies have named schemas");
        let name = reference.rsplit('/').next().expect("a reference has a last segment");
        body["example"] = schemas::request_example(name, policy);
    }
    let responses = operation["responses"].as_object_mut().expect("every operation has responses");
    for response in responses.values_mut() {
        if let Some(media) = response.pointer_mut("/content/application~1json") {
            media["example"] = schemas::response_example(&id);
        }
        if let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) {
            *headers =
                std::mem::take(headers).into_iter().map(|(name, header)| complete_header(&name, header)).collect();
        }
    }
    if id == "listUsers" {
        for Link { name, description, operation_id, parameter, value } in LIST_USERS_LINKS {
            responses["200"]["links"][name] =
                json!({ "description": description, "operationId": operation_id, "parameters": { parameter: value } });
        }
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
    complete(operation, examples(&[&NO_BODY, problems].concat()));
}

/// Adds what all operations declare: a description, the security requirement, the problems, and `X-Request-Id`.
fn complete(operation: &mut Value, mut problems: Vec<Problem>) {
    if operation.get("description").is_none() {
        operation["description"] = operation["summary"].clone();
    }
    if operation.get("security").is_none() {
        // An empty list is explicit: this operation is public. An absent one looks like an oversight.
        operation["security"] = json!([]);
    }
    let responses = operation["responses"].as_object_mut().expect("every operation has responses");
    problems.sort_by_key(Problem::status);
    for same_status in problems.chunk_by(|a, b| a.status() == b.status()) {
        responses.insert(same_status[0].status().as_str().to_owned(), problem_response(same_status));
    }
    for response in responses.values_mut() {
        let description =
            "The id of this request in the service's log: the client's own X-Request-Id, if it sent a valid one.";
        let schema = json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$" });
        response["headers"]["X-Request-Id"] =
            required_header(description, schema, "7f3b2f0e-0c1e-4a52-9d37-0d6b0a1c2e4f");
    }
}

/// The schema and an example of a parameter. The framework declares all parameters as strings: the handlers parse them, to
/// report what is invalid.
fn parameter_schema(name: &str) -> (Value, Value) {
    match name {
        "id" => (json!({ "type": "string", "format": "uuid" }), json!(schemas::USER_ID)),
        "status" => (json!({ "$ref": "#/components/schemas/Status" }), json!("pending")),
        "email" => {
            let schema = json!({ "type": "string", "format": EMAIL_FORMAT, "maxLength": email::MAX_OCTETS });
            (schema, json!("ada@example.com"))
        }
        "email_prefix" => (json!({ "type": "string", "minLength": 1, "maxLength": email::MAX_OCTETS }), json!("ada")),
        "domain" => (json!({ "type": "string", "minLength": 1, "maxLength": email::MAX_OCTETS }), json!("example.com")),
        "limit" => {
            let (maximum, default) = (list_query::MAX_LIMIT, list_query::DEFAULT_LIMIT);
            let schema = json!({
                "type": "integer", "format": "int32", "minimum": 1, "maximum": maximum, "default": default,
            });
            (schema, json!(50))
        }
        registration_ticket::NAME => {
            (json!({ "type": "string", "pattern": "^[a-p]{32}$" }), json!(registration_ticket::EXAMPLE))
        }
        accept_language::NAME => (json!({ "type": "string" }), json!("fr-CH, fr;q=0.9, en;q=0.8")),
        "cursor" => (json!({ "type": "string" }), json!(schemas::CURSOR)),
        other => unreachable!("no schema for the parameter {other}; add one here"),
    }
}

/// Completes a response header that the framework has declared. The framework declares all headers as strings.
fn complete_header(name: &str, mut header: Value) -> (String, Value) {
    let name = title_case(name);
    let (schema, example) = match &*name {
        "X-User-Id" => (json!({ "type": "string", "format": "uuid" }), json!(schemas::USER_ID)),
        "X-User-Email" => (json!({ "type": "string" }), json!("ada@example.com")),
        "X-User-Role" => (json!({ "$ref": "#/components/schemas/Role" }), json!("user")),
        "Location" => (json!({ "type": "string", "format": "uri-reference" }), json!("/v1/users/me")),
        other => unreachable!("no schema for the response header {other}; add one here"),
    };
    header.as_object_mut().expect("a header is an object").remove("deprecated");
    (header["schema"], header["example"]) = (schema, example);
    (name, header)
}

/// A response header that is always present.
fn required_header(description: &str, schema: Value, example: impl Into<Value>) -> Value {
    json!({ "description": description, "required": true, "schema": schema, "example": example.into() })
}

/// The response for all problems with the same status.
fn problem_response(problems: &[Problem]) -> Value {
    let describe =
        |problem: &Problem| format!("`{}`: {}.", problem.problem_type().name(), problem.problem_type().title());
    let descriptions: Vec<String> = problems.iter().map(describe).collect();
    let example = |problem: &Problem| {
        let problem_type = problem.problem_type();
        let example = json!({ "summary": problem_type.title(), "value": problem.to_json() });
        (problem_type.name().to_owned(), example)
    };
    let examples: Map<String, Value> = problems.iter().map(example).collect();
    let mut response = json!({
        "description": descriptions.join(" "),
        "content": { MEDIA_TYPE: {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "examples": examples,
        } },
    });
    let string = || json!({ "type": "string" });
    match problems[0].status().as_u16() {
        401 => {
            let challenge = required_header(CHALLENGE_DESCRIPTION, string(), CHALLENGE);
            response["headers"] = json!({ "WWW-Authenticate": challenge });
        }
        415 => {
            response["headers"] = json!({
                "Accept": required_header("The supported media type of request bodies.", string(), "application/json"),
                "Accept-Encoding": required_header("Compressed request bodies are not supported.", string(), "identity"),
            });
        }
        429 | 503 => {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            response["headers"] = json!({ "Retry-After": required_header("Seconds to wait.", seconds, 42) });
        }
        _ => {}
    }
    response
}

/// Converts the framework's `LOCATION` to the usual `Location`.
fn title_case(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest.to_lowercase().as_str()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_headers_of_system_routes_keep_their_schema_and_example() {
        let header = |schema, example: Value| json!({ "required": true, "schema": schema, "example": example });
        let headers = [
            ("Vary", header(json!({ "type": "string" }), json!("Accept"))),
            ("Retry-After", header(json!({ "type": "integer", "minimum": 1 }), json!(42))),
        ];
        for (name, header) in headers {
            let mut operation = json!({ "summary": "s", "responses": { "200": { "headers": { name: header } } } });
            complete_system(&mut operation, &[]);
            assert_eq!(operation["responses"]["200"]["headers"][name], header);
        }
    }

    #[test]
    fn location_headers_are_uri_references() {
        let framework = json!({ "description": "The path.", "required": true, "deprecated": false, "schema": {} });
        let (name, header) = complete_header("LOCATION", framework);
        assert_eq!(name, "Location");
        assert_eq!(header["schema"]["format"], "uri-reference");
        assert_eq!((&header["example"], header.get("deprecated")), (&json!("/v1/users/me"), None));
    }
}
