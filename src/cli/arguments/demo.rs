//! `passerelle demo`.

use clap::Args;

pub(super) const EXAMPLES: &str = "Examples:
  passerelle demo
  passerelle demo --stay
  passerelle demo --json

It needs no account, no configuration, no root and no network, and keeps
nothing: two demo providers, the bridge and a CRM run in this one process, on
free ports of 127.0.0.1, over a folder that is removed at the end. It fails
where a step does not work, and says which.
";

#[derive(Args)]
pub(in crate::cli) struct Demo {
    /// Keep all of it up until Ctrl-C, and say how a CRM and `curl` reach it
    #[arg(long)]
    pub(in crate::cli) stay: bool,
}
