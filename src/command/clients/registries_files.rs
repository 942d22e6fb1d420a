//! Which registries.conf files podman, buildah and skopeo read, in which order, before and since
//! podman 6 (containers' image library 5.40).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::absolute;
use crate::world::World;

/// The variable that names another main file.
const NAMED: &str = "CONTAINERS_REGISTRIES_CONF";
/// The variable that names a file that podman 6 reads after all others.
const NAMED_LAST: &str = "CONTAINERS_REGISTRIES_CONF_OVERRIDE";

/// Which files are read is another matter since podman 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) enum Generation {
    /// A main file of the user's hides all of the system's.
    BeforeSix,
    /// Drop-ins of all places are merged by their names.
    SinceSix,
}

/// Whose podman it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) enum Reader {
    Root,
    /// An ordinary user with this uid.
    User(u32),
}

impl Generation {
    pub(in crate::command) const ALL: [Self; 2] = [Self::BeforeSix, Self::SinceSix];

    /// For people: whose reading is meant.
    pub(in crate::command) const fn words(self) -> &'static str {
        match self {
            Self::BeforeSix => "podman before version 6",
            Self::SinceSix => "podman since version 6",
        }
    }

    /// The one that is likely installed. Only packages of the newer one bring such files.
    fn likely(world: &World) -> Self {
        let defaults = &world.places.containers_defaults;
        let is_there = |name: &str| defaults.join(name).exists();
        if is_there("registries.conf") || is_there("registries.conf.d") {
            Self::SinceSix
        } else {
            Self::BeforeSix
        }
    }
}

/// The drop-in of ours.
pub(in crate::command) fn own_drop_in(world: &World) -> PathBuf {
    world.places.containers_configuration.join("registries.conf.d/50-quayfed.conf")
}

/// What the caller's podman reads as far as can be told, of which the last file with a list of
/// helpers counts.
pub(in crate::command) fn in_use(world: &World) -> Vec<PathBuf> {
    read_by(world, Generation::likely(world), None)
}

/// What the caller's podman of a generation reads, in this order; some of it may not exist. A drop-in
/// that is `to_be` counts as there.
pub(in crate::command) fn read_by(
    world: &World,
    generation: Generation,
    to_be: Option<&Path>,
) -> Vec<PathBuf> {
    let reader = match world.caller.uid() {
        0 => Reader::Root,
        uid => Reader::User(uid),
    };
    let named = world.environment.path(NAMED).map(absolute);
    match generation {
        Generation::BeforeSix => {
            let user = world.home().map(|home| home.join(".config/containers"));
            let user =
                user.map(|folder| (main_file(&folder), drop_ins(&folder.join(DROP_INS), None)));
            let (main, own) = user.unwrap_or_default();
            if named.is_none() && main.exists() {
                return std::iter::once(main).chain(own).collect();
            }
            let mut files = of_system(world, generation, reader, to_be);
            if let Some(named) = named {
                files[0] = named;
            }
            files.extend(own);
            files
        }
        Generation::SinceSix => {
            let last = world.environment.path(NAMED_LAST).map(absolute);
            let files = match named {
                Some(named) => vec![named],
                None => since_six(world, reader, world.user_configuration(), to_be),
            };
            files.into_iter().chain(last).collect()
        }
    }
}

/// What podman of a generation reads of the system's files for a user who has none: the main file
/// first.
pub(in crate::command) fn of_system(
    world: &World,
    generation: Generation,
    reader: Reader,
    to_be: Option<&Path>,
) -> Vec<PathBuf> {
    match generation {
        Generation::BeforeSix => {
            let folder = &world.places.containers_configuration;
            let own = drop_ins(&folder.join(DROP_INS), to_be);
            std::iter::once(main_file(folder)).chain(own).collect()
        }
        Generation::SinceSix => since_six(world, reader, None, to_be),
    }
}

/// The users that have drop-ins of their own among the system's.
pub(in crate::command) fn users_with_drop_ins(world: &World) -> Vec<u32> {
    let places = &world.places;
    let folders = [&places.containers_configuration, &places.containers_defaults];
    let names = folders.into_iter().flat_map(|folder| names_in(&folder.join(OF_USERS)));
    names.filter_map(|(name, _)| name.to_str()?.parse().ok()).collect()
}

const DROP_INS: &str = "registries.conf.d";
const OF_ROOT: &str = "registries.rootful.conf.d";
const OF_USERS: &str = "registries.rootless.conf.d";

fn main_file(folder: &Path) -> PathBuf {
    folder.join("registries.conf")
}

/// The first main file that there is, and then the drop-ins of all folders by their names: of two
/// with the same name, the one of the more special folder.
fn since_six(
    world: &World,
    reader: Reader,
    user: Option<&Path>,
    to_be: Option<&Path>,
) -> Vec<PathBuf> {
    let places = &world.places;
    let user = user.map(|folder| folder.join("containers"));
    let system = [&*places.containers_configuration, &*places.containers_defaults];
    let folders: Vec<&Path> = user.as_deref().into_iter().chain(system).collect();
    let main = folders.iter().map(|folder| main_file(folder)).find(|file| file.exists());
    let mut special: Vec<PathBuf> = user.iter().map(|folder| folder.join(DROP_INS)).collect();
    for folder in system {
        match reader {
            Reader::Root => special.push(folder.join(OF_ROOT)),
            Reader::User(uid) => {
                special
                    .extend([folder.join(OF_USERS).join(uid.to_string()), folder.join(OF_USERS)]);
            }
        }
        special.push(folder.join(DROP_INS));
    }
    let mut by_name = BTreeMap::new();
    for folder in special.iter().rev() {
        for file in drop_ins(folder, to_be) {
            by_name.insert(file.file_name().map(OsString::from), file);
        }
    }
    let main = main.unwrap_or_else(|| main_file(&places.containers_configuration));
    std::iter::once(main).chain(by_name.into_values()).collect()
}

