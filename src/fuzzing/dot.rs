//! The DATA filter: no end mark, no bare line end and no NUL passes, and cuts do not matter.

use super::cuts_and_rest;
use crate::{
    failure::Misbehaviour,
    wire::{dot::DotFilter, pieces},
};

/// # Panics
/// When the property does not hold.
pub fn dot(octets: &[u8]) {
    let (cuts, message) = cuts_and_rest(octets);
    let whole = filter(message, &[]);
    assert_eq!(whole, filter(message, &cuts), "cuts matter");
    let Ok((passed, behind)) = whole else { return };
    let mut seen = b"\r\n".to_vec();
    seen.extend_from_slice(&passed);
    assert!(!seen.windows(5).any(|five| five == b"\r\n.\r\n"), "an end mark passed");
    assert!(!seen.contains(&0), "a NUL passed");
    for pair in seen.windows(2) {
        assert!((pair[0] == b'\r') == (pair[1] == b'\n'), "a bare line end passed");
    }
    assert!(!passed.contains(&0), "a NUL passed");
    if let Some(behind) = behind {
        // What passed, the mark and what stood behind it are the input.
        assert_eq!([&passed[..], b".\r\n", &behind[..]].concat(), message, "octets were altered");
    }
}

type Outcome = Result<(Vec<u8>, Option<Vec<u8>>), Misbehaviour>;

fn filter(octets: &[u8], cuts: &[usize]) -> Outcome {
    let (mut filter, mut passed, mut behind) = (DotFilter::default(), Vec::new(), None::<Vec<u8>>);
    for mut piece in pieces(octets, cuts) {
        if filter.pass(&mut piece, Some(&mut passed))? {
            behind.get_or_insert_default().extend_from_slice(piece);
        }
    }
    Ok((passed, behind))
}
