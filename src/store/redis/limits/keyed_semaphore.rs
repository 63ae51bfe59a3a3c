//! Per-key concurrency limit, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A semaphore for each key. A key takes memory only while a permit for it is held or awaited.
#[derive(Clone)]
pub(super) struct KeyedSemaphore {
    permits_per_key: usize,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

struct Entry {
    semaphore: Arc<Semaphore>,
    /// The number of [`KeyedPermit`]s of this key.
    references: usize,
}

/// A permit for one key, or the wait for one. Dropping it releases the permit, or cancels the wait.
pub(super) struct KeyedPermit {
    semaphores: KeyedSemaphore,
    key: String,
    /// `None` while the wait for the permit lasts.
    permit: Option<OwnedSemaphorePermit>,
}

impl KeyedSemaphore {
    pub fn new(permits_per_key: usize) -> Self {
        Self { permits_per_key, entries: Arc::default() }
    }

    /// Waits for a permit. `None`: none became free within `max_wait`.
    pub async fn acquire(&self, key: &str, max_wait: Duration) -> Option<KeyedPermit> {
        let semaphore = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Entry { semaphore: Arc::new(Semaphore::new(self.permits_per_key)), references: 0 };
            let entry = entries.entry(key.to_owned()).or_insert_with(new);
            entry.references += 1;
            Arc::clone(&entry.semaphore)
        };
        // Made before the wait, so that a caller who is cancelled while waiting drops its reference.
        let mut keyed = KeyedPermit { semaphores: self.clone(), key: key.to_owned(), permit: None };
        keyed.permit = tokio::time::timeout(max_wait, semaphore.acquire_owned()).await.ok()?.ok();
        Some(keyed)
    }
}

impl Drop for KeyedPermit {
    fn drop(&mut self) {
        let mut entries = self.semaphores.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&self.key) {
            entry.references -= 1;
            if entry.references == 0 {
                entries.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_caller_beyond_the_limit_waits_for_a_permit_of_the_same_key() {
        let semaphores = KeyedSemaphore::new(2);
        let first = semaphores.acquire("a", LONG).await.unwrap();
        let _second = semaphores.acquire("a", LONG).await.unwrap();
        let mut third = std::pin::pin!(semaphores.acquire("a", LONG));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(semaphores.acquire("b", LONG).now_or_never().is_some());
        assert!(semaphores.acquire("a", Duration::ZERO).await.is_none());
        drop(first);
        assert!(third.await.is_some());
    }

    #[tokio::test]
    async fn released_permits_and_cancelled_waits_leave_no_entry() {
        let semaphores = KeyedSemaphore::new(1);
        let first = semaphores.acquire("a", LONG).await.unwrap();
        let waits = Box::pin(semaphores.acquire("a", LONG));
        let waits = waits.now_or_never();
        assert!(waits.is_none() && semaphores.entries.lock().unwrap().len() == 1);
        drop(first);
        assert_eq!(semaphores.entries.lock().unwrap().len(), 0);
    }
}