/// The drop-ins of a folder by their names.
fn drop_ins(folder: &Path, to_be: Option<&Path>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = names_in(folder)
        .into_iter()
        .filter(|(name, is_folder)| !is_folder && name.as_encoded_bytes().ends_with(b".conf"))
        .map(|(name, _)| folder.join(name))
        .collect();
    files.extend(to_be.filter(|file| file.parent() == Some(folder)).map(Path::to_owned));
    files.sort();
    files.dedup();
    files
}

/// What is in a folder, and whether each is a folder itself.
fn names_in(folder: &Path) -> Vec<(OsString, bool)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|it| (it.file_name(), it.file_type().is_ok_and(|kind| kind.is_dir()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::world_with;
    use crate::world::{Caller, UserNamespace};

    /// The files that are read of these, by a user (1000) or root, with these variables.
    fn read(
        generation: Generation,
        uid: u32,
        files: &[&str],
        variables: &[(&str, &str)],
    ) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in files {
            std::fs::create_dir_all(at(name).parent().expect("a folder")).expect("a folder");
            std::fs::write(at(name), "").expect("written");
        }
        let mut world = world_with(variables);
        let namespace = UserNamespace { is_initial: true, uid_in_parent: uid, overflow_uid: 65534 };
        world.caller = Caller::of(uid, namespace);
        world.places.home = Some(at("~")).into();
        world.places.user_configuration = Some(at("xdg")).into();
        world.places.containers_configuration = at("etc").into();
        world.places.containers_defaults = at("usr").into();
        let read = read_by(&world, generation, None).into_iter().filter(|file| {
            file.exists() || file.starts_with("/named") || file.starts_with("/last")
        });
        let shown = |file: PathBuf| {
            let file = file.strip_prefix(folder.path()).unwrap_or(&file).display().to_string();
            file.replace("registries", "r").replace(".config/containers", "C")
        };
        read.map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn r40_the_registries_conf_files_of_both_generations_are_read_in_their_order() {
        const NAMES: (&str, &str) = (NAMED, "/named");
        const LAST: (&str, &str) = (NAMED_LAST, "/last");
        let all = [
            "etc/registries.conf",
            "etc/registries.conf.d/10-a.conf",
            "etc/registries.conf.d/50-b.conf",
            "etc/registries.conf.d/60-not.txt",
            "etc/registries.conf.d/70-folder.conf/x.conf",
            "etc/registries.rootful.conf.d/20-root.conf",
            "etc/registries.rootless.conf.d/30-users.conf",
            "etc/registries.rootless.conf.d/1000/40-mine.conf",
            "etc/registries.rootless.conf.d/1000/50-b.conf",
            "etc/registries.rootless.conf.d/1001/45-theirs.conf",
            "usr/registries.conf",
            "usr/registries.conf.d/05-default.conf",
            "usr/registries.conf.d/10-a.conf",
            "~/.config/containers/registries.conf.d/15-own.conf",
            "xdg/containers/registries.conf.d/50-b.conf",
        ];
        let with_main =
            [&all[..], &["~/.config/containers/registries.conf", "xdg/containers/registries.conf"]]
                .concat();
        let only_default = ["usr/registries.conf", "usr/registries.rootful.conf.d/1.conf"];
        for (generation, uid, files, variables, wanted) in [
            (
                Generation::BeforeSix,
                1000,
                &all[..],
                &[][..],
                "etc/r.conf etc/r.conf.d/10-a.conf etc/r.conf.d/50-b.conf ~/C/r.conf.d/15-own.conf",
            ),
            (Generation::BeforeSix, 0, &with_main, &[], "~/C/r.conf ~/C/r.conf.d/15-own.conf"),
            (
                Generation::BeforeSix,
                0,
                &with_main,
                &[NAMES, LAST],
                "/named etc/r.conf.d/10-a.conf etc/r.conf.d/50-b.conf ~/C/r.conf.d/15-own.conf",
            ),
            (Generation::BeforeSix, 0, &only_default, &[], ""),
            (
                Generation::SinceSix,
                1000,
                &all,
                &[],
                "etc/r.conf usr/r.conf.d/05-default.conf etc/r.conf.d/10-a.conf \
                 etc/r.rootless.conf.d/30-users.conf etc/r.rootless.conf.d/1000/40-mine.conf \
                 xdg/containers/r.conf.d/50-b.conf",
            ),
            (
                Generation::SinceSix,
                0,
                &with_main,
                &[LAST],
                "xdg/containers/r.conf usr/r.conf.d/05-default.conf etc/r.conf.d/10-a.conf \
                 etc/r.rootful.conf.d/20-root.conf xdg/containers/r.conf.d/50-b.conf /last",
            ),
            (Generation::SinceSix, 0, &with_main, &[NAMES, LAST], "/named /last"),
            (Generation::SinceSix, 0, &only_default, &[], "usr/r.conf usr/r.rootful.conf.d/1.conf"),
        ] {
            assert_eq!(read(generation, uid, files, variables), wanted, "{generation:?} {uid}");
        }
    }
}
