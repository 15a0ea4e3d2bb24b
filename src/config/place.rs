//! Where the bridge keeps its state and finds its configuration: flags, then environment, then the platform's usual place.
//!
//! The only file that reads the environment.

#![allow(clippy::disallowed_methods, reason = "this is where the environment is read")]

use super::Error;
use std::path::{Path, PathBuf};

/// The configuration's name in the state directory.
const CONFIG_FILE: &str = "passerelle.toml";
/// Where a system service has its configuration.
const SYSTEM_CONFIG: &str = "/etc/passerelle/passerelle.toml";
/// Where a system service has its state (FHS 5.8).
const SYSTEM_STATE: &str = "/var/lib/passerelle";

/// What the environment says about places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `PASSERELLE_STATE`
    pub state: Option<PathBuf>,
    /// `PASSERELLE_CONFIG`
    pub config: Option<PathBuf>,
    /// `PASSERELLE_KEY_FILE`: a master key that is kept elsewhere, as a credential of systemd is.
    pub key_file: Option<PathBuf>,
    /// `XDG_STATE_HOME`, or what the platform has in its place.
    pub state_home: Option<PathBuf>,
    /// `HOME`
    pub home: Option<PathBuf>,
    /// Whether this is root's process.
    pub root: bool,
}

impl Environment {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            state: path("PASSERELLE_STATE"),
            config: path("PASSERELLE_CONFIG"),
            key_file: path("PASSERELLE_KEY_FILE"),
            state_home: path(if cfg!(windows) { "LOCALAPPDATA" } else { "XDG_STATE_HOME" }),
            home: path("HOME"),
            root: is_root(),
        }
    }

    /// The state directory: the flag, PASSERELLE_STATE, or the platform's usual place.
    ///
    /// # Errors
    /// [`Error::NoState`].
    pub fn state(&self, flag: Option<&Path>) -> Result<PathBuf, Error> {
        if let Some(named) = flag.or(self.state.as_deref()) {
            return Ok(named.to_owned());
        }
        if self.root {
            return Ok(SYSTEM_STATE.into());
        }
        let home = self.home.as_ref().map(|home| home.join(".local/state"));
        self.state_home.clone().or(home).map(|home| home.join("passerelle")).ok_or(Error::NoState)
    }

    /// The configuration file: the flag, PASSERELLE_CONFIG, that of the state directory, that of the system. None is none.
    #[must_use]
    pub fn config(&self, flag: Option<&Path>, state: &Path) -> Option<PathBuf> {
        let named = flag.or(self.config.as_deref()).map(Path::to_owned);
        named.or_else(|| [state.join(CONFIG_FILE), SYSTEM_CONFIG.into()].into_iter().find(|path| path.exists()))
    }
}

/// The owner of our own entry in /proc is our effective user.
#[cfg(target_os = "linux")]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(not(target_os = "linux"))]
fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_platform() {
        let mut environment = Environment { home: Some("/home/a".into()), ..Environment::default() };
        let state = |environment: &Environment, flag: Option<&str>| environment.state(flag.map(Path::new)).ok();
        assert_eq!(state(&environment, None), Some("/home/a/.local/state/passerelle".into()));
        environment.state_home = Some("/state".into());
        assert_eq!(state(&environment, None), Some("/state/passerelle".into()));
        environment.root = true;
        assert_eq!(state(&environment, None), Some(SYSTEM_STATE.into()));
        environment.state = Some("/env".into());
        assert_eq!(state(&environment, None), Some("/env".into()));
        assert_eq!(state(&environment, Some("flag")), Some("flag".into()));
        assert!(matches!(Environment::default().state(None), Err(Error::NoState)));
    }
}
