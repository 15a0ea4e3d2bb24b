//! A bridge that is killed while it sends, at each of its moments and at random ones (rules R39 and R41).
//!
//! Each message is counted in the end: what was acknowledged has arrived once and stands in Sent once; what arrived without
//! having been acknowledged stands there too; and nothing is sent or filed twice by us.

use crate::{
    filing::SENT,
    harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, Program, until, words},
};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use std::{
    collections::BTreeMap,
    fmt, thread,
    time::{Duration, Instant},
};

/// Killed together, each in a message of its own. The filer attends to no more accounts at a time.
pub(crate) const ACCOUNTS: usize = 4;
/// How often at each moment: with four accounts, eight messages.
const TIMES: usize = 2;
/// Kills at random moments: with four accounts each, 200 messages.
const KILLS: usize = 50;
/// Those of `failpoint` that a message passes.
const MOMENTS: [&str; 13] = [
    "before-spool",
    "spool-written",
    "before-sync",
    "after-sync",
    "before-mark",
    "after-mark",
    "before-outcome",
    "after-outcome",
    "before-look",
    "before-append",
    "within-append",
    "before-filed",
    "after-filed",
];

/// And those of one that is queued.
const QUEUE_MOMENTS: [&str; 10] = [
    "before-sync",
    "before-queued",
    "after-queued",
    "before-queue-mark",
    "after-queue-mark",
    "after-queue-end-mark",
    "before-delivered",
    "after-delivered",
    "before-append",
    "before-filed",
];

/// A message that was being sent when the bridge was killed.
struct Sent {
    account: usize,
    id: String,
    acknowledged: bool,
}

/// What became of the messages of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    messages: usize,
    acknowledged: usize,
    delivered: usize,
    /// Not delivered, and its copy is filed with a notice to look before it is sent again, or it is shown in the queue.
    uncertain: usize,
    lost: usize,
    twice: usize,
    copies_missing: usize,
    copies_doubled: usize,
}

impl Sum {
    /// How often a message arrived, and how often it stands in Sent; `shown` where the queue shows that it is in doubt.
    fn count(&mut self, acknowledged: bool, shown: bool, arrived: usize, filed: usize) {
        self.messages += 1;
        self.acknowledged += usize::from(acknowledged);
        self.delivered += usize::from(arrived > 0);
        self.uncertain += usize::from(arrived == 0 && (filed > 0 || shown));
        self.lost += usize::from(acknowledged && arrived == 0 && !shown);
        self.twice += usize::from(arrived > 1);
        self.copies_missing += usize::from(arrived > 0 && filed == 0);
        self.copies_doubled += usize::from(filed > 1);
    }

    fn is_sound(&self) -> bool {
        (self.lost, self.twice, self.copies_missing, self.copies_doubled) == (0, 0, 0, 0)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, acknowledged, delivered, uncertain, lost, twice, copies_missing, copies_doubled } = self;
        write!(
            f,
            "{messages} messages, {acknowledged} acknowledged, {delivered} delivered, {uncertain} uncertain and shown; lost \
             {lost}, delivered twice {twice}; Sent copies missing {copies_missing}, doubled {copies_doubled}"
        )
    }
}

pub(crate) struct House {
    dovecot: Dovecot,
    exim: Exim,
    pub(crate) bridge: Bridge,
    pub(crate) crms: Vec<(String, CrmSettings)>,
    /// The bridge delivers by itself.
    queued: bool,
    /// The provider files what is sent, too: what we have filed is looked at once more.
    files: bool,
    /// By the moment at which they were killed.
    sent: BTreeMap<&'static str, Vec<Sent>>,
    _lab: Lab,
}

