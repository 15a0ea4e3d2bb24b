//! The swap of a provider under a running CRM, and the way back: what the CRM notices of it, and what it must not.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Host, Lab, Layout, PATIENCE, Program, Provider, Wire, same, script, until, words,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::Write as _,
    process::Output,
    thread,
    time::{Duration, Instant},
};

const SALES: &str = "sales@crm.test";
const PASSWORD: &str = "secret";

/// A CRM's bridge before OVH, and Gmail beside it.
struct House {
    lab: Lab,
    ovh: Host,
    gmail: Host,
    bridge: Bridge,
    crm: CrmSettings,
}

impl House {
    fn with(client: Program) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, client])?;
        let [ovh, gmail] = [Layout::Ovh, Layout::Gmail].map(|layout| Host::with(&lab, layout, SALES, PASSWORD));
        let mut bridge = Bridge::prepare(&lab);
        let crm = bridge.add_account(&AddAccount::behind(&lab, &ovh, SALES));
        bridge.serve();
        Some(Self { lab, ovh, gmail, bridge, crm })
    }

    /// `account swap` to Gmail, with this password and whatever else.
    fn swap(&self, password: &str, more: &[&str]) -> Output {
        let certificates = format!("ca={}", self.lab.certificates.ca.display());
        let imap = format!("localhost:{}", self.gmail.filter.imaps);
        let smtp = format!("localhost:{}", self.gmail.exim.submissions);
        let arguments = ["account", "swap", SALES, "--provider", "google", "--imap", &imap, "--smtp", &smtp];
        let arguments = [&arguments[..], &["--certificates", &certificates, "--password-stdin"], more].concat();
        self.bridge.cli(&arguments, format!("{password}\n").as_bytes())
    }

    fn show(&self) -> Value {
        json(&self.bridge.cli(&["account", "show", SALES, "--json"], b""))
    }

    fn php(&self) -> Seen {
        let (imap, login) = (self.bridge.imap.to_string(), &self.crm.login);
        let arguments = ["127.0.0.1", &imap, "/notls", login, &self.crm.password, "", "/"];
        Seen::of(script("php", "script_a.php", &arguments), "pages")
    }

    fn python(&self) -> Seen {
        let [imap, smtp] = [self.bridge.imap, self.bridge.smtp].map(|port| port.to_string());
        let arguments = ["localhost", &imap, &smtp, "none", &self.crm.login, &self.crm.password, "", "/"];
        Seen::of(script("python3", "script_a.py", &arguments), "steps")
    }

    /// A session that was open is told to go at a boundary, and the next sign-in works.
    fn comes_back(&self, mut open: Wire, what: &str) {
        let began = Instant::now();
        open.expect("* BYE [UNAVAILABLE] ");
        assert!(open.rest().is_empty());
        self.bridge.sign_in(&self.crm).imap_ok("SELECT Sent");
        self.bridge.sign_in_smtp(&self.crm).smtp("MAIL FROM:<sales@crm.test>", 250);
        let took = began.elapsed();
        let _ = writeln!(std::io::stderr(), "{what}: the CRM is back after {took:?}");
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
    }
}

/// What a script saw of the mail.
struct Seen {
    steps: Value,
    validity: BTreeMap<String, u64>,
}

impl Seen {
    fn of(json: Value, steps: &str) -> Self {
        let apart = json["apart"].as_array().expect("a list");
        let number = |value: &Value| value.to_string().trim_matches('"').parse().expect("a number");
        let validity = apart.iter().filter_map(|other| Some((other["uidvalidity of"].as_str()?, number(&other["is"]))));
        let validity: BTreeMap<_, _> = validity.map(|(name, value)| (name.to_owned(), value)).collect();
        assert!(validity.len() >= 5, "{apart:?}");
        Self { steps: json[steps].clone(), validity }
    }

