//! The configuration: `passerelle.toml` and the environment, parsed into values that cannot be wrong.
//!
//! Read by `app` and `cli` alone. It opens no socket and makes no file; what depends on the machine is checked only where
//! a wrong value would show hours later (the administrator's own certificate files).

mod console;
mod discovery;
mod error;
mod listen;
mod place;
mod tables;
mod values;

pub use console::Console;
pub use discovery::Discovery;
pub use error::Error;
pub use listen::{Crm, Door, Kind, Listen, Listener};
pub use place::Environment;
pub use tables::{profiles, providers};
pub use values::{Listeners, Network, Period, Size};

use crate::{
    mistake::{Broken, Text},
    model::Host,
    profile::Table,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// All that can be configured. The default is what a fresh checkout runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The name by which the bridge greets, and which CRMs on other machines use.
    #[serde(deserialize_with = "values::host")]
    pub hostname: Host,
    pub listen: Listen,
    pub console: Console,
    pub discovery: Discovery,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub certificate: Certificate,
    pub log: Log,
    /// Listeners for single kinds of CRM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crm: Vec<Crm>,
}

/// Caps, so that one client cannot starve the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Clients at once.
    pub connections: u32,
    /// Those of them that have not signed in. More than `connections` is the same as that.
    pub before_login: u32,
    /// Sessions signed in at once to one account, of IMAP and SMTP together.
    pub sessions_per_account: u32,
    /// Connections to the provider at once for one account, of IMAP and to send each.
    pub lanes_per_account: u32,
    /// Those that are kept for the next session while nobody uses them, of each use.
    pub parked_lanes: u32,
    /// Messages over one connection to the provider.
    pub messages_per_connection: u32,
    /// Messages of one account in a minute. None: what the provider bears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_minute: Option<u32>,
    /// The largest message that a client may hand over.
    pub message_size: Size,
}

/// How long is waited, from the last progress, so that slow is no fault and still is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timeouts {
    /// A TLS handshake, and the greeting of a provider, each.
    pub handshake: Period,
    /// From a client's connect to its login, in all.
    pub before_login: Period,
    /// A login waits for the provider.
    pub login_wait: Period,
    /// A message waits for a connection to the provider, and for its turn.
    pub send_wait: Period,
    /// A connection to send is kept for the next message.
    pub smtp_parked: Period,
    /// A connection of IMAP is kept for the next session.
    pub imap_parked: Period,
    /// To the next line of a provider that owes one, or of a client that has begun one, and for each 16 KiB of what is
    /// larger.
    pub progress: Period,
    /// SEARCH, SORT, THREAD, COPY, MOVE, EXPUNGE, APPEND, after the last octet sent.
    pub long_command: Period,
    /// The provider's answer to the end of a message.
    pub end_of_data: Period,
    /// The delivery of a queued message, in all.
    pub delivery: Period,
    /// A client that says nothing.
    pub idle: Period,
    /// Sessions at the stop of the bridge.
    pub drain: Period,
    /// Looking for the servers of an address, in all.
    pub discovery: Period,
    /// The same: one question and its answer.
    pub discovery_question: Period,
}

