//! Password hashes that another system has made: bcrypt, PBKDF2 and argon2, each with a salt of its own.
//!
//! A foreign hash is stored as it came, until the next login with the right password replaces it by argon2id.
//! Every hash says how much work its evaluation is. The limits of this file bound that work, so that no imported line can
//! keep a hashing thread busy for long.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::Output;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::Hmac;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::domain::password::Password;

/// The longest text of a hash, in octets.
const MAX_OCTETS: usize = 512;
/// About a second. Each step doubles the work.
const MAX_BCRYPT_COST: u8 = 14;
/// bcrypt ignores what follows (with the final NUL).
const BCRYPT_PASSWORD_OCTETS: usize = 72;
/// Octets of a bcrypt digest in its text: the last of the 24 octets is left out.
const BCRYPT_DIGEST_OCTETS: usize = 23;
/// Iterations times blocks of 32 octets: about a second.
const MAX_PBKDF2_WORK: u64 = 4_000_000;
const PBKDF2_BLOCK_OCTETS: usize = 32;
/// 256 MiB.
const MAX_ARGON2_MEMORY_KIB: u32 = 1 << 18;
/// Memory in KiB times passes: about a second.
const MAX_ARGON2_WORK: u64 = 1 << 20;
const MAX_ARGON2_LANES: u32 = 16;
/// A shorter digest would match many passwords; a longer one is a defect.
const DIGEST_OCTETS: std::ops::RangeInclusive<usize> = 16..=64;
const MAX_SALT_OCTETS: usize = 64;

/// A hash that another system has made.
#[derive(Clone)]
pub struct ForeignHash {
    cost: ForeignCost,
    salt: Vec<u8>,
    /// `==` compares in constant time.
    digest: Output,
    /// As it came.
    text: String,
}

/// The scheme of a foreign hash and the work of its evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForeignCost {
    Argon2 {
        variant: Argon2Variant,
        /// 16 or 19.
        version: u8,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    Bcrypt {
        /// The binary logarithm of the number of rounds.
        cost: u8,
    },
    Pbkdf2Sha256 {
        iterations: u32,
        digest_octets: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Argon2Variant {
    Argon2d,
    Argon2i,
    Argon2id,
}

/// Why a text is no hash that this service verifies. The messages complete a sentence that begins with "password_hash", and
/// repeat no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ForeignHashError {
    #[error(
        "must begin with $argon2id$, $argon2i$, $argon2d$, $2a$, $2b$, $2y$ or $pbkdf2-sha256$: other schemes are not supported"
    )]
    Scheme,
    #[error("is not complete, or has characters that its scheme does not have")]
    Malformed,
    #[error("must have a bcrypt cost from 4 to {MAX_BCRYPT_COST}: a login would take too long")]
    BcryptCost,
    #[error(
        "must have at most {MAX_PBKDF2_WORK} iterations for each 32 octets of the digest: a login would take too long"
    )]
    Pbkdf2Work,
    #[error(
        "must have argon2 parameters with m up to {MAX_ARGON2_MEMORY_KIB} KiB, m times t up to {MAX_ARGON2_WORK} KiB, and p up \
         to {MAX_ARGON2_LANES}: a login would take too long"
    )]
    Argon2Cost,
}
use ForeignHashError::{Argon2Cost, BcryptCost, Malformed, Pbkdf2Work, Scheme};

