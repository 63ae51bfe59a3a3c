//! The environment of a fault test: a database, a Redis server, a key prefix and a mail provider.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::scripted_provider::Provider;
use crate::process::{PROGRAM, Running, program};
use crate::support::{
    Answer, CODE_SECRET, PASSWORD, Service, code_in, create_database, eventually, eventually_within, stack, unique_name,
};

/// Deadline for a response or a mail. It is generous, because other tests run at the same time.
const DEADLINE: Duration = Duration::from_secs(120);
/// Deadline for the recovery after a fault. The target is five seconds; a busy machine may need longer.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(15);

pub struct Environment {
    database_url: String,
    redis_url: String,
    prefix: String,
    pub provider: Provider,
}

impl Environment {
    /// Uses a new database and a new key prefix on the servers that all tests share.
    pub async fn new() -> Environment {
        let database_url = create_database().await;
        Self::with_stores(&database_url, stack().redis_url()).await
    }

    /// Uses servers that belong to the test, so that the test may break them.
    pub async fn with_stores(database_url: &str, redis_url: &str) -> Environment {
        let (database_url, redis_url) = (database_url.to_owned(), redis_url.to_owned());
        Environment {
            database_url,
            redis_url,
            prefix: format!("t{}", unique_name()),
            provider: Provider::start().await,
        }
    }

    /// Starts a `sixty serve` process with default settings, cheap password hashes and `flags`.
    pub async fn serve(&self, flags: &[&str]) -> (Running, Service) {
        self.serve_by(Path::new(PROGRAM), flags).await
    }

    /// Does the same with another build of `sixty`.
    pub async fn serve_by(&self, path: &Path, flags: &[&str]) -> (Running, Service) {
        let mut serve = program(path, &["serve"]);
        serve
            .args(["--database-url", &self.database_url, "--redis-url", &self.redis_url])
            .args(["--redis-prefix", &self.prefix, "--mail-url", &self.provider.url, "--code-secret", CODE_SECRET])
            .args(flags);
        let (running, api) = Running::serve(&mut serve).await;
        let stop = CancellationToken::new();
        let service = Service::connect(api, &self.provider.url, &self.database_url, &self.prefix, stop).await;
        (running, service)
    }
}

impl Service {
    /// Waits for the user's mail and activates the user with its code. Asserts that all copies of the mail have that
    /// code.
    pub async fn activate_with_mailed_code(&self, email: &str) {
        let code = self.wait_for_mailed_code(email).await;
        let answer = self.activate(email, PASSWORD, &code).await;
        assert_eq!(answer.status, 200, "{email}: {answer:?}");
        self.assert_every_mail_has_code(&code, email).await;
    }

    /// Like `activate_with_mailed_code`, but tries again after a 503.
    pub async fn activate_with_retries(&self, email: &str) {
        let code = self.wait_for_mailed_code(email).await;
        let answer = eventually_within(RECOVERY_DEADLINE, "activation", async || {
            Some(self.activate(email, PASSWORD, &code).await).filter(|answer| answer.status != 503)
        })
        .await;
        // An attempt that was answered 503 may have activated the user.
        let is_active = answer.status == 200 || answer.outcome() == (409, "already-active");
        assert!(is_active, "{email}: {answer:?}");
        self.assert_every_mail_has_code(&code, email).await;
    }

    async fn wait_for_mailed_code(&self, email: &str) -> String {
        let mails = eventually_within(DEADLINE, "mail", async || {
            Some(self.mails(email).await).filter(|mails| !mails.is_empty())
        })
        .await;
        code_in(&self.mail_text(&mails[0]).await).unwrap()
    }

    async fn assert_every_mail_has_code(&self, code: &str, email: &str) {
        for mailed_code in self.mailed_codes(email).await {
            assert_eq!(mailed_code, code, "{email}");
        }
    }

    /// Returns the codes of all mails to the address, including copies. The mail about the activation has no code.
    pub async fn mailed_codes(&self, email: &str) -> Vec<String> {
        let mut codes = vec![];
        for mail in self.mails(email).await {
            codes.extend(code_in(&self.mail_text(&mail).await));
        }
        codes
    }

    /// Registers, and tries again after each 503. Returns the first other answer.
    pub async fn register_with_retries(&self, email: &str) -> Answer {
        eventually_within(DEADLINE, "registration", async || {
            Some(self.register(email, PASSWORD).await).filter(|answer| answer.status != 503)
        })
        .await
    }
}

/// Waits until the condition holds after the end of a fault, and prints how long that took.
pub async fn wait_for_recovery<T>(awaited: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    let fault_end = Instant::now();
    let value = eventually_within(RECOVERY_DEADLINE, awaited, condition).await;
    println!("{awaited}: {:.1} s after the fault", fault_end.elapsed().as_secs_f64());
    value
}

/// Returns the value of a counter. `name` includes the labels, as `/metrics` prints them.
pub async fn metric_value(running: &Running, name: &str) -> u64 {
    let metrics = running.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
    value.trim().parse().unwrap()
}

/// Waits until the process has logged `text`.
pub async fn wait_for_log(running: &Running, text: &str) {
    eventually(&format!("log line with {text:?}"), async || running.stderr().contains(text).then_some(())).await;
}
