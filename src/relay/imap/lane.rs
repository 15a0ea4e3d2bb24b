//! The provider's responses towards the client: what passes, what is rewritten, what is swallowed. Data streams; only
//! what carries a mailbox name is held, under a cap.

use super::{
    Asked, ClientReading, Numbers, Pending, Selected, Session, WITHHELD_MAX, answers::say, refusal::Refusal,
    writer::Waiting,
};
use crate::{
    failure::{Failure, Misbehaviour},
    relay::{Outbox, Request, folders::Progress},
    rules::imap::{CodeFate, DataFate, code_fate, data_fate},
    wire::{
        IMAP_LINE_FIRST,
        imap::{
            command::Verb,
            framer::{End, Piece},
            response::{self, Condition, Kind, Response, Status},
        },
    },
};
use std::borrow::Cow;

/// Where in the provider's stream the session stands.
#[derive(Debug)]
pub(super) enum LaneReading {
    /// Between two responses.
    Boundary,
    /// In a response that the client does not get.
    Dropping,
    /// In a response that is looked at when it is whole.
    Holding(Vec<u8>),
    /// In a response that goes to the client.
    Passing(Passing),
}

/// What must be remembered of a response that goes to the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    /// A trailing blank is cut.
    trim: bool,
    /// A blank is held that may be the trailing one.
    blank: bool,
    /// The last octet that was shown is `}`: with the blank behind it cut it could announce a literal.
    brace: bool,
    /// It goes to what is withheld.
    aside: bool,
}

/// How much of a command the provider has.
enum Sent {
    Nothing,
    Part,
    Whole,
}

/// A response that is held: a STATUS or LIST line with the longest name, escaped, as a literal.
pub(crate) const HELD_MAX: usize = 2 * IMAP_LINE_FIRST;

impl LaneReading {
    /// Whether the provider stands between two responses.
    pub(super) fn is_boundary_for_provider(&self) -> bool {
        matches!(self, Self::Boundary)
    }

    /// Whether the client stands between two responses.
    pub(super) fn is_boundary_for_client(&self) -> bool {
        !matches!(self, Self::Passing(Passing { aside: false, .. }))
    }
}

impl Passing {
    /// Writes a piece, but holds a blank until it is known not to be the last octet of the line, whatever the seams.
    fn show(&mut self, text: &[u8], end: Option<End>, sink: &mut Vec<u8>) {
        let in_line = matches!(end, Some(End::Continues | End::Line));
        if self.blank && !(text.is_empty() && in_line) {
            sink.push(b' ');
            self.blank = false;
            self.brace = false;
        }
        let text = match text.strip_suffix(b" ") {
            Some(shorter) if self.trim && in_line && !shorter.last().map_or(self.brace, |octet| *octet == b'}') => {
                self.blank = true;
                shorter
            }
            _ => text,
        };
        sink.extend_from_slice(text);
        self.brace = text.last().map_or(self.brace, |octet| *octet == b'}');
        if matches!(end, Some(End::Line | End::Literal(_))) {
            sink.extend_from_slice(b"\r\n");
        }
    }
}

impl Session {
    /// Takes one piece.
    pub(super) fn lane_piece(&mut self, piece: Piece<'_>, out: &mut Outbox) -> Result<(), Failure> {
        let (text, end) = match piece {
            Piece::Line { text, end } | Piece::More { text, end } => (text, Some(end)),
            Piece::Octets(octets) => (octets, None),
        };
        match &mut self.lane_reading {
            LaneReading::Boundary => self.first_piece(text, end.unwrap_or(End::Line), out),
            LaneReading::Dropping => {
                if end == Some(End::Line) {
                    self.lane_reading = LaneReading::Boundary;
                }
                Ok(())
            }
            LaneReading::Holding(held) => {
                held.extend_from_slice(text);
                if matches!(end, Some(End::Literal(_))) {
                    held.extend_from_slice(b"\r\n");
                }
                if held.len() > HELD_MAX {
                    return Err(Failure::ProviderMisbehaved(Misbehaviour::LineTooLong));
                }
                if end != Some(End::Line) {
                    return Ok(());
                }
                let held = std::mem::take(held);
                self.lane_reading = LaneReading::Boundary;
                self.whole_response(&held, out)
            }
            LaneReading::Passing(passing) => {
                let passing = *passing;
                self.pass(passing, text, end, out);
                Ok(())
            }
        }
    }

