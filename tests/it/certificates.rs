//! Whose certificate is believed, on both sides, and that no credential leaves before (rules R2, R3, R4, R6).

use crate::harness::{
    AddAccount, Bridge, Dovecot, Exim, IMAP_CAPABILITIES, Lab, Program, Provider, Signed, Visit, Wire, words,
};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    thread,
    time::Duration,
};

const ALICE: &str = "alice@ovh.test";

/// IMAP and SMTP doubles that let everyone in.
fn doubles(certificate: &Signed) -> [Provider; 2] {
    [Provider::imap(Some(certificate), |_, _, _| Some(false)), Provider::smtp(Some(certificate))]
}

/// The error of an `account add` that the provider's side refuses.
fn refused(bridge: &Bridge, account: &AddAccount) -> [String; 2] {
    let output = bridge.try_add_account(account);
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    ["error", "hint"].map(|key| error[key].as_str().unwrap_or_else(|| panic!("no {key}: {error}")).to_owned())
}

/// Nothing that a password could be in. The doubles keep all that they hear, in clear and in TLS.
fn heard_no_credential(providers: &[Provider]) {
    for heard in providers.iter().map(Provider::heard) {
        let said = heard.to_uppercase();
        assert!(!said.contains("AUTH") && !said.contains("LOGIN"), "{heard}");
    }
}

#[test]
fn r04_a_certificate_that_is_not_believed_is_refused_by_name_before_any_credential() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let bridge = Bridge::prepare(&lab);
    let known = &lab.certificates;
    for (certificate, why) in [
        (&known.expired, "its certificate is out of date"),
        (&known.wrong_name, "its certificate is for another name"),
        (&known.unknown_ca, "its certificate comes from an unknown authority"),
    ] {
        let doubles = doubles(certificate);
        let account = AddAccount::unchecked(&lab, &doubles[0], &doubles[1], ALICE).checked();
        let [error, hint] = refused(&bridge, &account);
        assert_eq!(error.matches(why).count(), 2, "said of both services: {error}");
        assert!(!hint.is_empty() && !error.contains("hunter2"), "{error} {hint}");
        assert!(doubles.iter().all(|double| double.visits() == 1 && double.heard().is_empty()), "no octet in TLS");
    }
    // The authority is right, but not this machine's.
    let doubles = doubles(&known.good);
    let account = AddAccount::unchecked(&lab, &doubles[0], &doubles[1], ALICE).checked();
    let [error, hint] = refused(&bridge, &AddAccount { certificates: "verify".into(), ..account.clone() });
    assert!(error.contains("unknown authority") && hint.contains("--certificates ca=FILE"), "{error} {hint}");
    assert!(doubles.iter().all(|double| double.heard().is_empty()));
    bridge.add_account(&account);
}

#[test]
fn r04_a_certificate_that_changed_while_serving_gets_no_credential() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let doubles = doubles(&lab.certificates.good);
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::unchecked(&lab, &doubles[0], &doubles[1], ALICE));
    bridge.serve();
    let mut signed_in = bridge.sign_in(&crm);
    bridge.sign_in_smtp(&crm);
    let before: Vec<usize> = doubles.iter().map(|double| double.heard().len()).collect();
    let known = &lab.certificates;
    for certificate in [&known.expired, &known.wrong_name, &known.unknown_ca] {
        doubles.iter().for_each(|double| double.show(certificate));
        lose_lanes(&doubles);
        // A session that was let in before, and one that comes after the trouble is known.
        let selected = signed_in.imap("SELECT INBOX");
        assert!(selected.tagged.starts_with("NO [UNAVAILABLE] "), "{}", selected.tagged);
        let mut imap = Wire::plain(bridge.imap);
        imap.expect("* OK");
        let answer = imap.imap(&crm.imap_login());
        assert!(answer.tagged.starts_with("NO [UNAVAILABLE] "), "{}", answer.tagged);
        let mut smtp = Wire::plain(bridge.smtp);
        smtp.expect("220");
        smtp.smtp("EHLO crm.test", 250);
        assert!(smtp.smtp(&crm.smtp_auth(), 454).starts_with("4.7.0 "));
    }
    let after: Vec<usize> = doubles.iter().map(|double| double.heard().len()).collect();
    assert_eq!(before, after, "not one octet more was said in TLS");
    doubles.iter().for_each(|double| double.show(&known.good));
    signed_in.imap_ok("SELECT INBOX");
    bridge.sign_in(&crm);
    bridge.sign_in_smtp(&crm);
}

