//! "This was not me": the owner of an address deletes a registration that somebody else made.

use metrics::counter;

use super::Accounts;
use super::ports::{Codes, StoreError, Users};
use crate::domain::not_me::NotMeToken;
use crate::domain::ticket::RegistrationTicket;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Deletes the pending registration whose mail contained this link. Returns a ticket, with which the address can be
    /// registered again before its wait is over.
    ///
    /// The wait stays for everybody else. If the report ended the wait, the fastest client would get the next code, and a
    /// stranger's program is faster than the owner.
    ///
    /// Returns `None` if the link was used, has expired or is unknown; nothing was changed. Accounts are never deleted.
    pub async fn report_not_me(&self, token: &NotMeToken) -> Result<Option<RegistrationTicket>, StoreError> {
        let ticket = RegistrationTicket::new(self.rng.bytes());
        let Some(user) = self.users.report_not_me(&token.hash(), &ticket.hash()).await? else {
            return Ok(None);
        };
        self.discard_code(user).await;
        counter!("sixty_disowned_total").increment(1);
        Ok(Some(ticket))
    }
}
