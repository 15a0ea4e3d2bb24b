//! Progress or a drip: who is waited for, what of his counts, and since when (rule R18).
//!
//! Time is from the last progress, so that slow lives. Progress is the end of a line, or 16 KiB of what is longer than one:
//! an octet now and then would keep a session for ever. It reads no clock: now is an argument.

use super::Patience;
use std::time::Duration;
use tokio::time::Instant;

/// Octets that are progress without the end of a line, within [`Patience::progress`]: 2 kbit/s.
pub(crate) const PROGRESS: u64 = 16 * 1024;

/// A client that has ended its side is owed answers, but may as well be gone, with its provider still at work: it is
/// waited for no longer than this without progress.
pub(crate) const HALF_CLOSED: Duration = Duration::from_secs(10);

/// What a session waits for. With each change of it time begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The provider's next line.
    Answer,
    /// The client to take what is there for it.
    ClientToRead,
    /// The client's next command.
    Command,
    /// The answer to the end of a message.
    EndOfData,
    /// A client that has said all, to take its answers, and its provider to give them.
    HalfClosed,
    /// The client's login, whatever moves.
    Login,
    /// An answer that the provider has to think about.
    LongCommand,
    /// The provider to take what is there for it.
    ProviderToRead,
    /// The provider's line, or what is larger, to go on.
    RestOfAnswer,
    /// The client's line, or what is larger, to go on.
    RestOfCommand,
}

/// What moved so far, of the client and of all its lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) from_client: u64,
    pub(super) to_client: u64,
    pub(super) from_lanes: u64,
    pub(super) to_lanes: u64,
    pub(super) lines_of_client: u64,
    pub(super) lines_of_lanes: u64,
}

impl Waiting {
    /// For how long, without progress.
    pub(super) fn limit(self, patience: &Patience) -> Duration {
        match self {
            Self::Login => patience.login,
            Self::Command => patience.client,
            Self::LongCommand => patience.long_command,
            Self::EndOfData => patience.end_of_data,
            Self::HalfClosed => patience.progress.min(HALF_CLOSED),
            Self::Answer | Self::ClientToRead | Self::ProviderToRead | Self::RestOfAnswer | Self::RestOfCommand => {
                patience.progress
            }
        }
    }

    /// Whether it is the provider who keeps us waiting.
    pub(super) fn is_for_provider(self) -> bool {
        match self {
            Self::Answer | Self::EndOfData | Self::LongCommand | Self::ProviderToRead | Self::RestOfAnswer => true,
            Self::ClientToRead | Self::Command | Self::HalfClosed | Self::Login | Self::RestOfCommand => false,
        }
    }

    /// What is progress however little it is, and what is from [`PROGRESS`] octets on.
    fn counts(self, moved: &Moved) -> (u64, u64) {
        let Moved { from_client, to_client, from_lanes, to_lanes, lines_of_client, lines_of_lanes } = *moved;
        match self {
            // In all.
            Self::Login => (0, 0),
            Self::Command | Self::RestOfCommand => (lines_of_client, from_client),
            Self::ClientToRead => (0, to_client),
            Self::ProviderToRead => (0, to_lanes),
            Self::HalfClosed => (lines_of_lanes, from_lanes.wrapping_add(to_client)),
            Self::Answer | Self::RestOfAnswer => (lines_of_lanes, from_lanes.wrapping_add(to_lanes)),
            // From the last octet that the provider was sent.
            Self::EndOfData | Self::LongCommand => (lines_of_lanes.wrapping_add(to_lanes), from_lanes),
        }
    }
}

