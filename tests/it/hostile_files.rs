//! What a bridge leaves behind: log lines that nobody forges (R12), no secret anywhere (R33), clear ports on loopback alone
//! (R35), and files that are their owner's from the first moment (R37).

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Wire, find, free_port, run, secrets, until, words,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

const ALICE: &str = "alice@lab.test";
const BOB: &str = "bob@lab.test";

fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// A line as the log has it, of a time that never was.
const FORGED: &str = "1999-01-01T00:00:00.000000Z  INFO passerelle: forged";

/// What ends a line here or there, or is more than text to a terminal; a form of each that goes through UTF-8.
const BREAKS: [&str; 9] =
    ["\r\n", "\n", "\r", "\u{1b}[2J\u{1b}[1;1H", "\0", "\u{85}", "\u{2028}", "\u{2029}", "\u{9b}2J"];

/// What the log may hold beside events: what `serve` says on standard output.
fn is_banner(line: &str) -> bool {
    ["passerelle ", "  ", "Next, in another window:"].iter().any(|start| line.starts_with(start))
}

/// An IMAP server that refuses everyone in words that end lines.
fn refusing(lab: &Lab) -> Provider {
    let visits = AtomicUsize::new(0);
    Provider::imap(Some(&lab.certificates.good), move |visit, tag, command| {
        if !["AUTHENTICATE", "LOGIN"].iter().any(|verb| command.starts_with(verb)) {
            return Some(false);
        }
        let end = BREAKS[visits.fetch_add(1, Ordering::SeqCst) % BREAKS.len()];
        visit.say(&format!("{tag} NO sorry{end}{FORGED}{end}"))?;
        Some(true)
    })
}

/// Says everything that a client can say with `end` in it, and does not care for the answers.
fn speak(bridge: &Bridge, alice: &CrmSettings, end: &str) {
    let name = format!("alice{end}{FORGED}{end}@lab.test");
    let literal = format!("{{{}+}}\r\n{name}", name.len());
    let mut wire = Wire::plain(bridge.imap);
    wire.expect("* OK");
    wire.send(format!("a LOGIN {literal} {literal}\r\n").as_bytes());
    wire.try_send(format!("b ID (\"name\" {literal})\r\n{name} NOOP\r\n").as_bytes());
    wire.half_close();
    wire.rest();
    let mut wire = bridge.sign_in(alice);
    for command in ["SELECT", "CREATE", "STATUS", "DELETE"] {
        wire.try_send(format!("c {command} {literal} (MESSAGES)\r\n").as_bytes());
    }
    let letter = format!("Message-ID: <{name}>\r\nSubject: {name}\r\n\r\n{name}\r\n");
    wire.try_send(format!("d APPEND {literal} {{{}+}}\r\n{letter}\r\n", letter.len()).as_bytes());
    wire.half_close();
    wire.rest();
    for auth in [BASE64.encode(format!("\0{name}\0{name}")), name.clone()] {
        let mut wire = Wire::plain(bridge.smtp);
        wire.expect("220");
        wire.try_send(format!("EHLO {name}\r\nAUTH PLAIN {auth}\r\nMAIL FROM:<{name}>\r\n").as_bytes());
        wire.half_close();
        wire.rest();
    }
    let mut wire = bridge.sign_in_smtp(alice);
    wire.try_send(format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<{name}>\r\nDATA\r\n{letter}.\r\nQUIT\r\n").as_bytes());
    wire.half_close();
    wire.rest();
}

#[test]
fn r12_no_line_of_the_log_is_forged() {
    for format in ["text", "json"] {
        let Some(lab) = Lab::needing(&[]) else { return };
        let refuses = refusing(&lab);
        let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
        let smtp = Provider::smtp(Some(&lab.certificates.good));
        let mut bridge = Bridge::logging(&lab, format);
        let alice = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
        let bob = bridge.add_account(&AddAccount::unchecked(&lab, &refuses, &smtp, BOB));
        // An authority whose file has such a name, and is gone by the time it is needed.
        let file = lab.path().join(format!("ca{}.pem", BREAKS.concat().replace('\0', "") + FORGED + "\n" + FORGED));
        let carol = AddAccount {
            certificates: format!("ca={}", file.display()),
            ..AddAccount::unchecked(&lab, &imap, &smtp, "carol@lab.test")
        };
        fs::copy(&lab.certificates.ca, &file).expect("a file of that name");
        let carol = bridge.add_account(&carol);
        fs::remove_file(&file).expect("removed");
        bridge.serve();
        for end in BREAKS {
            speak(&bridge, &alice, end);
            // Bob's provider says the words; each try is a visit, as another password is tried at once.
            let set = bridge.cli(&["account", "set", BOB, "--password-stdin", "--unchecked"], b"another\n");
            assert!(set.status.success(), "{}", words(&set));
            let mut wire = Wire::plain(bridge.imap);
            wire.expect("* OK");
            assert!(wire.imap(&bob.imap_login()).tagged.starts_with("NO "));
        }
        let mut wire = Wire::plain(bridge.imap);
        wire.expect("* OK");
        assert!(wire.imap(&carol.imap_login()).tagged.starts_with("NO [UNAVAILABLE]"));
        assert!(bridge.drain());

        let log = bridge.log();
        let planted = log.matches("forged").count();
        let (mut events, mut forged) = (0, Vec::new());
        for line in log.lines().filter(|line| !is_banner(line)) {
            events += 1;
            let is_event = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line).is_ok_and(|event| event["level"].is_string()),
                _ => line.starts_with("20") && line.as_bytes().get(4) == Some(&b'-'),
            };
            if !is_event || line.starts_with("1999") || line.contains("\"timestamp\":\"1999") {
                forged.push(line);
            }
        }
        tell(&format!(
            "{format}: {events} events, others' text planted in them {planted} times, forged: {}",
            forged.len()
        ));
        assert_eq!(forged, Vec::<&str>::new());
        // The file's name was cut where it would have ended the line.
        assert!(log.contains("\\u000a1999") || log.contains("\\n1999"), "{log}");
        // Each of the provider's words, and the file's name, came to the log: else nothing was shown.
        assert!(planted > BREAKS.len() / 2, "{log}");
        let shown = |character: char| character == '\n' || !character.is_control();
        assert!(log.chars().all(shown) && !log.contains(['\u{2028}', '\u{2029}']), "{log:?}");
    }
}

