//! Two timeouts in place of hyper's one: for an idle connection, and for a request header that has begun.
//!
//! hyper starts its `header_read_timeout` when a connection opens or becomes idle. A reverse proxy would then find the
//! connections of its pool closed after that short time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::ServerLimits;

/// The timer of one connection. hyper asks it for one deadline, that of the next request header.
#[derive(Clone)]
pub(super) struct HeaderTimer {
    idle: Duration,
    header: Duration,
    /// Whether the connection has read an octet since hyper began to wait for a request header.
    pub octets_read: Arc<AtomicBool>,
}

impl HeaderTimer {
    pub fn new(limits: ServerLimits) -> Self {
        Self { idle: limits.idle_timeout, header: limits.stall_timeout, octets_read: Arc::default() }
    }
}

impl Timer for HeaderTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        // The beginning of a header that came together with the request before it is not seen here. Its deadline is the
        // idle timeout until the next octet.
        self.octets_read.store(false, Ordering::Relaxed);
        Box::pin(HeaderDeadline {
            sleep: Box::pin(tokio::time::sleep(self.idle)),
            header: self.header,
            octets_read: Arc::clone(&self.octets_read),
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
    octets_read: Arc<AtomicBool>,
    begun: bool,
}

impl Sleep for HeaderDeadline {}

impl Future for HeaderDeadline {
    type Output = ();

    /// hyper polls this after each read that does not complete the header.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.begun && self.octets_read.load(Ordering::Relaxed) {
            self.begun = true;
            let deadline = Instant::now() + self.header;
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(context)
    }
}

/// A stream that records that it has read something.
pub(super) struct HeaderStream<S> {
    pub stream: S,
    pub octets_read: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for HeaderStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buf);
        if buf.filled().len() > before {
            self.octets_read.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeaderStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
