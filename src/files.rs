//! Files, opened so that nobody else can choose what is read or where is written. The only module
//! that names fs2.

pub mod editing;
pub mod way;

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fs2::FileExt;
use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, Stat, open, openat};
use rustix::io::retry_on_intr;
use serde::{Deserialize, Serialize};

use crate::digest::is_hex;
use crate::process::limits::Limit;
use crate::process::outlive_file_size_limit;

/// What tells one state of a file from another without reading it: device, inode, size, and the
/// times of the last change of its content and of its inode in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    /// The stamp of what a handle refers to.
    pub fn of(metadata: &Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self(
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        )
    }

    /// When the inode last changed, in nanoseconds since 1970. Unlike the time of the last change
    /// of the content, it cannot be set at will.
    pub const fn changed(self) -> i64 {
        self.4
    }
}

/// Why an input could not be read.
#[derive(Debug)]
pub enum InputError {
    /// It, or a folder on the way to it, does not exist.
    Absent,
    /// The system refused it.
    Unreadable(io::Error),
    /// It is a folder, a device, a pipe or a socket.
    NotAFile,
    /// It is larger than its cap, in bytes.
    TooLarge(u64),
}

impl InputError {
    /// The limit of this process that keeps it from reading, if that is why.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Unreadable(error) => Limit::behind(error),
            Self::Absent | Self::NotAFile | Self::TooLarge(_) => None,
        }
    }
}

impl std::fmt::Display for InputError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => formatter.write_str("does not exist"),
            Self::Unreadable(error) => {
                write!(formatter, "cannot be read ({})", describe(error))
            }
            Self::NotAFile => formatter.write_str("is not a regular file"),
            Self::TooLarge(cap) => write!(formatter, "is larger than {} KiB", cap / 1024),
        }
    }
}

/// An error of the system in its own words, without Rust's `(os error N)`.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// A file that an operator named: its content and its handle's metadata, taken before it was read.
#[derive(Debug)]
pub struct Input {
    /// The content.
    pub bytes: Vec<u8>,
    /// Owner, mode and times of the file that was read.
    pub metadata: Metadata,
}

/// Reads a file that the configuration or a variable names. Symbolic links are followed (that is
/// how Kubernetes mounts secrets); anything but a regular file is refused without blocking on it.
pub fn read_input(path: &Path, cap: u64) -> Result<Input, InputError> {
    let file = open_input(path)?;
    let metadata = file.metadata().map_err(InputError::Unreadable)?;
    if !metadata.is_file() {
        return Err(InputError::NotAFile);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(cap)).unwrap_or(0) + 1);
    file.take(cap + 1).read_to_end(&mut bytes).map_err(InputError::Unreadable)?;
    if bytes.len() as u64 > cap {
        return Err(InputError::TooLarge(cap));
    }
    Ok(Input { bytes, metadata })
}

/// The text of a file of the kernel's that has at most `N` bytes, which it gives in one read.
pub fn read_at_once<const N: usize>(path: &Path) -> Option<String> {
    let file = open_input(path).ok()?;
    let mut bytes = [0; N];
    let length = retry_on_intr(|| rustix::io::read(&file, &mut bytes)).ok()?;
    Some(std::str::from_utf8(&bytes[..length]).ok()?.to_owned())
}

/// A folder that an operator filled: its names and its handle's metadata, taken before it was listed.
#[derive(Debug)]
pub struct InputFolder {
    /// The names of all that is in it, in no order.
    pub names: Vec<OsString>,
    /// Owner, mode and times of the folder that was listed.
    pub metadata: Metadata,
}

/// Lists a folder of inputs; symbolic links are followed.
pub fn list_input(path: &Path) -> Result<InputFolder, InputError> {
    let folder = open_input(path)?;
    let metadata = folder.metadata().map_err(InputError::Unreadable)?;
    if !metadata.is_dir() {
        return Err(InputError::Unreadable(io::ErrorKind::NotADirectory.into()));
    }
    let unreadable = |error: rustix::io::Errno| InputError::Unreadable(error.into());
    let names = rustix::fs::Dir::new(folder)
        .map_err(unreadable)?
        .map(|entry| Ok(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    Ok(InputFolder { names, metadata })
}

fn open_input(path: &Path) -> Result<File, InputError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match retry_on_intr(|| open(path, flags, Mode::empty())) {
        Ok(handle) => Ok(File::from(handle)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Err(InputError::Absent),
        Err(error) => Err(InputError::Unreadable(error.into())),
    }
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| open(path, flags, Mode::empty()))?)
}