#[test]
fn r33_no_secret_stands_in_a_log_a_command_line_or_the_database() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // Says again all that it is told, as some servers do.
    let echo = Provider::imap(Some(&lab.certificates.good), |visit, tag, command| {
        if !["AUTHENTICATE", "LOGIN"].iter().any(|verb| command.starts_with(verb)) {
            return Some(false);
        }
        visit.say(&format!("{tag} NO [AUTHENTICATIONFAILED] no such user or password: {command}"))?;
        Some(true)
    });
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let mut bridge = Bridge::prepare(&lab);
    let password = "correct-h0rse-battery-staple";
    let account = AddAccount { password: password.to_owned(), ..AddAccount::unchecked(&lab, &echo, &smtp, ALICE) };
    let alice = bridge.add_account(&account);
    bridge.listens_for("suitecrm");
    bridge.serve();
    let (login, right) = (alice.login.as_str(), alice.password.as_str());
    let typed = "typed-1nto-the-wrong-field";
    secrets::give_out(typed);
    let digest = "0123456789abcdef0123456789abcdef";
    secrets::give_out(digest);
    let base64 = |text: String| BASE64.encode(text);
    let imap = [
        format!("LOGIN {login} {right}"),
        format!("LOGIN {typed} {right}"),
        format!("LOGIN {login} {typed}"),
        format!("LOGIN {login} {right} {typed}"),
        format!("LOGIN \"{login}\" \"{right}"),
        format!("LOGIN {{{}+}}\r\n{login} {{{}+}}\r\n{right}", login.len(), right.len()),
        format!("AUTHENTICATE PLAIN {}", base64(format!("\0{login}\0{right}"))),
        format!("AUTHENTICATE PLAIN {}!", base64(format!("\0{login}\0{typed}"))),
        format!("AUTHENTICATE LOGIN {}\r\n{}", base64(login.to_owned()), base64(typed.to_owned())),
        format!("AUTHENTICATE CRAM-MD5\r\n{}", base64(format!("{login} {digest}"))),
        format!("AUTHENTICATE XOAUTH2 {}", base64(format!("user={login}\u{1}auth=Bearer {typed}\u{1}\u{1}"))),
        format!("{right} {typed} {right}"),
    ];
    for command in imap {
        let mut wire = Wire::plain(bridge.imap);
        wire.expect("* OK");
        // Until it is answered, or nothing more comes: not all of them are whole.
        wire.line(&format!("a {command}"));
        wire.half_close();
        wire.rest();
    }
    let smtp = [
        format!("AUTH PLAIN {}", base64(format!("\0{login}\0{right}"))),
        format!("AUTH PLAIN {}", base64(format!("\0{typed}\0{typed}"))),
        format!("AUTH LOGIN {}\r\n{}", base64(login.to_owned()), base64(typed.to_owned())),
        format!("AUTH CRAM-MD5\r\n{}", base64(format!("{login} {digest}"))),
        format!("AUTH XOAUTH2 {}", base64(format!("user={login}\u{1}auth=Bearer {typed}\u{1}\u{1}"))),
        format!("{right} {typed}"),
    ];
    for command in smtp {
        let mut wire = Wire::plain(bridge.smtp);
        wire.expect("220");
        wire.line(&format!("EHLO crm.test\r\n{command}\r\nQUIT"));
        wire.half_close();
        wire.rest();
    }
    let logged = until(PATIENCE, || (bridge.log().matches("no connection to the provider").count() >= 2).then_some(()));
    assert!(logged.is_some() && bridge.log().contains("[hidden]"), "{}", bridge.log());
    assert!(echo.heard().contains("AUTHENTICATE"), "the password went to the provider");
    // What every bridge of these tests is asked at its end, said here with its figure.
    let (secrets, found) = bridge.secrets_found();
    tell(&format!("{secrets} secrets looked for, raw and in base64, in log, command line and database: {found:?}"));
    assert!(secrets >= 4 && found.is_empty(), "{found:?}");
}

