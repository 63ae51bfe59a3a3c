//! The metrics with their help texts, and the Prometheus recorder. Names and units follow the Prometheus conventions.
//!
//! Every counter starts at zero: a counter that appears with its first event hides that event from `rate()`. The code
//! that handles an event increments its counter; `app/gauges.rs` reads the gauges of the stores at each scrape.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use super::log_writer;

/// Histogram buckets in seconds, from a response without I/O to the longest timeout.
const DEFAULT_BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Histogram buckets in seconds for mails, from a fast provider to a mail that is given up after 15 minutes.
const MAIL_BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0];

/// Interval at which the recorder moves single samples into the histograms, to free their memory between scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

const COUNTERS: [(&str, &str); 22] = [
    ("sixty_registrations_total", "Registrations that the API answered with 201."),
    ("sixty_codes_issued_total", "Codes and decoys whose mail the provider accepted."),
    (
        "sixty_codes_verified_total",
        "Codes that activated an account. An issued code that is neither verified nor destroyed expired unused, its \
         registration was deleted, or it is a decoy. Nothing counts expiries: Redis deletes the keys itself.",
    ),
    ("sixty_codes_destroyed_total", "Codes and decoys that three wrong guesses destroyed."),
    (
        "sixty_password_reset_requests_total",
        "Requests for a password reset that the API answered with 202, with or without an account.",
    ),
    ("sixty_addresses_changed_total", "Accounts that got another address by a mailed code."),
    ("sixty_addresses_restored_total", "Accounts that got their old address back by the link in a notice."),
    ("sixty_password_resets_total", "Passwords that were reset with a mailed code."),
    (
        "sixty_hasher_refused_total",
        "Password hashes refused because their predicted wait was longer than HASH_MAX_WAIT.",
    ),
    (
        "sixty_limits_skipped_total",
        "Rate limit checks that Redis did not answer in time; the process applied limits of its own.",
    ),
    (
        "sixty_guessed_logins_total",
        "Failed logins of addresses that failed more than 50 times within ten minutes in this process, over all client \
         networks: somebody guesses a password from many networks.",
    ),
    ("sixty_purged_total", "Pending registrations deleted after PENDING_TTL."),
    ("sixty_disowned_total", "Registrations deleted by the \"not me\" link in their mail."),
    ("sixty_events_relayed_total", "Events appended to the Redis Stream by this process."),
    (
        "sixty_log_lines_dropped_total",
        "Log lines that could not be written: standard error is closed, its disk is full, or its reader is too slow.",
    ),
    (
        "sixty_http_connections_closed_total",
        "Connections closed to make room, by port and reason: all if all connections were in use, network if a client network \
         had its share.",
    ),
    ("sixty_http_requests_total", "HTTP requests, by method, route template and response status."),
    (
        "sixty_spans_total",
        "Spans of traces, by outcome: accepted by the collector, or dropped because it did not accept them.",
    ),
    (
        "sixty_guesses_total",
        "Codes that pending users sent, by outcome: right, wrong, or no_code if the user had no live code.",
    ),
    (
        "sixty_reset_guesses_total",
        "Reset codes that clients sent, by outcome: right, wrong, or no_code if the address had no live code or decoy.",
    ),
    (
        "sixty_mail_attempts_total",
        "Mails claimed from the outbox, by outcome. A failing store can cause a retry before the provider is called. The \
         outcome mailbox_limit counts code mails dropped because their mailbox had used up its quota.",
    ),
    ("sixty_mails_accepted_total", "Mails that a provider accepted, by provider: first or fallback."),
];

