//! A provider's front door before a Dovecot: speaks TLS, announces what the provider announces, and answers `BAD` to all
//! that this announcement lacks, though Dovecot could do it. So Dovecot's mail is seen as Gmail or Microsoft show it.
//!
//! ```ignore
//! let gmail = Host::with(&lab, Layout::Gmail, "alice@gmail.test", "secret");
//! let account = AddAccount::behind(&lab, &gmail, "alice@gmail.test");
//! // … and at the end: nothing that the bridge sent was beyond the capability line.
//! gmail.filter.expect_obeyed();
//! ```
//! What is judged stands in [`super::strict`], the words of providers in [`super::habits`]. It keeps no mail and answers
//! no command that Dovecot can answer alike. Not imitated: labels, X-GM items, automatic expunge, malformed structures.

use super::{
    dovecot::Dovecot,
    filter_client::Commands,
    filter_server::Answers,
    habits::Habits,
    lab::{Lab, free_port},
    leash::PATIENCE,
    strict::Capabilities,
};
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, WriteHalf, split},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::{Notify, Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// At once; far above what a test opens.
const VISITS: usize = 64;

/// A longest line: a SEARCH answer of 200,000 messages is 1.3 MB.
const LINE_MAX: u64 = 8 * 1024 * 1024;

/// No visit outlives the test run by much.
const VISIT_MAX: Duration = Duration::from_secs(300);

pub(crate) struct Filter {
    /// IMAP in TLS, with the lab's good certificate.
    pub(crate) imaps: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// What all visits share.
pub(super) struct Shared {
    pub(super) habits: Habits,
    dovecot: u16,
    tls: TlsAcceptor,
    places: Semaphore,
    refused: Mutex<Vec<String>>,
    heard: Mutex<Vec<String>>,
    /// The NO of every sign-in.
    pub(super) sign_in_refusal: Mutex<Option<String>>,
    /// Address, to the token that opens it and its password at Dovecot.
    pub(super) tokens: Mutex<HashMap<String, (String, String)>>,
    length: Mutex<Option<Duration>>,
    expiry: watch::Sender<()>,
    visits: AtomicU64,
    over: AtomicU64,
    signed_in: AtomicU64,
}

/// One client and its Dovecot.
pub(super) struct Talk {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Mutex<State>,
    /// Held for a whole response, so that who holds it stands between two.
    pub(super) client: tokio::sync::Mutex<WriteHalf<TlsStream<TcpStream>>>,
    pub(super) server: tokio::sync::Mutex<OwnedWriteHalf>,
    /// To the side that reads the client, which waits for it with the literal of an APPEND.
    pub(super) go: mpsc::UnboundedSender<Go>,
    welcome: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) signed_in: bool,
    pub(super) address: String,
    pub(super) pending: HashMap<Vec<u8>, Pending>,
    /// An AUTHENTICATE under way: the client's next line is no command.
    pub(super) sasl: bool,
    /// The tag of an APPEND that waits with its literal.
    pub(super) append: Option<Vec<u8>>,
}

pub(super) struct Pending {
    pub(super) verb: String,
    /// Of LIST: the pattern would show the container, and it has not been shown yet.
    pub(super) owes_container: bool,
}

pub(super) enum Go {
    On,
    Ended,
}

impl Filter {
    /// Stands before a Dovecot with the habits of its layout.
    pub(crate) fn before(lab: &Lab, dovecot: &Dovecot) -> Self {
        Self::with(lab, dovecot.imap, Habits::of(dovecot.layout))
    }

    /// Any habits, before any IMAP server that speaks in clear at this port.
    pub(crate) fn with(lab: &Lab, port: u16, habits: Habits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for the filter");
        let shared = Arc::new(Shared {
            habits,
            dovecot: port,
            tls: TlsAcceptor::from(lab.certificates.good.server()),
            places: Semaphore::new(VISITS),
            refused: Mutex::default(),
            heard: Mutex::default(),
            sign_in_refusal: Mutex::default(),
            tokens: Mutex::default(),
            length: Mutex::default(),
            expiry: watch::Sender::new(()),
            visits: AtomicU64::new(0),
            over: AtomicU64::new(0),
            signed_in: AtomicU64::new(0),
        });
        let imaps = free_port();
        let listener =
            runtime.block_on(TcpListener::bind(("127.0.0.1", imaps))).expect("the port of the filter is free");
        runtime.spawn(accept(shared.clone(), listener));
        Self { imaps, shared, runtime: Some(runtime) }
    }

    /// Fails when a command was beyond the capability line.
    pub(crate) fn expect_obeyed(&self) {
        let refused = self.refused();
        assert!(
            refused.is_empty(),
            "refused:\n{}\nall that was heard:\n{}",
            refused.join("\n"),
            self.heard().join("\n")
        );
    }

    /// What was beyond the capability line so far: the reason, and the command.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().expect("no test panicked in here").clone()
    }

    /// The first lines of all commands so far, without tags and without what signs in.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.shared.heard.lock().expect("no test panicked in here").clone()
    }

    /// Connections so far.
    pub(crate) fn visits(&self) -> u64 {
        self.shared.visits.load(Ordering::SeqCst)
    }

    /// Those of them that are over.
    pub(crate) fn over(&self) -> u64 {
        self.shared.over.load(Ordering::SeqCst)
    }

    /// Sign-ins so far that were welcome.
    pub(crate) fn sign_ins(&self) -> u64 {
        self.shared.signed_in.load(Ordering::SeqCst)
    }

    /// Sessions that sign in from now on end this long after it.
    pub(crate) fn session_length(&self, length: Duration) {
        *self.shared.length.lock().expect("no test panicked in here") = Some(length);
    }

    /// Ends all signed-in sessions as the end of their time does: a BYE between two responses, then the close.
    pub(crate) fn expire(&self) {
        self.shared.expiry.send_replace(());
    }

    /// From now on this NO meets every sign-in, [`super::GMAIL_TOO_MANY`] for one; `None` lifts it.
    pub(crate) fn refuse_sign_in(&self, refusal: Option<&str>) {
        *self.shared.sign_in_refusal.lock().expect("no test panicked in here") = refusal.map(str::to_owned);
    }

    /// From now on this token opens the account by XOAUTH2 or OAUTHBEARER, and no other does.
    pub(crate) fn accept_token(&self, dovecot: &Dovecot, address: &str, token: &str) {
        let opens = (token.to_owned(), dovecot.password(address));
        self.shared.tokens.lock().expect("no test panicked in here").insert(address.to_owned(), opens);
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        shared.visits.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        tokio::spawn(async move {
            let Ok(_place) = shared.places.acquire().await else { return };
            // A visit that ends with an error ends for its client as a broken connection does; that is all.
            let _ = timeout(VISIT_MAX, visit(shared.clone(), socket)).await;
            shared.over.fetch_add(1, Ordering::SeqCst);
        });
    }
}