/// Runs `serve` on this configuration, which must be refused at once: what it says.
fn refused(lab: &Lab, listen: &str) -> String {
    let folder = lab.folder("r");
    let file = folder.join("passerelle.toml");
    let off = ["imap", "smtp", "imaps", "smtps"].iter().filter(|kind| !listen.contains(&format!("{kind} =")));
    let off: String = off.map(|kind| format!("{kind} = \"off\"\n")).collect();
    fs::write(&file, format!("[listen]\n{off}{listen}")).expect("a configuration is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_passerelle"));
    command.arg("--state").arg(folder.join("state")).arg("--config").arg(&file).arg("serve");
    let output = run(10, &mut command, b"");
    assert_eq!(output.status.code(), Some(3), "{listen}: {}", words(&output));
    assert!(!folder.join("state").exists(), "nothing was begun: {listen}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn r35_clear_ports_stand_on_loopback_alone() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let port = free_port();
    for kind in ["imap", "smtp"] {
        for host in
            ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "[::ffff:192.0.2.1]", "192.0.2.1", "[2001:db8::1]", "10.0.0.1"]
        {
            let said = refused(&lab, &format!("{kind} = \"{host}:{port}\"\n"));
            assert!(said.contains("passwords would cross the network in clear") && said.contains("hint: "), "{said}");
            // One bad among good ones, and those of a CRM of its own.
            refused(&lab, &format!("{kind} = [\"127.0.0.1:{port}\", \"{host}:{port}\"]\n"));
            refused(&lab, &format!("[[crm]]\nprofile = \"vtiger\"\n{kind} = \"{host}:{port}\"\n"));
        }
        // A name may resolve to anything, later too: it is none of this machine's addresses.
        for host in ["localhost", "mail.example.org", "localhost.example.org"] {
            let said = refused(&lab, &format!("{kind} = \"{host}:{port}\"\n"));
            assert!(said.contains("an IP address with port"), "{said}");
        }
        // The exception is for one exact private address.
        for host in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "192.0.2.1"] {
            refused(&lab, &format!("{kind} = \"{host}:{port}\"\nplain-from = [\"172.17.0.0/16\"]\n"));
        }
    }
    // With TLS any address will do.
    let mut bridge = Bridge::prepare(&lab);
    bridge.listens_at("imaps", "0.0.0.0");
    bridge.serve();
    Wire::tls(bridge.imaps, &bridge.authority(), "localhost").expect("* OK");
}

