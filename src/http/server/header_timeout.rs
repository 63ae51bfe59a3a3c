//! Two timeouts in place of hyper's one: for an idle connection, and for a request header that has begun.
//!
//! hyper starts its `header_read_timeout` when a connection opens or becomes idle. A reverse proxy would then find the
//! connections of its pool closed after that short time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

use super::ServerLimits;
use super::connections::Slot;

/// The timer of one connection. hyper asks it for one deadline, that of the next request header.
#[derive(Clone)]
pub(super) struct HeaderTimer {
    idle: Duration,
    header: Duration,
    slot: Arc<Slot>,
}

impl HeaderTimer {
    pub fn new(limits: ServerLimits, slot: Arc<Slot>) -> Self {
        Self { idle: limits.idle_timeout, header: limits.stall_timeout, slot }
    }
}

impl Timer for HeaderTimer {
    /// hyper calls this when it begins to wait for a request.
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.slot.waits();
        Box::pin(HeaderDeadline {
            sleep: Box::pin(tokio::time::sleep(self.idle)),
            header: self.header,
            slot: Arc::clone(&self.slot),
            begun: false,
        })
    }

    fn sleep_until(&self, _: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.idle)
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, _: std::time::Instant) {
        *sleep = self.sleep(self.idle);
    }
}

/// Resolves when the connection was idle for too long, or its request header took too long.
struct HeaderDeadline {
    sleep: Pin<Box<tokio::time::Sleep>>,
    header: Duration,
    slot: Arc<Slot>,
    begun: bool,
}

impl Sleep for HeaderDeadline {}

impl Future for HeaderDeadline {
    type Output = ();

    /// hyper polls this after each read that does not complete the header.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.begun && self.slot.head_begun.load(Ordering::Relaxed) {
            self.begun = true;
            self.slot.waits();
            let deadline = Instant::now() + self.header;
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(context)
    }
}