/// Opens a log file to append to: made with mode 0600, never followed through a symbolic link, and
/// refused unless it is a regular file of `owner` with one link that nobody else may use.
pub fn open_log(path: &Path, owner: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC
        | OFlags::NOCTTY;
    outlive_file_size_limit();
    let file = File::from(retry_on_intr(|| open(path, flags, Mode::RUSR | Mode::WUSR))?);
    if is_private(&file.metadata()?, owner) {
        Ok(file)
    } else {
        Err(io::Error::other("not a regular file of the caller's own with mode 0600"))
    }
}

/// The mode bits of group and others.
const OF_OTHERS: u32 = 0o077;

fn is_private(metadata: &Metadata, owner: u32) -> bool {
    metadata.is_file()
        && metadata.uid() == owner
        && metadata.nlink() == 1
        && metadata.mode() & OF_OTHERS == 0
}

/// A folder that only its owner can enter. Everything in it is reached through its handle, so a
/// folder that is swapped afterwards changes nothing.
#[derive(Debug)]
pub struct PrivateFolder {
    handle: OwnedFd,
    path: PathBuf,
    owner: u32,
    is_in_memory: bool,
}

impl PrivateFolder {
    /// Opens a folder that belongs to `owner` and has no bits for group or others; the error says
    /// why it does not serve.
    pub fn open(path: &Path, owner: u32) -> Result<Self, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = retry_on_intr(|| open(path, flags, Mode::empty()))
            .map_err(|error| why_not_opened(path, owner, error))?;
        let status = rustix::fs::fstat(&handle).map_err(|error| describe(&error.into()))?;
        if status.st_uid != owner {
            return Err(of_another(status.st_uid, owner));
        }
        if status.st_mode & OF_OTHERS != 0 {
            return Err(format!("has mode {:04o}, not 0700", status.st_mode & 0o7777));
        }
        let is_in_memory = rustix::fs::fstatfs(&handle).is_ok_and(|it| is_of_memory(&it));
        Ok(Self { handle, path: path.to_owned(), owner, is_in_memory })
    }

    /// Makes a folder (0755) in one of `owner`'s own, for private folders of several users.
    pub fn make_shared(path: &Path, owner: u32) -> Result<(), String> {
        let is_root = |uid| uid == 0;
        Self::make_with(
            path,
            owner,
            is_root,
            Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
        )
    }

    /// Makes the folder (0700) where that is allowed.
    pub fn make(path: &Path, owner: u32, is_root: impl Fn(u32) -> bool) -> Result<(), String> {
        Self::make_with(path, owner, is_root, Mode::RWXU)
    }

    fn make_with(
        path: &Path,
        owner: u32,
        is_root: impl Fn(u32) -> bool,
        mode: Mode,
    ) -> Result<(), String> {
        Self::may_make(path, owner, is_root)?;
        match rustix::fs::mkdir(path, mode) {
            Ok(()) if mode == Mode::RWXU => Ok(()),
            // The umask does not say who may enter a shared folder.
            Ok(()) => rustix::fs::chmod(path, mode).map_err(|error| describe(&error.into())),
            // Another process was faster; whether it serves is found out when it is opened.
            Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(not_made(error)),
        }
    }

    /// Whether a folder that does not exist may be made: where its parent is `owner`'s own, or one
    /// with the sticky bit that `is_root` says is root's; elsewhere it would be left behind in
    /// somebody else's place.
    pub fn may_make(path: &Path, owner: u32, is_root: impl Fn(u32) -> bool) -> Result<(), String> {
        let parent = path.parent().ok_or("has no parent folder")?;
        let status = rustix::fs::stat(parent).map_err(|error| match error {
            rustix::io::Errno::NOENT => "does not exist, like its parent folder".to_owned(),
            error => not_made(error),
        })?;
        if !is_for_folders_of(&status, owner, is_root) {
            let parents = status.st_uid;
            return Err(format!("does not exist, and its parent folder belongs to uid {parents}"));
        }
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(parent, access).map_err(not_made)
    }

    /// Whether something stands in the place of a folder that [`may_make`](Self::may_make) would
    /// allow if nothing did.
    pub fn is_taken(path: &Path, owner: u32, is_root: impl Fn(u32) -> bool) -> bool {
        let parent = path.parent().and_then(|parent| rustix::fs::stat(parent).ok());
        parent.is_some_and(|status| is_for_folders_of(&status, owner, is_root))
            && rustix::fs::lstat(path).is_ok()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nothing can be written into it, as far as that can be told without writing.
    pub fn why_not_written(&self) -> Option<String> {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let error = rustix::fs::accessat(&self.handle, ".", access, AtFlags::empty()).err()?;
        Some(format!("cannot be written to ({})", describe(&error.into())))
    }

    /// Whether it lives in memory (tmpfs), so that it is empty after a boot.
    pub const fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }

    /// The content of a file, or nothing where there is none that can be trusted: a regular file of
    /// the owner's with one link, no bits for others and at most `cap` bytes.
    pub fn read(&self, name: &str, cap: u64) -> Option<Vec<u8>> {
        let mut file = self.open_file(name, OFlags::RDONLY).ok()?;
        let metadata = file.metadata().ok()?;
        if !is_private(&metadata, self.owner) || metadata.len() > cap {
            return None;
        }
        // No look for an end behind the size: whatever has changed since fails its checksum.
        let mut bytes = vec![0; usize::try_from(metadata.len()).ok()?];
        file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Makes room for a file before there is anything to write: a full disk is found out while
    /// nothing is lost yet. `random` names the temporary file.
    pub fn reserve(&self, size: u64, random: u64) -> io::Result<Reservation<'_>> {
        let name = temporary_name(random);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        outlive_file_size_limit();
        let reservation = Reservation { file: self.open_file(&name, flags)?, name, folder: self };
        // Not fs2's `allocate`: it reads `errno`, which posix_fallocate does not set.
        let file = &reservation.file;
        match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size)) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => {
                Ok(reservation)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of the files in it that are text, in no order.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in retry_on_intr(|| rustix::fs::Dir::read_from(&self.handle))? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(entry.file_type(), FileType::Directory)
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Whether this is still the file that has this name, and not one that lost it to another. A lock
    /// on one that did keeps nobody out.
    pub fn is_named(&self, lock: &LockFile, name: &str) -> bool {
        let named = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW);
        let own = rustix::fs::fstat(&lock.file);
        matches!((named, own), (Ok(named), Ok(own))
            if named.st_ino == own.st_ino && named.st_dev == own.st_dev)
    }

    /// Gives a file another name, in the place of what had that.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    /// When a file's content last changed, in seconds since 1970.
    pub fn modified(&self, name: &str) -> Option<i64> {
        let status = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(status.st_mtime)
    }

    /// Opens a lock file, which is made where there is none. What stands there and cannot be one
    /// is removed, once.
    pub fn lock_file(&self, name: &str) -> io::Result<LockFile> {
        outlive_file_size_limit();
        let opened = self.open_lock_file(name)?;
        if let Some(lock) = opened {
            return Ok(lock);
        }
        self.remove(name)?;
        self.open_lock_file(name)?
            .ok_or_else(|| io::Error::other("the lock file is not a private regular file"))
    }

    /// Nothing, where something else stands in the place of a lock file.
    fn open_lock_file(&self, name: &str) -> io::Result<Option<LockFile>> {
        let file = match self.open_file(name, OFlags::RDWR | OFlags::CREATE) {
            Ok(file) => file,
            Err(error) => {
                let is_another_thing = matches!(
                    rustix::io::Errno::from_io_error(&error),
                    Some(rustix::io::Errno::LOOP | rustix::io::Errno::ACCESS)
                );
                return if is_another_thing { Ok(None) } else { Err(error) };
            }
        };
        let metadata = file.metadata()?;
        // Without a name it was removed just now, by somebody who held it: whoever takes the lock
        // sees that and opens the new one.
        let is_unlinked = metadata.nlink() == 0;
        Ok((is_unlinked || is_private(&metadata, self.owner)).then_some(LockFile { file }))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(File::from(retry_on_intr(|| openat(&self.handle, name, flags, mode))?))
    }
}

