//! Whom a file belongs to, who can change it and who can read it: whether it may be trusted with
//! the choice of where tokens go, or with a secret.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::files::way::{Part, PartKind, way_to};
use crate::files::{self, InputError, read_input};
use crate::process::limits::Limit;
use crate::secret::Secret;
use crate::world::{Gained, World};

/// The largest secret that is read, in bytes.
const LARGEST_SECRET: u64 = 64 * 1024;

/// Why this process must not do anything: it gained something over its caller when it was started,
/// so whoever calls it chooses what it reads and writes with rights that are not theirs (rule R5).
pub fn caller_fault(world: &World) -> Option<Failure> {
    let (cause, hint) = match world.caller.has_gained()? {
        Gained::Identity => (
            "the program was made set-user-ID or set-group-ID: it runs as a different user than \
             its caller",
            "remove the bit (chmod ug-s) and let each user call the program as themselves",
        ),
        Gained::Capabilities => (
            "the program has file capabilities: it may do more than its caller",
            "remove them (setcap -r) and let each user call the program as themselves",
        ),
        Gained::Domain => (
            "a security module (SELinux, AppArmor) runs the program in a domain of its own: it may \
             do more than its caller",
            "let the policy run it in its caller's domain, or allow `noatsecure` for that change",
        ),
    };
    Some(Failure::new(cause, hint))
}

/// What is read from a file that must be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A configuration, or a folder of drop-ins.
    Configuration,
    /// A secret.
    Secret,
    /// Certificates of a CA.
    Certificates,
}

/// Why what was read at `path` must not be trusted: because of itself ([`owner_fault`]) or because
/// of the way to it (rule R32). `metadata` is that of the handle that it was read from. The way is
/// looked at afterwards: where nobody else can change any part of it, it cannot have been another
/// one before.
pub fn trust_fault(world: &World, path: &Path, metadata: &Metadata, of: Use) -> Option<Failure> {
    if metadata.is_file()
        && let Some(failure) = owner_fault(world, path, metadata, of)
    {
        return Some(failure);
    }
    let parts = match way_to(path) {
        Ok(parts) => parts,
        Err(error) => {
            return Some(Failure::new(
                format!(
                    "the way to {} cannot be looked at ({})",
                    path.display(),
                    files::describe(&error)
                ),
                Limit::behind(&error)
                    .map_or("try again; it may have changed just now", Limit::hint),
            ));
        }
    };
    let is_the_same =
        parts.last().is_some_and(|end| end.identity == (metadata.dev(), metadata.ino()));
    let way = Way { world, path, parts: &parts, of };
    way.pseudo_fault().or_else(|| {
        if is_the_same {
            return way.folders_fault();
        }
        Some(Failure::new(
            format!("{} was replaced while it was read", path.display()),
            "try again",
        ))
    })
}

/// The way to a file, with what it is judged by.
struct Way<'a> {
    world: &'a World,
    path: &'a Path,
    parts: &'a [Part],
    of: Use,
}

