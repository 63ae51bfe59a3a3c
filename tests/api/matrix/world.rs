//! A database, a Redis, a key prefix and a provider, and no process that uses them yet.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::scripted::Provider;
use crate::process::{Running, sixty};
use crate::support::{
    Answer, CODE_SECRET, PASSWORD, Service, code_in, create_database, eventually, eventually_within, stack, unique_name,
};

/// How long a person is waited for. Much longer than any case should take, because other tests run at the same time.
const PATIENCE: Duration = Duration::from_secs(120);
/// From the end of a fault to the moment when all is as before. The bar is five seconds; a busy machine may take longer.
const RECOVERY: Duration = Duration::from_secs(15);

pub struct World {
    database_url: String,
    redis_url: String,
    prefix: String,
    pub provider: Provider,
}

impl World {
    /// With the stores that all tests of the run share.
    pub async fn new() -> World {
        let database_url = create_database().await;
        Self::over(&database_url, stack().redis_url()).await
    }

    /// With stores that a test may do anything to.
    pub async fn over(database_url: &str, redis_url: &str) -> World {
        let (database_url, redis_url) = (database_url.to_owned(), redis_url.to_owned());
        World { database_url, redis_url, prefix: format!("t{}", unique_name()), provider: Provider::start().await }
    }

    /// A process of its own, with the defaults of production but for cheap hashes and for these flags.
    pub async fn serve(&self, flags: &[&str]) -> (Running, Service) {
        let mut serve = sixty(&["serve"]);
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
    /// Waits for the person's mail and activates straight away. All copies of the mail carry the code that worked.
    pub async fn gets_in(&self, email: &str) {
        let code = self.mailed_code(email).await;
        let answer = self.activate(email, PASSWORD, &code).await;
        assert_eq!(answer.status, 200, "{email}: {answer:?}");
        self.all_copies_carry(&code, email).await;
    }

    /// The same, but tries again when answered 503.
    pub async fn gets_in_in_the_end(&self, email: &str) {
        let code = self.mailed_code(email).await;
        let answer = eventually_within(RECOVERY, "an activation", async || {
            Some(self.activate(email, PASSWORD, &code).await).filter(|answer| answer.status != 503)
        })
        .await;
        // Who was told to come again may have been activated all the same.
        let is_in = answer.status == 200 || answer.outcome() == (409, "already-active");
        assert!(is_in, "{email}: {answer:?}");
        self.all_copies_carry(&code, email).await;
    }

    async fn mailed_code(&self, email: &str) -> String {
        let mails = eventually_within(PATIENCE, "a mail", async || {
            Some(self.mails(email).await).filter(|mails| !mails.is_empty())
        })
        .await;
        code_in(&self.mail_text(&mails[0]).await).unwrap()
    }

    async fn all_copies_carry(&self, code: &str, email: &str) {
        for copied in self.mailed_codes(email).await {
            assert_eq!(copied, code, "{email}");
        }
    }

    /// The codes that were mailed to this person, copies too. The mail that tells of the activation has none.
    pub async fn mailed_codes(&self, email: &str) -> Vec<String> {
        let mut codes = vec![];
        for mail in self.mails(email).await {
            codes.extend(code_in(&self.mail_text(&mail).await));
        }
        codes
    }

    /// Does what a person does who is answered 503: tries again. The answer to the first request that was not.
    pub async fn registers_in_the_end(&self, email: &str) -> Answer {
        eventually_within(PATIENCE, "a registration", async || {
            Some(self.register(email, PASSWORD).await).filter(|answer| answer.status != 503)
        })
        .await
    }
}

/// Waits for what works again after a fault, and says how long it took.
pub async fn recovers<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    let over = Instant::now();
    let value = eventually_within(RECOVERY, what, condition).await;
    println!("{what}: {:.1} s after the fault", over.elapsed().as_secs_f64());
    value
}

/// A counter's value, by its name and labels as they are printed.
pub async fn counted(running: &Running, name: &str) -> u64 {
    let metrics = running.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
    value.trim().parse().unwrap()
}

/// Waits until the log tells of it.
pub async fn told(running: &Running, words: &str) {
    eventually(&format!("in the log: {words}"), async || running.stderr().contains(words).then_some(())).await;
}
