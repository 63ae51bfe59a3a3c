//! The finding about the mail provider. No mail is sent.

use super::Finding;
use crate::mail::account_check::AccountCheck;
use crate::mail::provider::Provider;

/// `thoroughly`: asks more than once.
pub async fn finding(provider: &Provider, thoroughly: bool) -> Finding {
    let check = "mail provider";
    match provider.check_account(thoroughly).await {
        AccountCheck::Accepted => Finding::ok(check, "answers, and accepts the account"),
        AccountCheck::Unknown { status } => Finding::warning(
            check,
            format!("MAIL_URL: answered {status} to a question about the account; whether it accepts mails is unknown"),
        ),
        AccountCheck::Refused { status, settings } => {
            Finding::failed(check, format!("answered {status}: refuses the account; check {settings}"))
        }
        AccountCheck::WrongPath { status } => Finding::failed(
            check,
            format!(
                "MAIL_URL: answered {status}: has no such API at this URL; correct the path, and compare MAIL_DIALECT"
            ),
        ),
        AccountCheck::Unreachable { reason } => {
            Finding::failed(check, format!("MAIL_URL: the provider {reason}; correct the URL, or check the network"))
        }
    }
}