impl Way<'_> {
    /// What stands in a file of a pseudo file system is said by a process, whoever owns the file.
    fn pseudo_fault(&self) -> Option<Failure> {
        let (part, kind) = self.parts.iter().rev().find_map(|part| Some((part, part.pseudo?)))?;
        let path = self.path.display();
        let leads = if self.path == part.path {
            format!("{path} is")
        } else {
            format!("{path} leads to {},", part.path.display())
        };
        Some(Failure::new(
            format!(
                "{leads} on a pseudo file system ({kind}), where processes say what a file holds"
            ),
            "name a regular file on a disk or in memory",
        ))
    }

    fn folders_fault(&self) -> Option<Failure> {
        // The last folder that somebody unknown owns, until one of the caller's own follows.
        let mut unknown = None;
        for part in self.parts {
            if let Some(failure) = self.shared_fault(part) {
                return Some(failure);
            }
            if part.kind != PartKind::Folder {
                continue;
            }
            if is_foreign_to_the_namespace(self.world, part.uid) {
                unknown = Some(part);
            } else if part.uid != 0 && part.uid != self.world.caller.uid() {
                return Some(self.owner_fault(part));
            } else {
                unknown = None;
            }
            if self.is_open(part) && !is_sticky(part) {
                return Some(self.open_fault(part));
            }
        }
        let end = self.parts.last()?;
        let is_in_a_place_of_root =
            || roots_places(self.world, self.of).iter().any(|root| end.path.starts_with(root));
        unknown.filter(|_| !is_in_a_place_of_root()).map(|folder| self.unknown_fault(folder))
    }

    /// Whether others than the owner can write to a folder. On a read-only mount nobody can, as far
    /// as this host goes: what Kubernetes mounts into a pod has mode 0777 there.
    fn is_open(&self, folder: &Part) -> bool {
        let caller = &self.world.caller;
        let is_root = caller.uid() == 0 && caller.namespace().is_initial;
        let is_known = !is_foreign_to_the_namespace(self.world, folder.uid);
        // A umask of 002 leaves folders that the user's own group can write to.
        let is_own_group = || {
            !is_root && is_known && !folder.has_access_list && caller.is_primary_group(folder.gid)
        };
        let by_others = folder.mode & 0o002 != 0;
        let by_group = folder.mode & 0o020 != 0;
        (by_others || by_group && !is_own_group()) && !folder.is_read_only
    }

    /// In a folder with the sticky bit, such as /tmp, others can make entries and can rename their
    /// own. So they can move a file or a link of ours there that lay in a folder of theirs, but not
    /// a folder, since moving one takes a right to write into it.
    fn shared_fault(&self, part: &Part) -> Option<Failure> {
        let folder = &self.parts[part.within?];
        if !is_sticky(folder) || !self.is_open(folder) {
            return None;
        }
        let shown = folder.path.display();
        let mode = folder.mode;
        let entry = part.path.display();
        match part.kind {
            // The owner of what is mounted in user space is whoever its program says.
            PartKind::Folder if part.is_in_user_space && !folder.is_in_user_space => {
                Some(Failure::new(
                    self.because(format_args!("{entry} is a file system in user space, mounted in {shown}, where everybody can write (mode {mode:04o})")),
                    self.elsewhere(),
                ))
            }
            // Whose it is is asked with the other folders; what nobody knows the owner of may be
            // anybody's.
            PartKind::Folder if is_foreign_to_the_namespace(self.world, part.uid) => {
                Some(self.unknown_fault(part))
            }
            PartKind::Folder => None,
            PartKind::Link => Some(Failure::new(
                self.because(format_args!("{entry} is a symbolic link in {shown}, where everybody can write (mode {mode:04o})")),
                "name the file that it leads to",
            )),
            PartKind::End => Some(Failure::new(
                self.because(format_args!("it lies in {shown}, where everybody can write (mode {mode:04o})")),
                format!("move it into a folder of your own there, such as one made by: mktemp -d {}", quoted(&folder.path.join("quayfed.XXXXXX"))),
            )),
        }
    }

    fn because(&self, reason: std::fmt::Arguments<'_>) -> String {
        format!("{} cannot be trusted: {reason}", self.path.display())
    }

    fn because_of(&self, folder: &Part, reason: std::fmt::Arguments<'_>) -> String {
        let shown = folder.path.display();
        // A folder of drop-ins is itself what is read.
        if folder.path == self.path {
            format!("{shown} {reason}")
        } else {
            self.because(format_args!("the folder {shown} on the way to it {reason}"))
        }
    }

    fn owner_fault(&self, folder: &Part) -> Failure {
        let caller = &self.world.caller;
        let mode = folder.mode;
        let cause = self.because_of(
            folder,
            format_args!(
                "belongs to uid {} (mode {mode:04o}), {}",
                caller.owner_on_the_host(folder.uid),
                neither_nor(self.world)
            ),
        );
        let hint = if is_of_the_system(self.world, &folder.path) {
            let sudo = self.world.as_root();
            format!(
                "whoever owns it decides what stands in it: {sudo}chown root: {}",
                quoted(&folder.path)
            )
        } else {
            self.elsewhere()
        };
        Failure::new(cause, hint)
    }

    fn elsewhere(&self) -> String {
        elsewhere(self.world, self.path, self.of)
    }

    fn open_fault(&self, folder: &Part) -> Failure {
        let uid = self.world.caller.owner_on_the_host(folder.uid);
        let sudo = if folder.uid == self.world.caller.uid() { "" } else { self.world.as_root() };
        let mode = folder.mode;
        Failure::new(
            self.because_of(
                folder,
                format_args!(
                    "can be written by others than its owner (uid {uid}, mode {mode:04o})"
                ),
            ),
            format!("take that right away: {sudo}chmod go-w {}", quoted(&folder.path)),
        )
    }

    fn unknown_fault(&self, folder: &Part) -> Failure {
        let (mode, uid) = (folder.mode, folder.uid);
        Failure::new(
            self.because_of(
                folder,
                format_args!(
                    "belongs to uid {uid} (mode {mode:04o}), which in this user namespace stands \
                     for everybody outside of it"
                ),
            ),
            known_places(self.world, self.of),
        )
    }
}

/// The way around a file or a folder that has to stay somebody else's: a copy.
fn elsewhere(world: &World, path: &Path, of: Use) -> String {
    let own = if world.caller.uid() == 0 && world.caller.namespace().is_initial {
        Some(world.places.system_configuration.to_path_buf())
    } else {
        world.user_configuration().map(|folder| folder.join("quayfed"))
    };
    let mode = if of == Use::Secret { "600" } else { "644" };
    match (own, path.file_name()) {
        (Some(own), Some(name)) if !path.starts_with(&own) => format!(
            "keep a copy where nobody else can change it, and name that: install -m {mode} {} {}",
            quoted(path),
            quoted(&own.join(name))
        ),
        _ => "keep it where only root or the user running this can write".to_owned(),
    }
}

fn is_sticky(folder: &Part) -> bool {
    folder.mode & 0o1000 != 0
}

