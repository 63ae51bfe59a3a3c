//! Mail goes out through somebody else's HTTP API, which may be slow, down, or lying about what it did.
//!
//! `messages.rs` says what is written, `provider.rs` hands it over (in a dialect: `mailpit.rs`, `mailjet.rs`), `retry.rs` decides
//! when to try again and when to stop, `circuit.rs` spares a provider that fails, `worker.rs` does the rounds.

pub mod circuit;
pub mod mailjet;
pub mod mailpit;
pub mod messages;
pub mod provider;
pub mod retry;
pub mod worker;
