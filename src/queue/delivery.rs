//! The delivery of one message: from MAIL to what is known of it when the provider has answered, or nobody knows.

use super::{
    ANSWER_KEPT, CLAIM, LANE_WAIT, Next, Queue, UP_TO_MARK, seconds,
    speak::{PIECE_WITHIN, Speaker, Spoken, TIMED_OUT},
    standing::Standing,
};
use crate::{
    failpoint::{Moment, reach},
    failure::{Failure, SmtpMoment},
    filing::{as_seconds, filer::OTHERS_WAIT},
    model::Uncertain,
    rules::patience::{Meaning, advised, meaning, pause},
    store::{Account, Error, Queued, RecipientState, unix_now},
    wire::smtp::Reply,
};
use std::{io, sync::atomic::Ordering, time::Duration};
use tokio::time::timeout;

/// Recipients of one transaction: what every provider takes (RFC 5321 section 4.5.3.1.8). The others follow.
pub(crate) const RECIPIENTS_AT_ONCE: usize = 100;
/// Too many recipients, of one transaction: the others may come at once.
const TOO_MANY: u16 = 452;

/// How a reply begins that closes the connection.
const CLOSES: &str = "421";

/// What the provider says to a message before its end mark.
enum Offer {
    /// It waits for that.
    Taken {
        /// It wants fewer recipients at a time.
        too_many: bool,
    },
    /// The end mark is not to be sent. Words: why it is tried again as a whole.
    Ended(Spoken, Option<String>),
}

impl Queue {
    pub(super) async fn deliver(&self, account: &Account, message: Queued) -> Next {
        let mut standing = Standing::of(message);
        let in_doubt = account.settings.uncertain == Uncertain::Resend && standing.any(RecipientState::Uncertain);
        // What may stand in Sent is not sent again unseen, but for the last look at it: its time is over anyway.
        if in_doubt
            && let Err(failure) = self.look_before(account, &mut standing).await
            && unix_now() < standing.message.expires_at
        {
            let words = format!("Sent could not be looked at before it is sent again: {failure}");
            self.keep(Some(account), &standing.put_off(&words)).await;
            return Next::Go;
        }
        if unix_now() >= standing.message.expires_at {
            let words = standing.message.words.clone();
            let words = if words.is_empty() { "it was not delivered in time" } else { &words };
            standing.turn(RecipientState::Uncertain, RecipientState::Waiting, "");
            standing.turn(RecipientState::Waiting, RecipientState::Failed, words);
            self.keep(Some(account), &standing).await;
            return Next::Go;
        }
        if !standing.any(RecipientState::Waiting) {
            self.keep(Some(account), &standing).await;
            return Next::Go;
        }
        if !account.settings.sends {
            self.keep(Some(account), &standing.put_off("sending is switched off for this account")).await;
            return Next::Go;
        }
        let file = match &standing.message.spooled {
            Some(spooled) => self.filing.spool.read(&spooled.file).await,
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let file = match file {
            Ok(file) => file,
            // Not even one that is not there is given up: its disk may come back.
            Err(_) => {
                let words = "the message cannot be read from the disk of the mail bridge";
                self.keep(Some(account), &standing.put_off(words)).await;
                return Next::Go;
            }
        };
        let own = match self.filing.gates.own_submission(account.id, LANE_WAIT).await {
            Ok(Some(own)) => own,
            Ok(None) => {
                let words = "the bridge has nothing of its own to sign in with for this account";
                self.keep(Some(account), &standing.put_off(words)).await;
                return Next::Go;
            }
            Err(failure) => {
                return self.rest(account, standing.put_off(&words_of(&failure))).await;
            }
        };
        let mut speaker = Speaker::new(own);
        let words = match self.speak(account, &mut standing, &mut speaker, file).await {
            Ok((spoken, words)) => {
                speaker.end(spoken);
                words
            }
            // It is of the provider, as far as anybody knows: the account's next message would wait as long for nothing.
            Err(failure @ (Failure::ProviderMisbehaved(_) | Failure::ProviderUnreachable(_))) => {
                return self.fails(account, standing.put_off(&words_of(&failure))).await;
            }
            Err(failure) => Some(words_of(&failure)),
        };
        match words {
            // Of the account: its next message would hear the same.
            Some(words) if words.starts_with(CLOSES) || advised(&words).is_some() => {
                self.rest(account, standing.put_off(&words)).await
            }
            Some(words) => {
                self.keep(Some(account), &standing.put_off(&words)).await;
                Next::Go
            }
            None => {
                reach(Moment::BeforeDelivered).await;
                let next = match standing.is_in_doubt() {
                    true => self.fails(account, standing).await,
                    false => {
                        self.keep(Some(account), &standing).await;
                        Next::Go
                    }
                };
                reach(Moment::AfterDelivered).await;
                next
            }
        }
    }

    /// The provider is not there, or does not want more now: the account's others wait as long.
    async fn rest(&self, account: &Account, standing: Standing) -> Next {
        let now = unix_now();
        let told = standing.told(account.settings.uncertain, now);
        self.keep(Some(account), &standing).await;
        if let Some(due) = told.due {
            self.hold_back(account, due, told.advised).await;
        }
        Next::Rest
    }

    /// The provider failed within a message: the account's others wait, too, and not for long, as it may be that message's.
    async fn fails(&self, account: &Account, standing: Standing) -> Next {
        let wait = pause(standing.message.tries, "").min(OTHERS_WAIT);
        self.keep(Some(account), &standing).await;
        self.hold_back(account, unix_now() + wait, false).await;
        Next::Rest
    }

    async fn hold_back(&self, account: &Account, until: i64, advised: bool) {
        if let Err(error) = self.filing.store.hold_back(account.id, until, advised, unix_now()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "queued messages cannot be held back");
        }
    }

