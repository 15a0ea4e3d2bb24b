//! The passwords that the bridge gives to CRMs, and the state by which CRAM-MD5 can be checked without keeping them.
//!
//! A generated password is shown once and never stored. Nothing here may log, compare or print one.

use super::Error;
use crate::model::Secret;
use md5::block_api::compress;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

/// Lower case and digits without `i`, `l`, `o` and `u`, which people misread: 32 symbols, 5 bits each.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 4 groups of 7 symbols are 140 bits: above the 128 that make a fast hash safe.
const GROUPS: usize = 4;
const GROUP_LENGTH: usize = 7;

/// Draws a password: printable ASCII without blank, quote and backslash, in groups that can be read out on a telephone.
///
/// # Errors
/// [`Error::Randomness`].
pub fn generate() -> Result<Secret<String>, Error> {
    let mut random = Zeroizing::new([0u8; GROUPS * GROUP_LENGTH]);
    SystemRandom::new().fill(&mut *random).map_err(|_| Error::Randomness)?;
    let mut text = String::with_capacity(GROUPS * (GROUP_LENGTH + 1));
    for (at, octet) in random.iter().enumerate() {
        if at > 0 && at % GROUP_LENGTH == 0 {
            text.push('-');
        }
        // 256 is a multiple of 32: every symbol is as likely as any other.
        #[expect(clippy::indexing_slicing, reason = "a remainder of 32 is an index of 32 symbols")]
        let symbol = ALPHABET[usize::from(octet % 32)];
        text.push(char::from(symbol));
    }
    Ok(Secret::new(text))
}

/// HMAC-MD5 after its key was taken in: the inner and the outer MD5 state (RFC 2104 section 4). With it a CRAM-MD5
/// answer (RFC 2195) can be checked, and a password not be found faster than by guessing.
pub(crate) struct CramState {
    inner: [u32; 4],
    outer: [u32; 4],
}

/// RFC 1321 section 3.3.
const MD5_START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// Octets in a block of MD5.
const BLOCK: usize = 64;

impl CramState {
    pub(crate) fn of(password: &[u8]) -> Self {
        let mut key = Zeroizing::new([0u8; BLOCK]);
        let mut fill = |octets: &[u8]| key.iter_mut().zip(octets).for_each(|(key, octet)| *key = *octet);
        if password.len() > BLOCK {
            let mut state = MD5_START;
            fill(&finish(&mut state, 0, password));
        } else {
            fill(password);
        }
        Self { inner: padded(&key, 0x36), outer: padded(&key, 0x5c) }
    }

    /// 32 octets: inner state, then outer, each as MD5 writes it.
    pub(crate) fn to_octets(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([octets(self.inner), octets(self.outer)].concat())
    }

    /// The same read back; None for another length.
    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        let (inner, outer) = octets.split_first_chunk::<16>()?;
        Some(Self { inner: words(inner), outer: words(outer.try_into().ok()?) })
    }

    /// Whether this is the answer to the challenge. Compared without regard to where they differ.
    pub(crate) fn answers(&self, challenge: &[u8], digest: &[u8; 16]) -> bool {
        let (mut inner, mut outer) = (self.inner, self.outer);
        let block = BLOCK as u64;
        let expected = finish(&mut outer, block, &finish(&mut inner, block, challenge));
        expected.iter().zip(digest).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
    }
}

impl Drop for CramState {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

fn padded(key: &[u8; BLOCK], pad: u8) -> [u32; 4] {
    let block = Zeroizing::new(key.map(|octet| octet ^ pad));
    let mut state = MD5_START;
    compress(&mut state, &[*block]);
    state
}

/// Takes in what is left of a message after `before` octets, and its end (RFC 1321 section 3.1 and 3.2).
fn finish(state: &mut [u32; 4], before: u64, rest: &[u8]) -> [u8; 16] {
    let bits = (before + rest.len() as u64).wrapping_mul(8);
    let mut tail = Zeroizing::new(rest.to_vec());
    tail.push(0x80);
    let zeros = (BLOCK + BLOCK - 8 - tail.len() % BLOCK) % BLOCK;
    let padded = tail.len() + zeros;
    tail.resize(padded, 0);
    tail.extend_from_slice(&bits.to_le_bytes());
    let (blocks, _) = tail.as_chunks::<BLOCK>();
    compress(state, blocks);
    octets(*state)
}

fn octets(state: [u32; 4]) -> [u8; 16] {
    let mut octets = [0; 16];
    for (word, place) in state.iter().zip(octets.as_chunks_mut::<4>().0) {
        *place = word.to_le_bytes();
    }
    octets
}

fn words(octets: &[u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, place) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*place);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest, Md5};

    #[test]
    fn the_example_of_rfc_2195_is_answered() {
        let state = CramState::of(b"tanstaaftanstaaf");
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let digest = 0xb913_a602_c7ed_a7a4_95b4_e6e7_334d_3890_u128.to_be_bytes();
        assert!(state.answers(challenge, &digest));
        let kept = state.to_octets();
        let state = CramState::from_octets(&kept).expect("32 octets");
        assert!(state.answers(challenge, &digest) && !state.answers(b"<another@challenge>", &digest));
        for at in 0..16 {
            let mut other = digest;
            other[at] ^= 1;
            assert!(!state.answers(challenge, &other), "octet {at}");
        }
        assert!(!CramState::of(b"tanstaaf").answers(challenge, &digest));
        assert!(CramState::from_octets(&kept[1..]).is_none());
    }

    #[test]
    fn messages_of_any_length_are_padded_as_md5_pads() {
        for length in 0..200 {
            let message = vec![b'x'; length];
            let mut state = MD5_START;
            assert_eq!(finish(&mut state, 0, &message), <[u8; 16]>::from(Md5::digest(&message)), "{length}");
        }
    }

    #[test]
    fn generated_passwords_can_be_typed_into_any_crm() {
        let one = generate().expect("a password");
        assert_ne!(one.expose(), generate().expect("a password").expose());
        assert_eq!(one.expose().len(), 31);
        assert!(one.expose().bytes().all(|octet| octet == b'-' || ALPHABET.contains(&octet)));
    }
}
