//! The way from email-oauth2-proxy: a configuration that the real program has written, its tokens sealed by its own code,
//! of a real authorization server.

use crate::harness::{
    Bridge, CrmSettings, Dovecot, Exim, Lab, Oidc, PATIENCE, Program, find, passerelle, run, secrets, until, words,
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/emailproxy.py");
/// What mail programs use there.
const PASSWORDS: [&str; 2] = ["local-password-1", "local pässword 2"];
/// Another user's, which nobody gives.
const FORGOTTEN: &str = "local-password-3";

struct House {
    oidc: Oidc,
    exim: Exim,
    dovecot: Dovecot,
    bridge: Bridge,
    /// The configuration of the program.
    file: PathBuf,
    lab: Lab,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc, Program::Emailproxy])?;
        let oidc = Oidc::start(&lab, 600);
        let dovecot = Dovecot::with_tokens(&lab, oidc.port);
        let exim = Exim::submission(&lab, &dovecot);
        let bridge = Bridge::prepare(&lab);
        bridge.know_provider("lab", &entry(&oidc.token_endpoint()));
        let file = lab.folder("p").join("emailproxy.config");
        let house = Self { oidc, exim, dovecot, bridge, file, lab };
        let servers = [
            ("IMAP-1993", house.dovecot.imaps, ""),
            ("POP-1995", house.dovecot.imaps, ""),
            ("SMTP-1465", house.exim.submissions, "starttls = False\n"),
        ];
        let mut text =
            "# by hand\n[Server setup]\ndocumentation = Local servers are\n\t[described] here = at length\n\n"
                .to_owned();
        for (name, port, more) in servers {
            text += &format!("[{name}]\nserver_address = localhost\nserver_port = {port}\n{more}\n");
        }
        let url = house.oidc.token_endpoint();
        let account = |name: &str, consent: bool| {
            house.dovecot.add_user(name, "direct");
            let flow =
                if consent { "permission_url = http://127.0.0.1/auth" } else { "oauth2_flow = client_credentials" };
            format!(
                "[{name}]\n{flow}\ntoken_url = {url}\noauth2_scope = openid offline_access mail\n\
                 redirect_uri = http://localhost\nclient_id = proxy\nclient_secret = of-another-program-9\n\n"
            )
        };
        for name in ["alice", "bob", "carol", "erin", "frank", "gina"] {
            text += &account(&format!("{name}@ovh.test"), true);
        }
        text += &account("dave@ovh.test", false);
        text += &format!("[@ovh.test]\ntoken_url = {url}\n[emailproxy]\nallow_catch_all_accounts = True\n");
        fs::write(&house.file, text).expect("written");
        Some(house)
    }

    /// As the program does after people have signed in.
    fn seal(&self, accounts: &Value) {
        for account in accounts.as_array().expect("a list") {
            for key in ["password", "refresh_token"] {
                secrets::give_out(account[key].as_str().expect("text"));
            }
        }
        let python = find("python3").expect("Python is installed");
        let command = [SCRIPT, Program::EMAILPROXY, &self.file.to_string_lossy()];
        let output = run(60, Command::new(python).args(command), accounts.to_string().as_bytes());
        assert!(output.status.success(), "{}", words(&output));
    }

    /// A message goes out by the bridge that runs, comes in, and is fetched.
    fn lives(&self, crm: &CrmSettings, address: &str) {
        let mut smtp = self.bridge.sign_in_smtp(crm);
        smtp.smtp(&format!("MAIL FROM:<{address}>"), 250);
        smtp.smtp(&format!("RCPT TO:<{address}>"), 250);
        smtp.smtp("DATA", 354);
        smtp.send(format!("From: {address}\r\nSubject: still here\r\n\r\nHello.\r\n").as_bytes());
        smtp.smtp(".", 250);
        let arrived = until(PATIENCE, || (self.dovecot.count(address, "INBOX") == 1).then_some(()));
        assert!(arrived.is_some(), "{}", self.exim.log());
        let mut imap = self.bridge.sign_in(crm);
        imap.imap_ok("SELECT INBOX");
        assert!(imap.imap_ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]").text().contains("still here"));
    }

    /// What the command says, and its exit code.
    fn import(&self, more: &[&str]) -> (Value, Option<i32>) {
        let (file, certificates) = (self.file.to_string_lossy(), format!("ca={}", self.lab.certificates.ca.display()));
        let command =
            ["import", "email-oauth2-proxy", &file, "--password-stdin", "--certificates", &certificates, "--json"];
        let output = self.bridge.cli(&[&command[..], more].concat(), PASSWORDS.join("\n").as_bytes());
        let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
        (said, output.status.code())
    }
}

