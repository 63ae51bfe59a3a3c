//! Mails to users, sent by the HTTP API of a mail provider.
//!
//! - `mails.rs`: one method a mail, in every language, from the templates in `templates/` or the operator's own
//!   (`operator_templates.rs`). `mail_name.rs` lists the mails.
//! - `rendering.rs`: a mail that is ready to send.
//! - `provider.rs`: one attempt to send a mail, and whether a failure is temporary.
//! - `dialect.rs`: what differs between providers. `mailpit.rs`, `mailjet.rs`, `postmark.rs`, `brevo.rs`, `sendgrid.rs` and
//!   `resend.rs` are the dialects of the supported providers.
//! - `retry.rs`: when to send a mail again, and when to give it up.
//! - `circuit_breaker.rs`: fewer mails at once while a provider fails.
//! - `route.rs`: the choice between the first provider and the fallback.
//! - `worker.rs`: the loop that claims mails from the outbox and sends them.

pub mod account_check;
pub mod brevo;
pub mod circuit_breaker;
pub mod dialect;
pub mod mail_name;
pub mod mailjet;
pub mod mailpit;
pub mod mails;
pub mod operator_templates;
pub mod postmark;
pub mod provider;
pub mod rendering;
pub mod resend;
pub mod retry;
pub mod route;
#[cfg(test)]
mod samples;
pub mod sendgrid;
pub mod worker;
