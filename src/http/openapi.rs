//! The OpenAPI document: what the framework derives from the code, completed by what it does not know.
//!
//! The framework declares no problem, no lack of security, no example, and no route that is not its own; generators,
//! testers and readers need all of them. `operations.rs` holds what is said of each operation, `schemas.rs` what bodies
//! hold, `beside.rs` the routes beside the API.

mod contact;
mod operations;
mod schemas;
mod system_routes;

use poem::http::Method;
use poem_openapi::{LicenseObject, OpenApi, OpenApiService};
use reqwest::Url;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

pub use contact::Contact;

use super::admin::AdminApi;
use super::client_limits::ClientLimits;
use super::routes::Path;
use super::users::UsersApi;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::policy::Policy;

/// What readers need to know before the first operation. Generators repeat it in every file, so it is short, and
/// `docs/http.md` says the rest.
const DESCRIPTION: &str = "Registers users: an e-mail address, a password, and a mailed code that lives for sixty seconds. Register, read the \
     mail, activate with the code; the address and the password are HTTP Basic credentials from the registration on. Every \
     error is a problem (RFC 9457), whose `type` leads to what it means and what to do. HEAD goes wherever GET does, \
     OPTIONS names a path's methods, paths are exact, and answers about accounts are never cached.";
/// The order in which people meet them; the framework's is the alphabet.
const TAGS: [&str; 4] = ["Registration", "Account", "Administration", "Service"];

/// The operations, over any stores: the real ones in the service, service where only the document is wanted.
pub fn service<U: Users, C: Codes>(
    accounts: Accounts<U, C>,
    policy: Policy,
    limits: ClientLimits,
) -> OpenApiService<impl OpenApi, ()> {
    let users = UsersApi::new(accounts.clone(), policy, limits.clone());
    let admin = AdminApi::new(accounts, policy, limits);
    OpenApiService::new((users, admin), "Sixty", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        // An expression of SPDX, and the list that says what its names mean.
        .license(LicenseObject::new(env!("CARGO_PKG_LICENSE")).url("https://spdx.org/licenses/"))
}

/// Who runs the service, and where: what differs between two installations of one version.
#[derive(Debug, Clone, Default)]
pub struct Operator {
    /// None: where the document comes from.
    pub public_url: Option<Url>,
    pub contact: Option<Contact>,
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
    /// When an operation's problems are not in the table: the document is made at the start, so no release does.
    pub fn of<T: OpenApi>(service: &OpenApiService<T, ()>, policy: &Policy, operator: &Operator) -> Self {
        let spec = service.spec();
        let mut document: Value = serde_json::from_str(&spec).expect("the framework writes JSON");
        let merged: Spec = serde_json::from_str(&spec).expect("there are paths");
        document["info"]["contact"] = contact::object(operator.contact.as_ref());
        let url = operator.public_url.as_ref().map_or("/", |url| url.as_str());
        document["servers"] = server(url);
        document["paths"] = Value::Object(merged.paths);
        let paths = document["paths"].as_object_mut().expect("there are paths");
        paths.extend(system_routes::paths());
        for operation in paths.values_mut().flat_map(|path| path.as_object_mut().expect("a path item")).map(|(_, o)| o)
        {
            operations::complete(operation);
        }
        document["tags"].as_array_mut().expect("there are tags").push(system_routes::tag());
        let order = |tag: &Value| TAGS.iter().position(|name| tag["name"] == *name).expect("every tag has its place");
        document["tags"].as_array_mut().expect("there are tags").sort_by_key(order);
        schemas::complete(document["components"]["schemas"].as_object_mut().expect("there are schemas"), policy);
        unwrap_lines(&mut document);
        Self(document)
    }

    /// For a page that stands beside the API: whatever name this machine was reached by, the operations are reached by it
    /// too. A browser would not let the page ask another.
    pub fn for_page(&self) -> Self {
        let mut document = self.0.clone();
        let url = document["servers"][0]["url"].as_str().and_then(|url| url.parse::<Url>().ok());
        document["servers"] = server(url.as_ref().map_or("/", Url::path));
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

/// Paths begin with a slash, so a server's URL ends without one, unless it is nothing else.
fn server(url: &str) -> Value {
    let bare = url.trim_end_matches('/');
    json!([{ "url": if bare.is_empty() { "/" } else { bare } }])
}

/// Doc comments break their lines where the source ends; readers of the document do not. Paragraphs stay apart.
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
    fn lines_end_where_paragraphs_do() {
        let mut document = json!({ "paths": [{ "description": "One\nparagraph.\n\nAnother." }] });
        unwrap_lines(&mut document);
        assert_eq!(document["paths"][0]["description"], "One paragraph.\n\nAnother.");
    }

    #[test]
    fn a_server_is_named_without_the_slash_that_paths_begin_with() {
        assert_eq!(server("https://example.com/"), json!([{ "url": "https://example.com" }]));
        assert_eq!(server("https://example.com/sixty/"), json!([{ "url": "https://example.com/sixty" }]));
        assert_eq!(server("/"), json!([{ "url": "/" }]));
    }
}
