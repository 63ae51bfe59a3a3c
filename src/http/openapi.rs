//! The OpenAPI document: the framework derives it from the code, and this module completes it.
//!
//! The framework declares no problems, no examples, no empty security requirement, and no system routes. Client
//! generators, test tools and readers need them. `operations.rs` completes the operations, `schemas.rs` the
//! schemas. The declarations of the system routes are in `http/system_routes.rs`.

mod contact;
mod operations;
mod schemas;

use std::collections::HashMap;
use std::marker::PhantomData;

use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::registry::{MetaApi, MetaPath, Registry};
use poem_openapi::{LicenseObject, OpenApi, OpenApiService};
use serde_json::{Map, Value, json};
use url::Url;

use super::address_changes::AddressChangesApi;
use super::admin::AdminApi;
use super::client_limits::ClientLimits;
use super::gateway::{self, GatewayApi};
use super::password_resets::PasswordResetsApi;
use super::path::Path;
use super::path_prefix::PathPrefix;
use super::system_routes::{self, Declaration, SystemOperation};
use super::users::UsersApi;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::policy::Policy;
use crate::language::Brand;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The introduction. It is short, because client generators repeat it in every file; `docs/http.md` has the details.
const DESCRIPTION: &str = "Registers users with an e-mail address, a password, and a mailed code that is valid for sixty seconds. Register, read \
     the mail, then activate the account with the code. The address and the password are HTTP Basic credentials, also \
     before the activation. Every error is a problem (RFC 9457); its `type` is the path of a page that says what it means \
     and what to do. Every path with GET also allows HEAD, and OPTIONS lists the methods of a path (not at /v1/auth). Paths are \
     case-sensitive. Responses about accounts must not be cached.";
/// All tags, in the order of use. The framework would sort them by name.
const TAGS: [&str; 6] = ["Registration", "Account", "Password reset", "Gateways", "Administration", "Service"];

/// The operations below `/v1`. `U` and `C` are the stores.
type ApiOperations<U, C> =
    (UsersApi<U, C>, AddressChangesApi<U, C>, PasswordResetsApi<U, C>, GatewayApi<U, C>, AdminApi<U, C>);

/// The endpoints of the operations below `/v1`.
pub fn service<U: Users, C: Codes>(
    accounts: Accounts<U, C>,
    policy: Policy,
    limits: ClientLimits,
) -> OpenApiService<impl OpenApi, ()> {
    let users = UsersApi::new(accounts.clone(), policy.clone(), limits.clone());
    let addresses = AddressChangesApi::new(accounts.clone(), policy.clone(), limits.clone());
    let resets = PasswordResetsApi::new(accounts.clone(), policy.clone(), limits.clone());
    let gateway = GatewayApi::new(accounts.clone(), limits.clone());
    let admin = AdminApi::new(accounts, policy, limits);
    let operations: ApiOperations<U, C> = (users, addresses, resets, gateway, admin);
    // The document of this service is never served.
    OpenApiService::new(operations, Brand::DEFAULT_NAME, VERSION)
}

/// The paths below `/v1`, with their methods.
pub fn api_paths<U: Users, C: Codes>() -> Vec<Path> {
    let methods = |path: &MetaPath| path.operations.iter().map(|operation| operation.method.clone()).collect();
    let paths = merged_paths::<ApiOperations<U, C>>().into_iter();
    paths
        .map(|path| {
            let declared = Path::new(&path.path, methods(&path));
            if path.path == gateway::PATH { declared.without_options() } else { declared }
        })
        .collect()
}

/// The paths of all APIs in `T`, each once. The framework lists a path again for every API that has operations on it.
fn merged_paths<T: OpenApi>() -> Vec<MetaPath> {
    let mut merged: Vec<MetaPath> = vec![];
    for path in T::meta().into_iter().flat_map(|api| api.paths) {
        match merged.iter_mut().find(|earlier| earlier.path == path.path) {
            Some(earlier) => earlier.operations.extend(path.operations),
            None => merged.push(path),
        }
    }
    merged
}

/// Declares the operations of `T` but serves none, so no value of `T`, and no store, is needed.
struct Declarations<T>(PhantomData<T>);