const GAUGES: [(&str, &str); 20] = [
    ("sixty_build_info", "Always 1; the label holds the version of this program."),
    (
        "sixty_mail_probing",
        "1 while the circuit breakers of all mail providers are open: one mail at a time probes a provider.",
    ),
    (
        "sixty_mail_fallback",
        "1 while mails go by the fallback (MAIL_FALLBACK_URL), because the circuit breaker of the first provider is open.",
    ),
    (
        "sixty_mail_account_refused",
        "1 while a mail provider, first or fallback, refuses the account, such as a wrong key, and therefore every mail.",
    ),
    (
        "sixty_redis_may_evict",
        "1 if Redis may delete codes and limits when its memory is full (maxmemory-policy is not noeviction). NaN if unknown.",
    ),
    ("sixty_wrong_code_flood", "1 while wrong codes exceed FLOOD_MISSES_PER_MINUTE."),
    ("sixty_client_limits", "1 if the rate limits of client networks are on (CLIENT_LIMITS)."),
    (
        "sixty_redis_evicted_keys",
        "Keys that Redis has evicted since its start, because it was full. Every replica reads the same value: aggregate \
         with max().",
    ),
    ("sixty_http_connections", "Open client connections, by port: api or ops. Idle connections count."),
    ("sixty_http_max_connections", "MAX_CONNECTIONS, by port."),
    ("sixty_hasher_threads", "Threads that compute password hashes."),
    ("sixty_hasher_queue_length", "Password hashes that wait for a thread."),
    ("sixty_pool_connections", "Open pooled connections, by store and state: idle or used."),
    ("sixty_pool_max_connections", "Maximum pooled connections, by store."),
    ("sixty_store_up", "1 if the store answered during this scrape."),
    (
        "sixty_ready",
        "1 if /readyz answers 200: PostgreSQL and its migrations are ready, and the process is not stopping.",
    ),
    (
        "sixty_outbox_mails",
        "Mails in the outbox that are neither accepted nor given up. Every replica reads the same value from PostgreSQL: \
         aggregate with max(). NaN if PostgreSQL does not answer.",
    ),
    (
        "sixty_outbox_oldest_age_seconds",
        "Age of the oldest mail in the outbox by PostgreSQL's clock; 0 if the outbox is empty. Aggregate with max().",
    ),
    (
        "sixty_events_lag_seconds",
        "Age of the oldest event that is not yet in the Redis Stream; 0 if there is none. Every replica reads the same \
         value from PostgreSQL: aggregate with max(). NaN if PostgreSQL does not answer.",
    ),
    (
        "sixty_migrations_newer",
        "Migrations in the database that this release does not contain; more than 0 after a rollback of the release.",
    ),
];

const HISTOGRAMS: [(&str, &str); 5] = [
    (
        "sixty_http_request_duration_seconds",
        "Time from the request header to the response, by method and route template.",
    ),
    ("sixty_hasher_wait_seconds", "Time that a password hash waits for a thread."),
    (
        "sixty_hasher_evaluation_seconds",
        "Time to compute one password hash: argon2id, or the scheme of an imported hash.",
    ),
    (
        "sixty_mail_attempt_duration_seconds",
        "Duration of one request to the mail provider, by whether the provider accepted the mail.",
    ),
    (
        "sixty_mail_acceptance_seconds",
        "Time from the grant of a mail to its acceptance by the provider, including retries.",
    ),
];

/// The recorder, which renders all metrics in the Prometheus text format.
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    pub fn render(&self) -> String {
        self.process.collect();
        counter!("sixty_log_lines_dropped_total").absolute(log_writer::dropped_lines());
        self.handle.render()
    }
}

/// Installs the recorder of the whole process and registers every metric.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn start() -> Result<Metrics, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&DEFAULT_BUCKETS)?
        .set_buckets_for_metric(Matcher::Prefix("sixty_mail_".to_owned()), &MAIL_BUCKETS)?
        .install_recorder()?;
    COUNTERS.into_iter().for_each(|(name, help)| describe_counter!(name, help));
    GAUGES.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    HISTOGRAMS.into_iter().for_each(|(name, help)| describe_histogram!(name, help));
    describe_counter!(
        "sixty_limited_requests_total",
        "Requests answered with 429, by rate limit: of an address (too-many-codes) or of a client network \
         (too-many-requests)."
    );
    let process = Collector::default();
    process.describe();

    // The first fifteen counters have no label; the labels of the others follow below. The labels of
    // sixty_http_requests_total are not known in advance.
    for (name, _) in &COUNTERS[..15] {
        counter!(*name).increment(0);
    }
    for outcome in ["right", "wrong", "no_code"] {
        counter!("sixty_guesses_total", "outcome" => outcome).increment(0);
        counter!("sixty_reset_guesses_total", "outcome" => outcome).increment(0);
    }
    for outcome in ["accepted", "dropped"] {
        counter!("sixty_spans_total", "outcome" => outcome).increment(0);
    }
    for limit in ["address", "reset", "codes", "misses", "pending", "failures"] {
        counter!("sixty_limited_requests_total", "limit" => limit).increment(0);
    }
    for outcome in ["sent", "retry", "given_up", "not_wanted", "mailbox_limit"] {
        counter!("sixty_mail_attempts_total", "outcome" => outcome).increment(0);
    }
    gauge!("sixty_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("sixty_wrong_code_flood").set(0.0);
    gauge!("sixty_mail_probing").set(0.0);
    gauge!("sixty_mail_fallback").set(0.0);
    for provider in ["first", "fallback"] {
        gauge!("sixty_mail_account_refused", "provider" => provider).set(0.0);
        counter!("sixty_mails_accepted_total", "provider" => provider).increment(0);
    }

    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            upkeep.run_upkeep();
        }
    });
    Ok(Metrics { handle, process })
}
