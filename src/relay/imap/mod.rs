//! The IMAP relay: a client's commands to its lane under RemoteNames, the answers back under LocalNames.
//!
//! Three kinds of command. *Forwarded* ones go to the lane as the client pipelines them. *Local* ones are answered by the
//! bridge when nothing is pending. *Exclusive* ones (SELECT, CLOSE, whatever changes the tree) wait until nothing is
//! pending, and what follows waits for them. Client to provider is an allow-list, provider to client a closed list of
//! what passes. Messages stream both ways; nothing here holds one. RFC 3501, RFC 9051.
//!
//! | file | what |
//! |---|---|
//! | `client` | octets of the client into whole commands; before login; the message of an APPEND |
//! | `copy` | an APPEND to Sent that the bridge keeps |
//! | `dispatch` | a whole command: forwarded, local or exclusive |
//! | `answers` | what the bridge says of its own: LIST, status lines |
//! | `idle` | IDLE, which is ours |
//! | `lane` | the provider's responses towards the client |
//! | `refusal` | a NO or BAD of the bridge to a command, in its turn |
//! | `reopen` | a dropped lane opened anew without the client noticing |
//! | `told` | what of status lines and STATUS answers the client is told |
//! | `tree` | commands on the tree of mailboxes, and what is kept of it in the provider's place |
//! | `writer` | commands towards the provider, cut where it must say `+` first |

mod answers;
pub(crate) mod client;
pub(crate) mod copy;
mod dispatch;
pub(crate) mod idle;
pub(crate) mod lane;
mod refusal;
pub(crate) mod reopen;
#[cfg(test)]
mod tests;
mod throttled;
mod told;
pub(crate) mod tree;
mod writer;

use super::{
    Admission, Answer, Awaited, Care, Event, Flow, LaneFacts, LaneId, LaneState, Outbox, Relay, Request, RequestId,
    Said,
};
use super::{SessionFacts, Side, folders::FolderReading};
use crate::{
    failure::{Cap, Failure, Misbehaviour, Rule},
    model::{LocalName, UnreadScope},
    rules::namespace::{Namespace, Route},
    wire::{
        IMAP_LINE_BEFORE_LOGIN,
        imap::{Capabilities, command::Verb, framer::Framer},
    },
};
use client::ClientReading;
use dispatch::{Command, Ready};
use idle::{Idling, Timers};
use lane::LaneReading;
use reopen::{Numbers, Selected};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use writer::Writer;

/// The machine of one client connection.
pub struct ImapRelay {
    /// The framers stand beside the session, because their pieces borrow from them while the session takes a piece.
    client: Framer,
    provider: Framer,
    session: Session,
}

/// All that a session remembers.
struct Session {
    facts: SessionFacts,
    signed: Option<Signed>,
    /// Of which mailboxes unread messages are counted.
    unread: UnreadScope,
    /// Whether copies for Sent are kept by the bridge.
    care: Care,
    /// Copies so far.
    drafts: u32,
    /// The one request that the session waits for; the client's input rests meanwhile.
    asked: Option<(RequestId, Asked)>,

    reading: ClientReading,
    /// What is gathered of the client's command, as on the wire, without the last CR LF. Bounded by
    /// `IMAP_COMMAND_MAX`.
    gathered: Vec<u8>,
    /// What waits for its turn.
    ready: Option<Ready>,
    /// Commands and logins refused on this connection.
    misbehaved: u8,
    refused_logins: u8,
    /// Whole commands before login.
    before_login: u8,