    /// Every folder of before is there under its name, and tells a larger number.
    fn every_validity_is_larger_than(&self, before: &Self) {
        for (name, told) in &before.validity {
            let now = self.validity.get(name).unwrap_or_else(|| panic!("{name} is gone"));
            assert!(now > told, "{name}: {told}, then {now}");
        }
    }
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", words(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What differs for a reason: Gmail has mailboxes that OVH has not, and neither SORT nor THREAD.
fn in_common(seen: &Value) -> Value {
    match seen {
        Value::Array(all) => {
            let listed = |step: &Value| {
                let title = step["step"].as_str().or_else(|| step["page"].as_str()).unwrap_or_default();
                ["list", "lsub", "folders", "subscri", "sort", "thread"]
                    .iter()
                    .any(|word| title.to_lowercase().contains(word))
            };
            all.iter().filter(|step| !listed(step)).map(in_common).collect()
        }
        Value::Object(all) => all.iter().map(|(key, value)| (key.clone(), in_common(value))).collect(),
        other => other.clone(),
    }
}

/// The names that the CRM lists.
fn folders(house: &House) -> Vec<String> {
    let listed = house.bridge.sign_in(&house.crm).imap_ok("LIST \"\" \"*\"").text();
    listed.lines().map(|line| line.split(" \"/\" ").nth(1).unwrap_or(line).to_owned()).collect()
}

fn a_day_before_and_after(house: &House, day: fn(&House) -> Seen) {
    let (names, before) = (folders(house), day(house));
    let mut open = house.bridge.sign_in(&house.crm);
    open.imap_ok("SELECT INBOX");
    let swapped = json(&house.swap(PASSWORD, &["--yes", "--json"]));
    house.comes_back(open, "swap");
    assert_eq!(swapped["provider"], "google");
    let known = swapped["folders"]["known"].as_array().expect("a list");
    let sent = known.iter().find(|moved| moved["local"] == "Sent").expect("Sent is known");
    assert_eq!((sent["role"].as_str(), sent["remote"].as_str()), (Some("sent"), Some("[Gmail]/Messages envoyés")));
    assert!(known.iter().all(|moved| moved["remote"] != Value::Null), "{known:?}");
    assert_eq!(swapped["folders"]["complete"], true);

    // Settings changed: 0. Folder names changed: 0.
    let (now, after) = (folders(house), day(house));
    let lost: Vec<_> = names.iter().filter(|name| !now.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    same(&in_common(&before.steps), &in_common(&after.steps));
    after.every_validity_is_larger_than(&before);
    house.ovh.filter.expect_obeyed();
    house.gmail.filter.expect_obeyed();

    let mut open = house.bridge.sign_in(&house.crm);
    open.imap_ok("SELECT INBOX");
    let back = json(&house.bridge.cli(&["account", "swap", SALES, "--back", "--yes", "--json"], b""));
    house.comes_back(open, "back");
    assert_eq!(back["provider"], "generic");
    assert_eq!(folders(house), names);
    // The script has worked on the mail that it finds now, so only the numbers are looked at.
    let mut wire = house.bridge.sign_in(&house.crm);
    let mut compared = 0;
    for (name, told) in &after.validity {
        let wire_name = String::from_utf8(passerelle::wire::imap::utf7::encode(name)).expect("ASCII");
        let answer = wire.imap(&format!("STATUS \"{wire_name}\" (UIDVALIDITY)"));
        if answer.tagged.starts_with("NO [NONEXISTENT]") {
            continue; // What the script itself has made and deleted.
        }
        let status = answer.text();
        compared += 1;
        let now = status.split("UIDVALIDITY ").nth(1).and_then(|rest| rest.split(')').next()?.parse::<u64>().ok());
        assert!(now.expect("a number") > *told, "{name}: {told}, then {status}");
    }
    assert!(compared >= 5, "{compared} of {:?}", after.validity);
}

#[test]
fn php_works_on_over_a_swap_and_back() {
    let Some(house) = House::with(Program::Php) else { return };
    a_day_before_and_after(&house, House::php);
}

#[test]
fn python_works_on_over_a_swap_and_back() {
    let Some(house) = House::with(Program::Python) else { return };
    a_day_before_and_after(&house, House::python);
}

#[test]
fn a_swap_that_fails_or_is_not_confirmed_changes_nothing() {
    let Some(house) = House::with(Program::Dovecot) else { return };
    let before = house.show();
    let mut open = house.bridge.sign_in(&house.crm);
    let validity = |wire: &mut Wire| wire.imap_ok("STATUS Sent (UIDVALIDITY)").text();
    let told = validity(&mut open);

    let refused = house.swap("wrong", &["--yes"]);
    assert_eq!(refused.status.code(), Some(4), "{}", words(&refused));
    let shown = house.swap(PASSWORD, &[]);
    assert_eq!(shown.status.code(), Some(2), "{}", words(&shown));
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for words in ["[Gmail]/Messages envoyés", "New for the CRM: ", "Mail is not copied"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let error = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(error.contains("not confirmed, nothing was changed") && error.contains("--yes"), "{error}");
    let back = house.bridge.cli(&["account", "swap", SALES, "--back", "--yes"], b"");
    assert_eq!(back.status.code(), Some(5), "{}", words(&back));

    thread::sleep(Duration::from_millis(600));
    assert_eq!(house.show(), before);
    assert_eq!(validity(&mut open), told, "the open session goes on, and is told the same");
}

#[test]
fn a_provider_that_is_gone_can_be_left() {
    let Some(mut house) = House::with(Program::Dovecot) else { return };
    // What it calls its folders is all that is known then.
    let french = house.bridge.add_login(SALES, "generic-fr");
    assert!(house.bridge.cli(&["login", "revoke", &house.crm.login], b"").status.success());
    house.crm = french;
    house.bridge.sign_in(&house.crm).imap_ok("STATUS Envoy&AOk-s (UIDVALIDITY)");
    house.ovh.dovecot.stop();
    let swapped = house.swap(PASSWORD, &["--yes"]);
    let text = String::from_utf8_lossy(&swapped.stdout).into_owned();
    assert!(swapped.status.success(), "{}", words(&swapped));
    assert!(text.contains("the old provider does not answer"), "{text}");
    let row = text.lines().find(|line| line.ends_with("[Gmail]/Messages envoyés"));
    assert!(row.is_some_and(|row| row.starts_with("Envoyés ")), "what a CRM has opened is known: {text}");
    let select = "SELECT Envoy&AOk-s";
    let selected = until(PATIENCE, || house.bridge.sign_in(&house.crm).imap(select).is_ok().then_some(()));
    assert!(selected.is_some());
    // It can come back only to what lets it in.
    let back = house.bridge.cli(&["account", "swap", SALES, "--back", "--yes"], b"");
    assert_eq!(back.status.code(), Some(4), "{}", words(&back));
    house.bridge.sign_in(&house.crm).imap_ok(select);
}

#[test]
fn of_two_swaps_at_once_one_wins() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let good = &lab.certificates.good;
    let slow = || {
        Provider::imap(Some(good), |_, _, command| {
            if command.starts_with("AUTHENTICATE") {
                thread::sleep(Duration::from_secs(1));
            }
            Some(false)
        })
    };
    let old = Provider::imap(Some(good), |_, _, _| Some(false));
    let (one, other, smtp) = (slow(), slow(), Provider::smtp(Some(good)));
    let bridge = Bridge::prepare(&lab);
    bridge.add_account(&AddAccount::unchecked(&lab, &old, &smtp, SALES));
    let swap = |to: &Provider| {
        let certificates = format!("ca={}", lab.certificates.ca.display());
        let [imap, smtp] = [to.port, smtp.port].map(|port| format!("localhost:{port}"));
        let arguments = ["account", "swap", SALES, "--provider", "generic", "--imap", &imap, "--smtp", &smtp];
        let more = ["--certificates", &certificates, "--password-stdin", "--yes", "--json"];
        bridge.cli(&[&arguments[..], &more].concat(), b"hunter2\n")
    };
    let outputs = thread::scope(|scope| {
        let both = [&one, &other].map(|to| scope.spawn(move || swap(to)));
        both.map(|swap| swap.join().expect("it ends"))
    });
    let mut codes = outputs.each_ref().map(|output| output.status.code());
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)], "{}", outputs.each_ref().map(words).join("\n"));
    let lost = outputs.iter().find(|output| !output.status.success()).expect("one lost");
    assert!(words(lost).contains("changed by another meanwhile"), "{}", words(lost));
    let shown = json(&bridge.cli(&["account", "show", SALES, "--json"], b""));
    let won = outputs.iter().position(|output| output.status.success()).expect("one won");
    assert_eq!(shown["imap"]["port"], [one.port, other.port][won]);
}

