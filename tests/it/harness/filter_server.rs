//! The filter's side that reads Dovecot: says what the provider would say instead.

use super::{
    filter::{FromDovecot, Go, Pending, Talk, line},
    strict::announced,
};
use std::io;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf, copy},
    net::TcpStream,
    sync::MutexGuard,
};
use tokio_rustls::server::TlsStream;

type Client<'a> = MutexGuard<'a, WriteHalf<TlsStream<TcpStream>>>;

pub(super) struct Answers<'a> {
    talk: &'a Talk,
    reader: FromDovecot,
}

impl<'a> Answers<'a> {
    pub(super) fn new(talk: &'a Talk, reader: FromDovecot) -> Self {
        Self { talk, reader }
    }

    /// Until Dovecot closes.
    pub(super) async fn run(mut self) -> io::Result<()> {
        if line(&mut self.reader).await?.is_some() {
            self.talk.say(&format!("* {}", self.talk.habits().greeting)).await?;
        }
        while let Some(first) = line(&mut self.reader).await? {
            let mut client = self.talk.client.lock().await;
            self.response(first, &mut client).await?;
            client.flush().await?;
        }
        Ok(())
    }

    async fn response(&mut self, first: Vec<u8>, client: &mut Client<'_>) -> io::Result<()> {
        if let Some(untagged) = first.strip_prefix(b"* ") {
            if let Some(changed) = self.untagged(untagged) {
                return say_all(&changed, client).await;
            }
            return self.pass(first, client).await;
        }
        if first.starts_with(b"+") {
            if self.talk.state().append.take().is_some() {
                let _ = self.talk.go.send(Go::On);
            }
            return say_all(&[first], client).await;
        }
        let changed = self.tagged(first);
        say_all(&changed, client).await
    }

    /// Passes a response with its literals.
    async fn pass(&mut self, first: Vec<u8>, client: &mut Client<'_>) -> io::Result<()> {
        let status = [&b"* OK"[..], b"* NO", b"* BAD", b"* BYE"].iter().any(|start| first.starts_with(start));
        let mut text = first;
        loop {
            client.write_all(&text).await?;
            client.write_all(b"\r\n").await?;
            let Some((_, literal)) = announced(&text).filter(|_| !status) else { return Ok(()) };
            let copied = copy(&mut (&mut self.reader).take(literal.size), &mut **client).await?;
            let rest = line(&mut self.reader).await?;
            text = rest.filter(|_| copied == literal.size).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
    }

    /// What is said instead of an untagged line, or `None`.
    fn untagged(&self, text: &[u8]) -> Option<Vec<Vec<u8>>> {
        let habits = self.talk.habits();
        if text.starts_with(b"CAPABILITY ") {
            // Dovecot tells them at sign-in too, to whom has asked before it; not every provider does.
            let asked = self.talk.state().pending.values().any(|pending| pending.verb == "CAPABILITY");
            let told = format!("* CAPABILITY {}", self.talk.capabilities().0).into_bytes();
            return Some(asked.then_some(told).into_iter().collect());
        }
        let exchange = habits.exchange;
        if exchange && [&b"OK [HIGHESTMODSEQ"[..], b"OK [CLOSED]"].iter().any(|start| text.starts_with(start)) {
            return Some(Vec::new());
        }
        if exchange && text.starts_with(b"OK [PERMANENTFLAGS") {
            let text = String::from_utf8_lossy(text).replace(" \\*)", ")");
            return Some(vec![format!("* {text}").into()]);
        }
        let verb = [&b"LIST"[..], b"LSUB"].into_iter().find(|verb| text.starts_with(verb))?;
        if text.ends_with(b" INBOX") {
            return Some(vec![[b"* ", &text[..text.len() - 5], habits.inbox.as_bytes()].concat()]);
        }
        let (container, _) = habits.container?;
        let name = text.rsplit(|octet| *octet == b' ').next().unwrap_or_default();
        if name != container.as_bytes() && name != format!("\"{container}\"").as_bytes() {
            return None;
        }
        self.talk.state().pending.values_mut().for_each(|pending| pending.owes_container = false);
        Some(vec![container_line(&String::from_utf8_lossy(verb), container)])
    }

    /// A tagged line, and what is said before it.
    fn tagged(&self, first: Vec<u8>) -> Vec<Vec<u8>> {
        let end = first.iter().position(|octet| *octet == b' ').unwrap_or(first.len());
        let (tag, text) = (&first[..end], &first[end..]);
        let ended = {
            let mut state = self.talk.state();
            if state.append.as_deref() == Some(tag) {
                state.append = None;
                let _ = self.talk.go.send(Go::Ended);
            }
            state.pending.remove(tag)
        };
        match ended {
            Some(pending) if ["LOGIN", "AUTHENTICATE"].contains(&pending.verb.as_str()) => {
                self.signed_in(tag, text, &pending, &first)
            }
            Some(pending) if pending.owes_container => {
                let container = self.talk.habits().container.map(|(name, _)| container_line(&pending.verb, name));
                container.into_iter().chain([first]).collect()
            }
            _ => vec![first],
        }
    }

    /// Dovecot's verdict in the provider's words. What is no verdict on the password (`[UNAVAILABLE]`) stays.
    fn signed_in(&self, tag: &[u8], text: &[u8], pending: &Pending, first: &[u8]) -> Vec<Vec<u8>> {
        let habits = self.talk.habits();
        self.talk.state().sasl = false;
        let tag = String::from_utf8_lossy(tag);
        let address = self.talk.state().address.clone();
        let fill = |words: &str| {
            let words = words.replace("{verb}", &pending.verb).replace("{address}", &address);
            format!("{tag} {words}").into_bytes()
        };
        if text.starts_with(b" OK") {
            self.talk.welcomed();
            let told = habits.tells_capabilities.then(|| format!("* CAPABILITY {}", habits.after).into_bytes());
            told.into_iter().chain([fill(habits.welcome)]).collect()
        } else if text.starts_with(b" NO [AUTHENTICATIONFAILED]") {
            vec![fill(habits.unwelcome)]
        } else {
            vec![first.to_vec()]
        }
    }
}

fn container_line(verb: &str, name: &str) -> Vec<u8> {
    format!("* {verb} (\\HasChildren \\Noselect) \"/\" \"{name}\"").into_bytes()
}

async fn say_all(lines: &[Vec<u8>], client: &mut Client<'_>) -> io::Result<()> {
    for line in lines {
        client.write_all(line).await?;
        client.write_all(b"\r\n").await?;
    }
    Ok(())
}
