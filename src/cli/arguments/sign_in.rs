//! The options of `account sign-in`.

use super::{AddressArgument, Finding, Settings, grant};
use clap::Args;
use passerelle::{model::Address, oauth::TokenEndpoint, profile::GENERIC};

pub(super) const EXAMPLES: &str = "Examples:
  passerelle account sign-in alice@gmail.com
  passerelle account sign-in alice@gmail.com --paste
  passerelle account sign-in alice@gmail.com --paste --json
  passerelle account sign-in alice@gmail.com --answer-stdin < address.txt
  passerelle account sign-in alice@gmail.com --link
  passerelle account sign-in dave@outlook.com --device
  passerelle account sign-in alice@example.org --issuer https://id.example.org \\
      --imap imap.example.org --smtp smtp.example.org --client-id bridge \\
      --scope 'openid offline_access mail'

A new account is added as by `account add`; one that is there already becomes
good again, and its CRMs notice nothing. It prints an address to open in a
browser of this machine, and waits for the sign-in; a running `serve` answers
the browser, else this command does.

On a server without a browser: --paste prints an address to open anywhere. Its
last page may not load: paste the address that the browser then shows. With
--json it ends after printing, and --answer-stdin takes the address within ten
minutes. --link prints a link for who signs in, good once and for a day; it
begins with console.public-url where one is set. An account that is new has no
login then: `passerelle login add ADDRESS` makes one.

--device shows a code, which is typed or scanned on any device with a browser,
by whoever signs in; Google gives none for mail. The client is the one of
`passerelle provider register`, or of --client-id.

Who signs in is the mailbox's owner, or the delegate of a shared mailbox that
--smtp-delegate names, or whom --as names.
";

/// The heading of how the person signs in.
const WAY: &str = "How its owner or delegate signs in";

#[derive(Args)]
pub(in crate::cli) struct AccountSignIn {
    /// The mailbox
    pub(in crate::cli) address: AddressArgument,
    /// Print an address to open anywhere, and take the one where it ends
    #[arg(long, conflicts_with_all = ["link", "answer_stdin"], help_heading = WAY)]
    pub(in crate::cli) paste: bool,
    /// Show a code to sign in with on another device, for an account that is there
    #[arg(long, conflicts_with_all = ["paste", "link", "answer_stdin"], help_heading = WAY)]
    pub(in crate::cli) device: bool,
    /// Read the address where a sign-in ended that `--paste --json` began
    #[arg(long, conflicts_with = "link", help_heading = WAY)]
    pub(in crate::cli) answer_stdin: bool,
    /// Print a link for who signs in, and do not wait
    #[arg(long, help_heading = WAY)]
    pub(in crate::cli) link: bool,
    /// Somebody else signs in, who may open this mailbox [default: its delegate, or who did so before]
    #[arg(long = "as", value_name = "ADDRESS", help_heading = WAY)]
    pub(in crate::cli) person: Option<AddressArgument>,
    /// An authorization server that describes itself, where no provider's entry does
    #[arg(long, value_name = "URL", value_parser = grant::token_endpoint, help_heading = WAY)]
    pub(in crate::cli) issuer: Option<TokenEndpoint>,
    /// The client (application) to sign in by [default: the one registered at the provider]
    #[arg(long, value_name = "ID", help_heading = WAY)]
    pub(in crate::cli) client_id: Option<String>,
    /// Read that client's secret from the first line of standard input
    #[arg(long, requires = "client_id", help_heading = WAY)]
    pub(in crate::cli) client_secret_stdin: bool,
    /// What is asked for [default: what the provider's entry says]
    #[arg(long, value_name = "SCOPES", help_heading = WAY)]
    pub(in crate::cli) scope: Option<String>,
    /// The directory tenant, for a provider that has tenants [default: what the provider's entry says]
    #[arg(long, value_name = "NAME", conflicts_with = "issuer", value_parser = grant::tenant, help_heading = WAY)]
    pub(in crate::cli) tenant: Option<String>,
    /// The user who owns a new account [default: admin]
    #[arg(long, value_name = "USER")]
    pub(in crate::cli) owner: Option<String>,
    /// The CRM that will open a new account: a profile of `passerelle crm list`
    #[arg(long, value_name = "NAME", default_value = GENERIC)]
    pub(in crate::cli) crm: String,
    #[command(flatten)]
    pub(in crate::cli) finding: Finding,
    #[command(flatten)]
    pub(in crate::cli) settings: Settings,
}

impl AccountSignIn {
    pub(in crate::cli) fn address(&self) -> &Address {
        &self.address.0
    }
}
