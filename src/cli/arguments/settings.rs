//! The settings of an account, as `account add` and `account set` both take them.

use super::AddressArgument;
use clap::{Args, ValueEnum};
use passerelle::{
    control::{provider::Whereabouts, settings::User},
    model::{
        Certificates, Endpoint, FromPolicy, Invalid, Pins, Security, SentCopy, SmtpAuth, Submission, Uncertain,
        UnreadScope, UserFormat,
    },
};

/// The heading of where and how the bridge signs in.
const PROVIDER: &str = "At the provider";
/// The heading of what a CRM is allowed and told.
const CRM: &str = "Towards the CRM";

/// Where the mailbox is.
#[derive(Args)]
pub(in crate::cli) struct AtProvider {
    /// The provider, as `provider list` names it [default: by the address's domain]
    #[arg(long, value_name = "NAME", help_heading = PROVIDER)]
    pub(in crate::cli) provider: Option<String>,
    /// The IMAP server, where the provider's is another or not known
    #[arg(long, value_name = "HOST[:PORT]", help_heading = PROVIDER)]
    imap: Option<HostPort>,
    /// The submission server, where the provider's is another or not known
    #[arg(long, value_name = "HOST[:PORT]", help_heading = PROVIDER)]
    smtp: Option<HostPort>,
    /// How the connection to the IMAP server is encrypted
    #[arg(long, value_name = "HOW", help_heading = PROVIDER)]
    imap_security: Option<SecurityArgument>,
    /// How the connection to the submission server is encrypted
    #[arg(long, value_name = "HOW", help_heading = PROVIDER)]
    smtp_security: Option<SecurityArgument>,
    /// Which certificates of the provider are believed: verify, ca=FILE, pin=SHA256 of its public key (two with a comma
    /// between where its services have one each), or accept-any (dangerous)
    #[arg(long, value_name = "WHICH", value_parser = certificates, help_heading = PROVIDER)]
    pub(in crate::cli) certificates: Option<Certificates>,
    /// The user name at the provider is this
    #[arg(long, value_name = "NAME", conflicts_with = "user_format", help_heading = PROVIDER)]
    user: Option<String>,
    /// The user name at the provider comes from the address
    #[arg(long, value_name = "HOW", help_heading = PROVIDER)]
    user_format: Option<UserFormatArgument>,
}

#[derive(Args)]
pub(in crate::cli) struct Settings {
    #[command(flatten)]
    pub(in crate::cli) at: AtProvider,
    /// Sign in to the submission server as to IMAP, or not at all
    #[arg(long, value_name = "HOW", conflicts_with = "smtp_user", help_heading = PROVIDER)]
    smtp_auth: Option<SmtpAuthArgument>,
    /// Sign in to the submission server as this user, with a password of its own
    #[arg(long, value_name = "NAME", help_heading = PROVIDER)]
    pub(in crate::cli) smtp_user: Option<String>,
    /// Sign in to the submission server as this user, with what opens the mailbox: for a shared mailbox its delegate
    #[arg(long, value_name = "NAME", conflicts_with_all = ["smtp_user", "smtp_auth"], help_heading = PROVIDER)]
    smtp_delegate: Option<String>,
    /// Read the password for --smtp-user from the next line of standard input, not from a prompt
    #[arg(long, requires = "smtp_user", help_heading = PROVIDER)]
    pub(in crate::cli) smtp_password_stdin: bool,
    /// The name that people see beside the address
    #[arg(long, value_name = "NAME", help_heading = CRM)]
    pub(in crate::cli) display_name: Option<String>,
    /// The address to send as [default: the account's]
    #[arg(long, value_name = "ADDRESS", help_heading = CRM)]
    pub(in crate::cli) sender: Option<AddressArgument>,
    /// Another address that the account may send as; may be repeated
    #[arg(long = "alias", value_name = "ADDRESS", help_heading = CRM)]
    pub(in crate::cli) aliases: Vec<AddressArgument>,
    /// What becomes of the From of a message [default: check]
    #[arg(long, value_name = "HOW", help_heading = CRM)]
    from: Option<FromArgument>,
    /// Whether the bridge puts a copy of what is sent into Sent [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = CRM)]
    sent_copy: Option<SentCopyArgument>,
    /// When the CRM hears that its message is taken [default: direct]
    #[arg(long, value_name = "HOW", help_heading = CRM)]
    submission: Option<SubmissionArgument>,
    /// What becomes of a queued message that the provider got and never answered [default: hold]
    #[arg(long, value_name = "HOW", help_heading = CRM)]
    uncertain: Option<UncertainArgument>,
    /// Whether CRMs may read the mailbox [default: on]
    #[arg(long, value_name = "SWITCH", help_heading = CRM)]
    receive: Option<Switch>,
    /// Whether CRMs may send [default: on]
    #[arg(long, value_name = "SWITCH", help_heading = CRM)]
    send: Option<Switch>,
    /// Of which folders unread mail is counted [default: all]
    #[arg(long, value_name = "SCOPE", help_heading = CRM)]
    unread: Option<UnreadArgument>,
    /// Store without signing in
    #[arg(long)]
    pub(in crate::cli) unchecked: bool,
}

impl AtProvider {
    pub(in crate::cli) fn imap(&self) -> Whereabouts {
        whereabouts(self.imap.as_ref(), self.imap_security)
    }

    pub(in crate::cli) fn smtp(&self) -> Whereabouts {
        whereabouts(self.smtp.as_ref(), self.smtp_security)
    }

