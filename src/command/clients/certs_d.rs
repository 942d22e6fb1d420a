//! The certificates that podman and docker trust a registry by, besides the system's: `*.crt` in a
//! folder of the registry's name (containers-certs.d(5)). They never read a `ca_file` of ours.

use std::path::{Path, PathBuf};

use super::Client;
use crate::world::World;

/// The files of a client for a host: those of the first folder that is there.
pub(in crate::command) fn files(world: &World, client: Client, host: &str) -> Vec<PathBuf> {
    let folder = folders(world, client).into_iter().map(|folder| folder.join(host));
    let entries = folder.filter(|folder| folder.is_dir()).find_map(|it| std::fs::read_dir(it).ok());
    let files = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|file| file.extension().is_some_and(|it| it == "crt")).collect()
}

/// What lets the client of every user trust a CA for a host.
pub(in crate::command) fn command(
    world: &World,
    client: Client,
    host: &str,
    ca_file: &Path,
) -> String {
    let folder = match client {
        Client::Containers => world.places.containers_configuration.join("certs.d"),
        Client::Docker => of_docker(world),
    };
    let place = folder.join(host).join("ca.crt");
    format!("sudo install -D -m 0644 {} {}", ca_file.display(), place.display())
}

fn folders(world: &World, client: Client) -> Vec<PathBuf> {
    let home = |below: &str| world.home().map(|home| home.join(below));
    match client {
        Client::Containers => home(".config/containers/certs.d")
            .into_iter()
            .chain([world.places.containers_configuration.join("certs.d"), of_docker(world)])
            .collect(),
        Client::Docker => {
            std::iter::once(of_docker(world)).chain(home(".config/docker/certs.d")).collect()
        }
    }
}

/// The folder of docker's beside that of podman's.
fn of_docker(world: &World) -> PathBuf {
    let beside: &Path = &world.places.containers_configuration;
    beside.with_file_name("docker").join("certs.d")
}
