//! What is written in names means nothing to the store (rule R11): no pattern, no parameter, no format, no statement.
//!
//! sqlx takes no SQL but what stands in the program, unless it is told by a word of its own that a text is safe: those words
//! are looked for in the sources. What a name does all the same is shown over the sockets and by the command line.

use crate::{
    harness::{AddAccount, Bridge, CrmSettings, Lab, Provider, Wire, words},
    layers::{code, for_each_source},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use passerelle::store;
use serde_json::Value;
use sqlx::{ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{collections::BTreeSet, fs, io::Write as _, path::Path, thread};

const ALICE: &str = "alice@lab.test";

/// Each would open Alice's mailbox, or harm, where a name were more than a name. A login name of a client may hold anything.
const LOGINS: [&str; 20] = [
    "%",
    "%@lab.test",
    "_____@lab.test",
    "_lice@lab.test",
    "alice@lab%",
    "*",
    "?lice@lab.test",
    "[a-z]lice@lab.test",
    "$1",
    "?1",
    ":name",
    "{}",
    "{0}",
    "%s%n",
    "alice@lab.test'--",
    "alice@lab.test;--",
    "' OR '1'='1",
    "\" OR \"\"=\"",
    "x' UNION SELECT * FROM logins;--",
    "';DROP TABLE logins;--",
];

/// At the provider, below INBOX. Each beside one that it would be as a pattern.
const MAILBOXES: [&str; 8] =
    ["a_b", "axb", "c%d", "cxxd", "$1{}%s", "it's", "q\" OR \"\"=\"", "x');DROP TABLE logins;--"];

struct House {
    bridge: Bridge,
    imap: Provider,
    smtp: Provider,
    lab: Lab,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let imap = Provider::imap(Some(&lab.certificates.good), |visit, tag, command| {
            let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
            match verb {
                "LIST" => {
                    visit.say("* LIST () \".\" INBOX")?;
                    for name in MAILBOXES {
                        visit.say(&format!("* LIST () \".\" {}", quoted(&format!("INBOX.{name}"))))?;
                    }
                }
                "SELECT" => {
                    let place = MAILBOXES.iter().position(|name| quoted(&format!("INBOX.{name}")) == rest);
                    let Some(place) = place else { return Some(false) };
                    visit.say(&format!("* 0 EXISTS\r\n* OK [UIDVALIDITY {}] valid", validity(place)))?;
                }
                _ => return Some(false),
            }
            visit.say(&format!("{tag} OK done"))?;
            Some(true)
        });
        let smtp = Provider::smtp(Some(&lab.certificates.good));
        let mut bridge = Bridge::prepare(&lab);
        bridge.serve();
        Some(Self { bridge, imap, smtp, lab })
    }

    fn add(&self, address: &str) -> CrmSettings {
        self.bridge.add_account(&AddAccount::unchecked(&self.lab, &self.imap, &self.smtp, address))
    }

    /// What a command that works answers.
    fn done(&self, arguments: &[&str]) -> Value {
        let output = self.bridge.cli(&[arguments, &["--json"]].concat(), b"");
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// That a command finds nothing of this name, and says which.
    fn finds_none(&self, arguments: &[&str], name: &str) {
        let output = self.bridge.cli(&[arguments, &["--json"]].concat(), b"hunter2\n");
        assert!(!output.status.success(), "{arguments:?}: {}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        let said = error["error"].as_str().expect("words");
        assert!(said.starts_with("there is no ") && said.ends_with(&format!(": {name}")), "{arguments:?}: {said}");
    }

    async fn tables(&self) -> BTreeSet<String> {
        let query = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'");
        let all: Vec<String> = query.fetch_all(&mut database(&self.bridge.state()).await).await.expect("read");
        all.into_iter().collect()
    }
}

fn validity(place: usize) -> u32 {
    11 + u32::try_from(place).expect("a handful")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

async fn database(state: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(store::database_path(state)).connect().await.expect("a connection")
}

fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Whether this name opens anything, in each way to say it.
fn opens(bridge: &Bridge, name: &str, password: &str) -> [bool; 3] {
    let plain = BASE64.encode(format!("\0{name}\0{password}"));
    let imap = |command: &str| {
        let mut wire = Wire::plain(bridge.imap);
        wire.expect("* OK");
        let answer = wire.imap(command);
        let refused = answer.tagged
            == "NO [AUTHENTICATIONFAILED] Login or password of the mail bridge is wrong, copy both again from what it showed";
        assert!(answer.is_ok() || refused, "{name}: {}", answer.tagged);
        answer.is_ok()
    };
    let mut wire = Wire::plain(bridge.smtp);
    wire.expect("220");
    wire.smtp("EHLO crm.test", 250);
    wire.line(&format!("AUTH PLAIN {plain}"));
    let (code, text) = wire.reply();
    assert!([235, 535].contains(&code), "{name}: {code} {text}");
    let login = imap(&format!("LOGIN {} {}", quoted(name), quoted(password)));
    [login, imap(&format!("AUTHENTICATE PLAIN {plain}")), code == 235]
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_what_is_written_in_a_login_name_means_nothing() {
    let Some(house) = House::start() else { return };
    let alice = house.add(ALICE);
    let tables = house.tables().await;
    thread::scope(|scope| {
        for name in LOGINS {
            let (bridge, password) = (&house.bridge, &alice.password);
            scope.spawn(move || assert_eq!(opens(bridge, name, password), [false; 3], "{name}"));
        }
    });
    assert_eq!(opens(&house.bridge, ALICE, &alice.password), [true; 3]);

    // One that a person gave so is a name like any other: it opens, and nothing that it would stand for as a pattern.
    let odd = "a_b%c';DROP-TABLE/**/logins;--{}$1";
    let made = house.done(&["login", "add", ALICE, "--name", odd]);
    let password = made["password"].as_str().expect("text");
    crate::harness::secrets::give_out(password);
    assert_eq!(made["login"], odd);
    assert_eq!(opens(&house.bridge, odd, password), [true; 3]);
    for other in [odd.replace('_', "x"), odd.replace('%', "xx"), odd.replace("$1", odd), odd.replace("{}", "")] {
        assert_eq!(opens(&house.bridge, &other, password), [false; 3], "{other}");
    }
    for none in ["%", "_lice@lab.test", "a_b%", "'OR'1'='1", &odd.replace('_', "x")] {
        house.finds_none(&["login", "revoke", none], none);
    }
    house.done(&["login", "revoke", odd]);
    assert_eq!(opens(&house.bridge, odd, password), [false; 3]);
    assert_eq!(opens(&house.bridge, ALICE, &alice.password), [true; 3], "the others are as they were");
    assert_eq!(house.tables().await, tables);
    tell(&format!("{} login names in 3 ways, none opens; one of a person's own opens alone", LOGINS.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_what_is_written_in_an_address_or_a_setting_means_nothing() {
    let Some(house) = House::start() else { return };
    house.add(ALICE);
    let tables = house.tables().await;
    let (odd, beside) = ("a_b%c$1{}'--@lab.test", "axb%c$1{}'--@lab.test");
    for address in [beside, odd] {
        house.add(address);
    }
    for none in ["%@lab.test", "_lice@lab.test", "a%@lab.test", "*@lab.test", "a_b%c@lab.test", "'--@lab.test"] {
        house.finds_none(&["account", "show", none], none);
        house.finds_none(&["account", "remove", none], none);
        house.finds_none(&["account", "set", none, "--display-name", "x"], none);
        house.finds_none(&["folder", "list", none], none);
    }
    for user in ["%", "_dmin", "' OR '1'='1", "admin';--"] {
        let add = ["account", "add", "new@lab.test", "--imap", "localhost:1", "--smtp", "localhost:1", "--unchecked"];
        house.finds_none(&[&add[..], &["--password-stdin", "--owner", user]].concat(), user);
    }
    let name = "Robert'); DROP TABLE accounts;-- \" % _ $1 {} %s";
    let alias = "_lice%'--@lab.test";
    let changed = house.done(&["account", "set", odd, "--display-name", name, "--alias", alias]);
    assert_eq!((&changed["display_name"], &changed["aliases"]), (&name.into(), &serde_json::json!([alias])));
    let others = house.done(&["account", "show", ALICE]);
    assert_eq!((&others["display_name"], &others["aliases"]), (&"".into(), &serde_json::json!([])));

    house.done(&["account", "remove", odd]);
    let left = house.done(&["account", "list"]);
    let left: BTreeSet<_> = left.as_array().expect("a list").iter().filter_map(|row| row["address"].as_str()).collect();
    assert_eq!(left, BTreeSet::from([ALICE, beside]));
    assert_eq!(house.tables().await, tables);
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_what_is_written_in_a_mailbox_name_means_nothing() {
    let Some(house) = House::start() else { return };
    let alice = house.add(ALICE);
    let tables = house.tables().await;
    let local = |name: &str| {
        let rows = house.done(&["folder", "list", ALICE]);
        let remote = format!("INBOX.{name}");
        let row = rows.as_array().expect("a list").iter().find(|row| row["remote"] == remote).cloned();
        row.unwrap_or_else(|| panic!("no {remote} in {rows}"))["local"].as_str().map(str::to_owned)
    };
    let locals = MAILBOXES.map(|name| local(name).expect("it is shown"));
    let mut session = house.bridge.sign_in(&alice);
    // Each twice, in either order: a row that stood for two names would tell the one's value for the other.
    for (place, name) in locals.iter().enumerate().chain(locals.iter().enumerate().rev()) {
        let told = session.imap_ok(&format!("SELECT {}", quoted(name))).text();
        assert!(told.contains(&format!("[UIDVALIDITY {}]", validity(place))), "{name}: {told}");
    }
    session.imap_ok("LOGOUT");
    let query = sqlx::query_as("SELECT remote_name, told FROM uid_validity ORDER BY told");
    let rows: Vec<(Vec<u8>, i64)> = query.fetch_all(&mut database(&house.bridge.state()).await).await.expect("read");
    let kept: Vec<_> = rows.into_iter().map(|(name, told)| (String::from_utf8(name).expect("ASCII"), told)).collect();
    let expected = MAILBOXES.iter().enumerate();
    let expected: Vec<_> =
        expected.map(|(place, name)| (format!("INBOX.{name}"), i64::from(validity(place)))).collect();
    assert_eq!(kept, expected);

    for (pattern, beside) in [("a_b", "axb"), ("c%d", "cxxd")] {
        let place = MAILBOXES.iter().position(|name| *name == pattern).expect("one of them");
        house.done(&["folder", "hide", ALICE, &locals[place]]);
        assert_eq!((local(pattern), local(beside)), (None, Some(beside.to_owned())));
        house.done(&["folder", "show", ALICE, &format!("INBOX.{pattern}")]);
        assert_eq!(local(pattern).as_ref(), Some(&locals[place]));
    }
    let mine = "m_y';DROP TABLE folder_map;--$1{}";
    house.done(&["folder", "map", ALICE, mine, "INBOX.it's"]);
    assert_eq!((local("it's"), local("a_b")), (Some(mine.to_owned()), Some("a_b".to_owned())));
    let output = house.bridge.cli(&["folder", "unmap", ALICE, &mine.replace('_', "x")], b"");
    assert!(!output.status.success(), "{}", words(&output));
    house.done(&["folder", "unmap", ALICE, mine]);
    assert_eq!(local("it's"), Some("it's".to_owned()));
    assert_eq!(house.tables().await, tables);
    tell(&format!("{} mailbox names, each a row of its own", MAILBOXES.len()));
}

/// How a text that was put together could get into the database all the same.
const BACK_DOORS: [&str; 6] = ["AssertSqlSafe", "QueryBuilder", "SqlStr", "raw_sql", "leak(", "transmute"];

fn back_doors(text: &str) -> Vec<&'static str> {
    let code = code(text);
    BACK_DOORS.into_iter().filter(|word| code.contains(word)).collect()
}

#[test]
fn r11_no_sql_is_put_together() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Since 0.9 a query is a `&'static str`, or something that says by one of those words that it is safe.
    let lock: toml::Table =
        fs::read_to_string(root.join("Cargo.lock")).expect("a lock file").parse().expect("it is TOML");
    let packages = lock["package"].as_array().expect("packages");
    let sqlx = packages.iter().find(|package| package["name"].as_str() == Some("sqlx")).expect("sqlx is used");
    let version: Vec<u32> =
        sqlx["version"].as_str().expect("a version").split('.').filter_map(|part| part.parse().ok()).collect();
    assert!(version >= vec![0, 9], "{version:?}");

    let (mut queries, mut found) = (0, Vec::new());
    for_each_source(&root.join("src"), &mut |path| {
        let text = fs::read_to_string(path).expect("a source is UTF-8");
        queries += code(&text).matches("sqlx::query").count();
        found.extend(back_doors(&text).into_iter().map(|word| format!("{}: {word}", path.display())));
    });
    assert!(queries > 50, "only {queries} queries found: the sources are not what is looked at");
    assert!(found.is_empty(), "{}", found.join("\n"));
    tell(&format!("{queries} queries, each a text of the program"));
}

#[test]
fn r11_what_puts_sql_together_is_found() {
    for planted in [
        "sqlx::query(AssertSqlSafe(format!(\"SELECT {name}\")))",
        "sqlx::raw_sql(text)",
        "sqlx::query(Box::leak(text.into_boxed_str()))",
        "sqlx::query(text.leak())",
        "let mut query = QueryBuilder::new(\"SELECT\");",
    ] {
        assert_eq!(back_doors(planted).len(), 1, "{planted}");
    }
    assert!(back_doors("// AssertSqlSafe\nsqlx::query(\"raw_sql\")").is_empty());
}
