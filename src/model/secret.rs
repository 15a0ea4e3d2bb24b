//! A value that must never be shown: no Debug, no Display, in any build; wiped from memory when dropped.
//!
//! It must not learn to compare itself with `==`: comparing secrets takes constant time and belongs to the vault.

use zeroize::{Zeroize, Zeroizing};

/// A password, token or key. [`Secret::expose`] is the only way to its content, so that `grep expose` shows every use.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes the value over. The caller wipes the copies that it made on the way here.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The content. Never give it to a log, an error, a format string or a line towards another peer than its own.
    pub fn expose(&self) -> &T {
        &self.0
    }
}
