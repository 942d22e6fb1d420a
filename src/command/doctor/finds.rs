//! Whether podman and docker find the helper: what their files make of a registry.

use std::path::{Path, PathBuf};

use crate::command::clients::auth_file::Asked;
use crate::command::clients::registries_conf::{self, AUTH_FILES};
use crate::command::clients::{self, Client, HELPER, registries_files};
use crate::failure::Failure;
use crate::protocol::PROGRAM;
use crate::world::World;

/// What a client makes of a registry.
pub(super) enum Finds {
    /// It asks the helper, because of what stands there.
    Helper(String),
    /// It does not, because of what stands there.
    SomethingElse(Failure),
    /// Nothing of it stands anywhere.
    Nothing,
}

/// The program in the caller's `PATH`.
pub(super) fn program(world: &World) -> Result<PathBuf, Failure> {
    clients::program_in_path(world).ok_or_else(|| {
        let path = world.environment.get("PATH").unwrap_or_default();
        Failure::new(
            format!("`{PROGRAM}` is in no folder of PATH (`{}`)", path.display()),
            "podman and docker look for it there: put it into one, such as /usr/local/bin",
        )
    })
}

/// What podman, buildah and skopeo make of a registry.
pub(super) fn podman(world: &World, host: &str) -> Finds {
    if let Some((variable, file)) = clients::missing_auth_file(world) {
        return Finds::SomethingElse(Failure::new(
            format!(
                "{variable} names {}, which does not exist: podman and buildah fail",
                file.display()
            ),
            format!("make it ({PROGRAM} configure {host}), or unset {variable}"),
        ));
    }
    match credential_helpers(world) {
        Err(failure) => Finds::SomethingElse(failure),
        Ok((helpers, place)) => {
            let mut finds = helpers.iter().map(|helper| of_helper(world, helper, &place, host));
            finds.find(told).unwrap_or(Finds::Nothing)
        }
    }
}

/// What docker makes of a registry.
pub(super) fn docker(world: &World, host: &str) -> Finds {
    let file = clients::docker_file(world);
    file.map_or(Finds::Nothing, |file| of_file(&file, host, Client::Docker))
}

const fn told(finds: &Finds) -> bool {
    !matches!(finds, Finds::Nothing)
}

/// The helpers that podman asks, and which file says so (containers-registries.conf(5)).
fn credential_helpers(world: &World) -> Result<(Vec<String>, PathBuf), Failure> {
    let counting = registries_conf::counting(&registries_files::in_use(world))?;
    Ok(counting.map_or_else(
        || (vec![AUTH_FILES.to_owned()], PathBuf::new()),
        |(file, helpers)| (helpers, file),
    ))
}

fn of_helper(world: &World, helper: &str, place: &Path, host: &str) -> Finds {
    match helper {
        AUTH_FILES => {
            let files = clients::auth_files(world).into_iter();
            let mut finds = files.map(|file| of_file(&file, host, Client::Containers));
            finds.find(told).unwrap_or(Finds::Nothing)
        }
        HELPER => Finds::Helper(format!("`credential-helpers` in {}", place.display())),
        _ => Finds::Nothing,
    }
}

