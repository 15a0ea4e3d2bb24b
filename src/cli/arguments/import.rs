//! `passerelle import …`.

use super::settings;
use clap::Subcommand;
use passerelle::{model::Certificates, profile::GENERIC};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  passerelle import email-oauth2-proxy emailproxy.config --dry-run
  passerelle import email-oauth2-proxy emailproxy.config
  passerelle import email-oauth2-proxy emailproxy.config --json \\
      --password-stdin < passwords.txt

Its tokens are sealed with the password that mail programs use there: it is
asked for, or each line of standard input is one, and every account is opened
by the one that fits. Each account signs in at its provider and is stored whole
or not at all; what does not come over is listed with its reason, and then the
exit code is 8. Run it again with other passwords: accounts that are here stay
as they are. The file is not changed.
";

#[derive(Subcommand)]
pub(in crate::cli) enum ImportCommand {
    /// Take over the accounts of email-oauth2-proxy, with their sign-ins
    #[command(name = "email-oauth2-proxy", after_help = EXAMPLES)]
    EmailOauth2Proxy {
        /// Its configuration, with the tokens in it: emailproxy.config
        file: PathBuf,
        /// Read the passwords from standard input, one a line, not from a prompt
        #[arg(long)]
        password_stdin: bool,
        /// The CRM that will open the accounts: a profile of `passerelle crm list`
        #[arg(long, value_name = "NAME", default_value = GENERIC)]
        crm: String,
        /// Which certificates of the providers are believed: verify, ca=FILE or pin=SHA256
        #[arg(long, value_name = "WHICH", value_parser = settings::certificates)]
        certificates: Option<Certificates>,
        /// Say what would become of each section; ask no provider and store nothing
        #[arg(long)]
        dry_run: bool,
    },
}
