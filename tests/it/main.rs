//! The one integration binary.

mod store;
mod dialogue;
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests read clocks and the environment, and print"
)]
// mod clients; // waits for `serve` and `account add`
mod harness;
mod lab;
mod layers;
// mod readme; // waits for the README and `serve`
