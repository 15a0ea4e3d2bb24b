//! The bridge's own IMAP over a lane: finds the Sent mailbox or INBOX, looks for a message, appends one, takes one away.
//!
//! One command at a time, under tags of its own. What comes unasked is passed over; what is longer than its cap ends the
//! lane. It never deletes but by the UID of what the bridge itself appended.

use super::line::{day, parts};
use crate::{
    failpoint::{Moment, reach},
    failure::{Failure, Misbehaviour, Unreachable},
    model::{AccountId, Generation, RemoteName, Role},
    provider::Search,
    relay::{
        Keep, LaneState,
        folders::{FolderReading, Progress},
    },
    rules::{
        likeness::Likeness,
        namespace::{Namespace, Naming},
    },
    store::SentPlace,
    upstream::{Gates, Lane, Own},
    wire::imap::{
        Capabilities, fetched,
        framer::{End, Framer, Piece},
        response::{self, Condition, Kind, Response},
        token::write_string,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// One answer of the provider to the bridge itself: a SEARCH of 30,000 numbers.
pub(crate) const ANSWER_MAX: usize = 256 * 1024;
/// Numbers that one SEARCH may find: as many as one answer can hold.
pub(crate) const FOUND_MAX: usize = ANSWER_MAX / 2;
/// Answers of one command: who else changes the mailbox may make some thousands of them.
pub(crate) const ANSWERS_MAX: usize = 10_000;
/// Silence within one command, or a piece of a message.
pub(crate) const COMMAND: Duration = Duration::from_secs(60);
/// All answers of one command, however steadily they come; a large APPEND is answered behind its last piece.
pub(crate) const ANSWERED: Duration = Duration::from_secs(180);
/// Messages that are compared at a time.
pub(crate) const COMPARED_AT_ONCE: usize = 100;
/// Messages that are compared at most, the newest: few mailboxes send more in two days.
pub(crate) const COMPARED_MAX: usize = 1000;
/// A piece of a message on its way from the disk.
pub(crate) const PIECE: usize = 16 * 1024;

const LOST: Failure = Failure::ProviderUnreachable(Unreachable::Lost);
const TIMED_OUT: Failure = Failure::ProviderUnreachable(Unreachable::TimedOut);
const TOO_MUCH: Failure = Failure::ProviderMisbehaved(Misbehaviour::TooManyLines);

/// What is done with an answer that is not the last one; a failure ends the talk.
type OnAnswer<'a> = dyn FnMut(&Response<'_>, &[u8]) -> Result<(), Failure> + Send + 'a;

/// A lane with a mailbox selected, or none yet.
pub(crate) struct Talk {
    lane: Lane,
    framer: Framer,
    unread: Vec<u8>,
    said: u32,
    selected: bool,
    account: AccountId,
    generation: Generation,
    capabilities: Capabilities,
    namespace: Arc<Namespace>,
}

/// A mailbox, selected.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    name: RemoteName,
    uid_validity: Option<u32>,
}

impl Mailbox {
    /// Where a message of it stands.
    pub(crate) fn at(&self, uid: u32) -> Option<SentPlace> {
        self.uid_validity.map(|uid_validity| SentPlace { uid_validity, uid })
    }
}

/// How a command ended.
struct Ended {
    condition: Condition,
    code: Vec<u8>,
    arguments: Vec<u8>,
}

impl Ended {
    fn is_ok(&self) -> bool {
        self.condition == Condition::Ok
    }

    /// The provider does not do what the bridge needs; its words are not told, they may name a folder.
    fn is_of_the_message(&self) -> bool {
        matches!(self.condition, Condition::No | Condition::Bad) && !NOT_OF_THE_MESSAGE.contains(&&self.code[..])
    }

    fn or_failure(self) -> Result<Self, Failure> {
        if self.is_ok() { Ok(self) } else { Err(Failure::ProviderUnreachable(Unreachable::Unavailable)) }
    }
}

/// What came of an APPEND.
pub(crate) enum Appending {
    /// It stands there, if the provider says.
    Stored(Option<SentPlace>),
    /// The provider does not take this message, as it is.
    Refused,
}

/// Codes of a refusal that is not of the message (RFC 5530, RFC 9051): it is tried again as it is.
const NOT_OF_THE_MESSAGE: [&[u8]; 8] =
    [b"TRYCREATE", b"OVERQUOTA", b"UNAVAILABLE", b"LIMIT", b"INUSE", b"SERVERBUG", b"NOPERM", b"NONEXISTENT"];

/// What is appended.
pub(crate) struct Appended<'a> {
    pub(crate) flags: &'a str,
    pub(crate) seen: bool,
    /// As IMAP writes it (RFC 3501 section 9, date-time).
    pub(crate) date: &'a str,
    pub(crate) octets: u64,
}

