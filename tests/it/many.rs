//! Many sessions of one account have few connections to its provider between them (design section 4).

use crate::harness::{AddAccount, Bridge, Dovecot, Lab, PATIENCE, Program, until};
use std::{
    fs,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

const ALICE: &str = "alice@ovh.test";

/// Connections that are open at this port of this machine, both ends of each counted once: proc(5), `net/tcp`.
fn open_at(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux tells of its sockets");
    let ends = format!(":{port:04X}");
    let is_ours = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&ends)) && state == Some("01")
    };
    table.lines().filter(is_ours).count()
}

/// Lets a few through at a time.
struct Door {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Door {
    fn within<T>(&self, deed: impl FnOnce() -> T) -> T {
        let free = self.freed.wait_while(self.free.lock().expect("no panic"), |free| *free == 0);
        *free.expect("no panic") -= 1;
        let done = deed();
        *self.free.lock().expect("no panic") += 1;
        self.freed.notify_one();
        done
    }
}

#[test]
fn two_hundred_sessions_of_which_four_have_a_mailbox_take_five_connections() {
    const SESSIONS: usize = 200;
    let Some(lab) = Lab::needing(&[Program::Dovecot]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "hunter2");
    dovecot.fill(ALICE, "INBOX", 20);
    let mut bridge = Bridge::configured(&lab, "[limits]\nlanes-per-account = 5\n");
    bridge.is_quiet();
    let crm = bridge.add_account(&AddAccount::at(&lab, [dovecot.imaps, 1], ALICE));
    bridge.serve();
    // Those of the laying out have left.
    until(PATIENCE, || (open_at(dovecot.imaps) == 0).then_some(())).expect("nobody is connected");
    let door = Door { free: Mutex::new(4), freed: Condvar::new() };
    let (signed_in, over, most) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                most.fetch_max(open_at(dovecot.imaps), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut wire = bridge.sign_in(&crm);
                    signed_in.fetch_add(1, Ordering::SeqCst);
                    // All are there before the first opens a mailbox, and stay to the end.
                    until(PATIENCE, || (signed_in.load(Ordering::SeqCst) == SESSIONS).then_some(()))
                        .expect("all are signed in");
                    for _ in 0..3 {
                        wire.imap_ok("STATUS INBOX (MESSAGES)");
                        door.within(|| {
                            wire.imap_ok("SELECT INBOX");
                            wire.imap_ok("UID FETCH 1:20 (FLAGS BODY.PEEK[HEADER])");
                            wire.imap_ok("CLOSE");
                        });
                    }
                    wire
                })
            })
            .collect();
        let ended: Vec<_> = sessions.into_iter().map(|session| session.join()).collect();
        over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok), "a session failed");
    });
    let most = most.load(Ordering::SeqCst);
    println!("{SESSIONS} sessions, 4 with a mailbox at a time: at most {most} connections to the provider, 0 errors");
    assert!((1..=5).contains(&most), "{most}");
}
