//! What a client network may ask for, around the use cases. What an address may is another matter, and always holds.

use metrics::counter;

use super::client::Client;
use super::problem::Problem;
use crate::accounts::errors::{ActivateError, AuthenticateError};
use crate::accounts::ports::StoredUser;
use crate::domain::email::Address;
use crate::domain::user::{Status, User};
use crate::passwords::Overloaded;
use crate::store::redis::limits::{ConsumedUnits, NotAdmitted, QuotaName, RedisLimits};

/// The limits of client networks, if they are wanted.
#[derive(Clone)]
pub struct ClientLimits(pub Option<RedisLimits>);

impl ClientLimits {
    /// Counts a registration, a request for another code or a change of password, however it ends, unless by a fault of ours.
    pub async fn asking<T, E>(&self, client: &Client, work: impl Future<Output = Result<T, E>>) -> Result<T, Problem>
    where
        Problem: From<E>,
    {
        let consumed = self.consume(client, QuotaName::Codes).await?;
        let outcome = work.await.map_err(Problem::from);
        if outcome.as_ref().is_err_and(Problem::is_the_servers_fault) {
            self.refund(client, consumed).await;
        }
        outcome
    }

    /// Counts a guess at a code before it is made, so that many at once are not more than one after the other; and no
    /// longer when it was no miss.
    pub async fn guessing(
        &self,
        client: &Client,
        guess: impl Future<Output = Result<User, ActivateError>>,
    ) -> Result<User, Problem> {
        let consumed = self.consume(client, QuotaName::Misses).await?;
        let outcome = guess.await;
        match (&outcome, &self.0) {
            (Err(ActivateError::Incorrect { .. }), Some(limits)) => limits.count_miss().await,
            _ => self.refund(client, consumed).await,
        }
        Ok(outcome?)
    }

    /// Makes an attempt unless too many have failed: of its address from its network, or of its network. A pending row's
    /// password proves nothing about the address, anybody can register one; so only an account's forgives.
    pub async fn authenticating(
        &self,
        client: &Client,
        address: Option<&Address>,
        attempt: impl Future<Output = Result<StoredUser, AuthenticateError>>,
    ) -> Result<StoredUser, Problem> {
        let Some(RedisLimits { auth_throttle, .. }) = &self.0 else {
            return Ok(attempt.await?);
        };
        let admitted = auth_throttle.admit(client.network, address).await.map_err(|why| match why {
            NotAdmitted::TooManyFailures(wait) => {
                refused("failures");
                Problem::too_many_requests("Too many wrong credentials came", wait)
            }
            NotAdmitted::Busy(retry_after) => Overloaded { retry_after }.into(),
        })?;
        let outcome = attempt.await;
        if let Some(admitted) = admitted {
            match &outcome {
                Err(AuthenticateError::WrongCredentials) => auth_throttle.record_failure(admitted).await,
                Ok(row) => auth_throttle.release(admitted, row.user.status == Status::Active).await,
                Err(_) => auth_throttle.release(admitted, false).await,
            }
        }
        Ok(outcome?)
    }

    async fn consume(&self, client: &Client, name: QuotaName) -> Result<Option<ConsumedUnits>, Problem> {
        let Some(limits) = &self.0 else {
            return Ok(None);
        };
        match limits.consume(name, client.network).await {
            None => Ok(None),
            Some(Ok(consumed)) => {
                client.tell(consumed.state);
                Ok(Some(consumed))
            }
            Some(Err(state)) => {
                client.tell(state);
                refused(name.as_str());
                let what = match name {
                    QuotaName::Codes => "Too many mails were asked for",
                    QuotaName::Misses => "Too many wrong codes came",
                };
                Err(Problem::too_many_requests(what, state.next))
            }
        }
    }

    async fn refund(&self, client: &Client, consumed: Option<ConsumedUnits>) {
        if let (Some(limits), Some(consumed)) = (&self.0, consumed)
            && let Some(state) = limits.refund(consumed).await
        {
            client.tell(state);
        }
    }
}

fn refused(limit: &'static str) {
    counter!("sixty_limited_requests_total", "limit" => limit).increment(1);
}
