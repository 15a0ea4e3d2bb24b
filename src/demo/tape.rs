//! What was said on a connection, line by line, for people to read: secrets and messages are left out.
//!
//! It listens where the octets are in clear, on one end of a connection, and keeps a line's beginning. It changes nothing.

use serde::Serialize;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets of a line that are kept, and lines between two looks.
const LINE_MAX: usize = 160;
const LINES_MAX: usize = 2_000;

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Voice {
    Client,
    Server,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    pub by: Voice,
    pub line: String,
}

/// The lines of any number of connections, in order.
#[derive(Clone, Default)]
pub(super) struct Tape {
    lines: Arc<Mutex<Vec<Said>>>,
    /// Held from before octets are written until they are on the tape: who hears them at the other end, and looks then,
    /// finds them.
    speaking: Arc<Mutex<()>>,
}

impl Tape {
    /// What was said since the last look.
    pub(super) fn take(&self) -> Vec<Said> {
        let _silence = self.speaking.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Listens to a connection. `reads` is who speaks where this end reads.
    pub(super) fn tap<T>(&self, stream: T, reads: Voice) -> Tapped<T> {
        Tapped { stream, reads, ears: Ears::new(self.clone()) }
    }

    fn push(&self, by: Voice, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(Said { by, line });
        }
    }
}

/// A stream that is listened to.
pub(super) struct Tapped<T> {
    stream: T,
    reads: Voice,
    ears: Ears,
}

/// Both directions of one connection.
struct Ears {
    tape: Tape,
    client: Ear,
    server: Ear,
    /// The client's next line is a part of a sign-in.
    secret: bool,
    /// Between 354 and the end mark.
    message: bool,
}

#[derive(Default)]
struct Ear {
    line: Vec<u8>,
    /// Octets of a literal that are still to come.
    literal: u64,
}

impl Ears {
    fn new(tape: Tape) -> Self {
        Self { tape, client: Ear::default(), server: Ear::default(), secret: false, message: false }
    }

    fn hear(&mut self, by: Voice, mut octets: &[u8]) {
        while !octets.is_empty() {
            let ear = if by == Voice::Client { &mut self.client } else { &mut self.server };
            if ear.literal > 0 {
                let taken = usize::try_from(ear.literal).unwrap_or(usize::MAX).min(octets.len());
                ear.literal -= taken as u64;
                octets = octets.split_at(taken).1;
                continue;
            }
            let end = memchr::memchr(b'\n', octets);
            let (part, rest) = octets.split_at(end.map_or(octets.len(), |end| end + 1));
            octets = rest;
            ear.line.extend_from_slice(part);
            // Lines of any length end somewhere: what is needed of them is their beginning and an announcement.
            if ear.line.len() > 64 * 1024 {
                let tail = ear.line.split_off(ear.line.len() - LINE_MAX);
                ear.line.truncate(LINE_MAX);
                ear.line.extend_from_slice(&tail);
            }
            if end.is_some() {
                let line = String::from_utf8_lossy(&std::mem::take(&mut ear.line)).trim_end().to_owned();
                ear.literal = literal(&line);
                let announced = ear.literal;
                self.line(by, &line, announced);
            }
        }
    }

    fn line(&mut self, by: Voice, line: &str, announced: u64) {
        if self.message && by == Voice::Client {
            if line == "." {
                self.message = false;
                self.tape.push(by, "(the message) .".to_owned());
            }
            return;
        }
        let mut told = if self.secret && by == Voice::Client { "***".to_owned() } else { elided(by, line) };
        match by {
            Voice::Client => self.secret = asks_for_secret(line),
            Voice::Server => self.message |= line.starts_with("354 "),
        }
        // Behind a literal the rest of the response is of no interest.
        if told.is_empty() || told == ")" {
            return;
        }
        if told.chars().count() > LINE_MAX {
            told = told.chars().take(LINE_MAX).collect::<String>() + "…";
        }
        if announced > 0 {
            told.push_str(" (octets)");
        }
        self.tape.push(by, told);
    }
}

/// `{n}` or `{n+}` at the end.
fn literal(line: &str) -> u64 {
    let size = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')).map(|(_, size)| size);
    size.and_then(|size| size.strip_suffix('+').unwrap_or(size).parse().ok()).unwrap_or(0)
}

