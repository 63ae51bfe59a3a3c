//! The OpenAPI document: what the framework derives from the code, completed by what it does not know.
//!
//! The framework declares no problem, no lack of security, and no closed schema; generators and testers need all three.
//! Which problems an operation answers with stands in one table here; the tests hold every answer they see to it.

use poem::http::Method;
use poem_openapi::{LicenseObject, OpenApi, OpenApiService};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::admin::{self, AdminApi};
use super::client_limits::ClientLimits;
use super::kind::Kind;
use super::problem::{MEDIA_TYPE, Problem};
use super::routes::Path;
use super::users::UsersApi;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::email;
use crate::domain::policy::Policy;

/// What any operation that takes a body can answer, besides its own.
const BODY: [Kind; 4] = [Kind::MalformedRequest, Kind::PayloadTooLarge, Kind::UnsupportedMediaType, Kind::InvalidField];
/// What any operation that asks for credentials can answer.
const AUTH: [Kind; 3] = [Kind::Unauthenticated, Kind::AccountDisabled, Kind::TooManyRequests];
/// What any operation can answer.
const ANY: [Kind; 2] = [Kind::Internal, Kind::Unavailable];
/// What an operation without a body can answer to one that is sent all the same.
const NO_BODY: [Kind; 2] = [Kind::MalformedRequest, Kind::PayloadTooLarge];

/// The operations that are counted by client network, and what their answers may say of it.
const LIMITED: [&str; 4] = ["registerUser", "activateUser", "resendCode", "changePassword"];
const RATE_LIMIT: [(&str, &str); 2] = [
    (
        "RateLimit-Policy",
        "What the client's network may do (draft-ietf-httpapi-ratelimit-headers): a quota q for a window of w seconds, \
         and what is counted. Absent when nothing was counted.",
    ),
    ("RateLimit", "What is left of it: r, and more in t seconds. There when RateLimit-Policy is."),
];

fn problems(operation_id: &str) -> Vec<Kind> {
    let groups: &[&[Kind]] = match operation_id {
        "registerUser" => &[&BODY, &[Kind::EmailTaken, Kind::TooManyCodes, Kind::TooManyRequests]],
        "activateUser" => &[&BODY, &AUTH, &[Kind::AlreadyActive, Kind::CodeExpired, Kind::IncorrectCode]],
        "resendCode" => &[&NO_BODY, &AUTH, &[Kind::AlreadyActive, Kind::TooManyCodes]],
        "changePassword" => &[&BODY, &AUTH, &[Kind::NotActive]],
        "getCurrentUser" => &[&NO_BODY, &AUTH],
        "deleteCurrentUser" => &[&NO_BODY, &AUTH, &[Kind::LastAdmin]],
        "listUsers" => &[&NO_BODY, &AUTH, &[Kind::Forbidden, Kind::InvalidField]],
        "getUser" => &[&NO_BODY, &AUTH, &[Kind::Forbidden, Kind::UserNotFound]],
        "updateUser" => &[&BODY, &AUTH, &[Kind::Forbidden, Kind::UserNotFound, Kind::NotActive, Kind::LastAdmin]],
        "deleteUser" => &[&NO_BODY, &AUTH, &[Kind::Forbidden, Kind::UserNotFound, Kind::LastAdmin]],
        other => unreachable!("the problems of {other} are not in the table"),
    };
    groups.iter().copied().chain([&ANY[..]]).flatten().copied().collect()
}

/// The operations, over any stores: the real ones in the service, twins where only the document is wanted.
pub fn service<U: Users, C: Codes>(
    accounts: Accounts<U, C>,
    policy: Policy,
    limits: ClientLimits,
) -> OpenApiService<impl OpenApi, ()> {
    let users = UsersApi::new(accounts.clone(), policy, limits.clone());
    let admin = AdminApi::new(accounts, policy, limits);
    let description = "Registers users: an e-mail address, a password, and a mailed code that lives for sixty seconds. \
                       Every error is a problem (RFC 9457); its `type` leads to what it means and what to do.";
    OpenApiService::new((users, admin), "Sixty", env!("CARGO_PKG_VERSION"))
        .description(description)
        .license(LicenseObject::new("MIT OR Apache-2.0"))
        .server("/")
}

#[derive(Deserialize)]
struct Spec {
    #[serde(deserialize_with = "merged")]
    paths: Map<String, Value>,
}

