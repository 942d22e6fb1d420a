//! The names of the cache's files. They are made here and known here, and a file is reached by such a
//! name alone: in a folder that somebody chose there may be files of others, which are not seen (R29).

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::digest::{is_hex, push_hex};
use crate::files::{LockFile, PrivateFolder, Reservation, is_temporary};

/// What a file of the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entry,
    Lock,
    /// The lock of whoever takes the place of one that does not get on; soon it is the lock.
    NextLock,
    Plan,
    Temporary,
}

impl Kind {
    /// How the names of its files end. Other programs have lock files and tokens too, often with a
    /// digest in their names.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Entry => ".quayfed.token",
            Self::Lock => ".quayfed.lock",
            Self::NextLock => ".quayfed.next",
            Self::Plan => ".quayfed.plan",
            Self::Temporary => "",
        }
    }

    /// After how long without a change a file is a leftover: a temporary file after twenty minutes (no
    /// request lasts so long); a lock after four hours (no attempt is barred for more than three); an
    /// entry after two days (no token is counted as living for more than one); a plan, which is made
    /// again in no time, too: each search path has its own.
    const fn longest_use(self) -> Duration {
        const DAY: Duration = Duration::from_hours(24);
        match self {
            Self::Temporary => Duration::from_mins(20),
            Self::Lock | Self::NextLock => Duration::from_hours(4),
            Self::Entry | Self::Plan => DAY.saturating_mul(2),
        }
    }
}

/// The name of a file of ours: for whom it is and a digest of what else, then what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    kind: Kind,
    text: String,
}

impl Name {
    /// The name of an entry, its lock or its next lock: `settings` is a digest of settings, `bearer` one of what
    /// tells its bearer apart.
    pub(super) fn of_entry(kind: Kind, host: &str, settings: &str, bearer: Option<u64>) -> Self {
        let mut text = escaped(host);
        text.extend([".", settings.get(..SETTINGS).unwrap_or(settings)]);
        if let Some(bearer) = bearer {
            text.push('-');
            push_hex(&mut text, &bearer.to_be_bytes());
        }
        Self::ending(kind, text)
    }

    /// The name of a plan for a host, with a digest of what it is the plan of.
    pub(super) fn of_plan(host: &str, digest: u64) -> Self {
        let mut text = escaped(host);
        text.push('.');
        push_hex(&mut text, &digest.to_be_bytes());
        Self::ending(Kind::Plan, text)
    }

    /// The name of the plan for all hosts that have none of their own: no host is written like that.
    pub(super) fn of_other_hosts(digest: u64) -> Self {
        let mut text = "_".to_owned();
        text.push('.');
        push_hex(&mut text, &digest.to_be_bytes());
        Self::ending(Kind::Plan, text)
    }

    /// The name of the file of another kind beside an entry or its lock: with the same stem.
    pub(super) fn beside(stem: &str, kind: Kind) -> Self {
        Self::ending(kind, stem.to_owned())
    }

    fn ending(kind: Kind, mut text: String) -> Self {
        text.push_str(kind.suffix());
        Self { kind, text }
    }

