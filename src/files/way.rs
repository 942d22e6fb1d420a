//! The way to a file as the system goes it: every folder, every symbolic link and the folders that
//! those lead through. Whoever can change one of them decides what is found at the end.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::retry_on_intr;

/// The most symbolic links that are followed on one way, as the kernel has it
/// (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// One thing on the way, as its own handle showed it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it is, every link before it resolved.
    pub path: PathBuf,
    /// The part that it was looked up in: its place on the way. Nothing for the root folder, and for
    /// one that was gone back to by `..`.
    pub within: Option<usize>,
    /// What it is.
    pub kind: PartKind,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its mode, without the bits of its kind.
    pub mode: u32,
    /// Device and inode.
    pub identity: (u64, u64),
    /// The name of the pseudo file system that it is on.
    pub pseudo: Option<&'static str>,
    /// Whether it is on a file system in user space, which may show any owner.
    pub is_in_user_space: bool,
    /// Whether it was reached by a mount that is read-only.
    pub is_read_only: bool,
    /// Whether more users than owner and group may have rights of their own: it has an access
    /// control list, or that cannot be told. Looked at where the group can write.
    pub has_access_list: bool,
}

/// What stands on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Anything else: the end of the way.
    End,
}

/// Every part of the way to `path`, in the order in which the system goes it, the root folder first.
/// Nothing is opened for reading, so no device or pipe notices.
pub fn way_to(path: &Path) -> io::Result<Vec<Part>> {
    let path = std::path::absolute(path)?;
    let root = open_part(CWD, Path::new("/"), OFlags::DIRECTORY)?;
    let mut parts = vec![Part::of(PathBuf::from("/"), None, &root)?];
    let (mut here, mut at) = (root, 0);
    let mut left = Vec::new();
    push(&mut left, &path);
    let mut links = 0;
    while let Some(step) = left.pop() {
        let name = match step {
            Step::Root => {
                (here, at) = (open_part(CWD, Path::new("/"), OFlags::DIRECTORY)?, 0);
                continue;
            }
            Step::Up => {
                here = open_part(&here, Path::new(".."), OFlags::DIRECTORY)?;
                let path = parts[at].path.parent().unwrap_or(Path::new("/")).to_owned();
                parts.push(Part::of(path, None, &here)?);
                at = parts.len() - 1;
                continue;
            }
            Step::Down(name) => name,
        };
        let next = open_part(&here, Path::new(&name), OFlags::NOFOLLOW)?;
        let part = Part::of(parts[at].path.join(&name), Some(at), &next)?;
        let kind = part.kind;
        parts.push(part);
        match kind {
            PartKind::Folder => (here, at) = (next, parts.len() - 1),
            PartKind::Link => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
                push(&mut left, Path::new(&bytes_of(target)));
            }
            PartKind::End if left.is_empty() => {}
            PartKind::End => return Err(rustix::io::Errno::NOTDIR.into()),
        }
    }
    Ok(parts)
}

/// A step of a path.
enum Step {
    Root,
    Up,
    Down(OsString),
}

/// Puts the steps of a path on top, the first uppermost.
fn push(left: &mut Vec<Step>, path: &Path) {
    left.extend(path.components().rev().filter_map(|component| match component {
        Component::RootDir | Component::Prefix(_) => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir => None,
    }));
}

fn bytes_of(target: std::ffi::CString) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(target.into_bytes())
}

fn open_part(folder: impl AsFd, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| rustix::fs::openat(&folder, name, flags, Mode::empty()))?)
}

impl Part {
    fn of(path: PathBuf, within: Option<usize>, handle: &OwnedFd) -> io::Result<Self> {
        let status = rustix::fs::fstat(handle)?;
        let kind = match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => PartKind::Folder,
            FileType::Symlink => PartKind::Link,
            _ => PartKind::End,
        };
        let file_system = rustix::fs::fstatfs(handle)?;
        #[allow(clippy::useless_conversion, reason = "the type differs between targets")]
        let magic = i64::from(file_system.f_type) & 0xffff_ffff;
        let flags = rustix::fs::fstatvfs(handle)?.f_flag;
        let mode = status.st_mode & 0o7777;
        #[allow(clippy::useless_conversion, reason = "the types differ between targets")]
        let identity = (u64::from(status.st_dev), u64::from(status.st_ino));
        Ok(Self {
            path,
            within,
            kind,
            uid: status.st_uid,
            gid: status.st_gid,
            mode,
            identity,
            pseudo: name_of_pseudo(magic),
            is_in_user_space: magic == FUSE,
            is_read_only: flags.contains(StatVfsMountFlags::RDONLY),
            has_access_list: mode & 0o020 != 0 && has_access_list(handle),
        })
    }
}

const FUSE: i64 = 0x6573_5546;