#[test]
fn r35_a_provider_that_is_the_bridge_itself_is_refused() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let mut bridge = Bridge::prepare(&lab);
    bridge.listens_at("imaps", "0.0.0.0");
    let hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"];
    let at = |number: usize, host: &str, port: u16| AddAccount {
        imap: format!("{host}:{port}"),
        imap_security: "none",
        ..AddAccount::at(&lab, [port, 1], &format!("user{number}@lab.test"))
    };
    let mut logins: Vec<CrmSettings> =
        hosts.iter().enumerate().map(|(number, host)| bridge.add_account(&at(number, host, bridge.imap))).collect();
    // The listener on all addresses, by another address of loopback.
    let far = AddAccount { imap_security: "tls", ..at(9, "127.0.0.9", bridge.imaps) };
    logins.push(bridge.add_account(&far));
    bridge.serve();
    let before = bridge.sockets();
    for login in &logins {
        let mut wire = Wire::plain(bridge.imap);
        wire.expect("* OK");
        let said = wire.imap(&login.imap_login()).tagged;
        assert!(said.starts_with("NO [UNAVAILABLE]"), "{}: {said}", login.login);
    }
    let said = bridge.log().matches("the endpoint is the bridge itself").count();
    tell(&format!("{said} logins of {} refused, the provider is the bridge itself", logins.len()));
    assert_eq!(said, logins.len(), "{}", bridge.log());
    let back = until(PATIENCE, || (bridge.sockets() <= before).then_some(()));
    assert!(back.is_some(), "{} sockets, {before} before", bridge.sockets());
}

/// Nothing serves here: whoever dialled all the same would say that the connection was refused.
#[test]
fn r35_the_command_line_names_the_listener_that_is_no_provider() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let own = free_port();
    let more = format!(
        "[[crm]]\nprofile = \"vtiger\"\nimap = \"127.0.0.3:{own}\"\nimaps = \"off\"\nsmtp = \"off\"\nsmtps = \"off\"\n"
    );
    let bridge = Bridge::configured(&lab, &more);
    bridge.listens_at("imaps", "0.0.0.0");
    let (imap, smtp) = (
        Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false)),
        Provider::smtp(Some(&lab.certificates.good)),
    );
    let honest = AddAccount::unchecked(&lab, &imap, &smtp, ALICE);
    let told = |arguments: &[&str], listener: &str, key: &str| {
        let output = bridge.cli(&[arguments, &["--json"]].concat(), b"hunter2\n");
        assert!(!output.status.success(), "{arguments:?}: {}", words(&output));
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let (said, hint) = (text("error"), text("hint"));
        assert!(said.contains(&format!("the endpoint is the bridge itself, which listens at: {listener}")), "{said}");
        assert!(hint.contains(&format!("({key} = {listener} in its configuration) is no provider")), "{hint}");
    };
    let at = |address: &'static str, hosts: [&str; 2]| {
        let [imap, smtp] = hosts.map(str::to_owned);
        let words = ["account", "add", address, "--imap", &imap, "--imap-security", "none", "--smtp", &smtp];
        let more = ["--smtp-security", "none", "--password-stdin"];
        words.into_iter().chain(more).map(str::to_owned).collect::<Vec<_>>()
    };
    let add = |hosts: [&str; 2], listener: &str, key: &str| {
        let arguments = at("new@lab.test", hosts);
        told(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), listener, key);
    };
    let here = |port: u16| format!("127.0.0.1:{port}");
    let (our_imap, our_smtp, crm) = (here(bridge.imap), here(bridge.smtp), format!("127.0.0.3:{own}"));
    add([&our_imap, &our_smtp], &our_imap, "listen.imap");
    add([&format!("localhost:{}", bridge.imap), &our_smtp], &our_imap, "listen.imap");
    add([&format!("127.0.0.9:{}", bridge.imaps), &our_smtp], &format!("0.0.0.0:{}", bridge.imaps), "listen.imaps");
    add([&crm, &our_smtp], &crm, "crm.imap");

    bridge.add_account(&honest);
    let set = ["account", "set", ALICE, "--smtp", &our_smtp, "--smtp-security", "none"];
    told(&set, &our_smtp, "listen.smtp");
    let swap = ["account", "swap", ALICE, "--provider", "generic", "--imap", &our_imap, "--imap-security", "none"];
    let swap = [&swap[..], &["--smtp", &our_smtp, "--smtp-security", "none", "--password-stdin", "--yes"]].concat();
    told(&swap, &our_imap, "listen.imap");
    let listed = bridge.cli(&["account", "show", ALICE, "--json"], b"");
    let shown: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert!(!shown.to_string().contains(&our_imap) && !shown.to_string().contains(&our_smtp), "{shown}");

    // Stored without a look, from before this was known.
    let mut stored = at("old@lab.test", [&our_imap, &our_smtp]);
    stored.push("--unchecked".to_owned());
    let stored = bridge.cli(&stored.iter().map(String::as_str).collect::<Vec<_>>(), b"hunter2\n");
    assert!(stored.status.success(), "{}", words(&stored));
    told(&["account", "check", "old@lab.test"], &our_imap, "listen.imap");
    told(&["folder", "list", "old@lab.test"], &our_imap, "listen.imap");
}

