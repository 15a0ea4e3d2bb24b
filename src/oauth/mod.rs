//! OAuth: the messages to a token endpoint, and the broker that keeps access tokens fresh.
//!
//! [`flow`] is pure. [`exchange`] carries one message, [`assertion`] signs what goes with some, [`broker`] decides when. Access tokens live in memory only; what
//! stays of a grant is the store's.

#[cfg(feature = "bridge")]
pub mod assertion;
#[cfg(feature = "bridge")]
pub mod broker;
mod endpoint;
#[cfg(feature = "bridge")]
pub mod exchange;
pub mod flow;

pub use endpoint::{InvalidTokenEndpoint, TokenEndpoint};
