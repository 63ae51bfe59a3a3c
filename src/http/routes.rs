//! All routes, and what happens around every request: its id, its log line, its limits, and that no error leaves here
//! but as a problem.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::{Counter, counter, histogram};
use poem::endpoint::make_sync;
use poem::error::ParsePathError;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get};
use tracing::{Instrument as _, debug, info, info_span};

use super::client::TrustedProxies;
use super::client_limits::ClientLimits;
use super::cors::CorsOrigins;
use super::health::Health;
use super::openapi::{self, Document, Operator};
use super::problem::Problem;
use super::problem_type::ProblemType;
use super::{client, cors, limits, pages};
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, Users};
use crate::domain::policy::Policy;
use crate::rng::Rng;
use crate::telemetry::trace::TraceContext;

/// Where the link "this was not me" leads: `mail/messages.rs` writes it.
const NOT_ME: &str = "/not-me/{token}";
const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";

/// How clients are met, whatever they ask for.
pub struct Edge {
    pub operator: Operator,
    pub body_timeout: Duration,
    pub limits: ClientLimits,
    pub proxies: TrustedProxies,
    pub cors: CorsOrigins,
}

/// The whole public API.
pub fn api<U: Users, C: Codes>(
    accounts: Accounts<U, C>,
    policy: Policy,
    health: Health,
    rng: Rng,
    edge: Edge,
) -> impl Endpoint<Output = Response> + 'static {
    let Edge { operator, body_timeout, limits, proxies, cors } = edge;
    let service = openapi::service(accounts.clone(), policy, limits);
    let document = Document::of(&service, &policy, &operator);
    let fixed = |content_type: &'static str, text: String| {
        let text = Bytes::from(text);
        make_sync(move |_| Response::builder().content_type(content_type).body(text.clone()))
    };
    let docs = pages::docs(&service, &document.for_page());
    let paths = document.paths();
    let report_not_me = poem::endpoint::make(move |request| {
        let accounts = accounts.clone();
        async move { pages::report_not_me(&request, &accounts).await }
    });
    let route = Route::new()
        .at("/openapi.json", get(fixed("application/json", document.json())))
        .at("/openapi.yaml", get(fixed("application/yaml", document.yaml())))
        .at("/docs", get(make_sync(move |_| docs())))
        .at("/problems/:name", get(make_sync(|request| pages::problem(&request))))
        .at("/not-me/:token", get(make_sync(|request| pages::not_me(&request))).post(report_not_me))
        .nest("/", service);
    let route = with_health(route, health)
        .around(move |endpoint, request| client::identify(endpoint, request, proxies.clone()));
    guarded(route, paths.into(), rng, body_timeout, cors)
}

fn with_health(route: Route, health: Health) -> Route {
    let ready = poem::endpoint::make(move |_| {
        let health = health.clone();
        async move { health.ready().await }
    });
    route.at("/livez", get(make_sync(|_| Health::live()))).at("/readyz", get(ready))
}

/// What happens around every request.
fn guarded(
    route: impl Endpoint<Output: IntoResponse> + 'static,
    paths: Arc<[Path]>,
    rng: Rng,
    body_timeout: Duration,
    cors: CorsOrigins,
) -> impl Endpoint<Output = Response> + 'static {
    for path in paths.iter() {
        for method in &path.methods {
            // From the start at zero: the first one has to be seen as an increase.
            requests(known(method), &path.template, StatusCode::INTERNAL_SERVER_ERROR).increment(0);
        }
    }
    // The panic's own message goes to the log by way of the panic hook.
    let catch_panic = CatchPanic::new().with_handler(|_| Problem::internal());
    route
        .with(catch_panic)
        .around(move |endpoint, request| limits::read_body(endpoint, request, body_timeout))
        .around(move |endpoint, request| observe(endpoint, request, Arc::clone(&paths), rng.clone(), cors.clone()))
        .map_to_response()
}

/// What operators see on a port of their own: `metrics` in Prometheus's text format, and whether the service is ready
/// even while the API takes no connection any more.
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
    let metrics = poem::endpoint::make(move |_| {
        let metrics = metrics();
        async move { Response::builder().content_type(PROMETHEUS).body(metrics.await) }
    });
    let route = with_health(Route::new().at("/metrics", get(metrics)), health);
    let paths = ["/metrics", "/livez", "/readyz"].map(|path| Path::new(path, vec![Method::GET]));
    guarded(route, paths.into(), rng, body_timeout, CorsOrigins::default())
}

/// A path with the methods that it answers to. Segments in braces fit anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    template: String,
    methods: Vec<Method>,
}

impl Path {
    pub fn new(template: impl Into<String>, methods: Vec<Method>) -> Self {
        Self { template: template.into(), methods }
    }

    fn fits(&self, path: &str) -> bool {
        let (mut template, mut path) = (self.template.split('/'), path.split('/'));
        loop {
            match (template.next(), path.next()) {
                (None, None) => return true,
                (Some(segment), Some(given)) if segment == given || (segment.starts_with('{') && !given.is_empty()) => {
                }
                _ => return false,
            }
        }
    }

    /// RFC 9110, section 10.2.1. GET answers HEAD too, and every path OPTIONS.
    fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.methods.iter().map(Method::as_str).chain(["OPTIONS"]).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }

    /// What may be sent here (RFC 9110, section 9.3.7), and the form of a patch (RFC 5789, section 3.1).
    fn options(&self) -> Response {
        let mut response = Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, self.allow());
        if self.methods.contains(&Method::PATCH) {
            response = response.header("Accept-Patch", "application/json");
        }
        response.finish()
    }
}

