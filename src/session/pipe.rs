//! One side of a session: a connection with what was read of it and what is being written to it.

use crate::upstream::Stream;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest read, while mail flows: four records of TLS, which go on in one write.
pub(crate) const READ: usize = 64 * 1024;
/// The first read of a session: what a page of a CRM says.
pub(crate) const READ_FIRST: usize = 4 * 1024;
/// The same of a side that rests: a command, or news of a mailbox.
pub(crate) const READ_AT_REST: usize = 512;
/// A read that was filled is followed by one so many times as large.
const GROWTH: usize = 4;

/// A connection, its read buffer and its write queue.
pub(super) struct Pipe {
    stream: Stream,
    buffer: Vec<u8>,
    /// What was read and not consumed: `start <= end <= buffer.len()`.
    start: usize,
    end: usize,
    /// What is being written; the outbox is taken over when it is empty.
    queue: Vec<u8>,
    /// `sent <= queue.len()`
    sent: usize,
    /// Written octets may still stand in the TLS layer.
    unflushed: bool,
    state: State,
    /// How much the next read takes.
    size: usize,
    /// The relay wants no input of this side until something else happened.
    pub(super) paused: bool,
    /// Octets in all, for the log.
    pub(super) read: u64,
    pub(super) written: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The peer says no more.
    Ended,
    /// Neither way works any more.
    Broken,
}

impl Pipe {
    /// Takes a connection, with octets that were read from it before.
    pub(super) fn new(stream: Stream, unread: Vec<u8>) -> Self {
        let end = unread.len();
        Self {
            stream,
            buffer: unread,
            start: 0,
            end,
            queue: Vec::new(),
            sent: 0,
            unflushed: false,
            state: State::Open,
            size: READ_FIRST,
            paused: false,
            read: 0,
            written: 0,
        }
    }

    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, octets: usize) {
        self.start = (self.start + octets).min(self.end);
    }

    pub(super) fn unwritten(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// Gives memory back that waits for nothing: sessions sleep for hours.
    pub(super) fn rest(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.buffer = Vec::new();
            self.size = READ_AT_REST;
            self.stream.rest();
        }
        if self.unwritten() == 0 {
            self.queue = Vec::new();
            self.sent = 0;
        }
    }

    /// Octets that its buffers take.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.buffer.capacity() + self.queue.capacity()
    }

    /// Whether something that was taken to be written may not be on its way yet.
    pub(super) fn owes(&self) -> bool {
        self.unwritten() > 0 || self.unflushed
    }

    /// Whether the peer says no more and all that it said was consumed.
    pub(super) fn is_drained(&self) -> bool {
        self.state == State::Broken || (self.state == State::Ended && self.start == self.end)
    }

    /// Whether the peer says no more.
    pub(super) fn has_ended(&self) -> bool {
        self.state != State::Open
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// The connection again, with what was not consumed.
    pub(super) fn into_stream(self) -> (Stream, Vec<u8>) {
        let unread = self.unread().to_vec();
        (self.stream, unread)
    }

    /// Writes what there is, from the queue and then from `outbox`, and reads if `may_read` and the buffer is empty. True
    /// if anything moved.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, outbox: &mut Vec<u8>, may_read: bool) -> bool {
        if self.state == State::Broken {
            outbox.clear();
            return false;
        }
        let wrote = self.poll_write(context, outbox);
        let read = may_read && !self.paused && self.start == self.end && self.poll_read(context);
        wrote || read
    }

    fn poll_write(&mut self, context: &mut Context<'_>, outbox: &mut Vec<u8>) -> bool {
        let mut moved = false;
        loop {
            if self.sent == self.queue.len() {
                self.queue.clear();
                self.sent = 0;
                if outbox.is_empty() {
                    break;
                }
                // One write an answer: what gathered in the outbox goes as one.
                std::mem::swap(&mut self.queue, outbox);
            }
            let octets = self.queue.get(self.sent..).unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write(context, octets) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.state = State::Broken;
                    return true;
                }
                Poll::Ready(Ok(octets)) => {
                    self.sent += octets;
                    self.written += octets as u64;
                    self.unflushed = true;
                    moved = true;
                }
                Poll::Pending => return moved,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => {
                    self.state = State::Broken;
                    moved = true;
                }
                Poll::Pending => {}
            }
        }
        moved
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> bool {
        if self.state != State::Open {
            return false;
        }
        self.buffer.resize(self.size, 0);
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let read = buffer.filled().len();
                self.start = 0;
                self.end = read;
                self.read += read as u64;
                if read == self.size {
                    self.size = (read * GROWTH).min(READ);
                }
                if read == 0 {
                    self.state = State::Ended;
                }
                true
            }
            // A TLS peer that closes without saying so: for a line protocol an end like any other.
            Poll::Ready(Err(_)) => {
                self.start = 0;
                self.end = 0;
                self.state = State::Ended;
                true
            }
            Poll::Pending => {
                self.start = 0;
                self.end = 0;
                false
            }
        }
    }

    /// Writes the last words and says the end of TLS and of the connection. What the peer says meanwhile is thrown away:
    /// it may not read before it has said all.
    pub(super) fn poll_farewell(&mut self, context: &mut Context<'_>, outbox: &mut Vec<u8>) -> Poll<()> {
        while self.poll(context, outbox, false) {}
        while self.poll_discard(context) == Poll::Ready(true) {}
        if self.state == State::Broken {
            return Poll::Ready(());
        }
        if self.unwritten() + outbox.len() > 0 || self.unflushed {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(context).map(drop)
    }

    /// Reads what the peer says and throws it away. False: it says no more.
    pub(super) fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.state != State::Open {
            return Poll::Ready(false);
        }
        if self.poll_read(context) { Poll::Ready(true) } else { Poll::Pending }
    }
}
