//! Sixty is a user-registration service: an e-mail address, a password, and a mailed code that lives for sixty seconds.
//!
//! `docs/architecture.md` maps the modules and states the invariants. `docs/design` explains the decisions.
//!
//! Read the source in this order:
//!
//! 1. [`domain`]: values and rules without I/O. [`domain::pacing`] and [`domain::code`] limit what guessing can reach.
//! 2. [`accounts::ports`]: the traits of the stores, `Users` and `Codes`.
//! 3. [`accounts::register`] and [`accounts::activate`]: the two central use cases.
//! 4. [`mail::worker`]: makes a code and sends its mail.
//! 5. [`store::postgres::users`] and [`store::redis::codes`]: the statements and scripts that decide.
//! 6. [`http::users`]: the operations of the API. [`http::problem`]: every error response.
//! 7. [`app`]: builds the service and runs it.
//!
//! Dependencies point to the right:
//!
//! ```text
//! main → cli → app → http        → accounts → passwords → domain
//!                  → mail, store → accounts::ports
//! ```

pub mod accounts;
pub mod app;
pub mod backoff;
pub mod cli;
pub mod config;
pub mod domain;
pub mod events;
pub mod http;
pub mod language;
pub mod mail;
pub mod passwords;
pub mod rng;
pub mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
