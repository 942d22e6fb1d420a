//! Which files a process reads its configuration from.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::world::World;

/// Which files this process reads, whether they exist or not, told by the folder and the variables
/// that they follow from: working out the user's folder takes longer than a cached `get` should. All
/// that it follows from must stand here. Serializing it fails where a path is not UTF-8: then nothing
/// can be kept that depends on it.
#[derive(Clone, Debug, Serialize)]
pub enum SearchPath {
    /// The file that `$QUAYFED_CONFIG` names, which must exist, and no other.
    Chosen(PathBuf),
    /// The system's and the user's files, later ones over earlier ones.
    Usual {
        /// The folder of the system's: `/etc/quayfed`.
        system: Cow<'static, Path>,
        /// What says where the user's is: `$XDG_CONFIG_HOME`.
        config_home: Option<PathBuf>,
        /// What says it where that is not set: `$HOME`.
        home: Option<PathBuf>,
    },
}

impl SearchPath {
    /// The search path of this process.
    pub fn of(world: &World) -> Result<Self, Failure> {
        match world.environment.path("QUAYFED_CONFIG") {
            None => Ok(Self::Usual {
                system: world.places.system_configuration.clone(),
                config_home: world.environment.path("XDG_CONFIG_HOME"),
                home: world.environment.path("HOME"),
            }),
            Some(path) if path.is_absolute() => Ok(Self::Chosen(path)),
            Some(path) => Err(Failure::new(
                format!("QUAYFED_CONFIG is `{}`, which is no absolute path", path.display()),
                "write the whole path, such as /etc/quayfed/config.toml",
            )),
        }
    }

    /// Whether this is the user's own file, which counts as absent where a folder on the way to it
    /// cannot be searched.
    pub(super) fn is_users_own(&self, world: &World, path: &Path) -> bool {
        matches!(self, Self::Usual { .. }) && users_own(world).as_deref() == Some(path)
    }
}

/// The user's own file: `quayfed/config.toml` in the configuration folder, where the user has one.
pub(super) fn users_own(world: &World) -> Option<PathBuf> {
    Some(world.user_configuration()?.join("quayfed").join("config.toml"))
}
