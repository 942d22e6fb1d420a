//! The cache: a folder in memory that only the caller can enter, with three kinds of small files.
//! A *plan* says what the configuration meant for a host, an *entry* holds one robot token, a *lock*
//! sees to it that one process at a time renews an entry, and remembers how that failed.
//!
//! Whatever is wrong with the cache costs speed, never the answer (R28): reading gives nothing
//! where nothing can be trusted, writing is told to the log.

pub mod attempt;
pub mod entry;
pub mod freshness;
pub mod inventory;
mod name;
pub mod plan;
mod seal;

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use self::name::{Folder, Kind, Name};
use crate::failure::Failure;
use crate::files::{self, PrivateFolder};
use crate::world::{Caller, World};

/// The largest file of the cache, in bytes: a robot token has at most 8 KiB; a plan has a line for
/// each rule of one host.
const LARGEST: u64 = 256 * 1024;

/// The cache of one caller.
#[derive(Debug)]
pub struct Cache<'a> {
    world: &'a World,
    folder: Folder,
}

impl<'a> Cache<'a> {
    /// The first folder that serves (R22), or none: then every answer is fetched anew.
    pub fn open(world: &'a World) -> Option<Self> {
        for candidate in candidates(world) {
            match candidate.open(&world.caller) {
                Ok(folder) => {
                    world.debug(format_args!("cache directory: `{}`", folder.path().display()));
                    return Some(Self { world, folder: Folder::new(folder) });
                }
                Err(fault) => candidate.tell(world, fault),
            }
        }
        world.info("no cache directory serves: every answer is fetched anew");
        None
    }

    /// The caches of the caller that are there, and nothing is made: first the one that serves, then
    /// those that served in other circumstances, such as before a login. One that was chosen and
    /// serves is the only one.
    pub fn existing(world: &'a World) -> Vec<Self> {
        let chosen = world.environment.path(CHOSEN);
        let mut caches: Vec<Self> = Vec::new();
        for candidate in candidates(world) {
            let Ok(folder) = candidate.open_existing(world.caller.uid()) else { continue };
            if caches.iter().any(|cache| cache.path() == folder.path()) {
                continue;
            }
            let is_chosen = chosen.as_deref() == Some(folder.path());
            caches.push(Self { world, folder: Folder::new(folder) });
            if is_chosen {
                break;
            }
        }
        caches
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is in a file, which may be a secret.
    fn read(&self, name: &Name) -> Option<Zeroizing<Vec<u8>>> {
        self.folder.read(name, LARGEST).map(Zeroizing::new)
    }

    /// Removes at most 16 files that nobody will use again.
    fn sweep(&self) {
        const AT_MOST: usize = 16;
        let now = self.world.clock.wall();
        let names = self.folder.names().into_iter();
        for name in names.filter(|name| self.folder.is_leftover(name, now)).take(AT_MOST) {
            self.world.debug(format_args!("removing the leftover `{name}`"));
            self.remove_leftover(&name);
        }
    }

    /// A lock file is taken before it is removed: whoever holds it is still at work.
    fn remove_leftover(&self, name: &Name) {
        if matches!(name.kind(), Kind::Lock | Kind::NextLock) {
            let Ok(lock) = self.folder.lock_file(name) else { return };
            if lock.try_lock().is_ok_and(|taken| taken) && self.folder.is_named(&lock, name) {
                let _ = self.folder.remove(name);
            }
        } else {
            let _ = self.folder.remove(name);
        }
    }
}

/// A place that may serve as the cache directory.
struct Candidate {
    path: PathBuf,
    /// A token must not end up in an image layer, on NFS or on a disk: only a folder that was named
    /// on purpose may be elsewhere than in memory.
    must_be_in_memory: bool,
    /// A folder of root's above it that is made too: others may have folders of their own in it.
    shared_parent: Option<PathBuf>,
}

const NOT_IN_MEMORY: &str = "is not in memory (tmpfs)";

/// Why a candidate does not serve.
enum Fault {
    /// Nothing stands there, and why it is not made.
    Absent(String),
    /// What stands there is not fit for it.
    Unfit(String),
}

impl Fault {
    fn into_text(self) -> String {
        match self {
            Self::Absent(text) | Self::Unfit(text) => text,
        }
    }
}

impl Candidate {
    fn open(&self, caller: &Caller) -> Result<PrivateFolder, Fault> {
        match self.open_existing(caller.uid()) {
            Err(_) if self.is_absent() => {
                self.make(caller).map_err(Fault::Absent)?;
                self.open_existing(caller.uid()).map_err(Fault::Unfit)
            }
            opened => opened.map_err(Fault::Unfit),
        }
    }

