//! The one integration binary.

mod store;
mod dialogue;
mod harness;
mod lab;
