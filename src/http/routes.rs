//! The routes of the API's port and of the operators' port.

use std::sync::Arc;
use std::time::Duration;

use poem::endpoint::{BoxEndpoint, make, make_sync};
use poem::http::Method;
use poem::{Endpoint, EndpointExt, Response, Route, RouteMethod};

use super::client;
use super::client_limits::ClientLimits;
use super::cors::CorsOrigins;
use super::docs_page::DocsPage;
use super::health::Health;
use super::middleware;
use super::not_me_form::NotMeForm;
use super::openapi::{self, Document, Operator};
use super::pages::Pages;
use super::path::Path;
use super::path_prefix::{self, PathPrefix};
use super::static_document::StaticDocument;
use super::system_routes::{self, SystemState};
use super::trusted_proxies::TrustedProxies;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::policy::Policy;
use crate::rng::Rng;

/// The settings of the API's port.
pub struct ApiConfig {
    pub operator: Operator,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    pub limits: ClientLimits,
    pub not_me: NotMeForm,
    pub pages: Pages,
    pub proxies: TrustedProxies,
    pub cors: CorsOrigins,
}

/// The API's port: the operations below `/v1`, and the system routes.
pub fn api<U: Users, C: Codes>(
    accounts: Accounts<U, C>,
    policy: Policy,
    health: Health,
    rng: Rng,
    config: ApiConfig,
) -> impl Endpoint<Output = Response> + 'static {
    let ApiConfig { operator, body_timeout, limits, not_me, pages, proxies, cors } = config;
    let document = Document::new::<U, C>(&policy, &operator);
    let state = Arc::new(SystemState {
        accounts: accounts.clone(),
        health,
        not_me,
        pages,
        openapi_json: StaticDocument::new("application/json", document.json()),
        openapi_yaml: StaticDocument::new("application/yaml", document.yaml()),
        docs: DocsPage::new(&document.with_relative_server().json(), &operator.brand.name),
    });
    let mut routes = Routes::default();
    for system_route in system_routes::table() {
        let path = system_route.path();
        let endpoints = system_route.operations.into_iter().map(|operation| {
            let (state, handler) = (Arc::clone(&state), operation.handler);
            let endpoint = make(move |mut request| {
                let state = Arc::clone(&state);
                async move { handler(&mut request, &state).await }
            });
            (operation.method, endpoint.boxed())
        });
        routes = routes.add(path, endpoints);
    }
    let Routes { route, mut paths } = routes;
    let route = route.nest("/", openapi::service(accounts, policy, limits));
    paths.extend(openapi::api_paths::<U, C>());
    let route = route.around(move |endpoint, request| client::identify(endpoint, request, proxies.clone()));
    let prefix = PathPrefix::of(operator.public_url.as_ref());
    middleware::wrap(route, paths, rng, body_timeout, cors)
        .around(move |endpoint, request| path_prefix::add(endpoint, request, prefix.clone()))
}

/// The operators' port: `/metrics` in Prometheus's text format, and the health probes. It still serves while the API's port
/// accepts no more connections.
pub fn ops<M>(
    metrics: impl Fn() -> M + Send + Sync + 'static,
    health: Health,
    rng: Rng,
    body_timeout: Duration,
) -> impl Endpoint<Output = Response> + 'static
where
    M: Future<Output = String> + Send + 'static,
{
    const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
    let metrics = make(move |_| {
        let metrics = metrics();
        async move { Response::builder().content_type(PROMETHEUS).body(metrics.await) }
    });
    let live = make_sync(|_| Health::live());
    let ready = make(move |request| {
        let health = health.clone();
        async move { health.ready(&request).await }
    });
    let mut routes = Routes::default();
    for (template, endpoint) in [("/metrics", metrics.boxed()), ("/livez", live.boxed()), ("/readyz", ready.boxed())] {
        routes = routes.add(Path::new(template, vec![Method::GET]).probe(), [(Method::GET, endpoint)]);
    }
    middleware::wrap(routes.route, routes.paths, rng, body_timeout, CorsOrigins::default())
}

/// A router, with the list of the paths that it serves.
#[derive(Default)]
struct Routes {
    route: Route,
    paths: Vec<Path>,
}

impl Routes {
    fn add(
        mut self,
        path: Path,
        endpoints: impl IntoIterator<Item = (Method, BoxEndpoint<'static, Response>)>,
    ) -> Self {
        let methods = endpoints
            .into_iter()
            .fold(RouteMethod::new(), |methods, (method, endpoint)| methods.method(method, endpoint));
        self.route = self.route.at(path.router_pattern(), methods);
        self.paths.push(path);
        self
    }
}
