//! Files of people and of other programs, changed in one step and only if nobody else has changed
//! them meanwhile; and what has to be looked at as a file before it is written as one.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::retry_on_intr;

use super::{Input, InputError, Stamp, read_input, temporary_name};
use crate::process::outlive_file_size_limit;

/// A file of somebody's that is to be changed: what it was when it was read, and where it really is.
#[derive(Debug)]
pub struct Original {
    /// The file itself, behind every symbolic link.
    pub path: PathBuf,
    /// Whether it was reached through a symbolic link.
    pub is_linked: bool,
    /// Its content; nothing where there is no file yet.
    pub content: Option<Vec<u8>>,
    metadata: Option<Metadata>,
}

/// Why a file is not changed.
#[derive(Debug)]
pub enum EditError {
    /// It cannot be read.
    Unreadable(InputError),
    /// Nobody may write to it, or not the caller.
    ReadOnly,
    /// It is a symbolic link that leads nowhere.
    Dangling,
    /// Its folder belongs to another user than the caller: the new file would be nobody's.
    OfAnother(PathBuf, u32),
    /// The system refused the new file.
    Unwritable(io::Error),
}

impl From<io::Error> for EditError {
    fn from(error: io::Error) -> Self {
        Self::Unwritable(error)
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The file is as it was meant to be.
    Done,
    /// Somebody else has changed it since it was read: read it again.
    Overtaken,
}

impl Original {
    /// Reads a file that is to be changed, of at most `cap` bytes.
    pub fn read(path: &Path, cap: u64) -> Result<Self, EditError> {
        let is_linked = std::fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink());
        match read_input(path, cap) {
            Ok(Input { bytes, metadata }) => {
                let path = std::fs::canonicalize(path)?;
                Ok(Self { path, is_linked, content: Some(bytes), metadata: Some(metadata) })
            }
            Err(InputError::Absent) if is_linked => Err(EditError::Dangling),
            Err(InputError::Absent) => {
                Ok(Self { path: path.to_owned(), is_linked, content: None, metadata: None })
            }
            Err(error) => Err(EditError::Unreadable(error)),
        }
    }

    /// Whether the caller, `uid`, may change it. A mode without any right to write binds root too:
    /// whoever set it meant it.
    pub fn check(&self, uid: u32) -> Result<(), EditError> {
        let Some(metadata) = &self.metadata else {
            let folder = self
                .path
                .ancestors()
                .skip(1)
                .find_map(|folder| Some((folder, std::fs::metadata(folder).ok()?.uid())));
            return match folder {
                Some((folder, owner)) if uid == 0 && owner != 0 => {
                    Err(EditError::OfAnother(folder.to_owned(), owner))
                }
                _ => Ok(()),
            };
        };
        let is_writable = rustix::fs::access(&self.path, rustix::fs::Access::WRITE_OK).is_ok();
        if is_writable && metadata.mode() & 0o222 != 0 { Ok(()) } else { Err(EditError::ReadOnly) }
    }

    /// Replaces it in one step by a file with the same owner and mode; a new one has `mode`.
    /// `random` names the file that is written first, beside it.
    pub fn replace(&self, content: &[u8], mode: u32, random: u64) -> Result<Replaced, EditError> {
        let temporary = self.beside(random);
        let written = self.write_beside(&temporary, content, mode);
        if matches!(written, Ok(Replaced::Done)) {
            return written;
        }
        // It may not be there, and nobody reads a file of that name.
        let _ = std::fs::remove_file(&temporary);
        written
    }