/// Whether a folder is nobody's home, so that its owner may be set right.
fn is_of_the_system(world: &World, folder: &Path) -> bool {
    let etc = world.places.system_configuration.parent();
    etc.is_some_and(|etc| folder.starts_with(etc))
        || ["/usr", "/opt"].iter().any(|root| folder.starts_with(root))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Whom something does not belong to, but should.
fn neither_nor(world: &World) -> String {
    match world.caller.uid() {
        0 if world.caller.namespace().is_initial => "not to root".to_owned(),
        _ => format!(
            "neither to root nor to the user running this (uid {})",
            world.caller.uid_on_the_host()
        ),
    }
}

/// Why a file must not be trusted, going by its handle's `metadata`: it belongs neither to root nor
/// to the caller, or group or others can write to it (rules R5 and R24). Users are never looked up
/// by name.
pub fn owner_fault(world: &World, path: &Path, metadata: &Metadata, of: Use) -> Option<Failure> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let shown = path.display();
    let caller = &world.caller;
    let on_the_host = caller.owner_on_the_host(uid);
    if is_foreign_to_the_namespace(world, uid) {
        if let Some(failure) = fault_outside_of_the_namespace(world, path, metadata, of) {
            return Some(failure);
        }
    } else if uid != 0 && uid != caller.uid() {
        let hint = if is_of_the_system(world, path) {
            format!(
                "whoever owns it decides what stands in it: {}chown root: {}",
                world.as_root(),
                quoted(path)
            )
        } else if of == Use::Configuration && caller.uid() == 0 && caller.namespace().is_initial {
            // As `sudo -E` has it: what is another's stays theirs.
            format!(
                "it is theirs: run this as that user, or with root's own HOME (sudo -H), or let a \
                 file of root's say it: {} is read for everybody",
                world.places.system_configuration.join("config.toml").display()
            )
        } else if of == Use::Configuration {
            "it is theirs: run this as that user, or keep a file of your own".to_owned()
        } else {
            elsewhere(world, path, of)
        };
        return Some(Failure::new(
            format!(
                "{shown} belongs to uid {on_the_host} (mode {mode:04o}), {}",
                neither_nor(world)
            ),
            hint,
        ));
    }
    (mode & 0o022 != 0).then(|| {
        let sudo = if uid == caller.uid() { "" } else { world.as_root() };
        Failure::new(
            format!(
                "{shown} can be written by others than its owner (uid {on_the_host}, mode {mode:04o})"
            ),
            format!("take that right away: {sudo}chmod go-w {}", quoted(path)),
        )
    })
}

/// Whether an owner is one of those whom the user namespace does not know: all of them appear as
/// the overflow uid. In the initial namespace that is the user `nobody` and never counts. Elsewhere
/// it is never the caller either: in a namespace without a map the caller has the same id.
fn is_foreign_to_the_namespace(world: &World, uid: u32) -> bool {
    uid != 0 && {
        let namespace = world.caller.namespace();
        !namespace.is_initial && uid == namespace.overflow_uid
    }
}

/// The folders into which only the host's root can put files, though its files look like
/// everybody's in a user namespace (rule R24). What a CA's certificate says is no secret, and the
/// system's folders for it are many.
fn roots_places(world: &World, of: Use) -> Vec<PathBuf> {
    let system = world.places.system_configuration.to_path_buf();
    match (of, system.parent()) {
        (Use::Certificates, Some(etc)) => vec![etc.to_owned(), "/usr".into()],
        _ => vec![system, world.places.run.join("quayfed")],
    }
}

fn known_places(world: &World, of: Use) -> String {
    let places: Vec<_> =
        roots_places(world, of).iter().map(|place| place.display().to_string()).collect();
    format!(
        "files of the host's root are known only in {}: keep it there, or let it belong to the user \
         who runs this, in a folder of theirs",
        places.join(" and ")
    )
}

/// Rootless podman runs its helpers in its user namespace, where the files of the host's root look
/// like everybody else's. Where only root can put files, it is root's.
fn fault_outside_of_the_namespace(
    world: &World,
    path: &Path,
    metadata: &Metadata,
    of: Use,
) -> Option<Failure> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let shown = path.display();
    let roots = roots_places(world, of);
    let Some(resolved) = files::resolved(path, metadata)
        .filter(|resolved| roots.iter().any(|root| resolved.starts_with(root)))
    else {
        return Some(Failure::new(
            format!(
                "{shown} belongs to uid {uid} (mode {mode:04o}), which in this user namespace \
                 stands for everybody outside of it"
            ),
            known_places(world, of),
        ));
    };
    // What cannot be looked at cannot be trusted either.
    let is_closed = |part: &Path| std::fs::metadata(part).is_ok_and(|it| it.mode() & 0o022 == 0);
    let open = resolved.ancestors().find(|part| !is_closed(part))?;
    Some(Failure::new(
        format!(
            "{shown} belongs to uid {uid} (mode {mode:04o}), who need not be the host's root: {} \
             can be written by others than its owner",
            open.display()
        ),
        format!("take that right away: sudo chmod go-w {}", quoted(open)),
    ))
}

/// What a secret file is read for, and so who may read it besides its owner and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// To be sent: nobody, unless the place of the file bars them or is made for secrets.
    NoOthers,
    /// To be sent: anybody, since the operator says so (`allow_readable_secret = true`).
    Anybody,
    /// To look up what was obtained with it: neither readers nor the way to it are asked after, which
    /// is done where it is sent. A cached `get` does this.
    NotAsked,
}

/// Reads a secret from a file that the configuration names: text in UTF-8, without the line ends
/// behind it. From then on it is removed from whatever is shown.
pub fn read_secret_file(
    world: &World,
    path: &Path,
    readers: Readers,
) -> Result<Secret<String>, Failure> {
    let input =
        read_input(path, LARGEST_SECRET).map_err(|error| unreadable(world, path, &error))?;
    let bytes = Secret::new(input.bytes);
    let fault = match readers {
        Readers::NotAsked => owner_fault(world, path, &input.metadata, Use::Secret),
        Readers::NoOthers | Readers::Anybody => {
            trust_fault(world, path, &input.metadata, Use::Secret)
        }
    };
    if let Some(failure) = fault {
        return Err(failure);
    }
    if readers == Readers::NoOthers
        && let Some(failure) = readable_fault(world, path, &input.metadata)
    {
        return Err(failure);
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| {
        Failure::new(
            format!("the secret file {} is not UTF-8 text", path.display()),
            "write the secret alone into it, as text",
        )
    })?;
    let secret = Secret::new(without_line_ends(text).to_owned());
    if secret.expose().is_empty() {
        return Err(Failure::new(
            format!("the secret file {} is empty", path.display()),
            "write the secret into it",
        ));
    }
    world.redactor.remember(&secret);
    Ok(secret)
}

