//! The verification code. It is derived from `CODE_SECRET` and a nonce in the outbox, and never stored in PostgreSQL.
//!
//! After a crash the code can be derived again. The database alone reveals no code.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use super::address_change::RestoreToken;
use super::email::{Address, is_invisible};
use super::mailbox::Mailbox;
use super::not_me::NotMeToken;
use super::user::UserId;

/// Number of wrong guesses that destroys a code.
pub const MAX_WRONG_GUESSES: u8 = 3;

/// Number of digits of a code, 4 to 10. An address with many grants gets 10 digits, so it never needs to be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLength(u8);

impl CodeLength {
    pub const FOUR: Self = Self(4);
    pub const EIGHT: Self = Self(8);
    pub const TEN: Self = Self(10);

    /// Returns `None` unless `digits` is 4 to 10.
    pub fn new(digits: u8) -> Option<Self> {
        (Self::FOUR.0..=Self::TEN.0).contains(&digits).then_some(Self(digits))
    }

    pub fn digits(self) -> usize {
        usize::from(self.0)
    }

    /// Returns the number of different codes of this length.
    pub fn space(self) -> u64 {
        10_u64.pow(self.digits() as u32)
    }
}

/// The random input of one grant's code, stored in the outbox. Deriving the code also needs the [`CodeSecret`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// Sequence number of a grant. Of two grants to one user, the later has the greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant(pub i64);

/// An attempt to send the mail of a grant. Of two attempts for one grant, the later has the greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailAttempt {
    pub grant: Grant,
    pub number: u32,
}

/// Names an address in a password reset: the beginning of a MAC of the address under [`CodeSecret`].
///
/// Every address has one, whether or not it has an account. Without the secret, nobody can test addresses against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResetId(pub [u8; 16]);

impl std::fmt::Display for ResetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What a code is for, and whose it is. The codes of two keys never touch each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeKey {
    /// The code that activates a pending registration.
    Registration(UserId),
    /// The code that sets a new password for the account of an address.
    PasswordReset(ResetId),
    /// The code that gives an account another address.
    AddressChange(UserId),
}

/// How long codes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLifetimes {
    /// Of the codes of a registration and of a change of address, from the acceptance of their mail (`CODE_TTL`).
    pub registration: Duration,
    /// Of the code of a password reset, from the moment when the mail worker takes up its mail (`RESET_CODE_TTL`).
    pub password_reset: Duration,
}

impl Default for CodeLifetimes {
    fn default() -> Self {
        Self { registration: Duration::from_secs(60), password_reset: Duration::from_secs(10 * 60) }
    }
}

impl CodeLifetimes {
    pub fn of(&self, key: CodeKey) -> Duration {
        match key {
            CodeKey::Registration(_) | CodeKey::AddressChange(_) => self.registration,
            CodeKey::PasswordReset(_) => self.password_reset,
        }
    }
}

impl From<UserId> for CodeKey {
    fn from(user: UserId) -> Self {
        Self::Registration(user)
    }
}

impl From<ResetId> for CodeKey {
    fn from(reset: ResetId) -> Self {
        Self::PasswordReset(reset)
    }
}

/// A code of a mail: 4 to 10 ASCII digits, leading zeros included.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be the digits of the code in the latest mail, as a string")]
pub struct CodeError;

