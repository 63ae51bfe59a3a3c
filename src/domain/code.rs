//! The mailed code: derived, never stored. Whoever holds the secret and the outbox's nonce can say it again, after a
//! crash as before it; whoever holds the database alone learns nothing.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use thiserror::Error;

use super::email::Address;
use super::not_me::NotMeToken;
use super::user::UserId;

/// The wrong guesses after which a code is destroyed.
pub const MAX_WRONG_GUESSES: u8 = 3;

/// How many digits a code has, from four to ten. Ten are what an attacked address gets, so that it need not be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLength(u8);

impl CodeLength {
    pub const FOUR: Self = Self(4);
    pub const TEN: Self = Self(10);

    /// `None` outside of four to ten.
    pub fn new(digits: u8) -> Option<Self> {
        (Self::FOUR.0..=Self::TEN.0).contains(&digits).then_some(Self(digits))
    }

    pub fn digits(self) -> usize {
        usize::from(self.0)
    }

    /// How many codes there are of this length.
    pub fn space(self) -> u64 {
        10_u64.pow(self.digits() as u32)
    }
}

/// What makes one grant's code: drawn at random, stored in the outbox, worthless without the [`CodeSecret`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce(pub [u8; 16]);

/// The order of grants: of two grants to one user the later has the greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant(pub i64);

/// Four to ten ASCII digits, leading zeros included.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be the digits of the code in the latest mail, as a string")]
pub struct CodeError;

impl Code {
    pub fn parse(input: &str) -> Result<Self, CodeError> {
        let lengths = CodeLength::FOUR.digits()..=CodeLength::TEN.digits();
        if lengths.contains(&input.len()) && input.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(input.to_owned()))
        } else {
            Err(CodeError)
        }
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(…)")
    }
}

