//! Listening sockets that systemd hands over (sd_listen_fds(3)): it opens ports below 1024, and the bridge needs no leave.
//!
//! It opens no port, and takes no socket that the configuration does not name: a listener that nobody decided upon could
//! carry passwords in clear.

use super::BACKLOG;
use listenfd::ListenFd;
use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
};
use tokio::net::{TcpListener, TcpSocket};

/// The sockets that are left, each with where it listens.
#[derive(Default)]
pub struct Handed(Vec<(SocketAddr, std::net::TcpListener)>);

/// What systemd handed over is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, a datagram or local socket, or a connection (`Accept=yes`).
    #[error("systemd hands over something else than a listening TCP socket")]
    NoListener(#[source] io::Error),
    /// These are in no configuration, or there twice.
    #[error("systemd hands over a socket that no listener of the configuration is for: {}", addresses(.0))]
    Unnamed(Vec<SocketAddr>),
}

impl Handed {
    /// What is handed to this process; nothing where systemd has not started it. Only the first call finds it.
    ///
    /// # Errors
    /// [`Error::NoListener`].
    pub fn by_systemd() -> Result<Self, Error> {
        let mut all = ListenFd::from_env();
        let mut handed = Vec::new();
        for nth in 0..all.len() {
            if let Some(listener) = all.take_tcp_listener(nth).map_err(Error::NoListener)? {
                handed.push((listener.local_addr().map_err(Error::NoListener)?, listener));
            }
        }
        Ok(Self(handed))
    }

    /// Each is for one of these. To be asked before a port is opened: one that listens on all addresses would make that
    /// fail, with words about another program.
    ///
    /// # Errors
    /// [`Error::Unnamed`].
    pub fn is_for(&self, configured: impl Iterator<Item = SocketAddr>) -> Result<(), Error> {
        let mut stray: Vec<_> = self.0.iter().map(|(listens, _)| *listens).collect();
        for address in configured {
            if let Some(at) = stray.iter().position(|listens| *listens == address) {
                stray.remove(at);
            }
        }
        if stray.is_empty() { Ok(()) } else { Err(Error::Unnamed(stray)) }
    }

    /// The socket that listens at this address, if there is one.
    ///
    /// # Errors
    /// [`Error::NoListener`].
    pub fn take(&mut self, address: SocketAddr) -> Result<Option<TcpListener>, Error> {
        let Some(at) = self.0.iter().position(|(listens, _)| *listens == address) else { return Ok(None) };
        let (_, listener) = self.0.remove(at);
        listening(listener).map(Some).map_err(Error::NoListener)
    }
}

impl Error {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoListener(_) => "the .socket unit takes ListenStream=ADDRESS:PORT alone, without Accept=yes",
            Self::Unnamed(_) => {
                "write ListenStream= as the configuration has it (`passerelle config show`), address included, or name it \
                 there under [listen] or [[crm]]"
            }
        }
    }
}

/// Listens on it once more, which is no change but of its backlog, and fails where it is a connection.
fn listening(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    // The type of standard streams is the one that a socket can be made of; nothing is read from it.
    TcpSocket::from_std_stream(TcpStream::from(OwnedFd::from(listener))).listen(BACKLOG)
}

fn addresses(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