/// The certificate that clients see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Certificate {
    /// Names for the bridge's own certificate beside localhost, 127.0.0.1, ::1 and `hostname`.
    #[serde(deserialize_with = "values::hosts")]
    pub names: Vec<Host>,
    /// The administrator's own certificate with its chain (PEM), in place of the bridge's; goes with `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The key of `file` (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// The least weight of what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As `tracing` spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads the file; without one, the default.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn load(file: Option<&Path>, profiles: &Table) -> Result<Self, Error> {
        let Some(file) = file else { return Ok(Self::default()) };
        let unreadable = |source| Error::Unreadable { path: file.to_owned(), source };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        tables::refuse_writable(file)?;
        Self::parse(file, &text, profiles)
    }

    /// Reads the text of a file. Relative paths in it start at the file's directory; CRMs in it are of this table.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(file: &Path, text: &str, profiles: &Table) -> Result<Self, Error> {
        let place = Text {
            file,
            text,
            keys: "`passerelle config show` prints every key with its value",
            forms: "config/passerelle.toml explains every key and its form",
        };
        let mut config: Self = toml::from_str(text).map_err(|error| Error::Wrong(Box::new(place.misread(&error))))?;
        if let Some(directory) = file.parent() {
            for path in [&mut config.certificate.file, &mut config.certificate.key].into_iter().flatten() {
                *path = directory.join(&*path);
            }
        }
        let wrong = |(broken, nth): (Broken, usize)| Error::Wrong(Box::new(place.broken_in(broken, nth)));
        for (nth, crm) in config.crm.iter_mut().enumerate() {
            crm.fill(profiles).map_err(|broken| wrong((broken, nth)))?;
        }
        if profiles.named(&config.listen.crm).is_none() {
            return Err(wrong((listen::unknown("listen.crm", &config.listen.crm), 0)));
        }
        match config.broken_rule() {
            Some(broken) => Err(wrong(broken)),
            None => Ok(config),
        }
    }

    /// All on which clients are awaited, the usual ones first.
    pub fn listeners(&self) -> impl Iterator<Item = Listener<'_>> {
        listen::all(&self.listen, &self.crm)
    }

    /// The same, each to be told where it really is.
    pub fn listeners_mut(&mut self) -> impl Iterator<Item = (Door, &mut SocketAddr)> {
        listen::all_mut(&mut self.listen, &mut self.crm)
    }

    /// The rules between keys; which of the `[[crm]]` breaks it, if one does.
    fn broken_rule(&self) -> Option<(Broken, usize)> {
        self.plain_outside_loopback().or_else(|| self.listener_twice()).or_else(|| {
            let broken = self.no_listener().or_else(|| self.console.broken_rule(self.listeners()));
            let broken = broken.or_else(|| self.impossible_limit());
            broken.or_else(|| self.certificate.broken_rule()).map(|broken| (broken, 0))
        })
    }

    /// Passwords in clear do not leave this machine but towards networks that were named (rule R35).
    fn plain_outside_loopback(&self) -> Option<(Broken, usize)> {
        let outside = |listener: &Listener<'_>| {
            !listener.kind.is_secured() && !listener.address.ip().to_canonical().is_loopback()
        };
        for listener in self.listeners().filter(outside) {
            let (what, hint) = if self.listen.plain_from.is_empty() {
                (
                    "passwords would cross the network in clear, expected an address of this machine alone",
                    "use 127.0.0.1 here, or imaps and smtps for other machines; for a container set listen.plain-from",
                )
            } else if !is_private(listener.address.ip().to_canonical()) {
                (
                    "a clear listener for listen.plain-from needs one exact private address",
                    "name the bridge's own address in that network, such as 172.17.0.1",
                )
            } else {
                continue;
            };
            let broken = Broken { key: listener.key(), what, found: listener.address.to_string(), hint };
            return Some((broken, listener.nth.unwrap_or_default()));
        }
        None
    }

    fn listener_twice(&self) -> Option<(Broken, usize)> {
        let clash = |one: SocketAddr, other: SocketAddr| {
            let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && one.port() != 0 && same_ip
        };
        let all: Vec<_> = self.listeners().collect();
        let is_second = |at: usize, one: SocketAddr| all.iter().take(at).any(|other| clash(other.address, one));
        let (_, second) = all.iter().enumerate().find(|(at, one)| is_second(*at, one.address))?;
        let broken = Broken {
            key: second.key(),
            what: "another listener has this port already, expected one of its own",
            found: second.address.to_string(),
            hint: "give each of imap, smtp, imaps and smtps its own port",
        };
        Some((broken, second.nth.unwrap_or_default()))
    }

    fn no_listener(&self) -> Option<Broken> {
        self.listeners().next().is_none().then(|| Broken {
            key: "listen",
            what: "nothing to listen on, expected at least one of imap, smtp, imaps and smtps",
            found: "all are off".to_owned(),
            hint: "leave a key out to have its usual address",
        })
    }

    fn impossible_limit(&self) -> Option<Broken> {
        let Limits { connections, before_login, sessions_per_account, lanes_per_account, parked_lanes, .. } =
            self.limits;
        let Limits { messages_per_connection, messages_per_minute, .. } = self.limits;
        let all = [
            ("limits.connections", connections),
            ("limits.before-login", before_login),
            ("limits.sessions-per-account", sessions_per_account),
            ("limits.lanes-per-account", lanes_per_account),
            ("limits.parked-lanes", parked_lanes),
            ("limits.messages-per-connection", messages_per_connection),
            ("limits.messages-per-minute", messages_per_minute.unwrap_or(1)),
        ];
        all.into_iter().find(|(_, limit)| *limit == 0).map(|(key, limit)| Broken {
            key,
            what: "expected a whole number from 1",
            found: limit.to_string(),
            hint: "leave the key out to have the usual limit",
        })
    }
}

