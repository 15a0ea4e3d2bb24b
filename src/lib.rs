//! Passerelle: the mail server on localhost that a legacy CRM talks to, whatever company hosts the mailbox.
//!
//! # The house
//! A layer uses those below it, never those above (`tests/it/layers.rs` holds it so). Below the line nothing does I/O,
//! reads a clock or draws a random number: those layers build alone (`--no-default-features`).
//! ```text
//! main · cli               words for people: flags, help, exit codes
//! demo                     a provider, the bridge and a CRM in one process
//! app                      composition root: configuration and store into listeners, gates, sessions; drain; all limits
//! console                  pages for a browser: so far, signing in at a provider
//! listener · session       sockets of clients; the one driver of relays
//! control · config         use cases of the command line; configuration
//! filing · queue           what is sent, on disk until its copy stands in Sent; what the bridge delivers by itself
//! telemetry                log lines, each one event
//! upstream                 dial, TLS, the driver of openings, gates; who is asked where mail is
//! engine                   an IMAP server side over a source of mail
//! store · local_tls        what is kept, and sealed; the certificate that clients see
//! oauth::broker · device   access tokens, in memory alone: asked for, renewed; polls for a person elsewhere
//! ------------------------ pure below this line ------------------------
//! relay                    protocol machines: octets and events in, octets and requests out
//! rules                    names, capabilities, what may pass, UIDVALIDITY
//! provider · profile       what is known of each provider, and of each CRM, as data
//! discovery                what hosts publish of where a domain's mail is
//! oauth                    the messages of OAuth
//! wire                     octets and RFC grammar: framing, tokens, encodings
//! model · failure          the vocabulary; what went wrong and what each protocol says of it
//! mistake                  what is wrong with a file that people write, and where
//! ```
//! A [`relay::Relay`] stands between one client and its lanes. It never waits: it puts requests into its
//! [`relay::Outbox`] (is this login good? a lane, please; what UIDVALIDITY may be told?) and goes on when the driver
//! brings the answer. So a dialogue file can play any protocol against it without a socket, cut as it likes.
//!
//! Mail behind something that is no IMAP server becomes one in the [`engine`]: a pure machine over a source, dialled like
//! any provider. So far its one source is memory, for the demo and for tests.
//!
//! What the sessions of an account share stands in its gate ([`upstream::Gates`]): places at the provider, the folder
//! table (of each token, where clients sign in by their own), the generation that ends them all when credentials change,
//! and the lanes that are parked. A lane is leased; dropping it closes it, and [`upstream::Lane::park`] keeps it: where a
//! mailbox was selected, UNSELECT is written, and the next session may speak behind it at once, if what it says first can be
//! said again ([`relay::First`]). A pause that a provider asks for is kept by all that use the account. Without a
//! mailbox an IMAP session has one for a command at a time, one of SMTP for a message, and who signs in to an account that
//! is known to be healthy waits for none.
//!
//! # The way of one IMAP command
//! `a2 SELECT "Sent"` comes in on 127.0.0.1:1143.
//! 1. `session` reads what there is (at most 64 KiB) and gives it to `relay::imap`.
//! 2. `wire::imap::framer` finds the line; `wire::imap::command` reads tag, verb and where the mailbox name stands. A verb
//!    that is in no list, or a name that is not found, gets `BAD` and never leaves.
//! 3. `relay::imap::dispatch` waits until nothing is pending (SELECT is exclusive), resolves `Sent` in the
//!    [`rules::namespace::Namespace`] to `INBOX.Sent`, splices that in, and puts `a2 SELECT "INBOX.Sent"` into the
//!    lane's outbox. All other octets of the line are the client's own.
//! 4. The provider answers. `relay::imap::lane` passes FLAGS, EXISTS and RECENT as they come, holds
//!    `* OK [UIDVALIDITY 7]` until the store has committed what to tell for it, cuts `[HIGHESTMODSEQ 9]`, drops what is
//!    in no list, and ends with `a2 OK [READ-WRITE] SELECT completed`.
//!
//! Messages are octets of literals: they go from buffer to buffer, and no relay looks into them or holds them. A lane that
//! the provider drops while nothing is under way is opened anew; a selected mailbox is selected again, and the session goes
//! on only where no message number can have moved (`relay::imap::reopen`).
//!
//! # The way of one message
//! 1. `AUTH PLAIN …` is judged by the store; then a lane to the provider's submission port is there, or opens, and only then
//!    the client hears 235.
//! 2. MAIL waits for a place and for the account's turn ([`rules::rate`]), and has a lane for this message alone: a parked
//!    one after its provider has answered RSET, or a new one. MAIL and RCPT go there in the client's own octets; the replies
//!    come back with the provider's own words.
//! 3. After 354, `wire::dot` passes the octets, still dot-stuffed, and refuses a stray CR or LF. `wire::header` holds the
//!    From until [`rules::from`] has judged it. The end mark is held back: that is a step of its own, so that what must be on
//!    disk first can be.
//! 4. Where the account wants a Sent copy ([`filing`]), the message goes to disk as it passes, and is committed before the
//!    end mark leaves; what became of it is committed before our 250. A task files the copy, or finds it filed, over
//!    restarts. A CRM's own APPEND to Sent goes to the same place, and is the same message there.
//! 5. Our 250 is the provider's 250. If the lane is lost after the end mark, nobody knows whether the message was sent:
//!    the client hears 451, and the log says that it may be sent twice. A client that is gone before it hears 250 is told
//!    at its next try, which is not sent.
//!
//! An account whose mail is queued ([`queue`]) has no lane in steps 1 to 3: the bridge answers by itself, its 250 is said
//! when message and row are on disk, and a task delivers: the row is marked before each end mark, told of each answer
//! before anything else is done, and what failed for good is reported into the account's own INBOX.
//!
//! # When something fails
//! A refused login is answered when its wait is over, which [`rules::guesses`] counts; what lets in never waits. Where
//! tokens of clients go to the provider, a login that is not there hears what the provider told others last, as late.
//! A [`failure::Failure`] says who is at fault; `failure` alone turns it into replies. Our own trouble, and the provider's
//! refusal *of us*, are transient towards the CRM. A relay that ends with a failure says its last words only where the
//! client stands between two answers: half an answer is never completed by words of ours. A panic is a fault of ours that
//! nobody thought of: [`panics`] tells its place, the session's connections close without a word, the others go on.