    /// Whether nothing stands there, not even a link that leads nowhere.
    fn is_absent(&self) -> bool {
        self.path.is_absolute() && self.path.symlink_metadata().is_err()
    }

    fn open_existing(&self, owner: u32) -> Result<PrivateFolder, String> {
        if !self.path.is_absolute() {
            return Err("is not an absolute path".to_owned());
        }
        let folder = PrivateFolder::open(&self.path, owner)?;
        if self.must_be_in_memory && !folder.is_in_memory() {
            return Err(NOT_IN_MEMORY.to_owned());
        }
        Ok(folder)
    }

    /// What has taken its place switches the cache off, or what is one at a time: that is worth a
    /// word. Where a place does not exist, or not for this user, another one serves.
    #[cold]
    fn tell(&self, world: &World, fault: Fault) {
        let is_taken = matches!(fault, Fault::Unfit(_)) && self.is_taken(&world.caller);
        let (path, fault) = (self.path.display(), fault.into_text());
        let text = format_args!("cache directory `{path}` is passed over: {fault}");
        if is_taken { world.warn(text) } else { world.debug(text) }
    }

    /// Whether it would serve if it were not another's, or open to others, or no folder at all.
    fn is_taken(&self, caller: &Caller) -> bool {
        self.path.is_absolute()
            && PrivateFolder::is_taken(&self.path, caller.uid(), |uid| caller.may_be_root(uid))
            && (!self.must_be_in_memory || self.path.parent().is_some_and(files::is_in_memory))
    }

    /// Why it does not serve, or would not once it was made; nothing is made.
    fn fault(&self, caller: &Caller) -> Option<String> {
        match self.open_existing(caller.uid()) {
            Err(_) if self.is_absent() => self.may_make(caller).err(),
            opened => opened.err(),
        }
    }

    fn may_make(&self, caller: &Caller) -> Result<(), String> {
        self.must_be_made_in_memory()?;
        let shared = self.shared_parent.as_deref().filter(|shared| !shared.exists());
        let first = shared.unwrap_or(&self.path);
        PrivateFolder::may_make(first, caller.uid(), |uid| caller.may_be_root(uid))
    }

    /// An empty folder must not end up in an image layer either.
    fn must_be_made_in_memory(&self) -> Result<(), String> {
        let existing = self.path.ancestors().find(|folder| folder.exists());
        if self.must_be_in_memory && !existing.is_some_and(files::is_in_memory) {
            return Err(NOT_IN_MEMORY.to_owned());
        }
        Ok(())
    }

    fn make(&self, caller: &Caller) -> Result<(), String> {
        let owner = caller.uid();
        self.must_be_made_in_memory()?;
        if let Some(shared) = &self.shared_parent
            && !shared.exists()
        {
            PrivateFolder::make_shared(shared, owner)?;
        }
        PrivateFolder::make(&self.path, owner, |uid| caller.may_be_root(uid))
    }
}

/// The places that were looked at for the cache directory, best first, each but the last with why
/// it was passed over; the last serves where it has no reason. A folder is made as for a `get`.
pub fn places(world: &World) -> Vec<(PathBuf, Option<String>)> {
    let mut places = Vec::new();
    for candidate in candidates(world) {
        let fault = candidate.open(&world.caller).err().map(Fault::into_text);
        let serves = fault.is_none();
        places.push((candidate.path, fault));
        if serves {
            break;
        }
    }
    places
}

/// A place that should serve and does not, with what does instead: told by `status` and `doctor`.
#[derive(Debug)]
pub struct Notice {
    /// The place.
    pub path: PathBuf,
    /// Why, and what to do about it.
    pub failure: Failure,
}

/// The folder that `QUAYFED_CACHE_DIR` names and that does not serve, whatever the reason; without it
/// the first place before the one that serves that something has taken. Nothing is made.
pub fn notice(world: &World) -> Option<Notice> {
    let caller = &world.caller;
    let mut candidates = candidates(world);
    let chosen = if world.environment.has(CHOSEN) { candidates.next() } else { None };
    let is_chosen = chosen.is_some();
    let (place, fault) = match chosen {
        None => candidates
            .by_ref()
            .map_while(|place| place.fault(caller).map(|fault| (place, fault)))
            .find(|(place, _)| place.is_taken(caller))?,
        Some(chosen) => {
            let Some(fault) = chosen.fault(caller) else {
                let fault = chosen.open_existing(caller.uid()).ok()?.why_not_written()?;
                return Some(chosen.notice_in_vain(&fault, None));
            };
            (chosen, fault)
        }
    };
    let instead = candidates.find(|other| other.fault(caller).is_none()).map(|other| other.path);
    Some(if is_chosen {
        place.notice_in_vain(&fault, instead.as_deref())
    } else {
        place.notice_of_taken(&fault, instead.as_deref(), caller)
    })
}

impl Candidate {
    fn notice_in_vain(self, fault: &str, instead: Option<&Path>) -> Notice {
        let (shown, instead) = (self.path.display(), kept_instead(instead));
        let hint = if fault.starts_with("has mode ") {
            format!("make it yours alone (chmod 0700 {shown}), or unset {CHOSEN}")
        } else {
            format!(
                "set {CHOSEN} to the absolute path of a folder of yours (mode 0700), or unset it"
            )
        };
        let cause = format!("{CHOSEN} does not serve: `{shown}` {fault}; {instead}");
        Notice { failure: Failure::new(cause, hint), path: self.path }
    }

