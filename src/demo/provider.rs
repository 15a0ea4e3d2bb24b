//! A demo provider: an engine over a mailbox in memory, a sink and a token endpoint, on free loopback ports.
//!
//! It can be had from here alone: it is in no table of providers, and binds no address but 127.0.0.1.

use super::{
    letters::letters,
    tape::{Tape, Voice},
};
use crate::{
    engine::{
        driver,
        machine::Manner,
        memory::Memory,
        sink::{Envelope, Mechanisms, Sink},
        source::{Credentials, Flags},
        tokens::Grant,
    },
    local_tls::LocalTls,
    model::{Address, RemoteName, Role, Secret},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// The client that the token endpoint knows.
pub(super) const CLIENT_ID: &str = "passerelle-demo";
/// Seconds that an access token works: so short that whoever stays sees another.
const ACCESS_LIFETIME: i64 = 300;
/// The first UIDVALIDITY of a mailbox. Both providers begin with the same: numbers that could be confused.
const UID_VALIDITY: u32 = 1_700_000_000;

/// Which provider it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// XOAUTH2 alone, `[Gmail]/Messages envoyés`, files what is sent.
    Gmail,
    /// Passwords, everything below `INBOX.`, no roles told.
    Ovh,
}

/// A provider with one mailbox. Dropped, it is gone.
pub(super) struct Provider {
    pub(super) imap: SocketAddr,
    pub(super) smtp: SocketAddr,
    /// What signs in: a refresh token, or a password.
    pub(super) secret: Secret<String>,
    /// Where access tokens are had, if they are what signs in.
    pub(super) token_endpoint: Option<String>,
    /// Whom to believe.
    pub(super) authority: PathBuf,
    pub(super) tape: Tape,
    house: House,
    _tasks: JoinSet<()>,
}

/// What its connections share.
#[derive(Clone)]
struct House {
    kind: Kind,
    address: Address,
    memory: Memory,
    grant: Arc<Mutex<Grant>>,
    password: Secret<String>,
}

impl Provider {
    /// Opens its ports, with a certificate of an authority of its own, kept in `folder`.
    pub(super) async fn start(kind: Kind, address: &Address, folder: &Path, now: i64) -> io::Result<Self> {
        let local = LocalTls::at(folder).map_err(io::Error::other)?;
        let tls = TlsAcceptor::from(local.server_config(&[], now).map_err(io::Error::other)?);
        let secret = random()?;
        let grant = Grant::new(CLIENT_ID, secret.clone(), true, ACCESS_LIFETIME);
        let memory = mailbox(kind, address, now);
        let house = House {
            kind,
            address: address.clone(),
            memory,
            grant: Arc::new(Mutex::new(grant)),
            password: secret.clone(),
        };
        let tape = Tape::default();
        let [imap, smtp, tokens] = [bind().await?, bind().await?, bind().await?];
        let addresses = [imap.local_addr()?, smtp.local_addr()?, tokens.local_addr()?];
        let mut tasks = JoinSet::new();
        tasks.spawn(house.clone().serve_imap(imap, tls.clone(), tape.clone()));
        tasks.spawn(house.clone().serve_smtp(smtp, tls, tape.clone()));
        let token_endpoint = (kind == Kind::Gmail).then(|| format!("http://{}/token", addresses[2]));
        if token_endpoint.is_some() {
            tasks.spawn(house.clone().serve_tokens(tokens));
        }
        let authority = local.authority();
        let [imap, smtp, _] = addresses;
        Ok(Self { imap, smtp, secret, token_endpoint, authority, tape, house, _tasks: tasks })
    }

    /// How often an access token was given.
    pub(super) fn tokens_given(&self) -> u32 {
        self.house.grant.lock().unwrap_or_else(PoisonError::into_inner).given
    }
}

impl House {
    fn manner(&self) -> Manner {
        match self.kind {
            Kind::Gmail => Manner { passwords: false, ..Manner::gmail("Demo provider, Gmail-like") },
            Kind::Ovh => Manner::ovh("Demo provider, OVH-like"),
        }
    }

    fn admits(&self, credentials: &Credentials) -> bool {
        let now = crate::store::unix_now();
        let known = |user: &str| user.eq_ignore_ascii_case(self.address.as_str());
        match (self.kind, credentials) {
            (Kind::Gmail, Credentials::Bearer(bearer)) => {
                let grant = self.grant.lock().unwrap_or_else(PoisonError::into_inner);
                known(&bearer.user) && grant.admits(bearer.token.expose(), now)
            }
            (Kind::Ovh, Credentials::Password { user, password }) => {
                known(user) && password.expose() == self.password.expose().as_bytes()
            }
            _ => false,
        }
    }

