//! Named moments at which tests stop a bridge and kill it (rules R29, R39, R41).
//!
//! Only in builds with debug assertions; elsewhere they are nothing. Whoever reaches the one that the environment names
//! waits there for ever.

#![cfg_attr(
    debug_assertions,
    allow(clippy::disallowed_methods, reason = "no setting of a release: tests alone name a moment")
)]

#[cfg(debug_assertions)]
use std::{env, sync::OnceLock};

/// Names the moment.
#[cfg(debug_assertions)]
const VARIABLE: &str = "PASSERELLE_FAILPOINT";

/// A moment of a renewal, of a message that is sent or queued, or of a Sent copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(debug_assertions), allow(dead_code, reason = "nobody asks for its name"))]
pub(crate) enum Moment {
    BeforeRequest,
    /// The endpoint has answered, and nothing was read of that: the provider may have given another token.
    BeforeAnswer,
    BeforeCommit,
    BeforeUse,
    AfterUse,
    /// A message has a file in the spool, and more of it is about to go there.
    BeforeSpool,
    /// Some of a message is in the spool.
    SpoolWritten,
    BeforeSync,
    AfterSync,
    BeforeMark,
    /// The message is marked as sent; its end mark is not.
    AfterMark,
    /// The provider has answered the end mark.
    BeforeOutcome,
    /// The outcome is committed; the client has not heard of it.
    AfterOutcome,
    BeforeLook,
    BeforeAppend,
    /// Some of the copy is with the provider.
    WithinAppend,
    /// The provider has the copy.
    BeforeFiled,
    AfterFiled,
    BeforeCopy,
    /// A copy of a CRM's own is committed.
    AfterCopy,
    /// And it has come to be known where it stands, or that took too long; the CRM has not heard of it.
    BeforeCopyReply,
    BeforeQueued,
    /// The message is in the queue; the client has not heard of it.
    AfterQueued,
    /// It is about to be known that the end mark of a queued message is sent.
    BeforeQueueMark,
    /// That is known; the end mark is not sent.
    AfterQueueMark,
    /// It is, and nothing was heard of it.
    AfterQueueEndMark,
    /// The provider has answered it.
    BeforeDelivered,
    /// And that is committed.
    AfterDelivered,
    BeforeReport,
    /// The report stands in the INBOX, which is not committed.
    AfterReport,
}

#[cfg(debug_assertions)]
impl Moment {
    const fn name(self) -> &'static str {
        match self {
            Self::BeforeRequest => "before-request",
            Self::BeforeAnswer => "before-answer",
            Self::BeforeCommit => "before-commit",
            Self::BeforeUse => "before-use",
            Self::AfterUse => "after-use",
            Self::BeforeSpool => "before-spool",
            Self::SpoolWritten => "spool-written",
            Self::BeforeSync => "before-sync",
            Self::AfterSync => "after-sync",
            Self::BeforeMark => "before-mark",
            Self::AfterMark => "after-mark",
            Self::BeforeOutcome => "before-outcome",
            Self::AfterOutcome => "after-outcome",
            Self::BeforeLook => "before-look",
            Self::BeforeAppend => "before-append",
            Self::WithinAppend => "within-append",
            Self::BeforeFiled => "before-filed",
            Self::AfterFiled => "after-filed",
            Self::BeforeCopy => "before-copy",
            Self::AfterCopy => "after-copy",
            Self::BeforeCopyReply => "before-copy-reply",
            Self::BeforeQueued => "before-queued",
            Self::AfterQueued => "after-queued",
            Self::BeforeQueueMark => "before-queue-mark",
            Self::AfterQueueMark => "after-queue-mark",
            Self::AfterQueueEndMark => "after-queue-end-mark",
            Self::BeforeDelivered => "before-delivered",
            Self::AfterDelivered => "after-delivered",
            Self::BeforeReport => "before-report",
            Self::AfterReport => "after-report",
        }
    }
}

/// Ends at once, unless a test wants to be here.
#[cfg(debug_assertions)]
pub(crate) async fn reach(moment: Moment) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| env::var(VARIABLE).ok());
    if wanted.as_deref() == Some(moment.name()) {
        tracing::error!(moment = moment.name(), "stopped at a moment that a test has named");
        std::future::pending().await
    }
}

/// Ends at once.
#[cfg(not(debug_assertions))]
#[allow(clippy::unused_async, reason = "as in builds for tests")]
pub(crate) async fn reach(_moment: Moment) {}
