//! Everything that comes from outside the program, in one place: the environment, the clocks,
//! randomness, who is calling, and where this system keeps its files. The only module that reads
//! the process's environment and the clocks; tests build a world of their own.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, Timespec};

use crate::files;
use crate::log::{Level, Log};
use crate::moment::Moment;
use crate::redaction::Redactor;
use crate::secret::Secret;

/// What a run of the program knows of the outside.
pub struct World {
    /// The environment variables.
    pub environment: Environment,
    /// The clocks.
    pub clock: Box<dyn Clock>,
    /// The source of random bytes.
    pub random: RandomSource,
    /// The user that the program runs as.
    pub caller: Caller,
    /// Where the system and the user keep their files.
    pub places: Places,
    /// Where steps are told.
    pub log: Log,
    /// Removes what was read as a secret from what is shown.
    pub redactor: Redactor,
}

/// Fills a buffer with random bytes.
pub type RandomSource = Box<dyn Fn(&mut [u8])>;

impl World {
    /// The world of this process.
    pub fn of_process() -> Self {
        let environment = Environment(Variables::OfProcess);
        let caller = Caller::of_process();
        let clock = SystemClock;
        // Whoever calls a program that gains rights would choose a file of another's to write to.
        let log = if caller.has_gained().is_some() {
            Log::silent()
        } else {
            Log::from_variables(
                environment.get("QUAYFED_LOG").as_deref(),
                environment.get("QUAYFED_LOG_FILE").as_deref(),
                caller.uid(),
                clock.wall(),
            )
        };
        Self {
            places: Places::of_process(),
            environment,
            clock: Box::new(clock),
            random: Box::new(fill_with_random),
            caller,
            log,
            redactor: Redactor::default(),
        }
    }

    /// Tells a step at `info`.
    pub fn info(&self, text: impl Display) {
        self.tell(Level::Info, &text);
    }

    /// Tells what went wrong without consequence.
    pub fn warn(&self, text: impl Display) {
        self.tell(Level::Warn, &text);
    }

    /// Tells how a step was decided.
    pub fn debug(&self, text: impl Display) {
        self.tell(Level::Debug, &text);
    }

    /// Tells what made an answer fail.
    pub fn error(&self, text: impl Display) {
        self.tell(Level::Error, &text);
    }

    fn tell(&self, level: Level, text: &dyn Display) {
        if self.log.tells(level) {
            self.log.write(level, self.clock.wall(), text);
        }
    }

    /// A reading of both clocks.
    pub fn now(&self) -> Moment {
        Moment::new(self.clock.wall(), self.clock.boot())
    }

    /// The user's configuration folder, where there is one.
    pub fn user_configuration(&self) -> Option<&Path> {
        let find = || user_configuration(&self.environment);
        self.places.user_configuration.get_or_init(find).as_deref()
    }

    /// The user's home (`$HOME`), where there is one.
    pub fn home(&self) -> Option<&Path> {
        let find = || self.environment.path("HOME").filter(|path| path.is_absolute());
        self.places.home.get_or_init(find).as_deref()
    }

