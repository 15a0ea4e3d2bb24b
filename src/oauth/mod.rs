//! OAuth: the messages to a token endpoint, and the broker that keeps access tokens fresh.
//!
//! [`flow`] is pure. [`exchange`] carries one message, [`assertion`] signs what goes with some, [`device`] polls for a
//! person, [`broker`] decides when. Access tokens live in memory only; what stays of a grant is the store's.

#[cfg(feature = "bridge")]
pub mod assertion;
#[cfg(feature = "bridge")]
pub mod broker;
#[cfg(feature = "bridge")]
pub mod device;
mod endpoint;
#[cfg(feature = "bridge")]
pub mod exchange;
pub mod flow;

pub use endpoint::{InvalidTokenEndpoint, TokenEndpoint};

/// The port of the loopback address to which browsers come back, where nothing else is configured.
pub const CONSOLE_PORT: u16 = 1180;

/// Where a browser comes back to: one path for each provider, so that no answer of one is taken for another's (rule R27).
#[must_use]
pub fn callback(provider: &str) -> String {
    format!("/oauth/callback/{provider}")
}
