//! One file of somebody's, changed: what will become of it, and how it is done so that no edit of
//! anybody else's is lost.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::clients::LARGEST;
use crate::failure::Failure;
use crate::files::editing::{EditError, Freeze, Original, Replaced, make_folders};
use crate::files::{self, InputError, LockFile};
use crate::world::World;

/// How long another process may keep the folder to itself. Whoever can read a folder can lock it:
/// afterwards the file is looked at right before it is replaced, which must do.
const TIME_FOR_LOCK: Duration = Duration::from_secs(10);
/// How often a change is made anew because somebody was faster.
const TRIES: usize = 50;

/// A change of one file.
pub(in crate::command) struct Edit<'a> {
    /// The file, as whoever reads it names it.
    pub(in crate::command) path: PathBuf,
    /// The mode of the file, where it is new.
    pub(in crate::command) mode: u32,
    /// The mode of its folder, where it is new.
    pub(in crate::command) mode_of_folder: u32,
    /// What a file without anything in it looks like.
    pub(in crate::command) empty: &'static str,
    /// What becomes of it.
    pub(in crate::command) change: Change<'a>,
}

/// From the content of a file, or none, to what becomes of it. Called anew where somebody was faster.
pub(in crate::command) type Change<'a> =
    Box<dyn Fn(Option<&[u8]>) -> Result<Outcome, Failure> + 'a>;

/// What becomes of a file.
#[derive(Debug)]
pub(in crate::command) struct Outcome {
    pub(in crate::command) after: After,
    /// What that means for each registry, in words.
    pub(in crate::command) deeds: Vec<Deed>,
}

/// A file afterwards.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::command) enum After {
    /// As it was.
    Same,
    /// With this content.
    Content(Vec<u8>),
    /// Not there: nothing would be left in it.
    Gone,
}

/// What happened to the entry of a registry, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::command) struct Deed {
    pub(in crate::command) kind: DeedKind,
    pub(in crate::command) what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::command) enum DeedKind {
    Added,
    /// In the place of this other helper.
    Replaced(String),
    IsThere,
    TakenAway,
}

/// A file before and after a change that is not made.
pub(in crate::command) struct Preview {
    pub(in crate::command) before: Option<Vec<u8>>,
    pub(in crate::command) outcome: Outcome,
}

impl Edit<'_> {
    /// What would become of the file; fails where the change could not be made.
    pub(in crate::command) fn preview(&self, world: &World) -> Result<Preview, Failure> {
        let (original, outcome) = self.read(world)?;
        if outcome.after != After::Same {
            original.check(world.caller.uid()).map_err(|error| self.failure(world, &error))?;
        }
        Ok(Preview { before: original.content, outcome })
    }

    /// Changes the file.
    pub(in crate::command) fn make(&self, world: &World) -> Result<Outcome, Failure> {
        let failure = |error| self.failure(world, &error);
        for _ in 0..TRIES {
            let (original, outcome) = self.read(world)?;
            if outcome.after == After::Same {
                return Ok(outcome);
            }
            original.check(world.caller.uid()).map_err(failure)?;
            let folder = original.path.parent().unwrap_or(Path::new("/")).to_owned();
            make_folders(&folder, self.mode_of_folder).map_err(|error| failure(error.into()))?;
            let _lock = locked(world, &folder);
            let (original, outcome) = self.read(world)?;
            original.check(world.caller.uid()).map_err(failure)?;
            let write =
                |content: &[u8]| original.replace(content, self.mode, world.random_number());
            let replaced = match &outcome.after {
                After::Same => return Ok(outcome),
                After::Content(content) => write(content),
                After::Gone => original.remove(),
            };
            if replaced.map_err(failure)? == Replaced::Done {
                return Ok(outcome);
            }
        }
        Err(Failure::new(
            format!("{} is changed by another process all the time", self.path.display()),
            "find out which one it is, and try again",
        ))
    }

    fn read(&self, world: &World) -> Result<(Original, Outcome), Failure> {
        let original = self.open(world)?;
        let mut outcome = (self.change)(original.content.as_deref())?;
        // Whoever made a link or mounted something wants it to lead somewhere.
        if outcome.after == After::Gone && !original.is_removable() {
            outcome.after = After::Content(self.empty.into());
        }
        Ok((original, outcome))
    }

    fn open(&self, world: &World) -> Result<Original, Failure> {
        Original::read(&self.path, LARGEST).map_err(|error| self.failure(world, &error))
    }

    fn failure(&self, world: &World, error: &EditError) -> Failure {
        const LEFT: &str = "correct it, or move it away: it was left as it is";
        let shown = self.path.display();
        let user = format!("the user running this (uid {})", world.caller.uid_on_the_host());
        let owner_of = |place: &Path| Some(std::fs::metadata(place).ok()?.uid());
        let owner = self.path.ancestors().find_map(owner_of);
        let for_another = || whose_right_is_needed(world, owner?);
        match error {
            EditError::Unreadable(error @ InputError::Unreadable(_)) => Failure::new(
                format!("{shown} {error}"),
                for_another().unwrap_or_else(|| format!("let {user} read it")),
            ),
            EditError::Unreadable(error) => Failure::new(format!("{shown} {error}"), LEFT),
            EditError::ReadOnly => Failure::new(
                format!("{shown} is read-only for {user}"),
                for_another().unwrap_or_else(|| {
                    format!(
                        "it was left as it is; make it writable (chmod u+w {shown}), or change it \
                         where it comes from: --dry-run shows how"
                    )
                }),
            ),
            EditError::Dangling => Failure::new(
                format!("{shown} is a symbolic link to a file that does not exist"),
                "make that file (its whole content may be {}), or remove the link",
            ),
            EditError::OfAnother(folder, owner) => Failure::new(
                format!(
                    "{} belongs to uid {owner}, who could not read a file of uid {}",
                    folder.display(),
                    world.caller.uid()
                ),
                if world.as_now().is_empty() {
                    "run this as that user, or with HOME set to root's own"
                } else {
                    "run this without sudo, or with root's own HOME (sudo -H)"
                },
            ),
            EditError::Frozen(place, freeze) => {
                let (what, letter) = match freeze {
                    Freeze::Immutable => ("immutable", 'i'),
                    Freeze::AppendOnly => ("append-only", 'a'),
                };
                let place = place.display();
                let sudo = world.as_root();
                Failure::new(
                    format!("{shown} cannot be written: {place} is {what} (lsattr)"),
                    format!("if that is not meant: {sudo}chattr -{letter} {place}"),
                )
            }
            EditError::Unwritable(error) => Failure::new(
                format!("{shown} cannot be written ({})", files::describe(error)),
                match error.kind() {
                    ErrorKind::PermissionDenied => {
                        for_another().unwrap_or_else(|| format!("let {user} write to its folder"))
                    }
                    ErrorKind::ReadOnlyFilesystem => {
                        "change it where it comes from: --dry-run shows how".to_owned()
                    }
                    _ => "it was left as it is; remove the cause, and try again".to_owned(),
                },
            ),
            EditError::Torn(error, backup) => Failure::new(
                format!("{shown} was written in part ({})", files::describe(error)),
                backup.as_ref().map_or_else(
                    || "restore it from a backup of your own".to_owned(),
                    |backup| {
                        let backup = backup.display();
                        format!("what it was stands in {backup}: cat {backup} > {shown}")
                    },
                ),
            ),
        }
    }
}