    /// What a command that needs root's rights begins with, for whoever reads it: the caller, or under
    /// sudo the user who called that.
    pub fn as_root(&self) -> &'static str {
        let is_root = self.caller.uid() == 0 && self.caller.namespace().is_initial;
        if is_root { self.as_now() } else { "sudo " }
    }

    /// What a command begins with that is to run as this one does.
    pub fn as_now(&self) -> &'static str {
        let is_under_sudo = self.caller.uid() == 0 && self.environment.has("SUDO_UID");
        if is_under_sudo { "sudo " } else { "" }
    }

    /// What tells this boot of the host from any other.
    pub fn boot_id(&self) -> Option<String> {
        let id = files::read_at_once::<64>(&self.places.boot_id)?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    /// A random number of 64 bits.
    pub fn random_number(&self) -> u64 {
        let mut bytes = [0; 8];
        (self.random)(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    /// A random number from `low` to `high`.
    #[allow(clippy::cast_precision_loss, reason = "53 bits of randomness are plenty")]
    pub fn random_between(&self, low: f64, high: f64) -> f64 {
        let unit = (self.random_number() >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * unit
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("World").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// The environment variables. One may hold a secret, so none is ever printed, and none is copied
/// before it is asked for: a CI job has a hundred of them. Nothing changes them while the program
/// runs.
pub struct Environment(Variables);

enum Variables {
    OfProcess,
    Of(Vec<(OsString, OsString)>),
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads them")]
impl Environment {
    /// An environment for a test.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let owned = |(name, value): (K, V)| (name.into(), value.into());
        Self(Variables::Of(variables.into_iter().map(owned).collect()))
    }

    /// The value of a variable; one that is set to nothing counts as not set. What may hold a secret
    /// is asked for by [`secret`](Self::secret) or [`secret_bytes`](Self::secret_bytes).
    pub fn get(&self, name: &str) -> Option<OsString> {
        let value = match &self.0 {
            Variables::OfProcess => std::env::var_os(name),
            Variables::Of(variables) => {
                variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
            }
        };
        value.filter(|value| !value.is_empty())
    }

    /// Whether a variable is set, and not to nothing.
    pub fn has(&self, name: &str) -> bool {
        self.secret_bytes(name).is_some()
    }

    /// Whether a variable is set to nothing, which counts as not set but should not be called so.
    pub fn is_empty(&self, name: &str) -> bool {
        match &self.0 {
            Variables::OfProcess => std::env::var_os(name).is_some_and(|value| value.is_empty()),
            Variables::Of(variables) => {
                variables.iter().any(|(key, value)| key == name && value.is_empty())
            }
        }
    }

    /// Why a variable has no value, as the end of a sentence that begins with it.
    pub fn why_absent(&self, name: &str) -> &'static str {
        if self.is_empty(name) { "is set but empty" } else { "is not set" }
    }

    /// The value of a variable that holds text; `Err` where it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, NotText> {
        self.get(name).map(|value| value.into_string().map_err(|_| NotText)).transpose()
    }

    /// The value of a variable that holds a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The value of a variable that holds a secret; `Err` where it is not UTF-8.
    pub fn secret(&self, name: &str) -> Result<Option<Secret<String>>, NotText> {
        match self.get(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(Secret::new(text))),
            Some(Err(value)) => {
                drop(secret(value));
                Err(NotText)
            }
        }
    }

    /// The value of a variable that may hold a secret.
    pub fn secret_bytes(&self, name: &str) -> Option<Secret<Vec<u8>>> {
        self.get(name).map(secret)
    }

    /// The names of all variables that are set and text.
    pub fn names(&self) -> Vec<String> {
        let name = |(name, value): (OsString, OsString)| {
            drop(secret(value));
            name.into_string().ok()
        };
        match &self.0 {
            Variables::OfProcess => std::env::vars_os().filter_map(name).collect(),
            Variables::Of(variables) => variables.iter().cloned().filter_map(name).collect(),
        }
    }
}

impl Default for Environment {
    /// An environment without variables, for a test.
    fn default() -> Self {
        Self(Variables::Of(Vec::new()))
    }
}

fn secret(value: OsString) -> Secret<Vec<u8>> {
    Secret::new(value.into_encoded_bytes())
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}

/// A variable's value is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

/// The two clocks that a token's life is reckoned by.
pub trait Clock {
    /// Wall time since 1970 (`CLOCK_REALTIME`): may be set, forwards and back.
    fn wall(&self) -> Duration;
    /// Time since the host was booted, sleep included (`CLOCK_BOOTTIME`): never set.
    fn boot(&self) -> Duration;
    /// Waits.
    fn sleep(&self, duration: Duration);
}

/// The clocks of the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        duration(rustix::time::clock_gettime(ClockId::Realtime))
    }

    fn boot(&self) -> Duration {
        duration(rustix::time::clock_gettime(ClockId::Boottime))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that waits")]
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

fn duration(time: Timespec) -> Duration {
    // A clock before 1970 is as good as one that stands at 1970: every token is Spent.
    Duration::try_from(time).unwrap_or_default()
}

fn fill_with_random(bytes: &mut [u8]) {
    // The kernel's source fails only where it does not exist; what it is used for (spreading
    // refreshes, naming temporary files) then needs no secrecy, only difference.
    if rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        let now = SystemClock.boot().as_nanos() ^ u128::from(std::process::id()).rotate_left(40);
        for (byte, source) in bytes.iter_mut().zip(now.to_ne_bytes().into_iter().cycle()) {
            *byte = source;
        }
    }
}

/// The user that the program runs as.
#[derive(Debug)]
pub struct Caller {
    uid: u32,
    gid: OnceCell<u32>,
    has_gained: Option<Gained>,
    namespace: OnceCell<UserNamespace>,
}

/// The user namespace that the program runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserNamespace {
    /// Whether it is the initial one, where uid 0 is root of the host.
    pub is_initial: bool,
    /// The caller's user id as the parent namespace counts it.
    pub uid_in_parent: u32,
    /// The user id that every owner without a mapping appears as (`/proc/sys/kernel/overflowuid`);
    /// of no meaning in the initial one, where every owner has a mapping.
    pub overflow_uid: u32,
}