/// What is parked was believed when it was opened: only a new lane is shown the certificate of now.
fn lose_lanes(doubles: &[Provider]) {
    doubles.iter().for_each(Provider::cut);
    thread::sleep(Duration::from_millis(200));
}

/// `pin=` and the key's SHA-256.
fn pin(certificate: &Signed) -> String {
    format!("pin={}", certificate.pin())
}

#[test]
fn a_pin_is_told_by_the_refusal_and_believed_when_it_is_copied() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let known = &lab.certificates;
    let [imap, smtp] =
        [Provider::imap(Some(&known.unknown_ca), |_, _, _| Some(false)), Provider::smtp(Some(&known.good))];
    let mut bridge = Bridge::prepare(&lab);
    let account = AddAccount::unchecked(&lab, &imap, &smtp, ALICE).checked();
    let [error, hint] = refused(&bridge, &AddAccount { certificates: "verify".into(), ..account.clone() });
    assert_eq!(error.matches("unknown authority").count(), 2, "{error}");
    let both = format!("pin={},{}", known.unknown_ca.pin(), known.good.pin());
    assert!(hint.contains(&format!("`--certificates {both}`")), "{hint}");
    let [error, hint] = refused(&bridge, &account);
    assert_eq!(error.matches("unknown authority").count(), 1, "{error}");
    assert!(hint.contains(&format!("`--certificates {}`", pin(&known.unknown_ca))), "{hint}");
    assert!(imap.heard().is_empty(), "no octet in TLS");

    // Neither name nor time of a certificate counts where its key is pinned.
    for (certificate, address) in
        [(&known.expired, "a@lab.test"), (&known.wrong_name, "b@lab.test"), (&known.unknown_ca, "c@lab.test")]
    {
        let doubles = doubles(certificate);
        let account = AddAccount::unchecked(&lab, &doubles[0], &doubles[1], address).checked();
        bridge.add_account(&AddAccount { certificates: pin(certificate), ..account });
        let shown = String::from_utf8(bridge.cli(&["account", "show", address], b"").stdout).expect("text");
        assert!(shown.contains(&pin(certificate)) && !shown.contains("warning"), "{shown}");
    }
    let doubles = [Provider::imap(Some(&known.unknown_ca), |_, _, _| Some(false)), Provider::smtp(Some(&known.good))];
    let account = AddAccount::unchecked(&lab, &doubles[0], &doubles[1], ALICE).checked();
    let crm = bridge.add_account(&AddAccount { certificates: both, ..account });
    bridge.serve();
    bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    bridge.sign_in_smtp(&crm).smtp("NOOP", 250);
}

#[test]
fn r04_a_pinned_key_that_changed_gets_no_credential_and_both_are_told() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let known = &lab.certificates;
    let doubles = doubles(&known.good);
    let mut bridge = Bridge::prepare(&lab);
    let account = AddAccount::unchecked(&lab, &doubles[0], &doubles[1], ALICE).checked();
    let pinned = AddAccount { certificates: pin(&known.good), ..account };
    let crm = bridge.add_account(&pinned);
    bridge.serve();
    let mut imap = bridge.sign_in(&crm);
    doubles.iter().for_each(|double| double.show(&known.wrong_name));
    lose_lanes(&doubles);
    let before: Vec<usize> = doubles.iter().map(|double| double.heard().len()).collect();
    let answer = imap.imap("SELECT INBOX").tagged;
    assert!(answer.starts_with("NO [UNAVAILABLE] ") && !answer.contains(&known.good.pin()), "{answer}");
    let mut smtp = Wire::plain(bridge.smtp);
    smtp.expect("220");
    smtp.smtp("EHLO crm.test", 250);
    assert!(smtp.smtp(&crm.smtp_auth(), 454).starts_with("4.7.0 "));
    let both = format!("its key has changed; pinned: {}; shown: {}", known.good.pin(), known.wrong_name.pin());
    assert_eq!(bridge.log().matches(&both).count(), 2, "{}", bridge.log());
    // What the owner is told by whatever signs in.
    let [error, hint] = refused(&bridge, &AddAccount { address: "other@lab.test".into(), ..pinned });
    assert_eq!(error.matches(&both).count(), 2, "{error}");
    assert!(hint.contains(&format!("`--certificates {}`", pin(&known.wrong_name))), "{hint}");
    let after: Vec<usize> = doubles.iter().map(|double| double.heard().len()).collect();
    assert_eq!(before, after, "not one octet more was said in TLS");
    doubles.iter().for_each(|double| double.show(&known.good));
    bridge.sign_in(&crm);
}

