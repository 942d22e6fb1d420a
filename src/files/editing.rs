//! Files of people and of other programs, changed only if nobody else has changed them meanwhile, so
//! that whoever could read or write them before can afterwards, and nobody else; and what has to be
//! looked at as a file before it is written as one.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, FallocateFlags, Mode, OFlags, StatxAttributes, XattrFlags, open,
};
use rustix::io::{Errno, retry_on_intr};

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
    /// It, or the folder that it would be made in, was made immutable or append-only (chattr(1)).
    Frozen(PathBuf, Freeze),
    /// The system refused the new file.
    Unwritable(io::Error),
    /// The system refused to go on in the middle of a change, and to take it back. What was there
    /// before stands in a file beside it, where one could be made.
    Torn(io::Error, Option<PathBuf>),
}

/// What keeps even root from a change, and the letter that chattr(1) takes it away by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// Nothing of it can be changed.
    Immutable,
    /// It can only grow.
    AppendOnly,
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

    /// Whether the caller, `uid`, can change it, as far as that can be told without doing it. A mode
    /// without any right to write binds root too: whoever set it meant it.
    pub fn check(&self, uid: u32) -> Result<(), EditError> {
        let Some(metadata) = &self.metadata else { return self.check_new(uid) };
        if metadata.mode() & 0o222 == 0 {
            return Err(EditError::ReadOnly);
        }
        // Nothing is written by that, and whoever can do it can change the file in one way or the
        // other.
        match self.open_in_place() {
            Ok(_) => Ok(()),
            Err(error) => Err(match (freeze_of(&self.path), Errno::from_io_error(&error)) {
                (Some(freeze), _) => EditError::Frozen(self.path.clone(), freeze),
                (None, Some(Errno::ACCESS | Errno::PERM)) => EditError::ReadOnly,
                (None, _) => EditError::Unwritable(error),
            }),
        }
    }

    fn check_new(&self, uid: u32) -> Result<(), EditError> {
        let folders = self.path.ancestors().skip(1);
        let folders = folders.map(|it| if it.as_os_str().is_empty() { Path::new(".") } else { it });
        let mut found = folders.filter_map(|it| Some((it, std::fs::metadata(it).ok()?)));
        let Some((folder, metadata)) = found.next() else { return Ok(()) };
        if uid == 0 && metadata.uid() != 0 {
            return Err(EditError::OfAnother(folder.to_owned(), metadata.uid()));
        }
        match freeze_of(folder) {
            Some(Freeze::Immutable) => {
                return Err(EditError::Frozen(folder.to_owned(), Freeze::Immutable));
            }
            Some(Freeze::AppendOnly) | None => {}
        }
        let access = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
        access.map_err(|error| EditError::Unwritable(error.into()))
    }

    /// Changes it: in one step by a new file in its place, if that is alike in everything but the
    /// content, or else in its place. A new one has `mode`. `random` names what is written beside it.
    pub fn replace(&self, content: &[u8], mode: u32, random: u64) -> Result<Replaced, EditError> {
        let temporary = self.beside(random);
        let written =
            if self.is_tied() { Ok(None) } else { self.write_beside(&temporary, content, mode) };
        if !matches!(written, Ok(Some(Replaced::Done))) {
            // It may not be there, and nobody reads a file of that name.
            let _ = std::fs::remove_file(&temporary);
        }
        match written {
            Ok(Some(replaced)) => Ok(replaced),
            Ok(None) => self.write_in_place(content, random),
            Err(error) if self.metadata.is_some() && is_of_the_folder(&error) => {
                self.write_in_place(content, random)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a new file in its place would part it from something: another name of it, or what is
    /// mounted there.
    fn is_tied(&self) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.nlink() > 1)
            || attributes_of(&self.path).contains(StatxAttributes::MOUNT_ROOT)
    }

    /// Nothing, where the new file would not be alike.
    fn write_beside(
        &self,
        temporary: &Path,
        content: &[u8],
        mode: u32,
    ) -> io::Result<Option<Replaced>> {
        let mut file = create(temporary)?;
        file.write_all(content)?;
        match &self.metadata {
            Some(metadata) if !self.make_alike(&file, metadata) => return Ok(None),
            Some(_) => {}
            None => rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?,
        }
        file.sync_all()?;
        if !self.is_unchanged() {
            return Ok(Some(Replaced::Overtaken));
        }
        if self.metadata.is_none() {
            // Where somebody was faster, their file stays.
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            let (from, to) = (rustix::fs::CWD, rustix::fs::CWD);
            match rustix::fs::renameat_with(from, temporary, to, &self.path, flags) {
                Ok(()) => return Ok(Some(Replaced::Done)),
                Err(Errno::EXIST) => return Ok(Some(Replaced::Overtaken)),
                // Not every file system can.
                Err(Errno::INVAL | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        std::fs::rename(temporary, &self.path)?;
        Ok(Some(Replaced::Done))
    }

    /// Gives a new file the owner, group, mode and extended attributes of this one, access control
    /// lists among them; says whether it has them then.
    fn make_alike(&self, file: &File, metadata: &Metadata) -> bool {
        let Ok(wanted) = Attributes::of(&self.path) else { return false };
        let owners = (Some(metadata.uid()), Some(metadata.gid()));
        // What is refused is seen below.
        let _ = std::os::unix::fs::fchown(file, owners.0, owners.1);
        // After the owner, whose change takes bits away, and before the lists, which are its other
        // half. What a folder hands down to a new file is taken away again.
        let _ = rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode() & 0o7777));
        let path = of_handle(file);
        let Ok(own) = Attributes::of(&path) else { return false };
        for name in own.0.keys().filter(|name| !wanted.0.contains_key(*name)) {
            let _ = rustix::fs::fremovexattr(file, name);
        }
        for (name, value) in wanted.0.iter().filter(|(name, value)| own.0.get(*name) != Some(value))
        {
            let _ = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
        }
        let is_alike = |own: &Metadata| {
            (own.uid(), own.gid(), own.mode()) == (metadata.uid(), metadata.gid(), metadata.mode())
        };
        file.metadata().is_ok_and(|own| is_alike(&own))
            && Attributes::of(&path).is_ok_and(|own| own == wanted)
    }

    /// Writes it where it stands. What was there before is kept beside it until all is written, where
    /// that can be, and is put back if the new content cannot be written.
    fn write_in_place(&self, content: &[u8], random: u64) -> Result<Replaced, EditError> {
        let before = self.content.as_deref().unwrap_or_default();
        let file = self.open_in_place()?;
        if Some(Stamp::of(&file.metadata()?)) != self.metadata.as_ref().map(Stamp::of) {
            return Ok(Replaced::Overtaken);
        }
        // Without space for all of it, nothing is begun. Not every file system can tell.
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) =
            rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, content.len() as u64)
        {
            return Err(io::Error::from(error).into());
        }
        let backup = self.path.with_file_name(format!("{}{random:016x}", self.backup_name()));
        let is_kept = create(&backup).and_then(|mut it| {
            it.write_all(before)?;
            it.sync_all()
        });
        let put = |content: &[u8]| {
            file.write_all_at(content, 0)?;
            file.set_len(content.len() as u64)?;
            file.sync_all()
        };
        let written = put(content).map_err(|error| match put(before) {
            Ok(()) => EditError::Unwritable(error),
            Err(_) => EditError::Torn(error, is_kept.is_ok().then(|| backup.clone())),
        });
        if !matches!(written, Err(EditError::Torn(..))) {
            let _ = std::fs::remove_file(&backup);
        }
        written.map(|()| Replaced::Done)
    }

    /// What begins the name of the file that holds what was there before.
    fn backup_name(&self) -> String {
        format!("{}.before-", self.path.file_name().unwrap_or_default().display())
    }

    fn open_in_place(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        outlive_file_size_limit();
        let flags = flags | OFlags::NOCTTY;
        Ok(File::from(retry_on_intr(|| open(&self.path, flags, Mode::empty()))?))
    }

    /// Whether it can go without anything else changing by that.
    pub fn is_removable(&self) -> bool {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let may_write = || rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        !self.is_linked && !self.is_tied() && freeze_of(folder).is_none() && may_write()
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

fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NOCTTY;
    outlive_file_size_limit();
    Ok(File::from(retry_on_intr(|| open(path, flags, Mode::RUSR | Mode::WUSR))?))
}

