//! Reads the head of each request on a connection before hyper does: hyper removes a `Content-Length` that comes with a
//! `Transfer-Encoding`, and this service refuses such a request.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The maximum number of headers of a request, as in hyper.
const MAX_HEADERS: usize = 100;

/// The requests on a connection whose heads have been read and that have not been served. One entry per request, in
/// order: whether it had both `Transfer-Encoding` and `Content-Length`.
#[derive(Debug, Clone, Default)]
pub struct RequestHeads(Arc<Mutex<VecDeque<bool>>>);

impl RequestHeads {
    /// Removes the next request. Returns whether it had two lengths; also true if its head was not read.
    pub fn next_has_two_lengths(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(true)
    }

    fn push(&self, has_two_lengths: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(has_two_lengths);
    }
}

/// A connection that reads the heads of the requests that pass through it.
pub struct HeadReader<S> {
    stream: S,
    position: Position,
    heads: RequestHeads,
    /// A longer head is not read. hyper refuses it.
    max_head: usize,
    /// Whether a part of a head has arrived.
    head_begun: Arc<AtomicBool>,
}

/// What the next byte on the connection belongs to.
enum Position {
    /// A head, of which these bytes have arrived.
    Head(Vec<u8>),
    /// A body with this number of bytes left.
    Body(u64),
    /// A chunked body or invalid HTTP. The server closes the connection after it.
    Last,
}

impl<S> HeadReader<S> {
    /// `head_begun` is set while a part of a head has arrived, and its end has not.
    pub fn new(stream: S, max_head: usize, head_begun: Arc<AtomicBool>) -> Self {
        Self { stream, position: Position::Head(vec![]), heads: RequestHeads::default(), max_head, head_begun }
    }

    pub fn heads(&self) -> RequestHeads {
        self.heads.clone()
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.position {
                Position::Last => return,
                Position::Body(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[skipped..];
                    *left -= skipped as u64;
                    if *left == 0 {
                        self.position = Position::Head(vec![]);
                    }
                }
                // Some clients send an empty line after a body (RFC 9112, section 2.2).
                Position::Head(head) if head.is_empty() && bytes.starts_with(b"\r") => bytes = &bytes[1..],
                Position::Head(head) if head.is_empty() && bytes.starts_with(b"\n") => bytes = &bytes[1..],
                Position::Head(head) => {
                    // A line end completes a head, so parse only then.
                    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
                    head.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end..];
                    if head.ends_with(b"\n") {
                        if let Some(position) = parse(head, &self.heads) {
                            self.position = position;
                        }
                    } else if head.len() > self.max_head {
                        self.position = Position::Last;
                    }
                }
            }
        }
    }
}

/// Parses a head that ends with a line end. Returns what follows it, or `None` if it is not complete.
fn parse(head: &[u8], heads: &RequestHeads) -> Option<Position> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Some(Position::Last),
    }
    let value =
        |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|f| f.value);
    let (encoding, length) = (value("transfer-encoding"), value("content-length"));
    heads.push(encoding.is_some() && length.is_some());
    Some(match (encoding, length) {
        (Some(_), _) => Position::Last,
        (None, None) => Position::Head(vec![]),
        (None, Some(length)) => match std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()) {
            Some(0) => Position::Head(vec![]),
            Some(length) => Position::Body(length),
            None => Position::Last,
        },
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadReader<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.read(&buffer.filled()[before..]);
        let begun = matches!(&this.position, Position::Head(head) if !head.is_empty());
        this.head_begun.store(begun, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadReader<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one entry per request in `bytes`, which arrive in parts of `size`.
    fn two_lengths(bytes: &str, size: usize) -> Vec<bool> {
        let mut reader = HeadReader::new((), 1000, Arc::default());
        bytes.as_bytes().chunks(size).for_each(|part| reader.read(part));
        let heads = reader.heads.0.lock().unwrap();
        heads.iter().copied().collect()
    }

    #[test]
    fn every_head_of_a_pipeline_is_read_whatever_its_parts() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        // The body looks like a head with two lengths.
        let body = "X / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n";
        let post = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let both = "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let empty = "POST / HTTP/1.1\nContent-Length: 0\n\n";
        let pipeline = format!("{get}{post}\r\n{empty}{get}{both}{get}");
        for size in [1, 2, 3, 7, 64, 10_000] {
            assert_eq!(two_lengths(&pipeline, size), [false, false, false, false, true], "parts of {size}");
        }
        assert_eq!(two_lengths(body, 10), [true]);
    }

    #[test]
    fn requests_whose_heads_were_not_read_count_as_ambiguous() {
        assert!(two_lengths(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(2000)), 100).is_empty());
        assert!(two_lengths("nonsense\r\n\r\n", 100).is_empty());
        assert!(RequestHeads::default().next_has_two_lengths());
    }
}