impl Certificate {
    /// Both files or none, and they can be read.
    fn broken_rule(&self) -> Option<Broken> {
        let (file, key) = match (&self.file, &self.key) {
            (None, None) => return None,
            (Some(file), Some(key)) => (file, key),
            (file, key) => {
                let (here, path) = if file.is_some() { ("certificate.file", file) } else { ("certificate.key", key) };
                return Some(Broken {
                    key: here,
                    what: "stands alone, expected certificate.file and certificate.key together",
                    found: path.as_deref().unwrap_or(Path::new("")).display().to_string(),
                    hint: "name both files, or neither to have a certificate made",
                });
            }
        };
        let unreadable = |(key, path): (&'static str, &PathBuf)| {
            std::fs::File::open(path).err().map(|_| Broken {
                key,
                what: "expected a file that can be read",
                found: path.display().to_string(),
                hint: "check the path, and that the user of the bridge may read the file",
            })
        };
        [("certificate.file", file), ("certificate.key", key)].into_iter().find_map(unreadable)
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: Host::localhost(),
            listen: Listen::default(),
            console: Console::default(),
            discovery: Discovery::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            certificate: Certificate::default(),
            log: Log { level: LogLevel::Info, format: LogFormat::Text },
            crm: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            before_login: 500,
            sessions_per_account: 200,
            lanes_per_account: 8,
            parked_lanes: 4,
            messages_per_connection: 100,
            messages_per_minute: None,
            message_size: Size(150 << 20),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Period::seconds(10),
            before_login: Period::seconds(60),
            login_wait: Period::seconds(20),
            send_wait: Period::seconds(25),
            smtp_parked: Period::seconds(25),
            imap_parked: Period::minutes(4),
            progress: Period::seconds(60),
            long_command: Period::minutes(5),
            end_of_data: Period::minutes(10),
            delivery: Period::minutes(24 * 60),
            idle: Period::minutes(30),
            drain: Period::seconds(10),
            discovery: Period::seconds(40),
            discovery_question: Period::seconds(6),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let profiles = Table::built_in().expect("whole");
        Config::parse(Path::new("test.toml"), text, &profiles).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_is_the_default() {
        assert_eq!(parse(include_str!("../../config/passerelle.toml")), Ok(Config::default()));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let mut config = Config::default();
        config.listen.smtp = Listeners(Vec::new());
        config.listen.imaps = Listeners(vec!["0.0.0.0:993".parse().expect("x"), "[::]:994".parse().expect("x")]);
        let shown = toml::to_string(&config).expect("shown");
        assert_eq!(parse(&shown), Ok(config));
    }

    #[test]
    fn a_crm_has_the_ports_that_it_knows_unless_told_otherwise() {
        let config = parse("[[crm]]\nprofile = \"vtiger\"\nsmtp = \"127.0.0.3:25\"\nsmtps = \"off\"").expect("parsed");
        let own: Vec<_> = config.listeners().filter(|listener| listener.crm == "vtiger").collect();
        let shown: Vec<_> = own.iter().map(|listener| (listener.kind, listener.address.to_string())).collect();
        let expected = [(Kind::Imap, "127.0.0.2:143"), (Kind::Smtp, "127.0.0.3:25"), (Kind::Imaps, "127.0.0.2:993")];
        assert_eq!(shown, expected.map(|(kind, address)| (kind, address.to_owned())));
        assert_eq!(config.listeners().filter(|listener| listener.crm == "generic").count(), 4);
        let shown = toml::to_string(&config).expect("shown");
        assert_eq!(parse(&shown), Ok(config));
    }

    #[test]
    fn a_container_may_be_let_in_by_name() {
        let config = parse("[listen]\nimap = \"172.17.0.1:1143\"\nplain-from = [\"172.17.0.0/16\"]").expect("parsed");
        let admits = |ip: &str| config.listen.admits_plain(ip.parse().expect("an address"));
        assert!(admits("172.17.0.2") && admits("127.0.0.1") && admits("::1"));
        assert!(!admits("172.18.0.2"));
        assert!(parse("[listen]\nimap = \"0.0.0.0:1143\"\nplain-from = [\"172.17.0.0/16\"]").is_err());
    }
}
