//! Lengths in memory as numbers of protocols, and back: the two conversions that lose nothing and have no `From`.

const _: () = assert!(usize::BITS >= u32::BITS && usize::BITS <= u64::BITS, "lengths fit both ways");

/// A length as a number.
#[must_use]
#[expect(clippy::as_conversions, reason = "usize has at most 64 bits, as asserted above")]
pub const fn number(length: usize) -> u64 {
    length as u64
}

/// A number of 32 bits as a length or an index.
#[must_use]
#[expect(clippy::as_conversions, reason = "usize has at least 32 bits, as asserted above")]
pub const fn index(number: u32) -> usize {
    number as usize
}
