//! The event relay: moves events from the PostgreSQL table `events` to a Redis Stream that other programs read.
//!
//! Events are CloudEvents 1.0. They are delivered at least once, and the events of each user in order. Every statement that
//! changes a user writes its event in the same transaction (a transactional outbox).
//!
//! One process relays at a time, under an advisory lock: two would append the events of one user in any order. The relay
//! polls. Notifications are rejected, since polling four times a second makes batches of the events in between.

use std::time::{Duration, Instant};

use metrics::counter;
use serde::Serialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::accounts::ports::StoreError;
use crate::store::postgres::Postgres;
use crate::store::postgres::events::{Event, EventQueue, SILENCE};
use crate::store::redis::events::EventStream;

/// The pause between two reads of the table when it had no full batch.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The pause between two attempts to get the lock, and after an error.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The most events in one batch. A batch is in memory at once.
const MAX_BATCH: u32 = 500;

pub struct Relay {
    pub postgres: Postgres,
    pub stream: EventStream,
    /// The `source` of every event: the public URL of the API. It distinguishes these events from other services' events.
    pub source: String,
}

/// What survives an error of the relay.
struct Progress {
    /// Whether the latest attempt succeeded, so that only changes are logged.
    healthy: bool,
    /// The most events in the next batch.
    batch_size: u32,
}

impl Relay {
    /// Relays events until `stop` is cancelled. While another process holds the lock, it waits for the lock.
    pub async fn run(self, stop: CancellationToken) {
        let mut progress = Progress { healthy: true, batch_size: MAX_BATCH };
        while !stop.is_cancelled() {
            let Err(error) = self.relay(&stop, &mut progress).await else {
                return;
            };
            // A batch that times out may have been appended all the same. A smaller one is repeated less often.
            progress.batch_size = (progress.batch_size / 2).max(1);
            // The lock ended with the session, so a process that can reach both stores may take over.
            if std::mem::replace(&mut progress.healthy, false) {
                let message = "events cannot be relayed; they are kept, and the relay retries";
                match error {
                    StoreError::Unavailable { .. } => warn!(%error, "{message}"),
                    StoreError::Broken { .. } => error!(%error, "{message}"),
                }
            }
            pause(&stop, RETRY_INTERVAL).await;
        }
    }

    async fn relay(&self, stop: &CancellationToken, progress: &mut Progress) -> Result<(), StoreError> {
        let mut queue = EventQueue::connect(&self.postgres).await?;
        while !queue.lock().await? {
            pause(stop, RETRY_INTERVAL).await;
            if stop.is_cancelled() {
                return Ok(());
            }
        }
        let mut relayed = vec![];
        loop {
            // This call deletes the relayed events. A crash before it repeats them under the same ids.
            let read_at = Instant::now();
            let events = queue.next(&relayed, progress.batch_size).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            // After so long, PostgreSQL has ended the session, and another process may have relayed these events. The next
            // call returns the error.
            if read_at.elapsed() >= SILENCE {
                continue;
            }
            let batch_is_full = events.len() == progress.batch_size as usize;
            if !events.is_empty() {
                let cloud_events: Vec<String> = events.iter().map(|event| self.cloud_event(event)).collect();
                self.stream.append(&cloud_events).await?;
                counter!("sixty_events_relayed_total").increment(events.len() as u64);
                progress.batch_size = (progress.batch_size + 1).min(MAX_BATCH);
            }
            if !std::mem::replace(&mut progress.healthy, true) {
                info!("events are relayed again");
            }
            relayed = events.iter().map(|event| event.sequence).collect();
            if !batch_is_full {
                pause(stop, POLL_INTERVAL).await;
            }
        }
    }

    fn cloud_event(&self, event: &Event) -> String {
        let event = CloudEvent {
            specversion: "1.0",
            id: event.id,
            source: &self.source,
            event_type: &event.kind,
            subject: event.user.0,
            time: event.at,
            datacontenttype: "application/json",
            data: Data { email: event.email.as_deref(), status: &event.status, role: &event.role },
        };
        serde_json::to_string(&event).expect("strings and times are JSON")
    }
}

/// Sleeps for `duration`, or until `stop` is cancelled.
async fn pause(stop: &CancellationToken, duration: Duration) {
    let _ = tokio::time::timeout(duration, stop.cancelled()).await;
}

/// An event in the JSON format of CloudEvents 1.0. `docs/events.md` explains its fields to consumers.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    subject: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    status: &'a str,
    role: &'a str,
}
