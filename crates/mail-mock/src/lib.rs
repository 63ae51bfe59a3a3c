//! A mock mail provider: it stores mails instead of delivering them, shows them on an inbox page, and fails on request.
//!
//! It implements the send APIs of Mailpit, Mailjet (v3.1), Postmark, Brevo, SendGrid and Resend, so it can replace each in
//! development and tests. All of them refuse recipients at `refused.example`, each in its own form. Of this workspace the mock
//! shares only the syntax of addresses with the service, which uses the mock over HTTP.

mod access;
mod brevo;
pub mod cli;
mod content;
mod fault_injection;
mod faults;
mod inbox;
mod keyed;
mod long_poll;
mod mailed_code;
mod mailjet;
mod mailpit;
mod mock;
mod page;
mod postmark;
#[cfg(test)]
mod provider_tests;
mod query;
mod resend;
mod routes;
mod sendgrid;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

pub use self::faults::{Faults, FaultsError};
pub use self::mock::{ApiKeys, MailMock, MailjetCredentials, MockOptions, random_seed};
pub use self::serve::serve;
