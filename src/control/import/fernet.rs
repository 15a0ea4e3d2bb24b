//! What email-oauth2-proxy keeps encrypted: Fernet (github.com/fernet/spec) under a key of PBKDF2-HMAC-SHA256.
//!
//! Opened, never made. Nothing of a value that does not open, nor of the password, is said or kept.

use crate::model::Secret;
use aes::Aes128;
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use ring::{hmac, pbkdf2};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// One password's key for one salt and count.
pub(super) struct Key(Zeroizing<[u8; 32]>);

/// Its own count since January 2025, and before October 2023.
pub(super) const ITERATIONS: [u32; 2] = [1_200_000, 100_000];
/// More would be minutes of work for a file that anybody may have written.
pub(crate) const ITERATIONS_MAX: u32 = 5_000_000;
/// Of a value, in base64: tokens have at most 8 KiB.
pub(crate) const VALUE_MAX: usize = 16 * 1024;

/// The first octet of each value.
const VERSION: u8 = 0x80;
/// Version and time.
const HEAD: usize = 9;
const IV: usize = 16;
const TAG: usize = 32;

impl Key {
    pub(super) fn derive(password: &Secret<String>, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.expose().as_bytes(), &mut *key);
        Self(key)
    }

    /// None: not with this key, or changed since.
    pub(super) fn open(&self, value: &str) -> Option<Secret<String>> {
        if value.len() > VALUE_MAX {
            return None;
        }
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let sealed = GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient).decode(value).ok()?;
        let (signed, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        let (sign, encrypt) = self.0.split_at(16);
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, sign), signed, tag).ok()?;
        let (iv, text) = signed.get(HEAD..)?.split_at_checked(IV)?;
        if signed.first() != Some(&VERSION) {
            return None;
        }
        let cipher = cbc::Decryptor::<Aes128>::new_from_slices(encrypt, iv).ok()?;
        let opened = Zeroizing::new(cipher.decrypt_padded_vec::<Pkcs7>(text).ok()?);
        std::str::from_utf8(&opened).ok().map(|text| Secret::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE;

    fn key(octets: &[u8]) -> Key {
        Key(Zeroizing::new(octets.try_into().expect("32 octets")))
    }

    #[test]
    fn the_example_of_the_specification_opens() {
        // verify.json of the specification.
        let key = key(&URL_SAFE.decode("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=").expect("base64"));
        let token =
            "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        assert_eq!(key.open(token).map(|opened| opened.expose().clone()).as_deref(), Some("hello"));
        let mut changed = token.to_owned();
        changed.replace_range(20..21, "X");
        for bad in [&changed, "", "gAAA", &token[..40], "not base64!", &"A".repeat(VALUE_MAX + 1)] {
            assert!(key.open(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_that_of_python() {
        // hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2, 32)
        let password = Secret::new("password".to_owned());
        let key = Key::derive(&password, b"salt", NonZeroU32::new(2).expect("2"));
        assert_eq!(&key.0[..8], b"\xae\x4d\x0c\x95\xaf\x6b\x46\xd3");
    }
}
