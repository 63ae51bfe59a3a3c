//! The content of a mail, independent of the API that received it.

use std::collections::BTreeMap;

use serde::Serialize;

/// A mailbox in Mailpit's JSON form.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mailbox {
    pub name: String,
    pub address: String,
}

/// A mail as its sender submitted it.
#[derive(Clone)]
pub(super) struct MailContent {
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub headers: BTreeMap<String, String>,
}
