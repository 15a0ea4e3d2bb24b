//! The provider's side: dialling, TLS, openings, and the gates that own what the sessions of an account share.
//!
//! It knows no client. A [`Lane`] leaves here signed in; dropping it closes the connection, and
//! [`Lane::park`] keeps it for the next session.

pub(crate) mod ahead;
pub(crate) mod departing;
pub(crate) mod dial;
pub mod discovery;
pub(crate) mod gate;
mod lane;
pub(crate) mod leave;
pub(crate) mod open;
pub(crate) mod passed;
mod places;
pub(crate) mod pool;
pub(crate) mod reset;
mod stored;
pub(crate) mod tls;

pub use gate::{
    BackOff, Bounds, Cause, GateUse, Gates, Invitation, Inviter, LaneWanted, LetIn, NotLetIn, Own, OwnSubmission, Seat,
    SendingBounds, Wait,
};
pub use lane::{Hold, Lane, LaneNumber, Leased};
pub use open::{Deadlines, HANDSHAKE, Opened, OpenedFacts, Refusal, Step, open};
pub use passed::Passed;
pub use places::{Allowance, Stay, allowance, cap};
pub use stored::{Wanted, exchange, open_stored};
pub use tls::shown_by;

use crate::model::{Certificates, Endpoint};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// One service of a provider, and how far its certificate is believed.
#[derive(Clone, Debug)]
pub struct Target {
    pub endpoint: Endpoint,
    pub certificates: Certificates,
}

/// What octets go over: TCP, TLS, or a pipe within the process.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has what comes next acknowledged at once, where that can be asked for. A server that leaves Nagle's rule on (Postfix)
    /// has its session tickets unacknowledged when it wants to greet, and holds the greeting back for the 40 ms of a
    /// delayed acknowledgement.
    fn acknowledge(&self) {}

    /// Gives memory back that holds nothing: it sleeps for a while, maybe for hours.
    fn rest(&mut self) {}

    /// Whether its peer has something to do yet before it comes to what is said now.
    fn is_busy(&self) -> bool {
        false
    }

    /// The same without what has done its work around it.
    fn bare(self: Box<Self>) -> Stream;
}

impl Duplex for TcpStream {
    fn bare(self: Box<Self>) -> Stream {
        self
    }

    fn acknowledge(&self) {
        // It costs 40 ms where it cannot be had, and nothing else.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_quickack(self, true);
    }
}

impl Duplex for tokio_rustls::client::TlsStream<Stream> {
    fn bare(self: Box<Self>) -> Stream {
        self
    }

    fn acknowledge(&self) {
        self.get_ref().0.acknowledge();
    }

    fn rest(&mut self) {
        self.get_mut().0.rest();
    }
}

impl Duplex for tokio_rustls::server::TlsStream<TcpStream> {
    fn bare(self: Box<Self>) -> Stream {
        self
    }
}

#[cfg(test)]
impl Duplex for tokio::io::DuplexStream {
    fn bare(self: Box<Self>) -> Stream {
        self
    }
}

/// A connection of any kind.
pub type Stream = Box<dyn Duplex>;
