//! What the configuration's files looked like when they were read, so that a later process can
//! tell that nothing has changed without reading them.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::search_path::SearchPath;
use crate::files::Stamp;
use crate::world::World;

/// Two changes within this time may leave the same stamp behind: the clock that a file system
/// stamps with ticks every few milliseconds at best, every two seconds at worst.
const TICK: Duration = Duration::from_secs(2);

/// The stamps of every file of a search path, of the folder of drop-ins and of each drop-in, taken
/// from the handle before it was read or listed (rule R9), in the order of reading. Serializing it
/// fails where a path is not UTF-8; reading it back copies no path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint<'a>(#[serde(borrow)] Vec<Stamped<'a>>);

/// A file or folder with its stamp; one without was absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamped<'a>(#[serde(borrow, deserialize_with = "borrowed")] Cow<'a, Path>, Option<Stamp>);

fn borrowed<'de: 'a, 'a, D: Deserializer<'de>>(reader: D) -> Result<Cow<'a, Path>, D::Error> {
    <&Path>::deserialize(reader).map(Cow::Borrowed)
}

impl Fingerprint<'_> {
    /// A fingerprint to which stamps are added.
    pub(crate) const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Adds the stamp of a file or folder, or its absence.
    pub(super) fn add(&mut self, path: &Path, stamp: Option<Stamp>) {
        self.0.push(Stamped(path.to_owned().into(), stamp));
    }

    /// Every file and folder that was looked at, the earlier first, and whether it was there.
    pub fn files(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.0.iter().map(|Stamped(path, stamp)| (&**path, stamp.is_some()))
    }

    /// Whether the configuration that `search_path` leads to is still the one that this was taken
    /// of, by the same search path. The names of the drop-ins need no listing: the folder's stamp
    /// changes with them.
    pub fn still_holds(&self, world: &World, search_path: &SearchPath) -> bool {
        self.0.iter().all(|Stamped(path, stamp)| match (std::fs::metadata(path), stamp) {
            (Ok(metadata), Some(stamp)) => Stamp::of(&metadata) == *stamp,
            (Err(error), None) => is_absence(world, &error, search_path, path),
            _ => false,
        })
    }

    /// Whether a change after the moment `wall_now` would show in a stamp: nothing had changed
    /// within the 2 s before it, nor in its future. Ask with the time from before the first stamp
    /// was taken.
    pub fn is_settled(&self, wall_now: Duration) -> bool {
        let settled = i64::try_from(wall_now.saturating_sub(TICK).as_nanos()).unwrap_or(i64::MAX);
        self.0.iter().all(|Stamped(_, stamp)| stamp.is_none_or(|stamp| stamp.changed() <= settled))
    }
}

