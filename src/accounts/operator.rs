//! What admins and operators do for a person whose registration is pending: activate it, or request another code for it.
//!
//! The functions need the store of users alone, so that commands can use them without the service.

use std::time::Duration;

use super::Accounts;
use super::errors::{OperatorError, ResendError, StoreError};
use super::ports::{Codes, Users};
use crate::domain::code::Nonce;
use crate::domain::email::Email;
use crate::domain::user::{Status, User, UserId};
use crate::telemetry::trace::TraceContext;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Activates a pending registration without its code. See [`activate`].
    pub async fn activate_as_operator(&self, id: UserId, trace: Option<TraceContext>) -> Result<User, OperatorError> {
        let user = activate(&*self.users, id, trace).await?;
        self.mail_queued.notify_one();
        self.discard_code(id).await;
        Ok(user)
    }

    /// Queues another code mail for a pending registration. See [`resend`].
    pub async fn resend_as_operator(&self, id: UserId, trace: Option<TraceContext>) -> Result<Duration, OperatorError> {
        let wait = resend(&*self.users, id, self.rng.nonce(), trace).await?;
        self.mail_queued.notify_one();
        Ok(wait)
    }
}

/// Makes a pending registration an active account with the password that the person chose. The operator vouches for the
/// address: nobody has proved it by a code. A mail tells the person.
pub async fn activate(users: &impl Users, id: UserId, trace: Option<TraceContext>) -> Result<User, OperatorError> {
    if let Some(active) = users.activate_as_operator(id, trace).await? {
        return Ok(active);
    }
    Err(match users.find(id).await? {
        None => OperatorError::NotFound,
        Some(user) if user.status == Status::Pending => OperatorError::Taken,
        Some(_) => OperatorError::AlreadyActive,
    })
}

/// Queues another code mail for a pending registration, within the pacing of its address. Returns the wait until the next
/// code mail is allowed.
///
/// If the address has an account, there is nothing to activate, and the mail would be a notice to the owner of that account.
pub async fn resend(
    users: &impl Users,
    id: UserId,
    nonce: Nonce,
    trace: Option<TraceContext>,
) -> Result<Duration, OperatorError> {
    let user = users.find(id).await?.ok_or(OperatorError::NotFound)?;
    if user.status == Status::Pending && has_account(users, &user).await? {
        return Err(OperatorError::Taken);
    }
    users.resend(id, nonce, trace).await.map_err(|error| match error {
        ResendError::AlreadyActive => OperatorError::AlreadyActive,
        ResendError::TooSoon { left } => OperatorError::TooSoon { left },
        ResendError::Gone => OperatorError::NotFound,
        ResendError::Store(error) => OperatorError::Store(error),
    })
}

async fn has_account(users: &impl Users, user: &User) -> Result<bool, StoreError> {
    // An earlier version may have accepted an address that is invalid today. The mail worker gives its mails up.
    let Ok(email) = Email::parse(&user.email) else { return Ok(false) };
    let rows = users.find_by_address(email.address()).await?;
    Ok(rows.iter().any(|row| row.user.status != Status::Pending))
}