impl House {
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim])?;
        let dovecot = Dovecot::ovh(&lab);
        let exim = Exim::submission(&lab, &dovecot);
        Some(Self::of(lab, dovecot, exim, settings, false))
    }

    /// At a provider that files what is sent by itself, and about which nothing is known.
    fn filing() -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Sieve, Program::Exim])?;
        let dovecot = Dovecot::filing(&lab, "");
        let exim = Exim::filing(&lab, &dovecot, "");
        Some(Self::of(lab, dovecot, exim, &["--sent-copy", "auto"], true))
    }

    fn of(lab: Lab, dovecot: Dovecot, exim: Exim, settings: &[&str], files: bool) -> Self {
        let bridge = Bridge::prepare(&lab);
        let crms = (0..ACCOUNTS).map(|number| {
            let address = format!("user{number}@ovh.test");
            dovecot.add_user(&address, "direct");
            let crm = bridge.add_account(&AddAccount::of(&lab, &dovecot, &exim, &address));
            let set = bridge.cli(&[&["account", "set", &address], settings].concat(), b"");
            assert!(set.status.success(), "{}", words(&set));
            (address, crm)
        });
        let crms = crms.collect();
        let queued = settings.contains(&"queued");
        Self { dovecot, exim, bridge, crms, queued, files, sent: BTreeMap::new(), _lab: lab }
    }

    /// All accounts send at once, and the bridge is killed: where it stops for all of them, or after so long.
    fn crash(&mut self, moment: Option<&'static str>, after: Duration) {
        if let Some(moment) = moment {
            self.bridge.runs_under(&["env", &format!("PASSERELLE_FAILPOINT={moment}")]);
        }
        let before = self.stopped();
        self.bridge.serve();
        self.bridge.runs_under(&[]);
        let mut wires: Vec<_> = self.crms.iter().map(|(_, crm)| self.bridge.sign_in_smtp(crm)).collect();
        let label = moment.unwrap_or("at random");
        let sent = self.sent.entry(label).or_default();
        for (account, wire) in wires.iter_mut().enumerate() {
            let (address, id) = (&self.crms[account].0, format!("{label}-{}", sent.len()).replace(' ', "-"));
            let message = format!(
                "MAIL FROM:<{address}>\r\nRCPT TO:<{address}>\r\nDATA\r\n\
                 From: {address}\r\nTo: {address}\r\nMessage-ID: <{id}@crm.test>\r\n\r\nHello.\r\n.\r\n"
            );
            wire.send(message.as_bytes());
            sent.push(Sent { account, id, acknowledged: false });
        }
        if moment.is_some() {
            let all = until(Duration::from_secs(20), || (self.stopped() >= before + ACCOUNTS).then_some(()));
            assert!(all.is_some(), "{label}: {} of {ACCOUNTS}\n{}", self.stopped() - before, self.bridge.log());
        } else {
            thread::sleep(after);
        }
        self.bridge.kill();
        let first = sent_before(self.sent[label].len());
        let sent = self.sent.get_mut(label).into_iter().flatten().skip(first);
        for (sent, mut wire) in sent.zip(wires) {
            // After MAIL, RCPT and DATA; the last reply is that to the message.
            let heard = String::from_utf8_lossy(&wire.rest()).into_owned();
            sent.acknowledged = heard.lines().nth(3).is_some_and(|line| line.starts_with("250"));
        }
    }

    pub(crate) fn stopped(&self) -> usize {
        self.bridge.log().matches("stopped at a moment that a test has named").count()
    }

    /// Lets the time pass that what is uncertain waits for, until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        let began = Instant::now();
        self.exim.deliver();
        while self.open() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "{} are open\n{}", self.open(), self.bridge.log());
            self.an_hour_later();
            self.bridge.serve();
            until(Duration::from_secs(5), || (self.open() == 0).then_some(()));
            self.bridge.kill();
        }
    }

    /// Messages that something is to be done for. Files of none are swept in an hour.
    fn open(&self) -> usize {
        let query = if self.files {
            "SELECT 'one' FROM sent WHERE file IS NOT NULL OR (ours = 1 AND tries = 0)"
        } else {
            "SELECT 'one' FROM sent WHERE file IS NOT NULL"
        };
        let queued = match self.queued {
            true => self.store("SELECT 'one' FROM queue WHERE state IN ('waiting', 'marked', 'reporting')").len(),
            false => 0,
        };
        self.store(query).len() + queued
    }

    /// The Message-IDs that the queue shows to be in doubt.
    fn shown(&self) -> Vec<String> {
        let output = self.bridge.cli(&["queue", "list", "--json"], b"");
        assert!(output.status.success(), "{}", words(&output));
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let all = listed.as_array().or_else(|| listed["messages"].as_array()).expect("a list");
        let doubted = all.iter().filter(|message| message["state"] == "uncertain");
        doubted.filter_map(|message| message["message_id"].as_str().map(str::to_owned)).collect()
    }

    fn an_hour_later(&self) {
        self.store("UPDATE sent SET claimed_until = 0 RETURNING 'one'");
        self.store(
            "UPDATE queue SET claimed_until = 0, due_at = 1 WHERE state IN ('waiting', 'reporting') RETURNING 'one'",
        );
        let later = "UPDATE sent SET began_at = began_at - 3600, due_at = 1
            WHERE due_at IS NOT NULL AND (file IS NOT NULL OR (ours = 1 AND tries = 0)) RETURNING 'one'";
        self.store(later);
    }

    fn store(&self, query: &'static str) -> Vec<String> {
        let file = self.bridge.state().join("passerelle.db");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut store = SqliteConnectOptions::new().filename(file).connect().await.expect("the store");
            sqlx::query_scalar(query).fetch_all(&mut store).await.expect("rows")
        })
    }

    /// The Message-IDs of a mailbox, as often as they stand there.
    pub(crate) fn ids(&self, account: usize, mailbox: &str) -> String {
        let mut wire = self.dovecot.sign_in(&self.crms[account].0);
        if !wire.imap(&format!("EXAMINE {mailbox}")).is_ok() || wire.count(mailbox) == 0 {
            return String::new();
        }
        wire.imap_ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").text()
    }

    fn sums(&self) -> BTreeMap<&'static str, Sum> {
        let mailboxes: Vec<_> =
            (0..ACCOUNTS).map(|account| [self.ids(account, "INBOX"), self.ids(account, SENT)]).collect();
        let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
        let doubted = self.shown();
        for (label, sent) in &self.sent {
            for Sent { account, id, acknowledged } in sent {
                let [arrived, filed] =
                    [0, 1].map(|at: usize| mailboxes[*account][at].matches(&format!("<{id}@crm.test>")).count());
                let shown = doubted.contains(&format!("{id}@crm.test"));
                sums.entry(label).or_default().count(*acknowledged, shown, arrived, filed);
            }
        }
        sums
    }
}

