//! The one driver of relays: pumps octets between a client, a relay and its lanes, carries out the relay's requests, and
//! keeps the time.
//!
//! It knows no protocol. Reads and writes of all sides are always polled together, so that two ends that both write never
//! wait for each other; a side whose reader is slow stops the other side's input (rule R17). Memory of a session: a read
//! buffer a side and the outboxes, whatever the size of a message.

#![allow(clippy::disallowed_methods, reason = "the driver is where time comes from")]

pub(crate) mod pipe;
pub(crate) mod progress;
mod requests;

use crate::{
    failure::{Failure, Misbehaviour, Unreachable},
    filing::Filing,
    relay::{Answer, Awaited, Event, Flow, HIGH_WATER, LaneId, LaneState, Lease, Outbox, Relay, Side},
    upstream::{Gates, Hold, Lane, Leased, Stream},
};
use pipe::Pipe;
use progress::{Meter, Moved, Waiting};
use requests::{Done, Requests};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until, timeout},
};

/// Limits of time, from the last progress unless said otherwise: `progress` says what counts as some.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the connection to the login, in all.
    pub login: Duration,
    /// The client's next command.
    pub client: Duration,
    /// The next line of whoever is within an answer or command, and each 16 KiB of what is larger.
    pub progress: Duration,
    /// The provider's answer to a command that may take long.
    pub long_command: Duration,
    /// The provider's answer to the end of a message.
    pub end_of_data: Duration,
}

/// What a session is told of its surroundings.
#[derive(Clone)]
pub struct Surroundings {
    pub gates: Arc<Gates>,
    /// Where what is sent is kept; None: nowhere.
    pub filing: Option<Arc<Filing>>,
    pub patience: Patience,
    /// Within which time the listener's CRM wants its login answered; None: what the configuration says.
    pub login_wait: Option<Duration>,
    /// Becomes true when the bridge stops.
    pub drain: watch::Receiver<bool>,
}

/// The client gets the last words within this time, or not at all.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);
/// A client that goes on sending after the last words is read while octets come at least this often.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// A session on which nothing moves for so long gives its buffers back until something does.
pub(crate) const REST: Duration = Duration::from_secs(5);

/// How a session went, for the log.
#[derive(Debug)]
pub struct Ended {
    /// None: as its protocol ends.
    pub failure: Option<Failure>,
    pub octets_from_client: u64,
    pub octets_to_client: u64,
    /// Messages that may have been sent although the client was told to try again.
    pub uncertain: u32,
}

/// Runs a session to its end. `admitted` is dropped at the login: it is the session's place among those not signed in.
pub async fn run(
    client: Stream,
    relay: Box<dyn Relay>,
    surroundings: Surroundings,
    admitted: impl Send + 'static,
) -> Ended {
    let mut session = Session::new(client, relay, surroundings);
    let mut admitted = Some(admitted);
    let result = session.pump(&mut admitted).await;
    let failure = result.err();
    if let Some(failure) = &failure {
        session.relay.farewell(failure, &mut session.outbox);
    }
    // First of all: half a message is never stored or sent (rule R43).
    session.lanes.clear();
    let _ = timeout(FAREWELL, session.take_leave()).await;
    Ended {
        failure,
        octets_from_client: session.client.read,
        octets_to_client: session.client.written,
        uncertain: session.relay.uncertain(),
    }
}

struct Session {
    relay: Box<dyn Relay>,
    outbox: Outbox,
    client: Pipe,
    lanes: Vec<LanePipe>,
    /// Lanes so far.
    leased: u32,
    requests: Requests,
    patience: Patience,
    started: Instant,
    meter: Meter,
    /// Looks at the time no later than this.
    alarm: Pin<Box<Sleep>>,
    /// When it is to rest, unless something moves before. None: it rests.
    rest: Option<Instant>,
    /// The account has a new generation or is gone, or the login is revoked: the session ends as soon as it may.
    outdated: bool,
}

struct LanePipe {
    id: LaneId,
    pipe: Pipe,
    hold: Hold,
}

/// What happened.
enum Turn {
    /// Octets moved: look at what can be given to the relay.
    Moved,
    Done(Done),
    Alarm,
}

impl Session {
    fn new(client: Stream, relay: Box<dyn Relay>, surroundings: Surroundings) -> Self {
        let now = Instant::now();
        Self {
            relay,
            outbox: Outbox::default(),
            client: Pipe::new(client, Vec::new()),
            lanes: Vec::new(),
            leased: 0,
            requests: Requests::new(
                surroundings.gates,
                surroundings.filing,
                surroundings.login_wait,
                surroundings.drain,
            ),
            patience: surroundings.patience,
            started: now,
            meter: Meter::new(now),
            alarm: Box::pin(sleep_until(now)),
            rest: Some(now + REST),
            outdated: false,
        }
    }

