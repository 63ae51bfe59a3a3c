//! The only source of randomness: tests can seed it, and auditors have one file to read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};
use uuid::{Builder, Uuid};

use crate::domain::code::Nonce;
use crate::domain::user::UserId;

/// A cryptographically secure generator, seeded once from the operating system. Clones share it.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<StdRng>>);

impl Rng {
    /// # Panics
    /// When the operating system gives no randomness: there is no safe fallback.
    pub fn from_system() -> Self {
        Self::from_rng(StdRng::try_from_rng(&mut SysRng).expect("the operating system gives randomness"))
    }

    /// Returns a generator for tests: the same seed gives the same values in the same order.
    pub fn seeded(seed: u64) -> Self {
        Self::from_rng(StdRng::seed_from_u64(seed))
    }

    fn from_rng(rng: StdRng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut bytes);
        bytes
    }

    /// Returns a random number, uniform in `0.0..1.0`.
    pub fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    pub fn nonce(&self) -> Nonce {
        Nonce(self.bytes())
    }

    pub fn uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// Returns a UUIDv7. Its timestamp only sorts lists, so this machine's clock is precise enough.
    #[expect(clippy::disallowed_methods, reason = "no rule depends on the time inside an id")]
    pub fn user_id(&self) -> UserId {
        self.user_id_since(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    /// Returns the UUIDv7 of a user who was created this long after 1970.
    pub fn user_id_since(&self, since_epoch: Duration) -> UserId {
        UserId(Builder::from_unix_timestamp_millis(since_epoch.as_millis() as u64, &self.bytes()).into_uuid())
    }
}