/// Since when the session waits without progress.
pub(super) struct Meter {
    waiting: Waiting,
    since: Instant,
    /// As it was then.
    moved: Moved,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: Waiting::Login, since: now, moved: Moved::default() }
    }

    /// Takes note of what is waited for now, and what has moved; says since when there is no progress.
    pub(super) fn note(&mut self, waiting: Waiting, moved: Moved, now: Instant) -> Instant {
        let (lines, octets) = waiting.counts(&moved);
        let (lines_then, octets_then) = waiting.counts(&self.moved);
        // A lane that was given back takes its octets with it: any difference counts.
        if waiting != self.waiting || lines != lines_then || octets.abs_diff(octets_then) >= PROGRESS {
            *self = Self { waiting, since: now, moved };
        }
        self.since
    }

    /// Something of our own was waited for, and came.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A meter that has waited for this since `start`, and what has moved by then.
    struct Run {
        meter: Meter,
        waiting: Waiting,
        start: Instant,
        moved: Moved,
    }

    impl Run {
        #[allow(clippy::disallowed_methods, reason = "any moment will do to begin at")]
        fn new(waiting: Waiting) -> Self {
            let start = Instant::now();
            let mut meter = Meter::new(start);
            meter.note(waiting, Moved::default(), start);
            Self { meter, waiting, start, moved: Moved::default() }
        }

        /// After so many seconds in all, with this more: for how many there was no progress.
        fn stalled(&mut self, second: u32, more: impl FnOnce(&mut Moved)) -> u64 {
            more(&mut self.moved);
            let now = self.start + second * SECOND;
            now.duration_since(self.meter.note(self.waiting, self.moved, now)).as_secs()
        }
    }

    #[test]
    fn r18_a_line_is_progress_and_an_octet_is_none() {
        let mut run = Run::new(Waiting::Answer);
        for second in 1..60 {
            assert_eq!(run.stalled(second, |moved| moved.from_lanes += 1), u64::from(second));
        }
        assert_eq!(run.stalled(60, |moved| moved.lines_of_lanes += 1), 0);
        assert_eq!(run.stalled(70, |moved| moved.from_client += 100_000), 10, "the other side's");
    }

    #[test]
    fn r18_what_is_longer_than_a_line_lives_at_16_kib_a_minute() {
        for waiting in [Waiting::RestOfCommand, Waiting::RestOfAnswer, Waiting::ClientToRead, Waiting::ProviderToRead] {
            let more = |octets| {
                move |moved: &mut Moved| match waiting {
                    Waiting::RestOfCommand => moved.from_client += octets,
                    Waiting::RestOfAnswer => moved.from_lanes += octets,
                    Waiting::ClientToRead => moved.to_client += octets,
                    _ => moved.to_lanes += octets,
                }
            };
            // 35 MB at 256 kbit/s: 18 minutes, and never more than a second without progress.
            let mut run = Run::new(waiting);
            let longest = (1..1100).map(|second| run.stalled(second, more(32_000))).max();
            assert_eq!(longest, Some(0), "{waiting:?}");
            // What the rule asks for, and a little less.
            let mut slow = Run::new(waiting);
            let longest = (1..600).map(|second| slow.stalled(second, more(274))).max();
            assert!(longest < Some(60), "{waiting:?}: {longest:?}");
            let mut drip = Run::new(waiting);
            let longest = (1..600).map(|second| drip.stalled(second, more(272))).max();
            assert!(longest >= Some(60), "{waiting:?}: {longest:?}");
        }
    }

    #[test]
    fn r18_time_begins_anew_with_what_is_waited_for() {
        let mut run = Run::new(Waiting::Command);
        assert_eq!(run.stalled(1000, |_| ()), 1000);
        // The first octet of a command: it has a minute from here, not from the last one's end.
        run.waiting = Waiting::RestOfCommand;
        assert_eq!(run.stalled(1001, |moved| moved.from_client += 1), 0);
        assert_eq!(run.stalled(1060, |moved| moved.from_client += 1), 59);
        run.waiting = Waiting::LongCommand;
        assert_eq!(run.stalled(1061, |_| ()), 0);
        assert_eq!(run.stalled(1100, |moved| moved.to_lanes += 1), 0, "from the last octet sent");
        assert_eq!(run.stalled(1200, |moved| moved.from_lanes += 1), 100);
    }

    #[test]
    fn r18_before_login_nothing_is_progress() {
        let mut run = Run::new(Waiting::Login);
        let stalled = run.stalled(59, |moved| {
            moved.lines_of_client += 10;
            moved.from_client += 100_000;
        });
        assert_eq!(stalled, 59);
    }
}
