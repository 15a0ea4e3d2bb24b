//! IDLE (RFC 2177), which is the bridge's own: offered whatever the provider has, renewed upstream before anyone on the
//! way forgets the connection, and answered alone where no mailbox is selected.
//!
//! Where the provider lacks IDLE, or refuses it, it is asked by NOOP from time to time.

use super::{Asked, ClientReading, Pending, Session, answers::say};
use crate::{
    failure::Failure,
    relay::{Outbox, Request, RequestId},
    wire::imap::command::Verb,
};
use std::time::Duration;

/// An IDLE is renewed in this time: Gmail drops connections that are silent for long, and routers on the way forget them
/// after 10 minutes (providers.md section 3).
pub(crate) const RENEWED: Duration = Duration::from_secs(9 * 60);
/// An idling session that lost its lane waits between this and ten seconds with a new one, each another time: a provider
/// that dropped a hundred of them sees ten a second.
pub(crate) const SPREAD_LEAST: Duration = Duration::from_secs(1);
/// Milliseconds.
const SPREAD_MORE: u128 = 9000;
/// A provider without IDLE is asked this often.
pub(crate) const POLLED: Duration = Duration::from_secs(60);

/// The client's IDLE under way, and how far the provider is with its own.
pub(super) struct Idling {
    /// The client's.
    tag: Vec<u8>,
    upstream: Upstream,
    timer: Option<RequestId>,
    /// The client said DONE: it is answered when the provider's has ended.
    done: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Upstream {
    /// No mailbox is selected: nothing can happen there.
    None,
    /// Its lane was lost; another is asked for in a while.
    Lost,
    /// IDLE is sent and not answered.
    Starting,
    On,
    /// DONE is sent.
    Stopping,
    /// Asked by NOOP, which is not pending now.
    Polled,
    /// NOOP is pending.
    Polling,
}

impl Idling {
    /// Whether DONE is still to come.
    pub(super) fn waits_for_client(&self) -> bool {
        !self.done
    }
}

/// The timers that run, one of each period. A later IDLE waits for one that runs already: it then ends early, which does
/// no harm, and clients and providers that end IDLE at once leave none behind.
#[derive(Default)]
pub(super) struct Timers(Vec<(Duration, RequestId)>);

impl Timers {
    fn start(&mut self, period: Duration, out: &mut Outbox) -> RequestId {
        if let Some((_, running)) = self.0.iter().find(|(of, _)| *of == period) {
            return *running;
        }
        let timer = out.ask(Request::Timer(period));
        self.0.push((period, timer));
        timer
    }

    fn elapsed(&mut self, timer: RequestId) {
        self.0.retain(|(_, running)| *running != timer);
    }
}

const IDLE: &[u8] = b"PSRLi";
const NOOP: &[u8] = b"PSRLp";

impl Session {
    pub(super) fn idle(&mut self, tag: &[u8], out: &mut Outbox) {
        out.client().extend_from_slice(b"+ Idling\r\n");
        self.reading = ClientReading::Idle;
        self.idling = Some(Idling { tag: tag.to_vec(), upstream: Upstream::None, timer: None, done: false });
        self.idle_upstream(out);
    }

    /// Begins to idle at the provider, where a mailbox is selected. Also called after a lane was opened anew.
    pub(super) fn idle_upstream(&mut self, out: &mut Outbox) {
        let offered = self.signed.as_ref().is_some_and(|signed| signed.capabilities.has("IDLE"));
        let Some(idling) = &mut self.idling else { return };
        if self.selected.is_none() {
            return;
        }
        let period = if offered {
            idling.upstream = Upstream::Starting;
            self.pending.push_back(Pending { own: true, ..Pending::of(IDLE, Verb::Idle) });
            RENEWED
        } else {
            idling.upstream = Upstream::Polled;
            POLLED
        };
        idling.timer = Some(self.timers.start(period, out));
        if offered {
            self.to_lane(b"PSRLi IDLE\r\n", out);
        }
    }