    /// What `text` names, if it is a name of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let kind = if is_temporary(text) {
            Kind::Temporary
        } else {
            [Kind::Entry, Kind::Lock, Kind::NextLock, Kind::Plan].into_iter().find(|kind| {
                text.strip_suffix(kind.suffix()).is_some_and(|it| is_stem(*kind, it))
            })?
        };
        Some(Self { kind, text: text.to_owned() })
    }

    /// Writes what `room` was made for, in the place of what has this name.
    pub(super) fn write(&self, room: Reservation<'_>, content: &[u8]) -> io::Result<()> {
        room.write(&self.text, content)
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// What stands before the end that tells its kind.
    pub(super) fn stem(&self) -> &str {
        self.text.strip_suffix(self.kind.suffix()).unwrap_or(&self.text)
    }

    /// Whether it is of a file for this host, or for one whose long name begins in the same way.
    pub(super) fn is_for(&self, host: &str) -> bool {
        self.stem().rsplit_once('.').is_some_and(|(of, _)| of == escaped(host))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// How many hexadecimal digits of the digest of the settings stand in a name.
const SETTINGS: usize = 32;
/// How many digits any other digest has.
const DIGEST: usize = 16;
/// The longest beginning of a name that is made of a host, in bytes.
const LONGEST_HOST: usize = 100;

fn is_stem(kind: Kind, stem: &str) -> bool {
    let Some((host, digests)) = stem.rsplit_once('.') else { return false };
    let is_host = (1..=LONGEST_HOST).contains(&host.len())
        && host.bytes().all(|byte| is_plain(byte) || byte == b'_');
    let is_digests = match (kind, digests.split_once('-')) {
        (Kind::Plan, digest) => digest.is_none() && is_hex(digests, DIGEST),
        (_, None) => is_hex(digests, SETTINGS),
        (_, Some((settings, bearer))) => is_hex(settings, SETTINGS) && is_hex(bearer, DIGEST),
    };
    is_host && is_digests
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')
}

/// A host as the beginning of a file's name, with room for the rest: at most 100 bytes of `a-z`,
/// `0-9`, `.`, `-`, and `_` before the hexadecimal code of any other byte.
fn escaped(host: &str) -> String {
    const REST: usize = 80;
    let mut name = String::with_capacity(host.len() + REST);
    if host.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        name.push_str(host);
    } else {
        for byte in host.bytes() {
            if is_plain(byte) {
                name.push(char::from(byte));
            } else {
                name.push('_');
                push_hex(&mut name, &[byte]);
            }
        }
    }
    name.truncate(LONGEST_HOST);
    name
}

/// The cache's folder: what has no name of ours cannot be reached through it.
#[derive(Debug)]
pub(super) struct Folder(PrivateFolder);

impl Folder {
    pub(super) const fn new(folder: PrivateFolder) -> Self {
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) const fn is_in_memory(&self) -> bool {
        self.0.is_in_memory()
    }

    /// The names of all files of ours, in no order.
    pub(super) fn names(&self) -> Vec<Name> {
        let names = self.0.names().unwrap_or_default();
        names.iter().filter_map(|name| Name::parse(name)).collect()
    }

    /// Whether a file is one that nobody will use again, by the wall clock `now`.
    pub(super) fn is_leftover(&self, name: &Name, now: Duration) -> bool {
        let modified = self.0.modified(&name.text).and_then(|seconds| u64::try_from(seconds).ok());
        modified.is_some_and(|modified| {
            now.saturating_sub(Duration::from_secs(modified)) > name.kind.longest_use()
        })
    }

    /// See [`PrivateFolder::read`].
    pub(super) fn read(&self, name: &Name, cap: u64) -> Option<Vec<u8>> {
        self.0.read(&name.text, cap)
    }

    /// See [`PrivateFolder::remove`].
    pub(super) fn remove(&self, name: &Name) -> io::Result<()> {
        self.0.remove(&name.text)
    }

    /// See [`PrivateFolder::lock_file`].
    pub(super) fn lock_file(&self, name: &Name) -> io::Result<LockFile> {
        self.0.lock_file(&name.text)
    }

    /// See [`PrivateFolder::is_named`].
    pub(super) fn is_named(&self, lock: &LockFile, name: &Name) -> bool {
        self.0.is_named(lock, &name.text)
    }

    /// See [`PrivateFolder::rename`].
    pub(super) fn rename(&self, from: &Name, to: &Name) -> io::Result<()> {
        self.0.rename(&from.text, &to.text)
    }

    /// See [`PrivateFolder::reserve`].
    pub(super) fn reserve(&self, size: u64, random: u64) -> io::Result<Reservation<'_>> {
        self.0.reserve(size, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::temporary_name;

    const SETTINGS_DIGEST: &str =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn r10_a_host_makes_a_short_and_safe_name() {
        assert_eq!(escaped("quay.example.com:8443"), "quay.example.com_3a8443");
        assert_eq!(escaped("[::1]"), "_5b_3a_3a1_5d");
        assert_eq!(escaped(&"a".repeat(253)).len(), 100);
    }

    #[test]
    fn r29_every_name_that_is_made_is_known() {
        for host in ["h", "quay.example.com:8443", "[2001:db8::1]:443", &"a".repeat(253)] {
            for bearer in [None, Some(0), Some(u64::MAX)] {
                for kind in [Kind::Entry, Kind::Lock, Kind::NextLock] {
                    let name = Name::of_entry(kind, host, SETTINGS_DIGEST, bearer);
                    assert_eq!(Name::parse(&name.text).as_ref(), Some(&name));
                    assert_eq!(Name::beside(name.stem(), kind), name);
                    assert!(name.is_for(host) && name.text.len() < 255, "{name}");
                    assert!(!name.is_for("other.example.com"));
                }
            }
            let name = Name::of_plan(host, 7);
            assert_eq!(Name::parse(&name.text), Some(name));
        }
        let name = Name::of_other_hosts(7);
        assert_eq!(Name::parse(&name.text), Some(name));
        let name = temporary_name(7);
        assert_eq!(Name::parse(&name).map(|name| name.kind), Some(Kind::Temporary));
    }

    #[test]
    fn r29_no_other_name_is_ours() {
        let (short, long) = ("0123456789abcdef", &SETTINGS_DIGEST[..32]);
        for name in [
            "",
            "Cargo.lock",
            "poetry.lock",
            "my.token",
            "floor.plan",
            ".tmp-notes",
            ".quayfed.token",
            "quayfed.lock",
            "h.quayfed.token",
            &format!(".tmp-{short}"),
            &format!(".tmp-quayfed-{short}0"),
            &format!(".tmp-quayfed-{}", short.to_uppercase()),
            &format!("h.{long}.token"),
            &format!("h.{long}.lock"),
            &format!("h.{short}.plan"),
            &format!("h.{short}.quayfed.token"),
            &format!("h.{long}.quayfed.plan"),
            &format!("h.{short}-{short}.quayfed.plan"),
            &format!("h.{long}-{long}.quayfed.lock"),
            &format!("h.{}.quayfed.lock", long.to_uppercase()),
            &format!(".{long}.quayfed.token"),
            &format!("{long}.quayfed.lock"),
            &format!("My notes.{long}.quayfed.token"),
            &format!("{}.{long}.quayfed.token", "a".repeat(101)),
            &format!("h.{long}.quayfed.token~"),
            &format!("h.{long}.quayfed.token.bak"),
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
