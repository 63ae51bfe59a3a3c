//! Writes log lines to standard error. The log may fail: its reader ends or stops reading, or the disk is full. Then lines
//! are dropped and counted, and the service goes on.
//!
//! Rejected alternative: the non-blocking writer of `tracing-appender`. Its thread writes a line after the response, so that
//! lines are lost when the process is killed.

use std::io::{self, StderrLock, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a line waits for a reader that is slow, in milliseconds. While the reader has stopped, only one line waits.
const PATIENCE_MS: u16 = 100;

static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);
/// Whether the last line found no room.
static IS_STUCK: AtomicBool = AtomicBool::new(false);

/// Returns the number of lines that this process has dropped.
pub(super) fn dropped_lines() -> u64 {
    DROPPED_LINES.load(Ordering::Relaxed)
}

/// Standard error, which never fails and never blocks for long. `write` gets a whole line.
pub(super) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if !has_room(&stderr) || stderr.write_all(line).is_err() {
            DROPPED_LINES.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until standard error has room for a line. A pipe that can be written has room for 4 KiB, a file always has room.
fn has_room(stderr: &StderrLock<'_>) -> bool {
    let timeout = if IS_STUCK.load(Ordering::Relaxed) { PollTimeout::ZERO } else { PollTimeout::from(PATIENCE_MS) };
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // After an error, such as a signal, writing finds out.
    let has_room = poll(&mut ready, timeout) != Ok(0);
    IS_STUCK.store(!has_room, Ordering::Relaxed);
    has_room
}