impl Talk {
    pub(crate) fn new(own: Own) -> Self {
        let Own { mut lane, account, capabilities, namespace } = own;
        let unread = std::mem::take(&mut lane.unread);
        let (id, generation) = (account.id, account.generation);
        let framer = Framer::provider();
        Self { lane, framer, unread, said: 0, selected: false, account: id, generation, capabilities, namespace }
    }

    /// Gives the lane back; to be called where the last command was answered.
    pub(crate) fn end(mut self) {
        let state = match (self.unread.is_empty(), self.selected) {
            (false, _) => LaneState::Unknown,
            (true, true) => LaneState::Selected,
            (true, false) => LaneState::Clean,
        };
        self.lane.unread = Vec::new();
        let _ = self.lane.park(state);
    }

    /// Opens the Sent mailbox to look into it, or to write; makes it where there is none.
    pub(crate) async fn open_sent(&mut self, gates: &Gates, writable: bool) -> Result<Mailbox, Failure> {
        if let Some(name) = self.sent()
            && let Some(mailbox) = self.select(&name, writable).await?
        {
            return Ok(mailbox);
        }
        // Renamed, deleted, or made since the folder table was read.
        self.namespace = self.read_folders(gates).await?;
        if let Some(name) = self.sent()
            && let Some(mailbox) = self.select(&name, writable).await?
        {
            return Ok(mailbox);
        }
        let name = self.make_sent(gates).await?;
        self.select(&name, writable).await?.ok_or(Failure::ProviderUnreachable(Unreachable::Unavailable))
    }

    /// Opens INBOX to look into it, or to write.
    pub(crate) async fn open_inbox(&mut self, writable: bool) -> Result<Mailbox, Failure> {
        const LACKS_INBOX: Failure = Failure::ProviderUnreachable(Unreachable::Unavailable);
        let inbox = RemoteName::parse(b"INBOX").map_err(|_| LACKS_INBOX)?;
        self.select(&inbox, writable).await?.ok_or(LACKS_INBOX)
    }

    fn sent(&self) -> Option<RemoteName> {
        let sent = self.namespace.entries().find(|entry| entry.role == Some(Role::Sent));
        sent.and_then(|entry| entry.remote().cloned())
    }

    async fn make_sent(&mut self, gates: &Gates) -> Result<RemoteName, Failure> {
        let naming = Naming::default();
        let route = self.namespace.route_of_new(naming.local(Role::Sent));
        let name = route.ok_or(Failure::ProviderUnreachable(Unreachable::Unavailable))?.remote;
        let made = self.named("CREATE ", &name, "").await?;
        // Another may have made it just now.
        if !made.is_ok() && made.code != b"ALREADYEXISTS" {
            made.or_failure()?;
        }
        self.named("SUBSCRIBE ", &name, "").await?;
        gates.keep(self.account, &naming, None, Keep::Role(Role::Sent, name.clone())).await?;
        gates.stale(self.account);
        Ok(name)
    }

    async fn select(&mut self, name: &RemoteName, writable: bool) -> Result<Option<Mailbox>, Failure> {
        let mut uid_validity = None;
        let line = parts(if writable { "SELECT " } else { "EXAMINE " }, name, "");
        let ended = self
            .command(&line, &mut |response, _| {
                if let Response::Status { tag: None, status } = response
                    && let Some(code) = status.code.filter(|code| code.name.eq_ignore_ascii_case(b"UIDVALIDITY"))
                {
                    uid_validity =
                        std::str::from_utf8(code.arguments).ok().and_then(|digits| digits.trim().parse().ok());
                }
                Ok(())
            })
            .await?;
        // A failed SELECT leaves nothing selected (RFC 3501 section 6.3.1).
        self.selected = ended.is_ok();
        Ok(ended.is_ok().then(|| Mailbox { name: name.clone(), uid_validity }))
    }

    async fn read_folders(&mut self, gates: &Gates) -> Result<Arc<Namespace>, Failure> {
        let (mut reading, lines) = FolderReading::begin(&self.capabilities);
        self.write(&lines).await?;
        let read = async {
            loop {
                let octets = self.response().await?;
                if reading.response(&octets).map_err(Failure::ProviderMisbehaved)? == Progress::Done {
                    return Ok(());
                }
            }
        };
        timeout(ANSWERED, read).await.unwrap_or(Err(TIMED_OUT))?;
        gates.publish(self.account, self.generation, &Naming::default(), None, reading.finish()).await
    }

