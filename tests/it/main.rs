//! The one integration binary.

mod store;
mod dialogue;