#[test]
fn a_pinned_key_is_believed_at_real_providers() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let key = &lab.certificates.good;
    let dovecot = Dovecot::start(&lab, crate::harness::Layout::Ovh, key, "ssl = required\n");
    dovecot.add_user(ALICE, "secret");
    let exim = Exim::submission(&lab, &dovecot);
    let mut bridge = Bridge::prepare(&lab);
    for (security, [imap, smtp]) in
        [("tls", [dovecot.imaps, exim.submissions]), ("starttls", [dovecot.imap, exim.submission])]
    {
        let account = AddAccount {
            imap: format!("127.0.0.1:{imap}"),
            smtp: format!("127.0.0.1:{smtp}"),
            imap_security: security,
            smtp_security: security,
            certificates: pin(&lab.certificates.expired),
            ..AddAccount::of(&lab, &dovecot, &exim, ALICE)
        };
        let [error, _] = refused(&bridge, &account);
        assert_eq!(error.matches(&format!("shown: {}", key.pin())).count(), 2, "{error}");
        let crm = bridge.add_account(&AddAccount { certificates: pin(key), ..account });
        bridge.serve();
        bridge.sign_in(&crm).imap_ok("SELECT Sent");
        bridge.sign_in_smtp(&crm).smtp("MAIL FROM:<alice@ovh.test>", 250);
        assert!(bridge.drain());
        bridge.cli(&["account", "remove", ALICE], b"");
    }
}

#[test]
fn r04_any_certificate_is_accepted_only_on_demand_and_with_a_warning_everywhere() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let known = &lab.certificates;
    for (certificate, address) in
        [(&known.expired, "a@lab.test"), (&known.wrong_name, "b@lab.test"), (&known.unknown_ca, "c@lab.test")]
    {
        let doubles = doubles(certificate);
        let mut bridge = Bridge::prepare(&lab);
        let account = AddAccount::unchecked(&lab, &doubles[0], &doubles[1], address).checked();
        let add = ["account", "add", address, "--imap", &account.imap, "--smtp", &account.smtp];
        let add = [&add[..], &["--certificates", "accept-any", "--password-stdin"]].concat();
        for arguments in [&add[..], &["account", "list"], &["account", "show", address]] {
            let output = bridge.cli(arguments, b"hunter2\n");
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && told.contains("warning: "), "{}", words(&output));
            assert!(told.contains("any certificate is accepted: whoever stands between"), "{told}");
            if arguments == add {
                assert_eq!(told.matches("certificate NOT verified").count(), 2, "{told}");
            }
        }
        let json = |arguments: &[&str]| -> Value {
            serde_json::from_slice(&bridge.cli(&[arguments, &["--json"]].concat(), b"").stdout).expect("JSON")
        };
        let (list, show) = (json(&["account", "list"]), json(&["account", "show", address]));
        for account in [&list[0], &show] {
            assert!(account["warnings"][0].as_str().is_some_and(|text| text.contains("any certificate")), "{account}");
        }
        bridge.cli(&["account", "remove", address], b"");
        let crm = bridge.add_account(&AddAccount { certificates: "accept-any".into(), ..account });
        bridge.serve();
        bridge.sign_in(&crm).imap_ok("SELECT INBOX");
        bridge.sign_in_smtp(&crm).smtp("NOOP", 250);
    }
}

