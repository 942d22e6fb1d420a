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

/// Where a configuration is looked for, to be told where there is none; under sudo also where it is
/// not, though the caller may think so.
pub fn searched(world: &World) -> String {
    if let Some(file) = world.environment.path("QUAYFED_CONFIG") {
        return file.display().to_string();
    }
    let system = world.places.system_configuration.display();
    let own = users_own(world).map(|file| format!(", {}", file.display())).unwrap_or_default();
    let caller = world.environment.text("SUDO_USER").ok().flatten();
    let of_caller = caller.filter(|caller| world.caller.uid() == 0 && caller != "root");
    let not =
        of_caller.map(|caller| format!(" (under sudo, not ~{caller}/.config/quayfed/config.toml)"));
    format!("{system}/config.toml, {system}/config.d/*.toml{own}{}", not.unwrap_or_default())
}

/// The user's own file: `quayfed/config.toml` in the configuration folder, where the user has one.
pub(super) fn users_own(world: &World) -> Option<PathBuf> {
    Some(world.user_configuration()?.join("quayfed").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Desk;
    use crate::world::{Caller, UserNamespace};

    #[test]
    fn r4_where_a_configuration_is_looked_for_is_told_under_sudo_too() {
        let told = |uid: u32, variables: &[(&str, &str)]| {
            let mut desk = Desk::new().with_variables(variables);
            let namespace =
                UserNamespace { is_initial: true, uid_in_parent: uid, overflow_uid: 65534 };
            desk.world.caller = Caller::of(uid, namespace);
            desk.shortened_text(&searched(&desk.world))
        };
        let usual = "/etc/config.toml, /etc/config.d/*.toml, config.toml";
        assert_eq!(told(1000, &[]), usual);
        assert_eq!(told(0, &[]), usual);
        assert_eq!(
            told(0, &[("SUDO_USER", "alice")]),
            format!("{usual} (under sudo, not ~alice/.config/quayfed/config.toml)")
        );
        assert_eq!(told(1000, &[("SUDO_USER", "alice")]), usual, "sudo -u");
        assert_eq!(told(0, &[("QUAYFED_CONFIG", "/x.toml")]), "/x.toml");
    }
}
