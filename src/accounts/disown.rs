//! "This was not me": the owner of an address ends a registration that somebody else began.

use metrics::counter;

use super::Accounts;
use super::ports::{Codes, StoreError, Users};
use crate::domain::not_me::NotMeToken;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Deletes the pending registration whose mail carried this link, and lets its address be registered again at once.
    /// `false`: the link works no more, and nothing has changed. No account is ever touched.
    pub async fn disown(&self, token: &NotMeToken) -> Result<bool, StoreError> {
        let Some(user) = self.users.disown(&token.hash()).await? else {
            return Ok(false);
        };
        self.forget_code(user).await;
        counter!("sixty_disowned_total").increment(1);
        Ok(true)
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::super::memory::Twins;
    use super::super::ports::{NoCode, Redeemed};
    use super::*;

    #[tokio::test]
    async fn the_owner_deletes_a_strangers_registration_and_registers_at_once() {
        let twins = Twins::new();
        let eve = twins.register("ada@example.com", "battery staple").await.unwrap();
        let code = twins.mail(&eve).await;
        let link = twins.link(&eve);
        assert!(twins.accounts.disown(&link).await.unwrap());
        assert!(twins.authenticate("ada@example.com", "battery staple").await.is_err());
        assert_eq!(twins.codes.redeem(eve.id, &code).await.unwrap(), Redeemed::NoCode(NoCode::Destroyed));

        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        assert!(!twins.accounts.disown(&link).await.unwrap(), "it works once");
        assert!(twins.activate(&ada).await.is_ok());
    }

    #[tokio::test]
    async fn an_owner_ends_the_shadow_and_keeps_the_account() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let own = twins.link(&ada);
        twins.activate(&ada).await.unwrap();
        assert!(!twins.accounts.disown(&own).await.unwrap());
        twins.clock.advance(Duration::from_secs(60));
        let shadow = twins.register("ada@example.com", "battery staple").await.unwrap();
        assert!(twins.accounts.disown(&twins.link(&shadow)).await.unwrap());
        assert!(twins.authenticate("ada@example.com", "battery staple").await.is_err());
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_ok());
    }
}
