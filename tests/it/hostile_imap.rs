//! Hostile IMAP clients and providers: the cases of `tests/hostile`, each against a bridge that runs.
//!
//! Around every case three things are looked at over the same bridge: a session of another account goes on (rule R45), the
//! bridge's memory grows by no more than rule R15 allows, and the case's own account can be used right after. What a line
//! of a case means stands in `harness/hostile.rs`.

use crate::harness::{AddAccount, Bridge, Case, CrmSettings, Lab, Provider, Wire, until};
use std::{
    collections::BTreeMap,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Rule R15's bound of 16 MB, in KiB.
const GROWTH_MAX: u64 = 16_000_000 / 1024;
/// Rule R45.
const BYSTANDER_MAX: Duration = Duration::from_millis(2500);
/// Right after: until the bridge has seen that its provider is a new one.
const RIGHT_AFTER: Duration = Duration::from_secs(1);

const RULES: [&str; 8] = ["R09", "R10", "R15", "R16", "R20", "R42", "R43", "R45"];

#[test]
fn every_case_has_a_test() {
    for case in Case::all("client").iter().chain(&Case::all("provider")) {
        assert!(RULES.contains(&&*case.rule), "{}: {}", case.name, case.rule);
    }
}

#[test]
fn r09_what_is_said_in_a_name_is_no_line() {
    play("R09");
}

#[test]
fn r10_names_of_the_provider_are_shown_safely_or_not_at_all() {
    play("R10");
}

#[test]
fn r15_commands_beyond_the_limits_end_in_time() {
    play("R15");
}

#[test]
fn r16_sets_and_patterns_cost_no_more_than_their_octets() {
    play("R16");
}

/// The bridge reads no MIME: items of FETCH, and what answers them, pass as they are. So nesting, headers and parts of any
/// size are octets, and this is what is shown. The bombs themselves are in `hostile_mime.rs`.
#[test]
fn r20_mime_bombs_pass_unread() {
    play("R20");
}

#[test]
fn r42_an_answer_that_was_cut_is_never_completed() {
    play("R42");
}

#[test]
fn r43_a_message_that_was_cut_is_never_stored() {
    play("R43");
}

#[test]
fn r45_whatever_a_peer_does_hurts_nobody_else() {
    play("R45");
}

/// Plays all cases of a rule, on one bridge for each set of time-outs.
fn play(rule: &str) {
    let Some(lab) = Lab::needing(&[]) else { return };
    let mut groups = BTreeMap::<String, Vec<Case>>::new();
    for case in Case::all("client").into_iter().chain(Case::all("provider")).filter(|case| case.rule == rule) {
        groups.entry(case.timeouts.clone()).or_default().push(case);
    }
    assert!(!groups.is_empty(), "no case of {rule}");
    let mut failed = Vec::new();
    for (timeouts, cases) in groups {
        let house = House::start(&lab, &timeouts, cases);
        for stage in &house.stages {
            if catch_unwind(AssertUnwindSafe(|| house.play(stage))).is_err() {
                failed.push(stage.case.name.clone());
            }
        }
        let log = house.bridge.log();
        assert!(!log.contains("panicked"), "{log}");
    }
    assert!(failed.is_empty(), "what stands above of: {}", failed.join(", "));
}

struct House {
    bridge: Bridge,
    stages: Vec<Stage>,
    bystander: CrmSettings,
    _honest: Provider,
}

/// A case with its own account at its own provider.
struct Stage {
    case: Arc<Case>,
    provider: Provider,
    crm: CrmSettings,
    /// Visits that are still to be hostile.
    hostile: Arc<AtomicUsize>,
    reached: Arc<AtomicUsize>,
}

impl House {
    fn start(lab: &Lab, timeouts: &str, cases: Vec<Case>) -> Self {
        let honest = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
        let mut bridge = Bridge::configured(lab, &format!("[timeouts]\n{timeouts}"));
        let bystander = bridge.add_account(&AddAccount::at(lab, [honest.port, 1], "bystander@ovh.test"));
        let stages = cases.into_iter().enumerate().map(|(n, case)| Stage::set(lab, &bridge, n, case)).collect();
        bridge.serve();
        Self { bridge, stages, bystander, _honest: honest }
    }

    fn play(&self, stage: &Stage) {
        let case = &stage.case;
        // Shown where the case fails.
        println!("--- {}", case.name);
        let bystander = Bystander::start(self.bridge.sign_in(&self.bystander));
        let (watch, began) = (self.bridge.watch(), Instant::now());
        let port = if case.over_tls_port { self.bridge.imaps } else { self.bridge.imap };
        case.play_client(port, stage.crm.imap_login().strip_prefix("LOGIN ").expect("a LOGIN"));
        stage.is_over();
        let took = began.elapsed();

        let ready = until(RIGHT_AFTER, || self.is_usable(&stage.crm).then_some(()));
        assert!(ready.is_some(), "the account cannot be used after it");
        let growth = watch.growth(&case.name);
        let waited = bystander.end();
        let _ = writeln!(std::io::stderr(), "{}: {took:?}, the bystander waited {waited:?}", case.name);
        assert!(growth < GROWTH_MAX, "memory grew by {growth} KiB");
        assert!(waited < BYSTANDER_MAX, "the bystander waited {waited:?}");
        case.expect_unheard(&stage.provider.heard());
    }

    fn is_usable(&self, crm: &CrmSettings) -> bool {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        wire.imap(&crm.imap_login()).is_ok()
            && wire.imap("SELECT INBOX").is_ok()
            && wire.imap("FETCH 1 FLAGS").is_ok()
            && wire.imap("LOGOUT").is_ok()
    }
}

impl Stage {
    fn set(lab: &Lab, bridge: &Bridge, number: usize, case: Case) -> Self {
        let (case, reached) = (Arc::new(case), Arc::new(AtomicUsize::new(0)));
        let hostile = Arc::new(AtomicUsize::new(case.visits));
        let (played, left, at) = (case.clone(), hostile.clone(), reached.clone());
        let provider = Provider::start(Some(&lab.certificates.good), move |visit| {
            let hostile = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if hostile && played.provider_steps() > 0 {
                return played.visit(visit, &at);
            }
            visit.say("* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN UNSELECT] Double ready")?;
            visit.imap(&|_, _, _| Some(false))
        });
        let account = AddAccount::at(lab, [provider.port, 1], &format!("case{number}@ovh.test")).uncopied();
        let crm = bridge.add_account(&account);
        Self { case, provider, crm, hostile, reached }
    }

    /// The provider has done all that it was to do, and is a well-behaved one from now on.
    fn is_over(&self) {
        let steps = self.case.provider_steps();
        let reached = || (self.reached.load(Ordering::SeqCst) == steps).then_some(());
        let all = until(Duration::from_secs(10), reached);
        assert!(all.is_some(), "the provider came to step {} of {steps}", self.reached.load(Ordering::SeqCst));
        self.hostile.store(0, Ordering::SeqCst);
        if steps > 0 {
            self.provider.cut();
        }
    }
}

/// Somebody else, who asks again and again.
struct Bystander {
    over: Arc<AtomicBool>,
    longest: Option<JoinHandle<Duration>>,
}

impl Bystander {
    fn start(mut wire: Wire) -> Self {
        wire.imap_ok("SELECT INBOX");
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let longest = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !ends.load(Ordering::SeqCst) {
                let began = Instant::now();
                wire.imap_ok("NOOP");
                longest = longest.max(began.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            longest
        });
        Self { over, longest: Some(longest) }
    }

    /// The longest that it waited.
    fn end(mut self) -> Duration {
        self.over.store(true, Ordering::SeqCst);
        self.longest.take().expect("it asks").join().expect("the bystander's session lives")
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}
