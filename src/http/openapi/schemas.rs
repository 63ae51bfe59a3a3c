//! Completes the schemas of bodies, and adds the schemas of problems and examples of bodies.

use serde_json::{Map, Value, json};

use crate::domain::email;
use crate::domain::policy::Policy;

/// Addresses may be internationalized; the format `email` excludes those (JSON Schema Validation, section 7.3.2).
pub const EMAIL_FORMAT: &str = "idn-email";
/// A regular expression for any text without control characters.
const NO_CONTROLS: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// An example of a user id.
pub const USER_ID: &str = "01a1fb31-109f-7fd3-a969-470eb5982bb2";
/// An example of a pagination cursor.
pub const CURSOR: &str = "AAZgs_vKEAEBofsxEJ9_06lpRw61mCuy";

/// Completes all schemas, with the limits of the policy.
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
    // Inlined: generators of languages with global constants, such as Go, fail if two named enums share a value.
    let status = schemas.shift_remove("AccountStatus").expect("the framework declares AccountStatus");
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

/// Completes the schema of an object.
///
/// All members are required, including those that may be null. Request bodies allow no further members, and the service
/// refuses them. Response bodies allow further members, so that a later version can add some.
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
        // The framework adds a description to a reference by `allOf`. Some client generators ignore such a member.
        if let Some(reference) = property.pointer_mut("/allOf/0").map(Value::take) {
            *property = reference;
        }
    }
    // All members of a PATCH body are optional.
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
                "description": "The problem type: /problems/ and its name. A relative URL of a page that says what it means and what to do.",
            },
            "title": { "type": "string", "description": "A summary of the problem type." },
            "status": {
                "type": "integer", "format": "int32", "minimum": 400, "maximum": 599,
                "description": "The status of the response.",
            },
            "detail": { "type": "string", "description": "What went wrong in this request." },
            "errors": {
                "type": "array", "minItems": 1,
                "description": "All invalid fields.",
                "items": { "$ref": "#/components/schemas/FieldError" },
            },
            "attempts_remaining": {
                "type": "integer", "format": "int32", "minimum": 0, "maximum": 2,
                "description": "The remaining guesses for this code.",
            },
            "retry_after": {
                "type": "integer", "format": "int64", "minimum": 1,
                "description": "Seconds to wait, as in the header Retry-After.",
            },
        },
    })
}

fn field_error() -> Value {
    json!({
        "type": "object",
        "title": "FieldError",
        "description": "An invalid field: a member of the body (pointer) or a parameter of the query or the header (parameter).",
        "required": ["detail"],
        "properties": {
            "pointer": { "type": "string", "description": "A JSON pointer (RFC 6901) into the request body." },
            "parameter": { "type": "string", "description": "The name of the query parameter or of the header." },
            "detail": { "type": "string", "description": "What the field must be." },
        },
    })
}

fn problem_description() -> Value {
    json!({
        "type": "object",
        "title": "ProblemDescription",
        "description": "The description of a problem type.",
        "required": ["name", "status", "title", "advice"],
        "properties": {
            "name": { "type": "string", "description": "The last segment of the problem type." },
            "status": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599 },
            "title": { "type": "string" },
            "advice": { "type": "string", "description": "What the client can do." },
        },
    })
}

fn health() -> Value {
    json!({
        "type": "object",
        "title": "Health",
        "required": ["status"],
        "properties": {
            "status": { "type": "string", "enum": ["live", "ready"] },
            "degraded": {
                "type": "array",
                "description": "The stores that do not respond and that readiness does not require. Absent if there are none.",
                "minItems": 1,
                "items": { "type": "string", "enum": ["redis"] },
            },
        },
    })
}

/// An example of a request body. The page `/docs` prefills its forms with it.
pub fn request_example(schema: &str) -> Value {
    match schema {
        "RegisterUser" => json!({ "email": "ada@example.com", "password": "correct horse battery" }),
        "ChangePassword" => json!({ "password": "staple battery horse" }),
        "ActivateUser" => json!({ "code": "0042" }),
        "UpdateUser" => json!({ "status": "disabled" }),
        other => unreachable!("no example for the request body {other}; add one here"),
    }
}

/// An example of the JSON body of a successful response.
pub fn response_example(operation_id: &str) -> Value {
    match operation_id {
        "registerUser" => user("pending"),
        "activateUser" | "getCurrentUser" | "getUser" => user("active"),
        "updateUser" => user("disabled"),
        "resendCode" => json!({ "retry_after": 120 }),
        "listUsers" => json!({ "items": [user("pending")], "next_cursor": CURSOR }),
        other => unreachable!("no example for the response of {other}; add one here"),
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
