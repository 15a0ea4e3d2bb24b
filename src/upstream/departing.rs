//! A lane whose mailbox is being left: the next session may speak over it at once, and hears nothing of that mailbox.
//!
//! What the provider says up to its answer to UNSELECT is heard here; what comes behind is the next session's. Its
//! commands go out before that answer is there, which spares a provider far away one round trip for each page of a CRM.
//! Where UNSELECT is refused the stream fails: it must never pass on what is said of a mailbox that nobody here selected.
//! That is told to the pool, which lets nobody speak behind UNSELECT again.

#![allow(clippy::disallowed_methods, reason = "how long an answer is waited for is told by the clock")]

use super::{Duplex, Stream};
use crate::relay::leaving::{Leaving, Step};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What a provider may say before its answer, in all: news of a mailbox, and no flood of them.
pub(crate) const BEFORE_MAX: usize = 64 * 1024;
/// Read at once: one answer and little before it.
pub(crate) const CHUNK: usize = 1024;

pub(super) struct Departing {
    stream: Stream,
    /// None: it is left.
    leaving: Option<Leaving>,
    /// Behind the answer.
    rest: Vec<u8>,
    /// From then on an answer that is not there fails the stream.
    until: Instant,
    /// Made once the answer is waited for: most are there by then.
    timer: Option<Pin<Box<Sleep>>>,
    /// Octets that came while it was being left.
    before: usize,
    /// It was not left, and never will be.
    failed: Option<io::ErrorKind>,
    /// Set where the provider says no.
    refused: Arc<AtomicBool>,
}

impl Departing {
    /// Over a stream on which the mailbox's leaving was asked for.
    pub(super) fn new(stream: Stream, leaving: Leaving, until: Instant, refused: Arc<AtomicBool>) -> Self {
        Self { stream, leaving: Some(leaving), rest: Vec::new(), until, timer: None, before: 0, failed: None, refused }
    }

    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let (Some(leaving), None) = (&mut self.leaving, self.failed) {
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(context, &mut read) {
                // Asked last: an answer that came in time may be looked at much later.
                Poll::Pending => {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.until)));
                    ready!(timer.as_mut().poll(context));
                    self.failed = Some(io::ErrorKind::TimedOut);
                    break;
                }
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error.kind());
                    break;
                }
                Poll::Ready(Ok(())) => {}
            }
            let mut input = read.filled();
            self.before += input.len();
            if input.is_empty() {
                self.failed = Some(io::ErrorKind::UnexpectedEof);
                break;
            }
            match leaving.input(&mut input) {
                Ok(Step::Reading) if self.before <= BEFORE_MAX => {}
                Ok(Step::Left) => {
                    self.rest = input.to_vec();
                    self.leaving = None;
                }
                // What has more to say cannot be spoken behind.
                Ok(_) | Err(_) => {
                    self.refused.fetch_or(leaving.is_refused(), Ordering::Relaxed);
                    self.failed = Some(io::ErrorKind::InvalidData);
                }
            }
        }
        Poll::Ready(self.failed.map_or(Ok(()), |kind| Err(kind.into())))
    }
}

impl Duplex for Departing {
    fn is_busy(&self) -> bool {
        self.leaving.is_some()
    }

    fn rest(&mut self) {
        self.stream.rest();
    }

    fn bare(self: Box<Self>) -> Stream {
        match self.leaving.is_none() && self.rest.is_empty() {
            true => self.stream.bare(),
            false => self,
        }
    }
}