    /// Before what may have been sent is sent again, Sent is looked at: a provider that files by itself shows it there.
    ///
    /// # Errors
    /// If nobody can tell now whether it stands there.
    async fn look_before(&self, account: &Account, standing: &mut Standing) -> Result<(), Failure> {
        let (to, words) = match self.stands_in_sent(account, standing).await? {
            true => (RecipientState::Accepted, "it stands in Sent: the provider has sent it"),
            false => (RecipientState::Waiting, ""),
        };
        standing.turn(RecipientState::Uncertain, to, words);
        Ok(())
    }

    async fn stands_in_sent(&self, account: &Account, standing: &Standing) -> Result<bool, Failure> {
        let store = &self.filing.store;
        let Some(sent) = standing.message.sent.filter(|_| self.filing.gates.files(account) != Some(false)) else {
            return Ok(false);
        };
        let Some(copy) = store.sent_message(sent).await.map_err(|error| Failure::from(&error))? else {
            return Ok(false);
        };
        // What may stand there by anybody else proves nothing.
        if store.may_be_others(&copy).await.map_err(|error| Failure::from(&error))? {
            return Ok(false);
        }
        self.filing.looked(account.id, &copy).await
    }

    /// What is said of it. Words: why it is tried again as a whole; else each recipient stands as is known.
    async fn speak(
        &self,
        account: &Account,
        standing: &mut Standing,
        speaker: &mut Speaker,
        file: tokio::fs::File,
    ) -> Result<(Spoken, Option<String>), Failure> {
        // What is claimed no more may be another's, or taken out: however slowly the provider goes, it is given up before.
        let left = up_to_mark(standing.message.claimed_until, unix_now());
        let offered = timeout(left, self.offer(standing, speaker, file)).await;
        let too_many = match offered.unwrap_or(Err(TIMED_OUT))? {
            Offer::Taken { too_many } => too_many,
            Offer::Ended(spoken, words) => return Ok((spoken, words)),
        };
        if self.draining.load(Ordering::Relaxed) {
            *standing = standing.clone().left();
            return Ok((Spoken::Broken, None));
        }
        reach(Moment::BeforeQueueMark).await;
        let answer = as_seconds(PIECE_WITHIN.saturating_add(self.end_of_data));
        standing.marks(unix_now().saturating_add(answer).saturating_add(ANSWER_KEPT));
        match self.try_keep(Some(account), standing, account.settings.uncertain).await {
            Ok(_) => standing.is_marked(),
            Err(Error::Missing(_)) => return Ok((Spoken::Broken, Some("it was taken from its delivery".to_owned()))),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a queued message cannot be marked");
                return Ok((Spoken::Broken, Some("the store of the bridge cannot be written".to_owned())));
            }
        }
        reach(Moment::AfterQueueMark).await;
        let answer = match speaker.end_mark().await {
            Ok(()) => {
                reach(Moment::AfterQueueEndMark).await;
                speaker.reply(self.end_of_data).await
            }
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(reply) if reply.class() == 2 => {
                standing.is_accepted(&reply.words());
                standing.tries_others_at_once(too_many);
                Ok((Spoken::Whole, None))
            }
            Ok(reply) if reply.class() != 3 => Ok(self.no(standing, &reply, after(&reply))),
            // Whatever it says now, it has the message.
            Ok(reply) => {
                standing.is_unknown(&format!("no answer that can be understood: {}", reply.words()));
                Ok((Spoken::Broken, None))
            }
            Err(failure) => {
                standing.is_unknown(&words_of(&failure));
                Ok((Spoken::Broken, None))
            }
        }
    }

    /// All of it but its end mark.
    async fn offer(
        &self,
        standing: &mut Standing,
        speaker: &mut Speaker,
        file: tokio::fs::File,
    ) -> Result<Offer, Failure> {
        use RecipientState::{Failed, Offered, Waiting};
        let octets = standing.message.spooled.as_ref().map_or(0, |spooled| spooled.octets);
        let (sender, body) = (standing.message.sender.clone(), standing.message.body);
        let reply = speaker.mail(&sender, octets, body).await?;
        match meaning(&reply) {
            Meaning::Taken => {}
            Meaning::PutOff => return Ok(Offer::Ended(after(&reply), Some(reply.words()))),
            Meaning::Refused => {
                standing.turn(Waiting, Failed, &reply.words());
                return Ok(Offer::Ended(after(&reply), None));
            }
        }
        let waiting = standing.message.recipients.iter().filter(|recipient| recipient.state == Waiting);
        let asked: Vec<_> = waiting.map(|one| (one.position, one.address.clone())).take(RECIPIENTS_AT_ONCE).collect();
        let mut too_many = false;
        for (position, address) in &asked {
            let reply = speaker.rcpt(address).await?;
            if reply.code == 421 {
                return Ok(Offer::Ended(Spoken::Broken, Some(reply.words())));
            }
            too_many |= reply.code == TOO_MANY;
            let state = match meaning(&reply) {
                Meaning::Taken => Offered,
                Meaning::PutOff => Waiting,
                Meaning::Refused => Failed,
            };
            standing.answered(*position, state, &reply.words());
        }
        if !standing.any(Offered) {
            let words = standing.any(Waiting).then(|| self.words_of_waiting(standing));
            return Ok(Offer::Ended(Spoken::Whole, words));
        }
        let reply = speaker.command("DATA").await?;
        if reply.code != 354 {
            let (spoken, words) = self.no(standing, &reply, after(&reply));
            return Ok(Offer::Ended(spoken, words));
        }
        if let Some(reply) = speaker.content(file, octets).await? {
            let (spoken, words) = self.no(standing, &reply, Spoken::Broken);
            return Ok(Offer::Ended(spoken, words));
        }
        Ok(Offer::Taken { too_many })
    }

    /// The provider does not take the message as a whole.
    fn no(&self, standing: &mut Standing, reply: &Reply, spoken: Spoken) -> (Spoken, Option<String>) {
        let words = reply.words();
        match meaning(reply) {
            Meaning::Refused => {
                standing.turn(RecipientState::Offered, RecipientState::Failed, &words);
                (spoken, None)
            }
            Meaning::PutOff if reply.class() == 3 => (Spoken::Broken, Some(words)),
            Meaning::PutOff => (spoken, Some(words)),
            Meaning::Taken => (Spoken::Broken, Some(words)),
        }
    }

    fn words_of_waiting(&self, standing: &Standing) -> String {
        let mut waiting = standing.message.recipients.iter().filter(|one| one.state == RecipientState::Waiting);
        waiting.find(|one| !one.words.is_empty()).map(|one| one.words.clone()).unwrap_or_default()
    }
}

/// What is left of [`UP_TO_MARK`] of a claim.
fn up_to_mark(claimed_until: i64, now: i64) -> Duration {
    UP_TO_MARK.saturating_sub(seconds(now - (claimed_until - CLAIM)))
}

/// A 421 speaks of the connection.
fn after(reply: &Reply) -> Spoken {
    if reply.code == 421 { Spoken::Broken } else { Spoken::Whole }
}

/// As people are told.
fn words_of(failure: &Failure) -> String {
    match failure {
        Failure::Busy(_) => failure.to_string(),
        _ => failure.smtp(SmtpMoment::Command).text.into_owned() + ": " + &failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_ends_before_its_claim() {
        let now = 1_800_000_000;
        let left = |after: i64| up_to_mark(now + CLAIM, now + after).as_secs();
        assert_eq!((left(-5), left(0), left(2000), left(CLAIM)), (2400, 2400, 400, 0));
        assert!(UP_TO_MARK < seconds(CLAIM));
    }
}
