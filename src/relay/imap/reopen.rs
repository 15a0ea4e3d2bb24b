//! Lanes of a session that has none: for its next command, or in place of one that was dropped while nothing was under
//! way, without the client noticing. Gmail cuts an OAuth session about hourly, others at night; a CRM that heard BYE each
//! time would show errors.
//!
//! Where a mailbox is selected it is selected again by the same verb, and the client goes on only where no number can
//! have moved: the same UIDVALIDITY, as many messages as it was told of, and no UID given out that it was not told of.
//! Otherwise the session ends: a CRM that deletes "message 5" must mean the same message. Only commands without effect
//! are ever said twice, and each once more.

use super::{
    Asked, Pending, Session,
    dispatch::{Command, Ready},
    lane::LaneReading,
};
use crate::{
    failure::{Failure, Unreachable},
    relay::{First, LaneFacts, LaneId, LaneState, LaneUse, Lease, Outbox, Request},
    rules::namespace::Route,
    wire::imap::{command::Verb, response::Code, token::write_string},
};
use std::sync::Arc;

/// A mailbox that the client has open, and what it was told of it.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) route: Route,
    /// SELECT or EXAMINE.
    verb: Verb,
    told: Numbers,
}

/// What decides whether numbers can have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    exists: Option<u32>,
    /// Of the provider, not as told.
    uid_validity: Option<u32>,
    /// From SELECT, and one more for each message that came since: as many as were given out if all were told of.
    uid_next: Option<u32>,
}

/// Below this many messages the client is told all flags anew: they may have changed meanwhile.
pub(crate) const FLAGS_TOLD: u32 = 1000;

impl Numbers {
    pub(super) fn exists(&mut self, count: u32) {
        if let (Some(before), Some(next)) = (self.exists, &mut self.uid_next) {
            *next = next.saturating_add(count.saturating_sub(before));
        }
        self.exists = Some(count);
    }

    pub(super) fn expunged(&mut self) {
        self.exists = self.exists.map(|count| count.saturating_sub(1));
    }

    pub(super) fn code(&mut self, code: Code<'_>) {
        let number = || std::str::from_utf8(code.arguments).ok()?.trim().parse().ok();
        if code.name.eq_ignore_ascii_case(b"UIDVALIDITY") {
            self.uid_validity = number();
        } else if code.name.eq_ignore_ascii_case(b"UIDNEXT") {
            self.uid_next = number();
        }
    }

    /// Whether all three are known, and the same.
    fn stand(&self, now: &Self) -> bool {
        self.exists.is_some() && self.uid_validity.is_some() && self.uid_next.is_some() && self == now
    }
}

impl Selected {
    pub(super) fn new(route: Route, verb: Verb, told: Numbers) -> Self {
        Self { route, verb, told }
    }

    pub(super) fn told(&mut self) -> &mut Numbers {
        &mut self.told
    }
}

impl Session {
    /// The lane is gone. Goes on where nothing was under way.
    ///
    /// # Errors
    /// That the provider was lost, where something was.
    pub(super) fn lane_lost(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        let lost = Err(Failure::ProviderUnreachable(Unreachable::Lost));
        if let Some(command) = self.harmless() {
            self.ready = Some(Ready::Command(Command { repeated: true, ..*command }));
            self.pending.clear();
        }
        self.begin_anew();
        let only_idling = self.pending.iter().all(Self::is_idle_command);
        let quiet = only_idling
            && self.folders.is_none()
            && self.writer.is_empty()
            && self.lane_reading.is_boundary_for_provider()
            && !self.lane_rests()
            && !self.reading.is_message();
        let Some(signed) = self.signed.as_mut().filter(|_| quiet) else { return lost };
        signed.lane = None;
        self.pending.clear();
        self.provider_selected = false;
        self.idle_lost();
        // An idling client waits for news: the others need no lane before they say something.
        if self.selected.is_some() {
            self.idle_again(out);
        }
        Ok(())
    }

    /// The provider ends its session, and says so before it closes: the lane is gone, however long it stays open.
    ///
    /// # Errors
    /// As for [`Session::lane_lost`].
    pub(super) fn said_bye(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        let lane = self.lane();
        (self.lane_reading, self.within) = (LaneReading::Boundary, false);
        self.lane_lost(out)?;
        if let Some(lane) = lane {
            out.ask(Request::Release(lane, LaneState::Unknown));
        }
        Ok(())
    }

    /// What the bridge asked of its own for a command that waits is lost: the folder table, or the mailbox that was to be
    /// selected again. The command begins anew, once.
    fn begin_anew(&mut self) {
        let reselecting = self.reselected.is_some() && self.pending.len() == 1;
        let Some(Ready::Command(command)) = &mut self.ready else { return };
        if (self.folders.is_none() && !reselecting) || command.repeated || !self.lane_reading.is_boundary_for_client() {
            return;
        }
        (command.repeated, command.fresh) = (true, false);
        (self.folders, self.reselected) = (None, None);
        self.pending.clear();
        self.lane_reading = LaneReading::Boundary;
    }

