//! Limits on the size and the time of request bodies.

use std::sync::Arc;
use std::time::Duration;

use poem::http::header;
use poem::{Body, Endpoint, Request};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::problem::Problem;
use super::problem_type::ProblemType;

/// The largest accepted body, in bytes. The largest valid body is several times smaller.
pub const MAX_BODY: usize = 16 * 1024;
/// How many bytes of a too large body are read and discarded, and for how long. Many clients read the response only after
/// they have sent the whole body; without this they would get a connection reset.
const MAX_DISCARDED: u64 = 8 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Middleware: reads the whole body into memory, then calls the endpoint.
///
/// # Errors
/// A problem if the body is larger than [`MAX_BODY`], breaks off, or does not arrive within `timeout`. A body whose declared
/// length is too large is not waited for.
pub async fn read_body<E: Endpoint>(
    endpoint: Arc<E>,
    mut request: Request,
    timeout: Duration,
) -> poem::Result<E::Output> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let too_large = || Problem::new(ProblemType::PayloadTooLarge, format!("The body is larger than {MAX_BODY} bytes."));
    // A client that waits for "100 Continue" sends nothing after an error.
    let is_sent = !request.headers().contains_key(header::EXPECT);
    let mut reader = request.take_body().into_async_read();
    if declared.is_some_and(|length: u64| length > MAX_BODY as u64) {
        if is_sent {
            discard(reader);
        }
        return Err(too_large().into());
    }
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
            discard(reader);
            too_large()
        }
        Ok(Err(_)) => Problem::new(ProblemType::MalformedRequest, "The body broke off."),
        Err(_) => Problem::new(ProblemType::MalformedRequest, format!("The body was not complete within {timeout:?}.")),
    };
    Err(problem.into())
}

/// Reads the rest of a body while the response is on its way. Errors are ignored: the body is too large, whatever follows.
fn discard(body: impl AsyncRead + Send + Unpin + 'static) {
    tokio::spawn(async move {
        let rest = async { tokio::io::copy(&mut body.take(MAX_DISCARDED), &mut tokio::io::sink()).await };
        let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
    });
}