/// Whether an error says that a file is absent: it does not exist or, for the user's own, a folder
/// on the way to it cannot be searched (rule R5).
pub(super) fn is_absence(
    world: &World,
    error: &io::Error,
    search_path: &SearchPath,
    path: &Path,
) -> bool {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => true,
        ErrorKind::PermissionDenied => search_path.is_users_own(world, path),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use super::*;
    use crate::config::testing::Desk;

    fn desk() -> Desk {
        Desk::new()
            .with_file("etc/config.toml", "# one\n")
            .with_file("etc/config.d/a.toml", "# one\n")
    }

    /// Whether the fingerprint of what `desk` has still holds after `change`.
    fn holds_after(desk: &Desk, change: impl FnOnce(&Desk)) -> bool {
        let fingerprint = desk.load().expect("settings").fingerprint;
        // Two changes within a tick look the same: that is what `is_settled` is for.
        desk.world.clock.sleep(Duration::from_millis(20));
        change(desk);
        let kept = serde_json::to_string(&fingerprint).expect("JSON");
        let kept: Fingerprint<'_> = serde_json::from_str(&kept).expect("a fingerprint");
        assert_eq!(kept, fingerprint);
        let search_path = SearchPath::of(&desk.world).expect("a search path");
        kept.still_holds(&desk.world, &search_path)
    }

    #[test]
    fn r9_a_fingerprint_holds_while_nothing_changes() {
        assert!(holds_after(&desk(), |desk| {
            desk.load().expect("settings");
        }));
        assert!(holds_after(&Desk::new(), |_| ()), "everything is absent");
    }

    #[test]
    fn r9_every_change_of_a_file_is_noticed() {
        type Change = fn(&Desk);
        let changes: &[(&str, Change)] = &[
            ("edited", |desk| desk.write("etc/config.toml", "# another\n")),
            ("edited, size and mtime kept", |desk| {
                let path = desk.path("etc/config.toml");
                let mtime = std::fs::metadata(&path).and_then(|it| it.modified()).expect("a time");
                desk.write("etc/config.toml", "# two\n");
                set_mtime(&path, mtime);
            }),
            ("replaced, mtime kept", |desk| {
                let path = desk.path("etc/config.toml");
                let mtime = std::fs::metadata(&path).and_then(|it| it.modified()).expect("a time");
                desk.write("etc/new", "# two\n");
                set_mtime(&desk.path("etc/new"), mtime);
                std::fs::rename(desk.path("etc/new"), path).expect("a rename");
            }),
            ("mode", |desk| desk.set_mode("etc/config.toml", 0o666)),
            ("removed", |desk| std::fs::remove_file(desk.path("etc/config.toml")).expect("gone")),
            ("user's added", |desk| desk.write("user/quayfed/config.toml", "")),
            ("drop-in added", |desk| desk.write("etc/config.d/b.toml", "")),
            ("drop-in edited", |desk| desk.write("etc/config.d/a.toml", "# two\n")),
            ("drop-in removed", |desk| {
                std::fs::remove_file(desk.path("etc/config.d/a.toml")).expect("gone");
            }),
            ("folder replaced", |desk| {
                std::fs::rename(desk.path("etc/config.d"), desk.path("etc/old")).expect("a rename");
            }),
        ];
        for (name, change) in changes {
            assert!(!holds_after(&desk(), change), "{name}");
        }
        assert!(!holds_after(&Desk::new(), |desk| desk.write("etc/config.toml", "")), "added");
    }

    #[test]
    fn r9_another_target_of_a_symbolic_link_is_noticed() {
        let desk = Desk::new().with_file("one", "# one\n").with_file("two", "# two\n");
        let link = desk.path("etc/config.toml");
        desk.write("etc/unrelated", "");
        symlink(desk.path("one"), &link).expect("a link");
        assert!(holds_after(&desk, |_| ()));
        assert!(!holds_after(&desk, |_| {
            std::fs::remove_file(&link).expect("gone");
            symlink(desk.path("two"), &link).expect("a link");
        }));
    }

    #[test]
    fn r9_a_file_that_has_just_changed_or_will_change_is_not_settled() {
        let desk = desk();
        let fingerprint = desk.load().expect("settings").fingerprint;
        let newest = fingerprint.0.iter().filter_map(|Stamped(_, stamp)| *stamp);
        let newest = newest.map(Stamp::changed).max().expect("a stamp");
        let newest = Duration::from_nanos(u64::try_from(newest).expect("after 1970"));
        assert!(!fingerprint.is_settled(newest.saturating_sub(Duration::from_mins(1))));
        assert!(!fingerprint.is_settled(newest));
        assert!(!fingerprint.is_settled(newest + Duration::from_millis(1999)));
        assert!(fingerprint.is_settled(newest + Duration::from_secs(2)));
        let nothing = Desk::new().load().expect("settings").fingerprint;
        assert!(nothing.is_settled(Duration::ZERO));
    }

    fn set_mtime(path: &Path, mtime: SystemTime) {
        let file = std::fs::File::options().write(true).open(path).expect("a file");
        file.set_modified(mtime).expect("a time");
    }
}
