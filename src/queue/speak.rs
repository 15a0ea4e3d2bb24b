//! The bridge's own SMTP over a lane: one command at a time, each with a deadline, replies capped.
//!
//! It never says an end mark by itself: that is a step of its own, behind what must be committed before.

use crate::{
    failure::{Failure, Unreachable},
    relay::LaneState,
    upstream::{Lane, OwnSubmission},
    wire::{
        dot::{END_MARK, Stuffer},
        smtp::{BodyKind, Extensions, Reply, ReplyReader},
    },
};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// The answer to one command (RFC 5321 section 4.5.3.2).
pub(crate) const COMMAND: Duration = Duration::from_secs(300);
/// One piece of a message, on its way to the provider.
pub(crate) const PIECE_WITHIN: Duration = Duration::from_secs(180);
/// What a provider has said before it stopped to take a message.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);
/// A piece of a message on its way from the disk.
pub(crate) const PIECE: usize = 16 * 1024;
/// Octets of replies that are read at a time.
pub(crate) const READ: usize = 4 * 1024;

const LOST: Failure = Failure::ProviderUnreachable(Unreachable::Lost);
pub(super) const TIMED_OUT: Failure = Failure::ProviderUnreachable(Unreachable::TimedOut);

/// How the talk about a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// The lane is of use: what may still be open on it is reset before its next message, by the gate.
    Whole,
    /// The lane is of no use any more.
    Broken,
}

/// Who says one message over a lane.
pub(super) struct Speaker {
    lane: Lane,
    extensions: Extensions,
    reader: ReplyReader,
}

impl Speaker {
    pub(super) fn new(own: OwnSubmission) -> Self {
        Self { lane: own.lane, extensions: own.extensions, reader: ReplyReader::default() }
    }

    /// Gives the lane back.
    pub(super) fn end(self, spoken: Spoken) {
        if spoken == Spoken::Whole && !self.owes() {
            let _ = self.lane.park(LaneState::Clean);
        }
    }

    pub(super) async fn mail(&mut self, sender: &str, octets: u64, body: Option<BodyKind>) -> Result<Reply, Failure> {
        let mut line = format!("MAIL FROM:<{sender}>");
        if self.extensions.size.is_some() {
            line.push_str(&format!(" SIZE={octets}"));
        }
        if self.extensions.eight_bit_mime {
            line.push_str(match body {
                Some(BodyKind::SevenBit) => " BODY=7BIT",
                Some(BodyKind::EightBitMime) => " BODY=8BITMIME",
                None => "",
            });
        }
        self.command(&line).await
    }

    pub(super) async fn rcpt(&mut self, recipient: &str) -> Result<Reply, Failure> {
        self.command(&format!("RCPT TO:<{recipient}>")).await
    }

    /// One command, and its reply.
    pub(super) async fn command(&mut self, line: &str) -> Result<Reply, Failure> {
        timeout(COMMAND, self.write(format!("{line}\r\n").as_bytes())).await.unwrap_or(Err(TIMED_OUT))?;
        self.reply(COMMAND).await
    }

    /// The message but for its end mark. A reply before that is the provider's no.
    pub(super) async fn content(
        &mut self,
        mut from: impl AsyncRead + Unpin,
        octets: u64,
    ) -> Result<Option<Reply>, Failure> {
        let (mut stuffer, mut piece, mut left) = (Stuffer::default(), vec![0; PIECE], octets);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = from.read(piece.get_mut(..most).unwrap_or_default()).await;
            let read = read.ok().filter(|read| *read > 0).ok_or(Failure::Internal("a file of the spool is short"))?;
            let mut stuffed = Vec::with_capacity(read);
            stuffer.pass(piece.get(..read).unwrap_or_default(), &mut stuffed);
            let written = timeout(PIECE_WITHIN, self.write(&stuffed)).await.unwrap_or(Err(TIMED_OUT));
            if let Err(failure) = written {
                return self.reply(LAST_WORDS).await.map(Some).map_err(|_| failure);
            }
            left -= read as u64;
        }
        Ok(None)
    }

    /// From here on the provider may send the message.
    pub(super) async fn end_mark(&mut self) -> Result<(), Failure> {
        timeout(PIECE_WITHIN, self.write(END_MARK)).await.unwrap_or(Err(TIMED_OUT))
    }

    pub(super) async fn reply(&mut self, within: Duration) -> Result<Reply, Failure> {
        timeout(within, self.next_reply()).await.unwrap_or(Err(TIMED_OUT))
    }

    async fn next_reply(&mut self) -> Result<Reply, Failure> {
        loop {
            let mut input = &self.lane.unread[..];
            let reply = self.reader.read(&mut input).map_err(Failure::ProviderMisbehaved)?;
            self.lane.unread = input.to_vec();
            if let Some(reply) = reply {
                return Ok(reply);
            }
            let mut buffer = [0; READ];
            let read = self.lane.stream.read(&mut buffer).await.map_err(|_| LOST)?;
            if read == 0 {
                return Err(LOST);
            }
            self.lane.unread.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
    }

    /// Whether it has said what nobody asked for: no later reply could be believed.
    fn owes(&self) -> bool {
        !self.lane.unread.is_empty() || self.reader.is_within() || self.reader.is_within_line()
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let written = async {
            self.lane.stream.write_all(octets).await?;
            self.lane.stream.flush().await
        };
        written.await.map_err(|_| LOST)
    }
}
