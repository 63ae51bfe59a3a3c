//! Settings of codes, registrations and passwords.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};

use crate::accounts::{ExistingAccount, Registration};
use crate::config::error::InvalidSetting;
use crate::config::values::{Choice, number, secret, time, time_or_zero};
use crate::domain::code::{CodeLength, CodeSecret};
use crate::domain::email_domains::EmailDomains;
use crate::domain::pacing::Pacing;
use crate::passwords::HashCost;

/// The form in which Redis stores a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CodeFormat {
    /// A MAC under CODE_SECRET: a reader of Redis learns no code
    Hmac,
    /// The code itself, for demonstrations
    Plain,
}

/// Codes, and how often an address gets a new one.
#[derive(Clone, Args)]
#[command(next_help_heading = "Codes")]
pub struct CodeArgs {
    /// Key of the codes: openssl rand -base64 32
    ///
    /// At least 32 bytes in base64, the same for all replicas
    #[arg(long, env, value_name = "BASE64", required = true, value_parser = secret)]
    pub code_secret: Option<SecretString>,
    /// Form of a code in Redis: hmac or plain
    #[arg(long, env, value_name = "KIND", default_value = "hmac", value_parser = Choice::<CodeFormat>::default())]
    pub code_storage: CodeFormat,
    /// Lifetime of a code
    ///
    /// It starts when the mail provider accepts the code's mail
    #[arg(long, env, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub code_ttl: Duration,
    /// Wait between two codes for an address
    ///
    /// It doubles with each code, up to CODE_WAIT_MAX
    #[arg(long, env, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub code_wait: Duration,
    /// Longest wait between two codes
    #[arg(long, env, value_name = "TIME", default_value = "4h", value_parser = time)]
    pub code_wait_max: Duration,
    /// Time without codes that resets the wait
    ///
    /// The wait of the address then starts again with CODE_WAIT
    #[arg(long, env, value_name = "TIME", default_value = "24h", value_parser = time)]
    pub code_wait_reset: Duration,
    /// Digits of a code, from 4 to 10
    #[arg(long, env, value_name = "N", default_value_t = 4, value_parser = number::<u8>(4..=10))]
    pub code_digits: u8,
    /// Short codes per address and year
    ///
    /// A short code has CODE_DIGITS digits. After this many in any 365 days, an address gets codes of ten digits
    #[arg(long, env, value_name = "N", default_value_t = 30, value_parser = number::<u16>(0..=u16::MAX))]
    pub short_codes_per_year: u16,
    /// Lifetime of a reset code
    ///
    /// At most 30m. A reset code sets a new password. It becomes live when the mail worker takes up its mail. An address also
    /// waits at least this long for its next reset code; the wait doubles like CODE_WAIT
    #[arg(long, env, value_name = "TIME", default_value = "10m", value_parser = time)]
    pub reset_code_ttl: Duration,
    /// Digits of a reset code, from 8 to 10
    #[arg(long, env, value_name = "N", default_value_t = 8, value_parser = number::<u8>(8..=10))]
    pub reset_code_digits: u8,
    /// Code mails per mailbox in any hour
    ///
    /// From 1 to 1000. A mailbox is an address without its +tag. Further code mails are not sent. A quarter of the quota is
    /// reserved for the address without a tag
    #[arg(long, env, value_name = "N", default_value_t = 10, value_parser = number::<u16>(1..=1000))]
    pub mailbox_codes_per_hour: u16,
    /// Code mails per mailbox in any 24 hours
    ///
    /// From 1 to 1000. It works like MAILBOX_CODES_PER_HOUR
    #[arg(long, env, value_name = "N", default_value_t = 40, value_parser = number::<u16>(1..=1000))]
    pub mailbox_codes_per_day: u16,
}

impl CodeArgs {
    /// Returns the key of the codes.
    pub fn secret(&self) -> Result<CodeSecret, InvalidSetting> {
        let invalid = |reason: &str| InvalidSetting::new("CODE_SECRET", reason);
        let text = self.code_secret.as_ref().ok_or_else(|| invalid("must be set"))?;
        let key = STANDARD.decode(text.expose_secret().trim()).map_err(|_| invalid("must be base64"))?;
        CodeSecret::new(key).map_err(|error| InvalidSetting::new("CODE_SECRET", error))
    }

    /// Returns the length of a short code.
    pub fn length(&self) -> Result<CodeLength, InvalidSetting> {
        CodeLength::new(self.code_digits).ok_or_else(|| InvalidSetting::new("CODE_DIGITS", "must be in 4..=10"))
    }

    pub fn pacing(&self) -> Result<Pacing, InvalidSetting> {
        Ok(Pacing {
            first_wait: self.code_wait,
            longest_wait: self.code_wait_max,
            quiet: self.code_wait_reset,
            short_codes: self.short_codes_per_year,
            short_length: self.length()?,
        })
    }

    /// Returns the length of a reset code.
    pub fn reset_length(&self) -> Result<CodeLength, InvalidSetting> {
        let length = CodeLength::new(self.reset_code_digits);
        length.ok_or_else(|| InvalidSetting::new("RESET_CODE_DIGITS", "must be in 8..=10"))
    }

