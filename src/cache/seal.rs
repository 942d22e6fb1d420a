//! How a file of the cache is written: a checksum, then the value in postcard's format. Both cost
//! next to nothing to read.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;
use zeroize::Zeroizing;

/// The version of everything that is written. A value in this format does not describe itself: each
/// change of a type that is written needs another version, and a test that pins the bytes tells.
/// Names and checksums depend on it, so that another version's files are no files at all.
pub(super) const FORMAT: u32 = 4;

/// The length of a checksum in bytes.
const CHECKSUM: usize = size_of::<u64>();

/// A checksum against accidents (XXH64): whoever could forge one may write the file anyway. Not a
/// digest of the processor's own: finding out whether it has one costs more than the sum.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(FORMAT.into(), bytes)
}

/// Room for the largest value that is a secret, a robot token with all that stands beside it, in
/// bytes: a vector that grows leaves copies behind.
pub(super) const ROOM: usize = 32 * 1024;

/// A value as it is written; it may be a secret.
pub(super) fn sealed(value: &impl Serialize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(ROOM);
    bytes.extend_from_slice(&[0; CHECKSUM]);
    let bytes = postcard::to_extend(value, bytes)
        .map_err(|error| failed("it has no binary form", error))?;
    let mut bytes = Zeroizing::new(bytes);
    let seal = checksum(&bytes[CHECKSUM..]).to_le_bytes();
    bytes[..CHECKSUM].copy_from_slice(&seal);
    Ok(bytes)
}

/// What could not be done, and why, as a text. A type of its own for each error that `anyhow` holds would
/// bring tables of addresses, which every start of the program puts right.
pub(super) fn failed(what: impl Display, why: impl Display) -> anyhow::Error {
    anyhow::Error::msg(format!("{what}: {why}"))
}

/// The value that was written, if its checksum holds.
pub(super) fn unsealed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (seal, content) = bytes.split_first_chunk::<CHECKSUM>()?;
    if u64::from_le_bytes(*seal) != checksum(content) {
        return None;
    }
    let (value, rest) = postcard::take_from_bytes(content).ok()?;
    rest.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r23_a_damaged_content_is_no_content() {
        let whole = sealed(&"content").expect("bytes");
        assert_eq!(unsealed(&whole), Some("content"));
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x01;
            assert_eq!(unsealed::<&str>(&damaged), None, "{position}");
        }
        for length in 0..whole.len() {
            assert_eq!(unsealed::<&str>(&whole[..length]), None);
        }
    }

    #[test]
    fn r23_a_value_with_something_behind_it_is_no_value() {
        let two = sealed(&("content", 1u8)).expect("bytes");
        assert_eq!(unsealed::<&str>(&two), None);
    }
}
