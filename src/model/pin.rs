//! Pins: the SHA-256 of a public key by which a provider is known whatever its certificate says.

use super::Invalid;
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Serialize;
use std::fmt;

/// With `=` at the end or without: what is copied by hand often lacks it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The SHA-256 of a SubjectPublicKeyInfo (RFC 5280 4.1.2.7, as RFC 7469 pins it).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The digest as it was computed.
    #[must_use]
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads 64 hex digits, with colons between or not, or base64 with or without its padding; `sha256/` and `sha256//`
    /// before it, as other programs write them, are taken.
    ///
    /// # Errors
    /// [`Invalid::Pin`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bare = text.strip_prefix("sha256/").map_or(text, |rest| rest.strip_prefix('/').unwrap_or(rest));
        let digits: Vec<u8> = bare.bytes().filter(|&octet| octet != b':').collect();
        let octets = hex(&digits).or_else(|| BASE64.decode(bare).ok());
        octets.and_then(|octets| octets.try_into().ok()).map(Self).ok_or(Invalid::Pin)
    }
}

/// The octets of hex digits, if they are nothing else.
fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

/// Hex digits: they need no quoting in a shell.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys of one provider: its two services may have one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pins {
    first: Pin,
    second: Option<Pin>,
}

impl Pins {
    /// Reads one pin, or two with a comma between.
    ///
    /// # Errors
    /// [`Invalid::Pin`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text.split_once(',') {
            None => Pin::parse(text).map(Self::from),
            Some((first, second)) => Ok(Self { first: Pin::parse(first)?, second: Some(Pin::parse(second)?) }),
        }
    }

    /// Those of all services: None where there are none, or more keys than services.
    pub fn of(keys: impl IntoIterator<Item = Pin>) -> Option<Self> {
        let mut pins: Option<Self> = None;
        for key in keys {
            match &mut pins {
                None => pins = Some(key.into()),
                Some(pins) if pins.contain(key) => {}
                Some(Self { second: second @ None, .. }) => *second = Some(key),
                Some(_) => return None,
            }
        }
        pins
    }

    /// Whether this key is one of them.
    #[must_use]
    pub fn contain(&self, key: Pin) -> bool {
        self.first == key || self.second == Some(key)
    }
}

impl From<Pin> for Pins {
    fn from(first: Pin) -> Self {
        Self { first, second: None }
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.second {
            None => write!(f, "{}", self.first),
            Some(second) => write!(f, "{},{second}", self.first),
        }
    }
}

impl Serialize for Pins {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the octets 0 to 31.
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn every_usual_spelling_is_read_and_one_is_written() {
        let colons = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";
        let unpadded = BASE.trim_end_matches('=');
        let prefixed = [format!("sha256/{BASE}"), format!("sha256//{BASE}")];
        for text in [HEX, &HEX.to_ascii_uppercase(), colons, BASE, unpadded, &prefixed[0], &prefixed[1]] {
            let pin = Pin::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(pin.to_string(), HEX, "{text}");
        }
    }

    #[test]
    fn what_is_no_sha256_is_refused() {
        for text in ["", "sha256/", &HEX[2..], &BASE[4..], &format!("{HEX}00"), "é", &format!("{HEX},")] {
            assert_eq!(Pins::parse(text), Err(Invalid::Pin), "{text}");
        }
    }

    #[test]
    fn a_provider_may_have_a_key_for_each_service() {
        let (one, other) = (Pin::new([1; 32]), Pin::new([2; 32]));
        let both = Pins::of([one, other, one]).expect("two");
        assert_eq!(Pins::parse(&both.to_string()), Ok(both));
        assert!(both.contain(one) && both.contain(other) && !both.contain(Pin::new([3; 32])));
        assert_eq!(Pins::of([one, one]), Some(one.into()));
        assert_eq!(Pins::of([one, other, Pin::new([3; 32])]), None);
        assert_eq!(Pins::of([]), None);
    }
}
