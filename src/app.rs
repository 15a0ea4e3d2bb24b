//! The composition root: configuration and store into listeners, gates and sessions; then drain, then a grace period.
//!
//! It knows all and is known by none but the command line.

pub mod limits;
pub mod usage;

use crate::{
    config::{Config, Door},
    console::{self, Console},
    control::consent::{Links, Tables},
    filing::Filing,
    listener::{
        self, Lobby, Port, Protocol, Reception,
        handed::{self, Handed},
    },
    oauth::broker::{Broker, Holder},
    profile, provider,
    queue::Queue,
    session::{Patience, Surroundings},
    store::{Alone, Store},
    upstream::{Bounds, Gates, SendingBounds, Stay, exchange},
};
use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::rustls::ServerConfig;

/// Why the bridge does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Handed(#[from] handed::Error),
    /// The spool cannot be used, or the store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// A port cannot be opened, or the store cannot be watched.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a bridge is made of.
pub struct Parts {
    pub config: Config,
    /// The state directory.
    pub state: PathBuf,
    pub store: Store,
    pub providers: provider::Table,
    pub profiles: profile::Table,
    pub tls: Arc<ServerConfig>,
    pub handed: Handed,
}

/// Serves until SIGTERM or SIGINT, then lets sessions end. `ready` is called once with the addresses that clients can
/// use, ports included. Sockets that were handed over are used where they listen at a configured address.
///
/// # Errors
/// If another bridge serves this state directory, a port cannot be opened, a socket was handed over for nothing, or the
/// store cannot be watched.
pub async fn serve(parts: Parts, ready: Box<dyn FnOnce(&Config) + Send>) -> Result<(), Error> {
    let Parts { mut config, state, store, providers, profiles, tls, handed } = parts;
    // Before its ports: whoever starts a second one is told what it is, and not that a port is taken.
    let _alone = Alone::at(&state).await?;
    let bound = bind_all(&mut config, &profiles, &tls, handed)?;
    let pages = bind_console(&config)?;
    let shown = Arc::new(console_of(&config, &store, &providers, &profiles));
    let own = bound.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect();
    let bounds = Bounds {
        lanes_per_account: config.limits.lanes_per_account,
        sessions_per_account: config.limits.sessions_per_account,
        login_wait: config.timeouts.login_wait.0,
        handshake: config.timeouts.handshake.0,
        // The other half of those that have not signed in can.
        refusals: usize::try_from(config.limits.before_login / 2)
            .unwrap_or(usize::MAX)
            .clamp(1, Semaphore::MAX_PERMITS),
        stay: Stay { time: config.timeouts.imap_parked.0, lanes: config.limits.parked_lanes },
        sending: sending(&config),
    };
    let broker = Broker::new(store.clone(), exchange().map_err(io::Error::other)?, Holder::Serve);
    // On this machine alone, nobody who reads a CRM's error could follow it.
    let links = config.console.public_url.is_some().then(|| config.console.base()).flatten();
    let links = links.map(|base| Arc::new(Links::new(store.clone(), providers.clone(), base)));
    let gates = Gates::new(store.clone(), broker.clone(), bounds, own, providers, profiles);
    links.into_iter().for_each(|links| gates.invite_by(links));
    let (stop, drain) = watch::channel(false);
    let timeouts = &config.timeouts;
    let filing = Filing::open(&state, store, gates.clone(), timeouts.end_of_data.0, timeouts.delivery.0)?;
    filing.recover().await?;
    let queue = Queue::new(filing.clone(), config.hostname.as_str(), config.timeouts.end_of_data.0);
    queue.recover().await?;
    let reception = reception(&config, gates.clone(), filing.clone(), drain.clone());
    let mut filer = JoinSet::new();
    filer.spawn(filing.run());
    let mut deliverer = JoinSet::new();
    deliverer.spawn(queue.run(drain.clone()));
    let _telling = telling(&state, gates.clone(), reception.clone());
    let mut ports = JoinSet::new();
    for (listener, port) in bound {
        ports.spawn(listener::accept(listener, port, reception.clone()));
    }
    for listener in pages {
        ports.spawn(console::accept(listener, shown.clone(), drain.clone()));
    }
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    ready(&config);
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
        // A port that nobody listens at, in a bridge that looks well, would be worse than a restart.
        Some(_) = ports.join_next() => {
            return Err(Error::Io(io::Error::other("a listener ended by a fault of the bridge, see its log")));
        }
        followed = gates.follow() => return Err(Error::Io(io::Error::other(match followed {
            Ok(()) => "the watch of the store ended".to_owned(),
            Err(error) => error.to_string(),
        }))),
    }
    tracing::info!("stopping: sessions end at their next boundary");
    let _ = stop.send(true);
    let ended = timeout(config.timeouts.drain.0, async {
        while ports.join_next().await.is_some() {}
        // What the provider has, and has not answered, would be in doubt.
        deliverer.join_next().await;
    })
    .await;
    if ended.is_err() {
        tracing::warn!("sessions and deliveries that did not end in time are cut");
    }
    // What was begun for a Sent copy is looked at again by the next bridge.
    filer.shutdown().await;
    deliverer.shutdown().await;
    // A renewal ends by itself within its own deadline; one that is cut could lose a refresh token, as a consent could.
    tokio::join!(broker.settle(), shown.under_way.settle());
    Ok(())
}