    /// A line of an idling client: DONE, or what ends IDLE as an error.
    pub(super) fn idle_line(&mut self, text: &[u8], out: &mut Outbox) -> Result<(), Failure> {
        let Some(idling) = &mut self.idling else { return Err(Failure::Internal("idling without IDLE")) };
        if !text.eq_ignore_ascii_case(b"DONE") {
            return Err(Failure::ClientMisbehaved(crate::failure::Misbehaviour::Syntax));
        }
        idling.done = true;
        match idling.upstream {
            Upstream::Lost | Upstream::None | Upstream::Polled => self.idle_ended(out),
            Upstream::On => self.stop_idling(out),
            Upstream::Starting | Upstream::Stopping | Upstream::Polling => {}
        }
        Ok(())
    }

    fn stop_idling(&mut self, out: &mut Outbox) {
        if let Some(idling) = &mut self.idling {
            idling.upstream = Upstream::Stopping;
            self.to_lane(b"DONE\r\n", out);
        }
    }

    /// The provider said `+`. False: not to an IDLE.
    pub(super) fn idle_accepted(&mut self, out: &mut Outbox) -> bool {
        match &mut self.idling {
            Some(idling) if idling.upstream == Upstream::Starting => {
                idling.upstream = Upstream::On;
                if idling.done {
                    self.stop_idling(out);
                }
                true
            }
            _ => false,
        }
    }

    /// The provider ended our IDLE or NOOP.
    pub(super) fn idle_command_ended(&mut self, verb: Verb, ok: bool, out: &mut Outbox) {
        let Some(idling) = &mut self.idling else { return };
        // What ended without our DONE would end so again: at once, and without end.
        let renewed = verb == Verb::Idle && ok && idling.upstream == Upstream::Stopping;
        if idling.done {
            self.idle_ended(out);
        } else if renewed {
            self.idle_upstream(out);
        } else {
            // Refused, ended by the provider, or polled: asked again in a while.
            idling.upstream = Upstream::Polled;
            idling.timer = Some(self.timers.start(POLLED, out));
        }
    }

    /// A timer ran out; those of an IDLE that has ended mean nothing.
    pub(super) fn idle_elapsed(&mut self, timer: RequestId, out: &mut Outbox) {
        self.timers.elapsed(timer);
        let Some(idling) = self.idling.as_mut().filter(|idling| idling.timer == Some(timer)) else { return };
        match idling.upstream {
            Upstream::On => self.stop_idling(out),
            Upstream::Polled => {
                idling.upstream = Upstream::Polling;
                self.pending.push_back(Pending { own: true, ..Pending::of(NOOP, Verb::Noop) });
                self.to_lane(b"PSRLp NOOP\r\n", out);
            }
            Upstream::Lost => self.ask_for_lane(Asked::Lane, out),
            // It began with an earlier IDLE: this one is renewed later.
            Upstream::Starting => idling.timer = Some(self.timers.start(RENEWED, out)),
            Upstream::None | Upstream::Stopping | Upstream::Polling => {}
        }
    }

    fn idle_ended(&mut self, out: &mut Outbox) {
        if let Some(idling) = self.idling.take() {
            self.reading = ClientReading::Command;
            say(&idling.tag, "OK", None, b"IDLE completed", out.client());
        }
    }

    /// The lane of an idling session is gone: what was under way there with it.
    pub(super) fn idle_lost(&mut self) {
        if let Some(idling) = &mut self.idling {
            idling.upstream = Upstream::None;
            idling.timer = None;
        }
    }

    /// The mailbox of an idling session is opened again, not at the moment at which all do that the provider dropped.
    pub(super) fn idle_again(&mut self, out: &mut Outbox) {
        let spread =
            SPREAD_LEAST + Duration::from_millis(u64::try_from(self.facts.nonce % SPREAD_MORE).unwrap_or_default());
        if self.idling.as_ref().is_some_and(|idling| idling.done) {
            return self.idle_ended(out);
        }
        if let Some(idling) = &mut self.idling {
            idling.upstream = Upstream::Lost;
            idling.timer = Some(self.timers.start(spread, out));
        }
    }

    /// Whether a command of ours is one of an IDLE: it can be lost with its lane.
    pub(super) fn is_idle_command(pending: &Pending) -> bool {
        pending.own && matches!(pending.verb, Verb::Idle | Verb::Noop)
    }
}
