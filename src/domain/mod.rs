//! Domain types and rules as plain values: no I/O, no clock, no ambient randomness.
//!
//! The HTTP and command-line layers parse raw strings into these types. No parse error repeats its input.

pub mod address_change;
pub mod address_search;
pub mod code;
pub mod contact;
pub mod email;
pub mod email_domains;
mod letters;
pub mod locale;
pub mod mailbox;
pub mod network;
pub mod not_me;
pub mod pacing;
pub mod password;
pub mod policy;
pub mod ticket;
pub mod user;