impl Caller {
    fn of_process() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: OnceCell::new(),
            has_gained: secure_execution::requires_secure_execution().then(Gained::of_process),
            namespace: OnceCell::new(),
        }
    }

    /// A caller for a test; its group has the number of the user.
    pub fn of(uid: u32, namespace: UserNamespace) -> Self {
        Self { uid, gid: uid.into(), has_gained: None, namespace: namespace.into() }
    }

    /// The effective user id.
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether a group is the one that the caller's own files belong to. One that the user namespace
    /// does not know is nobody's: all of them look alike there.
    pub fn is_primary_group(&self, gid: u32) -> bool {
        let own = *self.gid.get_or_init(|| rustix::process::getegid().as_raw());
        gid == own && (self.namespace().is_initial || gid != overflow_gid())
    }

    /// What the program gained over its caller when it was started, by the kernel's own word
    /// (`AT_SECURE`, getauxval(3)): whoever calls it chooses what it reads and writes with rights
    /// that are not theirs.
    pub const fn has_gained(&self) -> Option<Gained> {
        self.has_gained
    }

    /// The user id as the host counts it, to be told to people: in rootless podman's namespace the
    /// caller is uid 0 to itself.
    pub fn uid_on_the_host(&self) -> u32 {
        if self.uid == 0 { self.namespace().uid_in_parent } else { self.uid }
    }

    /// An owner as the host counts it, to be told to people.
    pub fn owner_on_the_host(&self, uid: u32) -> u32 {
        if uid == self.uid {
            return self.uid_on_the_host();
        }
        if self.namespace().is_initial {
            return uid;
        }
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        uid_in_parent(&map, uid).unwrap_or(uid)
    }

    /// Whether a folder's owner may be the host's root: uid 0, or in a user namespace the overflow
    /// uid, as which root's files appear there, like everybody's.
    pub fn may_be_root(&self, uid: u32) -> bool {
        uid == 0 || {
            let namespace = self.namespace();
            !namespace.is_initial && uid == namespace.overflow_uid
        }
    }

    /// The user namespace, read from /proc at the first call.
    pub fn namespace(&self) -> UserNamespace {
        *self.namespace.get_or_init(|| UserNamespace::of_process(self.uid))
    }
}

/// What a program gains when it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gained {
    /// Another user or group: it was made set-user-ID or set-group-ID.
    Identity,
    /// Capabilities: they are written in its file.
    Capabilities,
    /// What a security module gives it: the domain or profile that it runs in is another one.
    Domain,
}

impl Gained {
    fn of_process() -> Self {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        let is_another = getuid() != geteuid() || getgid() != getegid();
        if is_another {
            return Self::Identity;
        }
        match rustix::thread::capabilities(None) {
            Ok(sets) if sets.permitted.is_empty() || geteuid().is_root() => Self::Domain,
            _ => Self::Capabilities,
        }
    }
}

/// The group id that every group without a mapping appears as.
fn overflow_gid() -> u32 {
    const USUAL: u32 = 65534;
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowgid").unwrap_or_default();
    overflow.trim().parse().unwrap_or(USUAL)
}

impl UserNamespace {
    /// The inode number of the initial user namespace (`PROC_USER_INIT_INO` of the kernel).
    const INITIAL: &str = "user:[4026531837]";

    fn of_process(uid: u32) -> Self {
        const USUAL_OVERFLOW_UID: u32 = 65534;
        let link = std::fs::read_link("/proc/self/ns/user");
        if link.is_ok_and(|link| link.as_os_str() == OsStr::new(Self::INITIAL)) {
            // Every user has a mapping, to itself.
            return Self { is_initial: true, uid_in_parent: uid, overflow_uid: USUAL_OVERFLOW_UID };
        }
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
        Self {
            is_initial: false,
            uid_in_parent: uid_in_parent(&map, uid).unwrap_or(uid),
            overflow_uid: overflow.trim().parse().unwrap_or(USUAL_OVERFLOW_UID),
        }
    }
}

