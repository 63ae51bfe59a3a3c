//! A few at a time: what is asked at once for one key takes turns, in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone)]
pub(super) struct KeyedSemaphore {
    at_once: usize,
    /// Of each key that somebody has a turn for, or waits for one.
    taken: Arc<Mutex<HashMap<String, Key>>>,
}

struct Key {
    turns: Arc<Semaphore>,
    /// Who have a turn or wait for one.
    people: usize,
}

/// A turn, or a wait for one, until it is dropped: whoever goes away while waiting leaves nothing behind.
pub(super) struct KeyedPermit {
    turns: KeyedSemaphore,
    key: String,
    permit: Option<OwnedSemaphorePermit>,
}

impl KeyedSemaphore {
    pub fn new(at_once: usize) -> Self {
        Self { at_once, taken: Arc::default() }
    }

    /// `None`: it did not come in this time.
    pub async fn take(&self, key: &str, max_wait: Duration) -> Option<KeyedPermit> {
        let semaphore = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Key { turns: Arc::new(Semaphore::new(self.at_once)), people: 0 };
            let key = taken.entry(key.to_owned()).or_insert_with(new);
            key.people += 1;
            Arc::clone(&key.turns)
        };
        let mut turn = KeyedPermit { turns: self.clone(), key: key.to_owned(), permit: None };
        turn.permit = tokio::time::timeout(max_wait, semaphore.acquire_owned()).await.ok()?.ok();
        Some(turn)
    }
}

impl Drop for KeyedPermit {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = taken.get_mut(&self.key) {
            key.people -= 1;
            if key.people == 0 {
                taken.remove(&self.key);
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
    async fn whoever_comes_when_all_are_taken_waits_for_one_of_the_same_key() {
        let turns = KeyedSemaphore::new(2);
        let first = turns.take("a", LONG).await.unwrap();
        let _second = turns.take("a", LONG).await.unwrap();
        let mut third = std::pin::pin!(turns.take("a", LONG));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.take("b", LONG).now_or_never().is_some());
        assert!(turns.take("a", Duration::ZERO).await.is_none());
        drop(first);
        assert!(third.await.is_some());
    }

    #[tokio::test]
    async fn nothing_is_left_of_who_had_a_turn_or_went_away() {
        let turns = KeyedSemaphore::new(1);
        let first = turns.take("a", LONG).await.unwrap();
        let waits = Box::pin(turns.take("a", LONG));
        let waits = waits.now_or_never();
        assert!(waits.is_none() && turns.taken.lock().unwrap().len() == 1);
        drop(first);
        assert_eq!(turns.taken.lock().unwrap().len(), 0);
    }
}