/// A client's line without what signs it in.
fn elided(by: Voice, line: &str) -> String {
    if by == Voice::Server {
        return line.to_owned();
    }
    let words: Vec<_> = line.split(' ').collect();
    let is = |index: usize, verb: &str| words.get(index).is_some_and(|word| word.eq_ignore_ascii_case(verb));
    let kept = match () {
        () if is(1, "LOGIN") || is(1, "AUTHENTICATE") => 3,
        () if is(0, "AUTH") => 2,
        () => return line.to_owned(),
    };
    let shown = words.iter().take(kept).copied().collect::<Vec<_>>().join(" ");
    if words.len() > kept { shown + " ***" } else { shown }
}

/// AUTHENTICATE and AUTH without an initial response: the secret comes on a line of its own.
fn asks_for_secret(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    let is = |index: usize, verb: &str| words.get(index).is_some_and(|word| word.eq_ignore_ascii_case(verb));
    is(1, "AUTHENTICATE") && words.len() == 3 || is(0, "AUTH") && words.len() == 2
}

impl<T: AsyncRead + Unpin> AsyncRead for Tapped<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.ears.hear(this.reads, buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tapped<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let speaking = this.ears.tape.speaking.clone();
        let _speaking = speaking.lock().unwrap_or_else(PoisonError::into_inner);
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, octets))?;
        let writes = if this.reads == Voice::Client { Voice::Server } else { Voice::Client };
        this.ears.hear(writes, octets.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &[(Voice, &str)]) -> Vec<String> {
        let tape = Tape::default();
        let mut ears = Ears::new(tape.clone());
        for (by, octets) in said {
            ears.hear(*by, octets.replace('\n', "\r\n").as_bytes());
        }
        tape.take().into_iter().map(|said| said.line).collect()
    }

    /// A peer that looks at the tape as soon as it has heard something.
    struct Quick {
        tape: Tape,
        looked: Option<std::thread::JoinHandle<Vec<Said>>>,
    }

    impl AsyncWrite for Quick {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
            let tape = self.tape.clone();
            self.looked = Some(std::thread::spawn(move || tape.take()));
            std::thread::sleep(std::time::Duration::from_millis(30));
            Poll::Ready(Ok(octets.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_peer_has_heard_is_on_the_tape() {
        let tape = Tape::default();
        let mut tapped = tape.tap(Quick { tape: tape.clone(), looked: None }, Voice::Client);
        tokio::io::AsyncWriteExt::write_all(&mut tapped, b"a OK done\r\n").await.expect("written");
        let found = tapped.stream.looked.expect("it looked").join().expect("it saw");
        assert_eq!(found, [Said { by: Voice::Server, line: "a OK done".to_owned() }]);
    }

    #[test]
    fn secrets_and_messages_are_left_out() {
        use Voice::{Client, Server};
        let imap = told(&[
            (Client, "a LOGIN alice \"se"),
            (Client, "cret\"\nb AUTHENTICATE XOAUTH2 c2VjcmV0\nc AUTHENTICATE PLAIN\n"),
            (Server, "+ \n"),
            (Client, "c2VjcmV0\nd APPEND x {8}\n"),
            (Server, "* 1 FETCH (BODY[] {7}\nsecret\n)\nd OK\n"),
            (Client, "secret\n\ne NOOP\n"),
        ]);
        assert_eq!(
            imap,
            [
                "a LOGIN alice ***",
                "b AUTHENTICATE XOAUTH2 ***",
                "c AUTHENTICATE PLAIN",
                "+",
                "***",
                "d APPEND x {8} (octets)",
                "* 1 FETCH (BODY[] {7} (octets)",
                "d OK",
                "e NOOP"
            ]
        );
        let smtp = told(&[
            (Client, "AUTH PLAIN c2VjcmV0\nAUTH XOAUTH2\nc2VjcmV0\nDATA\n"),
            (Server, "354 go\n"),
            (Client, "Subject: secret\n\nsecret\n.\nQUIT\n"),
        ]);
        assert_eq!(smtp, ["AUTH PLAIN ***", "AUTH XOAUTH2", "***", "DATA", "354 go", "(the message) .", "QUIT"]);
    }
}
