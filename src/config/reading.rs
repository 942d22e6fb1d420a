//! Reading the files of a search path, and taking their fingerprint on the way.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::fingerprint::{Fingerprint, is_absence};
use super::search_path::{SearchPath, users_own};
use super::unusable::Unusable;
use crate::failure::Failure;
use crate::files::{InputError, Stamp, list_input, read_input};
use crate::ownership::{Use, trust_fault};
use crate::world::World;

/// The largest configuration file, in bytes: ten thousand registries fit in, and what it takes in
/// memory is a multiple of it.
const LARGEST: u64 = 2 << 20;

/// The files of a search path that exist, the earlier first, and the stamps of all.
pub(super) struct Reading<'a> {
    world: &'a World,
    search_path: SearchPath,
    /// Those that can be trusted, with their text.
    pub(super) files: Vec<(PathBuf, String)>,
    /// The others.
    pub(super) unusable: Vec<Unusable>,
    pub(super) fingerprint: Fingerprint<'static>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(world: &'a World, search_path: SearchPath) -> Self {
        let mut reading = Self {
            world,
            search_path: search_path.clone(),
            files: Vec::new(),
            unusable: Vec::new(),
            fingerprint: Fingerprint::empty(),
        };
        match search_path {
            SearchPath::Chosen(file) => reading.read_chosen(&file),
            SearchPath::Usual { system, .. } => {
                reading.read(&system.join("config.toml"));
                reading.read_drop_ins(&system.join("config.d"));
                if let Some(file) = users_own(world) {
                    reading.read(&file);
                }
            }
        }
        reading
    }

    fn read_chosen(&mut self, file: &Path) {
        self.read(file);
        if self.files.is_empty() && self.unusable.is_empty() {
            self.unusable.push(Unusable::unread(Failure::new(
                format!("QUAYFED_CONFIG names {}, which does not exist", file.display()),
                "correct the path, or unset QUAYFED_CONFIG",
            )));
        }
    }

    fn read_drop_ins(&mut self, folder: &Path) {
        let listed = match self.unless_absent(folder, list_input(folder)) {
            Ok(Some(listed)) => listed,
            Ok(None) => return,
            Err(failure) => return self.unusable.push(Unusable::unread(failure)),
        };
        let fault = self.check(folder, &listed.metadata);
        let is_drop_in = |name: &OsString| {
            name.as_bytes().ends_with(b".toml") && !name.as_bytes().starts_with(b".")
        };
        let mut names: Vec<OsString> = listed.names.into_iter().filter(is_drop_in).collect();
        names.sort_unstable();
        let files = names.iter().map(|name| folder.join(name));
        let Some(failure) = fault else {
            return files.for_each(|file| self.read(&file));
        };
        // None of them can be trusted, but which registries they name is asked for.
        let contents: Option<Vec<_>> =
            files.map(|file| read_input(&file, LARGEST).ok().map(|input| input.bytes)).collect();
        self.unusable.push(match contents {
            Some(contents) => Unusable::with(failure, &contents.join(&b'\n')),
            None => Unusable::unread(failure),
        });
    }

    fn read(&mut self, file: &Path) {
        let input = match self.unless_absent(file, read_input(file, LARGEST)) {
            Ok(Some(input)) => input,
            Ok(None) => return,
            Err(failure) => return self.unusable.push(Unusable::unread(failure)),
        };
        if let Some(failure) = self.check(file, &input.metadata) {
            return self.unusable.push(Unusable::with(failure, &input.bytes));
        }
        match String::from_utf8(input.bytes) {
            Ok(text) => self.files.push((file.to_owned(), text)),
            Err(error) => {
                let end = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..end].split(|byte| *byte == b'\n').count();
                let failure = Failure::new(
                    format!("{}:{line}: this is not UTF-8", file.display()),
                    "save the file as UTF-8",
                );
                self.unusable.push(Unusable::with(failure, error.as_bytes()));
            }
        }
    }

    /// Adds the stamp of what was opened, before anybody trusts it; why nobody should.
    fn check(&mut self, path: &Path, metadata: &Metadata) -> Option<Failure> {
        self.fingerprint.add(path, Some(Stamp::of(metadata)));
        trust_fault(self.world, path, metadata, Use::Configuration)
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
        Err(Failure::new(format!("{} {error}", path.display()), hint(self.world, path, &error)))
    }
}

fn hint(world: &World, path: &Path, error: &InputError) -> String {
    if let Some(limit) = error.limit() {
        return limit.hint().to_owned();
    }
    let uid = world.caller.uid_on_the_host();
    let owner = std::fs::metadata(path).map(|metadata| metadata.uid());
    let is_anothers = owner.is_ok_and(|owner| owner != world.caller.uid());
    match error {
        InputError::Unreadable(error) if error.kind() == ErrorKind::PermissionDenied => {
            let sudo = if is_anothers { "sudo " } else { "" };
            format!(
                "let the user running this (uid {uid}) read it: it holds no secret ({sudo}chmod a+r \
                 {})",
                path.display()
            )
        }
        InputError::TooLarge(_) => "it should hold the configuration alone".to_owned(),
        _ => format!("put a readable file in the place of {}, or remove it", path.display()),
    }
}
