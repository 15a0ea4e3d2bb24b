//! The command line: one definition gives parser and help.
//!
//! What an argument may be is said by the types that it becomes; nothing is done here.

use super::exit;
use clap::{Args, Parser, Subcommand, ValueEnum};
use passerelle::model::{Address, Certificates, Endpoint, Invalid, Login, Security};
use std::path::PathBuf;

/// The heading of what every command takes.
const EVERYWHERE: &str = "Options of every command";
const ABOUT: &str = "The mail server on localhost that a legacy CRM talks to, whatever company hosts the mailbox";
const EXAMPLES: &str = "Examples:
  passerelle serve
  passerelle account add alice@example.org \\
      --imap imap.example.org --smtp smtp.example.org
  passerelle login add alice@example.org --label newsletter
  passerelle config check

State is kept in --state DIR, else $PASSERELLE_STATE, else the usual place
(~/.local/state/passerelle; for root /var/lib/passerelle). A running `serve`
sees every change within a second.
";
const ADD_EXAMPLES: &str = "Examples:
  passerelle account add alice@example.org \\
      --imap imap.example.org --smtp smtp.example.org
  passerelle account add bob@example.net \\
      --imap mail.example.net:143 --imap-security starttls \\
      --smtp mail.example.net --smtp-security starttls \\
      --certificates ca=/etc/ssl/example-net.pem \\
      --user bob --password-stdin < password.txt

Both services are signed in to at once, and each step that works is shown.
Nothing is stored unless both let us in. At the end stands what to copy into
the CRM; its password is shown this once.
";

/// The whole command line.
#[derive(Parser)]
#[command(name = "passerelle", version, about = ABOUT, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{}", exit::table()))]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) global: Global,
}

#[derive(Args)]
pub(super) struct Global {
    /// Where accounts, keys and certificates are kept [else: $PASSERELLE_STATE]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// The configuration file; none is needed [else: $PASSERELLE_CONFIG]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Answer as JSON on standard output; errors too, on standard error
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(super) json: bool,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run the bridge until it is stopped
    Serve,
    /// Add, show and remove accounts: mailboxes at providers
    #[command(subcommand)]
    Account(Account),
    /// Add, show and revoke logins: what a CRM signs in with
    #[command(subcommand)]
    Login(LoginCommand),
    /// Show the folders of an account
    #[command(subcommand)]
    Folder(Folder),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(Config),
}

#[derive(Subcommand)]
pub(super) enum Account {
    /// Sign in at the provider and, if it lets us in, store the account
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<AccountAdd>),
    /// Show all accounts
    List,
    /// Show one account and its logins
    Show {
        /// The account
        address: AddressArgument,
    },
    /// Remove an account, its password and its logins
    Remove {
        /// The account
        address: AddressArgument,
    },
}

#[derive(Args)]
pub(super) struct AccountAdd {
    /// The mailbox, which is also the first login's name
    pub(super) address: AddressArgument,
    /// The provider's IMAP server [port: 993, or 143 without tls]
    #[arg(long, value_name = "HOST[:PORT]")]
    imap: String,
    /// The provider's submission server [port: 465, or 587 without tls]
    #[arg(long, value_name = "HOST[:PORT]")]
    smtp: String,
    /// How the connection to the IMAP server is encrypted
    #[arg(long, value_name = "HOW", default_value = "tls")]
    imap_security: SecurityArgument,
    /// How the connection to the submission server is encrypted
    #[arg(long, value_name = "HOW", default_value = "tls")]
    smtp_security: SecurityArgument,
    /// Which certificates of the provider are believed: verify, ca=FILE, or accept-any (dangerous)
    #[arg(long, value_name = "WHICH", default_value = "verify", value_parser = certificates)]
    pub(super) certificates: Certificates,
    /// The user name at the provider [default: the address]
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// The user who owns the account [default: admin]
    #[arg(long, value_name = "USER")]
    pub(super) owner: Option<String>,
    /// Read the password from the first line of standard input, not from a prompt
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// Store the account without signing in
    #[arg(long)]
    pub(super) unchecked: bool,
}

impl AccountAdd {
    pub(super) fn imap(&self) -> Result<Endpoint, clap::Error> {
        endpoint("--imap", &self.imap, self.imap_security, 993, 143)
    }

    pub(super) fn smtp(&self) -> Result<Endpoint, clap::Error> {
        endpoint("--smtp", &self.smtp, self.smtp_security, 465, 587)
    }
}

#[derive(Subcommand)]
pub(super) enum LoginCommand {
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

#[derive(Subcommand)]
pub(super) enum Folder {
    /// Sign in and show each folder under the CRM's and the provider's name
    List {
        /// The account
        address: AddressArgument,
    },
}

#[derive(Subcommand)]
pub(super) enum Config {
    /// Say whether the configuration is good, and if not where it is wrong
    Check,
    /// Print every key with its value
    Show,
}

/// An address as an argument.
#[derive(Clone)]
pub(super) struct AddressArgument(pub(super) Address);

impl std::str::FromStr for AddressArgument {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Address::parse(text).map(Self)
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum SecurityArgument {
    /// TLS from the first octet
    Tls,
    /// Upgraded to TLS before anything is said
    Starttls,
    /// Not encrypted: only for a provider on this machine or a trusted wire
    None,
}

fn endpoint(
    flag: &str,
    text: &str,
    security: SecurityArgument,
    tls_port: u16,
    clear_port: u16,
) -> Result<Endpoint, clap::Error> {
    let (security, port) = match security {
        SecurityArgument::Tls => (Security::Tls, tls_port),
        SecurityArgument::Starttls => (Security::Starttls, clear_port),
        SecurityArgument::None => (Security::None, clear_port),
    };
    Endpoint::parse(text, security, port).map_err(|invalid| {
        let message = format!("invalid value for '{flag} <HOST[:PORT]>': {invalid}: {text}\n");
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, message)
    })
}

fn certificates(text: &str) -> Result<Certificates, String> {
    match text {
        "verify" => return Ok(Certificates::Verify),
        "accept-any" => return Ok(Certificates::AcceptAny),
        _ => {}
    }
    let file = text.strip_prefix("ca=").filter(|file| !file.is_empty());
    let file = file.ok_or("expected verify, ca=FILE or accept-any")?;
    // `serve` runs in another directory than this command.
    let path = std::path::absolute(file).map_err(|error| error.to_string())?;
    std::fs::File::open(&path).map_err(|error| format!("cannot read the file: {error}"))?;
    Ok(Certificates::Ca(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds() {
        Arguments::command().debug_assert();
    }
}
