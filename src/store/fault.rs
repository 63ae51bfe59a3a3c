//! Why a store cannot be used: one line for operators, a few words for clients, and what ends the fault.

use std::fmt;

use crate::accounts::ports::StoreError;

/// A fault of a store, or of the settings that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub store: &'static str,
    /// What clients may read, after the name of the store: "does not answer".
    pub summary: &'static str,
    /// One line for operators: the setting, what was found, and what to do. It never repeats the value of a setting.
    pub reason: String,
    pub cure: Cure,
}

/// What ends a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Time, or an operator at the store.
    Time,
    /// A corrected setting. A store that is being set up shows the same fault for some seconds.
    SettingOrTime,
    /// A corrected setting, such as the scheme of a URL.
    Setting,
    /// A missing right, or a defect of this program.
    Defect,
}

/// The summary of a store that did not respond in time.
pub const SILENT: &str = "does not answer";

impl Fault {
    /// The fault of a store that did not respond within a time.
    pub fn silent(store: &'static str, setting: &str, within: std::time::Duration) -> Self {
        let reason = format!(
            "{setting}: {store} does not answer: no response within {within:?}; is it overloaded or frozen, or does a firewall drop \
             packets?"
        );
        Self { store, summary: SILENT, reason, cure: Cure::Time }
    }
}

/// The reason alone: it names the setting and the store.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<Fault> for StoreError {
    fn from(Fault { store, summary, reason, cure }: Fault) -> Self {
        match cure {
            Cure::Defect => Self::Broken { store, reason },
            Cure::Time | Cure::SettingOrTime | Cure::Setting => Self::Unavailable { store, summary, reason },
        }
    }
}
