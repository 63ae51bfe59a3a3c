//! The open connections of a port: how many there are, whose they are, and which one closes when a new one needs its place.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::network::Network;

/// The pause between two warnings about closed connections.
const WARN_AGAIN: Duration = Duration::from_secs(60);
/// A connection that was used within this time does not close for another if that one can wait: its client may just be sending
/// the next request, which would be lost.
const RECENT: Duration = Duration::from_millis(250);

/// The open connections of one port. Clones share them.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    /// The name of the port, for metrics.
    port: &'static str,
    max: usize,
    /// The maximum of one client network: three quarters of all. The rest is left for other clients.
    max_of_network: usize,
    recent: Duration,
    state: Mutex<State>,
    /// Notified when a connection closes or becomes idle.
    changed: Notify,
}

#[derive(Default)]
struct State {
    open: HashMap<u64, Open>,
    /// The connections that wait until their network may have one more, by network.
    queues: HashMap<Network, Queue>,
    next_id: u64,
    warned: Option<Instant>,
}

struct Open {
    /// `None` for a trusted proxy, whose connections belong to many clients.
    network: Option<Network>,
    /// Since when the connection waits for a request, or for the rest of one's header. `None` while it serves one.
    waits_since: Option<Instant>,
    evicted: CancellationToken,
}

#[derive(Default)]
struct Queue {
    length: usize,
    /// Notified when a connection of the network closes or becomes idle.
    changed: Arc<Notify>,
}

/// What becomes of a new connection. If all connections of its network serve requests, it is queued or refused.
pub(super) enum Admission {
    Open(Slot),
    Queued(Queued),
    Refused,
}

/// An entry for an open connection. It ends when this is dropped.
pub(super) struct Slot {
    shared: Arc<Shared>,
    id: u64,
    /// Whether a part of a request's header has arrived, and its end has not.
    pub head_begun: Arc<AtomicBool>,
    evicted: CancellationToken,
}

/// A connection that waits until its network may have one more.
pub(super) struct Queued {
    shared: Arc<Shared>,
    network: Network,
    changed: Arc<Notify>,
}

/// The outcome of one attempt to register a connection. It has failed if no connection can close before the time, or at all.
enum Attempt {
    Open(Slot),
    NetworkFull(Network, Option<Instant>),
    AllFull(Option<Instant>),
}