impl Code {
    /// Parses the text that a user pasted or typed.
    ///
    /// Compatibility characters are replaced first (NFKC): `⒈` is a digit and a dot, `⑫` two digits. Digits of any script
    /// are read as ASCII digits. White space, hyphens, dots and invisible characters are dropped. Any other character is an
    /// error.
    pub fn parse(input: &str) -> Result<Self, CodeError> {
        let mut digits = String::new();
        for character in input.chars().flat_map(|character| std::iter::once(character).nfkc()) {
            match decimal_digit(character) {
                Some(digit) => digits.push(digit),
                None if is_separator(character) => {}
                None => return Err(CodeError),
            }
        }
        let lengths = CodeLength::FOUR.digits()..=CodeLength::TEN.digits();
        if lengths.contains(&digits.len()) { Ok(Self(digits)) } else { Err(CodeError) }
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Returns the ASCII digit with the value of a decimal digit of any script.
///
/// Unicode encodes decimal digits in contiguous runs from zero to nine (Character Encoding Stability Policies). So the
/// position in the run is the value.
fn decimal_digit(character: char) -> Option<char> {
    let is_decimal = |c: &char| c.general_category() == GeneralCategory::DecimalNumber;
    let run = (0..=u32::from(character)).rev().map_while(char::from_u32).take_while(is_decimal).count() as u32;
    char::from_digit(run.checked_sub(1)? % 10, 10)
}

/// Whether a character can stand in a copied code besides its digits: white space, a hyphen, a dot, or an invisible one.
fn is_separator(character: char) -> bool {
    use GeneralCategory::{Control, DashPunctuation, Format};

    character.is_whitespace()
        || is_invisible(character)
        || matches!(character.general_category(), Control | DashPunctuation | Format)
        // The blank of braille, and the mark that makes a digit a key (4️⃣).
        || matches!(character, '\u{2800}' | '\u{20E3}')
        // The minus sign, the hyphen bullet, and the hyphen key of Japanese keyboards are no dashes in Unicode.
        || matches!(character, '\u{2212}' | '\u{2043}' | '\u{30FC}')
        // Full stops and middle dots.
        || matches!(character, '.' | '\u{B7}' | '\u{6D4}' | '\u{2022}' | '\u{2027}' | '\u{2219}' | '\u{22C5}' | '\u{3002}' | '\u{30FB}')
}

/// Hides the nonce: with `CODE_SECRET` it is the code.
impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonce(…)")
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(…)")
    }
}