/// What the configuration lets every account send.
#[must_use]
pub fn sending(config: &Config) -> SendingBounds {
    SendingBounds {
        per_lane: config.limits.messages_per_connection,
        per_minute: config.limits.messages_per_minute,
        stay: Stay { time: config.timeouts.smtp_parked.0, lanes: config.limits.parked_lanes },
        wait: config.timeouts.send_wait.0,
    }
}

/// Opens the ports of the console. A machine without IPv6 has the other one.
///
/// # Errors
/// If one cannot be opened.
pub fn bind_console(config: &Config) -> io::Result<Vec<TcpListener>> {
    let mut bound = Vec::new();
    for address in &config.console.listen.0 {
        match listener::bind(*address) {
            Ok(listener) => bound.push(listener),
            Err(error) if address.is_ipv6() && !bound.is_empty() && no_ipv6(&error) => {
                tracing::warn!(%address, "the console is not reached here: this machine has no such address");
            }
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")));
            }
        }
    }
    Ok(bound)
}

/// EADDRNOTAVAIL, or EAFNOSUPPORT of a kernel without it.
fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97)
}

/// What the console's pages need.
#[must_use]
pub fn console_of(config: &Config, store: &Store, providers: &provider::Table, profiles: &profile::Table) -> Console {
    Console {
        store: store.clone(),
        tables: Tables {
            providers: providers.clone(),
            profiles: profiles.clone(),
            own: config.listeners().map(|listener| (listener.address, listener.key())).collect(),
        },
        public_host: config.console.public_host(),
        secure: config.console.public_url.as_ref().is_some_and(|url| url.starts_with("https://")),
        under_way: console::UnderWay::default(),
    }
}

/// Tells who asks what is in use, until it is dropped. A bridge that cannot serves all the same.
fn telling(state: &Path, gates: Arc<Gates>, reception: Reception) -> JoinSet<()> {
    let mut telling = JoinSet::new();
    match usage::Socket::bind(state) {
        Ok(socket) => drop(telling.spawn(socket.answer(gates, reception))),
        Err(error) => tracing::warn!(%error, "`passerelle limits` cannot be told what is in use"),
    }
    telling
}

type Bound = Vec<(TcpListener, Port)>;
type Admits = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Opens every listener, and says in the configuration where they really are: a port 0 gets a number here.
fn bind_all(
    config: &mut Config,
    profiles: &profile::Table,
    tls: &Arc<ServerConfig>,
    mut handed: Handed,
) -> Result<Bound, Error> {
    let plain: Admits = {
        let listen = config.listen.clone();
        Arc::new(move |client| listen.admits_plain(client))
    };
    let anyone: Admits = Arc::new(|_| true);
    handed.is_for(config.listeners().map(|listener| listener.address))?;
    let mut bound = Vec::new();
    for (Door { kind, crm, passes_tokens }, address) in config.listeners_mut() {
        let profile = profiles.named(&crm).ok_or_else(|| io::Error::other(format!("no such CRM profile: {crm}")))?;
        let listener = match handed.take(*address)? {
            Some(listener) => {
                tracing::info!(%address, "this socket was handed over by systemd");
                listener
            }
            None => listener::bind(*address)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?,
        };
        *address = listener.local_addr()?;
        let port = Port {
            protocol: if kind.is_imap() { Protocol::Imap } else { Protocol::Smtp },
            tls: kind.is_secured().then(|| tls.clone()),
            admits: if kind.is_secured() { anyone.clone() } else { plain.clone() },
            profile: profile.clone(),
            passes_tokens,
        };
        bound.push((listener, port));
    }
    Ok(bound)
}

fn reception(config: &Config, gates: Arc<Gates>, filing: Arc<Filing>, drain: watch::Receiver<bool>) -> Reception {
    let places = |places: u32| usize::try_from(places).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let [all, lobby] = [config.limits.connections, config.limits.before_login].map(places);
    let timeouts = &config.timeouts;
    let patience = Patience {
        login: timeouts.before_login.0,
        client: timeouts.idle.0,
        progress: timeouts.progress.0,
        long_command: timeouts.long_command.0,
        end_of_data: timeouts.end_of_data.0,
    };
    Reception {
        places: Arc::new(Semaphore::new(all)),
        lobby: Lobby::new(lobby),
        places_in_all: all,
        handshake: timeouts.handshake.0,
        hostname: config.hostname.as_str().into(),
        message_max: config.limits.message_size.0,
        surroundings: Surroundings { gates, filing: Some(filing), patience, login_wait: None, drain },
    }
}
