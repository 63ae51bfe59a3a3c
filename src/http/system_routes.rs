//! The routes outside `/v1`: documents, pages for people, and health probes.
//!
//! [`table`] is their only list. The router, the `Allow` header, the metric labels and the OpenAPI document all read it.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use poem::http::Method;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::docs_page::DocsPage;
use super::health::Health;
use super::path::Path;
use super::problem::Problem;
use super::problem_type::ProblemType;
use super::static_document::{CACHE_CONTROL, StaticDocument};
use super::{not_me_page, problem_page, registration_ticket};
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};

/// What the handlers of the system routes read.
pub struct SystemState<U, C> {
    pub accounts: Accounts<U, C>,
    pub health: Health,
    pub openapi_json: StaticDocument,
    pub openapi_yaml: StaticDocument,
    pub docs: DocsPage,
}

pub type Handler<U, C> = for<'a> fn(&'a Request, &'a SystemState<U, C>) -> BoxFuture<'a, Response>;

/// A path and its operations.
pub struct SystemRoute<U, C> {
    pub template: &'static str,
    kind: PathKind,
    pub operations: Vec<SystemOperation<U, C>>,
}

/// How requests to a path are logged and cached.
enum PathKind {
    Public,
    /// See [`Path::probe`].
    Probe,
    /// See [`Path::with_token`].
    Token,
}

/// A method of a path.
pub struct SystemOperation<U, C> {
    pub method: Method,
    /// The OpenAPI operation object, without the parts that all operations share.
    pub declaration: Value,
    /// The problem types that this operation can return, besides those of every operation without a body.
    pub problems: &'static [ProblemType],
    pub handler: Handler<U, C>,
}

impl<U, C> SystemRoute<U, C> {
    pub fn path(&self) -> Path {
        let path = Path::new(self.template, self.operations.iter().map(|operation| operation.method.clone()).collect());
        match self.kind {
            PathKind::Public => path,
            PathKind::Probe => path.probe(),
            PathKind::Token => path.with_token(),
        }
    }
}

/// All system routes, in the order of the OpenAPI document.
pub fn table<U: Users, C: Codes>() -> Vec<SystemRoute<U, C>> {
    vec![
        SystemRoute {
            template: "/openapi.json",
            kind: PathKind::Public,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: declaration(
                    "getOpenapiJson",
                    "Read this document",
                    static_responses(json_response(
                        "The document in JSON.",
                        json!({ "type": "object", "additionalProperties": true }),
                        json!({ "openapi": "3.0.0" }),
                    )),
                ),
                problems: &[],
                handler: |request, state| state.openapi_json.response(request, &[]).boxed(),
            }],
        },
        SystemRoute {
            template: "/openapi.yaml",
            kind: PathKind::Public,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: declaration(
                    "getOpenapiYaml",
                    "Read this document in YAML",
                    static_responses(json!({
                        "description": "The document in YAML.",
                        "content": { "application/yaml": { "schema": {} } },
                    })),
                ),
                problems: &[],
                handler: |request, state| state.openapi_yaml.response(request, &[]).boxed(),
            }],
        },
        SystemRoute {
            template: "/docs",
            kind: PathKind::Public,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: declaration(
                    "getDocs",
                    "Try the operations in a browser",
                    static_responses(html_response("Swagger UI with this document.")),
                ),
                problems: &[],
                handler: |request, state| state.docs.response(request).boxed(),
            }],
        },
        SystemRoute {
            template: "/problems/{name}",
            kind: PathKind::Public,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: with_parameter(problem_name(), problem_declaration()),
                problems: &[ProblemType::NotFound],
                handler: |request, _| ready(problem_page::get(request)).boxed(),
            }],
        },
        SystemRoute {
            template: "/not-me/{token}",
            kind: PathKind::Token,
            operations: vec![
                SystemOperation {
                    method: Method::GET,
                    declaration: with_parameter(token(), show_not_me_declaration()),
                    problems: &[],
                    handler: |request, _| ready(not_me_page::get(request)).boxed(),
                },
                SystemOperation {
                    method: Method::POST,
                    declaration: with_parameter(token(), report_not_me_declaration()),
                    problems: &[],
                    handler: |request, state| not_me_page::post(request, &state.accounts).boxed(),
                },
            ],
        },
        SystemRoute {
            template: "/livez",
            kind: PathKind::Probe,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: declaration(
                    "getLiveness",
                    "Check that the process responds",
                    json!({
                        "200": health_response("The process responds.", "live"),
                    }),
                ),
                problems: &[],
                handler: |_, _| ready(Health::live()).boxed(),
            }],
        },
        SystemRoute {
            template: "/readyz",
            kind: PathKind::Probe,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: readiness_declaration(),
                problems: &[ProblemType::Unavailable],
                handler: |request, state| state.health.ready(request).boxed(),
            }],
        },
    ]
}

