//! A provider that does what a test tells it: a mail server whose every visit runs a script.
//!
//! ```ignore
//! // An IMAP server that lets everyone in; the test answers what it cares for, and says whether it has.
//! let provider = Provider::imap(Some(&lab.certificates.good), |visit, tag, command| {
//!     if command != "SEARCH ALL" { return Some(false); }
//!     visit.say(&format!("* SEARCH 1 2 3\r\n{tag} OK done"))?;
//!     Some(true)
//! });
//! ```
//! A script ends with `None` when its client is gone, so `?` reads well in it. All that clients say is kept, in clear and
//! inside TLS, for [`Provider::heard`]. Dropping the provider cuts all its connections.

use super::{certificates::Signed, lab::free_port, leash::PATIENCE, wire::Stream};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

pub(crate) struct Provider {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    script: Script,
    acceptor: Option<JoinHandle<()>>,
}

type Script = Arc<dyn Fn(&mut Visit) -> Option<()> + Send + Sync>;

/// What all visits share.
#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<u8>>,
    said: AtomicU64,
    visits: AtomicU64,
    /// Shown from the first octet; none: in clear.
    certificate: Mutex<Option<Signed>>,
    connections: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
    live: AtomicU64,
    most: AtomicU64,
}

/// Counts a connection for as long as it lasts.
struct Live(Arc<Shared>);

impl Live {
    fn begin(shared: Arc<Shared>) -> Self {
        let live = shared.live.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(live, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One client, from connect to close.
pub(crate) struct Visit {
    stream: BufReader<Box<dyn Stream>>,
    socket: TcpStream,
    shared: Arc<Shared>,
    _live: Live,
}

/// What [`Provider::imap`] offers, unless its script says otherwise.
pub(crate) const IMAP_CAPABILITIES: &str = "IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN NAMESPACE UNSELECT UIDPLUS";

impl Provider {
    /// Runs `script` for each client, after the handshake where there is a certificate.
    pub(crate) fn start(
        certificate: Option<&Signed>,
        script: impl Fn(&mut Visit) -> Option<()> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared { certificate: Mutex::new(certificate.cloned()), ..Shared::default() });
        let mut provider = Self { port: free_port(), shared, script: Arc::new(script), acceptor: None };
        provider.start_again();
        provider
    }

    /// An IMAP server that lets everyone in, with INBOX and `INBOX.Sent`, three messages each. What `answer` does not
    /// answer (`Some(false)`) gets the answer of such a server; `None` ends the visit.
    pub(crate) fn imap(
        certificate: Option<&Signed>,
        answer: impl Fn(&mut Visit, &str, &str) -> Option<bool> + Send + Sync + 'static,
    ) -> Self {
        Self::start(certificate, move |visit| {
            visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES}] Double ready"))?;
            visit.imap(&answer)
        })
    }

    /// A submission server that lets everyone in and takes every message.
    pub(crate) fn smtp(certificate: Option<&Signed>) -> Self {
        Self::start(certificate, |visit| {
            visit.say("220 double ESMTP")?;
            visit.smtp()
        })
    }