    /// Commands at the provider, oldest first.
    pending: VecDeque<Pending>,
    writer: Writer,
    lane_reading: LaneReading,
    /// The provider is within a line or literal, of which not all may have been seen yet.
    within: bool,
    /// A reading of the folder table under way; it runs only with nothing pending.
    folders: Option<FolderReading>,
    selected: Option<Selected>,
    /// What is told of a mailbox that the client is opening.
    opening: Numbers,
    /// What is found in the mailbox that we select again on a new lane.
    reselected: Option<Numbers>,
    idling: Option<Idling>,
    timers: Timers,
    /// The provider has a mailbox selected, whatever the client believes.
    provider_selected: bool,
    /// What UIDVALIDITY is told for a mailbox of the namespace, with the upstream value that it stands for.
    told: HashMap<LocalName, (u32, u32)>,
    /// How often a value that was told already has changed, of all mailboxes.
    validity_changes: u16,
    /// Untagged lines that would reach a client which waits for `+`: laminas and Webklex read exactly one line there.
    withheld: Vec<u8>,
    /// The client waits for our `+` to a literal that is held.
    owes_go_ahead: bool,
    /// The client was refused a literal that it waits to send: what it says next is a new command.
    literal_refused: bool,
    draining: bool,
    ended: bool,
}

/// What is known once the client has signed in.
struct Signed {
    /// None: not needed since login, or since it was given back, or dropped while nothing was under way.
    lane: Option<LaneId>,
    capabilities: Capabilities,
    namespace: Arc<Namespace>,
}

/// What the session waits for.
enum Asked {
    Verdict {
        tag: Vec<u8>,
    },
    /// Whether the account can be used, which the login under this tag waits for.
    Ready {
        tag: Vec<u8>,
    },
    Folders,
    Published,
    /// What a command did to the tree; then it is answered.
    Kept {
        tag: Vec<u8>,
        verb: Verb,
    },
    /// A lane for the command that waits, or to idle on.
    Lane,
    /// A lane to read the folder table over.
    LaneForFolders,
    /// With the response that cannot go on before the value is known.
    Validity {
        local: LocalName,
        upstream: u32,
        response: Vec<u8>,
    },
}

/// A command at the provider.
struct Pending {
    tag: Vec<u8>,
    verb: Verb,
    /// The mailbox that it names.
    route: Option<Route>,
    /// What a RENAME wants it to be called.
    target: Option<Route>,
    /// The name as the command spelt it: answers echo it. Of a command of ours, the client's tag for which it runs.
    spelled: Vec<u8>,
    /// Ours, not the client's: its answers are swallowed.
    own: bool,
    /// It changes nothing, and nothing of its answer came: it can be said again on another lane.
    again: Option<Box<Command>>,
}

/// Refused logins on one connection before it closes: c-client tries a wrong password three times (R22: at most 10). All
/// of them wait, and that ends before the time to sign in does.
pub(crate) const REFUSED_LOGINS_MAX: u8 = 5;
/// Bad commands before login before the connection closes (design section 7).
pub(crate) const MISBEHAVED_BEFORE_LOGIN_MAX: u8 = 3;
/// Commands at the provider at once. A client that pipelines more waits; real ones pipeline a handful.
pub(crate) const PENDING_MAX: usize = 256;
/// Changes of UIDVALIDITY in one session, each of them a commit. A mailbox that is made anew changes it once; a host that
/// makes up another with each SELECT has room here for all that a CRM selects in a session.
pub(crate) const VALIDITY_CHANGES_MAX: u16 = 64;
/// Untagged lines withheld before they go out all the same.
pub(crate) const WITHHELD_MAX: usize = 16 * 1024;

impl ImapRelay {
    #[must_use]
    pub fn new(facts: SessionFacts) -> Self {
        let session = Session {
            facts,
            signed: None,
            unread: UnreadScope::default(),
            care: Care::default(),
            drafts: 0,
            asked: None,
            reading: ClientReading::Command,
            gathered: Vec::new(),
            ready: None,
            misbehaved: 0,
            refused_logins: 0,
            before_login: 0,
            pending: VecDeque::new(),
            writer: Writer::default(),
            lane_reading: LaneReading::Boundary,
            within: false,
            folders: None,
            selected: None,
            opening: Numbers::default(),
            reselected: None,
            idling: None,
            timers: Timers::default(),
            provider_selected: false,
            told: HashMap::new(),
            validity_changes: 0,
            withheld: Vec::new(),
            owes_go_ahead: false,
            literal_refused: false,
            draining: false,
            ended: false,
        };
        Self { client: Framer::client(IMAP_LINE_BEFORE_LOGIN), provider: Framer::provider(), session }
    }
}

