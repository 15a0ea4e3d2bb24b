//! `passerelle account swap`.

use super::{AddressArgument, grant::GrantArguments, settings::AtProvider};
use clap::Args;
use passerelle::control::swap::BACK_DAYS;

pub(super) const EXAMPLES: &str = "Examples:
  passerelle account swap sales@example.com --provider google
  passerelle account swap sales@example.com --provider generic \\
      --imap mail.example.net --smtp mail.example.net \\
      --user sales --password-stdin --yes < password.txt
  passerelle account swap sales@example.com --back

The new place is signed in to first, and what becomes of each folder is shown;
nothing is changed before you have said yes. CRMs keep their login, password,
ports and folder names, and fetch all mail anew. Mail is not copied.
";

#[derive(Args)]
pub(in crate::cli) struct AccountSwap {
    /// The account
    pub(in crate::cli) address: AddressArgument,
    /// The mailbox's address there, if it is another one; the old one may still be sent as
    #[arg(long = "address", value_name = "ADDRESS")]
    pub(in crate::cli) new_address: Option<AddressArgument>,
    /// Back to where it was before the last swap
    #[arg(long, conflicts_with_all = ["AtProvider", "GrantArguments", "new_address", "password_stdin"])]
    pub(in crate::cli) back: bool,
    #[command(flatten)]
    pub(in crate::cli) at: AtProvider,
    /// Read the password from the first line of standard input, not from a prompt
    #[arg(long)]
    pub(in crate::cli) password_stdin: bool,
    #[command(flatten)]
    pub(in crate::cli) grant: GrantArguments,
    /// Do not ask before switching
    #[arg(long)]
    pub(in crate::cli) yes: bool,
    /// For how many days the swap can be undone
    #[arg(long, value_name = "DAYS", default_value_t = BACK_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(in crate::cli) back_days: u32,
}