/// The pseudo file systems on which a regular file says what a process or the kernel does, by their
/// numbers (`statfs(2)`, the kernel's `magic.h`). A list of those that are refused and not of those
/// that are accepted: what files are kept on is without number.
fn name_of_pseudo(magic: i64) -> Option<&'static str> {
    Some(match magic {
        0x0000_9fa0 => "proc",
        0x6265_6572 => "sysfs",
        0x6462_6720 => "debugfs",
        0x7472_6163 => "tracefs",
        0x7363_6673 => "securityfs",
        0x0027_e0eb => "cgroup",
        0x6367_7270 => "cgroup2",
        0x0000_1cd1 => "devpts",
        0x1980_0202 => "mqueue",
        0x6265_6570 => "configfs",
        0x4249_4e4d => "binfmt_misc",
        0xcafe_4a11 => "bpf",
        0x6165_676c => "pstore",
        0xde5e_81e4 => "efivarfs",
        0xf97c_ff8c => "selinuxfs",
        0x4341_5d53 => "smackfs",
        0x6573_5543 => "fusectl",
        0x6759_6969 => "rpc_pipefs",
        0x6e66_7364 => "nfsd",
        0x0765_5821 => "resctrl",
        0x6e73_6673 => "nsfs",
        0x5049_4446 => "pidfs",
        0x0904_1934 => "anon_inodefs",
        0x5345_434d => "secretmem",
        0x6c6f_6f70 => "binderfs",
        0xabba_1974 => "xenfs",
        _ => return None,
    })
}

/// Whether a folder has an access control list. It is asked for by the handle's name in /proc, since
/// handles of this kind give no attributes; where that cannot be done, there may be one.
fn has_access_list(handle: &OwnedFd) -> bool {
    use rustix::io::Errno;
    let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let mut none: [u8; 0] = [];
    let found = rustix::fs::getxattr(&*name, "system.posix_acl_access", &mut none);
    !matches!(found, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn way(path: &Path, below: &Path) -> Vec<String> {
        let parts = way_to(path).expect("a way");
        let shown = |part: &Part| {
            let path = part.path.strip_prefix(below).ok()?;
            Some(format!("{} {:?}", path.display(), part.kind))
        };
        parts.iter().filter_map(shown).collect()
    }

    #[test]
    fn r32_the_way_leads_through_every_folder_and_every_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("a path");
        std::fs::create_dir_all(folder.join("a/b")).expect("folders");
        std::fs::create_dir_all(folder.join("c")).expect("folders");
        std::fs::write(folder.join("c/file"), "").expect("a file");
        symlink("../../c/file", folder.join("a/b/up")).expect("a link");
        symlink(folder.join("a/b"), folder.join("c/absolute")).expect("a link");
        symlink("absolute", folder.join("c/twice")).expect("a link");
        assert_eq!(
            way(&folder.join("c/./twice//up"), &folder),
            [
                " Folder",
                "c Folder",
                "c/twice Link",
                "c/absolute Link",
                " Folder",
                "a Folder",
                "a/b Folder",
                "a/b/up Link",
                "a Folder",
                " Folder",
                "c Folder",
                "c/file End",
            ]
        );
    }

    #[test]
    fn r32_a_way_without_an_end_is_an_error_as_the_system_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        symlink("loop", folder.path().join("loop")).expect("a link");
        std::fs::write(folder.path().join("file"), "").expect("a file");
        for name in ["loop", "none", "file/x"] {
            let path = folder.path().join(name);
            let wanted = std::fs::metadata(&path).expect_err("an error").raw_os_error();
            let found = way_to(&path).map(|_| ()).expect_err("an error").raw_os_error();
            assert_eq!(found, wanted, "{name}");
        }
        // As many links as the kernel follows, and one more.
        std::fs::write(folder.path().join("0"), "").expect("a file");
        for number in 1..=41 {
            let link = folder.path().join(number.to_string());
            symlink((number - 1).to_string(), link).expect("a link");
        }
        for (number, is_followed) in [(40, true), (41, false)] {
            let path = folder.path().join(number.to_string());
            assert_eq!(std::fs::metadata(&path).is_ok(), is_followed, "the kernel");
            assert_eq!(way_to(&path).is_ok(), is_followed);
        }
    }

    #[test]
    fn r32_pseudo_file_systems_are_known_by_the_handle() {
        for (path, wanted) in [
            ("/proc/self/status", Some("proc")),
            ("/proc/sys/kernel/ostype", Some("proc")),
            ("/sys/kernel/uevent_seqnum", Some("sysfs")),
            ("/etc/passwd", None),
            ("/dev/shm", None),
        ] {
            if Path::new(path).exists() {
                let parts = way_to(Path::new(path)).expect("a way");
                assert_eq!(parts.last().expect("an end").pseudo, wanted, "{path}");
            }
        }
    }
}