impl Relay for ImapRelay {
    fn input(&mut self, from: Side, input: &mut &[u8], out: &mut Outbox) -> Result<Flow, Failure> {
        match from {
            Side::Client => self.client_input(input, out),
            Side::Lane(lane) if self.session.lane() == Some(lane) => self.lane_input(input, out),
            // Of a lane that was given back: it stays there, so that nobody takes the lane for clean.
            Side::Lane(_) => return self.session.flow(Some(from)),
        }?;
        self.forget_refused_literal();
        let blocked = match from {
            Side::Client => self.session.client_rests(),
            Side::Lane(_) => self.session.lane_rests(),
        };
        self.session.flow(blocked.then_some(from))
    }

    fn event(&mut self, event: Event, out: &mut Outbox) -> Result<Flow, Failure> {
        let session = &mut self.session;
        match event {
            Event::Connected => session.greet(out),
            Event::Answer(id, answer) => {
                let Some(answer) = session.copy_answered(id, answer, out) else {
                    return self.went_on(out);
                };
                let asked = session.asked.take().filter(|(asked, _)| *asked == id);
                let (_, asked) = asked.ok_or(Failure::Internal("an answer that was not asked for"))?;
                if matches!(answer, Answer::Lane(Ok(_))) {
                    self.provider = Framer::provider();
                    session.within = false;
                }
                session.answered(asked, answer, out)?;
                if session.signed.is_some() {
                    self.client.set_cap(crate::wire::IMAP_COMMAND_MAX);
                }
            }
            Event::Closed(lane) if session.ended || session.lane() != Some(lane) => {}
            Event::Closed(_) => {
                session.lane_lost(out)?;
            }
            Event::Elapsed(timer) => session.idle_elapsed(timer, out),
            Event::Drain => session.draining = true,
            // Pages of many CRMs end without LOGOUT, and the next one comes at once.
            Event::Left => {
                session.release(out);
                session.ended = true;
                return session.flow(None);
            }
        }
        self.went_on(out)
    }

    fn farewell(&mut self, failure: &Failure, out: &mut Outbox) {
        self.session.farewell(failure, out);
    }

    fn said(&self, side: Side) -> Said {
        let reading = &self.session.reading;
        match side {
            Side::Client => Said {
                lines: self.client.lines(),
                within: !self.client.at_boundary() || reading.is_message() || reading.is_within_message(),
            },
            Side::Lane(lane) if self.session.lane() == Some(lane) => {
                Said { lines: self.provider.lines(), within: !self.provider.at_boundary() }
            }
            Side::Lane(_) => Said::default(),
        }
    }

    fn awaits(&self) -> Awaited {
        let session = &self.session;
        let long = |pending: &Pending| {
            matches!(
                pending.verb,
                Verb::Append | Verb::Copy | Verb::Expunge | Verb::Move | Verb::Search | Verb::Sort | Verb::Thread
            )
        };
        match () {
            () if session.signed.is_none() => Awaited::Login,
            () if session.idling.as_ref().is_some_and(Idling::waits_for_client) => Awaited::Client,
            // The message of an APPEND is the client's to send.
            () if session.reading.is_within_message() => Awaited::Client,
            () if matches!(session.reading, ClientReading::Copy(_)) => Awaited::LongCommand,
            () if session.pending.iter().any(long) => Awaited::LongCommand,
            () if session.folders.is_some() || !session.pending.is_empty() => Awaited::Provider,
            () => Awaited::Client,
        }
    }
}

impl ImapRelay {
    fn went_on(&mut self, out: &mut Outbox) -> Result<Flow, Failure> {
        self.session.go_on(out)?;
        self.forget_refused_literal();
        self.session.flow(None)
    }

