//! The house's rules, pure: names, capabilities, what may pass and how one line is rewritten. No sockets, no session.

pub mod breaker;
pub mod capability;
pub mod counterpart;
pub mod folder_map;
pub mod from;
pub mod guesses;
pub mod imap;
pub mod likeness;
pub mod listing;
pub mod namespace;
pub mod naming;
pub mod pace;
pub mod patience;
pub mod rate;
pub mod report;
pub mod special;
pub mod uid_validity;
