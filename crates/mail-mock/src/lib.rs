//! A mock mail provider: it stores mails instead of delivering them, shows them on an inbox page, and fails on request.
//!
//! It implements the send APIs of Mailpit and of Mailjet (v3.1), so it can replace either one in development and tests. Of
//! this workspace it shares only the syntax of addresses with the service, which uses the mock over HTTP.

mod access;
pub mod cli;
mod content;
mod fault_injection;
mod faults;
mod inbox;
mod long_poll;
mod mailed_code;
mod mailjet;
mod mailpit;
mod mock;
mod page;
mod query;
mod routes;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

pub use self::faults::{Faults, FaultsError};
pub use self::mock::{MailMock, MailjetCredentials, MockOptions, random_seed};
pub use self::serve::serve;