impl AsyncRead for Departing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_left(context))?;
        if self.rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(self.rest.drain(..length).as_slice());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Departing {
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
    use crate::{upstream::leave::LEAVING, wire::imap::response::capabilities};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    /// A lane that is being left for so long, and the provider's end of it.
    fn departing(time: Duration) -> (Departing, DuplexStream) {
        let (ours, theirs) = duplex(4096);
        let (leaving, _) = Leaving::begin(&capabilities(b"IMAP4rev1 UNSELECT"));
        (Departing::new(Box::new(ours), leaving, Instant::now() + time, Arc::default()), theirs)
    }

    #[tokio::test]
    async fn the_next_session_speaks_at_once_and_hears_its_own_answers_alone() {
        let (mut lane, mut provider) = departing(LEAVING);
        lane.write_all(b"PSRL1 SELECT B\r\n").await.expect("written");
        let mut heard = [0; 16];
        provider.read_exact(&mut heard).await.expect("heard before the answer");
        // A literal that holds the answer, and cuts at every octet.
        let said = b"* 3 FETCH (BODY[] {24}\r\nPSRLu OK\r\n* 9 EXISTS\r\n)))\r\n* 4 EXISTS\r\nPSRLu OK left\r\n* 1 EXISTS\r\nPSRL1 OK\r\n";
        tokio::spawn(async move {
            for octet in said {
                provider.write_all(&[*octet]).await.expect("room");
                tokio::task::yield_now().await;
            }
        });
        let mut all = Vec::new();
        lane.read_to_end(&mut all).await.expect("read");
        assert_eq!(String::from_utf8_lossy(&all), "* 1 EXISTS\r\nPSRL1 OK\r\n");
    }

    #[tokio::test]
    async fn what_is_said_behind_in_one_read_is_passed_on_in_pieces() {
        let (mut lane, mut provider) = departing(LEAVING);
        provider.write_all(b"PSRLu OK\r\n* 1 EXISTS\r\n").await.expect("room");
        let (mut first, mut second) = ([0; 3], [0; 9]);
        lane.read_exact(&mut first).await.expect("read");
        lane.read_exact(&mut second).await.expect("read");
        assert_eq!((&first, &second), (b"* 1", b" EXISTS\r\n"));
    }

    #[tokio::test]
    async fn a_lane_that_is_not_left_fails() {
        for said in [&b"PSRLu NO not now\r\n"[..], b"PSRLx OK\r\n", b"* BYE\r\n", b""] {
            let (mut lane, mut provider) = departing(LEAVING);
            provider.write_all(said).await.expect("room");
            drop(provider);
            let mut all = Vec::new();
            for _ in 0..2 {
                let failed = lane.read_to_end(&mut all).await.is_err();
                assert!(failed && all.is_empty(), "{}", String::from_utf8_lossy(said));
            }
        }
        let (mut lane, _provider) = departing(Duration::ZERO);
        assert_eq!(lane.read(&mut [0]).await.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn whoever_waits_for_an_answer_that_does_not_come_is_woken() {
        let (mut lane, _provider) = departing(Duration::from_millis(50));
        let read = tokio::time::timeout(LEAVING, lane.read(&mut [0])).await.expect("woken");
        assert_eq!(read.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn a_flood_before_the_answer_fails_the_lane() {
        let (ours, mut theirs) = duplex(1_000_000);
        let (leaving, _) = Leaving::begin(&capabilities(b"IMAP4rev1 UNSELECT"));
        let mut lane = Departing::new(Box::new(ours), leaving, Instant::now() + LEAVING, Arc::default());
        theirs.write_all(&b"* 9 EXISTS\r\n".repeat(BEFORE_MAX / 10)).await.expect("room");
        theirs.write_all(b"PSRLu OK\r\n").await.expect("room");
        assert_eq!(lane.read(&mut [0]).await.map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
    }

    #[tokio::test]
    async fn an_answer_that_came_in_time_may_be_looked_at_much_later() {
        let (mut lane, mut provider) = departing(Duration::from_millis(20));
        provider.write_all(b"PSRLu OK\r\n+").await.expect("room");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(lane.read(&mut [0]).await.ok(), Some(1));
    }

    #[tokio::test]
    async fn many_uses_leave_no_layer_each() {
        let (mut lane, mut provider) = departing(LEAVING);
        provider.write_all(b"PSRLu OK\r\n+").await.expect("room");
        lane.read_exact(&mut [0]).await.expect("read");
        let first = &raw const *lane.stream;
        let bare = Box::new(lane).bare();
        assert!(std::ptr::addr_eq(first, &raw const *bare));
    }
}
