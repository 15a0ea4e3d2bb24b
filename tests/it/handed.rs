//! Listening sockets that systemd hands over: used where the configuration names them, and refused where it does not.

use crate::harness::{AddAccount, Bridge, Lab, Program, Provider, Wire, free_port, run, words};
use std::{fs, io::Write as _, path::Path, process::Command};

/// What systemd does: opens what the arguments before `--` say, gives it as descriptors from 3 on, and becomes the program.
const PARENT: &str = r#"
import fcntl, os, socket, sys
cut = sys.argv.index('--')
sockets = []
for argument in sys.argv[1:cut]:
    kind, address = argument.split('=', 1)
    host, port = address.rsplit(':', 1)
    if kind == 'tcp':
        sockets.append(socket.create_server((host, int(port))))
    elif kind == 'tcp6':
        sockets.append(socket.create_server((host, int(port)), family=socket.AF_INET6, dualstack_ipv6=True))
    elif kind == 'udp':
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].bind((host, int(port)))
    elif kind == 'accepted':
        # With Accept=yes: a connection to where it would listen.
        server = socket.create_server((host, int(port)))
        client = socket.create_connection((host, int(port)))
        sockets.append(server.accept()[0])
        server.close()
high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for one in sockets]
for nth, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + nth)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)))
os.execv(sys.argv[cut + 1], sys.argv[cut + 1:])
"#;

/// The words of a command that hands these over to the program behind them.
fn parent(sockets: &[String]) -> Vec<String> {
    let start = ["python3", "-c", PARENT].map(str::to_owned);
    start.into_iter().chain(sockets.iter().cloned()).chain(["--".to_owned()]).collect()
}

/// Starts `serve` with these sockets, which ends by itself: its exit code and its words.
fn refused(bridge: &Bridge, sockets: &[String]) -> (Option<i32>, String) {
    let parent = parent(sockets);
    let mut command = Command::new(&parent[0]);
    command.args(&parent[1..]).arg(env!("CARGO_BIN_EXE_passerelle")).arg("serve").envs(bridge.environment());
    let output = run(20, &mut command, b"");
    assert!(!output.status.success(), "{}", words(&output));
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn sockets_of_systemd_are_used_where_they_are_configured() {
    let Some(lab) = Lab::needing(&[Program::Python]) else { return };
    let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let own = free_port();
    let mut bridge = Bridge::configured(&lab, &format!("[[crm]]\nprofile = \"odoo\"\nimap = \"127.0.0.1:{own}\"\n"));
    let alice = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, "alice@lab.test"));
    // A clear port, one of TLS, and one of a CRM; the bridge opens the others itself. Each of these three is taken by the
    // time it starts: could it not use them, it would not start.
    let handed = [bridge.smtp, bridge.imaps, own];
    bridge.serve_by(&parent(&handed.map(|port| format!("tcp=127.0.0.1:{port}"))));
    let log = bridge.log();
    assert_eq!(log.matches("handed over by systemd").count(), 3, "{log}");
    assert!(!log.contains('\u{1b}'), "colours are for terminals: {log}");
    bridge.sign_in_smtp(&alice).smtp("MAIL FROM:<alice@lab.test>", 250);
    bridge.sign_in(&alice);
    let mut wire = Wire::tls(bridge.imaps, &bridge.authority(), "localhost");
    wire.expect("* OK");
    wire.imap_ok(&alice.imap_login());
    let mut wire = Wire::plain(own);
    wire.expect("* OK");
    wire.imap_ok(&alice.imap_login());
    assert!(bridge.drain());
}

#[test]
fn a_socket_that_no_configuration_names_is_refused() {
    let Some(lab) = Lab::needing(&[Program::Python]) else { return };
    let bridge = Bridge::prepare(&lab);
    let (stray, named) = (free_port(), bridge.imap);
    let sockets = [format!("tcp=127.0.0.1:{named}"), format!("tcp=127.0.0.1:{stray}")];
    let (code, said) = refused(&bridge, &sockets);
    assert_eq!(code, Some(1));
    let start = "error: cannot serve: systemd hands over a socket that no listener of the configuration is for: ";
    assert!(said.contains(&format!("{start}127.0.0.1:{stray}\nhint: write ListenStream= as ")), "{said}");
    // A port without its address listens on all, which is not what the configuration says.
    let (_, said) = refused(&bridge, &[format!("tcp6=:::{}", bridge.imaps)]);
    assert!(said.contains(&format!("{start}[::]:{}\n", bridge.imaps)), "{said}");
}

#[test]
fn what_is_no_listener_is_refused() {
    let Some(lab) = Lab::needing(&[Program::Python]) else { return };
    let bridge = Bridge::prepare(&lab);
    for kind in ["udp", "accepted"] {
        let (code, said) = refused(&bridge, &[format!("{kind}=127.0.0.1:{}", bridge.imap)]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("error: cannot serve: systemd hands over something else than a listening TCP"), "{said}");
        assert!(said.contains("\nhint: the .socket unit takes ListenStream=ADDRESS:PORT alone"), "{kind}: {said}");
    }
}

#[test]
fn systemd_itself_is_understood() {
    let Some(lab) = Lab::needing(&[]) else { return };
    if !Path::new("/usr/bin/systemd-socket-activate").exists() {
        // Not where CI is true either: the other tests play its part.
        let _ = writeln!(std::io::stderr(), "skipped: no systemd-socket-activate (systemd)");
        return;
    }
    let mut bridge = Bridge::prepare(&lab);
    let mut parent = vec!["/usr/bin/systemd-socket-activate".to_owned()];
    parent.extend([bridge.imap, bridge.smtp].map(|port| format!("--listen=127.0.0.1:{port}")));
    bridge.serve_by(&parent);
    assert_eq!(bridge.log().matches("handed over by systemd").count(), 2, "{}", bridge.log());
}

/// The units of the README name what the profile listens on, so that they work as they are copied.
#[test]
fn the_units_of_the_readme_are_those_of_the_standard_ports() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("it is there");
    let mut units: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    let profiles = passerelle::profile::Table::built_in().expect("a table");
    let listen = &profiles.named("vtiger").expect("it is built in").listen;
    let all = [&listen.imap, &listen.imaps, &listen.smtp, &listen.smtps];
    let mut addresses: Vec<_> = all.into_iter().flatten().map(ToString::to_string).collect();
    units.sort_unstable();
    addresses.sort_unstable();
    assert_eq!(units, addresses);
}