    /// Decides by its first octets what becomes of a response.
    fn first_piece(&mut self, text: &[u8], end: End, out: &mut Outbox) -> Result<(), Failure> {
        let whole = end == End::Line;
        let response = response::read(text).map_err(Failure::ProviderMisbehaved)?;
        // BYE is no part of an answer: it says what the end of the connection says.
        if !matches!(&response, Response::Status { tag: None, status } if status.condition == Condition::Bye) {
            self.pending.iter_mut().for_each(|pending| pending.again = None);
        }
        match response {
            Response::Continuation(_) | Response::Status { .. } => {
                if !whole {
                    self.lane_reading = LaneReading::Dropping;
                }
                self.whole_response(text, out)
            }
            Response::Data { kind, number, .. } => match self.counted(kind, number) {
                DataFate::Drop => {
                    if !whole {
                        self.lane_reading = LaneReading::Dropping;
                    }
                    Ok(())
                }
                DataFate::Status if whole => self.whole_response(text, out),
                DataFate::Status => {
                    let mut held = text.to_vec();
                    if matches!(end, End::Literal(_)) {
                        held.extend_from_slice(b"\r\n");
                    }
                    self.lane_reading = LaneReading::Holding(held);
                    Ok(())
                }
                DataFate::Pass { trim } => {
                    let aside = self.withholds();
                    self.pass(Passing { trim, blank: false, brace: false, aside }, text, Some(end), out);
                    Ok(())
                }
            },
        }
    }

    /// The fate of data, its number kept where it counts.
    fn counted(&mut self, kind: Kind, number: Option<u32>) -> DataFate {
        match (kind, number) {
            (Kind::Exists, Some(count)) => self.numbers().exists(count),
            (Kind::Expunge, _) => self.numbers().expunged(),
            _ => {}
        }
        self.fate(kind)
    }

    /// What is known of the mailbox that the provider speaks of now.
    fn numbers(&mut self) -> &mut Numbers {
        let opening = self.pending.iter().any(|pending| matches!(pending.verb, Verb::Select | Verb::Examine));
        match (&mut self.reselected, &mut self.selected) {
            (Some(found), _) => found,
            (None, Some(selected)) if !opening => selected.told(),
            _ => &mut self.opening,
        }
    }

    /// Whether a command of ours is pending whose answers the client must not see.
    fn swallows(&self) -> bool {
        let shown = |verb| matches!(verb, Verb::Fetch | Verb::Idle | Verb::Noop);
        self.pending.front().is_some_and(|pending| pending.own && !shown(pending.verb))
    }

    fn fate(&self, kind: Kind) -> DataFate {
        let own = self.swallows();
        let opening = self.pending.iter().any(|pending| matches!(pending.verb, Verb::Select | Verb::Examine));
        match (kind, data_fate(kind)) {
            (Kind::List | Kind::Lsub | Kind::Namespace, _) if self.folders.is_some() => DataFate::Status,
            _ if own => DataFate::Drop,
            // Of a mailbox that the client no longer has open.
            (_, DataFate::Pass { .. }) if self.selected.is_none() && !opening => DataFate::Drop,
            (_, fate) => fate,
        }
    }

    /// Whether untagged lines are withheld: the client waits for `+`, and no earlier command of it is pending.
    fn withholds(&self) -> bool {
        let waits = matches!(&self.reading, ClientReading::AwaitingGoAhead { message, .. } if message.synchronising);
        waits && self.pending.len() == 1
    }

