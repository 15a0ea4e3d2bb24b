//! `passerelle provider …`.

use super::AddressArgument;
use clap::{Args, Subcommand, ValueEnum};
use passerelle::store::ForWhom;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  passerelle provider list
  passerelle provider show google
  passerelle provider show ovh-pro --json

A file NAME.toml in a folder `providers/` beside the configuration file, or in
the state directory, replaces the provider of that name or adds one;
config/providers/README.md explains its keys.
";
const FIND_EXAMPLES: &str = "Examples:
  passerelle provider find sales@example.com
  passerelle provider find sales@example.com --explain
  passerelle provider find sales@example.com --json

It asks who takes in the domain's mail, Mozilla's autoconfiguration, the
domain's SRV records, Microsoft Autodiscover, and at last hosts of the usual
names, until both services are known. No password is sent to anybody, and
nothing is kept. [discovery] in the configuration says who is asked.
";
const REGISTER_EXAMPLES: &str = "Examples:
  passerelle provider register google
  passerelle provider register google --client-id ID \\
      --secret-stdin < secret.txt
  passerelle provider register google --service-account key.json \\
      --domain example.com
  passerelle provider register microsoft365 --client-id ID
  passerelle provider register microsoft365 --for tenant
  passerelle provider register microsoft365 --for tenant \\
      --tenant example.com --domain example.com --client-id ID \\
      --certificate client.pem --key client.key

Without an id it prints what to enter on the provider's page, ready to be
copied, and keeps nothing. With one it keeps the client: its secret or key is
sealed into the store, and files that held it can be deleted. Given again, a
new secret takes the place of the old one for all accounts.
";
const REGISTRATIONS_EXAMPLES: &str = "Examples:
  passerelle provider registrations
  passerelle provider registrations --json

No secret is shown.
";
const UNREGISTER_EXAMPLES: &str = "Examples:
  passerelle provider unregister google
  passerelle provider unregister microsoft365 --for tenant --tenant example.com

At the provider the client stays as it is: delete it on its page.
";

#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) enum ProviderCommand {
    /// Show all providers that are known
    #[command(after_help = EXAMPLES)]
    List,
    /// Show all that is known of one, and from where
    #[command(after_help = EXAMPLES)]
    Show {
        /// The provider, as `list` names it
        name: String,
    },
    /// Find out where the mail of an address is, and from whom that is known
    #[command(after_help = FIND_EXAMPLES)]
    Find {
        /// The mailbox
        address: AddressArgument,
        /// Show who was asked, and what each answered
        #[arg(long)]
        explain: bool,
    },
    /// Say how a client (application) is registered there, and keep it
    #[command(after_help = REGISTER_EXAMPLES)]
    Register(Box<ProviderRegister>),
    /// Show all clients that are kept
    #[command(after_help = REGISTRATIONS_EXAMPLES)]
    Registrations,
    /// Forget a client that no account needs
    #[command(after_help = UNREGISTER_EXAMPLES)]
    Unregister {
        /// The provider, as `list` names it
        name: String,
        /// Of this kind
        #[arg(long = "for", value_name = "WHOM")]
        whom: Option<Whom>,
        /// Of this tenant
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
}

#[derive(Args)]
pub(in crate::cli) struct ProviderRegister {
    /// The provider, as `list` names it
    pub(in crate::cli) name: String,
    /// For whom the client asks [default: consent; with --service-account: domain]
    #[arg(long = "for", value_name = "WHOM")]
    whom: Option<Whom>,
    /// The directory tenant: its id or domain, for a provider that has tenants
    #[arg(long, value_name = "NAME", value_parser = super::grant::tenant, conflicts_with = "service_account")]
    pub(in crate::cli) tenant: Option<String>,
    /// A domain whose mailboxes it opens by itself; may be repeated, and each time all are said
    #[arg(long = "domain", value_name = "DOMAIN")]
    pub(in crate::cli) domains: Vec<String>,
    /// The client's id, as the provider shows it
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) client_id: Option<String>,
    /// Read the client's secret from the first line of standard input
    #[arg(long, requires = "client_id", conflicts_with = "certificate")]
    pub(in crate::cli) secret_stdin: bool,
    /// The certificate that was uploaded for the client, in PEM, in the place of a secret
    #[arg(long, value_name = "FILE", requires_all = ["client_id", "key"])]
    pub(in crate::cli) certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(in crate::cli) key: Option<PathBuf>,
    /// The key file of a service account, in JSON
    #[arg(long, value_name = "FILE", conflicts_with = "client_id")]
    pub(in crate::cli) service_account: Option<PathBuf>,
    /// Keep it without asking the provider for a token
    #[arg(long)]
    pub(in crate::cli) unchecked: bool,
}

/// For whom a registered client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Whom {
    /// People who sign in, each for their own mailbox
    Consent,
    /// All mailboxes of a tenant, by the client's own right
    Tenant,
    /// All users of a domain, by a service account's right
    Domain,
}

impl From<Whom> for ForWhom {
    fn from(whom: Whom) -> Self {
        match whom {
            Whom::Consent => Self::Consenting,
            Whom::Tenant => Self::Tenant,
            Whom::Domain => Self::Domain,
        }
    }
}

impl ProviderRegister {
    pub(in crate::cli) fn for_whom(&self) -> ForWhom {
        let usual = if self.service_account.is_some() { Whom::Domain } else { Whom::Consent };
        self.whom.unwrap_or(usual).into()
    }
}
