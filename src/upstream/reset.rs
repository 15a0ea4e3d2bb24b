//! Words to a provider's submission service between two messages: RSET before a lane is used again, QUIT at its end.
//!
//! RSET is both: whether the lane is still there, and a clean start (RFC 5321 4.1.1.5). It must be answered before any
//! octet of a client is sent, so that a lane that was dropped unseen costs nobody a message.

use super::Stream;
use crate::wire::smtp::ReplyReader;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// For the answer to RSET, over all lanes that are tried: one that is slower than a new sign-in is no gain.
pub(crate) const RESET_WITHIN: Duration = Duration::from_secs(3);
/// For the answer to QUIT and the end of the connection. Nobody waits for it but the place.
pub(crate) const PARTING: Duration = Duration::from_secs(2);

/// Says RSET and awaits its 250. None: the lane is of no use.
pub(super) async fn reset(stream: &mut Stream) -> Option<()> {
    stream.write_all(b"RSET\r\n").await.ok()?;
    stream.flush().await.ok()?;
    let (mut reader, mut chunk) = (ReplyReader::default(), [0; 512]);
    loop {
        let read = stream.read(&mut chunk).await.ok()?;
        let mut input = chunk.get(..read).filter(|input| !input.is_empty())?;
        while !input.is_empty() {
            if let Some(reply) = reader.read(&mut input).ok()? {
                // What follows would be taken for the answer to the next command.
                return (reply.code == 250 && input.is_empty()).then_some(());
            }
        }
    }
}

/// Says QUIT, and closes when the provider does, or after a moment.
pub(super) async fn part(mut stream: Stream) {
    let parting = async {
        stream.write_all(b"QUIT\r\n").await.ok()?;
        stream.flush().await.ok()?;
        let mut chunk = [0; 512];
        while stream.read(&mut chunk).await.ok()? > 0 {}
        Some(())
    };
    let _ = timeout(PARTING, parting).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// Whether a lane is good when its provider answers RSET so.
    async fn is_good(says: &[u8]) -> bool {
        let (ours, mut theirs) = duplex(64);
        let mut stream: Stream = Box::new(ours);
        let provider = async {
            let mut heard = [0; 6];
            theirs.read_exact(&mut heard).await.expect("heard");
            assert_eq!(&heard, b"RSET\r\n");
            theirs.write_all(says).await.expect("room");
            drop(theirs);
        };
        tokio::join!(reset(&mut stream), provider).0.is_some()
    }

    #[tokio::test]
    async fn a_lane_is_good_that_says_250_and_nothing_more() {
        assert!(is_good(b"250 2.0.0 Ok\r\n").await);
        assert!(is_good(b"250-2.0.0 all\r\n250 2.0.0 forgotten\r\n").await);
        for says in [
            &b""[..],
            b"250 2.0",
            b"421 4.4.2 Idle\r\n",
            b"554 Too many nonmail commands\r\n",
            b"250 Ok\r\n250 Ok\r\n",
            b"250 Ok\r\n4",
            b"354 go\r\n",
            b"* OK\r\n",
        ] {
            assert!(!is_good(says).await, "{:?}", String::from_utf8_lossy(says));
        }
    }

    #[tokio::test]
    async fn a_provider_hears_quit() {
        let (ours, mut theirs) = duplex(64);
        let provider = async {
            let mut heard = [0; 6];
            theirs.read_exact(&mut heard).await.expect("heard");
            drop(theirs);
            heard
        };
        assert_eq!(&tokio::join!(part(Box::new(ours)), provider).1, b"QUIT\r\n");
    }
}