    /// The UIDs of the messages with this Message-ID in the mailbox that is open. `since` is the day before which none is
    /// looked for, in Unix seconds.
    pub(crate) async fn look(&mut self, message_id: &str, search: Search, since: i64) -> Result<Vec<u32>, Failure> {
        reach(Moment::BeforeLook).await;
        let mut candidates = None;
        if search == Search::Exact {
            let mut line = b"UID SEARCH UNDELETED HEADER Message-ID ".to_vec();
            write_string(message_id.as_bytes(), false, &mut line);
            candidates = self.search(line).await?;
        }
        let candidates = match candidates {
            Some(candidates) => candidates,
            // By day: its own date may differ from ours by one, and the zone of a server too.
            None => self
                .search(format!("UID SEARCH UNDELETED SINCE {}", day(since - 2 * 86_400)).into_bytes())
                .await?
                .unwrap_or_default(),
        };
        let newest = candidates.get(candidates.len().saturating_sub(COMPARED_MAX)..).unwrap_or_default();
        let mut found = Vec::new();
        for uids in newest.chunks(COMPARED_AT_ONCE) {
            self.compare(uids, message_id, &mut found).await?;
        }
        Ok(found)
    }

    /// None: the provider does not search so.
    async fn search(&mut self, line: Vec<u8>) -> Result<Option<Vec<u32>>, Failure> {
        let mut found = Vec::new();
        let ended = self
            .command(&[line], &mut |response, octets| {
                if let Response::Data { kind: Kind::Search, rest, .. } = response {
                    found.extend(fetched::numbers(octets.get(*rest..).unwrap_or_default()));
                }
                // Each answer has its cap, and nothing says how many come.
                if found.len() > FOUND_MAX { Err(TOO_MUCH) } else { Ok(()) }
            })
            .await?;
        found.sort_unstable();
        Ok(ended.is_ok().then_some(found))
    }

    async fn compare(&mut self, uids: &[u32], message_id: &str, found: &mut Vec<u32>) -> Result<(), Failure> {
        let set = uids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let line = format!("UID FETCH {set} (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])");
        let ended = self
            .command(&[line.into_bytes()], &mut |response, octets| {
                if let Response::Data { kind: Kind::Fetch, .. } = response
                    && let Some((uid, field)) = fetched::literal(octets)
                    && Likeness::of(field).message_id.as_deref() == Some(message_id)
                    && uids.contains(&uid)
                    && !found.contains(&uid)
                {
                    found.push(uid);
                }
                Ok(())
            })
            .await?;
        ended.or_failure().map(drop)
    }

