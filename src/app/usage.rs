//! What a running bridge has in use, told over a local socket to whoever runs it.
//!
//! The smallest thing that does: who connects gets one line of JSON, and the end. Nothing is read, so nothing can be said
//! to it. The socket is its owner's alone from the first moment, and whoever has another user id gets nothing. It holds
//! no secret and no address of ours: accounts are told by their number, and words are the provider's.

use crate::{
    listener::Reception,
    upstream::{BackOff, GateUse, Gates},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Error, ErrorKind},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

/// The socket's name in the state directory.
const NAME: &str = "serve.sock";
/// For an answer, at either end: it is one write, which the kernel's buffer takes unless very many accounts are paused.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// Accounts that are told of, those with the most sessions first: some 100 octets each.
pub(crate) const TOLD_MAX: usize = 1000;
/// What is read of an answer: more than accounts and back-offs take, each letter of a provider's at its longest.
const ANSWER_MAX: u64 = 2 * 1024 * 1024;
/// After a client that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// What is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Clients.
    pub connections: u64,
    /// Those of them that have not signed in.
    pub before_login: u64,
    pub accounts: Vec<OfAccount>,
    /// Accounts that are in use, and not told of.
    pub left_out: u64,
    /// What providers are not asked for now; those that last longest first, as many as of accounts.
    #[serde(default)]
    pub back_offs: Vec<BackOff>,
    /// Back-offs that are not told of.
    #[serde(default)]
    pub back_offs_left_out: u64,
}

/// What one account has in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfAccount {
    pub id: i64,
    /// Sessions that are signed in.
    pub sessions: u64,
    /// Connections to the provider in use or being opened.
    pub imap_lanes: u64,
    pub smtp_lanes: u64,
    /// Those of IMAP that wait for a session.
    pub parked: u64,
    /// Those to send that wait for a message.
    #[serde(default)]
    pub smtp_parked: u64,
    /// Messages that wait for a connection or for their turn.
    #[serde(default)]
    pub smtp_waiting: u64,
    /// Those that began in the last minute.
    #[serde(default)]
    pub messages: u64,
}

impl Usage {
    /// Of the limit of this name; of what counts by account, the most that one has. None: it is not counted.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<u64> {
        let most = |count: fn(&OfAccount) -> u64| Some(self.accounts.iter().map(count).max().unwrap_or(0));
        match name {
            "limits.connections" => Some(self.connections),
            "limits.before-login" => Some(self.before_login),
            "limits.sessions-per-account" => most(|account| account.sessions),
            "limits.lanes-per-account" => most(|account| account.imap_lanes.max(account.smtp_lanes)),
            "limits.messages-per-minute" | "messages-per-minute" => most(|account| account.messages),
            "limits.parked-lanes" => most(|account| account.parked.max(account.smtp_parked)),
            _ => None,
        }
    }

    fn now(gates: &Gates, reception: &Reception) -> Self {
        let mut accounts: Vec<OfAccount> = gates.in_use().map(OfAccount::from).collect();
        accounts.sort_by_key(|account| (u64::MAX - account.sessions, account.id));
        let left_out = crate::model::number(accounts.len().saturating_sub(TOLD_MAX));
        accounts.truncate(TOLD_MAX);
        let mut back_offs = gates.back_offs();
        back_offs.sort_by_key(|back_off| (u64::MAX - back_off.seconds, back_off.account));
        let back_offs_left_out = crate::model::number(back_offs.len().saturating_sub(TOLD_MAX));
        back_offs.truncate(TOLD_MAX);
        let (connections, before_login) = reception.in_use();
        Self { connections, before_login, accounts, left_out, back_offs, back_offs_left_out }
    }
}

impl From<GateUse> for OfAccount {
    fn from(gate: GateUse) -> Self {
        let GateUse { id, sessions, imap_lanes, smtp_lanes, parked, smtp_parked, smtp_waiting, messages } = gate;
        Self { id: id.0, sessions, imap_lanes, smtp_lanes, parked, smtp_parked, smtp_waiting, messages }
    }
}

/// The socket of a running bridge. Dropping it takes its name away.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Tells it from another bridge's that has taken its name since.
    inode: u64,
    owner: u32,
}

