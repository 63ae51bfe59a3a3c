//! Waiting for a condition, with a deadline.

use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Polls `condition` until it returns `Some`, for at most 60 seconds. Panics and names `awaited` at the deadline.
pub async fn eventually<T>(awaited: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, awaited, condition).await
}

/// Polls `condition` until it returns `Some`, for at most `deadline`. Panics and names `awaited` at the deadline.
pub async fn eventually_within<T>(
    deadline: Duration,
    awaited: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let poll = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if let Some(value) = condition().await {
                return value;
            }
        }
    };
    tokio::time::timeout(deadline, poll)
        .await
        .unwrap_or_else(|_| panic!("timed out after {deadline:?} waiting for: {awaited}"))
}
