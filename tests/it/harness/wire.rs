//! The plainest of clients: sends lines, expects lines, and panics with what came instead.
//!
//! It knows just enough of IMAP and SMTP to tell where an answer ends. It blocks, and no read waits longer than
//! [`PATIENCE`].

use super::{certificates::trusting, leash::PATIENCE};
use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};
use tokio_rustls::rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

pub(super) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What large messages are made of.
const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog, again and again.\r\n";

pub(crate) struct Wire {
    stream: BufReader<Box<dyn Stream>>,
    socket: TcpStream,
    tag: u32,
}

/// An IMAP command's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The untagged responses, each whole: without its last CRLF, with its literals.
    pub(crate) untagged: Vec<Vec<u8>>,
    /// The tagged line without its tag: `OK [READ-WRITE] Select completed`.
    pub(crate) tagged: String,
}

impl Answer {
    pub(crate) fn is_ok(&self) -> bool {
        self.tagged.starts_with("OK")
    }

    /// The untagged responses as text, in a line each.
    pub(crate) fn text(&self) -> String {
        self.untagged.iter().map(|line| String::from_utf8_lossy(line) + "\n").collect()
    }
}

impl Wire {
    /// Connects in the clear.
    pub(crate) fn plain(port: u16) -> Self {
        Self::try_plain(port).unwrap_or_else(|error| panic!("cannot connect to port {port}: {error}"))
    }

