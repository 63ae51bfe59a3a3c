//! The routes outside `/v1`: documents, pages for people, and health probes.
//!
//! [`table`] is their only list. The router, the `Allow` header, the metric labels and the OpenAPI document all read it;
//! the document contains only those for programs.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use poem::http::Method;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::docs_page::DocsPage;
use super::health::Health;
use super::not_me_form::NotMeForm;
use super::pages::Pages;
use super::path::Path;
use super::problem::Problem;
use super::problem_type::ProblemType;
use super::static_document::StaticDocument;
use super::{address_change_page, not_me_page, problem_page};
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};

/// What the handlers of the system routes read.
pub struct SystemState<U, C> {
    pub accounts: Accounts<U, C>,
    pub health: Health,
    pub not_me: NotMeForm,
    pub pages: Pages,
    pub openapi_json: StaticDocument,
    pub openapi_yaml: StaticDocument,
    pub docs: DocsPage,
}

pub type Handler<U, C> = for<'a> fn(&'a mut Request, &'a SystemState<U, C>) -> BoxFuture<'a, Response>;

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
    /// `None`: not in the OpenAPI document. Pages and the document itself are for browsers and tools; generated clients
    /// would have a method for each, and some generators fail on their media types.
    pub declaration: Option<Declaration>,
    pub handler: Handler<U, C>,
}

/// How the OpenAPI document declares an operation.
pub struct Declaration {
    /// The operation object, without the parts that all operations share.
    pub operation: Value,
    /// The problem types that this operation can return, besides those of every operation without a body.
    pub problems: &'static [ProblemType],
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
            operations: vec![undeclared(Method::GET, |request, state| {
                state.openapi_json.response(request, &[]).boxed()
            })],
        },
        SystemRoute {
            template: "/openapi.yaml",
            kind: PathKind::Public,
            operations: vec![undeclared(Method::GET, |request, state| {
                state.openapi_yaml.response(request, &[]).boxed()
            })],
        },
        SystemRoute {
            template: "/docs",
            kind: PathKind::Public,
            operations: vec![undeclared(Method::GET, |request, state| state.docs.response(request).boxed())],
        },
        SystemRoute {
            template: "/problems/{name}",
            kind: PathKind::Public,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: Some(problem_declaration()),
                handler: |request, state| ready(problem_page::get(request, &state.pages)).boxed(),
            }],
        },
        SystemRoute {
            template: "/not-me/{token}",
            kind: PathKind::Token,
            operations: vec![
                undeclared(Method::GET, |request, state| {
                    ready(not_me_page::get(request, &state.not_me, &state.pages)).boxed()
                }),
                undeclared(Method::POST, |request, state| {
                    not_me_page::post(request, &state.not_me, &state.accounts, &state.pages).boxed()
                }),
            ],
        },
        SystemRoute {
            template: "/address-change/{token}",
            kind: PathKind::Token,
            operations: vec![
                undeclared(Method::GET, |request, state| {
                    ready(address_change_page::get(request, &state.not_me, &state.pages)).boxed()
                }),
                undeclared(Method::POST, |request, state| {
                    address_change_page::post(request, &state.not_me, &state.accounts, &state.pages).boxed()
                }),
            ],
        },
        SystemRoute {
            template: "/livez",
            kind: PathKind::Probe,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: Some(liveness_declaration()),
                handler: |_, _| ready(Health::live()).boxed(),
            }],
        },
        SystemRoute {
            template: "/readyz",
            kind: PathKind::Probe,
            operations: vec![SystemOperation {
                method: Method::GET,
                declaration: Some(readiness_declaration()),
                handler: |request, state| state.health.ready(request).boxed(),
            }],
        },
    ]
}

/// An operation that is not in the OpenAPI document.
fn undeclared<U, C>(method: Method, handler: Handler<U, C>) -> SystemOperation<U, C> {
    SystemOperation { method, declaration: None, handler }
}

/// The tag of all system routes.
pub const TAG: &str = "Service";

pub fn tag() -> Value {
    json!({ "name": TAG, "description": "Health probes, and explanations of the problem types." })
}

fn declaration(operation_id: &str, summary: &str, responses: Value, problems: &'static [ProblemType]) -> Declaration {
    let operation = json!({ "tags": [TAG], "summary": summary, "operationId": operation_id, "responses": responses });
    Declaration { operation, problems }
}

fn liveness_declaration() -> Declaration {
    let ok = health_response("The process responds.", "live");
    declaration("getLiveness", "Check that the process responds", json!({ "200": ok }), &[])
}

fn readiness_declaration() -> Declaration {
    let description = "PostgreSQL responds, and all migrations are applied. `degraded` lists the stores that do not respond: \
                       without Redis, the service registers users and refuses codes.";
    declaration(
        "getReadiness",
        "Check that the service can serve requests",
        json!({ "200": health_response(description, "ready") }),
        &[ProblemType::Unavailable],
    )
}

fn problem_declaration() -> Declaration {
    let schema = json!({ "$ref": "#/components/schemas/ProblemDescription" });
    let mut ok = json_response(
        "What the problem type means and what to do. HTML if `Accept` prefers text/html.",
        schema,
        Problem::description(ProblemType::CodeExpired),
    );
    ok["content"]["text/html"] = json!({ "schema": { "type": "string" } });
    ok["headers"] = json!({ "Vary": {
        "description": "The response depends on `Accept`; the page also on `Accept-Language`.", "required": true, "schema": { "type": "string" },
        "example": "Accept",
    } });
    let responses = json!({ "200": ok });
    let mut declaration =
        declaration("getProblem", "Read what a problem type means", responses, &[ProblemType::NotFound]);
    declaration.operation["parameters"] = json!([problem_name()]);
    declaration
}

fn problem_name() -> Value {
    json!({
        "name": "name", "in": "path", "required": true,
        "description": "The name of the problem type: the last segment of `type`.",
        "schema": { "$ref": "#/components/schemas/ProblemName" },
        "example": "code-expired",
    })
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