    async fn pump(&mut self, admitted: &mut Option<impl Send>) -> Result<(), Failure> {
        let mut flow = self.relay.event(Event::Connected, &mut self.outbox)?;
        loop {
            self.note_pause(flow);
            if flow == Flow::Done || self.feed()? == Flow::Done {
                self.see_to_requests();
                return Ok(());
            }
            self.see_to_requests();
            if self.relay.awaits() != Awaited::Login {
                admitted.take();
            }
            if self.client_has_left() {
                if !self.client.is_broken() && !self.client.owes() && self.outbox.waiting(Side::Client) == 0 {
                    self.requests.left_in_peace();
                }
                return self.give_lanes_back();
            }
            // A message whose end mark is sent may be out: its outcome is waited for, or it might be sent twice.
            if self.outdated && self.relay.awaits() != Awaited::EndOfData {
                return Err(Failure::ProviderUnreachable(Unreachable::Lost));
            }
            // Looked at in each turn: while octets move, the alarm is not.
            let now = Instant::now();
            if let (due, failure) = self.limit(now)
                && due <= now
            {
                return Err(failure);
            }
            flow = self.next_turn().await?;
        }
    }

    /// Whether nobody is left to talk to. A client that says no more may still wait for the answers to what it said: it is
    /// heard to have left once nothing but its own words is waited for.
    fn client_has_left(&self) -> bool {
        let owed = self.requests.any() || !matches!(self.relay.awaits(), Awaited::Client | Awaited::Login);
        // A message whose end mark is sent may be out: else nobody would know whether it was.
        let is_broken = self.client.is_broken() && self.relay.awaits() != Awaited::EndOfData;
        is_broken || (self.client.is_drained() && !owed)
    }

    /// The client has left: what others can have of its lanes is given back.
    fn give_lanes_back(&mut self) -> Result<(), Failure> {
        self.tell(Event::Left)?;
        self.see_to_requests();
        for lane in self.requests.granted() {
            let _ = lane.park(LaneState::Clean);
        }
        Ok(())
    }

    /// Whether what the client says next can only be said behind what it hears now.
    fn client_listens(&self) -> bool {
        !self.client.has_ended() && self.client.unread().is_empty()
    }

    async fn next_turn(&mut self) -> Result<Flow, Failure> {
        let turn = poll_fn(|context| self.poll(context)).await?;
        // The disk is no progress of a client that drips.
        if matches!(&turn, Turn::Done(done) if !done.is_spooled()) {
            self.meter.begin_anew(Instant::now());
        }
        match turn {
            // The time is looked at before the next turn.
            Turn::Moved => Ok(Flow::More),
            Turn::Alarm => {
                self.rest_if_due(Instant::now());
                Ok(Flow::More)
            }
            Turn::Done(Done::Drain) => self.tell(Event::Drain),
            Turn::Done(Done::Outdated) => {
                self.outdated = true;
                Ok(Flow::More)
            }
            Turn::Done(Done::Judged(id, judged)) => {
                let verdict = judged.map(|(let_in, seat)| self.requests.entitle(*let_in, seat));
                self.tell(Event::Answer(id, Answer::Verdict(verdict)))
            }
            Turn::Done(Done::Waits(id, wait)) => {
                self.requests.refuse(id, wait);
                Ok(Flow::More)
            }
            Turn::Done(Done::Refused(id)) => self.tell(Event::Answer(id, Answer::Verdict(Err(Failure::LoginRefused)))),
            Turn::Done(Done::Answer(id, answer)) => {
                if matches!(answer, Answer::Settled) {
                    self.requests.answers(self.client_listens());
                }
                self.tell(Event::Answer(id, answer))
            }
            Turn::Done(Done::Committed(id, draft, committed)) => {
                self.requests.told(draft);
                self.requests.answers(self.client_listens());
                self.tell(Event::Answer(id, Answer::Committed(committed)))
            }
            Turn::Done(Done::Elapsed(id)) => self.tell(Event::Elapsed(id)),
            Turn::Done(Done::Leased(id, leased)) => {
                let lease = leased.map(|leased| self.take_lane(*leased));
                self.tell(Event::Answer(id, Answer::Lane(lease)))
            }
        }
    }

