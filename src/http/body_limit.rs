//! What a request's body may cost.

use std::sync::Arc;
use std::time::Duration;

use poem::{Body, Endpoint, Request};
use tokio::io::AsyncReadExt;

use super::problem::Problem;
use super::problem_type::ProblemType;

/// Several times what the largest valid body needs.
pub const MAX_BODY: usize = 16 * 1024;
/// What is still read of a body that is too large, so that a client that does not listen while it sends gets to read
/// the answer rather than a reset connection.
const MAX_DISCARDED: u64 = 8 * 1024 * 1024;

/// Reads the whole body within the limits before anything looks at the request.
pub async fn read_body<E: Endpoint>(
    endpoint: Arc<E>,
    mut request: Request,
    timeout: Duration,
) -> poem::Result<E::Output> {
    let mut reader = request.take_body().into_async_read();
    let read = async {
        let mut body = Vec::new();
        (&mut reader).take(MAX_BODY as u64 + 1).read_to_end(&mut body).await.map(|_| body)
    };
    let problem = match tokio::time::timeout(timeout, read).await {
        Ok(Ok(body)) if body.len() <= MAX_BODY => {
            request.set_body(Body::from(body));
            return endpoint.call(request).await;
        }
        Ok(Ok(_)) => {
            // Whatever becomes of the rest, the body is too large.
            let rest = async { tokio::io::copy(&mut reader.take(MAX_DISCARDED), &mut tokio::io::sink()).await };
            let _ = tokio::time::timeout(timeout, rest).await;
            Problem::new(ProblemType::PayloadTooLarge, format!("The body is larger than {MAX_BODY} octets."))
        }
        Ok(Err(_)) => Problem::new(ProblemType::MalformedRequest, "The body broke off."),
        Err(_) => Problem::new(ProblemType::MalformedRequest, format!("The body was not complete within {timeout:?}.")),
    };
    Err(problem.into())
}