fn unreadable(world: &World, path: &Path, error: &InputError) -> Failure {
    let hint = match error {
        InputError::Absent => {
            "write the secret into it (mode 0600), or correct the path".to_owned()
        }
        InputError::Unreadable(_) => {
            format!("let the user running this (uid {}) read it", world.caller.uid_on_the_host())
        }
        InputError::NotAFile => "name the file that holds the secret".to_owned(),
        InputError::TooLarge(_) => "write the secret alone into it".to_owned(),
    };
    let hint = error.limit().map_or(hint, |limit| limit.hint().to_owned());
    Failure::new(format!("the secret file {} {error}", path.display()), hint)
}

/// Why a secret file can be read by others (rule R7).
fn readable_fault(world: &World, path: &Path, metadata: &Metadata) -> Option<Failure> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o004 == 0 || is_out_of_reach(world, path, metadata) {
        return None;
    }
    let shown = path.display();
    Some(Failure::new(
        format!(
            "the secret file {shown} can be read by everybody (uid {}, mode {mode:04o})",
            world.caller.owner_on_the_host(metadata.uid())
        ),
        format!(
            "take that right away (chmod o-r {}), or set `allow_readable_secret = true` where \
             everybody on this host may have the secret",
            quoted(path)
        ),
    ))
}

/// Whether others cannot come to the file, or it lies where secrets are mounted: docker and podman
/// make those readable for all within their container.
fn is_out_of_reach(world: &World, path: &Path, metadata: &Metadata) -> bool {
    let Some(resolved) = files::resolved(path, metadata) else {
        return false;
    };
    let is_barred = resolved
        .parent()
        .and_then(|folder| std::fs::metadata(folder).ok())
        .is_some_and(|folder| folder.mode() & 0o001 == 0);
    let mounts = [world.places.run.join("secrets"), "/var/run/secrets".into()];
    let credentials = world
        .environment
        .path("CREDENTIALS_DIRECTORY")
        .filter(|folder| folder.is_absolute())
        .and_then(|folder| std::fs::canonicalize(folder).ok());
    is_barred || mounts.iter().chain(&credentials).any(|folder| resolved.starts_with(folder))
}