    fn rest_if_due(&mut self, now: Instant) {
        if self.rest.take_if(|rest| *rest <= now).is_some() {
            self.outbox.rest();
            self.client.rest();
            self.lanes.iter_mut().for_each(|lane| lane.pipe.rest());
        }
    }

    fn tell(&mut self, event: Event) -> Result<Flow, Failure> {
        self.wake_all();
        self.relay.event(event, &mut self.outbox)
    }

    fn take_lane(&mut self, leased: Leased) -> Lease {
        let Leased { lane: Lane { stream, unread, hold }, facts } = leased;
        self.leased += 1;
        let id = LaneId(self.leased);
        self.lanes.push(LanePipe { id, pipe: Pipe::new(stream, unread), hold });
        Lease { lane: id, facts }
    }

    /// Gives the relay what was read, side by side, until nothing is left or everything rests. Lanes first: a command that
    /// is given to one that has ended is lost with it, and another lane could have had it.
    fn feed(&mut self) -> Result<Flow, Failure> {
        loop {
            let mut moved = Fed::Nothing;
            for index in 0..self.lanes.len() {
                // Lanes go when they close: the index may be past the end by now.
                let Some(id) = self.lanes.get(index).map(|lane| lane.id) else { break };
                moved = moved.max(self.feed_side(Side::Lane(id))?);
                if moved == Fed::Done {
                    return Ok(Flow::Done);
                }
            }
            moved = moved.max(self.feed_side(Side::Client)?);
            match moved {
                Fed::Done => return Ok(Flow::Done),
                Fed::Nothing => return Ok(Flow::More),
                Fed::Some => self.see_to_requests(),
            }
        }
    }

    fn feed_side(&mut self, side: Side) -> Result<Fed, Failure> {
        let mut fed = Fed::Nothing;
        loop {
            let brimful = self.is_brimful(side);
            let Some(pipe) = pipe_of(&mut self.client, &mut self.lanes, side) else { return Ok(fed) };
            let mut input = pipe.unread();
            if pipe.paused || brimful || input.is_empty() {
                break;
            }
            let before = input.len();
            #[cfg(test)]
            crate::plant::IN_A_SESSION.spring(input);
            let flow = self.relay.input(side, &mut input, &mut self.outbox)?;
            let taken = before - input.len();
            pipe.consume(taken);
            if flow == Flow::Done {
                return Ok(Fed::Done);
            }
            if taken > 0 {
                fed = Fed::Some;
                self.wake_all();
            } else if flow == Flow::More {
                return Err(Failure::Internal("a relay neither takes nor pauses"));
            }
            self.note_pause(flow);
        }
        self.close_lane_at_its_end(side, fed)
    }

    /// Tells the relay of a lane that has ended, once all that it said was heard.
    fn close_lane_at_its_end(&mut self, side: Side, fed: Fed) -> Result<Fed, Failure> {
        let Side::Lane(id) = side else { return Ok(fed) };
        let Some(at) = self.lanes.iter().position(|lane| lane.id == id && lane.pipe.is_drained()) else {
            return Ok(fed);
        };
        drop(self.lanes.remove(at));
        self.outbox.close_lane(id);
        match self.tell(Event::Closed(id))? {
            Flow::Done => Ok(Fed::Done),
            flow => {
                self.note_pause(flow);
                Ok(Fed::Some)
            }
        }
    }

    /// Whether what this side says cannot be passed on: the readers on the other side are slow.
    fn is_brimful(&self, side: Side) -> bool {
        let client_waits = self.client_is_slow();
        match side {
            Side::Lane(_) => client_waits,
            Side::Client => {
                let waits =
                    |lane: &LanePipe| self.outbox.waiting(Side::Lane(lane.id)) + lane.pipe.unwritten() > HIGH_WATER;
                client_waits || self.lanes.iter().any(waits)
            }
        }
    }

    fn client_is_slow(&self) -> bool {
        self.outbox.waiting(Side::Client) + self.client.unwritten() > HIGH_WATER
    }

    fn note_pause(&mut self, flow: Flow) {
        if let Flow::Pause(side) = flow
            && let Some(pipe) = pipe_of(&mut self.client, &mut self.lanes, side)
        {
            pipe.paused = true;
        }
    }

    fn wake_all(&mut self) {
        self.client.paused = false;
        for lane in &mut self.lanes {
            lane.pipe.paused = false;
        }
    }

