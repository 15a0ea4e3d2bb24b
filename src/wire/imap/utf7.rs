//! Modified UTF-7, the encoding of mailbox names (RFC 3501 section 5.1.3). For showing names to people and reading
//! those that people type; on the wire names cross the bridge as they are.
//!
//! Strict: what is not the one right encoding of a text is no encoding of it, so that reading and writing are inverses.

use base64::{
    Engine as _,
    alphabet::IMAP_MUTF7,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// Base64 with `,` for `/` and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// The text that a wire name stands for; None if it is not modified UTF-7.
#[must_use]
pub fn decode(name: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((&octet, behind)) = rest.split_first() {
        match octet {
            b'&' => {
                let end = behind.iter().position(|octet| *octet == b'-')?;
                let (shifted, after) = behind.split_at(end);
                decode_shifted(shifted, &mut text)?;
                rest = after.get(1..)?;
            }
            0x20..=0x7e => {
                text.push(char::from(octet));
                rest = behind;
            }
            _ => return None,
        }
    }
    // Two shifts in a row, a shifted letter: other spellings of the same text would be other mailboxes.
    (encode(&text) == name).then_some(text)
}

/// What stands between `&` and `-`; nothing stands for `&` itself.
fn decode_shifted(shifted: &[u8], text: &mut String) -> Option<()> {
    if shifted.is_empty() {
        text.push('&');
        return Some(());
    }
    let octets = BASE64.decode(shifted).ok()?;
    let (pairs, odd) = octets.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    for decoded in char::decode_utf16(units) {
        text.push(decoded.ok()?);
    }
    Some(())
}

/// The wire name of a text.
#[must_use]
pub fn encode(text: &str) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    let mut shifted = Vec::new();
    for letter in text.chars() {
        if let Ok(octet @ b' '..=b'~') = u8::try_from(letter) {
            unshift(&mut shifted, &mut name);
            name.push(octet);
            if octet == b'&' {
                name.push(b'-');
            }
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    unshift(&mut shifted, &mut name);
    name
}

fn unshift(shifted: &mut Vec<u8>, name: &mut Vec<u8>) {
    if !shifted.is_empty() {
        name.push(b'&');
        name.extend_from_slice(BASE64.encode(&*shifted).as_bytes());
        name.push(b'-');
        shifted.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_real_providers() {
        for (text, name) in [
            ("[Gmail]/Messages envoyés", "[Gmail]/Messages envoy&AOk-s"),
            ("Éléments envoyés", "&AMk-l&AOk-ments envoy&AOk-s"),
            ("Boîte d’envoi", "Bo&AO4-te d&IBk-envoi"),
            ("R&D", "R&-D"),
            ("日本語", "&ZeVnLIqe-"),
            ("😀", "&2D3eAA-"),
            ("", ""),
        ] {
            assert_eq!(encode(text), name.as_bytes(), "{text}");
            assert_eq!(decode(name.as_bytes()).as_deref(), Some(text), "{name}");
        }
    }

    #[test]
    fn what_is_no_modified_utf_7_is_refused() {
        // utf7-imap panics on the first.
        for name in
            ["&!!-", "&", "&AOk", "&AOk-&AOk-", "&AGE-", "&2D0-", "&AO-", "&AOl-", "\u{7f}", "é", "a\tb", "&AOk=-"]
        {
            assert_eq!(decode(name.as_bytes()), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_it_back(text in "\\PC*") {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }

        #[test]
        fn what_can_be_read_was_written_so(name in proptest::collection::vec(prop_oneof![Just(b'&'), Just(b'-'), any::<u8>()], 0..20)) {
            if let Some(text) = decode(&name) {
                prop_assert_eq!(encode(&text), name);
            }
        }
    }
}