/// Declares the responses of a [`StaticDocument`]. `ok` is its response 200, without the headers.
fn static_responses(mut ok: Value) -> Value {
    let header = |description: &str, example: &str| json!({ "description": description, "required": true, "schema": { "type": "string" }, "example": example });
    let headers = json!({
        "ETag": header("The version of the document in this encoding, for If-None-Match.", "\"33a64df5\""),
        "Cache-Control": header("How long a cache may use the document.", CACHE_CONTROL),
        "Vary": header("The document is compressed for clients that accept gzip.", "accept-encoding"),
    });
    ok["headers"] = headers.clone();
    let not_modified =
        json!({ "description": "If-None-Match names this version of the document.", "headers": headers });
    json!({ "200": ok, "304": not_modified })
}

/// The tag of all system routes.
pub const TAG: &str = "Service";

pub fn tag() -> Value {
    json!({ "name": TAG, "description": "Documents, health probes, and the page that the link in a mail opens." })
}

fn declaration(operation_id: &str, summary: &str, responses: Value) -> Value {
    json!({ "tags": [TAG], "summary": summary, "operationId": operation_id, "responses": responses })
}

fn with_parameter(parameter: Value, mut declaration: Value) -> Value {
    declaration["parameters"] = json!([parameter]);
    declaration
}

fn readiness_declaration() -> Value {
    let description = "PostgreSQL responds, and all migrations are applied. `degraded` lists the stores that do not respond: \
                       without Redis, the service registers users and refuses codes.";
    declaration(
        "getReadiness",
        "Check that the service can serve requests",
        json!({ "200": health_response(description, "ready") }),
    )
}

fn problem_declaration() -> Value {
    let schema = json!({ "$ref": "#/components/schemas/ProblemDescription" });
    let mut ok = json_response(
        "What the problem type means and what to do. HTML if `Accept` prefers text/html.",
        schema,
        Problem::description(ProblemType::CodeExpired),
    );
    ok["content"]["text/html"] = json!({ "schema": { "type": "string" } });
    ok["headers"] = json!({ "Vary": {
        "description": "The response depends on `Accept`.", "required": true, "schema": { "type": "string" },
        "example": "Accept",
    } });
    declaration("getProblem", "Read what a problem type means", json!({ "200": ok }))
}

fn show_not_me_declaration() -> Value {
    declaration(
        "showNotMe",
        "Show the page “Was it not you?”",
        json!({
            "200": html_response("The page with the button. It does not read the registration."),
            "404": html_response("The link is not complete."),
        }),
    )
}

fn report_not_me_declaration() -> Value {
    let mut deleted = html_response("The registration is deleted. The page shows the ticket of the response header.");
    deleted["headers"] = json!({ registration_ticket::NAME: {
        "description": "A ticket for the owner of the address. `registerUser` accepts it in the request header of the same \
                        name: it passes the wait of the address once, within 15 minutes.",
        "required": true,
        "schema": { "type": "string", "pattern": "^[a-p]{32}$" },
        "example": registration_ticket::EXAMPLE,
    } });
    let failed = html_response("The registration could not be deleted. Try again.");
    let mut unavailable = failed.clone();
    unavailable["headers"] = json!({ "Retry-After": {
        "description": "Seconds to wait.", "required": true, "schema": { "type": "integer", "minimum": 1 },
        "example": 42,
    } });
    declaration(
        "disownRegistration",
        "Delete a registration that somebody else started",
        json!({
            "200": deleted,
            "404": html_response("The link is not complete."),
            "410": html_response("The link is no longer valid."),
            "500": failed,
            "503": unavailable,
        }),
    )
}

fn problem_name() -> Value {
    json!({
        "name": "name", "in": "path", "required": true,
        "description": "The name of the problem type: the last segment of `type`.",
        "schema": { "type": "string", "enum": ProblemType::ALL.map(ProblemType::name) },
        "example": "code-expired",
    })
}

/// An example of a "not me" token.
const TOKEN: &str = "abcdefghijklmnopabcdefghijklmnop";

fn token() -> Value {
    json!({
        "name": "token", "in": "path", "required": true,
        "description": "The secret token of the link in a mail. It authorizes the deletion.",
        "schema": { "type": "string", "pattern": "^[a-p]{32}$" },
        "example": TOKEN,
    })
}

fn html_response(description: &str) -> Value {
    json!({ "description": description, "content": { "text/html": { "schema": { "type": "string" } } } })
}

fn health_response(description: &str, status: &str) -> Value {
    json_response(description, json!({ "$ref": "#/components/schemas/Health" }), json!({ "status": status }))
}

fn json_response(description: &str, schema: Value, example: Value) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": schema, "example": example } },
    })
}
