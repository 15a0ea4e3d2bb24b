//! Passerelle: the mail server on localhost that a legacy CRM talks to, whatever company hosts the mailbox.
//!
//! (The architecture in two screens follows as the parts land.)

#![forbid(unsafe_code)]
#![warn(rust_2018_idioms, unreachable_pub, clippy::await_holding_lock)]

pub mod failure;
pub mod model;
pub mod relay;
pub mod rules;
pub mod wire;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

#[cfg(feature = "bridge")]
pub mod app;
#[cfg(feature = "bridge")]
pub mod config;
#[cfg(feature = "bridge")]
pub mod control;
#[cfg(feature = "bridge")]
pub mod listener;
#[cfg(feature = "bridge")]
pub mod local_tls;
#[cfg(feature = "bridge")]
pub mod session;
#[cfg(feature = "bridge")]
pub mod store;
#[cfg(feature = "bridge")]
pub mod upstream;