/// A provider whose servers stand in the file with other ports, known by its token endpoint.
fn entry(token: &str) -> String {
    let service = "host = \"localhost\"\nport = 1\nsecurity = \"tls\"\nmechanisms = [\"xoauth2\"]\nsource = \"lab\"\n";
    format!(
        "label = \"Lab\"\n[domains]\nnames = [\"lab.test\"]\nsource = \"lab\"\n[imap]\n{service}[smtp]\n{service}\
         [sign-in]\nuser = \"address\"\npassword = \"none\"\nsource = \"lab\"\n[sent]\nfiled = \"no\"\nsource = \"lab\"\n\
         [limits]\nsource = \"lab\"\n[oauth]\nauthorise = \"https://lab.test/auth\"\ntoken = \"{token}\"\n\
         scopes = [\"openid\", \"offline_access\", \"mail\"]\nold-refresh-tokens = \"spent\"\nsource = \"lab\"\n"
    )
}

/// What became of a section.
fn of<'a>(said: &'a Value, section: &str) -> &'a Value {
    let mut sections = said["sections"].as_array().expect("a list").iter();
    sections.find(|row| row["section"] == section).unwrap_or_else(|| panic!("no {section} in {said}"))
}

#[test]
fn accounts_of_email_oauth2_proxy_come_over_with_their_sign_ins() {
    let Some(mut house) = House::start() else { return };
    let grant = |name: &str| house.oidc.grant_to("proxy", &format!("{name}@ovh.test"));
    let account = |name: &str, password: &str, token: &str, seals: bool| json!({ "user": format!("{name}@ovh.test"), "password": password, "refresh_token": token, "seals_secret": seals });
    house.seal(&json!([
        account("alice", PASSWORDS[0], &grant("alice"), true),
        account("bob", PASSWORDS[1], &grant("bob"), false),
        account("erin", FORGOTTEN, &grant("erin"), false),
        account("frank", PASSWORDS[0], "a-token-that-the-provider-never-gave", false),
        // Somebody else's, which opens no mailbox of hers.
        account("gina", PASSWORDS[0], &grant("alice"), false),
    ]));
    secrets::give_out("of-another-program-9");
    let before = fs::read(&house.file).expect("it is there");

    // What would be, without a question to anybody.
    let (plan, code) = house.import(&["--dry-run"]);
    assert_eq!((code, house.oidc.refreshes()), (Some(8), (0, 0)));
    for name in ["alice@ovh.test", "bob@ovh.test", "frank@ovh.test"] {
        let row = of(&plan, name);
        assert_eq!((&row["state"], &row["token_endpoint"]), (&"planned".into(), &house.oidc.token_endpoint().into()));
        assert_eq!(row["imap"], format!("localhost:{} (tls)", house.dovecot.imaps));
    }
    let list = || serde_json::from_slice::<Value>(&house.bridge.cli(&["account", "list", "--json"], b"").stdout);
    assert_eq!(list().expect("JSON"), json!([]));

    let (said, code) = house.import(&[]);
    assert_eq!(code, Some(8), "{said}");
    for (section, why, hint) in [
        ("carol@ovh.test", "nobody has signed in to it there", "account sign-in carol@ovh.test"),
        ("erin@ovh.test", "none of the passwords opens its tokens", "--password-stdin"),
        ("frank@ovh.test", "consent again", "refresh token"),
        ("dave@ovh.test", "a right of its own", "--for tenant"),
        ("@ovh.test", "a catch-all names no mailbox", "provider register"),
        ("POP-1995", "no POP3", "IMAP"),
    ] {
        let row = of(&said, section);
        assert_eq!(row["state"], "left", "{row}");
        assert!(row["why"].as_str().is_some_and(|text| text.contains(why)), "{row}");
        assert!(row["hint"].as_str().is_some_and(|text| text.contains(hint)), "{row}");
    }
    assert!(of(&said, "IMAP-1993")["hint"].as_str().is_some_and(|text| text.contains("listen.imap")), "{said}");
    let crms = ["alice@ovh.test", "bob@ovh.test"].map(|name| {
        let row = of(&said, name);
        assert_eq!(row["state"], "added", "{row}");
        let text = |key: &str| row[key].as_str().expect("text").to_owned();
        secrets::give_out(&text("password"));
        CrmSettings { login: text("login"), password: text("password") }
    });
    // The token was spent for the trial: what came in its place is here, and nowhere else.
    let gina = of(&said, "gina@ovh.test");
    assert_eq!(gina["state"], "kept", "{gina}");
    assert!(gina["hint"].as_str().is_some_and(|hint| hint.contains("account check gina@ovh.test")), "{gina}");
    assert_eq!(list().expect("JSON").as_array().map(Vec::len), Some(3), "nothing half done");
    // The client is known from now on, once, for whoever signs in next.
    let registered: Vec<_> =
        said["sections"].as_array().expect("a list").iter().filter(|row| row["state"] == "registered").collect();
    assert_eq!(registered.len(), 1, "{said}");
    assert_eq!((&registered[0]["client_id"], &registered[0]["provider"]), (&"proxy".into(), &"lab".into()));
    let known = house.bridge.cli(&["provider", "registrations", "--json"], b"");
    assert!(String::from_utf8_lossy(&known.stdout).contains("\"proxy\""), "{}", words(&known));
    // Frank's alone was refused: no token was shown twice.
    assert_eq!(house.oidc.refreshes(), (4, 1));
    assert_eq!(fs::read(&house.file).expect("it is there"), before, "the file is another's");

    house.bridge.serve();
    for (crm, address) in crms.iter().zip(["alice@ovh.test", "bob@ovh.test"]) {
        house.lives(crm, address);
    }
    let checked = words(&house.bridge.cli(&["account", "check", "gina@ovh.test"], b""));
    assert!(checked.contains("refused the bridge's sign-in"), "{checked}");
    assert_eq!(house.oidc.refreshes().1, 1, "no spent token was shown");
    // Once more: who is here stays, and the rest is told again.
    let (again, _) = house.import(&[]);
    assert_eq!(
        (&of(&again, "alice@ovh.test")["state"], &of(&again, "erin@ovh.test")["state"]),
        (&"there".into(), &"left".into())
    );
    eprintln!(
        "import: 2 of 7 accounts come over to a FETCH and a sent mail, 1 is kept unchecked, 4 are told why not; {:?} tokens shown and refused",
        house.oidc.refreshes()
    );
}

