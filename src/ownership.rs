//! Whom a file belongs to, who can change it and who can read it: whether it may be trusted with
//! the choice of where tokens go, or with a secret.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::failure::Failure;
use crate::files::{self, InputError, read_input};
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

/// Why a file or folder must not be trusted: it belongs neither to root nor to the caller, or
/// group or others can write to it (rules R5 and R24). `metadata` is that of its open handle.
/// Users are never looked up by name.
pub fn owner_fault(world: &World, path: &Path, metadata: &Metadata) -> Option<Failure> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let shown = path.display();
    if is_foreign_to_the_namespace(world, uid) {
        if let Some(failure) = fault_outside_of_the_namespace(world, path, metadata) {
            return Some(failure);
        }
    } else if uid != 0 && uid != world.caller.uid() {
        let who = match world.caller.uid() {
            0 => "not to root".to_owned(),
            caller => format!("neither to root nor to uid {caller}, who runs this"),
        };
        return Some(Failure::new(
            format!("{shown} belongs to uid {uid} (mode {mode:04o}), {who}"),
            format!("whoever owns it decides what stands in it: chown root {shown}"),
        ));
    }
    (mode & 0o022 != 0).then(|| {
        Failure::new(
            format!("{shown} can be written by others than its owner (uid {uid}, mode {mode:04o})"),
            format!("take that right away: chmod go-w {shown}"),
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

/// Rootless podman runs its helpers in its user namespace, where the files of the host's root look
/// like everybody else's. Where only root can put files, it is root's.
fn fault_outside_of_the_namespace(
    world: &World,
    path: &Path,
    metadata: &Metadata,
) -> Option<Failure> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let shown = path.display();
    let roots = [world.places.system_configuration.to_path_buf(), world.places.run.join("quayfed")];
    let Some(resolved) = files::resolved(path, metadata)
        .filter(|resolved| roots.iter().any(|root| resolved.starts_with(root)))
    else {
        return Some(Failure::new(
            format!(
                "{shown} belongs to uid {uid} (mode {mode:04o}), which in this user namespace \
                 stands for everybody outside of it"
            ),
            format!(
                "files of the host's root are known only in {} and {}: keep it there, or let it \
                 belong to the user who runs this",
                roots[0].display(),
                roots[1].display()
            ),
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
        format!("take that right away: chmod go-w {}", open.display()),
    ))
}

/// Who may read a secret file besides its owner and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody, unless the place of the file bars them or is made for secrets.
    NoOthers,
    /// Anybody: `allow_readable_secret = true`.
    Anybody,
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
    if let Some(failure) = owner_fault(world, path, &input.metadata) {
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
            format!("it must be readable by uid {}, who runs this", world.caller.uid_on_the_host())
        }
        InputError::NotAFile => "name the file that holds the secret".to_owned(),
        InputError::TooLarge(_) => "write the secret alone into it".to_owned(),
    };
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
            metadata.uid()
        ),
        format!(
            "take that right away (chmod o-r {shown}), or set `allow_readable_secret = true` where \
             everybody on this host may have the secret"
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
            owner_fault(&self.world, &path, &metadata).map(|failure| self.shortened(&failure))
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
                "/f belongs to uid 1001 (mode 0644), neither to root nor to uid 1000, who runs \
                 this; whoever owns it decides what stands in it: chown root /f"
            )
        );
        let root = Desk::of(Caller::of(0, INITIAL));
        assert_eq!(root.fault("f", 0, 0o644), None);
        assert_eq!(
            root.fault("f", 1000, 0o644).as_deref(),
            Some(
                "/f belongs to uid 1000 (mode 0644), not to root; whoever owns it decides what \
                 stands in it: chown root /f"
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
            let fault = owner_fault(&desk.world, &path, &metadata).map(|it| desk.shortened(&it));
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
                      to the user who runs this";
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
        assert!(owner_fault(&desk.world, &link, &metadata).is_some());
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
                 chmod go-w /etc"
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
                "the secret file /loop cannot be read (too many levels of symbolic links); it must \
                 be readable by uid {uid}, who runs this"
            ))
        );
    }
}