    pub(crate) fn try_plain(port: u16) -> std::io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let stream: Box<dyn Stream> = Box::new(socket.try_clone()?);
        Ok(Self { stream: BufReader::new(stream), socket, tag: 0 })
    }

    /// Connects with TLS from the first octet, verifying `name` with the authority in the PEM file `ca`.
    pub(crate) fn tls(port: u16, ca: &Path, name: &str) -> Self {
        Self::plain(port).secured(ca, name)
    }

    /// Goes on in TLS: after the answer to STARTTLS.
    pub(crate) fn secured(mut self, ca: &Path, name: &str) -> Self {
        assert!(self.stream.buffer().is_empty(), "octets before the handshake: {:?}", self.stream.buffer());
        let name = ServerName::try_from(name.to_owned()).expect("a host name");
        let session = ClientConnection::new(trusting(ca), name).expect("a TLS client");
        let socket = self.socket.try_clone().expect("a second handle of the socket");
        self.stream = BufReader::new(Box::new(StreamOwned::new(session, socket)));
        self
    }

    /// How long the next reads may wait.
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).expect("a time-out");
    }

    /// Whether the other side has said nothing that was not read, not even that it is gone. In the clear only.
    pub(crate) fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).expect("a socket");
        peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        let stream = self.stream.get_mut();
        stream.write_all(octets).and_then(|()| stream.flush()).expect("the other side takes our octets");
    }

    /// Sends one line.
    pub(crate) fn line(&mut self, text: &str) {
        self.send(format!("{text}\r\n").as_bytes());
    }

    /// Sends `count` octets of lines of text without ever holding them: what a large message is made of.
    pub(crate) fn send_lines(&mut self, count: usize) {
        let mut block = LINE.repeat(1024);
        let mut left = count;
        while left > 0 {
            if left < block.len() {
                block.truncate(left);
            }
            self.send(&block);
            left -= block.len();
        }
    }

    /// Sends octets while the other side may close: whether it took them all.
    pub(crate) fn try_send(&mut self, octets: &[u8]) -> bool {
        let stream = self.stream.get_mut();
        stream.write_all(octets).and_then(|()| stream.flush()).is_ok()
    }

    /// Says that no more comes, and goes on reading.
    pub(crate) fn half_close(&self) {
        self.socket.shutdown(std::net::Shutdown::Write).expect("the socket is open");
    }

    /// Expects `count` octets as [`Wire::send_lines`] sends them.
    pub(crate) fn expect_lines(&mut self, count: usize) {
        let block = LINE.repeat(1024);
        let mut left = count;
        while left > 0 {
            let part = &block[..left.min(block.len())];
            assert!(self.octets(part.len()) == part, "the last {left} of {count} octets differ");
            left -= part.len();
        }
    }

    /// The next line without its CRLF; `None` at the end of the stream.
    pub(crate) fn next_octets(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap_or_else(|error| {
            panic!("no line came: {error}; so far: {}", String::from_utf8_lossy(&line));
        });
        if line.is_empty() {
            return None;
        }
        assert!(line.ends_with(b"\r\n"), "a line without CRLF: {}", String::from_utf8_lossy(&line));
        line.truncate(line.len() - 2);
        Some(line)
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> String {
        let line = self.next_octets().expect("a line, but the connection is closed");
        String::from_utf8_lossy(&line).into_owned()
    }

    /// The next line, which must begin with `start`.
    pub(crate) fn expect(&mut self, start: &str) -> String {
        let line = self.next();
        assert!(line.starts_with(start), "expected: {start}\n     got: {line}");
        line
    }

    /// Exactly `count` octets.
    pub(crate) fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.stream.read_exact(&mut octets).expect("the octets announced");
        octets
    }

    /// Reads `count` octets and forgets them.
    pub(crate) fn swallow(&mut self, count: u64) {
        let read =
            std::io::copy(&mut self.stream.by_ref().take(count), &mut std::io::sink()).expect("the octets announced");
        assert_eq!(read, count, "the stream ended early");
    }

    /// Everything until the other side closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A close without TLS's own goodbye, or a reset, is an end as well.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    /// An IMAP response to its end, with its literals.
    pub(crate) fn response(&mut self) -> Vec<u8> {
        let mut response = self.next_octets().expect("a response, but the connection is closed");
        while let Some(size) = announced(&response) {
            response.extend_from_slice(b"\r\n");
            response.extend(self.octets(size));
            response.extend(self.next_octets().expect("the rest of a response"));
        }
        response
    }

    /// Sends an IMAP command under a fresh tag and reads to its end.
    pub(crate) fn imap(&mut self, command: &str) -> Answer {
        let tag = self.next_tag();
        self.line(&format!("{tag} {command}"));
        self.answer(&tag)
    }

    /// The same, for a command that must succeed.
    pub(crate) fn imap_ok(&mut self, command: &str) -> Answer {
        let answer = self.imap(command);
        assert!(answer.is_ok(), "{command}\n{}{}", answer.text(), answer.tagged);
        answer
    }

    /// APPEND with a synchronising literal. `options` is what stands between name and literal: flags, a date.
    pub(crate) fn append(&mut self, mailbox: &str, options: &str, message: &[u8]) -> Answer {
        let tag = self.next_tag();
        self.line(&format!("{tag} APPEND \"{mailbox}\" {options} {{{}}}", message.len()));
        self.expect("+");
        self.send(message);
        self.line("");
        self.answer(&tag)
    }

    /// How many messages a mailbox holds.
    pub(crate) fn count(&mut self, mailbox: &str) -> u32 {
        let text = self.imap_ok(&format!("STATUS \"{mailbox}\" (MESSAGES)")).text();
        let number = text.split("MESSAGES ").nth(1).and_then(|rest| rest.split(')').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in: {text}"))
    }

    /// A message as it is stored.
    pub(crate) fn message(&mut self, mailbox: &str, number: u32) -> Vec<u8> {
        self.imap_ok(&format!("EXAMINE \"{mailbox}\""));
        let answer = self.imap_ok(&format!("FETCH {number} (BODY.PEEK[])"));
        let response = answer.untagged.last().expect("a FETCH response");
        let start = response.windows(3).position(|octets| octets == b"}\r\n").expect("a literal") + 3;
        response[start..response.len() - 1].to_vec()
    }

    pub(crate) fn next_tag(&mut self) -> String {
        self.tag += 1;
        format!("w{}", self.tag)
    }

    /// Reads responses up to the tagged one.
    pub(crate) fn answer(&mut self, tag: &str) -> Answer {
        let mut untagged = Vec::new();
        loop {
            let response = self.response();
            let text = String::from_utf8_lossy(&response);
            if let Some(tagged) = text.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                return Answer { tagged: tagged.to_owned(), untagged };
            }
            assert!(text.starts_with("* "), "neither untagged nor for {tag}: {text}");
            untagged.push(response);
        }
    }

    /// An SMTP reply of any number of lines: its code, and its texts joined by line ends.
    pub(crate) fn reply(&mut self) -> (u16, String) {
        let mut texts = Vec::new();
        loop {
            let line = self.next();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code: u16 = code.unwrap_or_else(|| panic!("not an SMTP reply: {line}"));
            texts.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return (code, texts.join("\n"));
            }
        }
    }

    /// Sends an SMTP command and expects `code`.
    pub(crate) fn smtp(&mut self, command: &str, code: u16) -> String {
        self.line(command);
        let (got, text) = self.reply();
        assert_eq!(got, code, "{command}\n{text}");
        text
    }
}

/// The size of the literal that a line announces at its end.
fn announced(line: &[u8]) -> Option<usize> {
    // Text of a status response is for people: `{3}` at its end means nothing.
    let status = [&b"* OK"[..], b"* NO", b"* BAD", b"* BYE", b"+"].iter().any(|start| line.starts_with(start));
    if status || !line.starts_with(b"* ") {
        return None;
    }
    let digits = line.strip_suffix(b"}")?;
    let start = digits.iter().rposition(|&octet| octet == b'{')?;
    std::str::from_utf8(&digits[start + 1..]).ok()?.parse().ok()
}
