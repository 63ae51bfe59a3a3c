//! The token of the "this was not me" link. With it the owner of an address deletes a registration made by somebody else.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::letters;

/// Lifetime of a link, from the latest attempt to send its mail.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the credentials of a deleted registration are recognised.
pub const DISOWNED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The secret part of a link: 128 bits that only the mail contains.
#[derive(Clone, PartialEq, Eq)]
pub struct NotMeToken([u8; 16]);

/// SHA-256 of a token, as stored in PostgreSQL. A token of 128 random bits needs no slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NotMeHash(pub [u8; 32]);

impl NotMeToken {
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

    pub fn hash(&self) -> NotMeHash {
        NotMeHash(Sha256::digest(self.0).into())
    }
}

impl std::fmt::Debug for NotMeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotMeToken(…)")
    }
}
