//! Accepts clients: limits, TLS, then a session each. It knows no protocol but by name.

#![allow(clippy::disallowed_methods, reason = "how long a session took is told by the clock")]

pub mod handed;
pub(crate) mod lobby;

use crate::{
    failure::{Cap, Failure, SmtpMoment},
    model::number,
    profile::Profile,
    relay::{Relay, SessionFacts, imap::ImapRelay, smtp::SmtpRelay},
    session::{self, Ended, Surroundings},
    upstream::Stream,
};
pub use lobby::Lobby;
use lobby::{Notice, Place};
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tracing::Instrument;

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Imap,
    Smtp,
}

/// One port.
#[derive(Clone)]
pub struct Port {
    pub protocol: Protocol,
    /// None: in clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may use it.
    pub admits: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// What its CRM expects before login.
    pub profile: Arc<Profile>,
    /// Whether a client's own access token goes to its account's provider.
    pub passes_tokens: bool,
}

/// What all ports share.
#[derive(Clone)]
pub struct Reception {
    /// Clients at once.
    pub places: Arc<Semaphore>,
    /// Clients at once that have not signed in: the rest of the places is for those that have.
    pub lobby: Arc<Lobby>,
    /// How many places there are.
    pub places_in_all: usize,
    /// The greeting and TLS handshake.
    pub handshake: Duration,
    pub hostname: Box<str>,
    pub message_max: u64,
    pub surroundings: Surroundings,
}

/// Connections that wait to be accepted. CRMs come in bursts, a page each; peers of the field hang at 5.
pub(crate) const BACKLOG: u32 = 1024;
/// Pause when no descriptor is to be had: closing sessions give some back.
pub(crate) const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

impl Reception {
    /// How many clients there are, and how many of them have not signed in.
    #[must_use]
    pub fn in_use(&self) -> (u64, u64) {
        let places = self.places_in_all.saturating_sub(self.places.available_permits());
        (number(places), number(self.lobby.taken()))
    }
}

/// Opens a listening socket.
///
/// # Errors
/// If the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted bridge must not wait for the connections of the last one to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the bridge stops, then waits for the sessions, which end by themselves. A panic in one ends that one.
pub async fn accept(listener: TcpListener, port: Port, reception: Reception) {
    let mut sessions = JoinSet::new();
    let mut drain = reception.surroundings.drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drain.wait_for(|drain| *drain) => break,
            // Whether it ended well, or by a panic that the log knows.
            Some(_) = sessions.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                sessions.spawn(receive(stream, peer, port.clone(), reception.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a client cannot be accepted");
                sleep(NO_DESCRIPTOR).await;
            }
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

async fn receive(stream: TcpStream, peer: SocketAddr, port: Port, reception: Reception) {
    static SESSIONS: AtomicU64 = AtomicU64::new(1);
    if !(port.admits)(peer.ip()) {
        tracing::warn!(peer = %peer.ip(), "a client that this port does not admit; see plain-from in the configuration");
        return;
    }
    let id = SESSIONS.fetch_add(1, Ordering::Relaxed);
    let span = tracing::info_span!("session", id, protocol = ?port.protocol, tls = port.tls.is_some());
    async move {
        let began = Instant::now();
        let Some(ended) = run(stream, port, reception).await else { return };
        report(&ended, began.elapsed());
    }
    .instrument(span)
    .await;
}

async fn run(stream: TcpStream, port: Port, reception: Reception) -> Option<Ended> {
    let Some((_place, (guest, told_to_leave))) = places(&reception).await else {
        reception.lobby.note_turned_away();
        turn_away(stream, &port).await;
        return None;
    };
    let lobby = reception.lobby.clone();
    tokio::select! {
        ended = serve(stream, port, reception, guest) => ended,
        () = told_to_leave.given() => {
            lobby.note_turned_away();
            None
        }
    }
}

async fn serve(stream: TcpStream, port: Port, reception: Reception, guest: Place) -> Option<Ended> {
    // Answers are small and wait for each other: Nagle's rule costs 40 ms each.
    stream.set_nodelay(true).ok()?;
    let secured = port.tls.is_some();
    let stream: Stream = match port.tls {
        None => Box::new(stream),
        Some(config) => match timeout(reception.handshake, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS handshake");
                return None;
            }
            Err(_) => return None,
        },
    };
    let facts = SessionFacts {
        hostname: reception.hostname.clone(),
        secured,
        message_max: reception.message_max,
        profile: port.profile.clone(),
        passes_tokens: port.passes_tokens,
        nonce: nonce()?,
    };
    let relay: Box<dyn Relay> = match port.protocol {
        Protocol::Imap => Box::new(ImapRelay::new(facts)),
        Protocol::Smtp => Box::new(SmtpRelay::new(facts)),
    };
    let surroundings = Surroundings { login_wait: port.profile.login_wait(), ..reception.surroundings };
    Some(session::run(stream, relay, surroundings, guest).await)
}

/// What makes the challenges of a session its own. Without randomness there is no session.
fn nonce() -> Option<u128> {
    let mut octets = [0; 16];
    let drawn = SystemRandom::new().fill(&mut octets);
    if drawn.is_err() {
        tracing::error!("the system gives no random octets: a client is turned away");
    }
    drawn.ok().map(|()| u128::from_be_bytes(octets))
}

async fn places(reception: &Reception) -> Option<(OwnedSemaphorePermit, (Place, Notice))> {
    let place = reception.places.clone().try_acquire_owned().ok()?;
    Some((place, reception.lobby.enter().await?))
}

/// Says in clear that there is no place; over TLS that would cost the handshake that there is no place for.
async fn turn_away(mut stream: TcpStream, port: &Port) {
    if port.tls.is_some() {
        return;
    }
    let busy = Failure::Busy(Cap::Connections);
    let line = match port.protocol {
        Protocol::Imap => {
            let reply = busy.imap();
            format!("* BYE [{}] {}\r\n", reply.code.unwrap_or("LIMIT"), reply.text)
        }
        Protocol::Smtp => {
            let reply = busy.smtp(SmtpMoment::Closing);
            format!("{} {} {}\r\n", reply.code, reply.enhanced, reply.text)
        }
    };
    let _ = timeout(Duration::from_secs(1), stream.write_all(line.as_bytes())).await;
}

fn report(ended: &Ended, took: Duration) {
    let Ended { failure, octets_from_client, octets_to_client, uncertain } = ended;
    let seconds = took.as_secs_f32();
    if *uncertain > 0 {
        tracing::warn!(uncertain, "messages whose outcome the provider did not tell; they may be sent twice");
    }
    match failure {
        Some(failure) => tracing::info!(%failure, octets_from_client, octets_to_client, seconds, "session failed"),
        None => tracing::info!(octets_from_client, octets_to_client, seconds, "session ended"),
    }
}
