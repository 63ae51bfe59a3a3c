//! The mails of a change of address: the code to the new address, and the notice with a link to the old one.

use super::{Outcome, Worker, failed, invalid_recipient};
use crate::accounts::ports::{Codes, PutOutcome, StoreError};
use crate::domain::code::CodeKey;
use crate::domain::email::Email;
use crate::domain::mailbox::Mailbox;
use crate::domain::user::UserId;
use crate::mail::provider::SendError;
use crate::mail::rendering;
use crate::store::postgres::outbox::{Charge, Claim, LeftCode};
use crate::telemetry::trace::TraceContext;

impl<C: Codes> Worker<C> {
    /// Sends the code to the new address. If that address has an account, its owner gets a notice instead, and Redis a decoy.
    ///
    /// The code becomes live like that of a registration: before its mail is sent, and again when the mail was accepted. Only
    /// the same user can replace it, by another change, so the wait of the address needs no extension.
    pub(super) async fn send_address_code(&self, claim: &Claim, user: UserId, trace: TraceContext) -> Outcome {
        let Ok(new) = Email::parse(&claim.email) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        let retry = |error: StoreError, unsent| Outcome::Retry {
            reason: error.to_string(),
            retry_after: None,
            unsent,
            left: LeftCode::None,
        };
        if !claim.charged {
            let mailbox = self.secret.mailbox(&Mailbox::of(new.address()));
            match self.outbox.charge(claim, &mailbox, self.mailbox_quota.for_address(new.address())).await {
                Ok(Charge::Charged) => {}
                Ok(Charge::OverQuota) => return Outcome::MailboxLimit,
                Ok(Charge::ClaimLost) => return Outcome::ClaimLost,
                Err(error) => return retry(error, claim.unsent),
            }
        }
        let code = claim.account_email.is_none().then(|| self.secret.code(&claim.nonce, claim.length));
        let recipient = claim.account_email.as_ref().map_or(Ok(new), |email| Email::parse(email));
        let Ok(recipient) = recipient else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        let mail = match &code {
            Some(code) => self.mails.address_code(claim.locale, &recipient, code, self.lifetimes.registration),
            // In the language of the owner, not of the stranger.
            None => self.mails.address_taken(claim.account_locale, &recipient),
        };
        let key = CodeKey::AddressChange(user);
        let put_code = |first| self.codes.put(key, claim.attempt(), code.as_ref(), first);
        match put_code(!claim.armed).await {
            Ok(PutOutcome::Live) => {}
            Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
            Ok(PutOutcome::Superseded | PutOutcome::Invalidated | PutOutcome::Spent) => return Outcome::NotWanted,
            Err(error) => return retry(error, claim.unsent),
        }
        match self.outbox.arm(claim).await {
            Ok(true) => {}
            Ok(false) => return Outcome::ClaimLost,
            Err(error) => return retry(error, claim.unsent),
        }
        let sent = self.send(claim, &mail, trace).await;
        let maybe_accepted = matches!(&sent, Ok(_) | Err(SendError::Temporary { maybe_accepted: true, .. }));
        let unsent = claim.unsent && !maybe_accepted;
        if let Err(error @ SendError::Temporary { .. }) = sent {
            self.withdraw_unsent(claim, key, unsent).await;
            return failed(error, unsent, LeftCode::None);
        }
        match put_code(false).await {
            Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
            Ok(_) => {}
            // The code may be gone. A second copy of the mail is better than a code that does not work.
            Err(error) => return retry(error, unsent),
        }
        match sent {
            Ok(message_id) => Outcome::Sent { message_id },
            Err(error) => failed(error, unsent, LeftCode::None),
        }
    }

    /// Sends the notice to the old address, with the link that takes the change back.
    pub(super) async fn send_address_notice(&self, claim: &Claim, trace: TraceContext) -> Outcome {
        let link = rendering::address_link(&self.public_url, &self.secret.restore_token(&claim.nonce));
        self.send_notice(claim, |mails, locale, to| mails.address_change(locale, to, &link), trace).await
    }
}
