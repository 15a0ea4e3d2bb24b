//! The one integration binary.

mod store;
mod dialogue;
// mod clients; // waits for `serve` and `account add`
mod harness;
mod lab;
