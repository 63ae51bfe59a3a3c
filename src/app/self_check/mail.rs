//! The finding about the mail provider. No mail is sent.

use super::Finding;
use crate::mail::account_check::AccountCheck;
use crate::mail::provider::{Provider, Role};

/// `thoroughly`: asks more than once.
pub async fn finding(provider: &Provider, thoroughly: bool) -> Finding {
    let (url, dialect) = (provider.role().url_setting(), provider.role().dialect_setting());
    let check = match provider.role() {
        Role::First => "mail provider",
        Role::Fallback => "mail fallback",
    };
    match provider.check_account(thoroughly).await {
        AccountCheck::Accepted => Finding::ok(check, "answers, and accepts the account"),
        AccountCheck::Unknown { status } => Finding::warning(
            check,
            format!("{url}: answered {status} to a question about the account; whether it accepts mails is unknown"),
        ),
        AccountCheck::Refused { status, settings } => {
            Finding::failed(check, format!("answered {status}: refuses the account; check {settings}"))
        }
        AccountCheck::WrongPath { status } => Finding::failed(
            check,
            format!("{url}: answered {status}: has no such API at this URL; correct the path, and compare {dialect}"),
        ),
        AccountCheck::Unreachable { reason } => {
            Finding::failed(check, format!("{url}: the provider {reason}; correct the URL, or check the network"))
        }
    }
}