impl ForeignHash {
    /// Parses a PHC string of argon2, a bcrypt hash, or `$pbkdf2-sha256$` in the form of PHC strings (`i=…,l=…`) or of
    /// passlib (the number of iterations alone, `.` instead of `+`).
    pub fn parse(text: &str) -> Result<Self, ForeignHashError> {
        if text.len() > MAX_OCTETS {
            return Err(Malformed);
        }
        let is_bcrypt = text.starts_with("$2");
        let (head, salt, digest) = if is_bcrypt {
            let (head, rest) = text.split_at_checked("$2b$10".len()).ok_or(Malformed)?;
            let rest = rest.strip_prefix('$').ok_or(Malformed)?;
            // 16 octets in 22 characters and 23 octets in 31 characters.
            let (salt, digest) = rest.split_at_checked(22).filter(|(_, digest)| digest.len() == 31).ok_or(Malformed)?;
            (head, salt, digest)
        } else {
            let (rest, digest) = text.rsplit_once('$').ok_or(Scheme)?;
            let (head, salt) = rest.rsplit_once('$').ok_or(Scheme)?;
            (head, salt, digest)
        };
        let cost: ForeignCost = head.parse()?;
        let decode = |text: &str| {
            let engine = if is_bcrypt { &BCRYPT_BASE64 } else { &PHC_BASE64 };
            engine.decode(text.replace('.', if is_bcrypt { "." } else { "+" })).map_err(|_| Malformed)
        };
        let (salt, digest) = (decode(salt)?, decode(digest)?);
        let least_salt = match cost {
            ForeignCost::Argon2 { .. } => argon2::MIN_SALT_LEN,
            _ => 1,
        };
        let has_length = match cost {
            ForeignCost::Bcrypt { .. } => digest.len() == BCRYPT_DIGEST_OCTETS,
            ForeignCost::Pbkdf2Sha256 { digest_octets, .. } => digest.len() == usize::from(digest_octets),
            ForeignCost::Argon2 { .. } => DIGEST_OCTETS.contains(&digest.len()),
        };
        if !has_length || !(least_salt..=MAX_SALT_OCTETS).contains(&salt.len()) {
            return Err(Malformed);
        }
        let digest = Output::new(&digest).map_err(|_| Malformed)?;
        Ok(Self { cost, salt, digest, text: text.to_owned() })
    }

    /// Returns a hash of this cost that no password is known to have. Its evaluation takes the time of any hash of the cost.
    pub fn decoy(cost: ForeignCost) -> Self {
        let octets = match cost {
            ForeignCost::Argon2 { .. } => 32,
            ForeignCost::Bcrypt { .. } => BCRYPT_DIGEST_OCTETS,
            ForeignCost::Pbkdf2Sha256 { digest_octets, .. } => usize::from(digest_octets),
        };
        let digest = Output::new(&vec![0; octets]).expect("the lengths of digests are those of PHC strings");
        Self { cost, salt: vec![0; 16], digest, text: String::new() }
    }

    pub fn cost(&self) -> ForeignCost {
        self.cost
    }

    /// Returns the hash as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the password has this hash. Compares in constant time. `memory` grows if the cost needs more.
    ///
    /// The password counts as it was typed, without normalization, because the other system has hashed it so.
    pub(super) fn evaluate(&self, password: &Password, memory: &mut Vec<Block>) -> bool {
        let typed = password.as_typed().as_bytes();
        let mut octets = Zeroizing::new(vec![0; self.digest.len()]);
        match self.cost {
            ForeignCost::Argon2 { variant, version, memory_kib, passes, lanes } => {
                let params = Params::new(memory_kib, passes, lanes, Some(octets.len())).expect(CHECKED);
                let blocks = params.block_count();
                memory.resize_with(blocks.max(memory.len()), Block::default);
                let version = if version == 16 { Version::V0x10 } else { Version::V0x13 };
                Argon2::new(variant.algorithm(), version, params)
                    .hash_password_into_with_memory(typed, &self.salt, &mut octets, &mut memory[..blocks])
                    .expect(CHECKED);
            }
            ForeignCost::Bcrypt { cost } => {
                let mut password = Zeroizing::new([0; BCRYPT_PASSWORD_OCTETS]);
                let length = typed.len().min(BCRYPT_PASSWORD_OCTETS);
                password[..length].copy_from_slice(&typed[..length]);
                // With the final NUL, if there is room for it.
                let used = &password[..(length + 1).min(BCRYPT_PASSWORD_OCTETS)];
                let salt = *self.salt.first_chunk().expect(CHECKED);
                let digest = Zeroizing::new(bcrypt::bcrypt(u32::from(cost), salt, used));
                octets.copy_from_slice(&digest[..BCRYPT_DIGEST_OCTETS]);
            }
            ForeignCost::Pbkdf2Sha256 { iterations, .. } => {
                pbkdf2::pbkdf2::<Hmac<Sha256>>(typed, &self.salt, iterations, &mut octets)
                    .expect("HMAC takes keys of any length");
            }
        }
        Output::new(&octets).is_ok_and(|digest| digest == self.digest)
    }
}

const CHECKED: &str = "the parser has checked lengths and parameters";