/// What to do about a file of another user's: that user has to call this, and for root's that is
/// `sudo`. Nothing where it is the caller's own.
fn whose_right_is_needed(world: &World, owner: u32) -> Option<String> {
    let caller = world.caller.uid();
    if owner == caller {
        return None;
    }
    let namespace = world.caller.namespace();
    if !namespace.is_initial && owner == namespace.overflow_uid {
        return Some(
            "it belongs to a user outside of this container: run this there, as that user"
                .to_owned(),
        );
    }
    match owner {
        0 => Some("only root can change it: run the same command with sudo".to_owned()),
        _ if caller == 0 => None,
        owner => {
            let owner = world.caller.owner_on_the_host(owner);
            Some(format!("it belongs to uid {owner}: run this as that user"))
        }
    }
}

/// The lock of a folder, or none where locks do not work or another process keeps it too long.
fn locked(world: &World, folder: &Path) -> Option<LockFile> {
    let lock = LockFile::of_folder(folder).ok()?;
    let began = world.clock.boot();
    while !lock.try_lock().ok()? {
        if world.clock.boot().saturating_sub(began) > TIME_FOR_LOCK {
            return None;
        }
        world.clock.sleep(Duration::from_millis(5));
    }
    Some(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::world_with;
    use crate::world::{Caller, UserNamespace};

    /// A world of this uid, in the host's namespace or in one where 65534 stands for everybody else.
    fn world(uid: u32, is_initial: bool, is_under_sudo: bool) -> World {
        let sudo: &[_] = if is_under_sudo { &[("SUDO_UID", "1000")] } else { &[] };
        let mut world = world_with(sudo);
        let namespace = UserNamespace { is_initial, uid_in_parent: 1000, overflow_uid: 65534 };
        world.caller = Caller::of(uid, namespace);
        world
    }

    #[test]
    fn r41_a_hint_fits_who_reads_it() {
        const SUDO: &str = "only root can change it: run the same command with sudo";
        const OUTSIDE: &str =
            "it belongs to a user outside of this container: run this there, as that user";
        const THEIRS: &str = "it belongs to uid 1001: run this as that user";
        for (uid, is_initial, is_under_sudo, owner, wanted, as_root, as_now) in [
            (1000, true, false, 0, Some(SUDO), "sudo ", ""),
            (1000, true, false, 1000, None, "sudo ", ""),
            (1000, true, false, 1001, Some(THEIRS), "sudo ", ""),
            (0, true, false, 0, None, "", ""),
            (0, true, false, 1001, None, "", ""),
            (0, true, true, 0, None, "sudo ", "sudo "),
            (0, false, false, 0, None, "sudo ", ""),
            (0, false, false, 65534, Some(OUTSIDE), "sudo ", ""),
        ] {
            let world = world(uid, is_initial, is_under_sudo);
            let name = format!("{uid} {is_initial} {is_under_sudo} {owner}");
            assert_eq!(whose_right_is_needed(&world, owner).as_deref(), wanted, "{name}");
            assert_eq!((world.as_root(), world.as_now()), (as_root, as_now), "{name}");
        }
    }
}
