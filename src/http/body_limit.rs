//! Limits on the size and the time of request bodies.

use std::sync::Arc;
use std::time::Duration;

use poem::{Body, Endpoint, Request};
use tokio::io::AsyncReadExt;

use super::problem::Problem;
use super::problem_type::ProblemType;

/// The largest accepted body, in bytes. The largest valid body is several times smaller.
pub const MAX_BODY: usize = 16 * 1024;
/// How many bytes of a too large body are read and discarded. Many clients read the response only after they have sent
/// the whole body; without this they would get a connection reset.
const MAX_DISCARDED: u64 = 8 * 1024 * 1024;

/// Middleware: reads the whole body into memory, then calls the endpoint.
///
/// # Errors
/// A problem if the body is larger than [`MAX_BODY`], breaks off, or does not arrive within `timeout`.
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
            // Errors are ignored: the body is too large, whatever follows.
            let rest = async { tokio::io::copy(&mut reader.take(MAX_DISCARDED), &mut tokio::io::sink()).await };
            let _ = tokio::time::timeout(timeout, rest).await;
            Problem::new(ProblemType::PayloadTooLarge, format!("The body is larger than {MAX_BODY} bytes."))
        }
        Ok(Err(_)) => Problem::new(ProblemType::MalformedRequest, "The body broke off."),
        Err(_) => Problem::new(ProblemType::MalformedRequest, format!("The body was not complete within {timeout:?}.")),
    };
    Err(problem.into())
}