    /// Returns the pacing of reset mails: that of code mails, but no wait is shorter than the lifetime of a reset code.
    pub fn reset_pacing(&self) -> Result<Pacing, InvalidSetting> {
        let first_wait = self.code_wait.max(self.reset_code_ttl);
        let longest_wait = self.code_wait_max.max(first_wait);
        // The waits must be able to grow: the quiet time is longer than any of them.
        let quiet = self.code_wait_reset.max(longest_wait * 2);
        Ok(Pacing { first_wait, longest_wait, quiet, short_length: self.reset_length()?, ..Pacing::of_resets() })
    }
}

// The use case's own type stays free of clap.
impl ValueEnum for ExistingAccount {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Hide, Self::Reveal]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Hide => PossibleValue::new("hide").help("Answer as for a new address; a mail tells the owner"),
            Self::Reveal => PossibleValue::new("reveal").help("Answer 409 email-taken"),
        })
    }
}

impl ValueEnum for Registration {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Open, Self::Closed]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Open => PossibleValue::new("open").help("Anybody may register"),
            Self::Closed => PossibleValue::new("closed").help("Answer 403 registration-closed"),
        })
    }
}

/// Registrations.
#[derive(Clone, Args)]
#[command(next_help_heading = "Registrations")]
pub struct RegistrationArgs {
    /// Whether people may register: open or closed
    ///
    /// closed refuses new registrations. Registrations that are pending can still be activated, and accounts work as before.
    /// `sixty users create` and `sixty users import` still make accounts
    #[arg(long, env, value_name = "KIND", default_value = "open", value_parser = Choice::<Registration>::default())]
    pub registration: Registration,
    /// Domains of new addresses; default: all
    ///
    /// Separated by commas, such as example.com,*.example.org. *.example.org is every subdomain of example.org without
    /// example.org itself. Existing users, `sixty users create` and `sixty users import` are not bound by it
    #[arg(long, env, value_name = "DOMAINS")]
    pub email_domains: Option<EmailDomains>,
    /// If the address has an account: hide or reveal
    #[arg(long, env, value_name = "KIND", default_value = "hide", value_parser = Choice::<ExistingAccount>::default())]
    pub existing_account: ExistingAccount,
    /// Lifetime of a pending registration
    ///
    /// It starts again with each code that the address is granted
    #[arg(long, env, value_name = "TIME", default_value = "7d", value_parser = time)]
    pub pending_ttl: Duration,
}

/// The password policy and the cost of a hash.
#[derive(Clone, Args)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordArgs {
    /// Minimum characters of a password, from 8 to 64
    #[arg(long, env, value_name = "N", default_value_t = 8, value_parser = number::<u8>(8..=64))]
    pub password_min_length: u8,
    /// argon2id memory (m) in KiB
    ///
    /// When m × t rises, the service renews an account's hash at the next login. New addresses get the costs of existing
    /// accounts, so a lower cost applies only while there are none
    #[arg(long, env, value_name = "KIB", default_value_t = 19456, value_parser = number::<u32>(1..))]
    pub argon2_memory_kib: u32,
    /// argon2id passes (t)
    #[arg(long, env, value_name = "N", default_value_t = 2, value_parser = number::<u32>(1..))]
    pub argon2_passes: u32,
    /// argon2id lanes (p)
    #[arg(long, env, value_name = "N", default_value_t = 1, value_parser = number::<u32>(1..=16))]
    pub argon2_lanes: u32,
}

impl PasswordArgs {
    pub fn hash_cost(&self) -> Result<HashCost, InvalidSetting> {
        let cost = HashCost::new(self.argon2_memory_kib, self.argon2_passes, self.argon2_lanes);
        cost.map_err(|error| InvalidSetting::new("ARGON2_MEMORY_KIB", error))
    }
}

/// The threads that hash passwords.
#[derive(Clone, Args)]
#[command(next_help_heading = "Passwords")]
pub struct HashArgs {
    /// Hashing threads; 0 means one per core
    ///
    /// Fewer than one per core if the memory limit of the container has no room for ARGON2_MEMORY_KIB each
    #[arg(long, env, value_name = "N", default_value_t = 0, value_parser = number::<u16>(0..=1024))]
    pub hash_threads: u16,
    /// Longest predicted wait for a hashing thread
    ///
    /// If the prediction at the request's arrival is longer, the service answers 503
    #[arg(long, env, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub hash_max_wait: Duration,
    /// Time for which a password is remembered
    ///
    /// At most 1h; 0 turns it off. Only in the memory of the process, after the password was verified. Requests with the same
    /// credentials then cost no hash. A changed password or a disabled account counts at once
    #[arg(long, env, value_name = "TIME", default_value = "60s", value_parser = time_or_zero)]
    pub auth_cache_ttl: Duration,
    /// Users whose password is remembered
    ///
    /// Further ones replace those who were seen only once
    #[arg(long, env, value_name = "N", default_value_t = 10_000, value_parser = number::<u32>(1..=10_000_000))]
    pub auth_cache_size: u32,
}