/// `CODE_SECRET`: at least 32 octets. Changing it invalidates all pending codes and no account.
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

    /// Returns whether the octets may come from a random generator. Of 32 random octets, fewer than 20 different ones are
    /// less likely than one in 10^9; a text has few different ones.
    pub fn looks_random(&self) -> bool {
        let octets = self.0.expose_secret();
        let distinct: std::collections::HashSet<u8> = octets.iter().copied().collect();
        distinct.len() >= 20 && !octets.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ')
    }

    /// Derives the code of a nonce: HMAC-SHA-256, reduced modulo the number of codes.
    ///
    /// Rejection sampling avoids modulo bias: a 64-bit word of the incomplete last round is skipped.
    pub fn code(&self, nonce: &Nonce, length: CodeLength) -> Code {
        let whole_rounds = u64::MAX - u64::MAX % length.space();
        let word = (0_u8..)
            .flat_map(|block| {
                // Block 0 is the HMAC of the nonce alone. About one code in 10^30 needs another block.
                let suffix = if block == 0 { vec![] } else { vec![block] };
                let mac = self.hmac(&[&nonce.0, &suffix]);
                mac.chunks_exact(8)
                    .map(|word| u64::from_be_bytes(word.try_into().expect("chunks of 8")))
                    .collect::<Vec<_>>()
            })
            .find(|word| *word < whole_rounds)
            .expect("almost every random word is below the limit, and there are 1,020 of them");
        let mut digits = String::with_capacity(length.digits());
        let width = length.digits();
        write!(digits, "{:0width$}", word % length.space()).expect("writing to a string does not fail");
        Code(digits)
    }

    /// Returns the MAC that Redis stores instead of the code. It is bound to the key. Guesses can be tested against it only
    /// with the secret.
    pub fn verifier(&self, key: CodeKey, code: &Code) -> [u8; 32] {
        let code = code.0.as_bytes();
        match key {
            CodeKey::Registration(user) => self.hmac(&[b"sixty code verifier:", user.0.as_bytes(), code]),
            CodeKey::PasswordReset(reset) => self.hmac(&[b"sixty reset code verifier:", &reset.0, code]),
            CodeKey::AddressChange(user) => self.hmac(&[b"sixty address code verifier:", user.0.as_bytes(), code]),
        }
    }

    /// Returns a decoy: it is stored like a verifier and matches no code. Without the secret the two are indistinguishable.
    pub fn decoy(&self, key: CodeKey) -> [u8; 32] {
        match key {
            CodeKey::Registration(user) => self.hmac(&[b"sixty decoy:", user.0.as_bytes()]),
            CodeKey::PasswordReset(reset) => self.hmac(&[b"sixty reset decoy:", &reset.0]),
            CodeKey::AddressChange(user) => self.hmac(&[b"sixty address decoy:", user.0.as_bytes()]),
        }
    }

    /// Returns the id of the password resets of an address.
    pub fn reset_id(&self, address: &Address) -> ResetId {
        let mac = self.hmac(&[b"sixty password reset:", address.as_str().as_bytes()]);
        ResetId(*mac.first_chunk().expect("a MAC is longer than an id"))
    }

    /// Derives the "this was not me" token of the mail with this nonce. Every retry of the mail carries the same token.
    pub fn not_me(&self, nonce: &Nonce) -> NotMeToken {
        let mac = self.hmac(&[b"sixty not me:", &nonce.0]);
        NotMeToken::new(*mac.first_chunk().expect("a MAC is longer than a token"))
    }

    /// Derives the token of the link in the notice about a change of address. Every retry of the mail carries the same token.
    pub fn restore_token(&self, nonce: &Nonce) -> RestoreToken {
        let mac = self.hmac(&[b"sixty restore address:", &nonce.0]);
        RestoreToken::new(*mac.first_chunk().expect("a MAC is longer than a token"))
    }

    /// Returns the MAC of the time in the form of the page of a link. `token`: the letters of the link.
    pub fn not_me_form(&self, token: &str, millis: u64) -> [u8; 32] {
        self.hmac(&Self::not_me_form_parts(token.as_bytes(), &millis.to_be_bytes()))
    }

    /// Compares a MAC with that of [`CodeSecret::not_me_form`], in constant time.
    pub fn is_not_me_form(&self, token: &str, millis: u64, mac: &[u8]) -> bool {
        let millis = millis.to_be_bytes();
        self.mac(&Self::not_me_form_parts(token.as_bytes(), &millis)).verify_slice(mac).is_ok()
    }

    fn not_me_form_parts<'a>(token: &'a [u8], millis: &'a [u8]) -> [&'a [u8]; 3] {
        [b"sixty not me form:", token, millis]
    }

    /// Returns a pseudonym of an address, or of a missing address: recognisable, but not readable.
    pub fn pseudonym(&self, address: Option<&Address>) -> [u8; 32] {
        self.hmac(&[b"sixty address:", address.map_or("", Address::as_str).as_bytes()])
    }

    /// Returns the MAC of a mailbox, under which PostgreSQL counts its mails.
    pub fn mailbox(&self, mailbox: &Mailbox) -> [u8; 32] {
        self.hmac(&[b"sixty mailbox:", mailbox.as_str().as_bytes()])
    }

    /// Returns the MAC of an address under which PostgreSQL keeps its grants while it has no user.
    pub fn address_row(&self, address: &str) -> [u8; 32] {
        self.hmac(&[b"sixty address row:", address.as_bytes()])
    }

    /// Returns the position at which an address draws a hash cost: uniform over all numbers.
    pub fn cost_position(&self, address: &Address) -> u64 {
        let mac = self.hmac(&[b"sixty hash cost:", address.as_str().as_bytes()]);
        u64::from_be_bytes(*mac.first_chunk().expect("a MAC is longer than a number"))
    }

    fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(parts).finalize().into_bytes().into()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac
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
    fn a_code_is_four_to_ten_ascii_digits() {
        for good in ["0000", "0042", "9999", "123456", "0123456789"] {
            assert_eq!(Code::parse(good).unwrap().expose(), good);
        }
        for bad in [
            "",
            "123",
            "12345678901",
            "12a4",
            "-123",
            "12,34",
            "1/2/3/4",
            "½¼¾½",
            "⑴⑵⑶⑷",
            "0,0,4,2",
            "\"0042\"",
            "一二三四",
            "\u{200E}",
        ] {
            assert_eq!(Code::parse(bad), Err(CodeError), "{bad}");
        }
    }

    #[test]
    fn separators_and_invisible_characters_of_a_pasted_code_are_dropped() {
        for pasted in [
            " 0042",
            "0042\n",
            "00 42",
            "00-42",
            "0042.",
            "0.0.4.2",
            "00–42",
            "00−42",
            "00·42",
            "00\u{AD}42",
            "\t0042\r\n",
            "\u{A0}0042",
            "\u{202F}00\u{2009}42",
            "\u{3000}0042",
            "\u{FEFF}0042",
            "\u{200E}0042\u{200F}",
            "0\u{200B}0\u{200D}4\u{2060}2",
            "\u{202A}0042\u{202C}",
            "0\u{FE0F}042",
            "0042。",
            "00．42",
            "\u{7}0042\0\u{7F}\u{85}",
            "\u{600}0042\u{FFF9}",
            "\u{2800}00\u{2800}42",
            "0\u{FE0F}\u{20E3}0\u{20E3}4\u{FE0F}\u{20E3}2\u{FE0F}\u{20E3}",
        ] {
            assert_eq!(Code::parse(pasted).unwrap().expose(), "0042", "{pasted:?}");
        }
    }

    #[test]
    fn digits_of_every_script_are_read() {
        for pasted in ["٠٠٤٢", "۰۰۴۲", "००४२", "００４２", "𝟎𝟘𝟺𝟤", "𑁦𑁦𑁪𑁨", "𞥐𞥐𞥔𞥒", "₀⁰④²"]
        {
            assert_eq!(Code::parse(pasted).unwrap().expose(), "0042", "{pasted}");
        }
    }

    #[test]
    fn compatibility_characters_are_read_as_their_digits() {
        for (pasted, digits) in [("⒈⒉⒊⒋", "1234"), ("⑫34", "1234"), ("⑩⑩", "1010"), ("⑫⒛", "1220"), ("①②③④", "1234")]
        {
            assert_eq!(Code::parse(pasted).unwrap().expose(), digits, "{pasted}");
        }
    }

    /// Fails if a newer Unicode version breaks the rule that [`decimal_digit`] relies on.
    #[test]
    fn decimal_digits_of_unicode_stand_in_runs_of_ten() {
        let is_decimal = |c: &char| c.general_category() == GeneralCategory::DecimalNumber;
        let all: Vec<char> = ('\0'..=char::MAX).collect();
        let runs: Vec<usize> = all
            .chunk_by(|a, b| is_decimal(a) == is_decimal(b))
            .filter(|run| is_decimal(&run[0]))
            .map(<[_]>::len)
            .collect();
        assert!(runs.len() > 60 && runs.iter().all(|length| length % 10 == 0), "{runs:?}");
    }

    #[test]
    fn code_depends_only_on_secret_nonce_and_length() {
        assert_eq!(secret().code(&nonce(1), CodeLength::FOUR), secret().code(&nonce(1), CodeLength::FOUR));
        assert_eq!(secret().code(&nonce(1), CodeLength::TEN).expose().len(), 10);
        let other = CodeSecret::new(vec![8; 32]).unwrap();
        assert_ne!(secret().code(&nonce(1), CodeLength::TEN), other.code(&nonce(1), CodeLength::TEN));
    }

    #[test]
    fn first_digits_of_codes_are_uniformly_distributed() {
        let draws: u64 = 100_000;
        let mut by_first_digit = [0_u64; 10];
        for n in 0..draws {
            let code = secret().code(&nonce(n), CodeLength::FOUR);
            assert_eq!(code.expose().len(), 4);
            by_first_digit[usize::from(code.expose().as_bytes()[0] - b'0')] += 1;
        }
        // Chi-squared test with 9 degrees of freedom, p = 0.001. The input is fixed, so the test cannot be flaky.
        let expected = draws as f64 / 10.0;
        let chi: f64 = by_first_digit.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        assert!(chi < 27.88, "{by_first_digit:?}");
    }

    #[test]
    fn verifier_is_bound_to_key_and_code() {
        let (ada, eve) = (UserId(Uuid::from_u128(1)).into(), UserId(Uuid::from_u128(2)).into());
        let code = Code::parse("0042").unwrap();
        assert_eq!(secret().verifier(ada, &code), secret().verifier(ada, &code));
        assert_ne!(secret().verifier(ada, &code), secret().verifier(eve, &code));
        assert_ne!(secret().verifier(ada, &code), secret().verifier(ada, &Code::parse("0043").unwrap()));
        let reset = ResetId(*Uuid::from_u128(1).as_bytes()).into();
        assert_ne!(secret().verifier(ada, &code), secret().verifier(reset, &code));
        assert_ne!(secret().decoy(ada), secret().decoy(reset));
    }

    #[test]
    fn token_depends_only_on_secret_and_nonce_and_does_not_reveal_the_code() {
        assert_eq!(secret().not_me(&nonce(1)), secret().not_me(&nonce(1)));
        assert_ne!(secret().not_me(&nonce(1)), secret().not_me(&nonce(2)));
        let other = CodeSecret::new(vec![8; 32]).unwrap();
        assert_ne!(secret().not_me(&nonce(1)), other.not_me(&nonce(1)));
        // The code is derived from this MAC. So the token must not be a part of the MAC.
        let mac = secret().hmac(&[&nonce(1).0]);
        assert!(
            mac.windows(16).all(|octets| NotMeToken::new(octets.try_into().unwrap()) != secret().not_me(&nonce(1)))
        );
    }

    #[test]
    fn short_secret_is_refused_and_debug_output_hides_the_secret() {
        assert_eq!(CodeSecret::new(vec![7; 31]).err(), Some(ShortSecret));
        assert!(!format!("{:?}", secret()).contains('7'));
    }
}