    /// Where this many octets of an untagged response go. More than can be withheld goes to the client as it comes, as
    /// every client but the strict ones can bear, and never before what came earlier.
    pub(super) fn sink<'a>(&'a mut self, octets: usize, out: &'a mut Outbox) -> &'a mut Vec<u8> {
        if self.withholds() && self.withheld.len() + octets <= WITHHELD_MAX {
            return &mut self.withheld;
        }
        out.client().append(&mut self.withheld);
        out.client()
    }

    fn pass(&mut self, mut passing: Passing, text: &[u8], end: Option<End>, out: &mut Outbox) {
        // With a blank before and a line end behind. A response that began to go out goes on so.
        passing.aside &= self.withheld.len() + text.len() + 3 <= WITHHELD_MAX;
        if !passing.aside {
            out.client().append(&mut self.withheld);
        }
        let sink = if passing.aside { &mut self.withheld } else { out.client() };
        passing.show(text, end, sink);
        self.lane_reading = match end {
            Some(End::Line) => LaneReading::Boundary,
            _ => LaneReading::Passing(passing),
        };
    }

    /// A response that is whole: a status line, a continuation, or one that was held for its name. Also called again
    /// when the value that it needed is known.
    pub(super) fn whole_response(&mut self, octets: &[u8], out: &mut Outbox) -> Result<(), Failure> {
        if let Some(folders) = &mut self.folders {
            match folders.response(octets).map_err(Failure::ProviderMisbehaved)? {
                Progress::Taken => return Ok(()),
                Progress::Done => return self.folders_read(out),
                Progress::Foreign => {}
            }
        }
        match response::read(octets).map_err(Failure::ProviderMisbehaved)? {
            Response::Continuation(_) => self.go_ahead(out),
            Response::Status { tag: None, status } => self.untagged(octets, &status, out),
            Response::Status { tag: Some(tag), status } => self.tagged(octets, tag, &status, out),
            Response::Data { rest, .. } => self.status_data(octets, rest, out),
        }
    }

    fn folders_read(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        if let (Some(folders), Some(signed)) = (self.folders.take(), &self.signed) {
            let request = Request::Publish(signed.namespace.account(), folders.finish());
            self.ask(request, Asked::Published, out);
        }
        Ok(())
    }

