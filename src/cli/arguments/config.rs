//! `passerelle config …`.

use clap::Subcommand;

#[derive(Subcommand)]
pub(in crate::cli) enum Config {
    /// Say whether the configuration is good, and if not where it is wrong
    #[command(after_help = "Examples:\n  passerelle config check\n  passerelle config check --config ./new.toml\n")]
    Check,
    /// Print every key with its value
    #[command(after_help = "Examples:\n  passerelle config show\n  passerelle config show --json\n")]
    Show,
}