    fn forget_refused_literal(&mut self) {
        if std::mem::take(&mut self.session.literal_refused) {
            self.client.forget_literal();
        }
    }

    fn client_input(&mut self, input: &mut &[u8], out: &mut Outbox) -> Result<(), Failure> {
        self.session.go_on(out)?;
        if self.session.client_rests() {
            return Ok(());
        }
        let piece = self.client.next(input).map_err(Failure::ClientMisbehaved)?;
        let Some(piece) = piece else { return Ok(()) };
        self.session.client_piece(piece, out)?;
        self.session.go_on(out)
    }

    fn lane_input(&mut self, input: &mut &[u8], out: &mut Outbox) -> Result<(), Failure> {
        if self.session.lane_rests() {
            return Ok(());
        }
        let before = input.len();
        // What was held of a line that streams is given out before anything more of it is taken.
        while input.len() == before {
            let piece = self.provider.next(input).map_err(Failure::ProviderMisbehaved)?;
            let Some(piece) = piece else {
                self.session.within = !self.provider.at_boundary();
                return Ok(());
            };
            self.session.within = !piece.ends_line();
            self.session.lane_piece(piece, out)?;
        }
        self.session.go_on(out)
    }
}

impl Session {
    /// Gives the command that waits its turn, if it has come, and ends a draining session where nothing is under way.
    fn go_on(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        if self.owes_go_ahead && self.lane_reading.is_boundary_for_client() {
            self.owes_go_ahead = false;
            out.client().extend_from_slice(b"+ Ready\r\n");
        }
        if self.asked.is_none()
            && self.folders.is_none()
            && let Some(ready) = self.ready.take()
        {
            self.dispatch(ready, out)?;
        }
        let between = self.is_idle() && self.reading.is_between_commands(&self.gathered);
        let idling = self.idling.is_some() && self.lane_reading.is_boundary_for_client();
        if self.draining && !self.ended && (between || idling) {
            self.release(out);
            out.client().extend_from_slice(b"* BYE [UNAVAILABLE] The mail bridge is stopping, connect again\r\n");
            self.ended = true;
        }
        self.give_back(out);
        Ok(())
    }

    fn flow(&self, rests: Option<Side>) -> Result<Flow, Failure> {
        Ok(match rests {
            _ if self.ended => Flow::Done,
            Some(side) => Flow::Pause(side),
            None => Flow::More,
        })
    }

    /// Whether the client's input waits for something else.
    fn client_rests(&self) -> bool {
        let leaving = self.idling.as_ref().is_some_and(|idling| !idling.waits_for_client());
        self.asked.is_some() || self.ready.is_some() || self.folders.is_some() || self.reading.rests() || leaving
    }

    /// Whether the lane's input waits for an answer.
    fn lane_rests(&self) -> bool {
        matches!(&self.asked, Some((_, Asked::Validity { .. })))
    }

