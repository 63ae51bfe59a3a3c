//! Calls that are made while another one is in flight share the next one ("group commit"). An idle store gets each call at
//! once, alone.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// The most calls in one batch.
const MOST: usize = 64;

/// Runs calls of one kind, several at a time. Clones share the batches.
pub(super) struct Batches<T, R>(mpsc::UnboundedSender<Call<T, R>>);

struct Call<T, R> {
    argument: T,
    reply: oneshot::Sender<R>,
}

impl<T, R> Clone for Batches<T, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static, R: Send + 'static> Batches<T, R> {
    /// Starts a task that runs one batch after the other. `run` returns one result for each argument, in their order.
    /// The task ends with the last clone.
    pub fn start<F>(run: impl Fn(Vec<T>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Vec<R>> + Send,
    {
        let (sender, mut calls) = mpsc::unbounded_channel::<Call<T, R>>();
        tokio::spawn(async move {
            while let Some(first) = calls.recv().await {
                // Other tasks that are ready to run may make calls, too.
                tokio::task::yield_now().await;
                let others = std::iter::from_fn(|| calls.try_recv().ok()).take(MOST - 1);
                let (arguments, replies): (Vec<T>, Vec<_>) =
                    std::iter::once(first).chain(others).map(|Call { argument, reply }| (argument, reply)).unzip();
                for (reply, result) in replies.into_iter().zip(run(arguments).await) {
                    // The caller may have been cancelled.
                    let _ = reply.send(result);
                }
            }
        });
        Self(sender)
    }

    /// Makes a call. Returns `None` if its batch has panicked.
    pub async fn call(&self, argument: T) -> Option<R> {
        let (reply, result) = oneshot::channel();
        self.0.send(Call { argument, reply }).ok()?;
        result.await.ok()
    }
}
