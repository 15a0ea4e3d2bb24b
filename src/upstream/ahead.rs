//! Reads a provider's socket in long pieces while mail flows, under a TLS layer that asks for 4 KiB at a time.
//!
//! A read that was filled is followed by a long one, and so on for as long as they bring more than they were asked for; then
//! the memory is given back. It never reads where it was not asked to: what waits in the socket holds the provider back.

use super::{Duplex, Stream};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A long read: four records of TLS. More does not come at once over a real line.
pub(crate) const AHEAD: usize = 64 * 1024;

pub(super) struct ReadAhead {
    stream: Stream,
    /// What was read and not asked for yet: from `start` to `end`. Empty, or of [`AHEAD`] octets.
    ahead: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last read brought all that was asked for, or more.
    flows: bool,
}

impl ReadAhead {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, ahead: Box::default(), start: 0, end: 0, flows: false }
    }

    /// Gives out what was read before.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let ready = self.ahead.get(self.start..self.end).unwrap_or_default();
        let given = ready.len().min(buffer.remaining());
        buffer.put_slice(ready.get(..given).unwrap_or_default());
        self.start += given;
        if self.start == self.end && !self.flows {
            self.ahead = Box::default();
        }
    }
}

impl Duplex for ReadAhead {
    fn acknowledge(&self) {
        self.stream.acknowledge();
    }

    fn rest(&mut self) {
        if self.start == self.end {
            self.ahead = Box::default();
            self.flows = false;
        }
        self.stream.rest();
    }

    fn bare(self: Box<Self>) -> Stream {
        self
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let wanted = buffer.remaining();
        if this.start == this.end {
            if !this.flows || wanted >= AHEAD {
                let before = buffer.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
                this.flows = wanted > 0 && buffer.filled().len() - before == wanted;
                return Poll::Ready(Ok(()));
            }
            if this.ahead.is_empty() {
                this.ahead = vec![0; AHEAD].into();
            }
            let mut long = ReadBuf::new(&mut this.ahead);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut long))?;
            (this.start, this.end) = (0, long.filled().len());
            this.flows = this.end >= wanted;
        }
        this.give(buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
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
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test]
    async fn what_flows_is_read_in_long_pieces_and_told_as_it_is() {
        let (ours, mut theirs) = duplex(1_000_000);
        let mut stream = ReadAhead::new(Box::new(ours));
        let said: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
        theirs.write_all(&said).await.expect("room");
        let (mut heard, mut chunk, mut longest) = (Vec::new(), [0; 4096], 0);
        while heard.len() < said.len() {
            let read = stream.read(&mut chunk).await.expect("read");
            heard.extend_from_slice(&chunk[..read]);
            longest = longest.max(stream.end - stream.start);
        }
        assert!(heard == said, "other octets");
        assert_eq!(longest, AHEAD - chunk.len());
        drop(theirs);
        assert_eq!(stream.read(&mut chunk).await.ok(), Some(0), "and so is the end");
    }

    #[tokio::test]
    async fn memory_is_given_back_when_little_comes_and_when_it_rests() {
        let (ours, mut theirs) = duplex(1_000_000);
        let mut stream = ReadAhead::new(Box::new(ours));
        let mut chunk = [0; 100];
        for (comes, kept) in [(99, 0), (100, 0), (150, AHEAD), (99, 0), (100, 0), (200, AHEAD)] {
            theirs.write_all(&vec![b'x'; comes]).await.expect("room");
            let mut left = comes;
            while left > 0 {
                left -= stream.read(&mut chunk).await.expect("read");
            }
            assert_eq!(stream.ahead.len(), kept, "{comes}");
        }
        stream.rest();
        assert_eq!(stream.ahead.len(), 0);
        theirs.write_all(b"news").await.expect("room");
        assert_eq!((stream.read(&mut chunk).await.ok(), stream.ahead.len()), (Some(4), 0));
    }

    #[tokio::test]
    async fn nothing_is_given_back_that_was_not_told() {
        let (ours, mut theirs) = duplex(1_000_000);
        let mut stream = ReadAhead::new(Box::new(ours));
        let mut chunk = [0; 10];
        theirs.write_all(b"0123456789abcdefghijklmnop").await.expect("room");
        stream.read_exact(&mut chunk).await.expect("read");
        stream.read_exact(&mut chunk).await.expect("read");
        stream.rest();
        let mut rest = [0; 6];
        stream.read_exact(&mut rest).await.expect("read");
        assert_eq!(&rest, b"klmnop");
    }
}
