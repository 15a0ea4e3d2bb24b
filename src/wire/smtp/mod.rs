//! SMTP's lines (RFC 5321): commands of a client, replies of a provider, what EHLO offers, and the replies that we say.
//!
//! It must not re-spell what crosses the bridge: MAIL and RCPT keep the client's octets, replies the provider's words.
//! smtp-proto judges paths; the rest is read here, because its parsers take more than a line means (crates: a tail of a
//! refused line becomes a command, one odd EHLO keyword hides all others).

mod command;
pub(crate) mod extensions;
mod reply;

pub use command::{BodyKind, Command, Path, PathFault};
pub use extensions::Extensions;
pub use reply::{Reply, ReplyReader, write_reply, write_reply_lines};