/// The framework writes a path anew for each API that has operations on it; they belong together.
fn merged<'de, D: Deserializer<'de>>(paths: D) -> Result<Map<String, Value>, D::Error> {
    struct Merged;

    impl<'de> Visitor<'de> for Merged {
        type Value = Map<String, Value>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("paths")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut paths = Map::new();
            while let Some((path, operations)) = map.next_entry::<String, Map<String, Value>>()? {
                let path = paths.entry(path).or_insert_with(|| json!({}));
                path.as_object_mut().expect("put there as one").extend(operations);
            }
            Ok(paths)
        }
    }

    paths.deserialize_map(Merged)
}

/// The completed document.
pub struct Document(Value);

impl Document {
    /// # Panics
    /// When an operation's problems are not in the table above: the document is made at the start, so no release does.
    pub fn of<T: OpenApi>(service: &OpenApiService<T, ()>, policy: &Policy) -> Self {
        let spec = service.spec();
        let mut document: Value = serde_json::from_str(&spec).expect("the framework writes JSON");
        let merged: Spec = serde_json::from_str(&spec).expect("there are paths");
        document["paths"] = Value::Object(merged.paths);
        let paths = document["paths"].as_object_mut().expect("there are paths");
        for operation in paths.values_mut().flat_map(|path| path.as_object_mut().expect("a path item")).map(|(_, o)| o)
        {
            complete(operation);
        }
        let schemas = document["components"]["schemas"].as_object_mut().expect("there are schemas");
        for name in ["RegisterUser", "ChangePassword"] {
            schemas[name]["properties"]["password"]["minLength"] = json!(policy.password_min);
        }
        schemas["ActivateUser"]["properties"]["code"]["pattern"] = json!(policy.code_pattern());
        for (name, schema) in schemas.iter_mut() {
            close(name, schema);
            if let Some(example) = example(name) {
                schema["example"] = example;
            }
        }
        schemas.insert("FieldError".to_owned(), field_error_schema());
        schemas.insert("Problem".to_owned(), problem_schema());
        Self(document)
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("a JSON value is JSON") + "\n"
    }

    pub fn yaml(&self) -> String {
        serde_yaml::to_string(&self.0).expect("a JSON value is YAML")
    }

    /// The paths with their methods.
    pub fn paths(&self) -> Vec<Path> {
        let paths = self.0["paths"].as_object().expect("there are paths");
        let methods = |item: &Value| {
            let names = item.as_object().expect("a path item").keys();
            names.filter_map(|name| name.to_uppercase().parse::<Method>().ok()).collect()
        };
        paths.iter().map(|(path, item)| Path::new(path, methods(item))).collect()
    }
}

fn complete(operation: &mut Value) {
    let id = operation["operationId"].as_str().expect("every operation has an id").to_owned();
    if operation.get("security").is_none() {
        // Said aloud: without it, readers cannot tell a public operation from a forgotten one.
        operation["security"] = json!([]);
    }
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = parameter["name"].as_str().expect("every parameter has a name");
        parameter["schema"] = parameter_schema(name);
    }
    let responses = operation["responses"].as_object_mut().expect("every operation has responses");
    for response in responses.values_mut() {
        if let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) {
            *headers = std::mem::take(headers).into_iter().map(|(name, header)| (title_case(&name), header)).collect();
            for header in headers.values_mut().filter_map(Value::as_object_mut) {
                header.remove("deprecated");
            }
        }
    }
    let mut kinds = problems(&id);
    kinds.sort_by_key(|kind| kind.status());
    for group in kinds.chunk_by(|a, b| a.status() == b.status()) {
        responses.insert(group[0].status().as_str().to_owned(), problem_response(group));
    }
    for response in responses.values_mut() {
        if LIMITED.contains(&&*id) {
            for (name, description) in RATE_LIMIT {
                response["headers"][name] = json!({ "description": description, "schema": { "type": "string" } });
            }
        }
        let description = "Names this request in the service's log; the client's own X-Request-Id, if it sent one.";
        response["headers"]["X-Request-Id"] = header(description, json!({ "type": "string" }));
    }
}

