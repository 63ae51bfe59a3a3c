//! Rate limits per client network, around the use cases. The limits per address are part of the use cases themselves.

use metrics::counter;

use super::client::Client;
use super::problem::Problem;
use crate::accounts::errors::{ActivateError, AuthenticateError};
use crate::accounts::ports::StoredUser;
use crate::domain::email::Address;
use crate::domain::user::{Status, User};
use crate::passwords::Overloaded;
use crate::store::redis::limits::{ConsumedUnits, NotAdmitted, QuotaName, RedisLimits};

/// The rate limits of client networks. `None` if the setting `CLIENT_LIMITS` is off.
#[derive(Clone)]
pub struct ClientLimits(pub Option<RedisLimits>);

impl ClientLimits {
    /// Runs a use case that can queue a mail, within the network's quota of mails: a registration, a request for
    /// another code, or a change of password. A server error refunds the unit.
    pub async fn limit_mail_request<T, E>(
        &self,
        client: &Client,
        use_case: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem>
    where
        Problem: From<E>,
    {
        let consumed = self.consume(client, QuotaName::Codes).await?;
        let result = use_case.await.map_err(Problem::from);
        if result.as_ref().is_err_and(Problem::is_server_error) {
            self.refund(client, consumed).await;
        }
        result
    }

    /// Runs a guess at a code, within the network's quota of wrong guesses.
    ///
    /// The unit is consumed before the guess, so parallel guesses cannot exceed the quota. Any result but a wrong guess
    /// refunds the unit.
    pub async fn limit_guess(
        &self,
        client: &Client,
        guess: impl Future<Output = Result<User, ActivateError>>,
    ) -> Result<User, Problem> {
        let consumed = self.consume(client, QuotaName::Misses).await?;
        let result = guess.await;
        match (&result, &self.0) {
            (Err(ActivateError::Incorrect { .. }), Some(limits)) => limits.count_miss().await,
            _ => self.refund(client, consumed).await,
        }
        Ok(result?)
    }

    /// Runs an attempt to authenticate, unless too many attempts have failed from this network, or from this network with
    /// this address.
    ///
    /// A success with an active account forgives the failures. A success with a pending user does not: anybody can register
    /// an address.
    pub async fn limit_authentication(
        &self,
        client: &Client,
        address: Option<&Address>,
        attempt: impl Future<Output = Result<StoredUser, AuthenticateError>>,
    ) -> Result<StoredUser, Problem> {
        let Some(RedisLimits { auth_throttle, .. }) = &self.0 else {
            return Ok(attempt.await?);
        };
        let admitted = auth_throttle.admit(client.network, address).await.map_err(|refusal| match refusal {
            NotAdmitted::TooManyFailures(wait) => {
                count_refusal("failures");
                Problem::too_many_requests("Too many wrong credentials were sent", wait)
            }
            NotAdmitted::Busy(retry_after) => Overloaded { retry_after }.into(),
        })?;
        let result = attempt.await;
        if let Some(admitted) = admitted {
            match &result {
                Err(AuthenticateError::WrongCredentials) => auth_throttle.record_failure(admitted).await,
                Ok(row) => auth_throttle.release(admitted, row.user.status == Status::Active).await,
                Err(_) => auth_throttle.release(admitted, false).await,
            }
        }
        Ok(result?)
    }

    /// Takes one unit of a quota. `None` if nothing is limited, or if Redis did not respond.
    async fn consume(&self, client: &Client, name: QuotaName) -> Result<Option<ConsumedUnits>, Problem> {
        let Some(limits) = &self.0 else {
            return Ok(None);
        };
        match limits.consume(name, client.network).await {
            None => Ok(None),
            Some(Ok(consumed)) => {
                client.report_quota(consumed.state);
                Ok(Some(consumed))
            }
            Some(Err(state)) => {
                client.report_quota(state);
                count_refusal(name.as_str());
                let reason = match name {
                    QuotaName::Codes => "Too many mails were requested",
                    QuotaName::Misses => "Too many wrong codes were sent",
                };
                Err(Problem::too_many_requests(reason, state.next))
            }
        }
    }

    async fn refund(&self, client: &Client, consumed: Option<ConsumedUnits>) {
        if let (Some(limits), Some(consumed)) = (&self.0, consumed)
            && let Some(state) = limits.refund(consumed).await
        {
            client.report_quota(state);
        }
    }
}

/// Counts a refused request.
fn count_refusal(limit: &'static str) {
    counter!("sixty_limited_requests_total", "limit" => limit).increment(1);
}