/// Whether a refusal concerns the folder, so that the file itself may still be written.
fn is_of_the_folder(error: &io::Error) -> bool {
    let of_folder = [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::BUSY, Errno::XDEV];
    Errno::from_io_error(error).is_some_and(|error| of_folder.contains(&error))
}

/// The extended attributes of a file (xattr(7)) that the caller can see, by name.
#[derive(Debug, PartialEq, Eq)]
struct Attributes(BTreeMap<CString, Vec<u8>>);

impl Attributes {
    /// Those of a file; fails where one of them can be seen and not read.
    fn of(path: &Path) -> io::Result<Self> {
        let mut names = vec![0; LARGEST_ATTRIBUTES];
        let length = match rustix::fs::listxattr(path, &mut names[..]) {
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Self(BTreeMap::new())),
            listed => listed?,
        };
        let mut attributes = BTreeMap::new();
        let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        for name in names.filter_map(|name| CString::new(name).ok()) {
            let mut value = vec![0; LARGEST_ATTRIBUTES];
            let length = rustix::fs::getxattr(path, &name, &mut value[..])?;
            value.truncate(length);
            attributes.insert(name, value);
        }
        Ok(Self(attributes))
    }
}

/// The most that Linux has in one extended attribute, and in all names of a file's: in bytes.
const LARGEST_ATTRIBUTES: usize = 64 * 1024;

