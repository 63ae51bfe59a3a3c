//! The steps around every endpoint: request id, log line and metrics, message framing, CORS, error mapping, panic handling, body limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use tracing::{Instrument as _, Span, info_span};

use super::cors::CorsOrigins;
use super::path::Path;
use super::problem::{Problem, SCRIPT_CHALLENGE};
use super::request_id::RequestIds;
use super::{auth, body_limit, cors, error_mapping, framing, request_id, request_log, response_headers};
use crate::rng::Rng;
use crate::telemetry::spans;

/// Wraps an endpoint in all steps. `paths` must list every path that the endpoint serves.
pub fn wrap(
    endpoint: impl Endpoint<Output: IntoResponse> + 'static,
    paths: Vec<Path>,
    rng: Rng,
    body_timeout: Duration,
    cors: CorsOrigins,
) -> impl Endpoint<Output = Response> + 'static {
    request_log::register_metrics(&paths);
    let paths: Arc<[Path]> = paths.into();
    // The panic hook logs the panic's message; the response does not contain it.
    let catch_panic = CatchPanic::new().with_handler(|_| Problem::internal());
    endpoint
        .with(catch_panic)
        .around(move |endpoint, request| body_limit::read_body(endpoint, request, body_timeout))
        .around(move |endpoint, request| handle(endpoint, request, Arc::clone(&paths), rng.clone(), cors.clone()))
        .map_to_response()
}

/// Handles one request. Every error becomes a problem, so the result is always `Ok`.
async fn handle<E: Endpoint<Output: IntoResponse>>(
    endpoint: Arc<E>,
    mut request: Request,
    paths: Arc<[Path]>,
    rng: Rng,
    cors: CorsOrigins,
) -> poem::Result<Response> {
    let start = Instant::now();
    let method = request_log::method_label(request.method());
    let path = paths.iter().find(|path| path.matches(request.uri().path()));
    let route = request_log::route_label(path);
    let exported = match path {
        Some(path) if path.is_probe() => Span::none(),
        _ => spans::request(method, route, request_id::client_trace(&request)),
    };
    let RequestIds { trace, request_id } = RequestIds::of(&request, &exported, &rng);
    request.set_data(trace);
    let is_api = request.uri().path().starts_with("/v1/");
    let allowed_origin = cors.allowed(&request).filter(|_| is_api);
    let is_from_script = auth::is_from_script(request.headers());
    let framing = framing::check(&request);
    let closes_connection = framing.is_err() || framing::closes_connection(request.headers());
    let span = info_span!("request", request_id, trace_id = trace.id(), method, route);
    let mut response = async {
        let response = match path {
            _ if let Err(problem) = framing => problem.into_response(),
            Some(path) if request.method() == Method::OPTIONS && !path.has_options() => {
                Problem::method_not_allowed(path.allow()).into_response()
            }
            Some(path) if allowed_origin.is_some() && cors::is_preflight(&request) => cors::preflight(path.allow()),
            Some(path) if request.method() == Method::OPTIONS => path.options(),
            _ => endpoint
                .call(request)
                .await
                .map_or_else(|error| error_mapping::response_to(error, path), IntoResponse::into_response),
        };
        request_log::record(method, path, response.status(), start.elapsed());
        response
    }
    .instrument(span)
    .instrument(exported.clone())
    .await;
    spans::record_status(&exported, response.status().as_u16(), response.status().is_server_error());
    let response_status = response.status();
    let headers = response.headers_mut();
    if is_from_script && headers.contains_key(header::WWW_AUTHENTICATE) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(SCRIPT_CHALLENGE));
    }
    // The rest of a body that is too large is not read to its end.
    if closes_connection || response_status == StatusCode::PAYLOAD_TOO_LARGE {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response_headers::add(headers, &request_id, path, is_api);
    if is_api {
        cors.add_headers(allowed_origin, headers);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use poem::Route;
    use poem::endpoint::make_sync;
    use poem::get;

    use super::super::request_id::REQUEST_ID;
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_internal_problem() {
        fn panicking(_: Request) -> Response {
            panic!("c4n4ry")
        }
        let (rng, body_timeout) = (Rng::seeded(60), Duration::from_secs(10));
        let routes = Route::new().at("/", get(make_sync(panicking)));
        let paths = vec![Path::new("/", vec![Method::GET])];
        let endpoint = wrap(routes, paths, rng, body_timeout, CorsOrigins::default());
        let response = endpoint.get_response(Request::builder().header(header::HOST, "sixty").finish()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.content_type(), Some(crate::http::problem::MEDIA_TYPE));
        assert!(response.header(REQUEST_ID).is_some());
        let body = response.into_body().into_string().await.unwrap();
        assert!(body.contains("/problems/internal") && !body.contains("c4n4ry"), "{body}");
    }
}
