//! What `sixty serve` says and does when it cannot use its stores, and what `sixty doctor` finds.

mod doctor;
mod postgres;
mod redis;
mod rights;
mod running;

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::process::{Running, failure_line, sixty};
use crate::support::{Answer, CODE_SECRET, create_database, stack};

/// Returns a command that checks or serves with these stores.
fn command(name: &str, database_url: &str, redis_url: &str) -> Command {
    let mut command = sixty(&[name]);
    command
        .env("API_ADDR", "127.0.0.1:0")
        .env("OPS_ADDR", "127.0.0.1:0")
        .env("ARGON2_MEMORY_KIB", "8")
        .env("ARGON2_PASSES", "1")
        .env("DATABASE_URL", database_url)
        .env("REDIS_URL", redis_url)
        .env("MAIL_URL", "http://127.0.0.1:1")
        .env("CODE_SECRET", CODE_SECRET);
    command
}

fn serve(database_url: &str, redis_url: &str) -> Command {
    command("serve", database_url, redis_url)
}

/// Asserts that `serve` ends with exit status 2 and one line that contains all `words`.
async fn assert_refused(mut serve: Command, words: &[&str]) {
    let (status, line) = failure_line(serve.env("LOG_LEVEL", "error")).await;
    assert_eq!(status, 2, "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} in {line}");
    }
    assert!(!line.contains("c4n4ry"), "{line}");
}

/// Waits until `serve` has logged all `words` in one line, and asserts that it still runs.
async fn assert_waits(mut serve: Command, words: &[&str]) -> (Running, String) {
    let (mut running, api) = Running::serve(&mut serve).await;
    running
        .until(&format!("a log line with {words:?}"), async |running| {
            let log = running.stderr();
            log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        })
        .await;
    assert!(!running.stderr().contains("c4n4ry"), "{}", running.stderr());
    (running, api)
}

async fn get(url: String) -> Answer {
    Answer::of(reqwest::Client::builder().no_proxy().build().unwrap().get(url)).await
}

async fn wait_until_ready(running: &mut Running, api: &str) {
    running.until("ready service", async |_| (get(format!("{api}/readyz")).await.status == 200).then_some(())).await;
}

async fn stop(mut running: Running) {
    assert!(running.end(Signal::SIGTERM).await.success());
}

/// The shared Redis and a database of the test.
async fn stores() -> (String, &'static str) {
    (create_database().await, stack().redis_url())
}
