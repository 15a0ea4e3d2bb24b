//! Octets and RFC grammar only: framing, tokens, encodings. Knows no account, no name map, no state of a session.
//!
//! Every cap on what the network may feed us into memory stands here, with its reason.

pub mod dot;
pub mod imap;
pub mod line;
pub mod sasl;
pub mod smtp;
