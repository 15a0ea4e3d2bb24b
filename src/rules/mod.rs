//! The house's rules, pure: names, capabilities, what may pass.

pub mod namespace;
