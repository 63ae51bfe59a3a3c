//! In-memory fakes of the stores, with a clock that tests move. The fakes pass the same contract tests as the real stores.

mod clock;
mod codes;
#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod model_tests;
mod service;
mod user_lists;
mod users;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use clock::ManualClock;
pub use codes::InMemoryCodes;
pub use service::InMemoryService;
pub use users::InMemoryUsers;

/// Locks a mutex, also after a test panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
