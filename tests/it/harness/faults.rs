//! Panics that a bridge caught and went on after: none may come in the whole suite (rule R21).
//!
//! Each bridge of a test looks for them in its log when it ends; a test that plants one says so before,
//! by [`super::Bridge::has_planted_faults`].

use passerelle::panics::A_FAULT;

/// How the runtime tells of one where nothing else does, before the bridge's own words or in another program's output.
const PANICKED: &str = "panicked at ";

/// The lines of a log that tell of one.
fn found_in(log: &str) -> Vec<String> {
    let tells = |line: &&str| line.contains(A_FAULT) || line.contains(PANICKED);
    log.lines().filter(tells).map(str::to_owned).collect()
}

/// Fails the test whose log this is, unless it has failed already.
///
/// # Panics
/// Where the log tells of a panic.
pub(crate) fn refuse(log: &str) {
    let found = found_in(log);
    assert!(found.is_empty() || std::thread::panicking(), "a panic in a bridge's log: {found:?}\n{log}");
}

mod tests {
    use super::{
        super::{Bridge, Lab},
        A_FAULT,
    };
    use std::{
        fs::File,
        io::Write as _,
        panic::{AssertUnwindSafe, catch_unwind},
    };

    /// A bridge whose log tells of a panic, by its program's very words.
    fn with_a_fault(lab: &Lab) -> Bridge {
        let mut bridge = Bridge::prepare(lab);
        bridge.serve();
        let mut log = File::options().append(true).open(bridge.log_file()).expect("the log");
        writeln!(log, "2026-01-01T00:00:00Z ERROR passerelle::panics: {A_FAULT}: place=\"here\" count=1")
            .expect("written");
        bridge
    }

    #[test]
    fn r21_a_fault_in_a_log_fails_its_test() {
        let Some(lab) = Lab::needing(&[]) else { return };
        let bridge = with_a_fault(&lab);
        let ended = catch_unwind(AssertUnwindSafe(|| drop(bridge)));
        let words = ended.expect_err("it ends by a panic").downcast::<String>().expect("words");
        assert!(words.starts_with("a panic in a bridge's log: ") && words.contains("place=\"here\""), "{words}");
    }

    #[test]
    fn r21_a_fault_that_a_test_has_planted_fails_nothing() {
        let Some(lab) = Lab::needing(&[]) else { return };
        let mut bridge = with_a_fault(&lab);
        bridge.has_planted_faults();
        drop(bridge);
    }
}