    fn see_to_requests(&mut self) {
        while let Some((id, request)) = self.outbox.next_request() {
            if let Some((released, state)) = self.requests.start(id, request)
                && let Some(at) = self.lanes.iter().position(|lane| lane.id == released)
            {
                let LanePipe { pipe, hold, .. } = self.lanes.remove(at);
                // The provider may have answered before it heard all: what it still waits for would be taken from others.
                let unsaid = pipe.owes() || self.outbox.waiting(Side::Lane(released)) > 0;
                let state = if unsaid { LaneState::Unknown } else { state };
                self.outbox.close_lane(released);
                let (stream, unread) = pipe.into_stream();
                self.requests.last = Lane { stream, unread, hold }.park(state);
            }
        }
    }

    /// One look at everything that can happen. Requests first: where octets always move, nothing else would be seen.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Turn, Failure>> {
        if let Poll::Ready(done) = self.requests.poll(context) {
            return Poll::Ready(done.map(Turn::Done));
        }
        let client_may_read = !self.is_brimful(Side::Client);
        let lanes_may_read = !self.client_is_slow();
        let mut moved = self.client.poll(context, self.outbox.client(), client_may_read);
        for lane in &mut self.lanes {
            moved |= lane.pipe.poll(context, self.outbox.lane(lane.id), lanes_may_read);
        }
        let now = Instant::now();
        if moved {
            self.rest = Some(now + REST);
            return Poll::Ready(Ok(Turn::Moved));
        }
        let (limit, _) = self.limit(now);
        let due = self.rest.map_or(limit, |rest| rest.min(limit));
        if self.alarm.deadline() != due {
            self.alarm.as_mut().reset(due);
        }
        self.alarm.as_mut().poll(context).map(|()| Ok(Turn::Alarm))
    }

    /// Until when the session waits, and whose failure it is then.
    fn limit(&mut self, now: Instant) -> (Instant, Failure) {
        let waiting = self.waiting();
        let since = match waiting {
            Waiting::Login => self.started,
            _ => self.meter.note(waiting, self.moved(), now),
        };
        let failure = if waiting.is_for_provider() {
            Failure::ProviderUnreachable(Unreachable::TimedOut)
        } else {
            Failure::ClientMisbehaved(Misbehaviour::TooSlow)
        };
        (since + waiting.limit(&self.patience), failure)
    }

    /// What the session waits for. Who does not read holds up the other, whatever the relay waits for.
    fn waiting(&self) -> Waiting {
        let lane_is_within = || self.lanes.iter().any(|lane| self.relay.said(Side::Lane(lane.id)).within);
        match self.relay.awaits() {
            Awaited::Login => Waiting::Login,
            Awaited::EndOfData => Waiting::EndOfData,
            _ if self.client.has_ended() => Waiting::HalfClosed,
            _ if self.client_is_slow() => Waiting::ClientToRead,
            _ if self.is_brimful(Side::Client) => Waiting::ProviderToRead,
            // An answer of our own is owed first: it has a limit of its own.
            Awaited::Client if self.requests.any_before_more() || self.client.paused => Waiting::Command,
            Awaited::Client if !self.relay.said(Side::Client).within => Waiting::Command,
            Awaited::Client => Waiting::RestOfCommand,
            _ if lane_is_within() => Waiting::RestOfAnswer,
            Awaited::Provider => Waiting::Answer,
            Awaited::LongCommand => Waiting::LongCommand,
        }
    }

    fn moved(&self) -> Moved {
        let mut moved = Moved {
            from_client: self.client.read,
            to_client: self.client.written,
            lines_of_client: self.relay.said(Side::Client).lines,
            ..Moved::default()
        };
        for LanePipe { id, pipe, .. } in &self.lanes {
            moved.from_lanes += pipe.read;
            moved.to_lanes += pipe.written;
            moved.lines_of_lanes += self.relay.said(Side::Lane(*id)).lines;
        }
        moved
    }

    /// Says the last words, then reads on for a while what the client is still sending: a socket that is closed with
    /// octets unread resets the connection, and the client never sees the words.
    async fn take_leave(&mut self) {
        let Self { client, outbox, .. } = self;
        poll_fn(|context| client.poll_farewell(context, outbox.client())).await;
        while let Ok(true) = timeout(LINGER, poll_fn(|context| client.poll_discard(context))).await {}
    }
}

/// What feeding a side came to; the larger one counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fed {
    Nothing,
    Some,
    Done,
}

fn pipe_of<'a>(client: &'a mut Pipe, lanes: &'a mut [LanePipe], side: Side) -> Option<&'a mut Pipe> {
    match side {
        Side::Client => Some(client),
        Side::Lane(id) => lanes.iter_mut().find(|lane| lane.id == id).map(|lane| &mut lane.pipe),
    }
}

#[cfg(test)]
mod tests;