    /// Listens at the same port again.
    pub(crate) fn start_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port of the provider is free");
        self.shared.closed.store(false, Ordering::SeqCst);
        let (shared, script) = (self.shared.clone(), self.script.clone());
        self.acceptor = Some(thread::spawn(move || {
            for connection in listener.incoming() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = connection else { continue };
                let (shared, script) = (shared.clone(), script.clone());
                thread::spawn(move || {
                    let visit = Visit::begin(socket, shared);
                    let _ = visit.and_then(|mut visit| script(&mut visit));
                });
            }
        }));
    }

    /// Cuts every connection and listens no more.
    pub(crate) fn stop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the one that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut();
    }

    /// Cuts every connection; new ones are welcome.
    pub(crate) fn cut(&self) {
        for connection in self.shared.connections.lock().expect("no test panicked in here").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Shows this certificate from the next connection on.
    pub(crate) fn show(&self, certificate: &Signed) {
        *self.shared.certificate.lock().expect("no test panicked in here") = Some(certificate.clone());
    }

    /// All that clients said so far, of all visits: in clear, and what was inside TLS.
    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.shared.heard.lock().expect("no test panicked in here")).into_owned()
    }

    /// Octets said so far.
    pub(crate) fn said(&self) -> u64 {
        self.shared.said.load(Ordering::SeqCst)
    }

    /// Connections so far, those that ended in the handshake too.
    pub(crate) fn visits(&self) -> u64 {
        self.shared.visits.load(Ordering::SeqCst)
    }

    /// The most connections that there were at once.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Visit {
    fn begin(socket: TcpStream, shared: Arc<Shared>) -> Option<Self> {
        shared.visits.fetch_add(1, Ordering::SeqCst);
        socket.set_nodelay(true).ok()?;
        socket.set_write_timeout(Some(PATIENCE * 3)).ok()?;
        // A visit that nobody ends must not outlive the test run by much.
        socket.set_read_timeout(Some(PATIENCE * 6)).ok()?;
        let kept = socket.try_clone().ok()?;
        shared.connections.lock().expect("no test panicked in here").push(kept);
        let certificate = shared.certificate.lock().expect("no test panicked in here").clone();
        let stream: Box<dyn Stream> = Box::new(socket.try_clone().ok()?);
        let live = Live::begin(shared.clone());
        let mut visit = Self { stream: BufReader::new(stream), socket, shared, _live: live };
        match certificate {
            Some(certificate) => visit.secure(&certificate).map(|()| visit),
            None => Some(visit),
        }
    }

    /// Shakes hands; what the client said before in the same breath is dropped.
    pub(crate) fn secure(&mut self, certificate: &Signed) -> Option<()> {
        let mut session = ServerConnection::new(certificate.server()).expect("a TLS server");
        let mut socket = self.socket.try_clone().ok()?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).ok()?;
        }
        self.stream = BufReader::new(Box::new(StreamOwned::new(session, socket)));
        Some(())
    }

    /// Closes the connection: else it stays open behind a script that has ended, until the provider cuts it.
    pub(crate) fn hang_up(&mut self) -> Option<()> {
        self.socket.shutdown(Shutdown::Both).ok()
    }

    /// All octets go to the server at this port and back, until one side ends. For a provider without a certificate that
    /// has heard nothing yet: TLS is then the server's own.
    pub(crate) fn pass_on(&mut self, port: u16) -> Option<()> {
        let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let (mut answers, mut client) = (server.try_clone().ok()?, self.socket.try_clone().ok()?);
        let back = thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut client);
            let _ = client.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut self.socket, &mut server);
        let _ = server.shutdown(Shutdown::Both);
        back.join().ok()
    }

    /// Sends one line.
    pub(crate) fn say(&mut self, line: &str) -> Option<()> {
        self.send(format!("{line}\r\n").as_bytes())
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: &[u8]) -> Option<()> {
        let stream = self.stream.get_mut();
        for part in octets.chunks(64 * 1024) {
            stream.write_all(part).ok()?;
            self.shared.said.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
        stream.flush().ok()
    }

    /// The client's next line, without its end; `None` when it is gone.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).ok()?;
        self.note(&line);
        let text = line.strip_suffix(b"\r\n")?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Exactly `count` octets of the client.
    pub(crate) fn octets(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut octets = vec![0; count];
        self.stream.read_exact(&mut octets).ok()?;
        self.note(&octets);
        Some(octets)
    }

    /// Whatever the client says next, at once as it comes; empty at its end.
    pub(crate) fn some(&mut self) -> Option<Vec<u8>> {
        let octets = self.stream.fill_buf().ok()?.to_vec();
        self.stream.consume(octets.len());
        self.note(&octets);
        Some(octets)
    }

    fn note(&self, octets: &[u8]) {
        self.shared.heard.lock().expect("no test panicked in here").extend_from_slice(octets);
    }

    /// Answers IMAP commands until the client leaves.
    pub(crate) fn imap(&mut self, answer: &dyn Fn(&mut Self, &str, &str) -> Option<bool>) -> Option<()> {
        loop {
            let line = self.line()?;
            let (tag, command) = line.split_once(' ').unwrap_or((&line, ""));
            if !answer(self, tag, command)? {
                self.imap_answer(tag, command)?;
            }
        }
    }

    /// What an IMAP server says that lets everyone in.
    pub(crate) fn imap_answer(&mut self, tag: &str, command: &str) -> Option<()> {
        let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "AUTHENTICATE" | "LOGIN" => {
                return self.say(&format!("{tag} OK [CAPABILITY {IMAP_CAPABILITIES}] Signed in"));
            }
            "CAPABILITY" => self.say(&format!("* CAPABILITY {IMAP_CAPABILITIES}"))?,
            "NAMESPACE" => self.say("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL")?,
            "LIST" | "LSUB" => {
                self.say(&format!("* {verb} (\\HasChildren) \".\" INBOX"))?;
                self.say(&format!("* {verb} (\\HasNoChildren) \".\" INBOX.Sent"))?;
            }
            "SELECT" | "EXAMINE" => {
                self.say("* FLAGS (\\Seen \\Deleted)\r\n* 3 EXISTS\r\n* 0 RECENT")?;
                self.say("* OK [UIDVALIDITY 7] valid\r\n* OK [UIDNEXT 4] next")?;
                return self.say(&format!("{tag} OK [READ-WRITE] done"));
            }
            "LOGOUT" => self.say("* BYE")?,
            _ => {}
        }
        self.say(&format!("{tag} OK done"))
    }

    /// Answers SMTP commands until the client leaves.
    pub(crate) fn smtp(&mut self) -> Option<()> {
        loop {
            let line = self.line()?;
            match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" => self.say("250-double\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN")?,
                "AUTH" => self.say("235 2.7.0 Signed in")?,
                "DATA" => {
                    self.say("354 go")?;
                    while self.line()? != "." {}
                    self.say("250 2.0.0 Taken")?;
                }
                "QUIT" => return self.say("221 2.0.0 Bye"),
                _ => self.say("250 2.0.0 Ok")?,
            }
        }
    }
}
