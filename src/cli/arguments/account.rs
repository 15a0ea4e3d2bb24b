//! `passerelle account …`.

use super::AddressArgument;
use clap::{Args, Subcommand, ValueEnum};
use passerelle::model::{Certificates, Endpoint, Pins, Security};

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

#[derive(Subcommand)]
pub(in crate::cli) enum Account {
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
pub(in crate::cli) struct AccountAdd {
    /// The mailbox, which is also the first login's name
    pub(in crate::cli) address: AddressArgument,
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
    /// Which certificates of the provider are believed: verify, ca=FILE, pin=SHA256 of its public key (two with a comma
    /// between where its services have one each), or accept-any (dangerous)
    #[arg(long, value_name = "WHICH", default_value = "verify", value_parser = certificates)]
    pub(in crate::cli) certificates: Certificates,
    /// The user name at the provider [default: the address]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) user: Option<String>,
    /// The user who owns the account [default: admin]
    #[arg(long, value_name = "USER")]
    pub(in crate::cli) owner: Option<String>,
    /// Read the password from the first line of standard input, not from a prompt
    #[arg(long)]
    pub(in crate::cli) password_stdin: bool,
    /// Store the account without signing in
    #[arg(long)]
    pub(in crate::cli) unchecked: bool,
}

impl AccountAdd {
    pub(in crate::cli) fn imap(&self) -> Result<Endpoint, clap::Error> {
        endpoint("--imap", &self.imap, self.imap_security, 993, 143)
    }

    pub(in crate::cli) fn smtp(&self) -> Result<Endpoint, clap::Error> {
        endpoint("--smtp", &self.smtp, self.smtp_security, 465, 587)
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
    if let Some(pins) = text.strip_prefix("pin=") {
        return Pins::parse(pins).map(Certificates::Pin).map_err(|invalid| invalid.to_string());
    }
    let file = text.strip_prefix("ca=").filter(|file| !file.is_empty());
    let file = file.ok_or("expected verify, ca=FILE, pin=SHA256 or accept-any")?;
    // `serve` runs in another directory than this command.
    let path = std::path::absolute(file).map_err(|error| error.to_string())?;
    std::fs::File::open(&path).map_err(|error| format!("cannot read the file: {error}"))?;
    Ok(Certificates::Ca(path))
}