/// How many of so many are of earlier kills.
fn sent_before(count: usize) -> usize {
    count - ACCOUNTS
}

/// Kills at the moments, so often each, and at random; then counts.
fn run(mut house: House, moments: &[&'static str], kills: usize) {
    let queued = house.queued;
    let began = Instant::now();
    for moment in moments {
        for _ in 0..TIMES {
            house.crash(Some(moment), Duration::ZERO);
            // Else the next ones stop at what these have left.
            house.settle();
        }
    }
    let mut seed = 0x2545_f491_u32;
    for _ in 0..kills {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        house.crash(None, Duration::from_millis(u64::from(seed >> 24)));
    }
    println!("{} kills in {:?}", moments.len() * TIMES + kills, began.elapsed());
    house.settle();
    let sums = house.sums();
    for (label, sum) in &sums {
        println!("killed {label}: {sum}");
    }
    assert!(sums.values().all(Sum::is_sound), "{}", house.bridge.log());
    let uncertain: usize = sums.values().map(|sum| sum.uncertain).sum();
    let shown = house.bridge.log().matches("nobody has tried again").count();
    assert!(queued || shown >= uncertain, "{shown} notices for {uncertain}");
    let counted: usize = sums.values().map(|sum| sum.messages).sum();
    assert_eq!(counted, (moments.len() * TIMES + kills) * ACCOUNTS);
    // What was random was so: some were acknowledged, some not.
    let random = sums["at random"];
    assert!((1..random.messages).contains(&random.acknowledged), "{random}");
}

#[test]
fn r39_r41_no_kill_loses_a_message_or_its_copy() {
    let Some(house) = House::start(&["--sent-copy", "always"]) else { return };
    run(house, &MOMENTS, KILLS);
}

#[test]
fn r41_no_kill_doubles_a_copy_where_the_provider_files() {
    let Some(house) = House::filing() else { return };
    run(house, &["after-mark", "before-outcome", "after-outcome"], KILLS / 5);
}

#[test]
fn r39_r41_no_kill_loses_a_queued_message_or_its_copy() {
    let Some(house) = House::start(&["--sent-copy", "always", "--submission", "queued"]) else { return };
    run(house, &QUEUE_MOMENTS, KILLS);
}