/// What a parameter must hold: operations take any text, to say what is wrong with it.
fn parameter_schema(name: &str) -> Value {
    match name {
        "id" => json!({ "type": "string", "format": "uuid" }),
        "status" => json!({ "type": "string", "enum": ["pending", "active", "disabled"] }),
        "email" => json!({ "type": "string", "maxLength": email::MAX_OCTETS }),
        "limit" => {
            json!({ "type": "integer", "minimum": 1, "maximum": admin::MAX_LIMIT, "default": admin::DEFAULT_LIMIT })
        }
        "cursor" => json!({ "type": "string" }),
        other => unreachable!("the parameter {other} has no schema"),
    }
}

/// A response header that is always there.
fn header(description: &str, schema: Value) -> Value {
    json!({ "description": description, "required": true, "schema": schema })
}

/// One response for all problems of a status.
fn problem_response(kinds: &[Kind]) -> Value {
    let described: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.name(), kind.title())).collect();
    let examples: Map<String, Value> = kinds
        .iter()
        .map(|kind| (kind.name().to_owned(), json!({ "value": Problem::example(*kind).to_json() })))
        .collect();
    let mut response = json!({
        "description": described.join(" "),
        "content": { MEDIA_TYPE: {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "examples": examples,
        } },
    });
    match kinds[0].status().as_u16() {
        401 => {
            response["headers"] = json!({
                "WWW-Authenticate": header("Basic, in UTF-8 (RFC 7617).", json!({ "type": "string" })),
            });
        }
        429 | 503 => {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            response["headers"] = json!({ "Retry-After": header("Seconds to wait.", seconds) });
        }
        _ => {}
    }
    response
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "An error (RFC 9457). Members that do not apply are absent.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {
                "type": "string", "format": "uri-reference",
                "description": "Which problem this is: /problems/ and its name. Leads to what it means and what to do.",
            },
            "title": { "type": "string", "description": "The same for every problem of this type." },
            "status": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What went wrong this time." },
            "errors": {
                "type": "array", "minItems": 1,
                "description": "Every field at fault.",
                "items": { "$ref": "#/components/schemas/FieldError" },
            },
            "attempts_remaining": {
                "type": "integer", "format": "int32", "minimum": 0, "maximum": 2,
                "description": "Guesses left for this code.",
            },
            "retry_after": {
                "type": "integer", "format": "int64", "minimum": 1,
                "description": "Seconds to wait; the same as the field Retry-After.",
            },
        },
    })
}

fn field_error_schema() -> Value {
    json!({
        "type": "object",
        "description": "One field at fault: of the body, by its pointer, or of the query, by its parameter.",
        "required": ["detail"],
        "properties": {
            "pointer": { "type": "string", "description": "JSON pointer (RFC 6901) into the body." },
            "parameter": { "type": "string", "description": "Name of a parameter of the query." },
            "detail": { "type": "string", "description": "What the field must hold." },
        },
    })
}

/// What the documentation page fills in, and readers look at first.
fn example(schema: &str) -> Option<Value> {
    Some(match schema {
        "RegisterUser" => json!({ "email": "ada@example.com", "password": "correct horse battery" }),
        "ChangePassword" => json!({ "password": "staple battery horse" }),
        "ActivateUser" => json!({ "code": "0042" }),
        "UpdateUser" => json!({ "status": "disabled" }),
        "CodeQueued" => json!({ "retry_after": 120 }),
        "User" => json!({
            "id": "01a1fb31-109f-7fd3-a969-470eb5982bb2",
            "email": "ada@example.com",
            "status": "active",
            "role": "user",
            "created_at": "2026-11-20T12:00:00.000001Z",
            "activated_at": "2026-11-20T12:00:30.000001Z",
        }),
        _ => return None,
    })
}

/// Objects hold what is named and nothing else; a member that may be null is there all the same.
fn close(name: &str, schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    let names: Vec<String> = properties.keys().cloned().collect();
    for nullable in ["activated_at", "next_cursor"] {
        if let Some(nullable) = properties.get_mut(nullable) {
            nullable["nullable"] = json!(true);
        }
    }
    for secret in ["password", "code"] {
        if let Some(secret) = properties.get_mut(secret) {
            secret["writeOnly"] = json!(true);
        }
    }
    // What is absent from a patch stays as it is.
    if name != "UpdateUser" {
        schema["required"] = json!(names);
    }
    schema["additionalProperties"] = json!(false);
}

/// The framework writes `LOCATION`; readers expect `Location`.
fn title_case(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + &rest.to_lowercase()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
