//! Test doubles and reusable tests: in-memory fakes of the stores, the contract tests that fakes and real stores must pass,
//! and a model that predicts the response to every step.

pub mod contract;
pub mod fakes;
pub mod model;
mod queued_mail;
mod wrong_code;

pub use queued_mail::{QueuedAddressChange, QueuedMail, QueuedReset};
pub use wrong_code::wrong_code_for;

use crate::accounts::Caller;
use crate::domain::network::Network;

/// A caller on this machine, without a trace.
pub const LOCAL_CALLER: Caller = Caller { network: Network::LOCAL, trace: None };
