//! Octets and RFC grammar only: framing, tokens, encodings. Knows no account, no name map, no state of a session.
//!
//! Every cap on what the network may feed us into memory stands here, with its reason.

pub mod dot;
pub mod header;
pub mod imap;
pub mod line;
pub mod mailbox;
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
/// A command line of an SMTP or POP3 client, its end not counted. RFC 5321 4.5.3.1.4 asks for 512 and what extensions
/// add; this leaves room for every extension and stays below what one read brings (rule R14).
pub const COMMAND_LINE_MAX: usize = 8 * 1024;

/// A line that holds a SASL response: RFC 4954 section 4 names 12,288 octets, which Kerberos tickets and OAuth tokens
/// need.
pub const SASL_LINE_MAX: usize = 12_288;

/// Lines of one reply of a provider. Real EHLO replies have some twenty; without a cap a reply never ends (Dovecot's
/// submission proxy has the same number).
pub const REPLY_LINES_MAX: usize = 128;

/// One line of a reply of a provider. RFC 5321 4.5.3.1.5 allows 512; providers put links and queue names behind it.
pub const REPLY_LINE_MAX: usize = 8 * 1024;

/// All text of one reply of a provider: a quarter of what an outbox takes before it stops its reader.
pub const REPLY_TEXT_MAX: usize = 16 * 1024;

/// `octets` cut at these offsets, for tests and fuzz targets that show that cuts do not matter.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn pieces<'a>(octets: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(octets.len())).collect();
    cuts.extend([0, octets.len()]);
    cuts.sort_unstable();
    cuts.array_windows().filter_map(|[start, end]| octets.get(*start..*end)).collect()
}