/// `CODE_SECRET`: at least 32 octets. Changing it costs those who wait for a code a new mail, and nobody an account.
#[derive(Clone, Debug)]
pub struct CodeSecret(SecretSlice<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must hold at least {} octets", CodeSecret::MIN_OCTETS)]
pub struct ShortSecret;

impl CodeSecret {
    pub const MIN_OCTETS: usize = 32;

    pub fn new(octets: Vec<u8>) -> Result<Self, ShortSecret> {
        if octets.len() < Self::MIN_OCTETS { Err(ShortSecret) } else { Ok(Self(octets.into())) }
    }

    /// HMAC-SHA-256 of the nonce, reduced without bias: a 64-bit word from the incomplete last round of the code space
    /// is passed over for the next one.
    pub fn code(&self, nonce: &Nonce, length: CodeLength) -> Code {
        let whole_rounds = u64::MAX - u64::MAX % length.space();
        let word = (0_u8..)
            .flat_map(|block| {
                // The first block is the HMAC of the bare nonce; a further one is needed once in 10^30 codes.
                let suffix = if block == 0 { vec![] } else { vec![block] };
                let mac = self.hmac(&[&nonce.0, &suffix]);
                mac.chunks_exact(8)
                    .map(|word| u64::from_be_bytes(word.try_into().expect("chunks of 8")))
                    .collect::<Vec<_>>()
            })
            .find(|word| *word < whole_rounds)
            .expect("one of 1,020 random words is below nearly all of them");
        let mut digits = String::with_capacity(length.digits());
        let width = length.digits();
        write!(digits, "{:0width$}", word % length.space()).expect("writing to a string does not fail");
        Code(digits)
    }

    /// What Redis keeps instead of the code: bound to the user, useless for another, and to be tried out only by who
    /// holds the secret.
    pub fn verifier(&self, user: UserId, code: &Code) -> [u8; 32] {
        self.hmac(&[b"sixty code verifier:", user.0.as_bytes(), code.0.as_bytes()])
    }

    /// Stands where a verifier would and fits no code. Without the secret the two look alike.
    pub fn decoy(&self, user: UserId) -> [u8; 32] {
        self.hmac(&[b"sixty decoy:", user.0.as_bytes()])
    }

    /// The link in the mail that carries the nonce's code. Derived like it, so that every retry carries the same.
    pub fn not_me(&self, nonce: &Nonce) -> NotMeToken {
        let mac = self.hmac(&[b"sixty not me:", &nonce.0]);
        NotMeToken::new(*mac.first_chunk().expect("a MAC is longer than a token"))
    }

    /// What stands for an address, or for none, where one must be known again but not be read.
    pub fn pseudonym(&self, address: Option<&Address>) -> [u8; 32] {
        self.hmac(&[b"sixty address:", address.map_or("", Address::as_str).as_bytes()])
    }

    fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn secret() -> CodeSecret {
        CodeSecret::new(vec![7; 32]).unwrap()
    }

    fn nonce(n: u64) -> Nonce {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&n.to_be_bytes());
        Nonce(octets)
    }

    #[test]
    fn only_four_to_ten_ascii_digits_are_a_code() {
        for good in ["0000", "0042", "9999", "123456", "0123456789"] {
            assert_eq!(Code::parse(good).unwrap().expose(), good);
        }
        for bad in ["", "123", "12345678901", "12a4", " 1234", "1234\n", "١٢٣٤", "１２３４", "-123"] {
            assert_eq!(Code::parse(bad), Err(CodeError), "{bad}");
        }
    }

    #[test]
    fn a_nonce_gives_the_same_code_every_time_and_its_lengths_differ() {
        assert_eq!(secret().code(&nonce(1), CodeLength::FOUR), secret().code(&nonce(1), CodeLength::FOUR));
        assert_eq!(secret().code(&nonce(1), CodeLength::TEN).expose().len(), 10);
        let other = CodeSecret::new(vec![8; 32]).unwrap();
        assert_ne!(secret().code(&nonce(1), CodeLength::TEN), other.code(&nonce(1), CodeLength::TEN));
    }

    #[test]
    fn codes_are_spread_evenly_leading_zeros_included() {
        let draws: u64 = 100_000;
        let mut by_first_digit = [0_u64; 10];
        for n in 0..draws {
            let code = secret().code(&nonce(n), CodeLength::FOUR);
            assert_eq!(code.expose().len(), 4);
            by_first_digit[usize::from(code.expose().as_bytes()[0] - b'0')] += 1;
        }
        // Chi-squared with 9 degrees of freedom: 27.88 is exceeded by chance once in a thousand; the input is fixed.
        let expected = draws as f64 / 10.0;
        let chi: f64 = by_first_digit.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        assert!(chi < 27.88, "{by_first_digit:?}");
    }

    #[test]
    fn a_verifier_fits_one_user_and_one_code() {
        let (ada, eve) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let code = Code::parse("0042").unwrap();
        assert_eq!(secret().verifier(ada, &code), secret().verifier(ada, &code));
        assert_ne!(secret().verifier(ada, &code), secret().verifier(eve, &code));
        assert_ne!(secret().verifier(ada, &code), secret().verifier(ada, &Code::parse("0043").unwrap()));
    }

    #[test]
    fn a_nonce_gives_the_same_link_every_time_and_it_does_not_give_the_code_away() {
        assert_eq!(secret().not_me(&nonce(1)), secret().not_me(&nonce(1)));
        assert_ne!(secret().not_me(&nonce(1)), secret().not_me(&nonce(2)));
        let other = CodeSecret::new(vec![8; 32]).unwrap();
        assert_ne!(secret().not_me(&nonce(1)), other.not_me(&nonce(1)));
        // The code is made of the bare nonce's MAC, word by word.
        let mac = secret().hmac(&[&nonce(1).0]);
        assert!(
            mac.windows(16).all(|octets| NotMeToken::new(octets.try_into().unwrap()) != secret().not_me(&nonce(1)))
        );
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_printed() {
        assert_eq!(CodeSecret::new(vec![7; 31]).err(), Some(ShortSecret));
        assert!(!format!("{:?}", secret()).contains('7'));
    }
}