/// Reads `/proc/self/uid_map` (`user_namespaces(7)`): lines of first id inside, first id in the
/// parent, and count.
fn uid_in_parent(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, parent, count) =
            (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = uid.checked_sub(inside)?;
        (offset < count).then(|| parent.checked_add(offset)).flatten()
    })
}

/// Where the system and the user keep their files.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder of the system's configuration: `/etc/quayfed`.
    pub system_configuration: Cow<'static, Path>,
    /// The user's configuration folder (`$XDG_CONFIG_HOME`, `~/.config`), where there is one; looked
    /// for at the first use.
    pub user_configuration: OnceCell<Option<PathBuf>>,
    /// The folder of runtime files: `/run`.
    pub run: Cow<'static, Path>,
    /// The folder of shared memory: `/dev/shm`.
    pub shared_memory: Cow<'static, Path>,
    /// The file that names this boot: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Cow<'static, Path>,
    /// The user's home (`$HOME`), where there is one; looked for at the first use.
    pub home: OnceCell<Option<PathBuf>>,
    /// The folder of podman's, buildah's and skopeo's configuration: `/etc/containers`.
    pub containers_configuration: Cow<'static, Path>,
    /// What their packages bring of it: `/usr/share/containers`.
    pub containers_defaults: Cow<'static, Path>,
    /// Where a service finds programs: the `PATH` that systemd gives (systemd.exec(5)) where /bin is
    /// a folder of its own.
    pub path_of_services: Cow<'static, str>,
}

impl Places {
    fn of_process() -> Self {
        let place = |path: &'static str| Cow::Borrowed(Path::new(path));
        Self {
            system_configuration: place("/etc/quayfed"),
            user_configuration: OnceCell::new(),
            run: place("/run"),
            shared_memory: place("/dev/shm"),
            boot_id: place("/proc/sys/kernel/random/boot_id"),
            home: OnceCell::new(),
            containers_configuration: place("/etc/containers"),
            containers_defaults: place("/usr/share/containers"),
            path_of_services: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        }
    }
}

/// It follows from `HOME` and `XDG_CONFIG_HOME` alone: plans are told apart by these (`SearchPath`).
/// The directories library reads the environment by itself, and asks the name service, over sockets,
/// where HOME is not set: so it is asked only where HOME is. Relative paths are ignored (XDG Base
/// Directory Specification).
fn user_configuration(environment: &Environment) -> Option<PathBuf> {
    let is_absolute = |path: &PathBuf| path.as_os_str().as_bytes().starts_with(b"/");
    let chosen = environment.path("XDG_CONFIG_HOME").filter(is_absolute);
    if let Some(chosen) = chosen {
        return Some(chosen);
    }
    environment.path("HOME")?;
    directories::BaseDirs::new().map(|places| places.config_dir().to_owned()).filter(is_absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r24_the_user_in_the_parent_namespace_is_read_from_the_map() {
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(uid_in_parent(rootless, 0), Some(1000));
        assert_eq!(uid_in_parent(rootless, 1), Some(100_000));
        assert_eq!(uid_in_parent(rootless, 70_000), None);
        assert_eq!(uid_in_parent("0 0 4294967295", 1000), Some(1000));
        assert_eq!(uid_in_parent("", 5), None);
    }

    #[test]
    fn no_value_of_a_variable_is_printed() {
        let environment = Environment::of([("QUAYFED_TOKEN", "hunter2")]);
        assert_eq!(format!("{environment:?}"), r#"["QUAYFED_TOKEN"]"#);
    }

    #[test]
    fn a_variable_that_is_set_to_nothing_counts_as_not_set() {
        let environment = Environment::of([("X", "")]);
        assert_eq!((environment.get("X"), environment.has("X")), (None, false));
        assert_eq!(
            ["X", "Y"].map(|it| environment.why_absent(it)),
            ["is set but empty", "is not set"]
        );
    }

    #[test]
    fn a_variable_that_is_no_text_is_there_and_no_text() {
        let environment = Environment::of([("X", OsStr::from_bytes(b"\xff"))]);
        assert!(environment.has("X"));
        assert_eq!(environment.path("X"), Some(PathBuf::from(OsStr::from_bytes(b"\xff"))));
        assert_eq!(environment.text("X"), Err(NotText));
        assert_eq!(environment.secret("X").map(|_| ()), Err(NotText));
        assert_eq!(environment.secret_bytes("X").expect("set").expose(), b"\xff");
    }
}
