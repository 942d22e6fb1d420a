//! A place of its own for each test: folders for the system and the user, and a world in them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::settings::Rule;
use super::{Configuration, load};
use crate::failure::Failure;
use crate::server::Server;
use crate::world::{Caller, Environment, UserNamespace, World};

pub(super) struct Desk {
    folder: tempfile::TempDir,
    pub(super) world: World,
}

impl Desk {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let uid = rustix::process::geteuid().as_raw();
        let namespace = UserNamespace { is_initial: true, uid_in_parent: uid, overflow_uid: 65534 };
        let mut world = World::of_process();
        world.environment = Environment::default();
        world.caller = Caller::of(uid, namespace);
        world.places.system_configuration = folder.path().join("etc").into();
        world.places.user_configuration = Some(folder.path().join("user")).into();
        world.places.run = folder.path().join("run").into();
        Self { folder, world }
    }

    pub(super) fn with_variables(mut self, variables: &[(&str, &str)]) -> Self {
        self.world.environment = Environment::of(variables.iter().copied());
        self
    }

    pub(super) fn with_user_file(self, text: &str) -> Self {
        self.with_file("user/quayfed/config.toml", text)
    }

    pub(super) fn with_file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    pub(super) fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        self.set_mode(name, 0o644);
        for folder in path.ancestors().skip(1).take_while(|it| *it != self.folder.path()) {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("a mode");
        }
    }

    pub(super) fn set_mode(&self, name: &str, mode: u32) {
        let mode = PermissionsExt::from_mode(mode);
        std::fs::set_permissions(self.path(name), mode).expect("a mode");
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn load(&self) -> Result<Configuration, Failure> {
        load(&self.world)
    }

    /// The rule for a server, which must be there.
    pub(super) fn rule(&self, server: &str) -> Result<Rule, Failure> {
        let server = Server::parse(server).expect("a server");
        let settings = self.load()?.settings;
        settings.rule_for(&server).expect("a rule").clone()
    }

    /// A failure with the paths of this place cut short.
    pub(super) fn shortened(&self, failure: &Failure) -> Failure {
        Failure::new(self.shortened_text(failure.cause()), self.shortened_text(failure.hint()))
    }

    /// A text with the paths of this place cut short: to nothing for the user's folder.
    pub(super) fn shortened_text(&self, text: &str) -> String {
        let prefix = |folder: &Path| format!("{}/", folder.display());
        text.replace(&prefix(&self.path("user/quayfed")), "")
            .replace(&prefix(self.folder.path()), "/")
    }
}

/// A table of a registry with the identity `k`, in three lines.
pub(super) fn registry(name: &str, robot: &str) -> String {
    format!("[registry.\"{name}\"]\nrobot = \"{robot}\"\nidentity = \"k\"\n")
}
