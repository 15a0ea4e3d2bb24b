//! `passerelle provider …`.

use clap::Subcommand;

const EXAMPLES: &str = "Examples:
  passerelle provider list
  passerelle provider show google
  passerelle provider show ovh-pro --json

A file NAME.toml in a folder `providers/` beside the configuration file, or in
the state directory, replaces the provider of that name or adds one;
config/providers/README.md explains its keys.
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
}
