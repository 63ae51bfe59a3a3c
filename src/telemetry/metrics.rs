//! What is counted and measured: each with its help text, and counters from the start at zero, because one that appears
//! with its first event hides that event from a rate. Names and units are by Prometheus's conventions.
//!
//! Events are counted where they happen. What is looked up when somebody asks is in `app/gauges.rs`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// From an answer out of memory to one that took all the time there is.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What has to do with the mail provider: from a quick answer to a mail that is given up after a quarter of an hour.
const MAIL: [f64; 12] = [0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0];

/// Samples are kept one by one until somebody asks or this has passed.
const UPKEEP: Duration = Duration::from_secs(5);

const COUNTERS: [(&str, &str); 12] = [
    ("sixty_registrations_total", "Registrations answered with 201."),
    ("sixty_codes_issued_total", "Codes whose mail the provider has accepted."),
    (
        "sixty_codes_verified_total",
        "Codes that activated an account. What of the issued ones is neither verified nor destroyed has expired unused, or \
         went with its registration: Redis lets a code die by itself, and tells nobody.",
    ),
    (
        "sixty_codes_destroyed_total",
        "Codes, and decoys of them, that were destroyed by three wrong guesses. Decoys are not among the issued.",
    ),
    ("sixty_hasher_refused_total", "Evaluations refused because they would have waited for longer than HASH_MAX_WAIT."),
    ("sixty_limits_skipped_total", "Questions about client limits that Redis did not answer."),
    ("sixty_purged_total", "Registrations deleted because nobody activated them."),
    ("sixty_disowned_total", "Registrations deleted by the link in their mail."),
    ("sixty_events_relayed_total", "Events appended to the Redis Stream by this process."),
    ("sixty_http_requests_total", "Requests, by method, route template and status of the answer."),
    ("sixty_guesses_total", "Codes that pending users sent: right, wrong, or sent while there was none."),
    (
        "sixty_mail_attempts_total",
        "Mails taken from the outbox, by outcome. A retry may be owed to a store, before the provider was asked.",
    ),
];

const GAUGES: [(&str, &str); 13] = [
    ("sixty_build_info", "1, with the version of this program."),
    ("sixty_mail_probing", "1 while the mail provider fails and gets one mail at a time."),
    ("sixty_wrong_code_flood", "1 while more wrong codes come than FLOOD_MISSES_PER_MINUTE."),
    ("sixty_hasher_threads", "Threads that evaluate argon2id."),
    ("sixty_hasher_queue_length", "Evaluations that wait for a thread."),
    ("sixty_pool_connections", "Connections of the pools to the stores, by whether a call uses them."),
    ("sixty_pool_max_connections", "Connections that the pools may have."),
    ("sixty_store_up", "1 if the store answered when these figures were asked for."),
    ("sixty_ready", "1 if all is there that requests need, and the process was not told to stop."),
    (
        "sixty_outbox_mails",
        "Mails that are neither accepted nor given up. The database's figure, and so the same from every replica: take the \
         max() of them. NaN while PostgreSQL does not answer.",
    ),
    (
        "sixty_outbox_oldest_age_seconds",
        "Time since the oldest of those was granted, by the database's clock; 0 without one. Take the max(), too.",
    ),
    (
        "sixty_events_lag_seconds",
        "Age of the oldest event that is not in the Redis Stream yet; 0 if none waits. The same from every replica, NaN \
         while PostgreSQL does not answer: take the max().",
    ),
    ("sixty_migrations_newer", "Migrations in the database that this release does not know: it was rolled back."),
];

const HISTOGRAMS: [(&str, &str); 5] = [
    ("sixty_http_request_duration_seconds", "From a request's header to its answer, by method and route template."),
    ("sixty_hasher_wait_seconds", "From the wish for an evaluation to its beginning."),
    ("sixty_hasher_evaluation_seconds", "One evaluation of argon2id."),
    ("sixty_mail_attempt_duration_seconds", "One call to the mail provider, by whether it has accepted the mail."),
    ("sixty_mail_acceptance_seconds", "From the grant of a mail to its acceptance, retries included."),
];

/// Renders all figures in Prometheus's text format.
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }
}

/// Starts counting for the whole process.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn start() -> Result<Metrics, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .set_buckets_for_metric(Matcher::Prefix("sixty_mail_".to_owned()), &MAIL)?
        .install_recorder()?;
    COUNTERS.into_iter().for_each(|(name, help)| describe_counter!(name, help));
    GAUGES.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    HISTOGRAMS.into_iter().for_each(|(name, help)| describe_histogram!(name, help));
    describe_counter!(
        "sixty_limited_requests_total",
        "Requests answered with 429, by limit: of an address (too-many-codes) or of a client network (too-many-requests)."
    );
    let process = Collector::default();
    process.describe();

    // Which labels there are is known only of these.
    for (name, _) in &COUNTERS[..9] {
        counter!(*name).increment(0);
    }
    for outcome in ["right", "wrong", "no_code"] {
        counter!("sixty_guesses_total", "outcome" => outcome).increment(0);
    }
    for limit in ["address", "codes", "misses", "failures"] {
        counter!("sixty_limited_requests_total", "limit" => limit).increment(0);
    }
    for outcome in ["sent", "retry", "given_up", "not_wanted"] {
        counter!("sixty_mail_attempts_total", "outcome" => outcome).increment(0);
    }
    gauge!("sixty_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("sixty_wrong_code_flood").set(0.0);
    gauge!("sixty_mail_probing").set(0.0);

    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(Metrics { handle, process })
}
