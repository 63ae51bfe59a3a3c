//! The link with which an old address takes a change of address back.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::letters;

/// Lifetime of a link, from the request for the change.
pub const LINK_LIFETIME: Duration = Duration::from_secs(72 * 60 * 60);

/// The secret part of a link: 128 bits that only the mail contains.
#[derive(Clone, PartialEq, Eq)]
pub struct RestoreToken([u8; 16]);

/// SHA-256 of a token, as stored in PostgreSQL. A token of 128 random bits needs no slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RestoreHash(pub [u8; 32]);

impl RestoreToken {
    pub fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    pub fn letters(&self) -> String {
        letters::encode(&self.0)
    }

    /// Parses 32 letters from `a` to `p`. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        letters::decode(text).map(Self)
    }

    pub fn hash(&self) -> RestoreHash {
        RestoreHash(Sha256::digest(self.0).into())
    }
}

impl std::fmt::Debug for RestoreToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RestoreToken(…)")
    }
}
