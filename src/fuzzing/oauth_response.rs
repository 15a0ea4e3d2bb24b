//! Answers of a token endpoint: any status and octets are read, what is given is bounded, and no trouble tells a token.
//! The same of the answers to a question for a device's code: what is shown moves no cursor, and waits end.

use crate::oauth::flow::{
    self, LIFETIME_MAX, LIFETIME_MIN,
    device::{self, Polled},
};
use std::time::Duration;

/// # Panics
/// When the property does not hold.
pub fn oauth_response(octets: &[u8]) {
    let (status, body) = octets.split_at(octets.len().min(2));
    let status = status.iter().fold(0_u16, |status, octet| status << 8 | u16::from(*octet));
    for status in [200, 400, status] {
        code(status, body);
        let read = flow::read(status, body);
        assert_eq!(read.is_ok(), matches!(device::polled(status, body), Polled::Tokens(_)), "two opinions of tokens");
        match read {
            Ok(tokens) => {
                assert!((LIFETIME_MIN..=LIFETIME_MAX).contains(&tokens.lifetime), "an unbounded life");
                let refresh = tokens.refresh.iter().map(|token| token.expose().as_str());
                for token in refresh.chain([tokens.access.expose().as_str()]) {
                    let sendable = !token.is_empty() && token.bytes().all(|octet| octet.is_ascii_graphic());
                    assert!(sendable, "a token that cannot be sent");
                }
            }
            Err(trouble) => {
                // All its words are ours, so they are short; and no word of the answer that could be a token is one.
                let told = format!("{trouble} {trouble:?}");
                assert!(told.len() < 400, "{told}");
                let ours = |word: &str| word.contains('_') || word.bytes().all(|octet| octet.is_ascii_digit());
                let words = body.split(|octet| !octet.is_ascii_alphanumeric() && *octet != b'_');
                for word in words.filter(|word| word.len() >= 20).filter_map(|word| std::str::from_utf8(word).ok()) {
                    assert!(ours(word) || !told.contains(word), "{told}");
                }
            }
        }
    }
}

fn code(status: u16, body: &[u8]) {
    let Ok(mut code) = device::code(status, body) else { return };
    for shown in [Some(&code.user), Some(&code.address), code.whole_address.as_ref()].into_iter().flatten() {
        let plain = shown.len() <= 512 && shown.bytes().all(|octet| matches!(octet, b' '..=b'~'));
        assert!(plain && !shown.is_empty(), "what a terminal should not show");
    }
    let mut waits = Vec::new();
    while let Some(wait) = code.pace.wait() {
        waits.push(wait);
    }
    assert!(waits.iter().sum::<Duration>() <= Duration::from_secs(30 * 60), "waits without an end");
    assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(1)), "polls without a pause");
}
