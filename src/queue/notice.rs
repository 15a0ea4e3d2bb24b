//! The report of what failed, put into the account's own INBOX: found there first, so that a crash makes no second one.

use super::{LANE_WAIT, Queue, standing::Standing};
use crate::{
    failpoint::{Moment, reach},
    failure::{Failure, Unreachable},
    filing::{
        line::date_time,
        talk::{Appended, Appending, Talk},
    },
    model::number,
    rules::report::{Failed, HEADER_MAX, Report, write},
    store::{Account, Queued, RecipientState, unix_now},
    upstream::Own,
};
use std::time::Duration;
use tokio::{io::AsyncReadExt as _, time::timeout};

/// One report, in all.
pub(crate) const REPORT: Duration = Duration::from_secs(300);

impl Queue {
    /// Puts the report into INBOX, or says why it is tried again.
    pub(super) async fn report(&self, account: &Account, message: Queued) {
        let mut standing = Standing::of(message);
        let put = timeout(REPORT, self.put(account, &standing.message)).await;
        let trouble = match put {
            Ok(Ok(())) => {
                standing.is_reported();
                self.keep(Some(account), &standing).await;
                return;
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let (account_name, number) = (account.address.as_str(), standing.message.id);
        tracing::warn!(account = account_name, number, trouble, "a report of what was not delivered waits");
        self.keep(Some(account), &standing.put_off("")).await;
    }

    async fn put(&self, account: &Account, message: &Queued) -> Result<(), Failure> {
        let Some(own) = self.filing.gates.own_lane(account.id, LANE_WAIT).await? else {
            // Nobody can look into this mailbox but its client: the log and the command line have told.
            tracing::error!(number = message.id, "no report of what was not delivered: the bridge cannot sign in");
            return Ok(());
        };
        let Own { account, .. } = &own;
        let (search, id) = (self.filing.gates.search(account), report_id(account, message));
        let octets = self.write(account, message, &id).await;
        let mut talk = Talk::new(own);
        let inbox = talk.open_inbox(false).await?;
        let stands = !talk.look(&id, search, message.began_at).await?.is_empty();
        if !stands {
            reach(Moment::BeforeReport).await;
            let date = date_time(unix_now());
            let what = Appended { flags: "", seen: false, date: &date, octets: number(octets.len()) };
            if let Appending::Refused = talk.append(&inbox, what, &octets[..]).await? {
                return Err(Failure::ProviderUnreachable(Unreachable::Unavailable));
            }
            reach(Moment::AfterReport).await;
        }
        talk.end();
        Ok(())
    }

    async fn write(&self, account: &Account, message: &Queued, id: &str) -> Vec<u8> {
        let mut original = Vec::new();
        if let Some(spooled) = &message.spooled
            && let Ok(file) = self.filing.spool.read(&spooled.file).await
        {
            // What cannot be read of it is left out: that it failed is more than what it was.
            let _ = file.take(number(HEADER_MAX)).read_to_end(&mut original).await;
        }
        let failed = message.recipients.iter().filter(|recipient| recipient.state == RecipientState::Failed);
        let failed: Vec<_> = failed
            .map(|one| {
                let words = if one.words.is_empty() { &message.words } else { &one.words };
                Failed { address: &one.address, words, expired: !words.starts_with('5') }
            })
            .collect();
        write(&Report {
            id,
            host: &self.host,
            to: account.address.as_str(),
            at: unix_now(),
            taken_at: message.began_at,
            number: message.id,
            failed: &failed,
            original: &original,
        })
    }
}

/// The same for the same report, and nobody's else: a file's name is drawn at random.
fn report_id(account: &Account, message: &Queued) -> String {
    let file = message.spooled.as_ref().map_or("none", |spooled| spooled.file.as_str());
    let stem = file.split('.').next().unwrap_or_default();
    let domain = account.address.as_str().rsplit('@').next().unwrap_or_default();
    format!("{stem}.{}.report@{domain}", message.reports)
}
