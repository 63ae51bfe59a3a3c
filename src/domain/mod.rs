//! What the service is about, as plain values: no I/O, no clock, no ambient randomness.
//!
//! Raw strings become these types at the edge and stay such inward. No error of a parser repeats what it was given.

pub mod code;
pub mod email;
pub mod network;
pub mod not_me;
pub mod pacing;
pub mod password;
pub mod policy;
pub mod user;
