//! The provider's side: dialling, TLS, openings, and the gates that own what the sessions of an account share.
//!
//! It knows no client. A [`Lane`] leaves here signed in; dropping it closes the connection, and
//! [`Lane::park`] keeps it for the next session.

pub(crate) mod dial;
pub mod discovery;
pub(crate) mod gate;
mod lane;
pub(crate) mod open;
pub(crate) mod passed;
mod places;
pub(crate) mod pool;
pub(crate) mod reset;
mod stored;
pub(crate) mod tls;

pub use gate::{
    BackOff, Bounds, Cause, GateUse, Gates, Invitation, Inviter, LetIn, NotLetIn, Own, OwnSubmission, Seat,
    SendingBounds, Wait,
};
pub use lane::{Hold, Lane, LaneNumber, Leased};
pub use open::{Deadlines, HANDSHAKE, Opened, OpenedFacts, Refusal, Step, open};
pub use passed::Passed;
pub use places::{Allowance, allowance, cap};
pub use stored::{Wanted, exchange, open_stored};
pub use tls::shown_by;

use crate::model::{Certificates, Endpoint};
use tokio::io::{AsyncRead, AsyncWrite};

/// One service of a provider, and how far its certificate is believed.
#[derive(Clone, Debug)]
pub struct Target {
    pub endpoint: Endpoint,
    pub certificates: Certificates,
}

/// What octets go over: TCP, TLS, or a pipe within the process.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection of any kind.
pub type Stream = Box<dyn Duplex>;