/// Whether a folder may hold private ones of `owner`: it is `owner`'s own, or root's with the sticky
/// bit.
fn is_for_folders_of(status: &Stat, owner: u32, is_root: impl Fn(u32) -> bool) -> bool {
    status.st_uid == owner || (status.st_mode & 0o1000 != 0 && is_root(status.st_uid))
}

fn of_another(uid: u32, owner: u32) -> String {
    format!("belongs to uid {uid}, not to uid {owner}")
}

/// Why a folder could not be opened; a link to one is not called what it is by the system, nor is
/// another's folder that is closed.
fn why_not_opened(path: &Path, owner: u32, error: rustix::io::Errno) -> String {
    match (error, rustix::fs::lstat(path)) {
        (rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP, _) if path.is_symlink() => {
            "is a symbolic link".to_owned()
        }
        (rustix::io::Errno::ACCESS, Ok(status)) if status.st_uid != owner => {
            of_another(status.st_uid, owner)
        }
        (error, _) => format!("cannot be opened ({})", describe(&error.into())),
    }
}

fn not_made(error: rustix::io::Errno) -> String {
    format!("does not exist and cannot be made ({})", describe(&error.into()))
}

/// How the name of a file begins that is being written.
const TEMPORARY: &str = ".tmp-quayfed-";