    fn go_ahead(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        match self.writer.go_ahead() {
            Some(Waiting::Segment(_)) => {
                self.flush_writer(out);
                Ok(())
            }
            Some(Waiting::Message(_)) => {
                if let ClientReading::AwaitingGoAhead { tag, message } = &self.reading {
                    if message.synchronising {
                        // Never a bare `+`: laminas and Webklex look for the blank.
                        out.client().extend_from_slice(b"+ Ready\r\n");
                    }
                    self.reading = ClientReading::Message { tag: tag.clone() };
                }
                out.client().append(&mut self.withheld);
                Ok(())
            }
            None if self.idle_accepted(out) => Ok(()),
            None => Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked)),
        }
    }

    fn untagged(&mut self, octets: &[u8], status: &Status<'_>, out: &mut Outbox) -> Result<(), Failure> {
        if status.condition == Condition::Bye {
            self.note_throttle(status, out);
        }
        match status.condition {
            Condition::Bye => return self.said_bye(out),
            Condition::Preauth => return Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked)),
            Condition::Ok | Condition::No | Condition::Bad => {}
        }
        if let Some(code) = status.code {
            self.numbers().code(code);
        }
        if self.swallows() {
            return Ok(());
        }
        let oldest = |verbs: &[Verb]| self.pending.iter().find(|pending| verbs.contains(&pending.verb));
        let route = match status.code.map(|code| code_fate(code.name)) {
            Some(CodeFate::UidValidity) => {
                oldest(&[Verb::Select, Verb::Examine]).and_then(|pending| pending.route.clone())
            }
            // RFC 6851 section 4.3: a MOVE tells its UIDs before it ends.
            Some(CodeFate::CopyUid) => oldest(&[Verb::Move]).and_then(|pending| pending.route.clone()),
            _ => None,
        };
        let Some(code) = self.code(octets, status.code, route.as_ref(), out)? else { return Ok(()) };
        let words = self.words(status).into_owned();
        let mut line = Vec::new();
        say(b"*", status.condition.name(), code.as_deref(), &words, &mut line);
        self.sink(line.len(), out).extend_from_slice(&line);
        Ok(())
    }

    fn tagged(&mut self, octets: &[u8], tag: &[u8], status: &Status<'_>, out: &mut Outbox) -> Result<(), Failure> {
        let unasked = Failure::ProviderMisbehaved(Misbehaviour::Unasked);
        let at = self.pending.iter().position(|pending| pending.tag == tag).ok_or(unasked.clone())?;
        self.note_throttle(status, out);
        let ok = status.condition == Condition::Ok;
        let impossible = match self.sent(tag) {
            Sent::Nothing => true,
            Sent::Part => ok,
            Sent::Whole => false,
        };
        if impossible || matches!(status.condition, Condition::Bye | Condition::Preauth) {
            return Err(unasked);
        }
        let route = self.pending.get(at).and_then(|pending| pending.route.clone());
        let Some(code) = self.code(octets, status.code, route.as_ref(), out)? else { return Ok(()) };
        let words = if ok { Cow::Borrowed(&b""[..]) } else { self.words(status) }.into_owned();
        let Some(pending) = self.pending.remove(at) else { return Err(unasked) };
        self.completed(&pending, ok, out);
        if pending.own {
            return self.own_ended(pending, ok, out);
        }
        if let Some(keep) = self.to_keep(&pending, ok, status) {
            self.writer.ended(tag);
            self.keep(keep, pending.tag, pending.verb, out);
            self.flush_writer(out);
            return Ok(());
        }
        let mut line = Vec::new();
        let words = if ok { format!("{} completed", pending.verb.name()).into_bytes() } else { words };
        say(tag, status.condition.name(), code.as_deref(), &words, &mut line);
        out.client().append(&mut self.withheld);
        self.writer.ended(tag);
        match &self.reading {
            ClientReading::AwaitingGoAhead { tag: waiting, message } if waiting == tag => {
                let literal = Some(*message);
                self.reading = ClientReading::Command;
                self.refused(Refusal { line, literal }, out)?;
            }
            _ => out.client().extend_from_slice(&line),
        }
        self.flush_writer(out);
        Ok(())
    }

    /// How much of a pending command the provider has.
    fn sent(&self, tag: &[u8]) -> Sent {
        let in_message = matches!(&self.reading, ClientReading::Message { tag: message } if message == tag);
        if in_message || self.writer.waits_for(tag) {
            Sent::Part
        } else if self.writer.has_written(tag) {
            Sent::Whole
        } else {
            Sent::Nothing
        }
    }

    /// What the end of a command means for the session.
    fn completed(&mut self, pending: &Pending, ok: bool, out: &mut Outbox) {
        match pending.verb {
            // Ours, on a new lane: the client's mailbox is still the one that it was.
            Verb::Select | Verb::Examine if pending.own && self.reselected.is_some() => {}
            Verb::Select | Verb::Examine => {
                let route = pending.route.clone().filter(|_| ok);
                self.selected = route.map(|route| Selected::new(route, pending.verb, self.opening));
                // After BAD, and with some providers after NO, the mailbox before it is still selected.
                self.provider_selected |= ok;
            }
            Verb::Close | Verb::Unselect if ok => {
                self.selected = None;
                self.provider_selected = false;
            }
            Verb::Create | Verb::Delete | Verb::Rename | Verb::Subscribe | Verb::Unsubscribe if ok => {
                if let Some(signed) = &self.signed {
                    out.ask(Request::Stale(signed.namespace.account()));
                }
            }
            _ => {}
        }
    }
}