async fn visit(shared: Arc<Shared>, socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let stream = timeout(PATIENCE, shared.tls.accept(socket)).await??;
    let (read, write) = split(stream);
    let dovecot = TcpStream::connect(("127.0.0.1", shared.dovecot)).await?;
    dovecot.set_nodelay(true)?;
    let (answers, server) = dovecot.into_split();
    let (go, waits) = mpsc::unbounded_channel();
    let talk = Talk {
        shared,
        state: Mutex::default(),
        client: write.into(),
        server: server.into(),
        go,
        welcome: Notify::new(),
    };
    let ended = tokio::select! {
        ended = Commands::new(&talk, BufReader::new(read), waits).run() => ended,
        ended = Answers::new(&talk, BufReader::new(answers)).run() => ended,
        ended = talk.expires() => ended,
    };
    talk.client.lock().await.shutdown().await?;
    ended
}

impl Talk {
    pub(super) fn habits(&self) -> &Habits {
        &self.shared.habits
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no visit panicked in here")
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities(if self.state().signed_in { self.habits().after } else { self.habits().before })
    }

    /// Says a line between two responses.
    pub(super) async fn say(&self, line: &str) -> io::Result<()> {
        let mut client = self.client.lock().await;
        client.write_all(format!("{line}\r\n").as_bytes()).await?;
        client.flush().await
    }

    pub(super) fn welcomed(&self) {
        self.state().signed_in = true;
        self.shared.signed_in.fetch_add(1, Ordering::SeqCst);
        self.welcome.notify_one();
    }

    pub(super) fn note_refused(&self, reason: &str, command: &str) {
        let words = format!("{reason}: {command}");
        self.shared.refused.lock().expect("no test panicked in here").push(words);
    }

    pub(super) fn note_heard(&self, command: &str) {
        self.shared.heard.lock().expect("no test panicked in here").push(command.to_owned());
    }

    /// The end of a session that has lasted long enough.
    async fn expires(&self) -> io::Result<()> {
        self.welcome.notified().await;
        let mut expiry = self.shared.expiry.subscribe();
        let length = *self.shared.length.lock().expect("no test panicked in here");
        tokio::select! {
            _ = expiry.changed() => {}
            () = sleep(length.unwrap_or(VISIT_MAX)) => {}
        }
        self.say(&format!("* {}", self.habits().expired)).await
    }
}

/// The next line without its end; `None` when the other side is gone, also in the middle of one.
pub(super) async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(LINE_MAX).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

pub(super) type FromDovecot = BufReader<OwnedReadHalf>;
