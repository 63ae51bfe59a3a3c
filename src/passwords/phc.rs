//! Password hashes and their PHC strings: `$argon2id$v=19$m=…,t=…,p=…$salt$digest`.
//!
//! Only the form that this file writes is read: a string must equal what its parsed value is written as.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::{self, Output, ParamsString};
use argon2::{ARGON2ID_IDENT, Params, Version};
use thiserror::Error;

use super::params::{DIGEST_OCTETS, HashCost, HashParams, Salt};

/// The output of argon2id. `==` compares in constant time.
#[derive(Clone, PartialEq)]
pub struct Digest(Output);

/// A digest with the parameters that it was computed with, as in a PHC string.
#[derive(Clone)]
pub struct PasswordHash {
    pub params: HashParams,
    pub(super) digest: Digest,
}

#[derive(Debug, Error)]
#[error("not a PHC string of argon2id, version 19")]
pub struct PhcError;

impl Digest {
    pub(super) fn new(octets: [u8; DIGEST_OCTETS]) -> Self {
        Self(Output::new(&octets).expect("PHC strings hold digests of 32 octets"))
    }
}

impl PasswordHash {
    /// Returns the hash of a password whose evaluation with these parameters gave this digest.
    pub fn new(params: HashParams, digest: Digest) -> Self {
        Self { params, digest }
    }

    /// Returns a hash with these octets as its digest. No password is known to have it if the octets are random.
    pub fn of_digest(salt: Salt, cost: HashCost, octets: [u8; DIGEST_OCTETS]) -> Self {
        Self { params: HashParams { salt, cost }, digest: Digest::new(octets) }
    }

    /// Returns whether `digest` equals the digest of this hash. Constant time.
    ///
    /// The caller must have computed `digest` with the parameters of this hash.
    pub fn matches(&self, digest: &Digest) -> bool {
        self.digest == *digest
    }

    /// Returns the digest that a password with this hash has.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the PHC string of this hash.
    pub fn to_phc(&self) -> String {
        let HashParams { salt, cost } = self.params;
        phc::PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(cost.argon2_params()).expect("a PHC string holds three numbers"),
            salt: Some(phc::Salt::new(&salt.0).expect("PHC strings hold salts of 16 octets")),
            hash: Some(self.digest.0),
        }
        .to_string()
    }

    /// Parses a PHC string that [`PasswordHash::to_phc`] has written.
    ///
    /// # Errors
    /// When the string differs from that form in any octet: another algorithm, version or length, for example.
    pub fn from_phc(text: &str) -> Result<Self, PhcError> {
        let parsed = phc::PasswordHash::new(text).map_err(|_| PhcError)?;
        let salt = parsed.salt.and_then(|salt| salt.as_ref().try_into().ok()).ok_or(PhcError)?;
        let params = HashParams { salt: Salt(salt), cost: parsed.params.as_str().parse()? };
        let digest = parsed.hash.filter(|digest| digest.len() == DIGEST_OCTETS).ok_or(PhcError)?;
        let hash = Self { params, digest: Digest(digest) };
        if hash.to_phc() == text { Ok(hash) } else { Err(PhcError) }
    }
}

/// Shows neither salt nor digest: whoever has both can test passwords offline.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.params.cost).finish_non_exhaustive()
    }
}

/// Writes the parameters as a PHC string has them: `m=19456,t=2,p=1`.
impl fmt::Display for HashCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.argon2_params().fmt(f)
    }
}

/// Parses the parameters as a PHC string has them: `m=19456,t=2,p=1`, in this order and without others.
impl FromStr for HashCost {
    type Err = PhcError;

    fn from_str(text: &str) -> Result<Self, PhcError> {
        let params: Params = text.parse().map_err(|_| PhcError)?;
        let cost = Self::new(params.m_cost(), params.t_cost(), params.p_cost()).map_err(|_| PhcError)?;
        // argon2 takes defaults for missing parameters, and accepts further ones.
        if cost.to_string() == text { Ok(cost) } else { Err(PhcError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest is 0, 1, 2 … 31, as no password gives it.
    const PHC: &str = "$argon2id$v=19$m=8,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn phc_strings_survive_a_round_trip() {
        let hash = PasswordHash::from_phc(PHC).unwrap();
        assert_eq!(hash.params.salt, Salt(*b"somesalt12345678"));
        assert_eq!(hash.params.cost, HashCost::new(8, 2, 1).unwrap());
        assert!(hash.matches(&Digest::new(std::array::from_fn(|n| n as u8))));
        assert_eq!(hash.to_phc(), PHC);
    }

    #[test]
    fn malformed_phc_strings_are_rejected() {
        for phc in ["", "$argon2i$v=19$m=8,t=1,p=1$AA$AA", "$argon2id$v=19$m=99999999,t=1,p=1$AA$AA", "$2b$12$x"] {
            assert!(PasswordHash::from_phc(phc).is_err());
        }
        for (part, other) in [
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("$v=19", ""),
            ("m=8,t=2,p=1", "t=2,m=8,p=1"),
            ("m=8,", ""),
            ("p=1", "p=1,keyid=AAAA"),
            ("p=1", "p=1,data=AAAA"),
            ("m=8", "m=08"),
            ("m=8", "m=1048577"),
            ("c29tZXNhbHQxMjM0NTY3OA", "c29tZXNhbHQ"),
            ("Hh8", "Hg"),
            ("Hh8", "Hh8="),
            ("Hh8", "Hh8$"),
        ] {
            assert!(PHC.contains(part) && PasswordHash::from_phc(&PHC.replace(part, other)).is_err(), "{other}");
        }
    }

    #[test]
    fn malformed_costs_are_rejected() {
        assert_eq!("m=8,t=2,p=1".parse::<HashCost>().unwrap(), HashCost::new(8, 2, 1).unwrap());
        for text in ["", "m=8,t=2", "t=2,m=8,p=1", "m=8,t=2,p=1,", "m=8,t=2,p=1,p=1", "m=7,t=2,p=1", "m=8,t=2,p=17"] {
            assert!(text.parse::<HashCost>().is_err(), "{text}");
        }
    }
}
