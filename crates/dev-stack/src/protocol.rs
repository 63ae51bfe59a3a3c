//! The messages from the guardian to the process that started it: one JSON object a line on the guardian's standard output.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// A message of the guardian. The order is: `step`s, then `ready` or `error`; after `ready`, a `died` for each server that
/// ends unexpectedly, and perhaps `ended`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GuardianMessage {
    /// The guardian begins a step that takes a while.
    Step(String),
    /// Both servers answer.
    Ready { database_url: String, redis_url: String, postgres_pid: u32, redis_pid: u32 },
    /// The servers could not be started. The guardian exits.
    Error(String),
    /// One server ended unexpectedly. The other one keeps running.
    Died(String),
    /// A signal stops the guardian and the servers.
    Ended(String),
}

impl GuardianMessage {
    /// Writes the message to standard output.
    pub fn send(&self) {
        let line = serde_json::to_string(self).expect("strings and numbers serialize as JSON");
        // Writing fails if the parent is dead. The end of standard input tells the guardian so.
        let _ = writeln!(io::stdout(), "{line}");
    }

    /// Reads the next message. Returns `None` at the end of the input and for a line that is not a message.
    pub fn read(input: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

/// Sends a progress message for a person who waits.
pub(super) fn send_step(step: String) {
    GuardianMessage::Step(step).send();
}
