//! The filer: looks into Sent for a message that is due, and puts its copy there where it is missing.
//!
//! What fails is tried again, later and later, over restarts, until it holds or the account is gone. A copy must never be
//! put into Sent where it may stand already. Whose turn it is says [`super::turns`].

use super::{
    Filing, as_seconds,
    line::{date_time, day_of},
    talk::{Appended, Appending, Mailbox, Talk},
};
use crate::{
    failpoint::{Moment, reach},
    failure::{Failure, Unreachable},
    model::{AccountId, SentCopy},
    provider::Filed,
    store::{Account, Error, Sending, SentMessage, SentPlace, Spooled, sent::KNOWN, unix_now},
    upstream::Own,
};
use std::time::Duration;
use tokio::time::timeout;

/// For a lane of its own.
pub(crate) const LANE_WAIT: Duration = Duration::from_secs(30);
/// One message in all: 35 MB at 256 kbit/s. For as long it is claimed.
pub(crate) const ONE: Duration = Duration::from_secs(1500);
/// One look into Sent for somebody who waits for it, in all.
pub(crate) const LOOKED_WITHIN: Duration = Duration::from_secs(300);
/// Seconds from a failure to the next try; the last goes on for ever.
pub(crate) const PAUSES: [i64; 7] = [5, 15, 60, 300, 900, 1800, 3600];
/// Seconds for which an account's other messages wait at most, where one met a provider that fails: it may be that one's.
pub(crate) const OTHERS_WAIT: i64 = 300;
/// Seconds for which a message of unknown outcome waits for a retry by the CRM, before its copy is filed.
pub(crate) const UNCERTAIN: i64 = 15 * 60;
/// Looks, with their pauses, that a provider which files by itself is given before a CRM's copy is put there.
pub(crate) const LOOKS: u32 = 3;
/// Seconds after filing when Sent is looked at once more: a provider may file late.
pub(crate) const LOOKED_FIRST: i64 = 60;
/// Seconds from that look to the next. The last is when its day is over.
pub(crate) const LOOKED_AGAIN: [i64; 2] = [600, 3600];

/// What is to be done next for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing, for so many seconds.
    Later(i64),
    Append,
    /// Nothing any more: it is known until its day is over.
    Rest,
}