#[test]
fn starttls_works_at_real_providers() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let dovecot = Dovecot::start(
        &lab,
        crate::harness::Layout::Ovh,
        &lab.certificates.good,
        "disable_plaintext_auth = yes\nssl = required\n",
    );
    dovecot.add_user(ALICE, "secret");
    let exim = Exim::submission(&lab, &dovecot);
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount {
        imap: format!("localhost:{}", dovecot.imap),
        smtp: format!("localhost:{}", exim.submission),
        imap_security: "starttls",
        smtp_security: "starttls",
        ..AddAccount::of(&lab, &dovecot, &exim, ALICE)
    });
    bridge.serve();
    bridge.sign_in(&crm).imap_ok("SELECT Sent");
    let mut smtp = bridge.sign_in_smtp(&crm);
    smtp.smtp("MAIL FROM:<alice@ovh.test>", 250);
    smtp.smtp("RCPT TO:<alice@ovh.test>", 250);
}

/// Whoever stands on the wire, towards a bridge that wants STARTTLS. Each goes on for as long as the bridge does.
type Attack = (&'static str, fn(&mut Visit, &Signed) -> Option<()>, fn(&mut Visit, &Signed) -> Option<()>);

fn imap_on(visit: &mut Visit) -> Option<()> {
    visit.imap(&|_, _, _| Some(false))
}

const HELLO: &str = "250-double\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN";

const ATTACKS: [Attack; 5] = [
    (
        "STARTTLS is stripped",
        |visit, _| {
            visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES}] ready"))?;
            imap_on(visit)
        },
        |visit, _| {
            visit.say("220 double")?;
            visit.smtp()
        },
    ),
    (
        "STARTTLS is offered and refused",
        |visit, _| {
            visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR] ready")?;
            let line = visit.line()?;
            visit.say(&format!("{} BAD no TLS today", line.split(' ').next()?))?;
            imap_on(visit)
        },
        |visit, _| {
            visit.say("220 double")?;
            visit.line()?;
            visit.say("250-double\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN")?;
            visit.line()?;
            visit.say("454 4.7.0 no TLS today")?;
            visit.smtp()
        },
    ),
    (
        "answers are laid behind the answer to STARTTLS",
        |visit, certificate| {
            visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready")?;
            let line = visit.line()?;
            let tag = line.split(' ').next()?;
            visit.say(&format!("{tag} OK go\r\n* CAPABILITY {IMAP_CAPABILITIES}\r\n{tag} OK done"))?;
            visit.secure(certificate)?;
            imap_on(visit)
        },
        |visit, certificate| {
            visit.say("220 double")?;
            visit.line()?;
            visit.say("250-double\r\n250 STARTTLS")?;
            visit.line()?;
            visit.say(&format!("220 go\r\n{HELLO}"))?;
            visit.secure(certificate)?;
            visit.smtp()
        },
    ),
    (
        "they come in a packet of their own",
        |visit, certificate| {
            visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready")?;
            let line = visit.line()?;
            let tag = line.split(' ').next()?;
            visit.say(&format!("{tag} OK go"))?;
            std::thread::sleep(Duration::from_millis(30));
            visit.say(&format!("* CAPABILITY {IMAP_CAPABILITIES}\r\n{tag} OK done"))?;
            visit.secure(certificate)?;
            imap_on(visit)
        },
        |visit, certificate| {
            visit.say("220 double")?;
            visit.line()?;
            visit.say("250-double\r\n250 STARTTLS")?;
            visit.line()?;
            visit.say("220 go")?;
            std::thread::sleep(Duration::from_millis(30));
            visit.say(HELLO)?;
            visit.secure(certificate)?;
            visit.smtp()
        },
    ),
    (
        "it is signed in already, or greets with nonsense",
        |visit, _| {
            visit.say(&format!("* PREAUTH [CAPABILITY {IMAP_CAPABILITIES}] welcome"))?;
            imap_on(visit)
        },
        |visit, _| {
            visit.say(&format!("250-STARTTLS\r\n{HELLO}"))?;
            visit.smtp()
        },
    ),
];