impl<T: OpenApi> OpenApi for Declarations<T> {
    fn meta() -> Vec<MetaApi> {
        vec![MetaApi { paths: merged_paths::<T>() }]
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// The operator's entries in the document. They differ between installations of the same version.
#[derive(Clone, Default)]
pub struct Operator {
    /// The URL of the service. `None`: the origin of the document.
    pub public_url: Option<Url>,
    /// Its name is the title.
    pub brand: Brand,
}

/// The completed OpenAPI document.
pub struct Document(Value);

impl Document {
    /// Builds the document from the types of the API and the table of system routes.
    ///
    /// # Panics
    /// If a part of the document has no entry in the tables of `operations.rs` or `schemas.rs`. The service builds the
    /// document at start, and so do its tests.
    pub fn new<U: Users, C: Codes>(policy: &Policy, operator: &Operator) -> Self {
        let declarations = Declarations::<ApiOperations<U, C>>(PhantomData);
        let service = OpenApiService::new(declarations, &*operator.brand.name, VERSION)
            .description(DESCRIPTION)
            // An SPDX license expression, and the list that defines its identifiers.
            .license(LicenseObject::new(env!("CARGO_PKG_LICENSE")).url("https://spdx.org/licenses/"));
        let mut document: Value = serde_json::from_str(&service.spec()).expect("the framework writes JSON");
        document["info"]["contact"] = contact::object(operator.brand.contact.as_ref());
        let url = operator.public_url.as_ref().map_or("/", |url| url.as_str());
        document["servers"] = servers(url);
        let paths = document["paths"].as_object_mut().expect("the framework writes paths");
        for operation in paths.values_mut().flat_map(|path| path.as_object_mut().expect("a path item")).map(|(_, o)| o)
        {
            operations::complete_api(operation, policy);
        }
        for route in system_routes::table::<U, C>() {
            let declared =
                route.operations.into_iter().filter_map(|SystemOperation { method, declaration, .. }| {
                    let Declaration { mut operation, problems } = declaration?;
                    operations::complete_system(&mut operation, problems);
                    Some((method.as_str().to_lowercase(), operation))
                });
            let declared: Map<String, Value> = declared.collect();
            if !declared.is_empty() {
                paths.insert(route.template.to_owned(), Value::Object(declared));
            }
        }
        let tags = document["tags"].as_array_mut().expect("the framework writes tags");
        tags.push(system_routes::tag());
        tags.sort_by_key(|tag| TAGS.iter().position(|name| tag["name"] == *name).expect("TAGS lists every tag"));
        let schemas = document["components"]["schemas"].as_object_mut().expect("the framework writes schemas");
        schemas::complete(schemas, policy);
        unwrap_lines(&mut document);
        PathPrefix::of(operator.public_url.as_ref()).add_to_values(&mut document);
        Self(document)
    }

    /// The same document, whose server URL is a path without a host.
    ///
    /// For the page `/docs`: it sends requests to the host that it was loaded from. Its content security policy and the
    /// browser's same-origin policy forbid other hosts.
    pub fn with_relative_server(&self) -> Self {
        let mut document = self.0.clone();
        let url = document["servers"][0]["url"].as_str().and_then(|url| url.parse::<Url>().ok());
        document["servers"] = servers(url.as_ref().map_or("/", Url::path));
        Self(document)
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("a JSON value is JSON") + "\n"
    }

    pub fn yaml(&self) -> String {
        serde_saphyr::to_string(&self.0).expect("a JSON value is YAML")
    }
}

/// The `servers` member. Paths start with a slash, so the server's URL must not end with one, unless it is `/`.
fn servers(url: &str) -> Value {
    let trimmed = url.trim_end_matches('/');
    json!([{ "url": if trimmed.is_empty() { "/" } else { trimmed } }])
}

/// Joins the lines of every description. Descriptions come from doc comments, which wrap at the width of the source.
/// Blank lines between paragraphs stay.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "description" => {
                        *text = text.replace("\n\n", "\0").replace('\n', " ").replace('\0', "\n\n");
                    }
                    value => unwrap_lines(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_paragraph_are_joined() {
        let mut document = json!({ "paths": [{ "description": "One\nparagraph.\n\nAnother." }] });
        unwrap_lines(&mut document);
        assert_eq!(document["paths"][0]["description"], "One paragraph.\n\nAnother.");
    }

    #[test]
    fn server_urls_have_no_trailing_slash() {
        assert_eq!(servers("https://example.com/"), json!([{ "url": "https://example.com" }]));
        assert_eq!(servers("https://example.com/sixty/"), json!([{ "url": "https://example.com/sixty" }]));
        assert_eq!(servers("/"), json!([{ "url": "/" }]));
    }
}
