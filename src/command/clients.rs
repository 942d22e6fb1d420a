//! Which files podman, buildah, skopeo and docker read, and in which order: as containers/image and
//! docker have it, and as podman 4.3, buildah 1.28, skopeo 1.9 and docker 20.10 were seen to do.
//!
//! Where they differ, it is podman and buildah that count: skopeo reads the auth.json of the session
//! also where `DOCKER_CONFIG` is set, does without a file that a variable names, and knows no
//! `CONTAINERS_REGISTRIES_CONF`.

pub(super) mod auth_file;
#[cfg(test)]
mod cases;
pub(super) mod certs_d;
mod json;
pub(super) mod registries;
pub(super) mod registries_conf;
pub(super) mod registries_files;

use std::path::{Path, PathBuf};

use auth_file::AuthFile;
use clap::ValueEnum;

use crate::config;
use crate::failure::Failure;
use crate::files::{InputError, read_input};
use crate::protocol::PROGRAM;
use crate::server::Server;
use crate::world::World;

/// The helper as clients' files name it: the program's name without `docker-credential-`.
pub(super) const HELPER: &str = "quayfed";
/// The largest file of a client's that is read, in bytes.
pub(super) const LARGEST: u64 = 4 * 1024 * 1024;

/// Whose files are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Client {
    /// podman, buildah and skopeo: auth.json
    #[value(aliases = ["podman", "buildah", "skopeo"])]
    Containers,
    /// docker: config.json
    Docker,
}

impl Client {
    pub(super) const ALL: [Self; 2] = [Self::Containers, Self::Docker];

    /// The programs that are meant.
    pub(super) const fn programs(self) -> &'static str {
        match self {
            Self::Containers => "podman, buildah, skopeo",
            Self::Docker => "docker",
        }
    }

    /// The file that the helper is put into.
    pub(super) fn file(self, world: &World) -> Result<PathBuf, Failure> {
        let file = match self {
            Self::Containers => auth_file(world),
            Self::Docker => docker_file(world),
        };
        file.ok_or_else(|| {
            Failure::new(
                "HOME is not set, so there is no place for files of yours",
                "set HOME, or name the files: REGISTRY_AUTH_FILE for podman, buildah and skopeo, \
                 DOCKER_CONFIG for docker",
            )
        })
    }
}

/// The auth.json that lasts and that is read in every session: what `REGISTRY_AUTH_FILE` names, or
/// the one in the user's configuration. `podman login` writes to one that is gone after a logout.
fn auth_file(world: &World) -> Option<PathBuf> {
    world.environment.path(NAMED).map(absolute).or_else(|| lasting_auth_file(world))
}

/// The variable that names the auth.json of podman, buildah and skopeo.
pub(super) const NAMED: &str = "REGISTRY_AUTH_FILE";
/// The variable that names the folder of docker's config.json, which podman and buildah read first
/// then.
const DOCKERS: &str = "DOCKER_CONFIG";

fn lasting_auth_file(world: &World) -> Option<PathBuf> {
    Some(world.user_configuration()?.join("containers/auth.json"))
}

pub(super) fn docker_file(world: &World) -> Option<PathBuf> {
    let chosen = world.environment.path(DOCKERS).map(absolute);
    let folder = chosen.or_else(|| Some(world.home()?.join(".docker")))?;
    Some(folder.join("config.json"))
}

/// The auth.json that `podman login` writes to, which is read before all others.
fn first_auth_file(world: &World) -> PathBuf {
    let environment = &world.environment;
    let named = environment.path(NAMED).map(absolute);
    let of_docker = || docker_file(world).filter(|_| environment.has(DOCKERS));
    named.or_else(of_docker).unwrap_or_else(|| match environment.path("XDG_RUNTIME_DIR") {
        Some(folder) => folder.join("containers/auth.json"),
        None => world.places.run.join(format!("containers/{}/auth.json", world.caller.uid())),
    })
}

/// The file that a variable names for podman and buildah, and the variable, where there is no such
/// file: then they fail, whatever is in the others.
pub(super) fn missing_auth_file(world: &World) -> Option<(&'static str, PathBuf)> {
    let is_set = |variable: &&str| world.environment.has(variable);
    let variable = [NAMED, DOCKERS].into_iter().find(is_set)?;
    let file = first_auth_file(world);
    (!file.exists()).then_some((variable, file))
}

/// Every file in which podman and buildah look for a login, in their order.
pub(super) fn auth_files(world: &World) -> Vec<PathBuf> {
    let mut files = vec![first_auth_file(world)];
    // Without XDG_RUNTIME_DIR, podman of an ordinary user has a folder of its own in its place.
    let is_own = files[0].starts_with(&world.places.run)
        && !world.environment.has("XDG_RUNTIME_DIR")
        && std::fs::metadata(&files[0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    if is_own && world.caller.uid() != 0 {
        files.clear();
    }
    for file in lasting_auth_file(world).into_iter().chain(docker_file(world)) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

/// Whether a file is gone after a logout or a boot.
pub(super) fn is_short_lived(world: &World, file: &Path) -> bool {
    let runtime = world.environment.path("XDG_RUNTIME_DIR");
    let folders = [&*world.places.run, &*world.places.shared_memory];
    folders.into_iter().chain(runtime.as_deref()).any(|folder| file.starts_with(folder))
}

/// The content of a client's file; nothing where there is no such file.
pub(super) fn content_of(file: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match read_input(file, LARGEST) {
        Ok(input) => Ok(Some(input.bytes)),
        Err(InputError::Absent) => Ok(None),
        Err(error) => Err(Failure::new(
            format!("{} {error}", file.display()),
            "whoever pulls must be able to read it: correct its owner and mode, or move it away",
        )),
    }
}

/// A client's auth.json or config.json as it reads it; nothing where there is no such file.
pub(super) fn auth_file_of(client: Client, file: &Path) -> Result<Option<AuthFile>, Failure> {
    let content = content_of(file)?;
    let parse = |bytes: Vec<u8>| AuthFile::parse(client, &bytes, &file.display().to_string());
    content.map(parse).transpose()
}

/// The hosts that a client's file names the helper for and no rule covers, as after a move: the
/// helper is asked for them, and has no answer. None where a file of the configuration is unknown.
pub(super) fn hosts_without_rule(world: &World, client: Client, file: &Path) -> Vec<String> {
    let settings = config::load_usable_settings(world);
    let Ok(Some(auth_file)) = auth_file_of(client, file) else { return Vec::new() };
    let is_known = |host: &String| {
        settings.unread().is_some()
            || Server::parse(host).is_ok_and(|server| {
                settings.find(&server).is_some()
                    || settings.rules.keys().any(|it| server.covers(it))
            })
    };
    auth_file.hosts_of(HELPER).into_iter().filter(|host| !is_known(host)).collect()
}

/// The program in the caller's `PATH`.
pub(super) fn program_in_path(world: &World) -> Option<PathBuf> {
    program_in(std::env::split_paths(&world.environment.get("PATH")?))
}

/// The program in the first of these folders that has it.
pub(super) fn program_in(folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
    };
    folders.into_iter().map(|folder| folder.join(PROGRAM)).find(is_program)
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
