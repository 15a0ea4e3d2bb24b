//! `passerelle folder …`.

use super::AddressArgument;
use clap::{Args, Subcommand};

const LIST_EXAMPLES: &str = "Examples:
  passerelle folder list alice@example.org
  passerelle --json folder list alice@example.org

Names are shown as people read them. In the column STATE stands what was
mapped, and what no CRM sees.
";
const MAP_EXAMPLES: &str = "Examples:
  passerelle folder map alice@example.org Archives 'INBOX.Clients.Ancien'
  passerelle folder map alice@example.org Sent '[Gmail]/Messages envoyés'

The first gives a folder a name of its own; what is below it goes with it.
The second says which folder is Sent: use the names Sent, Drafts, Trash and
Junk, or what the account's CRM calls them. Sessions of CRMs are ended by the
change and see it when they connect again.
";
const UNMAP_EXAMPLES: &str = "Examples:
  passerelle folder unmap alice@example.org Archives
";
const HIDE_EXAMPLES: &str = "Examples:
  passerelle folder hide alice@example.org Calendrier
  passerelle folder hide alice@example.org '[Gmail]/Tous les messages'

What is below it is hidden, too, but for what is mapped.
";
const SHOW_EXAMPLES: &str = "Examples:
  passerelle folder show alice@example.org Calendrier
";

#[derive(Subcommand)]
pub(in crate::cli) enum Folder {
    /// Sign in and show each folder under the CRM's and the provider's name
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// The account
        address: AddressArgument,
        /// Names as this CRM has them [else: the CRM of the account's oldest login]
        #[arg(long, value_name = "NAME")]
        crm: Option<String>,
    },
    /// Give a folder of the provider a name of its own, or a role
    #[command(after_help = MAP_EXAMPLES)]
    Map(FolderMapping),
    /// Take that name away again
    #[command(after_help = UNMAP_EXAMPLES)]
    Unmap {
        /// The account
        address: AddressArgument,
        /// What CRMs see it as
        local: String,
        /// Names as this CRM has them [else: the CRM of the account's oldest login]
        #[arg(long, value_name = "NAME")]
        crm: Option<String>,
    },
    /// Hide a folder and what is below it from CRMs
    #[command(after_help = HIDE_EXAMPLES)]
    Hide {
        /// The account
        address: AddressArgument,
        /// What CRMs see it as, or what the provider calls it
        folder: String,
        /// Take it for the provider's name, without signing in
        #[arg(long)]
        unchecked: bool,
        /// Names as this CRM has them [else: the CRM of the account's oldest login]
        #[arg(long, value_name = "NAME")]
        crm: Option<String>,
    },
    /// Show a hidden folder again
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The account
        address: AddressArgument,
        /// What the provider calls it, or the end of that
        folder: String,
    },
}

#[derive(Args)]
pub(in crate::cli) struct FolderMapping {
    /// The account
    pub(in crate::cli) address: AddressArgument,
    /// What CRMs are to see it as, levels separated by `/`
    pub(in crate::cli) local: String,
    /// What the provider calls it, as `folder list` shows it
    pub(in crate::cli) remote: String,
    /// Do not sign in to see whether the folder is there
    #[arg(long)]
    pub(in crate::cli) unchecked: bool,
    /// Names as this CRM has them [else: the CRM of the account's oldest login]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) crm: Option<String>,
}
