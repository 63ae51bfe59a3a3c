//! "This was not me": the owner of an address deletes a registration that somebody else made.

use metrics::counter;

use super::Accounts;
use super::ports::{Codes, StoreError, Users};
use crate::domain::not_me::NotMeToken;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Deletes the pending registration whose mail contained this link. Its address can be registered again at once.
    ///
    /// Returns `false` if the link was used, has expired or is unknown; nothing was changed. Accounts are never deleted.
    pub async fn report_not_me(&self, token: &NotMeToken) -> Result<bool, StoreError> {
        let Some(user) = self.users.report_not_me(&token.hash()).await? else {
            return Ok(false);
        };
        self.discard_code(user).await;
        counter!("sixty_disowned_total").increment(1);
        Ok(true)
    }
}
