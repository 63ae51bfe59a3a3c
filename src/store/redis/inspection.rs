//! What a Redis is, and whether each script and command of this service works there.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, ConnectionInfo, Script};

use super::codes::{CodeStorage, RedisCodes};
use super::events::EventStream;
use super::limits::{LimitsConfig, run_each_script};
use super::server_check::{ServerInfo, look_at};
use super::{Redis, reason, silent};
use crate::accounts::ports::{Codes as _, StoreError};
use crate::domain::code::{Code, CodeKey, CodeLifetimes, Grant, MailAttempt, ResetId};
use crate::rng::Rng;
use crate::store::fault::{Cure, Fault};

/// The lifetime of a code that a check writes. All keys are deleted at its end.
const CHECK_TTL: Duration = Duration::from_secs(10);

/// Runs each command that a script of this service has. Returns the first one that the user may not run.
static COMMANDS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local text, hash = KEYS[1], KEYS[2]
        for _, command in ipairs({
            {'SET', text, '1', 'PX', '1000'}, {'GET', text}, {'INCR', text}, {'EXISTS', text}, {'PEXPIRE', text, '1000'},
            {'PTTL', text}, {'HSET', hash, 'field', '1'}, {'HINCRBY', hash, 'field', '1'}, {'HGET', hash, 'field'},
            {'HMGET', hash, 'field'}, {'HEXISTS', hash, 'field'}, {'HDEL', hash, 'field'}, {'TIME'},
            {'XADD', hash, 'MAXLEN', '~', '1', '*', 'event', '1'}, {'DEL', text, hash},
        }) do
            local result = redis.pcall(unpack(command))
            local refusal = type(result) == 'table' and result.err
            if refusal and (refusal:find('NOPERM', 1, true) or refusal:find('run this command', 1, true)) then
                return command[1]
            end
        end
        return false
        ",
    )
});

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
            (false, true, _) if self.nodes.may_be_cluster() => self.nodes.turn_into_cluster(),
            (false, true, _) => return Err(reason::cluster_without_address()),
            (true, false, true) => return Err(reason::no_cluster()),
            _ => {}
        }
        if let Some(fault) = info.cluster_fault {
            return Err(fault);
        }
        Box::pin(self.try_scripts(limits, rng)).await?;
        let ServerInfo { version, eviction_policy, .. } = info;
        Ok(Inspection { version, is_cluster: self.is_cluster(), eviction_policy, answered_in, clock_offset })
    }

    /// Returns what the first server says that can be used, or the fault of the first one.
    async fn look_at_servers(&self) -> Result<ServerInfo, Fault> {
        let (mut first_fault, key) = (None, self.key("check"));
        for server in self.servers().await? {
            match Box::pin(look_at(&server, &key, self.timeout)).await {
                Ok(info) => return Ok(info),
                Err(fault) => {
                    first_fault.get_or_insert(fault);
                }
            }
        }
        Err(first_fault.expect("the URL names at least one server"))
    }

    async fn servers(&self) -> Result<Vec<ConnectionInfo>, Fault> {
        let servers = tokio::time::timeout(self.timeout, self.nodes.servers());
        servers.await.unwrap_or_else(|_| Err(silent(self.timeout)))
    }

    async fn try_scripts(&self, limits: LimitsConfig, rng: &Rng) -> Result<(), Fault> {
        // Keys of a check of their own, so that two processes that start together do not disturb each other.
        let check = Self { prefix: self.key(&format!("check:{}", rng.user_id().0.simple())), ..self.clone() };
        // First, because it names a command that the user may not run. Of a script, Redis names none.
        check.try_commands().await?;
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

    /// Runs every command of the scripts: one run of a script takes one way through it.
    async fn try_commands(&self) -> Result<(), Fault> {
        let mut run = COMMANDS.prepare_invoke();
        for kind in ["text", "hash"] {
            // In a cluster, the keys of a script must be in one slot.
            run.key(self.key(&format!("limit:{{check}}:{kind}")));
        }
        let run = &run;
        let refused: Option<String> =
            self.attempt(|mut connection| async move { run.invoke_async(&mut connection).await }).await?;
        refused.map_or(Ok(()), |command| Err(reason::missing_right_to(&command)))
    }

    async fn try_codes(&self, rng: &Rng) -> Result<(), StoreError> {
        let lifetimes = CodeLifetimes { registration: CHECK_TTL, password_reset: CHECK_TTL };
        let codes = RedisCodes::new(self.clone(), CodeStorage::Plain, lifetimes);
        let attempt = MailAttempt { grant: Grant(1), number: 1 };
        let code = Code::parse("0000").expect("a code has four digits");
        let (user, reset) = (rng.user_id(), ResetId(rng.bytes()));
        for key in [CodeKey::Registration(user), CodeKey::PasswordReset(reset), CodeKey::AddressChange(user)] {
            codes.put(key, attempt, Some(&code), true).await?;
            codes.redeem(key, &code).await?;
            codes.withdraw(key, attempt).await?;
            codes.discard(key).await?;
            self.command::<()>(redis::cmd("DEL").arg(&codes.keys(key))).await?;
        }
        Ok(())
    }

    async fn try_events(&self) -> Result<(), StoreError> {
        EventStream::new(self.clone(), 1).append(&["{}".to_owned()]).await?;
        Ok(self.command(redis::cmd("DEL").arg(format!("{}:events", self.prefix))).await?)
    }

    /// Reads a key of each kind, because a user may be confined to some names, and runs the commands around scripts.
    async fn try_keys(&self) -> Result<(), Fault> {
        let exists = async |name| self.command::<u8>(redis::cmd("EXISTS").arg(self.key(name))).await;
        for name in [
            "code:{check}",
            "tries:{check}",
            "reset:{check}",
            "reset-tries:{check}",
            "email:{check}",
            "email-tries:{check}",
            "limit:{check}",
            "events",
        ] {
            exists(name).await?;
        }
        // A server may have the scripts already. After a restart it has none.
        self.command::<String>(redis::cmd("SCRIPT").arg("LOAD").arg("return 1")).await?;
        // The pool sends it between two uses of a connection.
        self.command(&redis::cmd("PING")).await
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    fn sources(folder: &Path, sources: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self::sources(&path, sources);
            } else {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_command_of_a_script_is_tried() {
        let mut text = String::new();
        sources(Path::new("src/store/redis"), &mut text);
        let calls = text.split("redis.call('").skip(1).map(|rest| rest.split('\'').next().unwrap());
        let calls: Vec<&str> = calls.filter(|call| call.bytes().all(|octet| octet.is_ascii_uppercase())).collect();
        assert!(calls.len() > 20, "{calls:?}");
        for command in calls {
            assert!(text.contains(&format!("{{'{command}'")), "{command} is missing in COMMANDS");
        }
    }
}
