//! Passwords that this process has verified a short time ago, so that the next request with them costs no argon2id
//! evaluation.
//!
//! An entry is a MAC of the user's PHC string and the password, under a random key that never leaves the process. Callers
//! read the PHC string from PostgreSQL on every request. So an entry stops matching as soon as the stored hash changes: by a
//! new password, another registration, or another cost.
//!
//! Only the right password reaches an entry. A wrong one costs the whole evaluation, whatever is remembered.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use quick_cache::sync::Cache;
use sha2::Sha256;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::phc::PasswordHash;
use crate::domain::password::Password;
use crate::domain::user::UserId;
use crate::rng::Rng;

/// A bounded memory of verified passwords, at most one for each user. Clones share it.
#[derive(Clone)]
pub struct VerifiedPasswords(Arc<Shared>);

struct Shared {
    key: Zeroizing<[u8; 32]>,
    ttl: Duration,
    /// Users who log in repeatedly are kept, users who were seen once make room.
    entries: Cache<UserId, Arc<Entry>>,
}

/// Boxed, so that the cache moves no copies of the MAC. The last owner zeroes it.
struct Entry {
    mac: Zeroizing<[u8; 32]>,
    expires_at: Instant,
}

impl VerifiedPasswords {
    /// Remembers the passwords of at most `capacity` users, each for `ttl` after its evaluation.
    pub fn new(ttl: Duration, capacity: usize, rng: &Rng) -> Self {
        Self(Arc::new(Shared { key: Zeroizing::new(rng.bytes()), ttl, entries: Cache::new(capacity) }))
    }

    /// Remembers that the password of a user has this hash. Only after an evaluation has shown it.
    pub fn remember(&self, user: UserId, hash: &PasswordHash, password: &Password) {
        let mac = Zeroizing::new(self.mac(hash, password).finalize().into_bytes().into());
        let entry = Entry { mac, expires_at: Instant::now() + self.0.ttl };
        self.0.entries.insert(user, Arc::new(entry));
    }

    /// Returns whether the password of a user is remembered to have this hash. Compares in constant time.
    pub fn contain(&self, user: UserId, hash: &PasswordHash, password: &Password) -> bool {
        let entry = self.0.entries.get(&user).filter(|entry| Instant::now() < entry.expires_at);
        entry.is_some_and(|entry| self.mac(hash, password).verify_slice(&entry.mac[..]).is_ok())
    }

    fn mac(&self, hash: &PasswordHash, password: &Password) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0.key[..]).expect("HMAC takes keys of any length");
        // A PHC string has no NUL, so no two pairs have the same octets.
        mac.update(hash.to_phc().as_bytes());
        mac.update(&[0]);
        mac.update(password.expose().as_bytes());
        mac
    }

    /// Deletes entries that have expired, until `stop` is cancelled. An entry outlives its time by at most a quarter.
    pub async fn expire(self, stop: CancellationToken) {
        let pause = (self.0.ttl / 4).max(Duration::from_millis(100));
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let now = Instant::now();
            self.0.entries.retain(|_, entry| now < entry.expires_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::network::Network;
    use crate::passwords::{HashCost, Hasher, Salt};

    const TTL: Duration = Duration::from_secs(60);

    fn password(text: &str) -> Password {
        Password::present(text).unwrap()
    }

    async fn hash(text: &str, salt: u8) -> PasswordHash {
        let hasher = Hasher::start(HashCost::new(8, 1, 1).unwrap(), 1, Duration::from_secs(10));
        hasher.hash(password(text), hasher.params(Salt([salt; 16])), Network::LOCAL).await.unwrap()
    }

    #[tokio::test]
    async fn only_the_same_user_hash_and_password_match() {
        let rng = Rng::seeded(60);
        let (verified, [ada, eve]) = (VerifiedPasswords::new(TTL, 10, &rng), [rng.user_id(), rng.user_id()]);
        let right = hash("correct horse", 1).await;
        verified.remember(ada, &right, &password("correct horse"));
        assert!(verified.contain(ada, &right, &password("correct horse")));
        assert!(!verified.contain(ada, &right, &password("battery staple")));
        assert!(!verified.contain(eve, &right, &password("correct horse")));
        for other in [hash("correct horse", 2).await, hash("battery staple", 1).await] {
            assert!(!verified.contain(ada, &other, &password("correct horse")));
        }
    }

    #[tokio::test]
    async fn an_entry_expires_and_is_deleted() {
        let rng = Rng::seeded(60);
        let (verified, ada) = (VerifiedPasswords::new(Duration::from_millis(1), 10, &rng), rng.user_id());
        let right = hash("correct horse", 1).await;
        verified.remember(ada, &right, &password("correct horse"));
        assert_eq!(verified.0.entries.len(), 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(!verified.contain(ada, &right, &password("correct horse")));
        let stop = CancellationToken::new();
        let expiry = tokio::spawn(verified.clone().expire(stop.clone()));
        while !verified.0.entries.is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        expiry.await.unwrap();
    }

    #[tokio::test]
    async fn no_more_users_are_remembered_than_the_capacity() {
        let rng = Rng::seeded(60);
        let verified = VerifiedPasswords::new(TTL, 10, &rng);
        let right = hash("correct horse", 1).await;
        for _ in 0..1000 {
            verified.remember(rng.user_id(), &right, &password("correct horse"));
        }
        assert!(verified.0.entries.len() <= 10);
    }
}