#[test]
fn what_is_no_such_configuration_is_said_and_bounded() {
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("file");
    let refused = |text: &[u8]| {
        fs::write(&file, text).expect("written");
        let output = passerelle(root.path(), &["import", "email-oauth2-proxy", &file.to_string_lossy(), "--json"], "");
        assert_eq!(output.status.code(), Some(2), "{}", words(&output));
        serde_json::from_slice::<Value>(&output.stderr).expect("JSON")["error"].as_str().expect("text").to_owned()
    };
    assert!(refused(b"[a]\nneither\n").contains("in line 2"));
    assert!(refused(b"\xff\xfe").contains("UTF-8"));
    assert!(refused(&vec![b'#'; (1 << 20) + 1]).contains("larger"));
    fs::write(&file, "[IMAP-x]\na = b\n[IMAP-1]\nserver_address = a b\n").expect("written");
    let output = passerelle(root.path(), &["import", "email-oauth2-proxy", &file.to_string_lossy(), "--json"], "");
    assert_eq!(output.status.code(), Some(8), "{}", words(&output));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(of(&said, "IMAP-1")["why"].as_str().is_some_and(|text| text.contains("server_address")), "{said}");
    let none = passerelle(root.path(), &["import", "email-oauth2-proxy", "/nowhere/file"], "");
    assert_eq!(none.status.code(), Some(2), "{}", words(&none));
}
