//! What a client network may ask for, around the use cases. What an address may is another matter, and always holds.

use metrics::counter;

use super::client::Client;
use super::problem::Problem;
use crate::accounts::activate::ActivateError;
use crate::domain::user::User;
use crate::store::redis::limits::{Charge, Counted, RedisLimits};

/// The limits of client networks, if they are wanted.
#[derive(Clone)]
pub struct ClientLimits(pub Option<RedisLimits>);

impl ClientLimits {
    /// Counts a registration or a request for another code, however it ends, unless by a fault of ours.
    pub async fn asking<T, E>(&self, client: &Client, work: impl Future<Output = Result<T, E>>) -> Result<T, Problem>
    where
        Problem: From<E>,
    {
        let charge = self.charge(client, Counted::Codes).await?;
        let outcome = work.await.map_err(Problem::from);
        if outcome.as_ref().is_err_and(Problem::is_the_servers_fault) {
            self.give_back(client, charge).await;
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
        let charge = self.charge(client, Counted::Misses).await?;
        let outcome = guess.await;
        match (&outcome, &self.0) {
            (Err(ActivateError::Incorrect { .. }), Some(limits)) => limits.missed().await,
            _ => self.give_back(client, charge).await,
        }
        Ok(outcome?)
    }

    async fn charge(&self, client: &Client, counted: Counted) -> Result<Option<Charge>, Problem> {
        let Some(limits) = &self.0 else {
            return Ok(None);
        };
        match limits.charge(counted, client.network).await {
            None => Ok(None),
            Some(Ok(charge)) => {
                client.tell(charge.standing);
                Ok(Some(charge))
            }
            Some(Err(standing)) => {
                client.tell(standing);
                counter!("sixty_limited_requests_total", "limit" => counted.name()).increment(1);
                let what = match counted {
                    Counted::Codes => "Too many codes were asked for",
                    Counted::Misses => "Too many wrong codes came",
                };
                Err(Problem::too_many_requests(what, standing.next))
            }
        }
    }

    async fn give_back(&self, client: &Client, charge: Option<Charge>) {
        if let (Some(limits), Some(charge)) = (&self.0, charge)
            && let Some(standing) = limits.give_back(charge).await
        {
            client.tell(standing);
        }
    }
}
