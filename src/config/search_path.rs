//! Which files a process reads its configuration from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::world::World;

/// The files that this process derives from its environment, whether they exist or not. Serializing
/// it fails where a path is not UTF-8: then nothing can be kept that depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchPath {
    /// The file that `$QUAYFED_CONFIG` names, which must exist, and no other.
    Chosen(PathBuf),
    /// The system's and the user's files, later ones over earlier ones.
    Usual {
        /// `/etc/quayfed/config.toml`.
        system: PathBuf,
        /// `/etc/quayfed/config.d`.
        drop_ins: PathBuf,
        /// `$XDG_CONFIG_HOME/quayfed/config.toml`, where the user has such a folder.
        user: Option<PathBuf>,
    },
}

impl SearchPath {
    /// The search path of this process.
    pub fn of(world: &World) -> Result<Self, Failure> {
        match world.environment.path("QUAYFED_CONFIG") {
            None => Ok(Self::usual(world)),
            Some(path) if path.is_absolute() => Ok(Self::Chosen(path)),
            Some(path) => Err(Failure::new(
                format!("QUAYFED_CONFIG is `{}`, which is no absolute path", path.display()),
                "write the whole path, such as /etc/quayfed/config.toml",
            )),
        }
    }

    fn usual(world: &World) -> Self {
        let system = &world.places.system_configuration;
        let user = world.user_configuration();
        Self::Usual {
            system: system.join("config.toml"),
            drop_ins: system.join("config.d"),
            user: user.map(|folder| folder.join("quayfed").join("config.toml")),
        }
    }

    /// Whether this is the user's own file, which counts as absent where a folder on the way to it
    /// cannot be searched.
    pub(super) fn is_users_own(&self, path: &Path) -> bool {
        matches!(self, Self::Usual { user: Some(user), .. } if user == path)
    }
}
