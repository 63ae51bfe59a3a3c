//! Sixty registers users: an e-mail address, a password, and a mailed code that lives for sixty seconds.

pub mod dev;
pub mod domain;
pub mod mail_mock;
