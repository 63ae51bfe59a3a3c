//! Asks the mail provider whether it accepts the account, without sending a mail.

use reqwest::StatusCode;

use super::provider::{Provider, failure_reason, read_body};

/// What the provider says about the account.
#[derive(Debug, PartialEq, Eq)]
pub enum AccountCheck {
    Accepted,
    Refused {
        status: u16,
        /// The settings to check.
        settings: String,
    },
    /// Neither the account nor the path for mails exists below the URL.
    WrongPath {
        status: u16,
    },
    /// The provider answers, and does not say.
    Unknown {
        status: u16,
    },
    Unreachable {
        reason: &'static str,
    },
}

impl Provider {
    /// Reads a resource of the account. `thoroughly`: if there is none, also asks the path for mails.
    pub async fn check_account(&self, thoroughly: bool) -> AccountCheck {
        let status = match self.account_status().await {
            Ok(status) => status,
            Err(reason) => return AccountCheck::Unreachable { reason },
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                AccountCheck::Refused { status: status.as_u16(), settings: self.account_settings() }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE if thoroughly => match self.status_of(self.dialect.path()).await {
                Ok(StatusCode::NOT_FOUND | StatusCode::GONE) => AccountCheck::WrongPath { status: status.as_u16() },
                Ok(_) => AccountCheck::Unknown { status: status.as_u16() },
                Err(reason) => AccountCheck::Unreachable { reason },
            },
            status if status.is_success() => AccountCheck::Accepted,
            // The host is another one: redirects are not followed.
            status if status.is_redirection() => AccountCheck::WrongPath { status: status.as_u16() },
            status => AccountCheck::Unknown { status: status.as_u16() },
        }
    }

    async fn account_status(&self) -> Result<StatusCode, &'static str> {
        let response = self.get(self.dialect.account_path()).send().await.map_err(|error| failure_reason(&error))?;
        let status = response.status();
        // The status says enough if the rest is lost.
        let body = read_body(response).await.unwrap_or_default();
        Ok(self.dialect.account_status(status, &body))
    }

    /// A GET request to the path for mails sends none: that needs a POST.
    async fn status_of(&self, path: &str) -> Result<StatusCode, &'static str> {
        self.get(path).send().await.map(|response| response.status()).map_err(|error| failure_reason(&error))
    }
}
