//! Octets and RFC grammar only: framing, tokens, encodings. Knows no account, no name map, no state of a session.
//!
//! Every cap on what the network may feed us into memory stands here, with its reason.

pub mod dot;
pub mod imap;
pub mod line;
pub mod sasl;
pub mod smtp;

/// How much of a provider's line is gathered before the rest streams: every mailbox name stands in it (4 KiB at most,
/// every octet of it escaped), and so does every status line that anyone sends.
pub const IMAP_LINE_FIRST: usize = 8 * 1024;

/// A client's line before login (R14): a LOGIN with the longest name and password fits many times.
pub const IMAP_LINE_BEFORE_LOGIN: usize = 8 * 1024;

/// A client's command after login, its held literals included (R15): a sequence set of some ten thousand numbers.
pub const IMAP_COMMAND_MAX: usize = 64 * 1024;

/// A literal that must be held to be looked at: a mailbox name, a search string.
pub const IMAP_LITERAL_HELD: u64 = 4 * 1024;

/// Parentheses in each other before login (R14).
pub const IMAP_NESTING_BEFORE_LOGIN: usize = 16;

/// Parentheses in each other after login (R15).
pub const IMAP_NESTING: usize = 100;

/// The longest tag of a client. Real ones have 4 to 10 octets; it is kept for each pending command.
pub const IMAP_TAG_MAX: usize = 64;

/// Digits of a literal's size: 63 bits (RFC 9051 section 9, number64).
pub const LITERAL_DIGITS_MAX: usize = 20;

/// Mailboxes of one account: the table is held in memory and answers LIST.
pub const FOLDERS_MAX: usize = 10_000;

/// Octets of all mailbox names of one account together.
pub const FOLDER_NAMES_MAX: usize = 2 * 1024 * 1024;