/// The name of a file that is being written, beside the one that it is to become.
pub fn temporary_name(random: u64) -> String {
    format!("{TEMPORARY}{random:016x}")
}

/// Whether a name is one that [`temporary_name`] makes, and so nobody else's.
pub fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|random| is_hex(random, 16))
}

/// Whether a path is on a file system that lives in memory.
pub fn is_in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|it| is_of_memory(&it))
}

/// Whether what stands at a path is this user's.
pub fn belongs_to(path: &Path, uid: u32) -> bool {
    rustix::fs::stat(path).is_ok_and(|status| status.st_uid == uid)
}

fn is_of_memory(status: &rustix::fs::StatFs) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    #[allow(clippy::useless_conversion, reason = "the type differs between targets")]
    let kind = i64::from(status.f_type) & 0xffff_ffff;
    matches!(kind, TMPFS | RAMFS)
}

/// A file that has its space but no name yet; removed again unless it is written.
#[derive(Debug)]
pub struct Reservation<'a> {
    folder: &'a PrivateFolder,
    file: File,
    name: String,
}

impl Reservation<'_> {
    /// Writes the content and gives the file its name, replacing what stood there in one step.
    pub fn write(mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.set_len(content.len() as u64)?;
        let folder = &self.folder.handle;
        rustix::fs::renameat(folder, self.name.as_str(), folder, name)?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Nothing to be done where it fails: leftovers are removed after a while.
            let _ = self.folder.remove(&self.name);
        }
    }
}

/// An open lock file; its lock ends when it is dropped, or when the process ends however it may.
#[derive(Debug)]
pub struct LockFile {
    file: File,
}

impl LockFile {
    /// A folder's own lock, which leaves no file behind.
    pub fn of_folder(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::from(open_folder(path)?) })
    }

    /// Takes the lock if nobody holds it. An error means that locks do not work here.
    pub fn try_lock(&self) -> io::Result<bool> {
        match FileExt::try_lock_exclusive(&self.file) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == fs2::lock_contended_error().kind() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is written in it, at most `cap` bytes.
    pub fn read(&self, cap: u64) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.rewind()?;
        let mut bytes = Vec::new();
        file.take(cap).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Replaces what is written in it. A reader without the lock may see half of it: contents
    /// carry a checksum.
    pub fn write(&self, content: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)
    }
}

impl Drop for LockFile {
    /// Closing alone would leave the lock with a process that is just being started, until its copy
    /// of the handle is closed too.
    fn drop(&mut self) {
        let _ = FileExt::unlock(&self.file);
    }
}

/// The path with every symbolic link resolved, if what stands there is still what `metadata` is of.
pub fn resolved(path: &Path, metadata: &Metadata) -> Option<PathBuf> {
    let path = std::fs::canonicalize(path).ok()?;
    let now = std::fs::metadata(&path).ok()?;
    (now.dev() == metadata.dev() && now.ino() == metadata.ino()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r22_a_folder_that_another_process_has_just_made_serves() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("cache");
        let owner = rustix::process::geteuid().as_raw();
        for _ in 0..2 {
            PrivateFolder::make(&path, owner, |uid| uid == 0).expect("made, now or before");
            PrivateFolder::open(&path, owner).expect("serves");
        }
    }

    #[test]
    fn a_folder_is_locked_by_one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = LockFile::of_folder(folder.path()).expect("a lock");
        assert!(lock.try_lock().expect("locks work"));
        let other = LockFile::of_folder(folder.path()).expect("a lock");
        assert!(!other.try_lock().expect("locks work"));
        drop(lock);
        assert!(other.try_lock().expect("locks work"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
