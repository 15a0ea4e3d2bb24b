//! What one session has under way: the message that it writes to disk, commits, and says the outcome of.
//!
//! What was asked for is carried out whole, even where the session ends meanwhile: a message that was committed and whose
//! end mark never left is forgotten, one whose end mark may have left is uncertain.

use super::{Filing, not_kept, spool::Spooling};
use crate::{
    failure::Failure,
    model::AccountId,
    relay::{Commitment, Committed, DraftId, Outcome},
    rules::likeness::Likeness,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use tokio::sync::Mutex;

/// A session's place where drafts lie.
pub struct Desk {
    filing: Arc<Filing>,
    state: Arc<Mutex<State>>,
    /// The draft whose commitment the session knows of: from there on its end mark may be sent.
    told: Arc<AtomicU32>,
    /// Whatever the client says next, it has said before it was answered, or it was gone by then.
    unheard: AtomicBool,
}

/// The draft under way; those of lower numbers are over.
#[derive(Default)]
struct State {
    id: DraftId,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Over,
    Writing(Box<Spooling>),
    /// By its number in the store.
    Committed(i64),
    /// By its number in the queue.
    Queued(i64),
    /// Sent, by its number in the store; its client is not known to have heard so.
    Answered(i64),
}

impl State {
    fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Answered(_))
    }

    /// Turns to this draft, and says whether it begins here: it takes the place of the last then.
    fn turn_to(&mut self, id: DraftId) -> Result<bool, Failure> {
        let begins = id > self.id;
        if begins {
            *self = Self { id, stage: Stage::Over };
        }
        if id == self.id { Ok(begins) } else { Err(GIVEN_UP) }
    }
}

impl Desk {
    #[must_use]
    pub fn new(filing: Arc<Filing>) -> Self {
        Self { filing, state: Arc::default(), told: Arc::default(), unheard: AtomicBool::new(false) }
    }

    /// Writes the next octets of a draft of this account.
    pub fn spool(
        &self,
        id: DraftId,
        account: AccountId,
        octets: Vec<u8>,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        let (filing, state) = (self.filing.clone(), self.state.clone());
        whole(async move {
            let mut state = state.lock().await;
            if state.turn_to(id)? {
                state.stage = Stage::Writing(Box::new(filing.begin(account).await?));
            }
            match &mut state.stage {
                Stage::Writing(spooling) => spooling.write(&octets).await.map_err(|error| not_kept(&error)),
                Stage::Over | Stage::Committed(_) | Stage::Queued(_) | Stage::Answered(_) => Err(GIVEN_UP),
            }
        })
    }

    /// Commits a draft that is whole.
    pub fn commit(
        &self,
        id: DraftId,
        account: AccountId,
        likeness: Likeness,
        commitment: Commitment,
    ) -> impl Future<Output = Result<Committed, Failure>> + Send + 'static {
        let (filing, state) = (self.filing.clone(), self.state.clone());
        whole(async move {
            let mut state = state.lock().await;
            // One of which no octets are kept begins here.
            let begins = state.turn_to(id)?;
            let spooled = match std::mem::take(&mut state.stage) {
                Stage::Writing(spooling) => Some(spooling.finish().await.map_err(|error| not_kept(&error))?),
                Stage::Over if begins => None,
                Stage::Over | Stage::Committed(_) | Stage::Queued(_) | Stage::Answered(_) => return Err(GIVEN_UP),
            };
            let is_sent = matches!(commitment, Commitment::Sending { .. });
            let (row, committed) = filing.commit(account, spooled, likeness, commitment).await?;
            if let Committed::Queued(number) = committed {
                state.stage = Stage::Queued(number);
            } else if is_sent && committed == Committed::Kept {
                state.stage = Stage::Committed(row);
            } else if is_sent && committed == Committed::SentBefore && row != 0 {
                state.stage = Stage::Answered(row);
            }
            Ok(committed)
        })
    }

    /// The session has heard that this draft is committed.
    pub fn tell(&self, id: DraftId) {
        self.told.store(id.0, Ordering::Relaxed);
    }

    /// What the session is about to say, its client answers only where it is still there and has said nothing since.
    pub fn answers(&self, is_there: bool) {
        self.unheard.store(!is_there, Ordering::Relaxed);
    }

    /// Says what became of a draft; once more, that its client has heard so. From here on that is done, whoever waits.
    pub fn settle(&self, id: DraftId, outcome: Outcome) -> impl Future<Output = ()> + Send + 'static {
        let (filing, state) = (self.filing.clone(), self.state.clone());
        let is_heard = outcome == Outcome::Accepted && !self.unheard.load(Ordering::Relaxed);
        let settled = tokio::spawn(async move {
            let mut state = state.lock().await;
            if state.turn_to(id).is_err() {
                return;
            }
            match std::mem::take(&mut state.stage) {
                Stage::Committed(row) => {
                    filing.settle(row, outcome).await;
                    if outcome == Outcome::Accepted {
                        state.stage = Stage::Answered(row);
                    }
                }
                // Its client has heard of it.
                Stage::Queued(number) => filing.queued_is_told(number).await,
                Stage::Answered(row) if is_heard => filing.sent_is_told(row).await,
                Stage::Answered(row) => state.stage = Stage::Answered(row),
                Stage::Over | Stage::Writing(_) => {}
            }
        });
        async move { drop(settled.await) }
    }

    /// The client has left in peace, and all that was said to it was on its way before.
    pub fn left_in_peace(&self) {
        let (filing, state) = (self.filing.clone(), self.state.clone());
        if self.unheard.load(Ordering::Relaxed) || state.try_lock().is_ok_and(|state| !state.is_answered()) {
            return;
        }
        tokio::spawn(async move {
            let mut state = state.lock().await;
            if let Stage::Answered(row) = state.stage {
                state.stage = Stage::Over;
                filing.sent_is_told(row).await;
            }
        });
    }
}

/// The session is over.
impl Drop for Desk {
    fn drop(&mut self) {
        let (filing, state, told) = (self.filing.clone(), self.state.clone(), self.told.load(Ordering::Relaxed));
        // Nothing is under way: the usual case.
        if state.try_lock().is_ok_and(|state| matches!(state.stage, Stage::Over | Stage::Answered(_))) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut state = state.lock().await;
            if let Stage::Committed(row) = std::mem::take(&mut state.stage) {
                let outcome = if state.id.0 == told { Outcome::Unknown } else { Outcome::Refused };
                filing.settle(row, outcome).await;
            }
        });
    }
}

/// Nobody waits for it any more.
const GIVEN_UP: Failure = Failure::Internal("a draft that was given up");

/// Goes on where the one who asked is gone.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    tokio::spawn(work).await.unwrap_or(Err(Failure::Internal("the keeping of a message panicked")))
}
