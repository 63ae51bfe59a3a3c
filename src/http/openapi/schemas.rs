//! Completes the schemas of bodies, and adds the schemas of problems and examples of bodies.

use serde_json::{Map, Value, json};

use crate::domain::email;
use crate::domain::locale::Locale;
use crate::domain::policy::Policy;
use crate::http::problem::Problem;
use crate::http::problem_type::ProblemType;

/// Addresses may be internationalized; the format `email` excludes those (JSON Schema Validation, section 7.3.2).
pub const EMAIL_FORMAT: &str = "idn-email";
/// A regular expression for any text without ASCII control characters. The service refuses further control characters. To
/// name them here, the expression would need octets above 0x7F: Ruby refuses those in a literal, and PHP compares octets,
/// not characters, so that it would refuse É.
const NO_CONTROLS: &str = r"^[^\x00-\x1f\x7f]*$";

/// An example of a user id.
pub const USER_ID: &str = "01a1fb31-109f-7fd3-a969-470eb5982bb2";
/// An example of a pagination cursor.
pub const CURSOR: &str = "AAZgs_vKEAEBofsxEJ9_06lpRw61mCuy";

/// Completes all schemas, with the limits of the policy.
pub fn complete(schemas: &mut Map<String, Value>, policy: &Policy) {
    for name in ["RegisterUser", "ChangePassword", "ResetPassword"] {
        let password = &mut schemas[name]["properties"]["password"];
        (password["minLength"], password["pattern"]) = (json!(policy.password_min), json!(NO_CONTROLS));
    }
    schemas["ActivateUser"]["properties"]["code"]["pattern"] = json!(policy.code_pattern());
    schemas["ResetPassword"]["properties"]["code"]["pattern"] = json!(policy.reset_code_pattern());
    for name in ["RegisterUser", "ChangeEmail", "RequestPasswordReset", "ResetPassword", "User"] {
        let email = &mut schemas[name]["properties"]["email"];
        (email["format"], email["maxLength"]) = (json!(EMAIL_FORMAT), json!(email::MAX_OCTETS));
    }
    // Not an enum: a nullable reference is ignored by OpenAPI 3.0, and clients would refuse the languages of a later version.
    for name in ["User", "UpdateCurrentUser"] {
        schemas[name]["properties"]["locale"]["pattern"] =
            json!(format!("^({})$", Locale::ALL.map(Locale::tag).join("|")));
    }
    schemas["CodeQueued"]["properties"]["retry_after"]["minimum"] = json!(1);
    // Generators of languages with global constants, such as Go, fail if two enums have a constant of the same name.
    schemas["AccountStatus"]["x-enum-varnames"] = json!(["AccountActive", "AccountDisabled"]);
    for (name, schema) in schemas.iter_mut() {
        complete_object(name, schema);
    }
    for (name, schema) in [
        ("FieldError", field_error()),
        ("Problem", problem()),
        ("ProblemName", problem_name()),
        ("ProblemDescription", problem_description()),
        ("Health", health()),
        ("HealthStatus", json!({ "type": "string", "title": "HealthStatus", "enum": ["live", "ready"] })),
        ("OptionalStore", json!({ "type": "string", "title": "OptionalStore", "enum": ["redis"] })),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    for (name, schema) in schemas.iter_mut() {
        add_examples(schema, &schema_example(name, policy));
    }
}

/// The members that may be null. They are not required, although every response contains them: several generated clients
/// refuse null in a required member.
const NULLABLE: [&str; 3] = ["activated_at", "locale", "next_cursor"];

/// The schemas of request bodies.
const REQUEST_BODIES: [&str; 8] = [
    "ChangeEmail",
    "RegisterUser",
    "ActivateUser",
    "ChangePassword",
    "RequestPasswordReset",
    "ResetPassword",
    "UpdateUser",
    "UpdateCurrentUser",
];

/// Completes the schema of an object.
///
/// All members are required, except those that may be null. Request bodies allow no further members, and the service
/// refuses them. Response bodies allow further members, so that a later version can add some.
fn complete_object(name: &str, schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    let required: Vec<String> = properties.keys().filter(|name| !NULLABLE.contains(&&***name)).cloned().collect();
    for nullable in NULLABLE {
        if let Some(nullable) = properties.get_mut(nullable) {
            nullable["nullable"] = json!(true);
        }
    }
    for property in properties.values_mut() {
        // The framework adds a description to a reference by `allOf`. Some client generators ignore such a member.
        if let Some(reference) = property.pointer_mut("/allOf/0").map(Value::take) {
            *property = reference;
        }
    }
    // All members of a PATCH body are optional.
    if !["UpdateUser", "UpdateCurrentUser"].contains(&name) {
        schema["required"] = json!(required);
    }
    if REQUEST_BODIES.contains(&name) {
        schema["additionalProperties"] = json!(false);
    }
}

/// Adds the example of a schema: to each property of an object, or to an enum. A reference cannot have an example beside
/// it; the schema that it names has one.
fn add_examples(schema: &mut Value, example: &Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        schema["example"] = example.clone();
        return;
    };
    for (name, property) in properties.iter_mut().filter(|(_, property)| property.get("$ref").is_none()) {
        let example = example.get(name).unwrap_or_else(|| unreachable!("no example for the property {name}; add one"));
        property["example"] = example.clone();
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

fn problem_name() -> Value {
    json!({
        "type": "string",
        "title": "ProblemName",
        "description": "The name of a problem type.",
        "enum": ProblemType::ALL.map(ProblemType::name),
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
            "status": {
                "type": "integer", "format": "int32", "minimum": 400, "maximum": 599,
                "description": "The status of the responses.",
            },
            "title": { "type": "string", "description": "A summary of the problem type." },
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
            "status": { "$ref": "#/components/schemas/HealthStatus" },
            "degraded": {
                "type": "array",
                "description": "The stores that do not respond and that readiness does not require. Absent if there are none.",
                "minItems": 1,
                "items": { "$ref": "#/components/schemas/OptionalStore" },
            },
        },
    })
}

/// An example of a schema. An object has a value for each property.
fn schema_example(name: &str, policy: &Policy) -> Value {
    match name {
        "User" => user("active"),
        "UserList" => response_example("listUsers"),
        "CodeQueued" => response_example("resendCode"),
        "RegisterUser"
        | "ChangeEmail"
        | "ChangePassword"
        | "ActivateUser"
        | "RequestPasswordReset"
        | "ResetPassword"
        | "UpdateCurrentUser" => request_example(name, policy),
        "UpdateUser" => json!({}),
        "Status" => json!("pending"),
        "AccountStatus" => json!("disabled"),
        "Role" => json!("user"),
        "ProblemName" => json!(ProblemType::CodeExpired.name()),
        "ProblemDescription" => Problem::description(ProblemType::CodeExpired),
        "HealthStatus" => json!("ready"),
        "OptionalStore" => json!("redis"),
        "Health" => json!({ "degraded": ["redis"] }),
        "FieldError" => {
            json!({ "pointer": "/password", "parameter": "limit", "detail": "must have at least 8 characters" })
        }
        "Problem" => {
            let mut problem = Problem::example(ProblemType::IncorrectCode).to_json();
            problem["retry_after"] = json!(42);
            problem
        }
        other => unreachable!("no example for the schema {other}; add one here"),
    }
}

/// An example of a request body. The service accepts it, and the page `/docs` prefills its forms with it.
pub fn request_example(schema: &str, policy: &Policy) -> Value {
    match schema {
        "RegisterUser" => json!({ "email": "ada@example.com", "password": password("correct horse battery", policy) }),
        "ChangePassword" => json!({ "password": password("staple battery horse", policy) }),
        "ActivateUser" => json!({ "code": format!("{:0<digits$}", "0042", digits = policy.code_length.digits()) }),
        "ChangeEmail" => json!({ "email": "ada@new.example" }),
        "RequestPasswordReset" => json!({ "email": "ada@example.com" }),
        "ResetPassword" => json!({
            "email": "ada@example.com",
            "code": format!("{:0<digits$}", "00420042", digits = policy.reset_code_length.digits()),
            "password": password("staple battery horse", policy),
        }),
        "UpdateUser" => json!({ "status": "disabled" }),
        "UpdateCurrentUser" => json!({ "locale": "fr" }),
        other => unreachable!("no example for the request body {other}; add one here"),
    }
}

/// A password with these words, repeated until it is as long as the policy requires.
fn password(words: &str, policy: &Policy) -> String {
    let mut password = words.to_owned();
    while password.len() < policy.password_min {
        password = format!("{password} {words}");
    }
    password
}

/// An example of the JSON body of a successful response.
pub fn response_example(operation_id: &str) -> Value {
    match operation_id {
        "registerUser" => user("pending"),
        "activateUser" | "activateUserAsAdmin" | "getCurrentUser" | "updateCurrentUser" | "getUser" => user("active"),
        "updateUser" => user("disabled"),
        "resendCode" | "resendCodeAsAdmin" => json!({ "retry_after": 120 }),
        "requestPasswordReset" => json!({ "retry_after": 600 }),
        "changeEmail" => json!({ "retry_after": 60 }),
        "confirmEmail" => user("active"),
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
        "locale": "fr",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::CodeLength;
    use crate::domain::email::Email;

    #[test]
    fn the_service_accepts_the_examples_under_every_policy() {
        let text = |example: &Value, member: &str| example[member].as_str().expect("a string").to_owned();
        for (password_min, digits, reset_digits) in [(8, 4, 8), (22, 6, 9), (64, 10, 10)] {
            let [code_length, reset_code_length] =
                [digits, reset_digits].map(|digits| CodeLength::new(digits).expect("a valid length"));
            let policy = Policy { password_min, code_length, reset_code_length, ..Policy::default() };
            let registration = request_example("RegisterUser", &policy);
            let email = Email::parse(&text(&registration, "email")).expect("a valid address");
            assert!(policy.password(&text(&registration, "password"), Some(&email)).is_ok(), "{registration}");
            let change = request_example("ChangePassword", &policy);
            assert!(policy.password(&text(&change, "password"), Some(&email)).is_ok(), "{change}");
            assert!(policy.code(&text(&request_example("ActivateUser", &policy), "code")).is_ok());
            let reset = request_example("ResetPassword", &policy);
            assert!(policy.password(&text(&reset, "password"), Some(&email)).is_ok(), "{reset}");
            assert!(policy.reset_code(&text(&reset, "code")).is_ok(), "{reset}");
        }
    }
}
