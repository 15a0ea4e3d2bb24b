//! An IMAP server side over a [`source::Source`]: mail behind something other than IMAP is dialled like any provider.
//!
//! The machine is pure: octets in; octets, and requests to the source, out. A driver carries both. So far the one source
//! is [`memory::Memory`], behind the demo provider and as a test double; POP3 and Graph have their room here. The engine
//! holds no password: who signs in is judged by whoever gives the driver a source.
//!
//! ```text
//! driver     a stream, a machine and a source brought together       (sockets and a clock; feature `bridge`)
//! memory     letters given as octets, shared between connections
//! source     what a source must be able to do, and the requests that the machine makes of it
//! machine    RFC 3501: states, commands, what FETCH and SEARCH and STORE say
//! sink       the submission side beside it: takes one message at a time, forwards none
//! tokens     a token endpoint with one grant
//! letter     one message read: its fields, its parts, ENVELOPE and BODYSTRUCTURE
//! ```

#[cfg(feature = "bridge")]
pub mod driver;
pub mod letter;
pub mod machine;
pub mod memory;
pub mod sink;
pub mod source;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod still;
pub mod tokens;
