//! `passerelle crm …`.

use super::AddressArgument;
use clap::Subcommand;

const SETTINGS_EXAMPLES: &str = "Examples:
  passerelle crm settings alice@example.org --crm suitecrm
  passerelle crm settings alice@example.org --crm vtiger --json

The ports are those of the [[crm]] listeners of this CRM in the configuration,
else the usual ones. The password is not among the settings: it was shown when
the login was made.
";

#[derive(Subcommand)]
pub(in crate::cli) enum CrmCommand {
    /// Show all CRM profiles that are known
    #[command(after_help = "Example:\n  passerelle crm list\n")]
    List,
    /// Show what one CRM needs, each with its source
    #[command(after_help = "Example:\n  passerelle crm show vtiger\n")]
    Show {
        /// A name of `passerelle crm list`
        name: String,
    },
    /// Print what to copy into a CRM, in its own words
    #[command(after_help = SETTINGS_EXAMPLES)]
    Settings {
        /// The account
        address: AddressArgument,
        /// A name of `passerelle crm list`
        #[arg(long, value_name = "NAME")]
        crm: String,
    },
}
