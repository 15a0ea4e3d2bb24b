//! `passerelle login …`.

use super::AddressArgument;
use clap::Subcommand;
use passerelle::{model::Login, profile::GENERIC};

const ADD_EXAMPLES: &str = "Examples:
  passerelle login add alice@example.org --label newsletter
  passerelle login add alice@example.org --label suite --crm suitecrm
  passerelle login add --name vtiger --crm vtiger

Its password is made by the bridge and shown this once; it opens the mailbox
for this one program, and can be taken back alone.
";
const LIST_EXAMPLES: &str = "Examples:
  passerelle login list alice@example.org
  passerelle login list alice@example.org --json

Revoked logins are shown, too.
";
const SET_EXAMPLES: &str = "Examples:
  passerelle login set alice+suite@example.org --crm suitecrm
  passerelle login set vtiger --crm vtiger --json

The profile says which folder names the CRM sees, what is offered to it and
what becomes of a sender that is not the account's. Sessions of the account
are ended by the change, and go by it when they connect again. A CRM with
listeners of its own ([[crm]] in the configuration) is told their ports by
`passerelle crm settings`.
";
const REVOKE_EXAMPLES: &str = "Examples:
  passerelle login revoke alice+newsletter@example.org

What the login has open ends within seconds. Its name is free again.
";

#[derive(Subcommand)]
pub(in crate::cli) enum LoginCommand {
    /// Make another login for an account, with a password that is shown this once
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// The account; not needed where there is only one
        address: Option<AddressArgument>,
        /// The login's name as it is
        #[arg(long, value_name = "NAME", value_parser = Login::parse, conflicts_with = "label")]
        name: Option<Login>,
        /// What it is for: the name becomes local+LABEL@domain
        #[arg(long, value_name = "LABEL")]
        label: Option<String>,
        /// The CRM that will use it: a profile of `passerelle crm list`
        #[arg(long, value_name = "NAME", default_value = GENERIC)]
        crm: String,
    },
    /// Show the logins of an account
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// The account; not needed where there is only one
        address: Option<AddressArgument>,
    },
    /// Give a login the profile of another CRM; its password stays
    #[command(after_help = SET_EXAMPLES)]
    Set {
        /// The login
        #[arg(value_name = "LOGIN", value_parser = Login::parse)]
        name: Login,
        /// The CRM that uses it: a profile of `passerelle crm list`
        #[arg(long, value_name = "NAME")]
        crm: String,
    },
    /// Refuse a login from now on
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// The login
        #[arg(value_name = "LOGIN", value_parser = Login::parse)]
        name: Login,
    },
}
