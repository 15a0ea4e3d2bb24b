//! How a command ends: one table of exit codes, one place that turns errors into them and into words.

use passerelle::{
    app, config,
    control::{self, consent::Told},
    local_tls, store,
};
use std::{error::Error as _, fmt::Write as _, io};

/// The exit codes. Scripts depend on them: a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    Configuration = 3,
    Provider = 4,
    NotFound = 5,
    Taken = 6,
    State = 7,
    Warned = 8,
    Unwell = 9,
}

const TABLE: [(Exit, &str); 10] = [
    (Exit::Ok, "done"),
    (Exit::Failed, "failed for another reason than these"),
    (Exit::Usage, "the command line is not understood"),
    (Exit::Configuration, "the configuration is wrong"),
    (Exit::Provider, "the provider cannot be reached or refuses the sign-in"),
    (Exit::NotFound, "there is no such account, client, CRM, login, message, provider or user"),
    (Exit::Taken, "the address, client, folder name or login name is taken"),
    (Exit::State, "the state directory, its database or its key cannot be used"),
    (Exit::Warned, "`doctor` found what works, and not as it should; `import` left something"),
    (Exit::Unwell, "`doctor` found what does not work"),
];

/// The table, for `--help`.
pub(super) fn table() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (exit, words) in TABLE {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {}  {words}", exit as u8);
    }
    text
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read the answer")]
    Answer(#[source] io::Error),
    #[error("the first line of standard input is no client secret")]
    ClientSecret,
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Control(#[from] control::Error),
    #[error(transparent)]
    Demo(passerelle::demo::Failed),
    #[error("cannot read the file {}", path.display())]
    File { path: std::path::PathBuf, source: io::Error },
    #[error("the mail is hosted outside the domain, which nobody has confirmed: {hosts}")]
    HostsUnconfirmed { hosts: String, flags: String },
    #[error("cannot read the configuration {}", path.display())]
    Import { path: std::path::PathBuf, source: control::import::Unreadable },
    #[error("what could not be taken over: {0}")]
    Left(usize),
    #[error("no browser can come back: the console is off")]
    NoConsole,
    #[error("it is not known where access tokens are asked for")]
    NoTokenEndpoint,
    #[error("cannot read the password")]
    Password(#[source] io::Error),
    #[error("the password is empty")]
    PasswordEmpty,
    #[error("the first line of standard input is no refresh token, or the second is empty")]
    RefreshToken,
    #[error("cannot serve")]
    Serve(#[from] app::Error),
    #[error("{}", .0.error)]
    SignIn(Told),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Tls(#[from] local_tls::Error),
    #[error("a bridge runs, and does not tell what is in use")]
    Unanswered(#[source] io::Error),
    #[error("not confirmed, nothing was changed")]
    Unconfirmed,
    #[error("not confirmed, nothing was changed; the refresh token that was given is spent")]
    UnconfirmedSpent,
    #[error("problems that were found: {0}")]
    Unwell(usize),
    #[error("warnings that were found: {0}")]
    Warned(usize),
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

impl Error {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(config::Error::NoState) => Exit::Usage,
            Self::Config(_) => Exit::Configuration,
            Self::Control(error) => of_control(error),
            Self::Store(error) => of_store(error),
            Self::NoConsole => Exit::Configuration,
            Self::Unwell(_) => Exit::Unwell,
            Self::Left(_) | Self::Warned(_) => Exit::Warned,
            Self::SignIn(_) => Exit::Provider,
            Self::ClientSecret
            | Self::File { .. }
            | Self::HostsUnconfirmed { .. }
            | Self::Import { .. }
            | Self::NoTokenEndpoint
            | Self::Password(_)
            | Self::PasswordEmpty
            | Self::RefreshToken
            | Self::Unconfirmed
            | Self::UnconfirmedSpent => Exit::Usage,
            Self::Serve(app::Error::Store(store::Error::Served(_))) | Self::Tls(local_tls::Error::File(_)) => {
                Exit::State
            }
            Self::Answer(_) | Self::Demo(_) | Self::Serve(_) | Self::Tls(_) | Self::Unanswered(_) | Self::Write(_) => {
                Exit::Failed
            }
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::ClientSecret => Some("give it as the first line, as the provider showed it".to_owned()),
            Self::Config(error) => error.hint(),
            Self::Control(error) => error.hint(),
            Self::HostsUnconfirmed { flags, .. } => {
                Some(format!("if your provider names these hosts as its own, confirm them: `{flags}`"))
            }
            Self::NoConsole => {
                Some("leave console.listen out, or give it an address such as \"127.0.0.1:1180\"".to_owned())
            }
            Self::Import { .. } => Some("give emailproxy.config as the program itself wrote it".to_owned()),
            Self::SignIn(told) => told.hint.clone(),
            Self::NoTokenEndpoint => {
                Some("name the provider with --provider, or its token endpoint with --token-endpoint URL".to_owned())
            }
            Self::RefreshToken => Some(
                "give the refresh token as the first line, and with --client-secret-stdin the secret as the second"
                    .to_owned(),
            ),
            Self::Password(_) | Self::PasswordEmpty => {
                Some("give it as the first line of standard input, with --password-stdin".to_owned())
            }
            Self::Serve(app::Error::Store(error @ store::Error::Served(_))) => error.hint(),
            Self::Serve(error) => of_serving(error).map(str::to_owned),
            Self::Store(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Unanswered(_) => Some("run it as the user that runs `passerelle serve`".to_owned()),
            Self::Left(_) | Self::Unwell(_) | Self::Warned(_) => Some("each of them says what to do".to_owned()),
            Self::UnconfirmedSpent => {
                Some("get a new refresh token, and say y when you are asked, or add --yes".to_owned())
            }
            Self::Unconfirmed => Some("say y when you are asked, or add --yes".to_owned()),
            Self::Answer(_) | Self::Demo(_) | Self::File { .. } | Self::Write(_) => None,
        }
    }

    /// What happened and each cause of it, in one line.
    pub(super) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}

/// What mends a bridge that does not start.
fn of_serving(error: &app::Error) -> Option<&'static str> {
    let kind = match error {
        app::Error::Handed(error) => return Some(error.hint()),
        app::Error::Io(error) => error.kind(),
        app::Error::Store(_) => return Some("`passerelle doctor` looks at the state directory and says what to do"),
    };
    match kind {
        io::ErrorKind::AddrInUse => {
            Some("another passerelle may be running; else choose other ports under [listen] or [console]")
        }
        io::ErrorKind::AddrNotAvailable => Some(
            "this machine has no such address: `ip address` shows what it has; choose one under [listen] or [[crm]]",
        ),
        io::ErrorKind::PermissionDenied => Some(
            "ports below 1024 need leave of the system: `sysctl net.ipv4.ip_unprivileged_port_start=25`; the README says \
             other ways, under \"CRMs that know the standard ports only\"",
        ),
        _ => None,
    }
}

fn of_control(error: &control::Error) -> Exit {
    match error {
        control::Error::AcceptAny
        | control::Error::ClientToken
        | control::Error::AccountNotNamed
        | control::Error::DomainUnknown(_)
        | control::Error::DomainUnregistered(_)
        | control::Error::HostWanted { .. }
        | control::Error::Label(_)
        | control::Error::NoClient(_)
        | control::Error::NoDevice(_)
        | control::Error::NoPasswords(_)
        | control::Error::NoRegistration { .. }
        | control::Error::NotUsable(_)
        | control::Error::NothingToChange => Exit::Usage,
        control::Error::NoAccount(_)
        | control::Error::NoAccountYet
        | control::Error::NoCrm(_)
        | control::Error::NoLogin(_)
        | control::Error::NoProvider(_)
        | control::Error::NotRegistered(_)
        | control::Error::NoWayBack(_)
        | control::Error::NotQueued(_)
        | control::Error::NoUser(_) => Exit::NotFound,
        control::Error::Consent(refusal) => of_consent(refusal),
        control::Error::Device(_)
        | control::Error::Grant { .. }
        | control::Error::NoRefreshToken(_)
        | control::Error::Refused(_)
        | control::Error::Registered { .. }
        | control::Error::ScopeMissing { .. } => Exit::Provider,
        control::Error::InHand(_) | control::Error::NoHttp => Exit::Failed,
        control::Error::RegistrationInUse(_) => Exit::Taken,
        control::Error::Kept { why, .. } | control::Error::Spent(why) => of_control(why),
        control::Error::Store(error) => of_store(error),
        control::Error::Folder(refusal) => of_folder(refusal),
    }
}

fn of_consent(refusal: &control::consent::Refusal) -> Exit {
    use control::consent::Refusal;
    match refusal {
        Refusal::NoClient(_) | Refusal::NoPage(_) | Refusal::NotReturned(_) => Exit::Usage,
        Refusal::Exists(_) | Refusal::Moved(_) => Exit::Taken,
        Refusal::Code(_)
        | Refusal::Denied(_)
        | Refusal::NoRefreshToken
        | Refusal::NotDiscovered { .. }
        | Refusal::OtherIssuer
        | Refusal::OtherPerson { .. }
        | Refusal::Unknown => Exit::Provider,
    }
}

fn of_folder(refusal: &control::folder::Refusal) -> Exit {
    use control::folder::Refusal;
    match refusal {
        Refusal::Inbox | Refusal::Name(_) | Refusal::NoMessages(_) => Exit::Usage,
        Refusal::Mapped { .. } | Refusal::Taken { .. } => Exit::Taken,
        Refusal::NotHidden(_) | Refusal::NotMapped(_) | Refusal::Unknown(_) => Exit::NotFound,
    }
}

fn of_store(error: &store::Error) -> Exit {
    match error {
        store::Error::AddressTaken(_) | store::Error::LoginTaken(_) => Exit::Taken,
        store::Error::Changed => Exit::Failed,
        store::Error::Missing(_) => Exit::NotFound,
        _ => Exit::State,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_permitted_is_mended_without_root() {
        let error = Error::from(app::Error::from(io::Error::from(io::ErrorKind::PermissionDenied)));
        assert!(error.hint().is_some_and(|hint| hint.contains("ip_unprivileged_port_start")));
    }

    #[test]
    fn the_table_is_in_order_and_whole() {
        for (number, (exit, _)) in TABLE.into_iter().enumerate() {
            assert_eq!(exit as usize, number);
        }
    }
}
