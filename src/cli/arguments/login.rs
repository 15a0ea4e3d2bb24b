//! `passerelle login …`.

use super::AddressArgument;
use clap::Subcommand;
use passerelle::{model::Login, profile::GENERIC};

#[derive(Subcommand)]
pub(in crate::cli) enum LoginCommand {
    /// Make another login for an account, with a password that is shown this once
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
    List {
        /// The account; not needed where there is only one
        address: Option<AddressArgument>,
    },
    /// Refuse a login from now on
    Revoke {
        /// The login
        #[arg(value_parser = Login::parse)]
        name: Login,
    },
}
