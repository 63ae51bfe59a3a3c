//! Choose the language of one's mails.

use super::Accounts;
use super::errors::SetLocaleError;
use super::ports::{Codes, Users};
use crate::domain::locale::Locale;
use crate::domain::user::{Status, User};

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Sets the language of the user's mails; `None` is the service's default language. Also of queued mails.
    pub async fn set_locale(&self, user: &User, locale: Option<Locale>) -> Result<User, SetLocaleError> {
        if let Some(user) = self.users.set_locale(user.id, locale).await? {
            return Ok(user);
        }
        let now = self.users.find(user.id).await?;
        Err(match now.map(|user| user.status) {
            Some(Status::Disabled) => SetLocaleError::Disabled,
            _ => SetLocaleError::Gone,
        })
    }
}
