//! The CRM of the demo: a plain client of the bridge's plain ports, which knows nothing of providers.

use super::tape::{Tape, Tapped, Voice};
use crate::model::Secret;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// For one command; on loopback it takes milliseconds, but for what the bridge waits for on purpose.
const PATIENCE: Duration = Duration::from_secs(15);
/// Octets of one answer.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// What the CRM was told to sign in with.
#[derive(Clone)]
pub(super) struct CrmSettings {
    pub(super) imap: SocketAddr,
    pub(super) smtp: SocketAddr,
    pub(super) login: String,
    pub(super) password: Secret<String>,
}

/// An answer that was OK.
pub(super) struct Answer {
    /// The untagged lines, literals among them, and the status.
    pub(super) text: String,
}

impl Answer {
    /// The first number behind a word: `UIDVALIDITY 7`.
    pub(super) fn number(&self, word: &str) -> Option<u64> {
        let (_, behind) = self.text.split_once(word)?;
        behind.trim_start().split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    }

    /// The number before a word: `12 EXISTS`.
    pub(super) fn count(&self, word: &str) -> Option<u64> {
        let (before, _) = self.text.split_once(word)?;
        before.trim_end().rsplit(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
    }
}

/// An IMAP session.
pub(super) struct Imap {
    stream: BufReader<Tapped<TcpStream>>,
    tag: u32,
}

/// Why a command did not work.
pub(super) fn refused(words: &str) -> io::Error {
    io::Error::other(format!("the answer was: {}", words.trim_end()))
}

async fn connect(address: SocketAddr, tape: &Tape) -> io::Result<BufReader<Tapped<TcpStream>>> {
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(tape.tap(stream, Voice::Server)))
}

impl Imap {
    pub(super) async fn sign_in(settings: &CrmSettings, tape: &Tape) -> io::Result<Self> {
        let mut imap = Self { stream: connect(settings.imap, tape).await?, tag: 0 };
        let greeting = timeout(PATIENCE, line(&mut imap.stream)).await??;
        if !greeting.starts_with("* OK") {
            return Err(refused(&greeting));
        }
        imap.command(&format!("LOGIN {} {}", settings.login, settings.password.expose())).await?;
        Ok(imap)
    }

    /// Says a command and reads its answer.
    pub(super) async fn command(&mut self, command: &str) -> io::Result<Answer> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes()).await?;
        timeout(PATIENCE, self.answer(&tag)).await?
    }

    /// APPEND, with the message as a literal.
    pub(super) async fn append(&mut self, mailbox: &str, message: &str) -> io::Result<Answer> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        let command = format!("{tag} APPEND {mailbox} (\\Seen) {{{}}}\r\n", message.len());
        self.stream.write_all(command.as_bytes()).await?;
        let ahead = timeout(PATIENCE, line(&mut self.stream)).await??;
        if !ahead.starts_with('+') {
            return Err(refused(&ahead));
        }
        self.stream.write_all(format!("{message}\r\n").as_bytes()).await?;
        timeout(PATIENCE, self.answer(&tag)).await?
    }

    async fn answer(&mut self, tag: &str) -> io::Result<Answer> {
        let mut text = String::new();
        loop {
            let line = line(&mut self.stream).await?;
            text.push_str(&line);
            if text.len() > ANSWER_MAX {
                return Err(io::Error::other("the answer does not end"));
            }
            if let Some(status) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                return if status.starts_with("OK") { Ok(Answer { text }) } else { Err(refused(&line)) };
            }
            let announced = line.trim_end().strip_suffix('}').and_then(|line| line.rsplit_once('{'));
            if let Some(octets) = announced.and_then(|(_, octets)| octets.parse::<usize>().ok()) {
                let mut literal = vec![0; octets.min(ANSWER_MAX)];
                self.stream.read_exact(&mut literal).await?;
                text.push_str(&String::from_utf8_lossy(&literal));
            }
        }
    }
}

/// Sends one message, as a CRM does: a connection of its own.
pub(super) async fn send(settings: &CrmSettings, tape: &Tape, address: &str, message: &str) -> io::Result<()> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut stream = connect(settings.smtp, tape).await?;
    reply(&mut stream, "220").await?;
    let credentials = STANDARD.encode(format!("\0{}\0{}", settings.login, settings.password.expose()));
    for (command, awaited) in [
        ("EHLO crm.example".to_owned(), "250"),
        (format!("AUTH PLAIN {credentials}"), "235"),
        (format!("MAIL FROM:<{address}>"), "250"),
        (format!("RCPT TO:<{address}>"), "250"),
        ("DATA".to_owned(), "354"),
        (format!("{message}."), "250"),
        ("QUIT".to_owned(), "221"),
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        reply(&mut stream, awaited).await?;
    }
    Ok(())
}

async fn reply(stream: &mut BufReader<Tapped<TcpStream>>, awaited: &str) -> io::Result<()> {
    // A reply has some lines, never hundreds.
    for _ in 0..100 {
        let line = timeout(PATIENCE, line(stream)).await??;
        if !line.starts_with(awaited) {
            return Err(refused(&line));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
    Err(io::Error::other("the reply does not end"))
}

async fn line(stream: &mut BufReader<Tapped<TcpStream>>) -> io::Result<String> {
    let mut line = Vec::new();
    let mut limited = stream.take(ANSWER_MAX as u64);
    limited.read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
