//! Sixty registers users: an e-mail address, a password, and a mailed code that lives for sixty seconds.

pub mod accounts;
pub mod app;
pub mod cli;
pub mod config;
pub mod dev;
pub mod domain;
pub mod entropy;
pub mod http;
pub mod mail;
pub mod mail_mock;
pub mod passwords;
pub mod store;
pub mod telemetry;