impl Socket {
    /// Listens in the state directory, in place of what a bridge left there that was killed.
    ///
    /// # Errors
    /// If it cannot be made: the path is longer than some 100 octets, or the disk is read-only.
    pub(super) fn bind(state: &Path) -> io::Result<Self> {
        // Made in a folder that nobody else may enter, and given its name once its mode is right: under that name it is
        // never another's to open, and one name replaces the other in one step.
        let private = fs::Permissions::from_mode(0o700);
        let draft = tempfile::Builder::new().prefix(".serve").permissions(private).tempdir_in(state)?;
        let (made, path) = (draft.path().join("s"), state.join(NAME));
        let listener = UnixListener::bind(&made)?;
        fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
        let metadata = fs::symlink_metadata(&made)?;
        fs::rename(&made, &path)?;
        Ok(Self { listener, path, inode: metadata.ino(), owner: metadata.uid() })
    }

    /// Answers, one after another, until it is dropped.
    pub(super) async fn answer(self, gates: Arc<Gates>, reception: Reception) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            if stream.peer_cred().is_ok_and(|peer| peer.uid() == self.owner || peer.uid() == 0) {
                // Who does not read it gets none, and keeps nobody waiting for long.
                let _ = timeout(DEADLINE, tell(stream, &Usage::now(&gates, &reception))).await;
            } else {
                tracing::warn!("another user asks what is in use, and is told nothing");
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn tell(mut stream: UnixStream, usage: &Usage) -> io::Result<()> {
    let line = serde_json::to_string(usage)? + "\n";
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await
}

/// What the bridge of this state directory has in use. None: none runs there, whatever a killed one has left.
///
/// # Errors
/// If one runs there and does not answer, or not to this user.
pub async fn ask(state: &Path) -> io::Result<Option<Usage>> {
    let answer = async {
        let stream = match UnixStream::connect(state.join(NAME)).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut line = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut line).await?;
        if line.is_empty() {
            return Err(Error::new(ErrorKind::PermissionDenied, "it tells this user nothing"));
        }
        Ok(Some(serde_json::from_str(&line)?))
    };
    timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Cause, gate::back_off::SAID_MAX};

    #[tokio::test]
    async fn a_socket_is_private_and_takes_the_place_of_one_that_was_left() {
        let state = tempfile::tempdir().expect("a directory");
        let path = state.path().join(NAME);
        assert!(matches!(ask(state.path()).await, Ok(None)));
        let killed = Socket::bind(state.path()).expect("bound");
        let left = state.path().join("left");
        fs::hard_link(&path, &left).expect("linked");
        drop(killed);
        assert!(!path.exists());
        fs::rename(&left, &path).expect("left behind");
        assert!(matches!(ask(state.path()).await, Ok(None)), "nobody listens");
        let socket = Socket::bind(state.path()).expect("bound in its place");
        assert_eq!(fs::symlink_metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(state.path()).expect("a directory").count(), 1, "no draft is left");
        // A newer one is not taken away with an older.
        let newer = Socket::bind(state.path()).expect("bound");
        drop(socket);
        assert!(path.exists());
        drop(newer);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_bridge_that_does_not_answer_is_waited_for_in_vain_for_a_while() {
        let state = tempfile::tempdir().expect("a directory");
        let _socket = Socket::bind(state.path()).expect("bound");
        assert_eq!(ask(state.path()).await.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
    }

    #[test]
    fn the_most_that_is_told_is_read() {
        let account = OfAccount {
            id: i64::MIN,
            sessions: 99_999,
            imap_lanes: 99_999,
            smtp_lanes: 99_999,
            parked: 99_999,
            smtp_parked: 99_999,
            smtp_waiting: 99_999,
            messages: 99_999,
        };
        let back_off = BackOff {
            account: i64::MIN,
            service: "token".to_owned(),
            cause: Cause::ClientTokens,
            login: Some(i64::MIN),
            seconds: u64::MAX,
            words: "\u{1}".repeat(SAID_MAX),
        };
        let (accounts, back_offs) = (vec![account; TOLD_MAX], vec![back_off; TOLD_MAX]);
        let usage = Usage { accounts, back_offs, ..Usage::default() };
        let line = serde_json::to_string(&usage).expect("JSON");
        assert!(crate::model::number(line.len()) < ANSWER_MAX, "{}", line.len());
    }
}