    /// Appends a message to the mailbox, and says where it stands, if the provider does.
    pub(crate) async fn append(
        &mut self,
        mailbox: &Mailbox,
        what: Appended<'_>,
        mut from: impl AsyncRead + Unpin,
    ) -> Result<Appending, Failure> {
        let Appended { flags, seen, date, octets } = what;
        let flags = [if seen { "\\Seen" } else { "" }, flags].join(" ");
        let behind = format!(" ({}) \"{date}\" {{{octets}}}", flags.trim());
        reach(Moment::BeforeAppend).await;
        let tag = self.begin(&parts("APPEND ", &mailbox.name, &behind)).await?;
        if let Some(ended) = self.until_go_ahead(&tag, &mut |_, _| Ok(())).await? {
            if ended.is_of_the_message() {
                return Ok(Appending::Refused);
            }
            ended.or_failure()?;
            return Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked));
        }
        let mut piece = vec![0; PIECE];
        let mut left = octets;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = from.read(piece.get_mut(..most).unwrap_or_default()).await;
            let read = read.ok().filter(|read| *read > 0).ok_or(Failure::Internal("a file of the spool is short"))?;
            self.write(piece.get(..read).unwrap_or_default()).await?;
            left -= read as u64;
            reach(Moment::WithinAppend).await;
        }
        self.write(b"\r\n").await?;
        let ended = self.until_end(&tag, &mut |_, _| Ok(())).await?;
        if ended.is_of_the_message() {
            return Ok(Appending::Refused);
        }
        let ended = ended.or_failure()?;
        reach(Moment::BeforeFiled).await;
        let place = fetched::append_uid(&ended.arguments).filter(|_| ended.code == b"APPENDUID");
        Ok(Appending::Stored(place.map(|(uid_validity, uid)| SentPlace { uid_validity, uid })))
    }

    /// Takes away what the bridge itself has appended, from a mailbox that is open to write. False: it cannot be named
    /// well enough.
    pub(crate) async fn remove(&mut self, mailbox: &Mailbox, place: SentPlace) -> Result<bool, Failure> {
        // Without UIDPLUS an EXPUNGE would take whatever else is marked.
        if mailbox.uid_validity != Some(place.uid_validity) || !self.capabilities.has("UIDPLUS") {
            return Ok(false);
        }
        let store = format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", place.uid).into_bytes();
        self.command(&[store], &mut |_, _| Ok(())).await?.or_failure()?;
        let expunge = format!("UID EXPUNGE {}", place.uid).into_bytes();
        self.command(&[expunge], &mut |_, _| Ok(())).await?.or_failure()?;
        Ok(true)
    }

    async fn named(&mut self, verb: &str, name: &RemoteName, behind: &str) -> Result<Ended, Failure> {
        self.command(&parts(verb, name, behind), &mut |_, _| Ok(())).await
    }

    async fn command(&mut self, line: &[Vec<u8>], on: &mut OnAnswer<'_>) -> Result<Ended, Failure> {
        let tag = self.begin(line).await?;
        self.until_end(&tag, on).await
    }

    /// Says a command, in parts where the provider must say `+` between.
    async fn begin(&mut self, line: &[Vec<u8>]) -> Result<Vec<u8>, Failure> {
        self.said += 1;
        let tag = format!("PSRLf{}", self.said).into_bytes();
        let mut octets = [&tag[..], b" "].concat();
        for (at, part) in line.iter().enumerate() {
            if at > 0
                && let Some(ended) = self.until_go_ahead(&tag, &mut |_, _| Ok(())).await?
            {
                ended.or_failure()?;
                return Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked));
            }
            octets.extend_from_slice(part);
            octets.extend_from_slice(b"\r\n");
            self.write(&octets).await?;
            octets.clear();
        }
        Ok(tag)
    }

    async fn until_end(&mut self, tag: &[u8], on: &mut OnAnswer<'_>) -> Result<Ended, Failure> {
        let ended = self.until_go_ahead(tag, on).await?;
        ended.ok_or(Failure::ProviderMisbehaved(Misbehaviour::Unasked))
    }

    /// None: it says `+`.
    async fn until_go_ahead(&mut self, tag: &[u8], on: &mut OnAnswer<'_>) -> Result<Option<Ended>, Failure> {
        timeout(ANSWERED, self.answered(tag, on)).await.unwrap_or(Err(TIMED_OUT))
    }

    async fn answered(&mut self, tag: &[u8], on: &mut OnAnswer<'_>) -> Result<Option<Ended>, Failure> {
        for _ in 0..ANSWERS_MAX {
            let octets = self.response().await?;
            let response = response::read(&octets).map_err(Failure::ProviderMisbehaved)?;
            match &response {
                Response::Continuation(_) => return Ok(None),
                Response::Status { tag: Some(answered), status } if *answered == tag => {
                    let (code, arguments) = status
                        .code
                        .map(|code| (code.name.to_ascii_uppercase(), code.arguments.to_vec()))
                        .unwrap_or_default();
                    return Ok(Some(Ended { condition: status.condition, code, arguments }));
                }
                Response::Status { tag: Some(_), .. } => {
                    return Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked));
                }
                Response::Status { tag: None, status } if status.condition == Condition::Bye => return Err(LOST),
                Response::Status { .. } | Response::Data { .. } => on(&response, &octets)?,
            }
        }
        Err(TOO_MUCH)
    }

    /// One whole response, its literals included.
    async fn response(&mut self) -> Result<Vec<u8>, Failure> {
        let mut held = Vec::new();
        loop {
            let mut input = &self.unread[..];
            let mut whole = false;
            while let Some(piece) = self.framer.next(&mut input).map_err(Failure::ProviderMisbehaved)? {
                let (octets, end) = match piece {
                    Piece::Line { text, end } | Piece::More { text, end } => (text, Some(end)),
                    Piece::Octets(octets) => (octets, None),
                };
                if held.len() + octets.len() > ANSWER_MAX {
                    return Err(Failure::ProviderMisbehaved(Misbehaviour::LineTooLong));
                }
                held.extend_from_slice(octets);
                if matches!(end, Some(End::Literal(_))) {
                    held.extend_from_slice(b"\r\n");
                }
                if end == Some(End::Line) {
                    whole = true;
                    break;
                }
            }
            self.unread = input.to_vec();
            if whole {
                return Ok(held);
            }
            let read = timeout(COMMAND, self.lane.stream.read_buf(&mut self.unread)).await;
            match read {
                Ok(Ok(0) | Err(_)) => return Err(LOST),
                Ok(Ok(_)) => {}
                Err(_) => return Err(TIMED_OUT),
            }
        }
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let written = timeout(COMMAND, async {
            self.lane.stream.write_all(octets).await?;
            self.lane.stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(LOST),
            Err(_) => Err(TIMED_OUT),
        }
    }
}