/// What of the bridge's others may read or write, as `find` sees it.
fn open_to_others(bridge: &Bridge) -> String {
    let output = run(10, Command::new("find").arg(bridge.state()).args(["-perm", "/077"]), b"");
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that a bridge does which leaves files behind.
fn live(lab: &Lab, bridge: &mut Bridge) {
    let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let alice = bridge.add_account(&AddAccount::unchecked(lab, &imap, &smtp, ALICE));
    for (round, crm) in [("first", "zammad"), ("second", "suitecrm")] {
        bridge.serve();
        bridge.sign_in(&alice).imap_ok("SELECT INBOX");
        bridge.sign_in_smtp(&alice).smtp("NOOP", 250);
        Wire::tls(bridge.imaps, &bridge.authority(), "localhost").expect("* OK");
        bridge.add_login(ALICE, crm);
        for arguments in
            [&["account", "set", ALICE, "--display-name", round][..], &["login", "list"], &["folder", "list", ALICE]]
        {
            let output = bridge.cli(arguments, b"");
            assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        }
        assert_eq!(open_to_others(bridge), "", "while it runs, {round}");
        assert!(bridge.drain(), "{}", bridge.log());
    }
    assert_eq!(open_to_others(bridge), "");
}

#[test]
fn r37_no_file_is_open_to_others_whatever_the_umask() {
    let Some(lab) = Lab::needing(&[]) else { return };
    for umask in ["0", "022"] {
        let mut bridge = Bridge::prepare(&lab);
        bridge.runs_under(&["sh", "-c", "umask \"$1\"; shift; exec \"$@\"", "umask", umask]);
        live(&lab, &mut bridge);
        let files = run(10, Command::new("find").arg(bridge.state()), b"").stdout;
        let files = String::from_utf8_lossy(&files).lines().count();
        tell(&format!("umask {umask}: {files} files and folders, none open to others"));
        assert!(files >= 8, "{files}");
    }
}

/// The calls of strace's, each on one line: one that another thread's interrupts is told in two.
fn whole_calls(traced: &str) -> String {
    const BEGINS: &str = " <unfinished ...>";
    let (mut begun, mut whole) = (HashMap::new(), String::new());
    for line in traced.lines() {
        let (thread, call) = line.split_once(' ').unwrap_or(("", line));
        if let Some(first) = call.strip_suffix(BEGINS) {
            begun.insert(thread, first);
            continue;
        }
        let rest = call.trim_start().strip_prefix("<... ").and_then(|resumed| resumed.split_once(" resumed>"));
        match rest {
            Some((_, rest)) => {
                let first = begun.remove(thread).unwrap_or_default();
                whole.push_str(&format!("{thread} {first}{rest}\n"));
            }
            None => whole.push_str(&format!("{line}\n")),
        }
    }
    // What never ended was cut by the end of the process.
    assert!(begun.values().all(|call| !call.contains("O_CREAT")), "{begun:?}");
    whole
}

#[test]
fn a_call_that_strace_tells_in_two_is_read_as_one() {
    let traced =
        "7 mkdir(\"/a\", 0700 <unfinished ...>\n8 openat(AT_FDCWD, \"/b\", O_RDONLY) = 3\n7 <... mkdir resumed>) = 0\n";
    assert_eq!(whole_calls(traced), "8 openat(AT_FDCWD, \"/b\", O_RDONLY) = 3\n7 mkdir(\"/a\", 0700) = 0\n");
}

/// With what mode a call of strace's makes, binds or changes a file; None: it does not. Of what is made in `/dev` and
/// `/proc` the system is the owner.
fn mode_given(call: &str) -> Option<u32> {
    let (_, call) = call.split_once(' ')?;
    let call = call.trim_start();
    let (name, arguments) = call.split_once('(')?;
    if arguments.contains("\"/dev/") || arguments.contains("\"/proc/") {
        return None;
    }
    let octal = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        u32::from_str_radix(&digits, 8).unwrap_or_else(|_| panic!("no mode in: {call}"))
    };
    match name {
        "openat" | "open" => {
            let flags = arguments.find("O_CREAT").or_else(|| arguments.find("O_TMPFILE"))?;
            let (_, mode) = arguments[flags..].split_once(", ").unwrap_or_else(|| panic!("no mode in: {call}"));
            Some(octal(mode))
        }
        "creat" | "mkdir" | "mkdirat" | "mknod" | "mknodat" | "chmod" | "fchmod" | "fchmodat" => {
            let at = arguments.rfind(", 0").unwrap_or_else(|| panic!("no mode in: {call}"));
            Some(octal(&arguments[at + 2..]))
        }
        // A socket in the file system has the mode that the umask leaves.
        "bind" if arguments.contains("AF_UNIX, sun_path=\"") => Some(0o777),
        _ => None,
    }
}

