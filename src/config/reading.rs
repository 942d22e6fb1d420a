//! Reading the files of a search path, and taking their fingerprint on the way.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::fingerprint::{Fingerprint, is_absence};
use super::search_path::{SearchPath, users_own};
use crate::failure::Failure;
use crate::files::{InputError, Stamp, list_input, read_input};
use crate::ownership::{Use, trust_fault};
use crate::world::World;

/// The largest configuration file, in bytes: ten thousand registries fit in.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The files of a search path that exist, the earlier first, and the stamps of all.
pub(super) struct Reading<'a> {
    world: &'a World,
    search_path: SearchPath,
    pub(super) files: Vec<(PathBuf, String)>,
    pub(super) fingerprint: Fingerprint<'static>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(world: &'a World, search_path: SearchPath) -> Result<Self, Failure> {
        let fingerprint = Fingerprint::empty();
        let mut reading =
            Self { world, search_path: search_path.clone(), files: Vec::new(), fingerprint };
        match search_path {
            SearchPath::Chosen(file) => reading.read_chosen(file)?,
            SearchPath::Usual { system, .. } => {
                reading.read(system.join("config.toml"))?;
                reading.read_drop_ins(&system.join("config.d"))?;
                users_own(world).map_or(Ok(()), |file| reading.read(file))?;
            }
        }
        Ok(reading)
    }

    fn read_chosen(&mut self, file: PathBuf) -> Result<(), Failure> {
        let shown = file.display().to_string();
        self.read(file)?;
        if self.files.is_empty() {
            return Err(Failure::new(
                format!("QUAYFED_CONFIG names {shown}, which does not exist"),
                "correct the path, or unset QUAYFED_CONFIG",
            ));
        }
        Ok(())
    }

    fn read_drop_ins(&mut self, folder: &Path) -> Result<(), Failure> {
        let Some(listed) = self.unless_absent(folder, list_input(folder))? else {
            return Ok(());
        };
        self.check(folder, &listed.metadata)?;
        let is_drop_in = |name: &OsString| {
            name.as_bytes().ends_with(b".toml") && !name.as_bytes().starts_with(b".")
        };
        let mut names: Vec<OsString> = listed.names.into_iter().filter(is_drop_in).collect();
        names.sort_unstable();
        names.iter().try_for_each(|name| self.read(folder.join(name)))
    }

    fn read(&mut self, file: PathBuf) -> Result<(), Failure> {
        let read = read_input(&file, LARGEST);
        let Some(input) = self.unless_absent(&file, read)? else {
            return Ok(());
        };
        self.check(&file, &input.metadata)?;
        let text = String::from_utf8(input.bytes).map_err(|error| {
            let end = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..end].split(|byte| *byte == b'\n').count();
            Failure::new(
                format!("{}:{line}: this is not UTF-8", file.display()),
                "save the file as UTF-8",
            )
        })?;
        self.files.push((file, text));
        Ok(())
    }

    /// Adds the stamp of what was opened, before anybody trusts it.
    fn check(&mut self, path: &Path, metadata: &Metadata) -> Result<(), Failure> {
        self.fingerprint.add(path, Some(Stamp::of(metadata)));
        trust_fault(self.world, path, metadata, Use::Configuration).map_or(Ok(()), Err)
    }

    /// What was read, or nothing where it is absent as rule R5 has it.
    fn unless_absent<T>(
        &mut self,
        path: &Path,
        read: Result<T, InputError>,
    ) -> Result<Option<T>, Failure> {
        let error = match read {
            Ok(read) => return Ok(Some(read)),
            Err(error) => error,
        };
        let is_absent = match &error {
            InputError::Absent => true,
            // A file that can be looked at is there: it is the file itself that is barred.
            InputError::Unreadable(error) => {
                is_absence(self.world, error, &self.search_path, path)
                    && std::fs::metadata(path).is_err()
            }
            InputError::NotAFile | InputError::TooLarge(_) => false,
        };
        if is_absent {
            self.fingerprint.add(path, None);
            return Ok(None);
        }
        Err(Failure::new(
            format!("{} {error}", path.display()),
            hint(path, &error, self.world.caller.uid_on_the_host()),
        ))
    }
}

fn hint(path: &Path, error: &InputError, uid: u32) -> String {
    match error {
        InputError::Unreadable(error) if error.kind() == ErrorKind::PermissionDenied => format!(
            "let uid {uid}, who runs this, read it: no secret stands in it (chmod a+r {})",
            path.display()
        ),
        InputError::TooLarge(_) => "it should hold the configuration alone".to_owned(),
        _ => format!("put a readable file in the place of {}, or remove it", path.display()),
    }
}
