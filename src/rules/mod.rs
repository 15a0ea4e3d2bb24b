//! The house's rules, pure: names, capabilities, what may pass and how one line is rewritten. No sockets, no session.

pub mod folder_map;
pub mod namespace;
pub mod special;