    fn notice_of_taken(self, fault: &str, instead: Option<&Path>, caller: &Caller) -> Notice {
        let (shown, instead) = (self.path.display(), kept_instead(instead));
        let hint = if fault.starts_with("has mode ") {
            format!("make it yours alone: chmod 0700 {shown}")
        } else if self.path.parent().is_some_and(|parent| files::belongs_to(parent, caller.uid())) {
            format!("remove it (rm -r {shown}): the next pull makes it anew")
        } else {
            let uid = caller.uid_on_the_host();
            format!(
                "as root, remove it (rm -r {shown}) and add the line `d {shown} 0700 {uid} - -` to \
                 /etc/tmpfiles.d/quayfed-users.conf: then it is made for uid {uid} at each boot"
            )
        };
        let cause = format!("the cache directory `{shown}` cannot be used: it {fault}; {instead}");
        Notice { failure: Failure::new(cause, hint), path: self.path }
    }
}

fn kept_instead(place: Option<&Path>) -> String {
    match place {
        Some(other) => format!("tokens are kept in {} instead", other.display()),
        None => "nothing is cached".to_owned(),
    }
}

/// Why nothing is cached, where no place can be used.
pub fn no_place(world: &World) -> Option<Failure> {
    let mut candidates = candidates(world);
    let has_one = candidates.any(|candidate| candidate.fault(&world.caller).is_none());
    (!has_one).then(|| {
        Failure::new(
            "no folder can be used for the cache, so every pull makes an exchange",
            format!(
                "set {CHOSEN} to the absolute path of a folder of yours (mode 0700), or call this in \
                 a login session, whose XDG_RUNTIME_DIR is such a folder"
            ),
        )
    })
}

/// The variable that names a place of one's own for the cache.
const CHOSEN: &str = "QUAYFED_CACHE_DIR";

/// The places of R22, best first. Each is worked out once those before it have failed: who the
/// caller is in the parent namespace has to be read.
fn candidates(world: &World) -> impl Iterator<Item = Candidate> + '_ {
    let named = |path| Candidate { path, must_be_in_memory: false, shared_parent: None };
    let in_memory = |path| Candidate { path, must_be_in_memory: true, shared_parent: None };
    let variable = |name| std::iter::once_with(move || world.environment.path(name)).flatten();
    let chosen = variable(CHOSEN).map(named);
    let runtime = variable("XDG_RUNTIME_DIR").map(move |path| in_memory(path.join("quayfed")));
    let by_user = std::iter::once(()).flat_map(move |()| {
        let namespace = world.caller.namespace();
        let uid = namespace.uid_in_parent;
        let is_root_of_the_host = namespace.is_initial && world.caller.uid() == 0;
        let mut places = vec![in_memory(world.places.run.join(format!("user/{uid}/quayfed")))];
        if is_root_of_the_host {
            let shared = world.places.run.join("quayfed");
            let of_root = in_memory(shared.join("root"));
            places.push(Candidate { shared_parent: Some(shared), ..of_root });
        }
        places.push(in_memory(world.places.shared_memory.join(format!("quayfed-{uid}"))));
        places
    });
    chosen.chain(runtime).chain(by_user)
}
