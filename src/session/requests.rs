//! What a relay asked for, under way: each request a task that ends with its answer, all of them with the session.

use crate::{
    failure::Failure,
    relay::{Answer, LaneId, LaneState, Request, RequestId},
    upstream::{Gates, Leased},
};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{sync::watch, task::JoinSet};

/// What has come of something that was waited for.
pub(super) enum Done {
    Answer(RequestId, Answer),
    Leased(RequestId, Result<Leased, Failure>),
    Elapsed(RequestId),
    /// The account of this lane has a new generation, or is gone.
    Outdated(LaneId),
    /// The bridge stops.
    Drain,
}

/// The requests of one session, and what else it waits for.
pub(super) struct Requests {
    gates: Arc<Gates>,
    tasks: JoinSet<Done>,
    /// Requests that will be answered.
    open: usize,
    lanes: u32,
}

impl Requests {
    pub(super) fn new(gates: Arc<Gates>, mut drain: watch::Receiver<bool>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // A sender that is gone is a bridge that has stopped.
            let _ = drain.wait_for(|drain| *drain).await;
            Done::Drain
        });
        Self { gates, tasks, open: 0, lanes: 0 }
    }

    /// Whether an answer is still to come.
    pub(super) fn any(&self) -> bool {
        self.open > 0
    }

    /// The id of a lane that was just leased; its end by a new generation is waited for from now on.
    pub(super) fn next_lane(&mut self, outdated: impl Future<Output = ()> + Send + 'static) -> LaneId {
        self.lanes += 1;
        let lane = LaneId(self.lanes);
        self.tasks.spawn(async move {
            outdated.await;
            Done::Outdated(lane)
        });
        lane
    }

    /// Starts what was asked for. A lane that is given back is returned: it is the session's to give.
    pub(super) fn start(&mut self, id: RequestId, request: Request) -> Option<(LaneId, LaneState)> {
        let gates = self.gates.clone();
        match request {
            Request::Release(lane, state) => return Some((lane, state)),
            Request::Stale(account) => gates.stale(account),
            Request::Verdict(credentials) => {
                self.answer(async move { Done::Answer(id, Answer::Verdict(gates.verdict(&credentials).await)) });
            }
            Request::Lane(account, purpose) => {
                self.answer(async move { Done::Leased(id, gates.lease(account, purpose).await) });
            }
            Request::Folders(account) => {
                self.answer(async move { Done::Answer(id, Answer::Folders(gates.folders(account))) });
            }
            Request::Publish(account, table) => self.answer(async move {
                // Without its own map the account has no namespace: the relay takes None for the fault that it is.
                Done::Answer(id, Answer::Folders(gates.publish(account, &table).await.ok()))
            }),
            Request::Validity { account, local, remote, upstream } => self.answer(async move {
                Done::Answer(id, Answer::Validity(gates.uid_validity(account, &local, &remote, upstream).await))
            }),
            Request::Timer(after) => self.answer(async move {
                tokio::time::sleep(after).await;
                Done::Elapsed(id)
            }),
        }
        None
    }

    fn answer(&mut self, task: impl Future<Output = Done> + Send + 'static) {
        self.open += 1;
        self.tasks.spawn(task);
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Done, Failure>> {
        match self.tasks.poll_join_next(context) {
            Poll::Ready(Some(Ok(done))) => {
                if !matches!(done, Done::Outdated(_) | Done::Drain) {
                    self.open -= 1;
                }
                Poll::Ready(Ok(done))
            }
            // A task that panicked; the session cannot go on without its answer.
            Poll::Ready(Some(Err(_))) => Poll::Ready(Err(Failure::Internal("a request of the session panicked"))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
