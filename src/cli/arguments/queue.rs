//! `passerelle queue …`.

use super::AddressArgument;
use clap::Subcommand;

const LIST_EXAMPLES: &str = "Examples:
  passerelle queue list
  passerelle queue list alice@example.org
  passerelle --json queue list

Messages of accounts whose submission is queued (`passerelle account set
alice@example.org --submission queued`). STATE is waiting, marked (the provider
is to answer), uncertain (nobody knows whether it was sent: ask its recipient,
then retry or remove it) or reporting (its sender's report waits for INBOX).
";
const SHOW_EXAMPLES: &str = "Examples:
  passerelle queue show 17
";
const RETRY_EXAMPLES: &str = "Examples:
  passerelle queue retry 17
  passerelle queue retry --all

A message of unknown outcome is sent again where it is named, and may so be
sent twice; --all leaves those alone.
";
const REMOVE_EXAMPLES: &str = "Examples:
  passerelle queue remove 17

Whoever has it already keeps it; its sender gets no report.
";

#[derive(Subcommand)]
pub(in crate::cli) enum QueueCommand {
    /// Show what waits to be delivered, and why
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// The account [default: all]
        address: Option<AddressArgument>,
    },
    /// Show one message, with what was said to each recipient
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its number, as the CRM was told and `queue list` shows
        id: i64,
    },
    /// Try one message now, or all that wait
    #[command(after_help = RETRY_EXAMPLES)]
    Retry {
        /// Its number
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<i64>,
        /// All that wait
        #[arg(long)]
        all: bool,
    },
    /// Take a message out without delivering it
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its number
        id: i64,
    },
}
