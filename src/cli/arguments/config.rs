//! `passerelle config …`.

use clap::Subcommand;

#[derive(Subcommand)]
pub(in crate::cli) enum Config {
    /// Say whether the configuration is good, and if not where it is wrong
    Check,
    /// Print every key with its value
    Show,
}