#![forbid(unsafe_code)]
#![warn(rust_2018_idioms, unreachable_pub, clippy::await_holding_lock)]
// Whatever a peer or a file says, no task may end by it: what can panic needs a reason to be there. A test that fails
// and a fuzzed property that does not hold are panics.
#![cfg_attr(
    not(any(test, feature = "fuzzing")),
    warn(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        clippy::expect_used,
        clippy::get_unwrap,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]
// The pure layers convert by `From` and `TryFrom` alone; above them `as` also makes trait objects.
#![cfg_attr(not(any(test, feature = "bridge", feature = "fuzzing")), warn(clippy::as_conversions))]

pub mod discovery;
pub mod engine;
pub mod failure;
pub mod mistake;
pub mod model;
pub mod oauth;
pub mod profile;
pub mod provider;
pub mod relay;
pub mod rules;
pub mod wire;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

#[cfg(feature = "bridge")]
pub mod app;
#[cfg(any(feature = "bridge", feature = "fuzzing"))]
pub mod config;
#[cfg(feature = "bridge")]
pub mod console;
#[cfg(feature = "bridge")]
pub mod control;
#[cfg(feature = "bridge")]
pub mod demo;
#[cfg(feature = "bridge")]
mod failpoint;
#[cfg(feature = "bridge")]
pub mod filing;
#[cfg(feature = "bridge")]
pub mod listener;
#[cfg(feature = "bridge")]
pub mod local_tls;
#[cfg(feature = "bridge")]
pub mod panics;
#[cfg(all(test, feature = "bridge"))]
mod plant;
#[cfg(feature = "bridge")]
pub mod queue;
#[cfg(feature = "bridge")]
pub mod session;
#[cfg(feature = "bridge")]
pub mod store;
#[cfg(feature = "bridge")]
pub mod telemetry;
#[cfg(feature = "bridge")]
pub mod upstream;