    fn write_beside(
        &self,
        temporary: &Path,
        content: &[u8],
        mode: u32,
    ) -> Result<Replaced, EditError> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NOCTTY;
        outlive_file_size_limit();
        let opened = retry_on_intr(|| open(temporary, flags, Mode::RUSR | Mode::WUSR));
        let mut file = File::from(opened.map_err(io::Error::from)?);
        file.write_all(content)?;
        let mut mode = mode;
        if let Some(metadata) = &self.metadata {
            mode = metadata.mode() & 0o7777;
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
                let (uid, gid) = (Some(metadata.uid()), Some(metadata.gid()));
                std::os::unix::fs::fchown(&file, uid, gid)?;
            }
        }
        // After the owner, whose change takes bits away.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
        file.sync_all()?;
        if !self.is_unchanged() {
            return Ok(Replaced::Overtaken);
        }
        if self.metadata.is_none() {
            // Where somebody was faster, their file stays.
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            let (from, to) = (rustix::fs::CWD, rustix::fs::CWD);
            match rustix::fs::renameat_with(from, temporary, to, &self.path, flags) {
                Ok(()) => return Ok(Replaced::Done),
                Err(rustix::io::Errno::EXIST) => return Ok(Replaced::Overtaken),
                // Not every file system can.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        std::fs::rename(temporary, &self.path)?;
        Ok(Replaced::Done)
    }

    /// Removes it.
    pub fn remove(&self) -> Result<Replaced, EditError> {
        if !self.is_unchanged() {
            return Ok(Replaced::Overtaken);
        }
        std::fs::remove_file(&self.path)?;
        Ok(Replaced::Done)
    }

    fn is_unchanged(&self) -> bool {
        let now = std::fs::metadata(&self.path).ok();
        now.as_ref().map(Stamp::of) == self.metadata.as_ref().map(Stamp::of)
    }

    fn beside(&self, random: u64) -> PathBuf {
        self.path.with_file_name(temporary_name(random))
    }
}

/// Makes a folder and those on the way to it that do not exist, each with this mode whatever the
/// umask.
pub fn make_folders(path: &Path, mode: u32) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folders(parent, mode)?;
    }
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?),
        // Another process was faster.
        Err(rustix::io::Errno::EXIST) if path.is_dir() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_has_changed_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let absent = Original::read(&path, 100).expect("no file");
        std::fs::write(&path, "theirs").expect("written");
        assert_eq!(absent.replace(b"ours", 0o600, 1).expect("tried"), Replaced::Overtaken);
        let original = Original::read(&path, 100).expect("a file");
        std::fs::write(&path, "theirs again").expect("written");
        assert_eq!(original.replace(b"ours", 0o600, 2).expect("tried"), Replaced::Overtaken);
        assert_eq!(original.remove().expect("tried"), Replaced::Overtaken);
        assert_eq!(std::fs::read(&path).expect("a file"), b"theirs again");
        let original = Original::read(&path, 100).expect("a file");
        assert_eq!(original.replace(b"ours", 0o600, 3).expect("written"), Replaced::Done);
        assert_eq!(std::fs::read(&path).expect("a file"), b"ours");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_file_that_appears_in_the_last_moment_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let absent = Original::read(&path, 100).expect("no file");
        // The look right before finds nothing behind a link that leads nowhere; the rename does.
        std::os::unix::fs::symlink("nowhere", &path).expect("a link");
        assert_eq!(absent.replace(b"ours", 0o600, 1).expect("tried"), Replaced::Overtaken);
        assert!(matches!(Original::read(&path, 100), Err(EditError::Dangling)));
    }

    #[test]
    fn a_mode_without_a_right_to_write_binds_everybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        std::fs::write(&path, "").expect("written");
        rustix::fs::chmod(&path, Mode::RUSR | Mode::RGRP).expect("a mode");
        let original = Original::read(&path, 100).expect("a file");
        assert!(matches!(original.check(0), Err(EditError::ReadOnly)));
    }

    #[test]
    fn folders_are_made_with_their_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        make_folders(&path, 0o751).expect("made");
        make_folders(&path, 0o700).expect("there already");
        for path in [path.parent().expect("a folder"), &path] {
            assert_eq!(std::fs::metadata(path).expect("a folder").mode() & 0o7777, 0o751);
        }
    }
}
