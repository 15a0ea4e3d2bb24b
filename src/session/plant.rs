//! A fault that tests plant. No other build has it.

/// In the argument of a command, where a client says it.
pub(crate) const IN_A_SESSION: &str = "planted-panic-in-a-session";

/// Panics where octets of a client hold the plant.
pub(crate) fn spring(octets: &[u8]) {
    let planted = memchr::memmem::find(octets, IN_A_SESSION.as_bytes()).is_some();
    assert!(!planted, "{}", String::from_utf8_lossy(octets));
}
