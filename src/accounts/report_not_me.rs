//! "This was not me": the owner of an address ends a registration that somebody else began.

use metrics::counter;

use super::Accounts;
use super::ports::{Codes, StoreError, Users};
use crate::domain::not_me::NotMeToken;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Deletes the pending registration whose mail carried this link, and lets its address be registered again at once.
    /// `false`: the link works no more, and nothing has changed. No account is ever touched.
    pub async fn report_not_me(&self, token: &NotMeToken) -> Result<bool, StoreError> {
        let Some(user) = self.users.report_not_me(&token.hash()).await? else {
            return Ok(false);
        };
        self.forget_code(user).await;
        counter!("sixty_disowned_total").increment(1);
        Ok(true)
    }
}
