//! What a relay asked for, under way: each request a task that ends with its answer, all of them with the session.

use crate::{
    failure::{Failure, Unreachable},
    filing::{Desk, Filing},
    model::AccountId,
    relay::{Admission, Answer, Committed, DraftId, LaneId, LaneState, LaneUse, Request, RequestId},
    rules::namespace::Naming,
    store::Standing,
    upstream::{Gates, Lane, LaneNumber, LaneWanted, Leased, LetIn, NotLetIn, Passed, Seat, Wait},
};
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::Instrument as _;

/// What has come of something that was waited for.
pub(super) enum Done {
    Answer(RequestId, Answer),
    Leased(RequestId, Result<Box<Leased>, Failure>),
    Judged(RequestId, Result<(Box<LetIn>, Seat), Failure>),
    /// A refused login, whose answer is not due yet.
    Waits(RequestId, Wait),
    /// The same, now due.
    Refused(RequestId),
    Elapsed(RequestId),
    Committed(RequestId, DraftId, Result<Committed, Failure>),
    /// The account that the session was let in to has a new generation or is gone, or the login is revoked.
    Outdated,
    /// The bridge stops.
    Drain,
}

impl Done {
    /// Whether the disk has octets of a message that may go on meanwhile.
    pub(super) fn is_spooled(&self) -> bool {
        matches!(self, Self::Answer(_, Answer::Spooled(_)))
    }
}

/// No account is cared for without one.
const NO_DESK: Failure = Failure::Internal("a message that is to be kept, and nobody to keep it");

/// The requests of one session, and what else it waits for.
pub(super) struct Requests {
    gates: Arc<Gates>,
    /// None: nothing is kept of what is sent.
    desk: Option<Desk>,
    tasks: JoinSet<Done>,
    /// Requests that will be answered.
    open: usize,
    /// Those of them that keep octets on disk: the client says more meanwhile.
    spooling: usize,
    /// The listener's.
    login_wait: Option<Duration>,
    /// Refused logins so far.
    refused: u32,
    /// What the last good verdict let in to.
    entitled: Option<Entitled>,
    /// The lane that the session gave back last.
    pub(super) last: Option<LaneNumber>,
}

/// An account, good for as long as the standing lasts. Relays ask for lanes by the account alone, so that none can
/// outlive the verdict.
struct Entitled {
    account: AccountId,
    standing: Standing,
    naming: Arc<Naming>,
    /// How long it waits for a lane at most, where its CRM waits less than others.
    login_wait: Option<Duration>,
    /// The client's own token, where that opens the account.
    passed: Option<Passed>,
    watch: AbortHandle,
    _seat: Seat,
}

