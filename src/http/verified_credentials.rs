//! Credentials that this process has verified a short time ago.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use quick_cache::sync::Cache;
use sha2::Sha256;
use tokio::time::Instant;

use crate::domain::email::Address;
use crate::domain::password::Password;
use crate::rng::Rng;

/// How long verified credentials are remembered: as long as the longest wait after failures.
const TTL: Duration = Duration::from_secs(15 * 60);
/// The most credentials that are remembered: about 1 MB.
const CAPACITY: usize = 10_000;

/// A memory of verified credentials, as MACs under a key that never leaves this process. Clones share it.
///
/// It lets a client with the right password in while neighbours fail at the same address. Nobody without the password can
/// reach an entry, so an entry shows nothing to others.
#[derive(Clone)]
pub struct VerifiedCredentials {
    key: [u8; 32],
    entries: Arc<Cache<[u8; 32], Instant>>,
}

/// The MAC of an address and a password.
#[derive(Clone, Copy)]
pub struct CredentialsMac([u8; 32]);

impl VerifiedCredentials {
    pub fn new(rng: &Rng) -> Self {
        Self { key: rng.bytes(), entries: Arc::new(Cache::new(CAPACITY)) }
    }

    pub fn mac(&self, address: Option<&Address>, password: &Password) -> CredentialsMac {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        // An address has no NUL, so no two pairs have the same octets.
        mac.update(address.map_or("", Address::as_str).as_bytes());
        mac.update(&[0]);
        mac.update(password.expose().as_bytes());
        CredentialsMac(mac.finalize().into_bytes().into())
    }

    pub fn contain(&self, mac: CredentialsMac) -> bool {
        self.entries.get(&mac.0).is_some_and(|expires_at| Instant::now() < expires_at)
    }

    pub fn remember(&self, mac: CredentialsMac) {
        self.entries.insert(mac.0, Instant::now() + TTL);
    }

    pub fn forget(&self, mac: CredentialsMac) {
        self.entries.remove(&mac.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email::Email;

    #[test]
    fn verified_credentials_are_remembered_until_they_expire() {
        let verified = VerifiedCredentials::new(&Rng::seeded(60));
        let ada = Email::parse("ada@example.com").unwrap();
        let mac = |text: &str| verified.mac(Some(ada.address()), &Password::present(text).unwrap());
        verified.remember(mac("correct horse"));
        assert!(verified.contain(mac("correct horse")));
        assert!(!verified.contain(mac("battery staple")));
        verified.entries.insert(mac("correct horse").0, Instant::now());
        assert!(!verified.contain(mac("correct horse")));
    }
}