impl Connections {
    pub fn new(port: &'static str, max: usize) -> Self {
        gauge!("sixty_http_connections", "port" => port).set(0.0);
        gauge!("sixty_http_max_connections", "port" => port).set(max as f64);
        for reason in ["all", "network"] {
            counter!("sixty_http_connections_closed_total", "port" => port, "reason" => reason).increment(0);
        }
        let (state, changed) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { port, max, max_of_network: max - max / 4, recent: RECENT, state, changed }))
    }

    /// Waits until there is room for a connection. To make room, the connection that waits longest for a request is closed.
    pub async fn admit(&self, network: Option<Network>) -> Admission {
        loop {
            let changed = self.0.changed.notified();
            match self.0.attempt(network, self.0.recent) {
                Attempt::Open(slot) => return Admission::Open(slot),
                Attempt::NetworkFull(network, _) => return self.0.enqueue(network),
                Attempt::AllFull(until) => wait(changed, until).await,
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `recent` is the time within which a connection was used if it must not close.
    fn attempt(self: &Arc<Self>, network: Option<Network>, recent: Duration) -> Attempt {
        let mut state = self.state();
        if let Some(network) = network.filter(|_| self.max_of_network < self.max) {
            let is_own = |open: &Open| open.network == Some(network);
            if state.open.values().filter(|open| is_own(open)).count() >= self.max_of_network {
                if let Err(until) = state.evict(is_own, recent) {
                    return Attempt::NetworkFull(network, until);
                }
                self.report_closed("network", &mut state);
            }
        }
        if state.open.len() >= self.max {
            if let Err(until) = state.evict(|_| true, recent) {
                return Attempt::AllFull(until);
            }
            self.report_closed("all", &mut state);
        }
        state.next_id += 1;
        let (id, evicted) = (state.next_id, CancellationToken::new());
        let open = Open { network, waits_since: Some(Instant::now()), evicted: evicted.clone() };
        state.open.insert(id, open);
        self.update_gauge(&state);
        Attempt::Open(Slot { shared: Arc::clone(self), id, head_begun: Arc::default(), evicted })
    }

    /// Queues a connection. If as many are queued as other networks have left, a recent one closes, or this one is refused.
    fn enqueue(self: &Arc<Self>, network: Network) -> Admission {
        let mut state = self.state();
        if state.queues.values().map(|queue| queue.length).sum::<usize>() >= self.max - self.max_of_network {
            drop(state);
            if let Attempt::Open(slot) = self.attempt(Some(network), Duration::ZERO) {
                return Admission::Open(slot);
            }
            self.report_closed("network", &mut self.state());
            return Admission::Refused;
        }
        let queue = state.queues.entry(network).or_default();
        queue.length += 1;
        Admission::Queued(Queued { shared: Arc::clone(self), network, changed: Arc::clone(&queue.changed) })
    }

    /// Wakes those who wait for a change of a connection of this network.
    fn notify(&self, network: Option<Network>, state: &State) {
        self.changed.notify_one();
        if let Some(queue) = network.and_then(|network| state.queues.get(&network)) {
            queue.changed.notify_one();
        }
    }

    fn update_gauge(&self, state: &State) {
        gauge!("sixty_http_connections", "port" => self.port).set(state.open.len() as f64);
    }

    fn report_closed(&self, reason: &'static str, state: &mut State) {
        counter!("sixty_http_connections_closed_total", "port" => self.port, "reason" => reason).increment(1);
        if state.warned.is_some_and(|warned| warned.elapsed() < WARN_AGAIN) {
            return;
        }
        state.warned = Some(Instant::now());
        let advice = match reason {
            "all" => "all connections are in use, see MAX_CONNECTIONS",
            _ => {
                "a client network has its share of the connections; if it is a reverse proxy, name it in TRUSTED_PROXIES"
            }
        };
        let (port, max) = (self.port, self.max);
        warn!(port, max, "{advice}; for each new connection the longest idle one closes");
    }
}

impl State {
    /// Closes the connection that waits longest. The error is the time from which one can close, if any waits.
    fn evict(&mut self, eligible: impl Fn(&Open) -> bool, recent: Duration) -> Result<(), Option<Instant>> {
        let waiting = self.open.iter().filter(|(_, open)| eligible(open));
        let waiting = waiting.filter_map(|(id, open)| Some((open.waits_since?, *id)));
        let (since, id) = waiting.min().ok_or(None)?;
        if since.elapsed() < recent {
            return Err(Some(since + recent));
        }
        if let Some(open) = self.open.remove(&id) {
            open.evicted.cancel();
        }
        Ok(())
    }
}

/// Waits for a change, but not longer than until the given time.
async fn wait(changed: impl Future<Output = ()>, until: Option<Instant>) {
    match until {
        Some(until) => drop(tokio::time::timeout_at(until, changed).await),
        None => changed.await,
    }
}

impl Slot {
    /// Records that the connection serves a request.
    pub fn serves(&self) {
        if let Some(open) = self.shared.state().open.get_mut(&self.id) {
            open.waits_since = None;
        }
    }

    /// Records that the connection waits for a request, or that the header of one has begun.
    pub fn waits(&self) {
        let mut state = self.shared.state();
        let Some(open) = state.open.get_mut(&self.id) else { return };
        open.waits_since = Some(Instant::now());
        let network = open.network;
        self.shared.notify(network, &state);
    }

    /// Resolves when the connection must close for another.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let closed = state.open.remove(&self.id);
        self.shared.update_gauge(&state);
        self.shared.notify(closed.and_then(|open| open.network), &state);
    }
}

impl Queued {
    /// Waits until the network may have one more connection.
    pub async fn admitted(&self) -> Slot {
        loop {
            let changed = self.changed.notified();
            match self.shared.attempt(Some(self.network), self.shared.recent) {
                Attempt::Open(slot) => return slot,
                Attempt::NetworkFull(_, until) | Attempt::AllFull(until) => wait(changed, until).await,
            }
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(queue) = state.queues.get_mut(&self.network) {
            queue.length -= 1;
            if queue.length == 0 {
                state.queues.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests;
