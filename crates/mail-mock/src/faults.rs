//! The faults that the mock can simulate: a slow provider, failing requests, and accepted mails without a response.

use serde::{Deserialize, Serialize};

/// The faults of the send routes, applied in this order: latency, failure, drop. The other routes have no faults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Share of requests, 0 to 1, that get a response with `status`. Their mails are not stored.
    pub fail_rate: f64,
    /// HTTP status of a failed request, 400 to 599.
    pub status: u16,
    /// Delay of each request in milliseconds, at most ten minutes. The mock stores the mail only after the delay.
    pub latency_ms: u64,
    /// Share of the accepted requests, 0 to 1, whose mail is stored, but whose connection is closed without a response.
    pub drop_rate: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Faults { fail_rate: 0.0, status: 500, latency_ms: 0, drop_rate: 0.0 }
    }
}

/// Numbers of requests that the current faults have affected since they were set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct FaultCounts {
    pub delayed: u64,
    pub failed: u64,
    pub dropped: u64,
}

/// A fault is out of its limits. The message names the field.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct FaultsError {
    /// Name of the field.
    pub field: &'static str,
    /// The limits of the field.
    pub rule: &'static str,
}

impl Faults {
    /// Checks that every field is within its limits.
    ///
    /// # Errors
    ///
    /// The first field that is out of its limits.
    pub fn check(&self) -> Result<(), FaultsError> {
        let is_share = |value| (0.0..=1.0).contains(&value);
        for (field, holds, rule) in [
            ("fail_rate", is_share(self.fail_rate), "must be between 0 and 1"),
            ("drop_rate", is_share(self.drop_rate), "must be between 0 and 1"),
            ("status", (400..=599).contains(&self.status), "must be between 400 and 599"),
            // Ten minutes: no client waits longer.
            ("latency_ms", self.latency_ms <= 600_000, "must be at most 600000"),
        ] {
            if !holds {
                return Err(FaultsError { field, rule });
            }
        }
        Ok(())
    }
}
