//! What a Redis is, and whether each script and command of this service works there.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, RedisResult};

use super::codes::{CodeStorage, RedisCodes};
use super::events::EventStream;
use super::limits::{LimitsConfig, run_each_script};
use super::server_check::{ServerInfo, look_at};
use super::{Redis, reason};
use crate::accounts::ports::{Codes as _, StoreError};
use crate::domain::code::{Code, Grant, MailAttempt};
use crate::rng::Rng;
use crate::store::fault::{Cure, Fault};

/// The lifetime of a code that a check writes. All keys are deleted at its end.
const CHECK_TTL: Duration = Duration::from_secs(10);

/// One look at Redis. All scripts have worked.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// `None`: the user may not read it (`INFO`).
    pub version: Option<String>,
    pub is_cluster: bool,
    /// `maxmemory-policy`. `None`: the user may not read it.
    pub eviction_policy: Option<String>,
    /// From connecting to the answer about the server.
    pub answered_in: Duration,
    /// The time of the server minus the time of this process, in seconds.
    pub clock_offset: f64,
}

impl Redis {
    /// Looks at the servers, and runs each script and command of this service once, on keys of its own. Makes one attempt.
    pub async fn inspect(&self, limits: LimitsConfig, rng: &Rng) -> Result<Inspection, Fault> {
        let begun = Instant::now();
        let info = self.look_at_servers().await?;
        let answered_in = begun.elapsed();
        let clock_offset = info.epoch - local_epoch();
        match (self.is_cluster(), info.is_cluster, info.version.is_some()) {
            (false, true, _) => return Err(reason::cluster_behind_one_url()),
            (true, false, true) => return Err(reason::no_cluster()),
            _ => {}
        }
        Box::pin(self.try_scripts(limits, rng)).await?;
        let ServerInfo { version, eviction_policy, .. } = info;
        Ok(Inspection { version, is_cluster: self.is_cluster(), eviction_policy, answered_in, clock_offset })
    }

    /// Returns what the first server says that can be used, or the fault of the first one.
    async fn look_at_servers(&self) -> Result<ServerInfo, Fault> {
        let mut first_fault = None;
        for server in &*self.servers {
            match Box::pin(look_at(server, self.timeout)).await {
                Ok(info) => return Ok(info),
                Err(fault) => {
                    first_fault.get_or_insert(fault);
                }
            }
        }
        Err(first_fault.expect("the URL names at least one server"))
    }

    async fn try_scripts(&self, limits: LimitsConfig, rng: &Rng) -> Result<(), Fault> {
        // Keys of a check of their own, so that two processes that start together do not disturb each other.
        let check = Self { prefix: self.key(&format!("check:{}", rng.user_id().0.simple())), ..self.clone() };
        // Boxed: the futures of a start would otherwise be too large for the stack.
        let (codes, events, limits, keys) = tokio::join!(
            Box::pin(check.try_codes(rng)),
            Box::pin(check.try_events()),
            Box::pin(run_each_script(&check, limits, rng)),
            Box::pin(self.try_keys())
        );
        codes.and(events).map_err(as_fault)?;
        limits.and(keys)
    }

    async fn try_codes(&self, rng: &Rng) -> Result<(), StoreError> {
        let codes = RedisCodes::new(self.clone(), CodeStorage::Plain, CHECK_TTL);
        let (user, attempt) = (rng.user_id(), MailAttempt { grant: Grant(1), number: 1 });
        let code = Code::parse("0000").expect("a code has four digits");
        codes.put(user, attempt, Some(&code), true).await?;
        codes.redeem(user, &code).await?;
        codes.withdraw(user, attempt).await?;
        codes.discard(user).await?;
        self.delete(codes.keys(user).to_vec()).await
    }

    async fn try_events(&self) -> Result<(), StoreError> {
        EventStream::new(self.clone(), 1).append(&["{}".to_owned()]).await?;
        self.delete(vec![format!("{}:events", self.prefix)]).await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.call(async |mut connection| {
            let delete: RedisResult<()> = redis::cmd("DEL").arg(&keys).query_async(&mut connection).await;
            delete
        })
        .await
    }

    /// Reads a key of each kind, because a user may be confined to some names, and runs the commands around scripts.
    async fn try_keys(&self) -> Result<(), Fault> {
        let exists = |name: &'static str| {
            let key = self.key(name);
            self.attempt(async move |mut connection| {
                redis::cmd("EXISTS").arg(key).query_async::<u8>(&mut connection).await
            })
        };
        tokio::try_join!(exists("code:{check}"), exists("tries:{check}"), exists("limit:{check}"), exists("events"))?;
        // A server may have the scripts already. After a restart it has none.
        let load = async |mut connection| {
            redis::cmd("SCRIPT").arg("LOAD").arg("return 1").query_async::<String>(&mut connection).await
        };
        self.attempt(load).await?;
        if self.is_cluster() {
            return Ok(());
        }
        // The pool sends these between two uses of a connection.
        self.attempt(async |mut connection| redis::pipe().cmd("UNWATCH").cmd("PING").exec_async(&mut connection).await)
            .await
    }
}

fn as_fault(error: StoreError) -> Fault {
    match error {
        StoreError::Unavailable { store, summary, reason } => Fault { store, summary, reason, cure: Cure::Time },
        StoreError::Broken { store, reason } => {
            Fault { store, summary: "refuses a command", reason, cure: Cure::Defect }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "compares the clock of this machine with the server's")]
fn local_epoch() -> f64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
