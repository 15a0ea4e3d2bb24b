//! A provider that makes up UIDVALIDITY or names without end: what it costs us is bounded (rule R15), and nothing that
//! was told before is told of another mailbox.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Wire, until, words};
use passerelle::store;
use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

const ALICE: &str = "alice@lab.test";
/// Of one session, as `passerelle limits` tells it.
const CHANGES_MAX: usize = 64;
/// Of one account, the same.
const ROWS_MAX: i64 = 40_000;

struct House {
    bridge: Bridge,
    crm: CrmSettings,
    _provider: Provider,
    _lab: Lab,
}

impl House {
    fn start(
        answer: impl Fn(&mut crate::harness::Visit, &str, &str) -> Option<bool> + Send + Sync + 'static,
    ) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let provider = Provider::imap(Some(&lab.certificates.good), answer);
        let mut bridge = Bridge::prepare(&lab);
        let crm = bridge.add_account(&AddAccount::at(&lab, [provider.port, 1], ALICE));
        bridge.serve();
        Some(Self { bridge, crm, _provider: provider, _lab: lab })
    }

    fn limit(&self, name: &str) -> String {
        let output = self.bridge.cli(&["limits", "--json"], b"");
        assert!(output.status.success(), "{}", words(&output));
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let found = all["limits"].as_array().expect("a list").iter().find(|limit| limit["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no limit {name}"))["value"].as_str().expect("text").to_owned()
    }
}

fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// The UIDVALIDITY of an answer, in the order of its lines.
fn validities(text: &str) -> Vec<u32> {
    let behind = |line: &str| line.split_once("UIDVALIDITY ")?.1.split([']', ')', ' ']).next()?.parse().ok();
    text.lines().filter_map(behind).collect()
}

#[test]
fn r15_changes_of_uidvalidity_are_bounded_in_a_session() {
    // A new one with each SELECT, as hosts do that keep none.
    let number = Arc::new(AtomicU32::new(0));
    let Some(house) = House::start(move |visit, tag, command| {
        if !command.starts_with("SELECT") {
            return Some(false);
        }
        let validity = 100 + number.fetch_add(1, Ordering::SeqCst);
        visit.say("* FLAGS (\\Seen)\r\n* 3 EXISTS\r\n* 0 RECENT")?;
        visit.say(&format!("* OK [UIDVALIDITY {validity}] valid\r\n* OK [UIDNEXT 4] next\r\n{tag} OK done"))?;
        Some(true)
    }) else {
        return;
    };
    assert_eq!(house.limit("validity-changes"), CHANGES_MAX.to_string());
    let mut session = house.bridge.sign_in(&house.crm);
    let mut told = Vec::new();
    for _ in 0..=CHANGES_MAX {
        told.extend(validities(&session.imap_ok("SELECT INBOX").text()));
    }
    // All of them true: what changed is told, and none is told twice.
    assert_eq!(told, (100..=100 + u32::try_from(CHANGES_MAX).expect("small")).collect::<Vec<_>>());
    let last = session.imap("SELECT INBOX");
    assert!(last.tagged.starts_with("NO [UNAVAILABLE]") && validities(&last.text()).is_empty(), "{}", last.tagged);
    assert!(ends(&mut session), "the session goes on");
    let said = "the provider misbehaved: the UIDVALIDITY of mailboxes changes again and again";
    // It is logged when the client is gone.
    let logged = until(PATIENCE, || house.bridge.log().contains(said).then_some(()));
    assert!(logged.is_some(), "{}", house.bridge.log());
    tell(&format!("{} values told in one session, then it ended", told.len()));
    // Another session is not at fault.
    house.bridge.sign_in(&house.crm).imap_ok("SELECT INBOX");
}

fn ends(session: &mut Wire) -> bool {
    while let Some(line) = session.next_octets() {
        if !line.starts_with(b"* BYE [UNAVAILABLE]") {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_names_of_one_account_are_kept_up_to_a_cap() {
    const FILL: &str = "WITH RECURSIVE made (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM made WHERE n < 39998)
        INSERT INTO uid_validity (account_id, local_name, epoch, remote_name, upstream, told, rewritten)
        SELECT a.id, 'made up ' || n, a.epoch, CAST('INBOX.made up' AS BLOB), 1, 1, 0 FROM made, accounts a";
    let Some(house) = House::start(|visit, tag, command| {
        if !command.starts_with("LIST") {
            return Some(false);
        }
        for name in ["INBOX", "INBOX.One", "INBOX.Two", "INBOX.Three"] {
            visit.say(&format!("* LIST () \".\" {name}"))?;
        }
        visit.say(&format!("{tag} OK done"))?;
        Some(true)
    }) else {
        return;
    };
    assert_eq!(house.limit("validity-rows"), ROWS_MAX.to_string());
    let mut session = house.bridge.sign_in(&house.crm);
    session.imap_ok("SELECT One");
    sqlx::raw_sql(FILL).execute(&mut database(&house.bridge.state()).await).await.expect("filled");
    assert_eq!(rows(&house.bridge).await, ROWS_MAX - 1);
    assert_eq!(validities(&session.imap_ok("SELECT Two").text()), [7], "the last that there is room for");

    let began = Instant::now();
    let refused = session.imap("SELECT Three");
    let took = began.elapsed();
    assert!(refused.tagged.starts_with("NO [UNAVAILABLE]") && validities(&refused.text()).is_empty());
    assert!(ends(&mut session), "the session goes on");
    tell(&format!("{ROWS_MAX} names kept, one more refused in {took:?}"));
    let log = house.bridge.log();
    assert!(log.contains("this account has shown more folder names than the bridge keeps for one"), "{log}");
    assert!(log.contains("if the provider makes up new folders all the time, ask it why"), "{log}");

    // What was told before stays as it was told, and can be used.
    let mut session = house.bridge.sign_in(&house.crm);
    for name in ["One", "Two"] {
        assert_eq!(validities(&session.imap_ok(&format!("SELECT {name}")).text()), [7]);
    }
    assert_eq!(rows(&house.bridge).await, ROWS_MAX);
}

async fn database(state: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(store::database_path(state)).connect().await.expect("a connection")
}

async fn rows(bridge: &Bridge) -> i64 {
    let query = sqlx::query_scalar("SELECT COUNT(*) FROM uid_validity");
    query.fetch_one(&mut database(&bridge.state()).await).await.expect("counted")
}