/// Where a socket is made in the file system.
fn socket_folder(call: &str) -> Option<&str> {
    let (_, path) = call.split_once("sun_path=\"")?;
    path.split_once('"')?.0.strip_suffix("/s")
}

#[test]
fn r37_modes_are_given_at_creation() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let trace = lab.path().join("trace");
    let calls = "open,openat,creat,mkdir,mkdirat,mknod,mknodat,chmod,fchmod,fchmodat,bind";
    let to = format!("--output={}", trace.display());
    let tried = run(10, Command::new("strace").args(["-f", &to, "true"]), b"");
    if !tried.status.success() {
        assert!(find("strace").is_some() || std::env::var("CI").as_deref() != Ok("true"), "missing in CI: strace");
        tell(&format!("skipped: strace cannot trace here: {}", String::from_utf8_lossy(&tried.stderr).trim()));
        return;
    }
    let mut bridge = Bridge::prepare(&lab);
    // The bridge stays the process that was started, and strace appends what each of its calls did.
    let expression = format!("--trace={calls}");
    let append = to.clone();
    bridge.runs_under(&[
        "sh",
        "-c",
        "umask 0; exec \"$@\"",
        "umask",
        "strace",
        "-A",
        "-D",
        "-f",
        "-s",
        "4096",
        &append,
        &expression,
    ]);
    live(&lab, &mut bridge);
    let traced = whole_calls(&fs::read_to_string(&trace).expect("what strace saw"));
    let mut made = 0;
    for call in traced.lines() {
        let Some(mode) = mode_given(call) else { continue };
        made += 1;
        // Its mode cannot be given. So it is made in a folder that nobody else may enter, and moved once it has its own.
        if let Some(folder) = socket_folder(call) {
            let is_private = |made: &&str| made.contains(&format!("mkdir(\"{folder}\", 0700)"));
            let moded = format!("chmod(\"{folder}/s\", 0600)");
            assert!(traced.lines().any(|made| is_private(&made)) && traced.contains(&moded), "{call}");
            continue;
        }
        assert_eq!(mode & 0o077, 0, "{call}");
    }
    let named = |name: &str| traced.lines().any(|call| mode_given(call).is_some() && call.contains(name));
    for name in ["passerelle.db\"", "master.", "/state\"", "/certs\"", "passerelle.db-wal\"", "passerelle.db-shm\""] {
        assert!(named(name), "{name} was not seen to be made");
    }
    tell(&format!("umask 0: {made} calls that make files or change modes, none for others"));
}