#[test]
fn another_address_keeps_the_login_and_the_sender() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let good = &lab.certificates.good;
    let imaps = [(); 2].map(|()| Provider::imap(Some(good), |_, _, _| Some(false)));
    let smtps = [(); 2].map(|()| Provider::smtp(Some(good)));
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imaps[0], &smtps[0], SALES));
    bridge.serve();
    let certificates = format!("ca={}", lab.certificates.ca.display());
    let [imap, smtp] = [imaps[1].port, smtps[1].port].map(|port| format!("localhost:{port}"));
    let arguments = ["account", "swap", SALES, "--provider", "generic", "--address", "hello@other.test"];
    let more = ["--imap", &imap, "--smtp", &smtp, "--certificates", &certificates, "--password-stdin", "--yes"];
    let swapped = bridge.cli(&[&arguments[..], &more].concat(), b"hunter2\n");
    assert!(swapped.status.success(), "{}", words(&swapped));
    assert_eq!(bridge.cli(&["account", "show", SALES], b"").status.code(), Some(5));
    bridge.sign_in(&crm).imap_ok("SELECT Sent");
    bridge.sign_in_smtp(&crm).smtp("MAIL FROM:<sales@crm.test>", 250);
    let signed_in = |provider: &Provider| provider.heard().matches("AUTHENTICATE").count();
    assert!(signed_in(&imaps[1]) >= 2, "as the new one, at the new place: {}", imaps[1].heard());

    let back = bridge.cli(&["account", "swap", "hello@other.test", "--back", "--yes"], b"");
    assert!(back.status.success(), "{}", words(&back));
    let shown = json(&bridge.cli(&["account", "show", SALES, "--json"], b""));
    assert_eq!(shown["imap"]["port"], imaps[0].port);
    let before = signed_in(&imaps[0]);
    bridge.sign_in(&crm).imap_ok("SELECT Sent");
    assert_eq!(signed_in(&imaps[0]), before + 1);
}
