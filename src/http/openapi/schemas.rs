//! What bodies hold: the framework's schemas made exact, those of problems, and examples.

use serde_json::{Map, Value, json};

use crate::domain::email;
use crate::domain::policy::Policy;

/// An address may be internationalised, which `email` would deny (JSON Schema, section 7.3.2).
pub const EMAIL_FORMAT: &str = "idn-email";
/// Anything but control characters.
const NO_CONTROLS: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

pub const USER_ID: &str = "01a1fb31-109f-7fd3-a969-470eb5982bb2";
pub const CURSOR: &str = "AAZgs_vKEAEBofsxEJ9_06lpRw61mCuy";

pub fn complete(schemas: &mut Map<String, Value>, policy: &Policy) {
    for name in ["RegisterUser", "ChangePassword"] {
        let password = &mut schemas[name]["properties"]["password"];
        (password["minLength"], password["pattern"]) = (json!(policy.password_min), json!(NO_CONTROLS));
    }
    schemas["ActivateUser"]["properties"]["code"]["pattern"] = json!(policy.code_pattern());
    for name in ["RegisterUser", "User"] {
        let email = &mut schemas[name]["properties"]["email"];
        (email["format"], email["maxLength"]) = (json!(EMAIL_FORMAT), json!(email::MAX_OCTETS));
    }
    schemas["CodeQueued"]["properties"]["retry_after"]["minimum"] = json!(1);
    for (name, schema) in schemas.iter_mut() {
        complete_object(name, schema);
    }
    // Where constants are global, as in Go, two enums with a name cannot hold the same word.
    let status = schemas.shift_remove("AccountStatus").expect("the framework has named it");
    schemas["UpdateUser"]["properties"]["status"] = status;
    for (name, schema) in [
        ("FieldError", field_error()),
        ("Problem", problem()),
        ("ProblemDescription", problem_description()),
        ("Health", health()),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
}

/// All members are there, also those that may be null. Requests hold what is named and nothing else, as the service insists;
/// answers may hold more one day, and clients that are older than that member must not fail of it.
fn complete_object(name: &str, schema: &mut Value) {
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
    for property in properties.values_mut() {
        // The framework describes a reference by an `allOf` of two, which some generators drop whole.
        if let Some(reference) = property.pointer_mut("/allOf/0").map(Value::take) {
            *property = reference;
        }
    }
    // What is absent from a patch stays as it is.
    if name != "UpdateUser" {
        schema["required"] = json!(names);
    }
    if ["RegisterUser", "ActivateUser", "ChangePassword", "UpdateUser"].contains(&name) {
        schema["additionalProperties"] = json!(false);
    }
}

fn problem() -> Value {
    json!({
        "type": "object",
        "title": "Problem",
        "description": "An error (RFC 9457). Members that do not apply are absent.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {
                "type": "string", "format": "uri-reference",
                "description": "Which problem this is: /problems/ and its name. Leads to what it means and what to do.",
            },
            "title": { "type": "string", "description": "The same for every problem of this type." },
            "status": {
                "type": "integer", "format": "int32", "minimum": 400, "maximum": 599,
                "description": "The same as that of the answer.",
            },
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

fn field_error() -> Value {
    json!({
        "type": "object",
        "title": "FieldError",
        "description": "One field at fault: of the body, by its pointer, or of the query, by its parameter.",
        "required": ["detail"],
        "properties": {
            "pointer": { "type": "string", "description": "JSON pointer (RFC 6901) into the body." },
            "parameter": { "type": "string", "description": "Name of a parameter of the query." },
            "detail": { "type": "string", "description": "What the field must hold." },
        },
    })
}

fn problem_description() -> Value {
    json!({
        "type": "object",
        "title": "ProblemDescription",
        "description": "What a problem means.",
        "required": ["name", "status", "title", "advice"],
        "properties": {
            "name": { "type": "string", "description": "The last segment of the problem's type." },
            "status": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599 },
            "title": { "type": "string" },
            "advice": { "type": "string", "description": "What the client can do about it." },
        },
    })
}

fn health() -> Value {
    json!({
        "type": "object",
        "title": "Health",
        "required": ["status"],
        "properties": { "status": { "type": "string", "enum": ["live", "ready"] } },
    })
}

/// A body that the documentation page fills in, and readers look at first.
pub fn request_example(schema: &str) -> Value {
    match schema {
        "RegisterUser" => json!({ "email": "ada@example.com", "password": "correct horse battery" }),
        "ChangePassword" => json!({ "password": "staple battery horse" }),
        "ActivateUser" => json!({ "code": "0042" }),
        "UpdateUser" => json!({ "status": "disabled" }),
        other => unreachable!("the body {other} has no example"),
    }
}

pub fn response_example(operation_id: &str) -> Value {
    match operation_id {
        "registerUser" => user("pending"),
        "activateUser" | "getCurrentUser" | "getUser" => user("active"),
        "updateUser" => user("disabled"),
        "resendCode" => json!({ "retry_after": 120 }),
        "listUsers" => json!({ "items": [user("pending")], "next_cursor": CURSOR }),
        other => unreachable!("the answer of {other} has no example"),
    }
}

fn user(status: &str) -> Value {
    json!({
        "id": USER_ID,
        "email": "ada@example.com",
        "status": status,
        "role": "user",
        "created_at": "2026-11-20T12:00:00.000001Z",
        "activated_at": (status != "pending").then_some("2026-11-20T12:00:30.000001Z"),
    })
}