    pub(in crate::cli) fn user(&self) -> Option<User> {
        let format = self.user_format.map(|format| {
            User::Format(match format {
                UserFormatArgument::Address => UserFormat::Address,
                UserFormatArgument::MailboxName => UserFormat::MailboxName,
            })
        });
        self.user.clone().map(User::Name).or(format)
    }
}

impl Settings {
    pub(in crate::cli) fn smtp_auth(&self) -> Option<SmtpAuth> {
        let kind = self.smtp_auth.map(|auth| match auth {
            SmtpAuthArgument::Same => SmtpAuth::Same,
            SmtpAuthArgument::None => SmtpAuth::None,
        });
        let delegate = self.smtp_delegate.clone().map(SmtpAuth::Delegate);
        self.smtp_user.clone().map(SmtpAuth::Separate).or(delegate).or(kind)
    }

    pub(in crate::cli) fn from(&self) -> Option<FromPolicy> {
        self.from.map(|policy| match policy {
            FromArgument::Keep => FromPolicy::Keep,
            FromArgument::Check => FromPolicy::Check,
            FromArgument::AddName => FromPolicy::AddName,
            FromArgument::Force => FromPolicy::Force,
        })
    }

    pub(in crate::cli) fn sent_copy(&self) -> Option<SentCopy> {
        self.sent_copy.map(|copy| match copy {
            SentCopyArgument::Auto => SentCopy::Auto,
            SentCopyArgument::Always => SentCopy::Always,
            SentCopyArgument::Never => SentCopy::Never,
        })
    }

    pub(in crate::cli) fn submission(&self) -> Option<Submission> {
        self.submission.map(|submission| match submission {
            SubmissionArgument::Direct => Submission::Direct,
            SubmissionArgument::Queued => Submission::Queued,
        })
    }

    pub(in crate::cli) fn uncertain(&self) -> Option<Uncertain> {
        self.uncertain.map(|uncertain| match uncertain {
            UncertainArgument::Hold => Uncertain::Hold,
            UncertainArgument::Resend => Uncertain::Resend,
        })
    }

    pub(in crate::cli) fn receives(&self) -> Option<bool> {
        self.receive.map(|switch| matches!(switch, Switch::On))
    }

    pub(in crate::cli) fn sends(&self) -> Option<bool> {
        self.send.map(|switch| matches!(switch, Switch::On))
    }

    pub(in crate::cli) fn unread(&self) -> Option<UnreadScope> {
        self.unread.map(|scope| match scope {
            UnreadArgument::All => UnreadScope::All,
            UnreadArgument::Inbox => UnreadScope::Inbox,
        })
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

#[derive(Clone, Copy, ValueEnum)]
enum UserFormatArgument {
    /// The whole address
    Address,
    /// What stands before the `@`
    MailboxName,
}

#[derive(Clone, Copy, ValueEnum)]
enum SmtpAuthArgument {
    /// As to IMAP
    Same,
    /// Not at all: the server knows this machine
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum FromArgument {
    /// It passes as it is
    Keep,
    /// Refused where it is not one of the account's addresses
    Check,
    /// The same, and the display name is added where there is none
    AddName,
    /// Replaced by the account's address and display name
    Force,
}

#[derive(Clone, Copy, ValueEnum)]
enum SentCopyArgument {
    /// Where the provider does not, as its page of `provider show` says, or as is seen after a message
    Auto,
    /// Where it is not there yet
    Always,
    /// Not at all: the CRM or the provider does
    Never,
}

#[derive(Clone, Copy, ValueEnum)]
enum SubmissionArgument {
    /// When the provider has taken it
    Direct,
    /// When it is on this machine's disk: the bridge goes on trying, for CRMs that drop what is not taken at once
    Queued,
}

#[derive(Clone, Copy, ValueEnum)]
enum UncertainArgument {
    /// It is shown by `passerelle queue list`, and not sent again by itself
    Hold,
    /// It is sent again, and may so be sent twice
    Resend,
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, ValueEnum)]
enum UnreadArgument {
    /// Of all
    All,
    /// Of the inbox; of others none is told
    Inbox,
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
#[derive(Clone)]
struct HostPort(Endpoint);

/// Which no text can name: where none was.
const NO_PORT: u16 = 0;

impl std::str::FromStr for HostPort {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Endpoint::parse(text, Security::Tls, NO_PORT).map(Self)
    }
}

fn whereabouts(place: Option<&HostPort>, security: Option<SecurityArgument>) -> Whereabouts {
    Whereabouts {
        host: place.map(|HostPort(endpoint)| endpoint.host.clone()),
        port: place.map(|HostPort(endpoint)| endpoint.port).filter(|port| *port != NO_PORT),
        security: security.map(|security| match security {
            SecurityArgument::Tls => Security::Tls,
            SecurityArgument::Starttls => Security::Starttls,
            SecurityArgument::None => Security::None,
        }),
    }
}

/// How a certificate begins in a file.
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

pub(super) fn certificates(text: &str) -> Result<Certificates, String> {
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
    let text = std::fs::read(&path).map_err(|error| format!("cannot read the file: {error}"))?;
    // Else it would be believed to be there, and the provider's certificate be told to be unknown.
    if !text.windows(PEM.len()).any(|window| window == PEM) {
        return Err("the file holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)".to_owned());
    }
    Ok(Certificates::Ca(path))
}
