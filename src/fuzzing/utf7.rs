//! Modified UTF-7: what is written is read back the same, and a name has one reading or none.

use crate::wire::imap::utf7 as codec;

/// # Panics
/// When the property does not hold.
pub fn utf7(octets: &[u8]) {
    if let Some(text) = codec::decode(octets) {
        assert_eq!(codec::encode(&text), octets, "one text has two names");
        assert!(octets.iter().all(|octet| (0x20..0x7f).contains(octet)), "a name is printable ASCII");
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        let name = codec::encode(text);
        assert_eq!(codec::decode(&name).as_deref(), Some(text), "read is not what was written");
    }
}
