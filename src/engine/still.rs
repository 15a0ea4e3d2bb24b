//! A driver without sockets over a memory source, for tests and the fuzz target.

use super::{
    machine::{Engine, HIGH_WATER, Manner, Step},
    memory::Memory,
    source::{Answer, Request, perform},
};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// What requests without a date are given: 4 March 2024.
pub(crate) const NOW: i64 = 1_709_525_167;

pub(crate) struct Session {
    engine: Engine,
    memory: Memory,
    step: Step,
    /// All that was said.
    pub(crate) said: Vec<u8>,
    /// The most octets that were held back at once.
    pub(crate) most: usize,
    pub(crate) ended: bool,
}

impl Session {
    /// Whoever signs in is let in, but with the password `wrong`.
    pub(crate) fn new(manner: Manner, memory: &Memory) -> Self {
        let mut said = Vec::new();
        let engine = Engine::new(manner, &mut said);
        Self { engine, memory: memory.clone(), step: Step::More, said, most: 0, ended: false }
    }

    /// Gives octets, and does all that follows from them.
    pub(crate) fn says(&mut self, mut octets: &[u8]) {
        let mut out = Vec::new();
        while !self.ended {
            self.most = self.most.max(out.len());
            self.said.append(&mut out);
            // Only where the machine says so is there ever nothing to do.
            self.step = match std::mem::replace(&mut self.step, Step::More) {
                Step::Done => {
                    self.ended = true;
                    Step::Done
                }
                Step::Flush => self.engine.resume(&mut out),
                Step::Ask(request) => self.ask(request, &mut out),
                step if octets.is_empty() => {
                    self.step = step;
                    return;
                }
                Step::More | Step::Idle => self.engine.input(&mut octets, &mut out),
            };
        }
    }

    /// A look for news.
    pub(crate) fn looks(&mut self) {
        let mut out = Vec::new();
        self.step = self.engine.look(&mut out);
        self.said.append(&mut out);
        self.says(b"");
    }

    fn ask(&mut self, request: Request, out: &mut Vec<u8>) -> Step {
        use super::source::Credentials;
        match request {
            Request::SignIn(Credentials::Password { password, .. }) => {
                self.engine.verdict(password.expose() != b"wrong", out)
            }
            Request::SignIn(Credentials::Bearer(bearer)) => self.engine.verdict(bearer.token.expose() != "wrong", out),
            request => {
                let answer = now(perform(&self.memory, request, NOW));
                self.engine.answer(answer, out)
            }
        }
    }
}

/// A source in memory never waits.
fn now(future: impl Future<Output = Answer>) -> Answer {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("a source in memory waits"),
    }
}

/// The most that an engine holds back: its mark, and one item that crossed it.
pub(crate) fn held_back_at_most(letter: usize) -> usize {
    HIGH_WATER + 8 * letter + 64 * 1024
}
