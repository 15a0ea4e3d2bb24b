//! How the provider of a new account is found, where neither its domain nor a person tells.

use clap::Args;
use passerelle::model::{Host, Invalid};

/// The heading of how a provider is found.
const FINDING: &str = "If the provider is not known";

#[derive(Args)]
pub(in crate::cli) struct Finding {
    /// Show who was asked where the mailbox is, and what each answered
    #[arg(long, help_heading = FINDING)]
    pub(in crate::cli) explain: bool,
    /// Confirm a host outside the address's domain; may be repeated
    #[arg(long = "accept-host", value_name = "HOST", value_parser = host, help_heading = FINDING)]
    pub(in crate::cli) accept_hosts: Vec<Host>,
}

fn host(text: &str) -> Result<Host, Invalid> {
    Host::parse(text)
}