    /// The one command under way, if it changes nothing and the provider said nothing since: a parked lane can be gone
    /// without anyone having been told.
    fn harmless(&mut self) -> Option<Box<Command>> {
        let alone = self.pending.len() == 1 && self.ready.is_none() && !self.within;
        self.pending.front_mut().filter(|_| alone)?.again.take()
    }

    pub(super) fn lane(&self) -> Option<LaneId> {
        self.signed.as_ref().and_then(|signed| signed.lane)
    }

    pub(super) fn has_lane(&self) -> bool {
        self.lane().is_some()
    }

    pub(super) fn ask_for_lane(&mut self, asked: Asked, out: &mut Outbox) {
        if let Some(signed) = &self.signed {
            let request = Request::Lane(signed.namespace.account(), LaneUse::Imap, self.said_first());
            self.ask(request, asked, out);
        }
    }

    /// What a lane is wanted for. A mailbox is selected again first: that is not tried twice.
    fn said_first(&self) -> First {
        match &self.ready {
            // What waits for `+` at a literal is not taken back.
            Some(Ready::Command(command)) if command.octets.contains(&b'{') => First::Once,
            Some(Ready::Command(command)) if self.selected.is_none() && !command.repeated => match command.head.verb {
                Verb::Examine | Verb::Select | Verb::Status => First::Repeatable,
                _ => First::Once,
            },
            _ => First::Once,
        }
    }

    /// There is a lane, or not.
    pub(super) fn leased(&mut self, lease: Result<Lease, Failure>, out: &mut Outbox) -> Result<(), Failure> {
        let lease = match lease {
            Ok(lease) => lease,
            // What was told of a selected mailbox cannot be held to any more.
            Err(failure) if self.selected.is_some() => return Err(failure),
            Err(failure) => return self.refuse_ready(&failure, out),
        };
        let LaneFacts::Imap { capabilities, namespace } = lease.facts else {
            return Err(Failure::Internal("a lane of another protocol"));
        };
        let Some(signed) = &mut self.signed else { return Err(Failure::Internal("a lane before login")) };
        signed.lane = Some(lease.lane);
        signed.capabilities = capabilities;
        if !Arc::ptr_eq(&signed.namespace, &namespace) {
            signed.namespace = namespace;
            // Under a name there may be another mailbox now.
            self.told.clear();
        }
        let Some(selected) = &self.selected else { return Ok(()) };
        let mut line = format!("PSRLr {} ", selected.verb.name()).into_bytes();
        // A name beyond ASCII would be a literal, for which the provider must be waited for.
        if !selected.route.remote.as_bytes().is_ascii() {
            return Err(Failure::ProviderUnreachable(Unreachable::Lost));
        }
        write_string(selected.route.remote.as_bytes(), false, &mut line);
        line.extend_from_slice(b"\r\n");
        self.to_lane(&line, out);
        self.reselected = Some(Numbers::default());
        self.pending.push_back(Pending { own: true, ..Pending::of(b"PSRLr", Verb::Select) });
        Ok(())
    }

    /// Our SELECT ended: are the numbers those that the client knows?
    pub(super) fn reselected(&mut self, ok: bool, out: &mut Outbox) -> Result<(), Failure> {
        let now = self.reselected.take().filter(|_| ok);
        let (Some(selected), Some(now)) = (&self.selected, now) else {
            return Err(Failure::ProviderUnreachable(Unreachable::Lost));
        };
        if !selected.told.stand(&now) {
            return Err(Failure::ProviderUnreachable(Unreachable::Lost));
        }
        self.provider_selected = true;
        if now.exists.is_some_and(|count| (1..=FLAGS_TOLD).contains(&count)) {
            self.to_lane(b"PSRLf FETCH 1:* (FLAGS)\r\n", out);
            self.pending.push_back(Pending { own: true, ..Pending::of(b"PSRLf", Verb::Fetch) });
        } else {
            self.idle_upstream(out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(exists: u32, uid_next: u32) -> Numbers {
        Numbers { exists: Some(exists), uid_validity: Some(1), uid_next: Some(uid_next) }
    }

    #[test]
    fn numbers_stand_while_all_that_came_was_told() {
        let mut told = numbers(3, 10);
        told.exists(5);
        assert!(told.stand(&numbers(5, 12)));
        told.expunged();
        assert!(told.stand(&numbers(4, 12)));
        // One came and one went, untold.
        assert!(!told.stand(&numbers(4, 13)));
        assert!(!told.stand(&Numbers { uid_validity: Some(2), ..numbers(4, 12) }));
    }

    #[test]
    fn what_is_not_known_never_stands() {
        let known = numbers(3, 10);
        let without = [
            Numbers { exists: None, ..known },
            Numbers { uid_validity: None, ..known },
            Numbers { uid_next: None, ..known },
        ];
        for numbers in without {
            assert!(!numbers.stand(&numbers), "{numbers:?}");
        }
    }
}