    /// Whether nothing is under way at the provider, and the client stands between two responses: only then may the
    /// bridge speak on its own.
    fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.folders.is_none()
            && self.asked.is_none()
            && matches!(self.lane_reading, LaneReading::Boundary)
    }

    fn ask(&mut self, request: Request, asked: Asked, out: &mut Outbox) {
        self.asked = Some((out.ask(request), asked));
    }

    fn answered(&mut self, asked: Asked, answer: Answer, out: &mut Outbox) -> Result<(), Failure> {
        match (asked, answer) {
            (Asked::Verdict { tag }, Answer::Verdict(verdict)) => self.verdict(tag, verdict, out),
            (Asked::Ready { tag }, Answer::Ready(Ok(facts))) => {
                let LaneFacts::Imap { capabilities, namespace } = facts else {
                    return Err(Failure::Internal("a lane of another protocol"));
                };
                self.say_signed_in(&tag, &capabilities, out);
                self.signed = Some(Signed { lane: None, capabilities, namespace });
                Ok(())
            }
            (Asked::Ready { tag }, Answer::Ready(Err(failure))) => {
                self.say_failure(&tag, &failure, out);
                Ok(())
            }
            (Asked::Kept { tag, verb }, Answer::Kept(kept)) => {
                self.kept(&tag, verb, kept, out);
                Ok(())
            }
            (Asked::Lane, Answer::Lane(lease)) => self.leased(lease, out),
            (Asked::LaneForFolders, Answer::Lane(Ok(lease))) => {
                self.leased(Ok(lease), out)?;
                self.read_folders(out)
            }
            (Asked::LaneForFolders, Answer::Lane(Err(failure))) => self.refuse_ready(&failure, out),
            (Asked::Folders, Answer::Folders(None)) if self.has_lane() => self.read_folders(out),
            (Asked::Folders, Answer::Folders(None)) => {
                self.ask_for_lane(Asked::LaneForFolders, out);
                Ok(())
            }
            (Asked::Folders | Asked::Published, Answer::Folders(Some(namespace))) => {
                if let Some(signed) = &mut self.signed {
                    signed.namespace = namespace;
                    // Under a name there may be another mailbox now.
                    self.told.clear();
                }
                Ok(())
            }
            (Asked::Validity { local, upstream, response }, Answer::Validity(told)) => {
                self.told.insert(local, (upstream, told?));
                self.whole_response(&response, out)
            }
            _ => Err(Failure::Internal("an answer of another kind")),
        }
    }

    fn verdict(&mut self, tag: Vec<u8>, verdict: Result<Admission, Failure>, out: &mut Outbox) -> Result<(), Failure> {
        // The password was right: whoever gave it may know what is switched off.
        let allowed = |admission: Admission| match admission.receives {
            true => Ok(admission),
            false => Err(Failure::Denied(Rule::Receiving)),
        };
        match verdict.and_then(allowed) {
            Ok(admission) => {
                self.unread = admission.unread;
                self.care = admission.filing;
                self.ask(Request::Ready(admission.account), Asked::Ready { tag }, out);
                Ok(())
            }
            // Too many wait for their refusal already: this one leaves at once.
            Err(failure @ Failure::Busy(Cap::Logins)) => Err(failure),
            Err(failure) => {
                self.say_failure(&tag, &failure, out);
                self.login_refused()
            }
        }
    }

    fn login_refused(&mut self) -> Result<(), Failure> {
        self.refused_logins += 1;
        if self.refused_logins < REFUSED_LOGINS_MAX { Ok(()) } else { Err(Failure::Busy(Cap::Logins)) }
    }

    /// Counts a command that was answered BAD; before login only a few are borne.
    fn misbehaved(&mut self) -> Result<(), Failure> {
        self.misbehaved = self.misbehaved.saturating_add(1);
        if self.signed.is_none() && self.misbehaved >= MISBEHAVED_BEFORE_LOGIN_MAX {
            return Err(Failure::ClientMisbehaved(Misbehaviour::TooManyBadCommands));
        }
        Ok(())
    }

    /// Gives the lane back where there is one, in whatever state it is.
    fn release(&mut self, out: &mut Outbox) {
        // The rest of a message whose APPEND was refused early is still awaited there, and would be taken from commands.
        let in_message = self.reading.is_message();
        let state = match self.is_idle() && self.writer.is_empty() && !self.within && !in_message {
            true if self.provider_selected && self.selected.is_some() => LaneState::Selected,
            true if self.provider_selected => LaneState::PerhapsSelected,
            true => LaneState::Clean,
            false => LaneState::Unknown,
        };
        if let Some(lane) = self.signed.as_mut().and_then(|signed| signed.lane.take()) {
            // Of that lane: the next has no mailbox yet.
            self.provider_selected = false;
            out.ask(Request::Release(lane, state));
        }
    }

    /// Without a mailbox a session has a lane for one command at a time: others wait for places, and a client that sits
    /// on its connection needs none.
    fn give_back(&mut self, out: &mut Outbox) {
        if self.ready.is_none() && self.selected.is_none() && self.is_idle() && self.writer.is_empty() {
            self.release(out);
        }
    }
}