impl Filing {
    /// Says whether the account's next one is worth a try.
    pub(super) async fn attend(&self, id: i64) -> bool {
        let now = unix_now();
        // As it is now: since it was found to be due its outcome or another copy may have come.
        let message = match self.store.claim_sent(id, now, now + as_seconds(ONE)).await {
            Ok(Some(message)) => message,
            Ok(None) => return true,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a Sent copy cannot be claimed");
                return false;
            }
        };
        let (account, tries) = (message.account, message.tries);
        let attended = timeout(ONE, self.try_attend(message)).await;
        let pause = pause(tries);
        let (failure, others) = match attended {
            Ok(Ok(())) => return true,
            Ok(Err(trouble)) => (trouble.to_string(), trouble.others_wait(pause)),
            Err(_) => ("no answer in time".to_owned(), Some(pause.min(OTHERS_WAIT))),
        };
        tracing::warn!(
            account = account.0,
            failure,
            pause,
            "a Sent copy could not be seen to; tried again after that many seconds"
        );
        let now = unix_now();
        // Behind the others, which may do better.
        let mut put_off = self.store.postpone_sent(id, Some(now + pause + 1), None).await;
        if let Some(others) = others
            && put_off.is_ok()
        {
            put_off = self.store.postpone_all_sent(account, now, now + others).await;
        }
        if let Err(error) = put_off {
            tracing::error!(error = &error as &dyn std::error::Error, "a Sent copy cannot be put off");
        }
        others.is_none()
    }

    async fn lane(&self, account: AccountId) -> Result<Option<Own>, Trouble> {
        self.gates.own_lane(account, LANE_WAIT).await.map_err(Trouble::Lane)
    }

    async fn try_attend(&self, message: SentMessage) -> Result<(), Trouble> {
        let now = unix_now();
        let is_known = message.sending == Sending::Accepted || now >= message.began_at + KNOWN;
        if message.filed || message.spooled.is_none() && is_known {
            return self.over(message, now).await;
        }
        // Of a session that ended, or a bridge that was killed, before anybody knew more.
        let uncertain = matches!(message.sending, Sending::Marked | Sending::Uncertain);
        if message.sending == Sending::Queued {
            // The queue says when its time has come.
            self.store.postpone_sent(message.id, None, None).await?;
            return Ok(());
        }
        let Some(own) = self.lane(message.account).await? else {
            let files = self.store.forget_sent(message.id).await?;
            self.spool.remove(files).await;
            return Ok(());
        };
        let account = own.account.clone();
        let mut talk = Talk::new(own);
        let mailbox = talk.open_sent(&self.gates, false).await?;
        let found = self.find(&message, &account, &mut talk, &mailbox).await?;
        if let Some(uid) = found.first() {
            let place = mailbox.at(*uid);
            talk.end();
            let is_sent = message.sending == Sending::Accepted && self.learns(&account);
            if is_sent && !self.store.may_be_others(&message).await? {
                self.store.note_files_sent(account.id, true).await?;
            }
            return self.is_filed(&message, place, false, now + KNOWN).await;
        }
        match next(&message, now) {
            Next::Later(after) => {
                talk.end();
                let sending = uncertain.then_some(Sending::Uncertain);
                self.store.postpone_sent(message.id, Some(now + after), sending).await?;
            }
            Next::Rest => {
                talk.end();
                let due = (message.began_at + KNOWN).max(now + 1);
                self.store.postpone_sent(message.id, Some(due), uncertain.then_some(Sending::Uncertain)).await?;
            }
            Next::Append => {
                if uncertain {
                    tracing::warn!(
                        account = account.address.as_str(),
                        "whether a message was sent is not known, and nobody has tried again: a copy is filed in Sent; \
                         ask its recipient before you send it again"
                    );
                }
                self.append(&message, &account, talk, &mailbox).await?;
            }
        }
        Ok(())
    }

    /// Where the message stands in the mailbox that is open: under the Message-ID that was sent, or the one of its copy.
    async fn find(
        &self,
        message: &SentMessage,
        account: &Account,
        talk: &mut Talk,
        mailbox: &Mailbox,
    ) -> Result<Vec<u32>, Trouble> {
        // Another version stands there, and nothing of ours yet.
        if message.alone && !message.tried {
            return Ok(Vec::new());
        }
        // The copy may bear the date that the CRM gave it.
        let dated = message.internal_date.as_deref().and_then(day_of).unwrap_or(i64::MAX);
        let since = dated.min(message.began_at);
        let mut found = Vec::new();
        for id in [&message.message_id, &message.copy_id].into_iter().flatten() {
            found.extend(talk.look(id, self.gates.search(account), since).await?);
        }
        found.sort_unstable();
        found.dedup();
        if message.alone {
            let others = self.store.places_of_others(message).await?;
            found.retain(|uid| mailbox.at(*uid).is_none_or(|place| !others.contains(&place)));
        }
        Ok(found)
    }

    async fn append(
        &self,
        message: &SentMessage,
        account: &Account,
        mut talk: Talk,
        mailbox: &Mailbox,
    ) -> Result<(), Trouble> {
        let Some(spooled) = &message.spooled else { return Ok(()) };
        let file = match self.spool.read(&spooled.file).await {
            Ok(file) => file,
            Err(error) => return self.is_not_there(message, spooled, &error).await,
        };
        // What a CRM wrote may be what its provider does not take: a day that is none, a keyword.
        let date = message.internal_date.clone().filter(|_| !message.plain);
        let date = date.unwrap_or_else(|| date_time(message.began_at));
        let flags = if message.plain { "" } else { &message.flags };
        let what = Appended { flags, seen: message.seen, date: &date, octets: spooled.octets };
        // From here on a copy that is found may be ours.
        self.store.try_sent(message.id).await?;
        let appended = talk.append(mailbox, what, file).await?;
        talk.end();
        let Appending::Stored(place) = appended else { return self.is_refused(message).await };
        if message.sending == Sending::Accepted && self.learns(account) {
            self.store.note_files_sent(account.id, false).await?;
        }
        self.is_filed(message, place, true, unix_now() + LOOKED_FIRST).await
    }

    /// The provider does not take it as it is: it is tried in another way, where there is one.
    async fn is_refused(&self, message: &SentMessage) -> Result<(), Trouble> {
        let (has_more, spare) = self.store.refused_sent(message, unix_now()).await?;
        self.spool.remove(spare).await;
        if !has_more {
            return Err(Trouble::Refused);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Its file cannot be read.
    async fn is_not_there(
        &self,
        message: &SentMessage,
        spooled: &Spooled,
        error: &std::io::Error,
    ) -> Result<(), Trouble> {
        let now = self.store.sent_message(message.id).await?;
        // Another copy has taken its place meanwhile; else it may be readable later.
        let is_it = now.is_some_and(|message| message.spooled.as_ref() == Some(spooled));
        if !is_it || error.kind() != std::io::ErrorKind::NotFound {
            return Err(Failure::Internal("a file of the spool cannot be read").into());
        }
        tracing::error!(account = message.account.0, "a Sent copy is not in the spool any more, and is given up");
        let files = self.store.forget_sent(message.id).await?;
        self.spool.remove(files).await;
        Ok(())
    }

    async fn is_filed(
        &self,
        message: &SentMessage,
        place: Option<SentPlace>,
        ours: bool,
        due: i64,
    ) -> Result<(), Trouble> {
        let files = self.store.filed_sent(message.id, place, ours, unix_now(), due).await?;
        self.spool.remove(files).await;
        self.news.notify_waiters();
        reach(Moment::AfterFiled).await;
        Ok(())
    }

    /// It stands in Sent, or its provider sees to that: it is looked at a few times more where we put it there, and
    /// forgotten when its day is over.
    async fn over(&self, message: SentMessage, now: i64) -> Result<(), Trouble> {
        let looked = match message.place.filter(|_| message.ours) {
            Some(place) => self.take_back_double(place, &message).await,
            None => Ok(false),
        };
        if now >= message.began_at + KNOWN {
            let files = self.store.forget_sent(message.id).await?;
            self.spool.remove(files).await;
            return Ok(());
        }
        if !looked? {
            let next = LOOKED_AGAIN.get(usize::try_from(message.tries).unwrap_or(usize::MAX));
            let due = next.map_or(message.began_at + KNOWN, |after| now + after);
            self.store.postpone_sent(message.id, Some(due), None).await?;
        }
        Ok(())
    }

    /// The provider may have filed after us: then ours goes, and its is the one that stands there.
    async fn take_back_double(&self, ours: SentPlace, message: &SentMessage) -> Result<bool, Trouble> {
        let Some(own) = self.lane(message.account).await? else { return Ok(false) };
        let account = own.account.clone();
        let mut talk = Talk::new(own);
        let mailbox = talk.open_sent(&self.gates, true).await?;
        let found = self.find(message, &account, &mut talk, &mailbox).await?;
        let other = found.iter().find(|uid| **uid != ours.uid).and_then(|uid| mailbox.at(*uid));
        let is_double = found.contains(&ours.uid) && ours.uid_validity == other.map_or(0, |other| other.uid_validity);
        if !is_double || !talk.remove(&mailbox, ours).await? {
            talk.end();
            return Ok(false);
        }
        talk.end();
        tracing::info!(
            account = account.address.as_str(),
            "the provider filed a sent message late: our copy is taken back"
        );
        if self.learns(&account) && !message.copied {
            self.store.note_files_sent(account.id, true).await?;
        }
        self.is_filed(message, other, false, message.began_at + KNOWN).await?;
        Ok(true)
    }

    /// Whether a message stands in Sent, within [`LOOKED_WITHIN`].
    pub(crate) async fn looked(&self, account: AccountId, message: &SentMessage) -> Result<bool, Failure> {
        let looked = timeout(LOOKED_WITHIN, self.try_look(account, message)).await;
        looked.unwrap_or(Err(Failure::ProviderUnreachable(Unreachable::TimedOut)))
    }

    async fn try_look(&self, account: AccountId, message: &SentMessage) -> Result<bool, Failure> {
        let Some(id) = &message.message_id else { return Ok(false) };
        let Some(own) = self.gates.own_lane(account, LANE_WAIT).await? else { return Ok(false) };
        let search = self.gates.search(&own.account);
        let mut talk = Talk::new(own);
        talk.open_sent(&self.gates, false).await?;
        let found = talk.look(id, search, message.began_at).await?;
        talk.end();
        Ok(!found.is_empty())
    }

    /// Whether what is seen of an account's Sent mailbox is to be remembered: its provider's table does not know.
    fn learns(&self, account: &Account) -> bool {
        account.settings.sent_copy == SentCopy::Auto && self.gates.table_says_of_sent(account) == Filed::Unknown
    }
}

/// What becomes of a message that does not stand in Sent.
fn next(message: &SentMessage, now: i64) -> Next {
    let age = now - message.began_at;
    let uncertain = matches!(message.sending, Sending::Marked | Sending::Uncertain);
    match message {
        _ if uncertain && age < UNCERTAIN => Next::Later(pause(message.tries).min(UNCERTAIN - age)),
        SentMessage { spooled: None, .. } => Next::Rest,
        SentMessage { files: true, tries, .. } if *tries < LOOKS => Next::Later(pause(*tries)),
        _ => Next::Append,
    }
}

fn pause(tries: u32) -> i64 {
    let at = usize::try_from(tries).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    PAUSES.get(at).copied().unwrap_or(3600)
}

/// Why a message could not be seen to now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// There is no lane for any message of the account.
    #[error(transparent)]
    Lane(Failure),
    #[error("the provider does not take this message into Sent")]
    Refused,
    #[error(transparent)]
    Store(#[from] Error),
}

impl Trouble {
    /// Seconds for which the account's other messages wait too, where they would meet the same. None: it is of this message.
    fn others_wait(&self, pause: i64) -> Option<i64> {
        match self {
            Self::Lane(_) => Some(pause),
            Self::Failure(Failure::ProviderMisbehaved(_) | Failure::ProviderUnreachable(_)) => {
                Some(pause.min(OTHERS_WAIT))
            }
            Self::Failure(_) | Self::Refused | Self::Store(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sending: Sending, files: bool, spooled: bool, tries: u32) -> SentMessage {
        SentMessage {
            id: 1,
            account: AccountId(1),
            sending,
            copy_id: None,
            fallback: None,
            alone: false,
            tried: false,
            plain: false,
            message_id: None,
            began_at: 1000,
            spooled: spooled.then(|| Spooled { file: "x".to_owned(), octets: 1 }),
            flags: String::new(),
            seen: true,
            internal_date: None,
            copied: false,
            files,
            tries,
            filed: false,
            place: None,
            ours: false,
        }
    }

    #[test]
    fn what_is_missing_is_filed_when_nobody_else_will() {
        for (message, age, then) in [
            (message(Sending::Accepted, false, true, 0), 0, Next::Append),
            (message(Sending::None, false, true, 0), 0, Next::Append),
            (message(Sending::None, true, true, 0), 0, Next::Later(5)),
            (message(Sending::Accepted, true, true, 2), 0, Next::Later(60)),
            (message(Sending::Accepted, true, true, 3), 0, Next::Append),
            (message(Sending::Uncertain, false, true, 0), 10, Next::Later(5)),
            (message(Sending::Marked, false, true, 9), 800, Next::Later(100)),
            (message(Sending::Uncertain, false, true, 9), 900, Next::Append),
            (message(Sending::Uncertain, true, false, 9), 900, Next::Rest),
            (message(Sending::Accepted, true, false, 0), 0, Next::Rest),
        ] {
            assert_eq!(next(&message, 1000 + age), then, "{message:?} after {age} s");
        }
        assert_eq!((pause(0), pause(6), pause(u32::MAX)), (5, 3600, 3600));
    }
}
