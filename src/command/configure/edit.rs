//! One file of somebody's, changed: what will become of it, and how it is done so that no edit of
//! anybody else's is lost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::clients::LARGEST;
use crate::failure::Failure;
use crate::files::editing::{EditError, Original, Replaced, make_folders};
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
                // Whoever made a link wants it to lead somewhere.
                After::Gone if original.is_linked => write(self.empty.as_bytes()),
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

    /// The content of the file, where there is one.
    pub(in crate::command) fn look(&self, world: &World) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.open(world)?.content)
    }

    fn read(&self, world: &World) -> Result<(Original, Outcome), Failure> {
        let original = self.open(world)?;
        let outcome = (self.change)(original.content.as_deref())?;
        Ok((original, outcome))
    }

    fn open(&self, world: &World) -> Result<Original, Failure> {
        Original::read(&self.path, LARGEST).map_err(|error| self.failure(world, &error))
    }

    fn failure(&self, world: &World, error: &EditError) -> Failure {
        let shown = self.path.display();
        let uid = world.caller.uid();
        match error {
            EditError::Unreadable(error) => Failure::new(
                format!("{shown} {error}"),
                match error {
                    InputError::Unreadable(_) => format!("let uid {uid}, who runs this, read it"),
                    _ => "move it away, or correct it: it was left as it is".to_owned(),
                },
            ),
            EditError::ReadOnly => Failure::new(
                format!("{shown} is read-only for uid {uid}, who runs this"),
                format!(
                    "it was left as it is; let its owner write to it (chmod u+w {shown}), or \
                     change it where it comes from: --dry-run shows how"
                ),
            ),
            EditError::Dangling => Failure::new(
                format!("{shown} is a symbolic link to a file that does not exist"),
                "make that file (its whole content may be {}), or remove the link",
            ),
            EditError::OfAnother(folder, owner) => Failure::new(
                format!(
                    "{} belongs to uid {owner}, who could not read a file of uid {uid}",
                    folder.display()
                ),
                "call this as that user, or with HOME set to root's own",
            ),
            EditError::Unwritable(error) => Failure::new(
                format!("{shown} cannot be written ({})", files::describe(error)),
                format!("it was left as it is; let uid {uid}, who runs this, write to its folder"),
            ),
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