#[test]
fn r02_r03_whoever_meddles_with_starttls_gets_no_credential() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let bridge = Bridge::prepare(&lab);
    for (attack, imap, smtp) in ATTACKS {
        let [one, other] = [lab.certificates.good.clone(), lab.certificates.good.clone()];
        let doubles = [
            Provider::start(None, move |visit| imap(visit, &one)),
            Provider::start(None, move |visit| smtp(visit, &other)),
        ];
        let account = AddAccount {
            imap_security: "starttls",
            smtp_security: "starttls",
            ..AddAccount::unchecked(&lab, &doubles[0], &doubles[1], ALICE).checked()
        };
        let [error, _] = refused(&bridge, &account);
        assert!(error.contains("imap localhost:") && error.contains("smtp localhost:"), "{attack}: {error}");
        heard_no_credential(&doubles);
        let sent = doubles[1].heard();
        assert!(!["MAIL", "RCPT", "DATA"].iter().any(|verb| sent.contains(verb)), "{attack}: {sent}");
    }
}

#[test]
fn tls_ports_are_believed_by_whoever_trusts_the_local_authority() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let doubles = doubles(&lab.certificates.good);
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::unchecked(&lab, &doubles[0], &doubles[1], ALICE));
    bridge.serve();
    let authority: PathBuf = bridge.authority();
    for name in ["localhost", "127.0.0.1", "::1"] {
        let mut imap = Wire::tls(bridge.imaps, &authority, name);
        assert!(imap.expect("* OK").contains("AUTH=PLAIN"), "a client in TLS is offered AUTHENTICATE");
        imap.imap_ok(&crm.imap_login());
        imap.imap_ok("SELECT Sent");
        imap.imap_ok("LOGOUT");
        assert!(imap.rest().is_empty());
        let mut smtp = Wire::tls(bridge.smtps, &authority, name);
        smtp.expect("220");
        smtp.smtp("EHLO crm.test", 250);
        smtp.smtp(&crm.smtp_auth(), 235);
        smtp.smtp("QUIT", 221);
        assert!(smtp.rest().is_empty());
    }
}

/// Not by `openssl s_client -tls1_1`: current builds of it refuse before they have said a word.
#[test]
fn r06_tls_1_1_is_refused_at_our_ports() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let mut bridge = Bridge::prepare(&lab);
    bridge.serve();
    for port in [bridge.imaps, bridge.smtps] {
        let answer = |version: [u8; 2]| {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the port answers");
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
            socket.write_all(&client_hello(version)).expect("taken");
            let mut answer = [0; 7];
            socket.read_exact(&mut answer).expect("an answer");
            answer
        };
        // An alert (21), fatal (2): protocol_version (70).
        let refused = answer([3, 2]);
        assert_eq!((refused[0], &refused[5..]), (21, &[2, 70][..]), "TLS 1.1: {refused:?}");
        // The same octets of TLS 1.2 get a handshake (22): ServerHello (2).
        let welcome = answer([3, 3]);
        assert_eq!((welcome[0], welcome[5]), (22, 2), "TLS 1.2: {welcome:?}");
    }
}

/// A ClientHello of RFC 5246 7.4.1.2, with what every server of its time had.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let suites = [0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f];
    let extensions: [&[u8]; 4] = [
        // extended_master_secret, supported_groups, ec_point_formats, signature_algorithms
        &[0, 23, 0, 0],
        &[0, 10, 0, 6, 0, 4, 0, 23, 0, 29],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 10, 0, 8, 4, 3, 4, 1, 2, 3, 2, 1],
    ];
    let extensions = extensions.concat();
    let length = |octets: &[u8]| u16::try_from(octets.len()).expect("short").to_be_bytes();
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend(length(&suites));
    hello.extend(suites);
    hello.extend([1, 0]);
    hello.extend(length(&extensions));
    hello.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(length(&hello));
    message.extend(hello);
    let mut record = vec![22, 3, 1];
    record.extend(length(&message));
    record.extend(message);
    record
}