fn of_file(file: &Path, host: &str, client: Client) -> Finds {
    let auth_file = match clients::auth_file_of(client, file) {
        Ok(None) => return Finds::Nothing,
        Ok(Some(auth_file)) => auth_file,
        Err(failure) => return Finds::SomethingElse(failure),
    };
    let shown = file.display();
    match auth_file.asked(host) {
        Asked::Helper { key, helper } if helper == HELPER => {
            Finds::Helper(format!("`{key}` in {shown}"))
        }
        Asked::Helper { helper, .. } => Finds::SomethingElse(Failure::new(
            format!("for `{host}` the helper `{helper}` is asked, says {shown}"),
            format!("let this one be asked: {PROGRAM} configure {host}"),
        )),
        Asked::Login(_) => Finds::SomethingElse(Failure::new(
            format!("a login of `{host}` is kept in {shown}, and the helper is not asked"),
            match client {
                Client::Containers => format!(
                    "podman logout --authfile {shown} {host}; then, if the helper is not named \
                     there yet: {PROGRAM} configure {host}"
                ),
                Client::Docker => format!(
                    "docker logout {host}; then, if the helper is not named there yet: {PROGRAM} \
                     configure {host}"
                ),
            },
        )),
        Asked::Nobody => Finds::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;
    use crate::http::testing::world_with;

    /// A world whose places are in a folder with these files.
    fn world(variables: &[(&str, &str)], files: &[(&str, &str)]) -> (tempfile::TempDir, World) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("written");
        }
        let within = |text: &&str| text.replace('~', &folder.path().display().to_string());
        let variables: Vec<_> = variables.iter().map(|(name, it)| (*name, within(it))).collect();
        let variables: Vec<_> = variables.iter().map(|(name, it)| (*name, it.as_str())).collect();
        let mut world = world_with(&variables);
        world.places.home = Some(folder.path().to_owned()).into();
        world.places.user_configuration = Some(folder.path().join(".config")).into();
        world.places.run = folder.path().join("run").into();
        world.places.containers_configuration = folder.path().join("etc").into();
        (folder, world)
    }

    fn shown(finds: Finds, folder: &tempfile::TempDir) -> String {
        let text = match finds {
            Finds::Helper(how) => format!("helper: {how}"),
            Finds::SomethingElse(failure) => format!("else: {failure}"),
            Finds::Nothing => "nothing".to_owned(),
        };
        text.replace(&folder.path().display().to_string(), "~")
    }

    fn helper(name: &str) -> String {
        json!({"credHelpers": {"quay": name}}).to_string()
    }

    #[test]
    fn podman_reads_one_file_after_the_other_and_a_login_hides_what_comes_later() {
        const LASTING: &str = ".config/containers/auth.json";
        const DOCKER: &str = ".docker/config.json";
        let login = json!({"auths": {"quay": {"auth": "eDp5"}}}).to_string();
        let of_path = json!({"auths": {"quay/org": {"auth": "eDp5"}}}).to_string();
        let of_address = json!({"auths": {"https://quay/v1/": {"auth": "eDp5"}}}).to_string();
        let empty = json!({"auths": {"quay": {}}, "credsStore": "quayfed"}).to_string();
        let ours = helper("quayfed");
        let session = "run/containers/0/auth.json"
            .replace("/0/", &format!("/{}/", rustix::process::geteuid().as_raw()));
        let session = session.as_str();
        for (files, wanted) in [
            (&[][..], "nothing"),
            (
                &[(LASTING, ours.as_str())],
                "helper: `credHelpers` in ~/.config/containers/auth.json",
            ),
            (&[(DOCKER, &ours)], "helper: `credHelpers` in ~/.docker/config.json"),
            (&[(DOCKER, &empty)], "nothing"),
            (
                &[(LASTING, &empty), (DOCKER, &ours)],
                "helper: `credHelpers` in ~/.docker/config.json",
            ),
            (
                &[(session, &login), (LASTING, &ours)],
                "else: a login of `quay` is kept in ~/SESSION, and the helper is not asked",
            ),
            (
                &[(LASTING, &helper("other")), (DOCKER, &ours)],
                "else: for `quay` the helper `other` is asked, says ~/.config/containers/auth.json",
            ),
            (
                &[(LASTING, "{"), (DOCKER, &ours)],
                "else: ~/.config/containers/auth.json:1: this is not JSON: EOF while parsing an \
                 object",
            ),
            (
                &[(LASTING, "\n"), (DOCKER, &ours)],
                "else: ~/.config/containers/auth.json is empty: podman, buildah and skopeo fail \
                 there",
            ),
            (
                &[(LASTING, &of_path), (DOCKER, &ours)],
                "helper: `credHelpers` in ~/.docker/config.json",
            ),
            (
                &[(LASTING, &of_address), (DOCKER, &ours)],
                "else: a login of `quay` is kept in ~/.config/containers/auth.json, and the helper \
                 is not asked",
            ),
        ] {
            let (folder, world) = world(&[], files);
            let found = shown(podman(&world, "quay"), &folder).replace(session, "SESSION");
            assert_eq!(found, wanted, "{files:?}");
        }
    }

    #[test]
    fn a_file_that_a_variable_names_is_read_first_and_has_to_be_there() {
        const NAMED: (&str, &str) = ("REGISTRY_AUTH_FILE", "~/named");
        const DOCKERS: (&str, &str) = ("DOCKER_CONFIG", "~/own");
        const SESSION: (&str, &str) = ("XDG_RUNTIME_DIR", "~/session");
        const OF_SESSION: &str = "session/containers/auth.json";
        const LASTING: &str = ".config/containers/auth.json";
        let (ours, other) = (helper("quayfed"), helper("other"));
        let (ours, other) = (ours.as_str(), other.as_str());
        for (variables, files, wanted) in [
            (
                &[NAMED, DOCKERS, SESSION][..],
                &[("named", ours), ("own/config.json", other), (OF_SESSION, other)][..],
                "helper: `credHelpers` in ~/named",
            ),
            (
                &[NAMED, SESSION],
                &[("named", "{}"), (OF_SESSION, other), (LASTING, ours)],
                "helper: `credHelpers` in ~/.config/containers/auth.json",
            ),
            (
                &[NAMED, DOCKERS],
                &[("named", "{}"), ("own/config.json", ours), (".docker/config.json", other)],
                "helper: `credHelpers` in ~/own/config.json",
            ),
            (
                &[DOCKERS, SESSION],
                &[("own/config.json", ours), (OF_SESSION, other), (LASTING, other)],
                "helper: `credHelpers` in ~/own/config.json",
            ),
            (
                &[DOCKERS, SESSION],
                &[("own/config.json", "{}"), (OF_SESSION, other), (".docker/config.json", other)],
                "nothing",
            ),
            (
                &[NAMED, SESSION],
                &[(OF_SESSION, ours), (LASTING, ours)],
                "else: REGISTRY_AUTH_FILE names ~/named, which does not exist: podman and buildah \
                 fail",
            ),
            (
                &[DOCKERS],
                &[(LASTING, ours)],
                "else: DOCKER_CONFIG names ~/own/config.json, which does not exist: podman and \
                 buildah fail",
            ),
        ] {
            let (folder, world) = world(variables, files);
            assert_eq!(shown(podman(&world, "quay"), &folder), wanted, "{variables:?} {files:?}");
        }
    }

    #[test]
    fn the_list_of_registries_conf_decides_who_is_asked() {
        const USERS: &str = ".config/containers/registries.conf";
        const USERS_DROP_IN: &str = ".config/containers/registries.conf.d/0.conf";
        let both = "credential-helpers = [\"containers-auth.json\", \"quayfed\"]\n";
        let none = "credential-helpers = []\n";
        let others = "credential-helpers = [\"secretservice\"]\n";
        let ours = helper("quayfed");
        let auth = (".config/containers/auth.json", ours.as_str());
        for (files, wanted) in [
            (
                &[("etc/registries.conf", both)][..],
                "helper: `credential-helpers` in ~/etc/registries.conf",
            ),
            (
                &[("etc/registries.conf", others), ("etc/registries.conf.d/9.conf", both)],
                "helper: `credential-helpers` in ~/etc/registries.conf.d/9.conf",
            ),
            (&[("etc/registries.conf", others), auth], "nothing"),
            (
                &[("etc/registries.conf", both), ("etc/registries.conf.d/9.conf", none), auth],
                "helper: `credHelpers` in ~/.config/containers/auth.json",
            ),
            (&[("etc/registries.conf", both), (USERS, "")], "nothing"),
            (
                &[("etc/registries.conf.d/9.conf", others), (USERS_DROP_IN, both)],
                "helper: `credential-helpers` in ~/.config/containers/registries.conf.d/0.conf",
            ),
            (
                &[("etc/registries.conf", "= 1"), auth],
                "else: ~/etc/registries.conf:1: this is not TOML: unquoted keys cannot be empty, \
                 expected letters, numbers, `-`, `_`",
            ),
            (&[("etc/registries.conf.d/9.conf", both), (USERS, others)], "nothing"),
            (
                &[("etc/registries.conf", others), (USERS, both)],
                "helper: `credential-helpers` in ~/.config/containers/registries.conf",
            ),
        ] {
            let (folder, world) = world(&[], files);
            assert_eq!(shown(podman(&world, "quay"), &folder), wanted, "{files:?}");
        }
    }

    #[test]
    fn a_registries_conf_that_a_variable_names_replaces_those_of_system_and_user() {
        let ours = "credential-helpers = [\"quayfed\"]\n";
        let variables = [("CONTAINERS_REGISTRIES_CONF", "~/named")];
        let others = [
            ("etc/registries.conf", "credential-helpers = [\"a\"]\n"),
            (".config/containers/registries.conf", "credential-helpers = [\"a\"]\n"),
        ];
        for (file, wanted) in [
            ("named", "helper: `credential-helpers` in ~/named"),
            (
                "etc/registries.conf.d/1.conf",
                "helper: `credential-helpers` in ~/etc/registries.conf.d/1.conf",
            ),
        ] {
            let (folder, world) = world(&variables, &[&others[..], &[(file, ours)]].concat());
            assert_eq!(shown(podman(&world, "quay"), &folder), wanted);
        }
    }

    #[test]
    fn docker_has_one_file_and_a_store_for_all_that_it_does_not_name() {
        const FILE: &str = ".docker/config.json";
        for (text, wanted) in [
            (helper("quayfed"), "helper: `credHelpers` in ~/.docker/config.json"),
            (
                json!({"credsStore": "quayfed", "auths": {"quay": {}}}).to_string(),
                "helper: `credsStore` in ~/.docker/config.json",
            ),
            (
                json!({"credsStore": "desktop"}).to_string(),
                "else: for `quay` the helper `desktop` is asked, says ~/.docker/config.json",
            ),
            ("{}".to_owned(), "nothing"),
            (String::new(), "nothing"),
        ] {
            let (folder, world) = world(&[], &[(FILE, &text)]);
            assert_eq!(shown(docker(&world, "quay"), &folder), wanted, "{text}");
        }
    }

    #[test]
    fn the_program_is_looked_for_in_every_folder_of_path() {
        let name = format!("two/{PROGRAM}");
        let (folder, world) = world(&[("PATH", "~/one:~/two")], &[(&name, "")]);
        assert!(program(&world).is_err(), "it cannot be run");
        let file = folder.path().join(&name);
        std::fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("mode set");
        assert_eq!(program(&world).expect("the program"), file);
    }
}
