//! The command line: one definition gives parser and help.
//!
//! A file a noun. What an argument may be is said by the types that it becomes; nothing is done here.

mod account;
mod config;
mod crm;
mod demo;
mod finding;
mod folder;
mod grant;
mod import;
mod login;
mod provider;
mod queue;
mod settings;
mod sign_in;
mod swap;

pub(super) use account::{Account, AccountAdd, AccountSet};
pub(super) use config::Config;
pub(super) use crm::CrmCommand;
pub(super) use demo::Demo;
pub(super) use finding::Finding;
pub(super) use folder::{Folder, FolderMapping};
pub(super) use grant::GrantArguments;
pub(super) use import::ImportCommand;
pub(super) use login::LoginCommand;
pub(super) use provider::{ProviderCommand, ProviderRegister};
pub(super) use queue::QueueCommand;
pub(super) use settings::{AtProvider, Settings};
pub(super) use sign_in::AccountSignIn;
pub(super) use swap::AccountSwap;

use super::exit;
use clap::{Args, Parser, Subcommand};
use passerelle::model::{Address, Invalid};
use std::path::PathBuf;

/// The heading of what every command takes.
const EVERYWHERE: &str = "Options of every command";
const ABOUT: &str = "The mail server on localhost that a legacy CRM talks to, whatever company hosts the mailbox";
const EXAMPLES: &str = "Examples:
  passerelle demo
  passerelle serve
  passerelle account add alice@gmail.com
  passerelle account check alice@gmail.com
  passerelle login add alice@gmail.com --label newsletter
  passerelle config check

State is kept in --state DIR, else $PASSERELLE_STATE, else the usual place
(~/.local/state/passerelle; for root /var/lib/passerelle). A running `serve`
sees every change within a second.
";
const SERVE_EXAMPLES: &str = "Examples:
  passerelle serve
  passerelle serve --config /etc/passerelle/passerelle.toml \\
      --state /var/lib/passerelle

It stays in the foreground and logs to standard error; Ctrl-C or SIGTERM lets
sessions end, then stops it. It listens where `passerelle config show` says,
and takes those of the sockets from systemd (passerelle.socket). Other
commands work beside it, and it sees each change within a second.
";

const DOCTOR_EXAMPLES: &str = "Examples:
  passerelle doctor
  passerelle doctor sales@example.com
  passerelle doctor --json

It stops at nothing: configuration, state directory and key, the running bridge
and its ports, then for each account the grant, an access token, names, TLS,
sign-ins and special folders. What a provider says is explained where it is
known. The exit code is 0, 8 (warnings) or 9 (problems).";
const LIMITS_EXAMPLES: &str = "Examples:
  passerelle limits
  passerelle limits --json
  sudo -u passerelle passerelle limits --state /var/lib/passerelle

Each limit and time-out is told with its value, where it is set and what it is
for: the configuration ([limits], [timeouts]), a provider's file, a CRM
profile's, or built in. IN USE is what a `serve` of the same state has in use;
of what counts by account, the most that one has.
";

/// The whole command line.
#[derive(Parser)]
#[command(name = "passerelle", version, about = ABOUT, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{}", exit::table()))]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    pub(in crate::cli) command: Command,
    #[command(flatten)]
    pub(in crate::cli) global: Global,
}

#[derive(Args)]
pub(in crate::cli) struct Global {
    /// Where accounts, keys and certificates are kept [else: $PASSERELLE_STATE]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub(in crate::cli) state: Option<PathBuf>,
    /// The configuration file; none is needed [else: $PASSERELLE_CONFIG]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Answer as JSON on standard output; errors too, on standard error
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(in crate::cli) json: bool,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Run the bridge until it is stopped
    #[command(after_help = SERVE_EXAMPLES)]
    Serve,
    /// Show the whole job on this machine, without any account
    #[command(after_help = demo::EXAMPLES)]
    Demo(Demo),
    /// Add, show, change, check and remove accounts: mailboxes at providers
    #[command(subcommand)]
    Account(Account),
    /// Add, show, change and revoke logins: what a CRM signs in with
    #[command(subcommand)]
    Login(LoginCommand),
    /// Take over the accounts of another program
    #[command(subcommand)]
    Import(ImportCommand),
    /// Show the folders of an account; map and hide them
    #[command(subcommand)]
    Folder(Folder),
    /// Show what waits to be delivered; try it now, or take it out
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Show what is known of mail providers, and register clients with them
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// Show CRM profiles, and what to copy into a CRM
    #[command(subcommand)]
    Crm(CrmCommand),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Look at everything, or at one account, and say what is wrong and what to do
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor {
        /// The mailbox [default: all]
        address: Option<AddressArgument>,
    },
    /// Show every limit and time-out, and what is in use now
    #[command(after_help = LIMITS_EXAMPLES)]
    Limits,
}

/// An address as an argument.
#[derive(Clone)]
pub(in crate::cli) struct AddressArgument(pub(in crate::cli) Address);

impl std::str::FromStr for AddressArgument {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Address::parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_tokens_alone_stand_under_their_heading() {
        let mut command = Arguments::command();
        command.build();
        let account = command.find_subcommand("account").expect("there is one");
        for name in ["add", "set", "swap"] {
            let options = account.find_subcommand(name).expect("there is one").get_arguments();
            let under = options.filter(|option| option.get_help_heading().is_some_and(|text| text.contains("tokens")));
            assert_eq!(under.map(|option| option.get_id().as_str()).collect::<Vec<_>>().len(), 6, "{name}");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn walk(command: &clap::Command, path: &str) -> usize {
            if command.has_subcommands() {
                return command.get_subcommands().map(|sub| walk(sub, &format!("{path} {}", sub.get_name()))).sum();
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example") && help.contains(&format!("\n  {path}")), "{path}: {help}");
            1
        }
        assert!(walk(&Arguments::command(), "passerelle") > 20);
    }
}