impl Requests {
    pub(super) fn new(
        gates: Arc<Gates>,
        filing: Option<Arc<Filing>>,
        login_wait: Option<Duration>,
        mut drain: watch::Receiver<bool>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // A sender that is gone is a bridge that has stopped.
            let _ = drain.wait_for(|drain| *drain).await;
            Done::Drain
        });
        let desk = filing.map(Desk::new);
        Self { gates, desk, tasks, open: 0, spooling: 0, login_wait, refused: 0, entitled: None, last: None }
    }

    /// Whether an answer is still to come.
    pub(super) fn any(&self) -> bool {
        self.open > 0
    }

    /// Whether something is waited for before the client can go on.
    pub(super) fn any_before_more(&self) -> bool {
        self.open > self.spooling
    }

    /// A verdict was good: from now on, with a lane or without, the end of its standing is waited for.
    pub(super) fn entitle(&mut self, let_in: LetIn, seat: Seat) -> Admission {
        let LetIn { admission, standing, passed } = let_in;
        let (account, naming) = (admission.account, admission.naming.clone());
        let login_wait = [self.login_wait, admission.login_wait].into_iter().flatten().min();
        let outdated = self.gates.outdated(account, standing);
        let watch = self.tasks.spawn(async move {
            outdated.await;
            Done::Outdated
        });
        self.entitled = Some(Entitled { account, standing, naming, login_wait, passed, watch, _seat: seat });
        admission
    }

    /// The client's own token, where that opens the account.
    fn passed(&self) -> Option<Passed> {
        self.entitled.as_ref().and_then(|entitled| entitled.passed.clone())
    }

    /// As what the session was let in to this account, and what its login calls the mailboxes.
    fn entitled(&self, account: AccountId) -> Result<(Standing, Arc<Naming>), Failure> {
        let entitled = self.entitled.as_ref().filter(|entitled| entitled.account == account);
        let entitled = entitled.ok_or(Failure::Internal("an account without a verdict"))?;
        Ok((entitled.standing, entitled.naming.clone()))
    }

    /// How long the client waits for the provider. The gate has a limit of its own.
    fn login_wait(&self) -> Duration {
        self.entitled.as_ref().and_then(|entitled| entitled.login_wait).unwrap_or(Duration::MAX)
    }

    /// The same for a lane. A message has a limit of the gate's alone: CRMs that are impatient with logins still wait for
    /// the answer to MAIL.
    fn lane_wait(&self, purpose: LaneUse) -> Duration {
        match purpose {
            LaneUse::Imap => self.login_wait(),
            LaneUse::Submission => Duration::MAX,
        }
    }

    /// Starts what was asked for. A lane that is given back is returned: it is the session's to give.
    pub(super) fn start(&mut self, id: RequestId, request: Request) -> Option<(LaneId, LaneState)> {
        let gates = self.gates.clone();
        match request {
            Request::Release(lane, state) => return Some((lane, state)),
            Request::Stale(account) => gates.stale(account),
            Request::Throttled { account, purpose, pause, words } => {
                if let Ok((standing, _)) = self.entitled(account) {
                    gates.throttle(account, standing, purpose, pause, &words);
                }
            }
            Request::Verdict(credentials) => {
                let (refused, login_wait) = (self.refused, self.login_wait);
                // What an earlier one let in to is over: its seat may be the one that is free.
                if let Some(earlier) = self.entitled.take() {
                    earlier.watch.abort();
                }
                self.answer(async move {
                    #[cfg(test)]
                    if let crate::relay::Credentials::Plain { login, .. } = &credentials {
                        crate::plant::IN_A_REQUEST.spring(login.as_str().as_bytes());
                    }
                    match gates.verdict(&credentials, refused, login_wait).await {
                        Ok(let_in) => {
                            let seated = gates.seat(let_in.admission.account);
                            Done::Judged(id, seated.map(|seat| (Box::new(let_in), seat)))
                        }
                        Err(NotLetIn::Now(failure)) => Done::Judged(id, Err(failure)),
                        Err(NotLetIn::After(wait)) => Done::Waits(id, wait),
                    }
                });
            }
            Request::Ready(account) => {
                let entitled = self.entitled(account);
                let (wait, passed) = (self.login_wait(), self.passed());
                self.answer(async move {
                    let ready = async {
                        let (standing, naming) = entitled?;
                        gates.ready(account, standing, &naming, passed.as_ref()).await
                    };
                    let late = Err(Failure::ProviderUnreachable(Unreachable::TimedOut));
                    let ready = timeout(wait, ready).await.unwrap_or(late);
                    Done::Answer(id, Answer::Ready(gates.invited(account, ready).await))
                });
            }
            Request::ReadyToSend(account) => {
                let entitled = self.entitled(account);
                let (wait, passed) = (self.login_wait(), self.passed());
                self.answer(async move {
                    let ready = async {
                        let (standing, _) = entitled?;
                        gates.ready_to_send(account, standing, passed.as_ref()).await
                    };
                    let late = Err(Failure::ProviderUnreachable(Unreachable::TimedOut));
                    let ready = timeout(wait, ready).await.unwrap_or(late);
                    Done::Answer(id, Answer::ReadyToSend(gates.invited(account, ready).await))
                });
            }
            Request::Lane(account, purpose, first) => {
                let (entitled, last) = (self.entitled(account), self.last);
                let (wait, passed) = (self.lane_wait(purpose), self.passed());
                self.answer(async move {
                    let leased = match entitled {
                        Ok((standing, naming)) => {
                            let wanted = LaneWanted { purpose, first, last, passed: passed.as_ref(), wait };
                            gates.lease(account, standing, &naming, wanted).await
                        }
                        Err(failure) => Err(failure),
                    };
                    Done::Leased(id, gates.invited(account, leased).await.map(Box::new))
                });
            }
            Request::Folders(account) => {
                let (entitled, passed) = (self.entitled(account), self.passed());
                self.answer(async move {
                    let known = entitled.ok().and_then(|(_, naming)| gates.folders(account, &naming, passed.as_ref()));
                    Done::Answer(id, Answer::Folders(known))
                });
            }
            Request::Publish(account, table) => {
                let (entitled, passed) = (self.entitled(account), self.passed());
                self.answer(async move {
                    // Without its own map the account has no namespace: the relay takes None for the fault that it is.
                    let namespace = match entitled {
                        Ok((standing, naming)) => {
                            gates.publish(account, standing.generation, &naming, passed.as_ref(), table).await.ok()
                        }
                        Err(_) => None,
                    };
                    Done::Answer(id, Answer::Folders(namespace))
                });
            }
            Request::Keep(account, keep) => {
                let (entitled, passed) = (self.entitled(account), self.passed());
                self.answer(async move {
                    let kept = match entitled {
                        Ok((_, naming)) => gates.keep(account, &naming, passed.as_ref(), keep).await,
                        Err(failure) => Err(failure),
                    };
                    Done::Answer(id, Answer::Kept(kept))
                });
            }
            Request::Validity { account, local, remote, upstream } => {
                let entitled = self.entitled(account);
                self.answer(async move {
                    let told = match entitled {
                        // Under the house's name: another login may call another mailbox so.
                        Ok((_, naming)) => gates.uid_validity(account, &naming.house(&local), &remote, upstream).await,
                        Err(failure) => Err(failure),
                    };
                    Done::Answer(id, Answer::Validity(told))
                });
            }
            Request::Spool(draft, octets) => {
                let account = self.entitled.as_ref().map(|entitled| entitled.account);
                let to = self.desk.as_ref().zip(account);
                let spooled = to.map(|(desk, account)| desk.spool(draft, account, octets));
                self.spooling += 1;
                self.answer(async move {
                    let spooled = match spooled {
                        Some(spooled) => spooled.await,
                        None => Err(NO_DESK),
                    };
                    Done::Answer(id, Answer::Spooled(spooled))
                });
            }
            Request::Commit(draft, account, whole) => {
                let (likeness, commitment) = *whole;
                let entitled = self.entitled(account).map(drop);
                let committed = self.desk.as_ref().map(|desk| desk.commit(draft, account, likeness, commitment));
                self.answer(async move {
                    let committed = match (entitled, committed) {
                        (Ok(()), Some(committed)) => committed.await,
                        (Ok(()), None) => Err(NO_DESK),
                        (Err(failure), _) => Err(failure),
                    };
                    Done::Committed(id, draft, committed)
                });
            }
            Request::Outcome(draft, outcome) => {
                let settled = self.desk.as_ref().map(|desk| desk.settle(draft, outcome));
                self.answer(async move {
                    if let Some(settled) = settled {
                        settled.await;
                    }
                    Done::Answer(id, Answer::Settled)
                });
            }
            // Owed to nobody: a client that leaves need not wait for it.
            Request::Timer(after) => drop(self.tasks.spawn(async move {
                tokio::time::sleep(after).await;
                Done::Elapsed(id)
            })),
        }
        None
    }

    /// A draft is committed, and the session hears of it.
    pub(super) fn told(&self, draft: DraftId) {
        if let Some(desk) = &self.desk {
            desk.tell(draft);
        }
    }

    /// What is said of a draft is on its way next; `is_there`: the client is, and has said nothing that was not heard yet.
    pub(super) fn answers(&self, is_there: bool) {
        if let Some(desk) = &self.desk {
            desk.answers(is_there);
        }
    }

    /// The client has left, behind all that was said to it.
    pub(super) fn left_in_peace(&self) {
        if let Some(desk) = &self.desk {
            desk.left_in_peace();
        }
    }

    /// Keeps back the answer to a refused login. Owed to nobody: who leaves gives its place to others.
    pub(super) fn refuse(&mut self, id: RequestId, wait: Wait) {
        self.refused = self.refused.saturating_add(1);
        self.tasks.spawn(async move {
            wait.over().await;
            Done::Refused(id)
        });
    }

    /// Lanes that were granted and that nobody has looked at yet.
    pub(super) fn granted(&mut self) -> impl Iterator<Item = Lane> {
        let done = std::iter::from_fn(|| self.tasks.try_join_next());
        done.filter_map(|done| if let Ok(Done::Leased(_, Ok(leased))) = done { Some(leased.lane) } else { None })
    }

    /// What the log hears of it names the session.
    pub(super) fn answer(&mut self, task: impl Future<Output = Done> + Send + 'static) {
        self.open += 1;
        self.tasks.spawn(task.in_current_span());
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Done, Failure>> {
        loop {
            return match self.tasks.poll_join_next(context) {
                Poll::Ready(Some(Ok(done))) => {
                    if matches!(
                        done,
                        Done::Answer(..) | Done::Committed(..) | Done::Judged(..) | Done::Leased(..) | Done::Waits(..)
                    ) {
                        self.open -= 1;
                    }
                    self.spooling -= usize::from(done.is_spooled());
                    Poll::Ready(Ok(done))
                }
                // The watch of an earlier verdict.
                Poll::Ready(Some(Err(error))) if error.is_cancelled() => continue,
                // A task that panicked; the session cannot go on without its answer.
                Poll::Ready(Some(Err(_))) => Poll::Ready(Err(Failure::Internal("a request of the session panicked"))),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            };
        }
    }
}
