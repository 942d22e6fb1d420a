//! Files of the cache as somebody writes them who can write there, with a checksum that holds.

use std::fs;
use std::path::Path;

use twox_hash::XxHash64;

/// The length of a checksum in bytes.
const CHECKSUM: usize = 8;

/// The format of a file of the cache: what its checksum was made with.
fn format_of(bytes: &[u8]) -> u64 {
    let (sum, content) = bytes.split_first_chunk::<CHECKSUM>().expect("a checksum");
    let sum = u64::from_le_bytes(*sum);
    let holds = |format: &u64| XxHash64::oneshot(*format, content) == sum;
    (0..1000).find(holds).expect("a format of ours")
}

/// What stands in a file behind its checksum, and the format.
pub(crate) fn content(path: &Path) -> (u64, Vec<u8>) {
    let bytes = fs::read(path).expect("a file of the cache");
    (format_of(&bytes), bytes[CHECKSUM..].to_vec())
}

/// Writes a content with its checksum into a file that is there.
pub(crate) fn forge(path: &Path, format: u64, content: &[u8]) {
    let mut bytes = XxHash64::oneshot(format, content).to_le_bytes().to_vec();
    bytes.extend_from_slice(content);
    fs::write(path, bytes).expect("written");
}

/// Puts one text in the place of another of the same length in a file's content.
pub(crate) fn replace(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let (format, mut bytes) = content(path);
    let mut places = 0;
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            places += 1;
        }
    }
    assert!(places > 0, "`{from}` does not stand in {}", path.display());
    forge(path, format, &bytes);
}
