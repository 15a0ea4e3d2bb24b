//! What this harness gave out and must not stand in any log, command line or database: rule R33.
//!
//! A bridge looks for all of it when it ends, raw and in base64, at whatever place of the encoded text it may have begun.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Of all tests of this run: one test's secret has nothing to do in another's log either.
static GIVEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What is shorter is found by chance, in base64 above all.
const LENGTH_MIN: usize = 6;

/// From now on this is a secret.
pub(crate) fn give_out(secret: &str) {
    if secret.len() >= LENGTH_MIN {
        GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.to_owned());
    }
}

/// How many there are.
pub(crate) fn given() -> usize {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// The secrets that stand in there.
pub(crate) fn found_in(octets: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(octets);
    let given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    given.into_iter().filter(|secret| forms(secret).iter().any(|form| text.contains(form.as_str()))).collect()
}

/// A password that is a word of English, as "secret" is, may stand in a log by right: in base64 it may not.
fn forms(secret: &str) -> Vec<String> {
    let is_word = secret.len() < 10 && secret.bytes().all(|octet| octet.is_ascii_lowercase());
    (0..3).map(|before| aligned(secret, before)).chain((!is_word).then(|| secret.to_owned())).collect()
}

/// What of the base64 of a text, in which so many octets stand before the secret, comes from the secret alone.
fn aligned(secret: &str, before: usize) -> String {
    let encoded = BASE64.encode([vec![0; before], secret.as_bytes().to_vec()].concat());
    let whole = (before + secret.len()) * 8 / 6;
    encoded[(before * 8).div_ceil(6)..whole].to_owned()
}

#[test]
fn r33_a_secret_is_found_in_every_alignment() {
    give_out("Tr0ub4dor&3");
    for before in ["", "a", "ab", "abc", "\0alice\0"] {
        for after in ["", "x", "xy"] {
            let encoded = BASE64.encode(format!("{before}Tr0ub4dor&3{after}"));
            for text in [format!("AUTH PLAIN {encoded}\n"), format!("{before}Tr0ub4dor&3{after}")] {
                assert!(found_in(text.as_bytes()).contains(&"Tr0ub4dor&3".to_owned()), "{text}");
            }
        }
    }
    assert!(!found_in(b"Tr0ub4dor&2 and VHIwdWI0").contains(&"Tr0ub4dor&3".to_owned()));
}
