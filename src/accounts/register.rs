//! Register an address: hash the password, then write user, grant and queued mail in one transaction.

use std::time::Duration;

use metrics::counter;

use super::errors::RegisterError;
use super::ports::{Codes, NewUser, Users};
use super::{Accounts, Caller, ExistingAccount};
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::domain::password::Password;
use crate::domain::ticket::{RegistrationTicket, TicketHash};
use crate::domain::user::{Status, User};
use crate::passwords::{HashParams, Salt};

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Writes the pending row of the address and queues its mail.
    ///
    /// With [`ExistingAccount::Hide`] this does not check whether the address has an account, so the response cannot
    /// reveal it. The mail worker checks later.
    ///
    /// A valid ticket of the address passes the wait once. An invalid one is ignored.
    ///
    /// `locale` is the language of the user's mails. An account of the address keeps its own.
    pub async fn register(
        &self,
        email: &Email,
        password: Password,
        ticket: Option<&RegistrationTicket>,
        locale: Option<Locale>,
        caller: Caller,
    ) -> Result<User, RegisterError> {
        self.check_registration()?;
        let ticket: Option<TicketHash> = ticket.map(RegistrationTicket::hash);
        // Not atomic with the insert below. An account that is activated in between stays hidden; its owner gets a mail.
        if self.existing_account == ExistingAccount::Reveal {
            let rows = self.users.find_by_address(email.address()).await?;
            if rows.iter().any(|row| row.user.status != Status::Pending) {
                return Err(RegisterError::Taken);
            }
        }
        let state = self.users.address_state(email.address(), ticket.as_ref()).await?;
        // Saves the cost of a hash. The transaction below checks the wait again.
        if let Some(left) = state.wait {
            return Err(too_soon(left));
        }
        let new_params = HashParams { salt: Salt(self.rng.bytes()), cost: self.drawn_cost(email.address())?.argon2id };
        let params = state.params.unwrap_or(new_params);
        let hash = self.hasher.hash(password.clone(), params, caller.network).await?;
        let (id, nonce) = (self.rng.user_id(), self.rng.nonce());
        let new = NewUser { id, email, hash: &hash, nonce, ticket, locale, trace: caller.trace };
        let user = self.users.register(&new).await.map_err(|error| match error {
            RegisterError::TooSoon { left } => too_soon(left),
            other => other,
        })?;
        // So the activation that follows costs no evaluation.
        self.remember(id, &hash, &password);
        self.mail_queued.notify_one();
        counter!("sixty_registrations_total").increment(1);
        Ok(user)
    }
}

fn too_soon(left: Duration) -> RegisterError {
    counter!("sixty_limited_requests_total", "limit" => "address").increment(1);
    RegisterError::TooSoon { left }
}
