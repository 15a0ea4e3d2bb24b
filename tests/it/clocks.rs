//! A bridge whose clock is a day wrong, and jumps (rule R32): libfaketime before the real program, which serves accounts of
//! a real authorization server with the right time.
//!
//! The monotonic clock stays true, as it does on a machine whose day is wrong. The lab's certificates are good from 2020
//! to 2120, so what fails here does not fail by them.

use crate::harness::{ALICE, Bridge, CrmSettings, Dovecot, Exim, Firm, Lab, Oidc, Program, Wire, secrets, words};
use serde_json::Value;
use std::{fs, path::Path, thread, time::Duration};

/// Of access tokens.
const SECONDS: u32 = 3;

struct House {
    oidc: Oidc,
    dovecot: Dovecot,
    bridge: Bridge,
    crm: CrmSettings,
    _exim: Exim,
    lab: Lab,
}

/// Serves by the clock that this file tells, as `+1d`.
fn serve_by(clock: &Path, bridge: &mut Bridge) {
    let library = Program::faketime().expect("it is installed");
    let parent = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    bridge.serve_by(&parent);
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc, Program::Faketime])?;
        let oidc = Oidc::start(&lab, SECONDS);
        let dovecot = Dovecot::with_tokens(&lab, oidc.port);
        dovecot.add_user(ALICE, "direct");
        let exim = Exim::submission(&lab, &dovecot);
        let bridge = Bridge::prepare(&lab);
        let (imap, smtp) = (format!("localhost:{}", dovecot.imaps), format!("localhost:{}", exim.submissions));
        let (certificates, endpoint) = (format!("ca={}", lab.certificates.ca.display()), oidc.token_endpoint());
        let mut command = vec!["account", "add", ALICE, "--imap", &imap, "--smtp", &smtp, "--json"];
        command.extend(["--certificates", &certificates, "--token-endpoint", &endpoint, "--client-id", "bridge"]);
        command.extend(["--refresh-token-stdin", "--client-secret-stdin"]);
        let output = bridge.cli(&command, format!("{}\nbridgesecret\n", oidc.grant(ALICE)).as_bytes());
        assert!(output.status.success(), "{}", words(&output));
        let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |key: &str| made[key].as_str().expect("text").to_owned();
        secrets::give_out(&text("password"));
        let crm = CrmSettings { login: text("login"), password: text("password") };
        Some(Self { oidc, dovecot, bridge, crm, _exim: exim, lab })
    }

    /// Both protocols, in clear and over TLS, with a token that has just died: renewed once, without a refusal.
    fn renews(&self, what: &str) {
        let _ = self.dovecot.doveadm(&["kick", ALICE]);
        thread::sleep(Duration::from_secs(u64::from(SECONDS) + 1));
        let (before, _) = self.oidc.refreshes();
        self.bridge.sign_in(&self.crm).imap_ok("SELECT INBOX");
        let mut wire = Wire::tls(self.bridge.imaps, &self.bridge.authority(), "localhost");
        wire.expect("* OK");
        wire.imap_ok(&self.crm.imap_login());
        wire.imap_ok("SELECT INBOX");
        drop(self.bridge.sign_in_smtp(&self.crm));
        let (after, refused) = self.oidc.refreshes();
        assert_eq!(refused, 0, "{what}: {}", self.bridge.log());
        assert!(after == before + 1 || after == before + 2, "{what}: {} renewals", after - before);
        eprintln!("r32: {what}: all logins let in, {} renewal(s), 0 refused", after - before);
    }
}

#[test]
fn r32_a_clock_that_is_a_day_wrong_or_jumps_changes_nothing() {
    let Some(mut house) = House::start() else { return };
    let clock = house.lab.folder("f").join("clock");
    let tell = |time: &str| fs::write(&clock, format!("{time}\n")).expect("the clock is told");
    for (start, jump) in [("+1d", "-1d"), ("-1d", "+1d")] {
        tell(start);
        serve_by(&clock, &mut house.bridge);
        // The log says by whose clock it runs.
        let log = house.bridge.log();
        let day = |text: &str| text.rsplit('\n').find_map(|line| line.get(..10).map(str::to_owned)).unwrap_or_default();
        let real = String::from_utf8_lossy(
            &std::process::Command::new("date").args(["-u", "+%F"]).output().expect("date").stdout,
        )
        .trim()
        .to_owned();
        assert_ne!(day(&log), real, "its clock is right\n{log}");
        house.renews(&format!("{start} from the start"));
        let mut running = house.bridge.sign_in(&house.crm);
        running.imap_ok("SELECT INBOX");
        tell(jump);
        running.imap_ok("NOOP");
        // A session whose lane is cut has another, by a token that is renewed.
        house.renews(&format!("{start}, then a jump to {jump}"));
        running.imap_ok("NOOP");
        tell(start);
        house.renews(&format!("and back to {start}"));
        let output = house.bridge.cli(&["account", "show", ALICE, "--json"], b"");
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(shown["grant"]["state"], "good");
        assert!(house.bridge.drain(), "{}", house.bridge.log());
    }
}

/// A tenant's client by its certificate, and a service account: what they sign tells the time, and an assertion of
/// yesterday or tomorrow is refused.
#[test]
fn r32_what_is_signed_by_a_clock_that_is_a_day_wrong_is_believed() {
    let Some(lab) = Lab::needing(&[Program::Faketime]) else { return };
    let clock = lab.folder("f").join("clock");
    for (token, days) in [("token", &["-1d", "+1d"][..]), ("service/token", &["-1d"])] {
        let Some(mut firm) = Firm::start(token) else { return };
        let uri = format!("http://127.0.0.1:{}/{token}", firm.oidc.port);
        let [certificate, key] =
            [&firm.keys.certificate, &firm.keys.key].map(|file| file.to_string_lossy().into_owned());
        let register = ["provider", "register", "firm", "--domain", "ovh.test"];
        let tenant = ["--for", "tenant", "--client-id", "daemon", "--certificate", &certificate, "--key", &key];
        let service = firm.key_file(&uri, &firm.keys.key_in_pem());
        let service = ["--service-account", &service];
        firm.json(&[&register, if token == "token" { &tenant[..] } else { &service }], "");
        let alice = firm.add(ALICE);
        for day in days {
            fs::write(&clock, format!("{day}\n")).expect("the clock is told");
            serve_by(&clock, &mut firm.bridge);
            firm.lives(&alice, ALICE);
            firm.outlive_the_token();
            firm.lives(&alice, ALICE);
            let log = firm.bridge.log();
            assert!(!log.contains("no access token"), "{token} {day}: {log}");
            eprintln!("r32: {token}, {day}: what was signed is believed");
            assert!(firm.bridge.drain(), "{}", firm.bridge.log());
        }
    }
}
