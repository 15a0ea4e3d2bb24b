//! The one integration binary.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests read clocks and the environment, and print"
)]

// mod clients; // waits for `serve` and `account add`
mod dialogue;
mod harness;
mod lab;
mod layers;
// mod readme; // waits for the README and `serve`
mod account;
mod cli;
mod config;
mod store;
