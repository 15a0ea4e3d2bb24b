//! Faults that tests plant: places that panic where the octets in hand hold certain words. No other build has them.

use std::sync::atomic::{AtomicU32, Ordering};

/// One fault: the words that make it happen, and how often it has.
pub(crate) struct Plant {
    pub(crate) words: &'static str,
    sprung: AtomicU32,
}

/// In the argument of a command, where a client says it.
pub(crate) static IN_A_SESSION: Plant = Plant::of("planted-panic-in-a-session");
/// As the login, in what a session asks of the store.
pub(crate) static IN_A_REQUEST: Plant = Plant::of("planted-panic-in-a-request");
/// In the file of the certificate that clients are shown.
pub(crate) static IN_A_CERTIFICATE: Plant = Plant::of("planted-panic-in-a-certificate");

impl Plant {
    const fn of(words: &'static str) -> Self {
        Self { words, sprung: AtomicU32::new(0) }
    }

    /// Panics where the words are there.
    pub(crate) fn spring(&self, octets: &[u8]) {
        if memchr::memmem::find(octets, self.words.as_bytes()).is_some() {
            self.sprung.fetch_add(1, Ordering::SeqCst);
            panic!("{}", String::from_utf8_lossy(octets));
        }
    }

    /// How often it has, in this process.
    pub(crate) fn sprung(&self) -> u32 {
        self.sprung.load(Ordering::SeqCst)
    }
}
