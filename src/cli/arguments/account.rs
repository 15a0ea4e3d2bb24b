//! `passerelle account …`.

use super::{
    AddressArgument,
    finding::Finding,
    grant::GrantArguments,
    settings::Settings,
    sign_in::{self, AccountSignIn},
    swap::{self, AccountSwap},
};
use clap::{Args, Subcommand};
use passerelle::profile::GENERIC;

const ADD_EXAMPLES: &str = "Examples:
  passerelle account add alice@gmail.com
  passerelle account add sales@example.com
  passerelle account add sales@example.com --provider ovh
  passerelle account add alice@example.org \\
      --imap imap.example.org --smtp smtp.example.org
  passerelle account add bob@example.net \\
      --imap mail.example.net:143 --imap-security starttls \\
      --smtp mail.example.net --smtp-security starttls \\
      --certificates ca=/etc/ssl/example-net.pem \\
      --user bob --password-stdin < password.txt
  passerelle account add dave@outlook.com --device
  passerelle account add crm@example.com --provider microsoft365 --crm-token
  passerelle account add carol@gmail.com --client-id ID \\
      --refresh-token-stdin --client-secret-stdin < token-and-secret.txt

Where a client is registered that opens all mailboxes of the domain (see
`passerelle provider register`), no password is asked for. The provider is
found by the address's domain, or named; its hosts and habits are in a table
(`passerelle provider list`), and what you say wins over it. Of another domain
it is asked where its mail is, as `passerelle provider find` does; hosts outside
the domain are yours to confirm, before the password is asked for.
Both services are signed in to at once, and each step that works is shown.
Nothing is stored unless both let us in. At the end stands what to copy into
the CRM; its password is shown this once.
";
const SET_EXAMPLES: &str = "Examples:
  passerelle account set alice@example.org --password
  passerelle account set alice@example.org --display-name 'Alice Martin' \\
      --sender sales@example.org --alias info@example.org
  passerelle account set alice@example.org --imap imap.example.net
  passerelle account set alice@example.org --smtp-user relay-42
  passerelle account set info@example.com --smtp-delegate alice@example.com
  passerelle account set alice@example.org --send off
  passerelle account set erin@example.com --by-registration
  passerelle account set carol@gmail.com --client-id ID \\
      --refresh-token-stdin --client-secret-stdin < token-and-secret.txt

What changes how the bridge signs in is tried first; nothing is changed unless
the provider lets us in. Logins, their passwords and the folder map stay. A
running `serve` goes by the change within a second.
";
const CHECK_EXAMPLES: &str = "Examples:
  passerelle account check alice@example.org
  passerelle account check alice@example.org --json

Signs in to both services now, and shows each step that works. Ends with 4 if
one of them does not let us in.
";

const REMOVE_EXAMPLES: &str = "Examples:
  passerelle account remove alice@example.org

It asks nothing. Sessions of its CRMs end within a second, and their passwords
are of no use any more; the mail stays where it is, at the provider. Added
again, the account gets new logins.
";

#[derive(Subcommand)]
pub(in crate::cli) enum Account {
    /// Sign in at the provider and, if it lets us in, store the account
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<AccountAdd>),
    /// Sign in at the provider now, and say what works
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The account
        address: AddressArgument,
    },
    /// Move an account to another provider, or back, while its CRMs keep their settings
    #[command(after_help = swap::EXAMPLES)]
    Swap(Box<AccountSwap>),
    /// Show all accounts
    #[command(after_help = "Examples:\n  passerelle account list\n  passerelle account list --json\n")]
    List,
    /// Change the settings of an account, its password too
    #[command(after_help = SET_EXAMPLES)]
    Set(Box<AccountSet>),
    /// Sign in at the provider's own page, for a new account or to make one good again
    #[command(name = "sign-in", after_help = sign_in::EXAMPLES)]
    SignIn(Box<AccountSignIn>),
    /// Show one account, its settings and its logins
    #[command(after_help = "Example:\n  passerelle account show alice@example.org\n")]
    Show {
        /// The account
        address: AddressArgument,
    },
    /// Remove an account, its password and its logins
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// The account
        address: AddressArgument,
    },
}

#[derive(Args)]
pub(in crate::cli) struct AccountAdd {
    /// The mailbox, which is also the first login's name
    pub(in crate::cli) address: AddressArgument,
    /// The user who owns the account [default: admin]
    #[arg(long, value_name = "USER")]
    pub(in crate::cli) owner: Option<String>,
    /// The CRM that will open it: a profile of `passerelle crm list`
    #[arg(long, value_name = "NAME", default_value = GENERIC)]
    pub(in crate::cli) crm: String,
    /// Read the password from the first line of standard input, not from a prompt
    #[arg(long)]
    pub(in crate::cli) password_stdin: bool,
    /// Keep nothing: the CRM shows an access token of its own at each login, at a listener with pass-tokens
    #[arg(long, conflicts_with_all = ["password_stdin", "refresh_token_stdin", "device"])]
    pub(in crate::cli) crm_token: bool,
    #[command(flatten)]
    pub(in crate::cli) finding: Finding,
    #[command(flatten)]
    pub(in crate::cli) grant: GrantArguments,
    #[command(flatten)]
    pub(in crate::cli) settings: Settings,
}

#[derive(Args)]
pub(in crate::cli) struct AccountSet {
    /// The account
    pub(in crate::cli) address: AddressArgument,
    /// Ask for the mailbox's new password
    #[arg(long, conflicts_with = "password_stdin")]
    pub(in crate::cli) password: bool,
    /// Read the mailbox's new password from the first line of standard input
    #[arg(long)]
    pub(in crate::cli) password_stdin: bool,
    /// Sign in by the client that is registered for the domain
    #[arg(long, conflicts_with_all = ["password", "password_stdin", "refresh_token_stdin", "device"])]
    pub(in crate::cli) by_registration: bool,
    /// Keep nothing any more: the CRM shows an access token of its own at each login, at a listener with pass-tokens
    #[arg(long, conflicts_with_all = ["password", "password_stdin", "refresh_token_stdin", "device", "by_registration"])]
    pub(in crate::cli) crm_token: bool,
    /// No longer send as this address; may be repeated
    #[arg(long = "remove-alias", value_name = "ADDRESS")]
    pub(in crate::cli) remove_aliases: Vec<AddressArgument>,
    #[command(flatten)]
    pub(in crate::cli) grant: GrantArguments,
    #[command(flatten)]
    pub(in crate::cli) settings: Settings,
}