/// Gives the request its id, turns errors into problems, and writes one line.
async fn observe<E: Endpoint<Output: IntoResponse>>(
    endpoint: Arc<E>,
    request: Request,
    paths: Arc<[Path]>,
    rng: Rng,
    cors: CorsOrigins,
) -> poem::Result<Response> {
    let start = Instant::now();
    let (trace, id) = ids(&request, &rng);
    let is_options = request.method() == Method::OPTIONS;
    let method = known(request.method());
    let path = paths.iter().find(|path| path.fits(request.uri().path())).cloned();
    // The template, not the path: a path may hold anything, and a log is no place for it.
    let route = path.as_ref().map_or("-", |path| path.template.as_str());
    let span = info_span!("request", request_id = id, trace_id = trace.id(), method, route);
    let is_api = request.uri().path().starts_with("/v1/");
    let origin = cors.allowed(&request).filter(|_| is_api);
    let mut response = async {
        let response = match &path {
            Some(path) if origin.is_some() && cors::is_preflight(&request) => cors::preflight(path.allow()),
            Some(path) if is_options => path.options(),
            _ => {
                let answered = trace.scope(endpoint.call(request)).await;
                answered.map_or_else(|error| as_problem(error, path.as_ref()), IntoResponse::into_response)
            }
        };
        let took = start.elapsed();
        histogram!("sixty_http_request_duration_seconds", "method" => method, "route" => route.to_owned()).record(took);
        requests(method, route, response.status()).increment(1);
        let status = response.status().as_u16();
        let ms = took.as_millis() as u64;
        // Orchestrators and Prometheus ask every few seconds; that would drown the rest.
        if ["/livez", "/readyz", "/metrics"].contains(&route) {
            debug!(status, ms, "{method} {route} {status} in {ms} ms");
        } else {
            info!(status, ms, "{method} {route} {status} in {ms} ms");
        }
        response
    }
    .instrument(span.clone())
    .await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    if route == NOT_ME {
        // Who has the path can press the button: it is told to nobody.
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    if is_api || route == NOT_ME {
        // Answers about accounts belong in no cache, on the way or in the browser (RFC 9111, section 5.2.2.5).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_api {
        cors.share(origin, headers);
    }
    pages::guard(headers);
    Ok(response)
}

/// A client may make up methods: each would be a metric of its own for ever, and could write anything into the log.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("-")
}

fn requests(method: &'static str, route: &str, status: StatusCode) -> Counter {
    let status = status.as_str().to_owned();
    counter!("sixty_http_requests_total", "method" => method, "route" => route.to_owned(), "status" => status)
}

/// Where the request stands in its client's trace, or in one that begins here; and its id. Who gave neither finds all of
/// it by the one that it is answered.
fn ids(request: &Request, rng: &Rng) -> (TraceContext, String) {
    let mut given = request.headers().get_all(TRACEPARENT).iter();
    let given = match (given.next(), given.next()) {
        (Some(given), None) => given.to_str().ok().and_then(TraceContext::parse),
        _ => None,
    };
    let trace = given.map_or_else(|| TraceContext::begin(rng), |given| given.child(rng));
    let id = request_id(request).unwrap_or_else(|| match given {
        // A trace has many requests.
        Some(_) => rng.uuid().simple().to_string(),
        None => trace.id(),
    });
    (trace, id)
}

/// The id that the client gave, if it is one that may go into a log.
fn request_id(request: &Request) -> Option<String> {
    let id = request.header(REQUEST_ID)?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ((1..=128).contains(&id.len()) && id.bytes().all(harmless)).then(|| id.to_owned())
}

/// Problems pass; the framework's own errors become problems.
fn as_problem(error: poem::Error, path: Option<&Path>) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let problem = match (error.status(), path) {
        // A segment that is no text in UTF-8 names nothing.
        (StatusCode::BAD_REQUEST, Some(path)) if error.is::<ParsePathError>() && path.template.ends_with("{id}") => {
            Problem::user_not_found()
        }
        (StatusCode::METHOD_NOT_ALLOWED, Some(path)) => Problem::method_not_allowed(path.allow()),
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
            Problem::new(ProblemType::NotFound, "There is nothing at this path.")
        }
        (status, _) if status.is_client_error() => {
            Problem::new(ProblemType::MalformedRequest, "The request cannot be read.")
        }
        _ => {
            tracing::error!(%error, "a request failed");
            Problem::internal()
        }
    };
    problem.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_like_others() {
        fn boom(_: Request) -> Response {
            panic!("c4n4ry")
        }
        let (rng, patience) = (Rng::seeded(60), Duration::from_secs(10));
        let routes = Route::new().at("/", get(make_sync(boom)));
        let paths = [Path::new("/", vec![Method::GET])].into();
        let endpoint = guarded(routes, paths, rng, patience, CorsOrigins::default());
        let answer = endpoint.get_response(Request::default()).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.content_type(), Some(crate::http::problem::MEDIA_TYPE));
        assert!(answer.header(REQUEST_ID).is_some());
        let body = answer.into_body().into_string().await.unwrap();
        assert!(body.contains("/problems/internal") && !body.contains("c4n4ry"), "{body}");
    }

    #[test]
    fn templates_fit_whole_paths() {
        let me = Path::new("/v1/users/me", vec![Method::GET]);
        assert!(me.fits("/v1/users/me"));
        assert!(!me.fits("/v1/users/me/") && !me.fits("/v1/users") && !me.fits("/V1/users/me"));
        let problem = Path::new("/problems/{name}", vec![Method::GET]);
        assert!(problem.fits("/problems/internal"));
        assert!(!problem.fits("/problems/") && !problem.fits("/problems/a/b"));
        assert_eq!(Path::new("/", vec![Method::PUT, Method::GET]).allow(), "GET, HEAD, OPTIONS, PUT");
    }
}