/// A text without the line ends behind it, LF or CRLF.
fn without_line_ends(mut text: &str) -> &str {
    while let Some(rest) = text.strip_suffix('\n') {
        text = rest.strip_suffix('\r').unwrap_or(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    use quayfed_sandbox::{Need, lacks};

    use super::*;
    use crate::world::{Caller, Environment, UserNamespace};

    const OVERFLOW: u32 = 65534;
    const INITIAL: UserNamespace =
        UserNamespace { is_initial: true, uid_in_parent: 0, overflow_uid: OVERFLOW };
    const ROOTLESS: UserNamespace =
        UserNamespace { is_initial: false, uid_in_parent: 1000, overflow_uid: OVERFLOW };

    /// A folder with a world in it; as root, one on the way to which nobody else can write.
    struct Desk {
        folder: tempfile::TempDir,
        world: World,
    }

    impl Desk {
        fn of(caller: Caller) -> Self {
            let is_root = rustix::process::geteuid().is_root();
            let folder = if is_root { tempfile::tempdir_in("/run") } else { tempfile::tempdir() };
            let folder = folder.expect("a folder");
            let mut world = World::of_process();
            world.environment = Environment::default();
            world.caller = caller;
            world.places.system_configuration = folder.path().join("etc/quayfed").into();
            world.places.run = folder.path().join("run").into();
            let desk = Self { folder, world };
            desk.set_mode("", 0o755);
            desk
        }

        fn of_this_user() -> Self {
            Self::of(Caller::of(rustix::process::geteuid().as_raw(), INITIAL))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn set_mode(&self, name: &str, mode: u32) {
            std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode))
                .expect("a mode");
        }

        fn write(&self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(&path, content).expect("a file");
            self.set_mode(name, mode);
            path
        }

        /// What is said of a file with this owner and mode.
        fn fault(&self, name: &str, uid: u32, mode: u32) -> Option<String> {
            let path = self.write(name, mode, "");
            chown(&path, Some(uid), None).expect("root can give files away");
            let metadata = std::fs::metadata(&path).expect("a file");
            owner_fault(&self.world, &path, &metadata, Use::Configuration)
                .map(|failure| self.shortened(&failure))
        }

        fn read(&self, path: &Path, readers: Readers) -> Result<String, String> {
            read_secret_file(&self.world, path, readers)
                .map(|secret| secret.expose().clone())
                .map_err(|failure| self.shortened(&failure))
        }

        fn shortened(&self, failure: &Failure) -> String {
            format!("{failure}; {}", failure.hint())
                .replace(&format!("{}/", self.folder.path().display()), "/")
        }
    }

    #[test]
    fn r5_files_belong_to_root_or_to_the_caller() {
        if lacks(Need::Root) {
            return;
        }
        let user = Desk::of(Caller::of(1000, INITIAL));
        assert_eq!(user.fault("f", 0, 0o644), None);
        assert_eq!(user.fault("f", 1000, 0o600), None);
        assert_eq!(
            user.fault("f", 1001, 0o644).as_deref(),
            Some(
                "/f belongs to uid 1001 (mode 0644), neither to root nor to the user running this \
                 (uid 1000); it is theirs: run this as that user, or keep a file of your own"
            )
        );
        let root = Desk::of(Caller::of(0, INITIAL));
        assert_eq!(root.fault("f", 0, 0o644), None);
        assert_eq!(
            root.fault("f", 1000, 0o644).as_deref(),
            Some(
                "/f belongs to uid 1000 (mode 0644), not to root; it is theirs: run this as that \
                 user, or with root's own HOME (sudo -H), or let a file of root's say it: \
                 /etc/quayfed/config.toml is read for everybody"
            )
        );
        // Below /etc nothing is anybody's home.
        assert_eq!(
            root.fault("etc/quayfed/f", 1000, 0o644).as_deref(),
            Some(
                "/etc/quayfed/f belongs to uid 1000 (mode 0644), not to root; whoever owns it \
                 decides what stands in it: chown root: /etc/quayfed/f"
            )
        );
    }

    #[test]
    fn r5_group_and_others_cannot_write() {
        let desk = Desk::of_this_user();
        let uid = desk.world.caller.uid();
        for (mode, is_fault) in [(0o644, false), (0o664, true), (0o602, true), (0o640, false)] {
            let path = desk.write("f", mode, "");
            let metadata = std::fs::metadata(&path).expect("a file");
            let fault = owner_fault(&desk.world, &path, &metadata, Use::Secret)
                .map(|it| desk.shortened(&it));
            let wanted = format!(
                "/f can be written by others than its owner (uid {uid}, mode {mode:04o}); take \
                 that right away: chmod go-w /f"
            );
            assert_eq!(fault, is_fault.then_some(wanted));
        }
    }

    #[test]
    fn r24_nobody_of_the_initial_namespace_is_never_root() {
        if lacks(Need::Root) {
            return;
        }
        for caller in [0, 1000] {
            let desk = Desk::of(Caller::of(caller, INITIAL));
            assert!(desk.fault("etc/quayfed/config.toml", OVERFLOW, 0o644).is_some(), "{caller}");
        }
    }

    #[test]
    fn r24_in_a_user_namespace_root_is_known_by_the_place_of_a_file() {
        if lacks(Need::Root) {
            return;
        }
        let desk = Desk::of(Caller::of(0, ROOTLESS));
        assert_eq!(desk.fault("etc/quayfed/config.toml", OVERFLOW, 0o644), None);
        assert_eq!(desk.fault("run/quayfed/secret", OVERFLOW, 0o600), None);
        assert_eq!(desk.fault("home/config.toml", 0, 0o600), None);
        assert!(desk.fault("home/config.toml", 1000, 0o600).is_some());
        let wanted = "/home/config.toml belongs to uid 65534 (mode 0644), which in this user \
                      namespace stands for everybody outside of it; files of the host's root are \
                      known only in /etc/quayfed and /run/quayfed: keep it there, or let it belong \
                      to the user who runs this, in a folder of theirs";
        assert_eq!(desk.fault("home/config.toml", OVERFLOW, 0o644).as_deref(), Some(wanted));
        assert!(desk.fault("etc/quayfedx/config.toml", OVERFLOW, 0o644).is_some());
        assert!(desk.fault("etc/quayfed/config.toml", OVERFLOW, 0o664).is_some());
    }

    #[test]
    fn r24_a_symbolic_link_counts_for_the_place_that_it_leads_to() {
        if lacks(Need::Root) {
            return;
        }
        let desk = Desk::of(Caller::of(0, ROOTLESS));
        let outside = desk.write("home/config.toml", 0o644, "");
        chown(&outside, Some(OVERFLOW), None).expect("root can give files away");
        desk.write("etc/quayfed/other", 0o644, "");
        let link = desk.path("etc/quayfed/config.toml");
        symlink(&outside, &link).expect("a link");
        let metadata = std::fs::metadata(&link).expect("a file");
        assert!(owner_fault(&desk.world, &link, &metadata, Use::Secret).is_some());
    }

    #[test]
    fn r24_a_folder_that_others_can_write_to_is_not_roots() {
        if lacks(Need::Root) {
            return;
        }
        let desk = Desk::of(Caller::of(0, ROOTLESS));
        assert_eq!(desk.fault("etc/quayfed/config.toml", OVERFLOW, 0o644), None);
        desk.set_mode("etc", 0o775);
        assert_eq!(
            desk.fault("etc/quayfed/config.toml", OVERFLOW, 0o644).as_deref(),
            Some(
                "/etc/quayfed/config.toml belongs to uid 65534 (mode 0644), who need not be the \
                 host's root: /etc can be written by others than its owner; take that right away: \
                 sudo chmod go-w /etc"
            )
        );
    }

    #[test]
    fn r24_the_overflow_uid_is_not_the_caller_even_where_the_caller_has_it_too() {
        if lacks(Need::Root) {
            return;
        }
        let desk = Desk::of(Caller::of(OVERFLOW, ROOTLESS));
        assert!(desk.fault("home/config.toml", OVERFLOW, 0o600).is_some());
    }

    impl Desk {
        /// Makes a folder with this owner, group and mode.
        fn make_folder(&self, name: &str, uid: u32, gid: u32, mode: u32) -> PathBuf {
            let path = self.path(name);
            std::fs::create_dir_all(&path).expect("a folder");
            if rustix::process::geteuid().is_root() {
                chown(&path, Some(uid), Some(gid)).expect("root can give folders away");
            }
            self.set_mode(name, mode);
            path
        }

        /// What is said of the way to a file.
        fn way(&self, path: &Path) -> Option<String> {
            let metadata = std::fs::metadata(path).expect("a file");
            trust_fault(&self.world, path, &metadata, Use::Secret)
                .map(|failure| self.shortened(&failure))
        }

        /// What is said of the way to `w/f`, a file of the caller's in a folder such as this.
        fn way_in(&self, uid: u32, gid: u32, mode: u32) -> Option<String> {
            let path = self.write("w/f", 0o600, "");
            let caller = self.world.caller.uid();
            chown(&path, Some(caller), Some(caller)).expect("root can give files away");
            self.make_folder("w", uid, gid, mode);
            self.way(&path)
        }
    }

    #[test]
    fn r32_every_folder_belongs_to_root_or_the_caller_and_nobody_else_can_write_to_it() {
        if lacks(Need::Root) {
            return;
        }
        let theirs = |mode: &str, who: &str, copy: &str| {
            Some(format!(
                "/w/f cannot be trusted: the folder /w on the way to it belongs to uid 1001 (mode \
                 {mode}), {who}; keep a copy where nobody else can change it, and name that: \
                 install -m 600 /w/f {copy}"
            ))
        };
        let open = |uid: u32, mode: &str, command: &str| {
            Some(format!(
                "/w/f cannot be trusted: the folder /w on the way to it can be written by others \
                 than its owner (uid {uid}, mode {mode}); take that right away: {command} /w"
            ))
        };
        let (root, user) = (Desk::of(Caller::of(0, INITIAL)), Desk::of(Caller::of(1000, INITIAL)));
        root.world.places.user_configuration.set(None).expect("not asked yet");
        let own = Some(PathBuf::from("/home/me/.config"));
        user.world.places.user_configuration.set(own).expect("not asked yet");
        let not_root = "not to root";
        let neither = "neither to root nor to the user running this (uid 1000)";
        let mine = "/home/me/.config/quayfed/f";
        for (desk, (uid, gid, mode), wanted) in [
            (&root, (0, 0, 0o755), None),
            (&root, (0, 0, 0o700), None),
            (&root, (0, 0, 0o775), open(0, "0775", "chmod go-w")),
            (&root, (0, 1000, 0o777), open(0, "0777", "chmod go-w")),
            (&root, (1001, 0, 0o755), theirs("0755", not_root, "/etc/quayfed/f")),
            (&user, (0, 0, 0o755), None),
            (&user, (1000, 1000, 0o755), None),
            // A umask of 002.
            (&user, (1000, 1000, 0o775), None),
            (&user, (0, 1000, 0o2775), None),
            (&user, (1000, 1001, 0o775), open(1000, "0775", "chmod go-w")),
            (&user, (0, 0, 0o775), open(0, "0775", "sudo chmod go-w")),
            (&user, (1000, 1000, 0o777), open(1000, "0777", "chmod go-w")),
            (&user, (1000, 1000, 0o757), open(1000, "0757", "chmod go-w")),
            (&user, (1001, 1000, 0o755), theirs("0755", neither, mine)),
            (&user, (1001, 1000, 0o775), theirs("0775", neither, mine)),
        ] {
            let caller = desk.world.caller.uid();
            assert_eq!(desk.way_in(uid, gid, mode), wanted, "{caller}: {uid}:{gid} {mode:04o}");
        }
    }

    #[test]
    fn r32_what_may_be_set_right_is_and_a_name_stands_as_a_shell_takes_it() {
        if lacks(Need::Root) {
            return;
        }
        for (caller, sudo) in [(0, ""), (1000, "sudo ")] {
            let desk = Desk::of(Caller::of(caller, INITIAL));
            let path = desk.write("etc/a b/f", 0o600, "");
            chown(&path, Some(caller), None).expect("root can give files away");
            desk.make_folder("etc/a b", 1001, 0, 0o755);
            let said = desk.way(&path).expect("a fault");
            let wanted =
                format!("; whoever owns it decides what stands in it: {sudo}chown root: '/");
            assert!(said.contains(&wanted) && said.ends_with("/etc/a b'"), "{said}");
        }
    }

    #[test]
    fn r32_a_group_that_more_users_than_its_own_can_write_through_does_not_pass() {
        if lacks(Need::Root) {
            return;
        }
        let desk = Desk::of(Caller::of(1000, INITIAL));
        assert_eq!(desk.way_in(1000, 1000, 0o770), None);
        // user::rwx, user:1001:rwx, group::r-x, mask::rwx, other::--- (acl(5), the kernel's form).
        let entry = |tag: u16, rights: u16, id: u32| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let undefined = u32::MAX;
        let list = [
            2u32.to_le_bytes().to_vec(),
            entry(0x01, 7, undefined),
            entry(0x02, 7, 1001),
            entry(0x04, 5, undefined),
            entry(0x10, 7, undefined),
            entry(0x20, 0, undefined),
        ]
        .concat();
        let flags = rustix::fs::XattrFlags::empty();
        let folder = desk.path("w");
        match rustix::fs::setxattr(&folder, "system.posix_acl_access", &list, flags) {
            // Not every file system has such lists.
            Err(rustix::io::Errno::OPNOTSUPP) => return,
            set => set.expect("a list"),
        }
        let said = desk.way(&desk.path("w/f")).expect("a fault");
        assert!(said.contains("/w on the way to it can be written by others"), "{said}");
    }

    #[test]
    fn r32_the_folders_of_followed_links_count_too() {
        if lacks(Need::Root) {
            return;
        }
        let desk = Desk::of(Caller::of(1000, INITIAL));
        desk.write("good/f", 0o644, "");
        desk.make_folder("theirs", 0, 0, 0o755);
        symlink("../good/f", desk.path("theirs/link")).expect("a link");
        desk.make_folder("mine", 0, 0, 0o755);
        // Through a folder of another's, absolute and relative, and by way of a linked folder.
        symlink(desk.path("theirs/link"), desk.path("mine/absolute")).expect("a link");
        symlink("../theirs/link", desk.path("mine/relative")).expect("a link");
        symlink("../theirs", desk.path("mine/folder")).expect("a link");
        symlink("relative", desk.path("mine/chain")).expect("a link");
        let ways = ["absolute", "relative", "folder/link", "folder/../good/f", "chain"];
        for name in ways {
            assert_eq!(desk.way(&desk.path("mine").join(name)), None, "{name}");
        }
        desk.make_folder("theirs", 1001, 0, 0o755);
        for name in ways {
            let path = desk.path("mine").join(name);
            let said = desk.way(&path).expect(name);
            assert!(
                said.contains("the folder /theirs on the way to it belongs to uid 1001"),
                "{said}"
            );
            assert!(desk.read(&path, Readers::Anybody).is_err());
            // What only tells a cached token apart is not sent, and costs a `get` no look.
            assert!(desk.read(&path, Readers::NotAsked).is_err_and(|said| said.contains("empty")));
        }
        assert_eq!(desk.way(&desk.path("good/f")), None);
    }

    #[test]
    fn r32_a_way_through_a_folder_for_everybody_leads_into_a_folder_of_the_callers_own() {
        if lacks(Need::Root) {
            return;
        }
        for caller in [0, 1000] {
            let desk = Desk::of(Caller::of(caller, INITIAL));
            desk.make_folder("tmp", 0, 0, 0o1777);
            let own = |name: &str| {
                let path = desk.write(name, 0o600, "");
                chown(&path, Some(caller), None).expect("root can give files away");
                path
            };
            let mine = own("tmp/mine/f");
            desk.make_folder("tmp/mine", caller, caller, 0o700);
            assert_eq!(desk.way(&mine), None);
            desk.make_folder("tmp/theirs", 1001, 1001, 0o755);
            let said = desk.way(&own("tmp/theirs/f")).expect("a fault");
            assert!(said.contains("/tmp/theirs on the way to it belongs to uid 1001"), "{said}");
            assert_eq!(
                desk.way(&own("tmp/f")).as_deref(),
                Some(
                    "/tmp/f cannot be trusted: it lies in /tmp, where everybody can write (mode \
                     1777); move it into a folder of your own there, such as one made by: mktemp \
                     -d /tmp/quayfed.XXXXXX"
                )
            );
            symlink("mine/f", desk.path("tmp/link")).expect("a link");
            assert_eq!(
                desk.way(&desk.path("tmp/link")).as_deref(),
                Some(
                    "/tmp/link cannot be trusted: /tmp/link is a symbolic link in /tmp, where \
                     everybody can write (mode 1777); name the file that it leads to"
                )
            );
            // Without the sticky bit anybody can rename anything.
            desk.make_folder("tmp", 0, 0, 0o777);
            let said = desk.way(&mine).expect("a fault");
            assert!(said.contains("the folder /tmp on the way to it can be written"), "{said}");
        }
    }

    #[test]
    fn r32_what_a_process_says_is_no_file_of_roots() {
        let desk = Desk::of_this_user();
        let link = desk.path("link");
        symlink("/proc/self/cmdline", &link).expect("a link");
        // This test's own process: what it says belongs to whoever runs it.
        let pid = std::process::id();
        let metadata = std::fs::metadata(&link).expect("a file");
        let said = trust_fault(&desk.world, &link, &metadata, Use::Secret).expect("a fault");
        assert_eq!(
            desk.shortened(&said),
            format!(
                "/link leads to /proc/{pid}/cmdline, on a pseudo file system (proc), where \
                 processes say what a file holds; name a regular file on a disk or in memory"
            )
        );
        let path = PathBuf::from(format!("/proc/{pid}/cmdline"));
        assert!(desk.read(&path, Readers::Anybody).is_err_and(|said| said.contains("(proc)")));
        if Path::new("/sys/kernel/uevent_seqnum").exists() {
            let said = desk.read(Path::new("/sys/kernel/uevent_seqnum"), Readers::Anybody);
            assert!(said.is_err_and(|said| said.contains("(sysfs)")));
        }
    }

    #[test]
    fn r32_in_a_user_namespace_a_folder_above_the_users_own_may_be_anybodys_who_alone_writes() {
        if lacks(Need::Root) {
            return;
        }
        let desk = Desk::of(Caller::of(0, ROOTLESS));
        desk.make_folder("home", OVERFLOW, OVERFLOW, 0o755);
        let path = desk.write("home/me/f", 0o600, "");
        desk.make_folder("home/me", 0, 0, 0o755);
        assert_eq!(desk.way(&path), None);
        // The user's own group, where the user is uid 0 of the namespace.
        desk.make_folder("home/me", 0, 0, 0o775);
        assert_eq!(desk.way(&path), None);
        for mode in [0o775, 0o757] {
            desk.make_folder("home", OVERFLOW, 0, mode);
            let said = desk.way(&path).expect("a fault");
            assert!(said.contains("the folder /home on the way to it can be written by"), "{said}");
        }
        desk.make_folder("home", OVERFLOW, 0, 0o755);
        // A folder that is not above one of the user's own may be that of a third user.
        desk.make_folder("home/me", OVERFLOW, 0, 0o755);
        assert_eq!(
            desk.way(&path).as_deref(),
            Some(
                "/home/me/f cannot be trusted: the folder /home/me on the way to it belongs to uid \
                 65534 (mode 0755), which in this user namespace stands for everybody outside of \
                 it; files of the host's root are known only in /etc/quayfed and /run/quayfed: \
                 keep it there, or let it belong to the user who runs this, in a folder of theirs"
            )
        );
        // The places of root keep their rule, and certificates have more of them.
        for (name, of, is_known) in [
            ("etc/quayfed/f", Use::Secret, true),
            ("run/quayfed/f", Use::Secret, true),
            ("etc/pki/ca.pem", Use::Secret, false),
            ("etc/pki/ca.pem", Use::Certificates, true),
            ("home/ca.pem", Use::Certificates, false),
        ] {
            let path = desk.write(name, 0o644, "");
            for part in ["etc", "etc/quayfed", "etc/pki", "run", "run/quayfed"] {
                desk.make_folder(part, OVERFLOW, OVERFLOW, 0o755);
            }
            chown(&path, Some(OVERFLOW), Some(OVERFLOW)).expect("root can give files away");
            let metadata = std::fs::metadata(&path).expect("a file");
            let fault = trust_fault(&desk.world, &path, &metadata, of);
            assert_eq!(fault.is_none(), is_known, "{name} {of:?}: {fault:?}");
        }
    }

    #[test]
    fn r7_a_secret_that_everybody_can_read_is_an_error() {
        let desk = Desk::of_this_user();
        let uid = desk.world.caller.uid();
        let path = desk.write("secret", 0o644, "hunter2\n");
        assert_eq!(
            desk.read(&path, Readers::NoOthers),
            Err(format!(
                "the secret file /secret can be read by everybody (uid {uid}, mode 0644); take \
                 that right away (chmod o-r /secret), or set `allow_readable_secret = true` where \
                 everybody on this host may have the secret"
            ))
        );
        assert_eq!(desk.read(&path, Readers::Anybody).as_deref(), Ok("hunter2"));
        for mode in [0o600, 0o640] {
            desk.set_mode("secret", mode);
            assert_eq!(desk.read(&path, Readers::NoOthers).as_deref(), Ok("hunter2"));
        }
        desk.set_mode("secret", 0o620);
        assert!(desk.read(&path, Readers::Anybody).is_err(), "others can write");
    }

    #[test]
    fn r7_a_readable_secret_is_fine_where_others_do_not_come_to_or_secrets_are_mounted() {
        let mut desk = Desk::of_this_user();
        let path = desk.write("own/secret", 0o644, "hunter2");
        desk.set_mode("own", 0o750);
        assert_eq!(desk.read(&path, Readers::NoOthers).as_deref(), Ok("hunter2"));
        let path = desk.write("run/secrets/quay", 0o444, "hunter2");
        assert_eq!(desk.read(&path, Readers::NoOthers).as_deref(), Ok("hunter2"));
        let path = desk.write("credentials/quay", 0o444, "hunter2");
        assert!(desk.read(&path, Readers::NoOthers).is_err());
        symlink(desk.path("credentials"), desk.path("link")).expect("a link");
        desk.world.environment = Environment::of([("CREDENTIALS_DIRECTORY", desk.path("link"))]);
        assert_eq!(desk.read(&path, Readers::NoOthers).as_deref(), Ok("hunter2"));
        let link = desk.path("run/secrets/link");
        symlink(desk.write("open", 0o644, "hunter2"), &link).expect("a link");
        assert!(desk.read(&link, Readers::NoOthers).is_err(), "a link to somewhere else");
    }

    #[test]
    fn a_secret_is_text_without_the_line_ends_behind_it() {
        let desk = Desk::of_this_user();
        for (content, wanted) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n\r\n", "hunter2"),
            (" hunter2 \n", " hunter2 "),
            ("\nhunter2\r", "\nhunter2\r"),
            ("a\nb\n", "a\nb"),
        ] {
            let path = desk.write("secret", 0o600, content);
            assert_eq!(desk.read(&path, Readers::NoOthers).as_deref(), Ok(wanted), "{content:?}");
        }
        assert_eq!(desk.world.redactor.clean("is hunter2"), "is [redacted]");
    }

    #[test]
    fn what_is_no_secret_is_told() {
        let desk = Desk::of_this_user();
        let uid = desk.world.caller.uid();
        let large = "x".repeat(64 * 1024 + 1);
        for (content, wanted) in [
            (&b"\r\n"[..], "is empty; write the secret into it"),
            (b"", "is empty; write the secret into it"),
            (b"\xff", "is not UTF-8 text; write the secret alone into it, as text"),
            (large.as_bytes(), "is larger than 64 KiB; write the secret alone into it"),
        ] {
            let path = desk.write("secret", 0o600, content);
            let wanted = format!("the secret file /secret {wanted}");
            assert_eq!(desk.read(&path, Readers::NoOthers), Err(wanted));
        }
        assert_eq!(
            desk.read(&desk.path("none"), Readers::NoOthers),
            Err("the secret file /none does not exist; write the secret into it (mode 0600), or \
                 correct the path"
                .to_owned())
        );
        desk.write("folder/x", 0o600, "");
        assert_eq!(
            desk.read(&desk.path("folder"), Readers::NoOthers),
            Err("the secret file /folder is not a regular file; name the file that holds the secret"
                .to_owned())
        );
        symlink("loop", desk.path("loop")).expect("a link");
        assert_eq!(
            desk.read(&desk.path("loop"), Readers::NoOthers),
            Err(format!(
                "the secret file /loop cannot be read (too many levels of symbolic links); let \
                 the user running this (uid {uid}) read it"
            ))
        );
    }
}