fn attributes_of(path: &Path) -> StatxAttributes {
    let status = rustix::fs::statx(
        rustix::fs::CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        rustix::fs::StatxFlags::empty(),
    );
    status.map_or(StatxAttributes::empty(), |status| status.stx_attributes)
}

fn freeze_of(path: &Path) -> Option<Freeze> {
    let attributes = attributes_of(path);
    if attributes.contains(StatxAttributes::IMMUTABLE) {
        return Some(Freeze::Immutable);
    }
    attributes.contains(StatxAttributes::APPEND).then_some(Freeze::AppendOnly)
}

/// A path that leads to what a handle refers to.
fn of_handle(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
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
        Err(Errno::EXIST) if path.is_dir() => Ok(()),
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

    const ACL: &str = "system.posix_acl_access";
    const DEFAULT_ACL: &str = "system.posix_acl_default";

    /// An access control list (acl(5)) as the kernel keeps it: the owner, one more user, the group,
    /// the mask and others.
    fn acl(user: u32, rights: u16) -> Vec<u8> {
        const NOBODY: u32 = u32::MAX;
        let entries = [
            (1_u16, 6, NOBODY),
            (2, rights, user),
            (4, 4, NOBODY),
            (16, 6, NOBODY),
            (32, 0, NOBODY),
        ];
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(tag.to_le_bytes().into_iter().chain(rights.to_le_bytes()));
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    fn set(path: &Path, name: &str, value: &[u8]) {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).expect("an attribute");
    }

    /// Changes a file, and says whether it is still the same inode.
    fn change(path: &Path) -> bool {
        let before = std::fs::metadata(path).expect("a file");
        let original = Original::read(path, 100).expect("a file");
        original.check(before.uid()).expect("it can be changed");
        assert_eq!(original.replace(b"ours", 0o600, 1).expect("changed"), Replaced::Done);
        let after = std::fs::metadata(path).expect("a file");
        let rights = |it: &Metadata| (it.uid(), it.gid(), it.mode(), it.nlink());
        assert_eq!(rights(&before), rights(&after));
        assert_eq!(std::fs::read(path).expect("a file"), b"ours");
        before.ino() == after.ino()
    }

    #[test]
    fn r41_who_could_read_or_write_a_file_can_afterwards_and_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let write = |text: &str| {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, text).expect("written");
        };
        // Lists, and what others keep beside a file.
        write("theirs");
        set(&path, ACL, &acl(4711, 6));
        set(&path, "user.origin", b"somewhere");
        let before = Attributes::of(&path).expect("attributes");
        assert!(before.0.len() >= 2, "{before:?}");
        assert!(!change(&path), "it was replaced in one step");
        assert_eq!(Attributes::of(&path).expect("attributes"), before);
        // What the folder hands down to new files is not handed down to this one.
        write("theirs");
        set(folder.path(), DEFAULT_ACL, &acl(4711, 6));
        change(&path);
        assert!(
            !Attributes::of(&path).expect("attributes").0.contains_key(c"system.posix_acl_access")
        );
        // Another name of it.
        let other = folder.path().join("other");
        write("a longer text of theirs");
        std::fs::hard_link(&path, &other).expect("a link");
        assert!(change(&path), "it was written in its place");
        assert_eq!(std::fs::read(&other).expect("a file"), b"ours");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn r41_a_file_that_is_written_in_its_place_is_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        std::fs::write(&path, "theirs").expect("written");
        let long = "x".repeat(300);
        let original = Original::read(&path, 1000).expect("a file");
        assert_eq!(original.write_in_place(long.as_bytes(), 1).expect("written"), Replaced::Done);
        assert_eq!(std::fs::read(&path).expect("a file"), long.as_bytes());
        let original = Original::read(&path, 1000).expect("a file");
        assert_eq!(original.write_in_place(b"short", 2).expect("written"), Replaced::Done);
        assert_eq!(std::fs::read(&path).expect("a file"), b"short");
        std::fs::write(&path, "theirs again").expect("written");
        assert_eq!(original.write_in_place(b"ours", 3).expect("tried"), Replaced::Overtaken);
        assert_eq!(std::fs::read(&path).expect("a file"), b"theirs again");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
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
