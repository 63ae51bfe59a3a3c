//! Rate limits of client networks, around the use cases. The limits of an address are the use cases' own.

use metrics::counter;

use super::client::Client;
use super::guessing::GuessingDetector;
use super::problem::Problem;
use super::verified_credentials::VerifiedCredentials;
use crate::accounts::errors::AuthenticateError;
use crate::accounts::ports::StoredUser;
use crate::domain::email::Address;
use crate::domain::password::Password;
use crate::domain::user::Status;
use crate::rng::Rng;
use crate::store::redis::limits::{ConsumedUnits, NotAdmitted, QuotaName, QuotaState, RedisLimits};

/// The rate limits of client networks, unless they are switched off.
#[derive(Clone)]
pub struct ClientLimits {
    limits: Option<Limits>,
    guessing: GuessingDetector,
}

#[derive(Clone)]
struct Limits {
    redis: RedisLimits,
    verified: VerifiedCredentials,
}

impl ClientLimits {
    /// `None` limits nothing.
    pub fn new(redis: Option<RedisLimits>, rng: &Rng) -> Self {
        let limits = redis.map(|redis| Limits { redis, verified: VerifiedCredentials::new(rng) });
        Self { limits, guessing: GuessingDetector::default() }
    }

    /// Counts a registration, a request for another code or for a reset, or a change of password. Work that fails by a fault of the server
    /// is not counted.
    pub async fn limit_mail_request<T, E>(
        &self,
        client: &Client,
        address: &Address,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem>
    where
        Problem: From<E>,
    {
        let Some(limits) = &self.limits else {
            return Ok(work.await?);
        };
        let consumed = limits.redis.quotas.consume_code(client.network, address).await;
        let consumed = consumed.map_err(|state| exhausted(client, state))?;
        report(client, consumed.as_ref());
        let outcome = work.await.map_err(Problem::from);
        if outcome.as_ref().is_err_and(Problem::is_server_error) {
            limits.refund(client, consumed).await;
        }
        outcome
    }

    /// Counts a guess at a code before it is made, so that concurrent guesses are counted like consecutive ones. A guess
    /// that was not wrong is refunded: `is_miss` says which errors are wrong guesses.
    pub async fn limit_guess<T, E>(
        &self,
        client: &Client,
        address: &Address,
        guess: impl Future<Output = Result<T, E>>,
        is_miss: impl FnOnce(&E) -> bool,
    ) -> Result<T, Problem>
    where
        Problem: From<E>,
    {
        let Some(limits) = &self.limits else {
            return Ok(guess.await?);
        };
        let consumed = limits.redis.quotas.consume_guess(client.network, address).await;
        let consumed = consumed.map_err(|state| exhausted(client, state))?;
        report(client, consumed.as_ref());
        let outcome = guess.await;
        if outcome.as_ref().err().is_some_and(is_miss) {
            limits.redis.quotas.count_miss(client.network, consumed.is_some()).await;
        } else {
            limits.refund(client, consumed).await;
        }
        Ok(outcome?)
    }

    /// Returns whether these credentials of an active account were verified a short time ago, while the limits are on.
    pub fn have_verified(&self, address: Option<&Address>, password: &Password) -> bool {
        let verified = self.limits.as_ref().map(|limits| &limits.verified);
        verified.is_some_and(|verified| verified.contain(verified.mac(address, password)))
    }

    /// Runs an attempt to authenticate, unless too many have failed: of its address from its network, or of its network.
    ///
    /// Anybody can register an address and has a right password then. So authentications by pending registrations are
    /// counted, and active accounts' are not.
    pub async fn limit_authentication(
        &self,
        client: &Client,
        address: Option<&Address>,
        password: Password,
        attempt: impl AsyncFnOnce(Password) -> Result<StoredUser, AuthenticateError>,
    ) -> Result<StoredUser, NotAuthenticated> {
        let attempt = async |password| {
            let outcome = attempt(password).await;
            if let (Err(AuthenticateError::WrongCredentials), Some(address)) = (&outcome, address) {
                self.guessing.count_failure(address);
            }
            outcome
        };
        let Some(Limits { redis, verified }) = &self.limits else {
            return attempt(password).await.map_err(NotAuthenticated::Refused);
        };
        let throttle = &redis.auth_throttle;
        let credentials = verified.mac(address, &password);
        let admitted = if verified.contain(credentials) {
            throttle.admit_verified(client.network, address)
        } else {
            throttle.admit(client.network, address).await.map_err(|why| NotAuthenticated::Limited(not_admitted(why)))?
        };
        let outcome = attempt(password).await;
        match &outcome {
            Err(AuthenticateError::WrongCredentials) => {
                verified.forget(credentials);
                throttle.record_failure(admitted).await;
            }
            Ok(found) if found.user.status == Status::Active => {
                verified.remember(credentials);
                throttle.release(admitted).await;
            }
            // Credentials of a deleted registration are right, too.
            Ok(_) | Err(AuthenticateError::Disowned) => {
                throttle.release(admitted).await;
                if let Some(address) = address
                    && let Some(wait) = redis.quotas.consume_pending_login(client.network, address).await
                {
                    throttle.defer(client.network, address, wait).await;
                }
            }
            Err(_) => throttle.release(admitted).await,
        }
        outcome.map_err(NotAuthenticated::Refused)
    }
}

/// Why a request is not authenticated.
pub enum NotAuthenticated {
    /// Too many attempts have failed.
    Limited(Problem),
    Refused(AuthenticateError),
}

impl From<NotAuthenticated> for Problem {
    fn from(error: NotAuthenticated) -> Self {
        match error {
            NotAuthenticated::Limited(problem) => problem,
            NotAuthenticated::Refused(error) => error.into(),
        }
    }
}

impl From<NotAuthenticated> for poem::Error {
    fn from(error: NotAuthenticated) -> Self {
        Problem::from(error).into()
    }
}

impl Limits {
    async fn refund(&self, client: &Client, consumed: Option<ConsumedUnits>) {
        if let Some(consumed) = consumed
            && let Some(state) = self.redis.quotas.refund(consumed).await
        {
            client.report_quota(state);
        }
    }
}

/// Notes the state of the quota for the `RateLimit` headers of the response.
fn report(client: &Client, consumed: Option<&ConsumedUnits>) {
    if let Some(consumed) = consumed {
        client.report_quota(consumed.state);
    }
}

fn exhausted(client: &Client, state: QuotaState) -> Problem {
    client.report_quota(state);
    count_refusal(state.name.as_str());
    let what = match state.name {
        QuotaName::Codes => "Too many mails were requested",
        QuotaName::Misses | QuotaName::MissesPerDay => "Too many wrong codes were sent",
        QuotaName::PendingLogins => "Too many requests of pending registrations were sent",
    };
    Problem::too_many_requests(what, state.next)
}

fn not_admitted(why: NotAdmitted) -> Problem {
    match why {
        NotAdmitted::TooManyFailures(wait) => {
            count_refusal("failures");
            Problem::too_many_requests("Too many wrong credentials were sent", wait)
        }
        NotAdmitted::Busy(retry_after) => {
            Problem::unavailable("Too many requests with this address are being authenticated.", retry_after)
        }
    }
}

fn count_refusal(limit: &'static str) {
    counter!("sixty_limited_requests_total", "limit" => limit).increment(1);
}