    async fn serve_imap(self, listener: TcpListener, tls: TlsAcceptor, tape: Tape) {
        let mut sessions = JoinSet::new();
        while let Some(stream) = accepted(&listener, &mut sessions).await {
            let (house, tls, tape) = (self.clone(), tls.clone(), tape.clone());
            sessions.spawn(async move {
                let stream = tape.tap(tls.accept(stream).await?, Voice::Client);
                let judge = |credentials| std::future::ready(house.admits(&credentials).then(|| house.memory.clone()));
                driver::serve(stream, house.manner(), judge).await
            });
        }
    }

    async fn serve_smtp(self, listener: TcpListener, tls: TlsAcceptor, tape: Tape) {
        let mut sessions = JoinSet::new();
        while let Some(stream) = accepted(&listener, &mut sessions).await {
            let (house, tls, tape) = (self.clone(), tls.clone(), tape.clone());
            sessions.spawn(async move {
                let stream = tape.tap(tls.accept(stream).await?, Voice::Client);
                let manner = house.manner();
                let mechanisms = Mechanisms { passwords: manner.passwords, tokens: manner.tokens };
                let mut out = Vec::new();
                let sink = Sink::new("smtp.demo.example", manner.message_max, mechanisms, &mut out);
                let judge = |credentials| std::future::ready(house.admits(&credentials).then_some(()));
                let deliver = |(): &(), envelope: Envelope, now| house.deliver(&envelope, now);
                driver::serve_sink(stream, sink, out, judge, deliver).await
            });
        }
    }

    async fn serve_tokens(self, listener: TcpListener) {
        let mut sessions = JoinSet::new();
        while let Some(stream) = accepted(&listener, &mut sessions).await {
            let house = self.clone();
            sessions.spawn(async move {
                driver::serve_tokens(stream, |form, now| {
                    let mut fresh = || random().unwrap_or_else(|_| Secret::new(String::new()));
                    house.grant.lock().unwrap_or_else(PoisonError::into_inner).answer(form, now, &mut fresh)
                })
                .await
            });
        }
    }

    /// Into INBOX, and into Sent where the provider files it itself. Nothing leaves this process.
    fn deliver(&self, envelope: &Envelope, now: i64) -> Result<(), &'static str> {
        let own = |recipient: &String| recipient.eq_ignore_ascii_case(self.address.as_str());
        if !envelope.recipients.iter().all(own) {
            return Err("550 5.1.1 the demo delivers to its own mailbox alone");
        }
        let keep = |mailbox: &RemoteName, flags: Flags| {
            self.memory.deliver(mailbox, &envelope.octets, flags, now).map(drop).map_err(|_| "452 4.2.2 no room")
        };
        keep(&RemoteName::parse(b"INBOX").map_err(|_| "451 4.3.0 no INBOX")?, Flags::new())?;
        match self.memory.of_role(Role::Sent).filter(|_| self.kind == Kind::Gmail) {
            Some(sent) => keep(&sent, Flags::from(["\\Seen".into()])),
            None => Ok(()),
        }
    }
}

/// The next connection. None: the listener is gone.
async fn accepted(listener: &TcpListener, sessions: &mut JoinSet<io::Result<()>>) -> Option<TcpStream> {
    while sessions.try_join_next().is_some() {}
    let (stream, _) = listener.accept().await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

async fn bind() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// 256 bits, as text that stands in any form, line and URL.
fn random() -> io::Result<Secret<String>> {
    let mut octets = [0; 32];
    SystemRandom::new().fill(&mut octets).map_err(|_| io::Error::other("this machine gives no random numbers"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(octets)))
}

/// Names as on the wire.
fn mailbox(kind: Kind, address: &Address, now: i64) -> Memory {
    let (delimiter, names): (u8, [(&[u8], Role); 4]) = match kind {
        Kind::Gmail => (
            b'/',
            [
                (b"[Gmail]/Messages envoy&AOk-s", Role::Sent),
                (b"[Gmail]/Brouillons", Role::Drafts),
                (b"[Gmail]/Corbeille", Role::Trash),
                (b"[Gmail]/Spam", Role::Junk),
            ],
        ),
        Kind::Ovh => (
            b'.',
            [
                (b"INBOX.Sent", Role::Sent),
                (b"INBOX.Drafts", Role::Drafts),
                (b"INBOX.Trash", Role::Trash),
                (b"INBOX.Junk", Role::Junk),
            ],
        ),
    };
    let memory = Memory::new(delimiter, UID_VALIDITY);
    if kind == Kind::Gmail {
        memory.add(b"[Gmail]", None, true);
    }
    for (name, role) in names {
        memory.add(name, Some(role), false);
    }
    let inbox = RemoteName::parse(b"INBOX").ok();
    for letter in letters(address.as_str(), now) {
        let place = match letter.role {
            Some(role) => memory.of_role(role),
            None => inbox.clone(),
        };
        if let Some(place) = place {
            // There is room: the mailbox is new.
            let _ = memory.deliver(&place, &letter.octets, letter.flags, letter.received);
        }
    }
    memory
}
