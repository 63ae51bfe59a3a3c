//! Telling other programs what happened to users: the relay, which appends the events that the stores' statements have
//! written to a Redis Stream, as CloudEvents 1.0, at least once and each user's in order.
//!
//! One process relays at a time, or two would append one user's events in any order. Nothing wakes it: a look at the
//! table four times a second makes batches of what comes in between, and finds what other processes wrote, too.

use std::time::{Duration, Instant};

use metrics::counter;
use serde::Serialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::accounts::ports::StoreError;
use crate::store::postgres::Postgres;
use crate::store::postgres::events::{Event, EventQueue, SILENCE};
use crate::store::redis::events::EventStream;

/// How often the table is looked at.
const POLL: Duration = Duration::from_millis(250);

/// How often those who do not relay ask whether they should, and how long who could not waits before it tries again.
const AGAIN: Duration = Duration::from_secs(1);

/// Events that are read, appended and forgotten together, at the most. All of them are in memory at once.
const BATCH: u32 = 500;

pub struct Relay {
    pub postgres: Postgres,
    pub stream: EventStream,
    /// Where people reach the API: what tells these events from another service's.
    pub source: String,
}

impl Relay {
    /// Relays until told to stop, or until another process does.
    pub async fn run(self, stop: CancellationToken) {
        let (mut works, mut most) = (true, BATCH);
        while !stop.is_cancelled() {
            let Err(error) = self.relay(&stop, &mut works, &mut most).await else {
                return;
            };
            // What takes too long is tried in parts: else a slow Redis might append the same ones over and over.
            most = (most / 2).max(1);
            // The lock went with the session: a process that reaches both stores may take over.
            if std::mem::replace(&mut works, false) {
                warn!(%error, "events cannot be relayed; they are kept, and it is tried on");
            }
            pause(&stop, AGAIN).await;
        }
    }

    async fn relay(&self, stop: &CancellationToken, works: &mut bool, most: &mut u32) -> Result<(), StoreError> {
        let mut queue = EventQueue::connect(&self.postgres).await?;
        while !queue.lock().await? {
            pause(stop, AGAIN).await;
            if stop.is_cancelled() {
                return Ok(());
            }
        }
        let mut relayed = vec![];
        loop {
            // Who dies between appending and this appends once more, under the same ids.
            let asked = Instant::now();
            let events = queue.next(&relayed, *most).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
            // Who was frozen since has lost the lock, and another has appended them. It finds its session ended.
            if asked.elapsed() >= SILENCE {
                continue;
            }
            let full = events.len() == *most as usize;
            if !events.is_empty() {
                let written: Vec<String> = events.iter().map(|event| self.written(event)).collect();
                self.stream.append(&written).await?;
                counter!("sixty_events_relayed_total").increment(events.len() as u64);
                *most = (*most + 1).min(BATCH);
            }
            if !std::mem::replace(works, true) {
                info!("events are relayed again");
            }
            relayed = events.iter().map(|event| event.sequence).collect();
            if !full {
                pause(stop, POLL).await;
            }
        }
    }

    fn written(&self, event: &Event) -> String {
        let event = CloudEvent {
            specversion: "1.0",
            id: event.id,
            source: &self.source,
            kind: &event.kind,
            subject: event.user.0,
            time: event.at,
            datacontenttype: "application/json",
            data: Data { email: event.email.as_deref(), status: &event.status, role: &event.role },
        };
        serde_json::to_string(&event).expect("strings and times are JSON")
    }
}

/// Ends sooner when told to stop.
async fn pause(stop: &CancellationToken, time: Duration) {
    let _ = tokio::time::timeout(time, stop.cancelled()).await;
}

/// CloudEvents 1.0 in its JSON format. `docs/events.md` says what it means to who reads it.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
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