impl Argon2Variant {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Argon2d => Algorithm::Argon2d,
            Self::Argon2i => Algorithm::Argon2i,
            Self::Argon2id => Algorithm::Argon2id,
        }
    }
}

/// Parses the part of a hash before its salt: `$2b$12`, `$argon2id$v=19$m=65536,t=3,p=4`, `$pbkdf2-sha256$i=600000,l=32`.
impl FromStr for ForeignCost {
    type Err = ForeignHashError;

    fn from_str(head: &str) -> Result<Self, ForeignHashError> {
        let parts: Vec<&str> = head.split('$').collect();
        let (scheme, parts) = match &parts[..] {
            ["", scheme, parts @ ..] => (*scheme, parts),
            _ => return Err(Scheme),
        };
        let variant = match scheme {
            "argon2d" => Argon2Variant::Argon2d,
            "argon2i" => Argon2Variant::Argon2i,
            "argon2id" => Argon2Variant::Argon2id,
            "2a" | "2b" | "2y" => return bcrypt_cost(parts),
            "pbkdf2-sha256" => return pbkdf2_cost(parts),
            _ => return Err(Scheme),
        };
        // The reference implementation writes no version for version 16.
        let (version, parameters) = match parts {
            ["v=19", parameters] => (19, parameters),
            ["v=16", parameters] | [parameters] => (16, parameters),
            _ => return Err(Malformed),
        };
        let [memory_kib, passes, lanes] = named_numbers(parameters, ["m", "t", "p"]).ok_or(Malformed)?;
        let is_within_limits = memory_kib <= MAX_ARGON2_MEMORY_KIB
            && u64::from(memory_kib) * u64::from(passes) <= MAX_ARGON2_WORK
            && lanes <= MAX_ARGON2_LANES;
        if !is_within_limits {
            return Err(Argon2Cost);
        }
        Params::new(memory_kib, passes, lanes, None).map_err(|_| Malformed)?;
        Ok(Self::Argon2 { variant, version, memory_kib, passes, lanes })
    }
}

fn bcrypt_cost(parts: &[&str]) -> Result<ForeignCost, ForeignHashError> {
    match parts {
        [cost] if cost.len() == 2 => {
            let cost =
                number(cost.trim_start_matches('0')).and_then(|cost| u8::try_from(cost).ok()).ok_or(Malformed)?;
            if (4..=MAX_BCRYPT_COST).contains(&cost) { Ok(ForeignCost::Bcrypt { cost }) } else { Err(BcryptCost) }
        }
        _ => Err(Malformed),
    }
}

fn pbkdf2_cost(parts: &[&str]) -> Result<ForeignCost, ForeignHashError> {
    let [parameters] = parts else { return Err(Malformed) };
    let [iterations, octets] = match number(parameters) {
        // passlib writes the iterations alone, and always digests of 32 octets.
        Some(iterations) => [iterations, 32],
        None => named_numbers(parameters, ["i", "l"]).ok_or(Malformed)?,
    };
    let digest_octets = u8::try_from(octets).ok().filter(|octets| DIGEST_OCTETS.contains(&usize::from(*octets)));
    let digest_octets = digest_octets.ok_or(Malformed)?;
    let blocks = usize::from(digest_octets).div_ceil(PBKDF2_BLOCK_OCTETS) as u64;
    if iterations == 0 || u64::from(iterations) * blocks > MAX_PBKDF2_WORK {
        return Err(Pbkdf2Work);
    }
    Ok(ForeignCost::Pbkdf2Sha256 { iterations, digest_octets })
}

/// Parses `m=65536,t=3,p=4`: these names in this order.
fn named_numbers<const N: usize>(text: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut parts = text.split(',');
    let mut numbers = [0; N];
    for (name, value) in names.iter().zip(&mut numbers) {
        *value = number(parts.next()?.strip_prefix(name)?.strip_prefix('=')?)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Parses a number in decimal digits without a sign and without leading zeros.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

const fn base64(alphabet: &Alphabet) -> GeneralPurpose {
    // Some bcrypt programs set the bits of the last character that stand for nothing.
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

const BCRYPT_BASE64: GeneralPurpose = base64(&alphabet::BCRYPT);
const PHC_BASE64: GeneralPurpose = base64(&alphabet::STANDARD);

/// Shows neither salt nor digest: whoever has both can test passwords offline.
impl fmt::Debug for ForeignHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
