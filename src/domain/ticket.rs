//! The registration ticket. The owner of an address gets it for a "this was not me" report, and passes the wait with it.

use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::letters;

/// Lifetime of a ticket, from the report.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A registration ticket: 128 random bits that only the response to the report contains.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrationTicket([u8; 16]);

/// SHA-256 of a ticket, as stored in PostgreSQL. A ticket of 128 random bits needs no slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TicketHash(pub [u8; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be the 32 letters of the ticket on the page of a \"this was not me\" link")]
pub struct TicketError;

impl RegistrationTicket {
    pub fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    pub fn letters(&self) -> String {
        letters::encode(&self.0)
    }

    pub fn parse(text: &str) -> Result<Self, TicketError> {
        letters::decode(text).map(Self).ok_or(TicketError)
    }

    pub fn hash(&self) -> TicketHash {
        TicketHash(Sha256::digest(self.0).into())
    }
}

impl std::fmt::Debug for RegistrationTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistrationTicket(…)")
    }
}
