//! The mail with the code of a registration.

use metrics::counter;
use tracing::{error, warn};

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
    /// Sends a code. If the address has an account, its owner gets a notice instead, and Redis a decoy, which no code matches.
    pub(super) async fn send_registration_code(&self, claim: &Claim, user: UserId, trace: TraceContext) -> Outcome {
        let Ok(registered) = Email::parse(&claim.email) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        let live = LeftCode::Live(self.lifetimes.registration);
        // Before the first put: an earlier attempt may have left its code.
        let before = if claim.unsent { LeftCode::None } else { live };
        let retry = |error: StoreError, unsent, left| {
            if matches!(error, StoreError::Broken { .. }) {
                error!(%error, user.id = %user, "a code cannot be mailed because of a defect or a missing right");
            }
            Outcome::Retry { reason: error.to_string(), retry_after: None, unsent, left }
        };
        // Before the code becomes live: a code that is not sent must behave like one that is not mailed yet.
        if !claim.charged {
            let address = registered.address();
            let mailbox = self.secret.mailbox(&Mailbox::of(address));
            match self.outbox.charge(claim, &mailbox, self.mailbox_quota.for_address(address)).await {
                Ok(Charge::Charged) => {}
                Ok(Charge::OverQuota) => return Outcome::MailboxLimit,
                Ok(Charge::ClaimLost) => return Outcome::ClaimLost,
                Err(error) => return retry(error, claim.unsent, before),
            }
        }
        let token = self.secret.not_me(&claim.nonce);
        let link = rendering::not_me_link(&self.public_url, &token);
        let code = claim.account_email.is_none().then(|| self.secret.code(&claim.nonce, claim.length));
        let recipient = claim.account_email.as_ref().map_or(Ok(registered), |email| Email::parse(email));
        let mail = recipient.map(|recipient| match &code {
            Some(code) => self.mails.code(claim.locale, &recipient, code, self.lifetimes.registration, &link),
            // In the language of the owner, not of the stranger.
            None => self.mails.existing_account(claim.account_locale, &recipient, &link),
        });
        match self.extend_wait_if_late(claim).await {
            Ok(true) => {}
            Ok(false) => return Outcome::ClaimLost,
            Err(error) => return retry(error, claim.unsent, before),
        }
        let put_code = |first| self.codes.put(CodeKey::Registration(user), claim.attempt(), code.as_ref(), first);
        match put_code(!claim.armed).await {
            Ok(PutOutcome::Live) => {}
            Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
            Ok(PutOutcome::Superseded | PutOutcome::Invalidated) => return Outcome::NotWanted,
            Ok(PutOutcome::Spent) => {
                warn!(user.id = %user, "Redis has lost the wrong guesses at a code; the code is invalid and its mail is dropped");
                return Outcome::NotWanted;
            }
            // The code in the mail would not work.
            Err(error) => return retry(error, claim.unsent, live),
        }
        // After the put: if Redis does not respond, the code was not put, and the next attempt is the first again.
        match self.outbox.link(claim, user, &token.hash()).await {
            Ok(true) => {}
            Ok(false) => return Outcome::NotWanted,
            // The link in the mail would not work.
            Err(error) => {
                let left = self.withdraw_unsent(claim, CodeKey::Registration(user), claim.unsent).await;
                return retry(error, claim.unsent, left);
            }
        }
        let sent = match &mail {
            Ok(mail) => self.send(claim, mail, trace).await,
            Err(_) => Err(invalid_recipient()),
        };
        let maybe_accepted = matches!(&sent, Ok(_) | Err(SendError::Temporary { maybe_accepted: true, .. }));
        let unsent = claim.unsent && !maybe_accepted;
        if let Err(error @ SendError::Temporary { .. }) = sent {
            let left = self.withdraw_unsent(claim, CodeKey::Registration(user), unsent).await;
            return failed(error, unsent, left);
        }
        // A permanent refusal concerns one spelling of the address. An account gets its mail at another spelling. So the
        // code or decoy must live as long as that of an accepted mail: otherwise guesses reveal the account.
        match self.extend_wait_if_late(claim).await {
            Ok(true) => {}
            Ok(false) => return Outcome::ClaimLost,
            Err(error) => return retry(error, unsent, live),
        }
        // Superseded, invalidated or spent while the provider responded: the mail is sent all the same.
        match put_code(false).await {
            Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
            Ok(_) => {}
            // The code may be gone. A second copy of the mail is better than a code that does not work.
            Err(error) => return retry(error, unsent, live),
        }
        match sent {
            Ok(message_id) => {
                // Decoys count too: otherwise the metric reveals which addresses have an account.
                counter!("sixty_codes_issued_total").increment(1);
                Outcome::Sent { message_id }
            }
            Err(error) => failed(error, unsent, live),
        }
    }
}
