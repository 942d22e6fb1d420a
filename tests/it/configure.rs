//! `configure`: files of podman's and docker's that hold more than ours, changed by the built
//! program as an ordinary user, and its screens.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use quayfed::cli;
use quayfed::terminal::Looks;
use quayfed::world::{Environment, World};
use quayfed_sandbox::{Need, lacks};

use crate::binary::{Home, Ran, folder_on_disk, program, uid};
use crate::screens::{self, COLOURED, NARROW, PIPED};
use crate::scripts::{check_described, check_json};
use crate::simulation::Host;

const CONFIGURATION: &str = r#"
[registry."quay.example.com"]
robot = "acme+ci"
identity = "k"

[registry."mirror.example.com:8443"]
robot = "acme+mirror"
identity = "k"

[registry."paths.example.com/org"]
robot = "acme+org"
identity = "k"

[identity.k]
source = "env"
variable = "QUAY_TOKEN"
"#;

const AUTH_FILE: &str = ".config/containers/auth.json";
const DOCKER_FILE: &str = ".docker/config.json";

fn home() -> Home {
    let home = Home::new();
    home.configure(CONFIGURATION);
    home
}

fn configure(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.helper("configure");
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("run").into()
}

/// A run that succeeds, and what it says.
#[track_caller]
fn done(home: &Home, arguments: &[&str]) -> String {
    let ran = configure(home, arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout
}

/// What a command for people says of its failure, which it writes to standard error alone.
#[track_caller]
pub(crate) fn failure(ran: &Ran) -> (&str, &str) {
    failure_with(1, ran)
}

/// Cause and hint of a call that is not as its help says.
pub(crate) fn misuse(ran: &Ran) -> (&str, &str) {
    failure_with(2, ran)
}

fn failure_with(code: i32, ran: &Ran) -> (&str, &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let told = ran.stderr.strip_prefix("docker-credential-quayfed: ");
    told.and_then(|told| told.strip_suffix('\n')?.split_once("\nhint: ")).expect("a failure")
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn write(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.path(name);
    home.make_folder(path.parent().expect("a folder").to_str().expect("text"), 0o755);
    home.write(name, text, 0o644)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").mode() & 0o7777
}

#[test]
fn new_files_are_the_users_alone_and_go_again() {
    let home = home();
    let said = done(&home, &[]);
    for name in [AUTH_FILE, DOCKER_FILE] {
        assert_eq!(
            read(&home, name),
            "{\n\t\"credHelpers\": {\n\t\t\"mirror.example.com:8443\": \"quayfed\",\n\t\t\
             \"quay.example.com\": \"quayfed\"\n\t}\n}\n"
        );
        assert_eq!(mode(&home.path(name)), 0o600);
        assert_eq!(mode(home.path(name).parent().expect("a folder")), 0o700);
        assert!(said.contains(home.path(name).to_str().expect("text")), "{said}");
    }
    assert!(said.contains("paths.example.com is configured by path alone"), "{said}");
    assert!(!said.contains("No file needs"), "{said}");
    assert!(done(&home, &[]).contains("No file needs a change."));
    let said = done(&home, &["--undo"]);
    assert!(
        said.contains("taken away quay.example.com") && said.contains("file is gone"),
        "{said}"
    );
    assert!(!home.path(AUTH_FILE).exists() && !home.path(DOCKER_FILE).exists());
    assert!(done(&home, &["--undo"]).contains("No file needs a change."));
}

/// Files as people, docker, podman and programs leave them.
const FOREIGN: &[&str] = &[
    "",
    "{}",
    "{}\n",
    "{\n\t\"auths\": {\n\t\t\"docker.io\": {\n\t\t\t\"auth\": \"dTpodW50ZXIy\"\n\t\t}\n\t}\n}",
    "{\r\n  \"z\": 1.50,\r\n  \"a\": [1, {\"b\": \"\\u00e4\\/\"}],\r\n  \"credHelpers\": {\r\n    \"gcr.io\": \"gcloud\"\r\n  },\r\n  \"HttpHeaders\": {}\r\n}\r\n",
    "{\"credHelpers\":{\"quay.io\":\"secretservice\"},\"auths\":{}}",
    "  {\n\n    \"credsStore\" : \"pass\",\n\n    \"unknown\" : null }  \n",
    "{\n    \"auths\": {},\n    \"ümläut\": \"ö\\\"}\"\n}\n",
];

#[test]
fn everything_else_is_kept_to_the_byte_and_undo_restores_the_file() {
    for foreign in FOREIGN {
        let home = home();
        let (auth_file, docker_file) =
            (write(&home, AUTH_FILE, foreign), write(&home, DOCKER_FILE, foreign));
        fs::set_permissions(&docker_file, fs::Permissions::from_mode(0o640)).expect("a mode");
        done(&home, &["quay.example.com", "a.example.com"]);
        let changed = read(&home, AUTH_FILE);
        let value: serde_json::Value = serde_json::from_str(&changed).expect("JSON");
        assert_eq!(value["credHelpers"]["quay.example.com"], "quayfed", "{changed}");
        let mut without = value.clone();
        let helpers = without["credHelpers"].as_object_mut().expect("an object");
        helpers.retain(|_, helper| helper != "quayfed");
        if helpers.is_empty() {
            without.as_object_mut().expect("an object").remove("credHelpers");
        }
        let before = if foreign.is_empty() { "{}" } else { foreign };
        assert_eq!(without, serde_json::from_str::<serde_json::Value>(before).expect("JSON"));
        // What was there stands there in its order: only something was put in between.
        let mut letters = changed.chars();
        assert!(foreign.chars().all(|letter| letters.any(|other| other == letter)), "{changed}");
        assert_eq!((mode(&auth_file), mode(&docker_file)), (0o644, 0o640));
        assert_eq!(changed, read(&home, DOCKER_FILE));
        assert!(
            done(&home, &["quay.example.com", "a.example.com"]).contains("No file needs a change.")
        );
        assert_eq!(changed, read(&home, AUTH_FILE));
        done(&home, &["--undo", "a.example.com"]);
        assert!(!read(&home, AUTH_FILE).contains("a.example.com"));
        done(&home, &["--undo"]);
        assert_eq!((read(&home, AUTH_FILE), read(&home, DOCKER_FILE)), {
            ((*foreign).to_owned(), (*foreign).to_owned())
        });
    }
}

#[test]
fn only_one_of_the_two_is_changed_where_that_is_asked_for() {
    let home = home();
    done(&home, &["--only", "docker"]);
    assert!(!home.path(AUTH_FILE).exists() && home.path(DOCKER_FILE).exists());
    done(&home, &["--undo"]);
    done(&home, &["--only", "containers"]);
    assert!(home.path(AUTH_FILE).exists() && !home.path(DOCKER_FILE).exists());
}

#[test]
fn the_files_that_variables_name_are_the_ones() {
    let mut home = home();
    home.set("REGISTRY_AUTH_FILE", home.path("named/auth.json").to_str().expect("text"));
    home.set("DOCKER_CONFIG", home.path("docker").to_str().expect("text"));
    let said = done(&home, &[]);
    assert!(home.path("named/auth.json").exists() && home.path("docker/config.json").exists());
    assert!(!home.path(AUTH_FILE).exists() && !home.path(DOCKER_FILE).exists());
    assert!(said.contains("is gone after a logout or a boot"), "it is in /dev/shm: {said}");
    home.set("REGISTRY_AUTH_FILE", "");
    home.set("XDG_CONFIG_HOME", home.path("own").to_str().expect("text"));
    done(&home, &["quay.example.com"]);
    assert!(home.path("own/containers/auth.json").exists());
}

#[test]
fn dockers_folder_without_a_file_keeps_podman_and_buildah_from_everything() {
    let mut home = home();
    home.set("DOCKER_CONFIG", home.path("docker").to_str().expect("text"));
    let said = done(&home, &["--only", "containers"]);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("podman and buildah fail without "), "{said}");
    assert!(said.contains("configure --only docker"), "{said}");
    for wanted in [&["--only", "docker"][..], &[], &["--only", "containers"]] {
        let said = done(&home, wanted);
        assert!(!said.contains("podman and buildah fail"), "{said}");
    }
}

#[test]
fn one_file_for_all_programs_is_changed_once() {
    let mut home = home();
    write(&home, DOCKER_FILE, r#"{"auths": {"quay.example.com": {"auth": "eDp5"}}}"#);
    home.set("REGISTRY_AUTH_FILE", home.path(DOCKER_FILE).to_str().expect("text"));
    let said = done(&home, &["--dry-run", "quay.example.com"]);
    assert_eq!(said.matches("+++ ").count(), 1, "{said}");
    home.set("REGISTRY_AUTH_FILE", "");
    // podman and buildah read docker's first then: within one file, a helper comes before a login.
    home.set("DOCKER_CONFIG", home.path(".docker").to_str().expect("text"));
    let said = done(&home, &["quay.example.com"]);
    assert!(said.contains("is not used") && !said.contains("is read first"), "{said}");
    let said = done(&home, &["quay.example.com", "--only", "containers"]);
    assert!(!said.contains("is read first"), "{said}");
    done(&home, &["--undo", "--only", "docker"]);
    let said = done(&home, &["quay.example.com", "--only", "containers"]);
    assert!(said.contains("is read first"), "{said}");
}

#[test]
fn the_target_of_a_symbolic_link_is_changed_and_the_link_stays() {
    let home = home();
    write(&home, "dotfiles/auth.json", "{\"auths\": {}}");
    home.make_folder(".config/containers", 0o700);
    symlink("../../dotfiles/auth.json", home.path(AUTH_FILE)).expect("a link");
    done(&home, &["--only", "containers"]);
    assert!(fs::symlink_metadata(home.path(AUTH_FILE)).expect("a link").is_symlink());
    assert!(read(&home, "dotfiles/auth.json").contains("quayfed"));
    done(&home, &["--undo"]);
    assert_eq!(read(&home, "dotfiles/auth.json"), "{\"auths\": {}}");
    fs::remove_file(home.path("dotfiles/auth.json")).expect("removed");
    let ran = configure(&home, &[]);
    assert!(
        failure(&ran).0.ends_with("is a symbolic link to a file that does not exist"),
        "{ran:?}"
    );
}

#[test]
fn what_cannot_be_changed_is_told_and_no_file_is_touched() {
    for (name, text, mode, wanted) in [
        (AUTH_FILE, "{", 0o600, "auth.json:1: this is not JSON: EOF while parsing an object"),
        (DOCKER_FILE, "{}\nx", 0o600, "config.json:2: this is not JSON: trailing characters"),
        (DOCKER_FILE, "[]", 0o600, "config.json: the whole of it must be an object, not a list"),
        (
            AUTH_FILE,
            r#"{"credHelpers": {"quay.example.com": "gcloud"}}"#,
            0o600,
            "auth.json names the helper `gcloud` for quay.example.com",
        ),
        (DOCKER_FILE, "{}", 0o444, "config.json is read-only for the user running this (uid "),
        (DOCKER_FILE, "{}", 0o000, "config.json cannot be read (permission denied)"),
    ] {
        let home = home();
        let path = write(&home, name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let before = fs::metadata(&path).expect("a file").ino();
        let ran = configure(&home, &[]);
        assert!(failure(&ran).0.contains(wanted), "{ran:?}");
        assert_eq!(fs::metadata(&path).expect("a file").ino(), before);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        assert_eq!(read(&home, name), text);
        let other = if name == AUTH_FILE { DOCKER_FILE } else { AUTH_FILE };
        assert!(!home.path(other).exists(), "the other file is not touched either");
    }
}

#[test]
fn r41_a_folder_that_cannot_be_written_to_is_told_where_that_matters() {
    let home = home();
    home.make_folder(".config/containers", 0o555);
    let arguments = ["--only", "containers", "quay.example.com"];
    for ran in
        [configure(&home, &arguments), configure(&home, &[&arguments[..], &["--dry-run"]].concat())]
    {
        let (cause, hint) = failure(&ran);
        assert!(cause.ends_with("auth.json cannot be written (permission denied)"), "{ran:?}");
        let wanted = format!("let the user running this (uid {}) write to its folder", uid());
        assert_eq!(hint, wanted);
    }
    // A file that is there is written in its place.
    home.make_folder(".config/containers", 0o755);
    let path = write(&home, AUTH_FILE, "{}");
    home.make_folder(".config/containers", 0o555);
    let before = fs::metadata(&path).expect("a file").ino();
    done(&home, &arguments);
    assert_eq!(fs::metadata(&path).expect("a file").ino(), before);
    assert_eq!(read(&home, AUTH_FILE), r#"{"credHelpers": {"quay.example.com": "quayfed"}}"#);
    done(&home, &["--undo"]);
    assert_eq!(read(&home, AUTH_FILE), "{}");
    home.make_folder(".config/containers", 0o700);
}

#[test]
fn r41_an_ordinary_user_is_told_to_use_sudo_for_what_is_roots() {
    let home = home();
    let ran = configure(&home, &["--system", "--dry-run"]);
    let (cause, hint) = failure(&ran);
    assert!(cause.ends_with("cannot be written (permission denied)"), "{ran:?}");
    assert_eq!(hint, "only root can change it: run the same command with sudo");
}

#[test]
fn r41_a_group_that_the_user_is_not_in_keeps_the_file() {
    if lacks(Need::Root) {
        return;
    }
    let home = home();
    let path = write(&home, AUTH_FILE, "{\"auths\": {}}");
    std::os::unix::fs::chown(&path, None, Some(4711)).expect("a group");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    let before = fs::metadata(&path).expect("a file");
    done(&home, &["--only", "containers", "quay.example.com"]);
    let after = fs::metadata(&path).expect("a file");
    let of = |it: &fs::Metadata| (it.ino(), it.uid(), it.gid(), it.mode());
    assert_eq!(of(&before), of(&after));
    assert!(read(&home, AUTH_FILE).contains("quayfed"));
    assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("a folder").count(), 1);
}

/// Runs a script of root's in a mount namespace of its own; `$HELPER` is the program.
fn in_own_mounts(home: &Home, script: &str) -> Ran {
    let mut unshare = home.command("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-euc", script]);
    unshare.env("HELPER", program()).stdin(Stdio::null());
    unshare.output().expect("run").into()
}

#[test]
fn r41_a_file_that_is_a_mount_of_its_own_is_written_in_its_place() {
    if lacks(Need::Mounts) {
        return;
    }
    let home = Home::of(0);
    let ran = in_own_mounts(
        &home,
        r#"
        cd "$HOME"; mkdir -p .config/containers; printf '{"auths": {}}' > outside
        : > .config/containers/auth.json
        mount --bind outside .config/containers/auth.json
        "$HELPER" configure quay.example.com --only containers --dry-run > said
        "$HELPER" configure quay.example.com --only containers > said
        cat outside; ls -A .config/containers
        "$HELPER" configure --undo --only containers > said
        cat outside
        printf '{
	"credHelpers": {
		"h": "quayfed"
	}
}
' > outside
        "$HELPER" configure --undo --only containers > said
        cat outside
        mount -o remount,bind,ro .config/containers/auth.json
        "$HELPER" configure quay.example.com --only containers --dry-run
        "#,
    );
    assert_eq!(
        ran.stdout,
        "{\"auths\": {}, \"credHelpers\": {\"quay.example.com\": \"quayfed\"}}auth.json\n\
         {\"auths\": {}}{}\n",
        "{ran:?}"
    );
    let (cause, hint) = failure(&ran);
    assert!(cause.ends_with("auth.json cannot be written (read-only file system)"), "{ran:?}");
    assert_eq!(hint, "change it where it comes from: --dry-run shows how");
}

#[test]
fn r41_a_dry_run_tells_what_not_even_root_could_write() {
    let disk = folder_on_disk();
    let frozen = disk.as_ref().map(|folder| folder.path().join("auth.json"));
    let freezes = |file: &PathBuf| {
        fs::write(file, "{}").expect("written");
        chattr("+i", file) && chattr("-i", file)
    };
    let can_freeze = frozen.as_ref().is_some_and(freezes);
    if lacks(Need::Root) || lacks(Need::Other("a file system that knows chattr +i", can_freeze)) {
        return;
    }
    let file = frozen.expect("a file");
    let mut home = Home::of(0);
    home.set("REGISTRY_AUTH_FILE", file.to_str().expect("text"));
    for (letter, word) in [("i", "immutable"), ("a", "append-only")] {
        assert!(chattr(&format!("+{letter}"), &file));
        let ran = configure(&home, &["quay.example.com", "--only", "containers", "--dry-run"]);
        assert!(chattr(&format!("-{letter}"), &file));
        let shown = file.display();
        assert_eq!(
            failure(&ran),
            (
                &*format!("{shown} cannot be written: {shown} is {word} (lsattr)"),
                &*format!("if that is not meant: chattr -{letter} {shown}")
            )
        );
    }
}

fn chattr(change: &str, file: &Path) -> bool {
    let mut chattr = Process::new("chattr");
    chattr.arg(change).arg(file).stderr(Stdio::null());
    chattr.status().is_ok_and(|status| status.success())
}

#[test]
fn another_helper_gives_way_to_force_alone() {
    let home = home();
    write(&home, AUTH_FILE, r#"{"credHelpers": {"quay.example.com": "gcloud", "x": "y"}}"#);
    let arguments = ["--only", "containers", "quay.example.com"];
    for ran in
        [configure(&home, &arguments), configure(&home, &[&arguments[..], &["--dry-run"]].concat())]
    {
        assert_eq!(
            failure(&ran).1,
            "nothing was changed; with --force this helper takes its place (--undo does not bring \
             it back)"
        );
    }
    let forced = [&arguments[..], &["--force"]].concat();
    let foretold = done(&home, &[&forced[..], &["--dry-run", "--json"]].concat());
    let foretold: serde_json::Value = serde_json::from_str(&foretold).expect("JSON");
    check_described("configure", &foretold);
    assert_eq!(
        foretold["files"][0]["entries"],
        serde_json::json!([{"registry": "quay.example.com", "change": "replaced", "was": "gcloud"}])
    );
    let said = done(&home, &forced);
    assert_eq!(said.lines().nth(1), Some("  replaced   quay.example.com (was gcloud)"), "{said}");
    assert_eq!(
        read(&home, AUTH_FILE),
        r#"{"credHelpers": {"quay.example.com": "quayfed", "x": "y"}}"#
    );
}

#[test]
fn nothing_is_configured_where_there_is_nothing_to_configure() {
    let home = Home::new();
    assert_eq!(failure(&configure(&home, &[])).0, "the configuration has no registry");
    home.configure(
        &CONFIGURATION
            .replace("quay.example.com\"", "quay.example.com/x\"")
            .replace("mirror.example.com:8443\"", "mirror.example.com:8443/x\""),
    );
    assert_eq!(
        failure(&configure(&home, &[])).0,
        "the configuration has rules for paths alone, such as those of `mirror.example.com:8443`"
    );
    assert_eq!(
        failure(&configure(&home, &["ftp://x"])).0,
        "`ftp://x` is no name of a registry: it has a scheme other than `https` and `http`"
    );
    assert_eq!(configure(&home, &["--system", "quay.example.com"]).code, Some(2));
    assert_eq!(configure(&home, &["--only", "both"]).code, Some(2));
    // A broken configuration does not stand in the way of an undo.
    home.configure("not TOML");
    assert!(failure(&configure(&home, &[])).0.contains("this is not TOML"));
    done(&home, &["--undo"]);
    let said = done(&home, &["quay.example.com"]);
    assert!(said.contains("the helper cannot answer yet:"), "{said}");
}

#[test]
fn root_leaves_no_file_of_its_own_in_the_home_of_another() {
    if lacks(Need::Root) {
        return;
    }
    let home = home();
    let ran = Process::new(program())
        .arg("configure")
        .arg("quay.example.com")
        .env_clear()
        .env("HOME", home.path(""))
        .output()
        .expect("run");
    let ran = Ran::from(ran);
    assert!(failure(&ran).0.contains("who could not read a file of uid 0"), "{ran:?}");
    // A file that is there keeps its owner.
    let path = write(&home, AUTH_FILE, "{}");
    write(&home, DOCKER_FILE, "{}");
    let owner = fs::metadata(&path).expect("a file").uid();
    let status = Process::new(program())
        .args(["configure", "quay.example.com"])
        .env_clear()
        .env("HOME", home.path(""))
        .stdout(Stdio::null())
        .status()
        .expect("run");
    assert!(status.success());
    assert_eq!(fs::metadata(&path).expect("a file").uid(), owner);
    assert!(read(&home, AUTH_FILE).contains("quayfed"));
}

#[test]
fn many_writers_at_once_lose_no_edit() {
    for start in [None, Some("{\n  \"auths\": {\"docker.io\": {}}\n}\n")] {
        let home = home();
        if let Some(text) = start {
            write(&home, AUTH_FILE, text);
        }
        let hosts: Vec<String> = (0..40).map(|number| format!("h{number}.example.com")).collect();
        let children: Vec<_> = hosts
            .iter()
            .map(|host| {
                let mut command = home.helper("configure");
                command.args([host, "--only", "containers"]);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().expect("started")
            })
            .collect();
        for child in children {
            let ran = Ran::from(child.wait_with_output().expect("an end"));
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
        let value: serde_json::Value = serde_json::from_str(&read(&home, AUTH_FILE)).expect("JSON");
        assert_eq!(value["credHelpers"].as_object().expect("an object").len(), hosts.len());
        let folder = home.path(AUTH_FILE).parent().expect("a folder").to_owned();
        assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1, "nothing is left behind");
        let children: Vec<_> = hosts
            .iter()
            .map(|host| {
                let mut command = home.helper("configure");
                command.args(["--undo", host]).stdin(Stdio::null()).stdout(Stdio::null());
                command.spawn().expect("started")
            })
            .collect();
        for mut child in children {
            assert!(child.wait().expect("an end").success());
        }
        match start {
            None => assert!(!home.path(AUTH_FILE).exists()),
            Some(text) => assert_eq!(read(&home, AUTH_FILE), text),
        }
    }
}

#[test]
fn a_dry_run_shows_a_diff_without_secrets_and_writes_nothing() {
    let home = home();
    let text = "{\n\t\"auths\": {\n\t\t\"docker.io\": {\n\t\t\t\"auth\": \"dTpodW50ZXIy\"\n\t\t}\n\t}\n}\n";
    write(&home, AUTH_FILE, text);
    let said = done(&home, &["--dry-run"]);
    assert!(said.contains("+\t\t\"quay.example.com\": \"quayfed\""), "{said}");
    assert!(said.contains("--- /dev/null") && said.contains("a dry run"), "{said}");
    assert!(said.contains("\"auth\": \"…\"") && !said.contains("dTpodW50ZXIy"), "{said}");
    assert_eq!(read(&home, AUTH_FILE), text);
    assert!(!home.path(DOCKER_FILE).exists() && !home.path(".docker").exists());
}

/// A place of its own for the whole system, as the program sees it in this process. The name of its
/// folder has the length of [`SHOWN`], so that lines break as they would there.
struct Desk {
    folder: tempfile::TempDir,
    host: Host,
    variables: Vec<(String, String)>,
}

const SHOWN: &str = "/home/ci-runner-01";

impl Desk {
    fn new() -> Self {
        let folder =
            tempfile::Builder::new().prefix("qf-").tempdir_in("/dev/shm").expect("a folder");
        let desk = Self { folder, host: Host::new(), variables: Vec::new() };
        desk.host.configure(CONFIGURATION);
        assert_eq!(desk.folder.path().as_os_str().len(), SHOWN.len());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("written");
        path
    }

    fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    fn world(&self) -> World {
        let mut world = self.host.world();
        let mut variables = self.variables.clone();
        let configuration = self.host.configuration.display().to_string();
        variables.push(("QUAYFED_CONFIG".to_owned(), configuration));
        world.environment = Environment::of(variables);
        world.places.home = Some(self.path("")).into();
        world.places.user_configuration = Some(self.path(".config")).into();
        world.places.run = self.path("run").into();
        world.places.shared_memory = Path::new("/nowhere").into();
        world.places.containers_configuration = self.path("etc/containers").into();
        world.places.containers_defaults = self.path("usr/share/containers").into();
        world.places.path_of_services = "/usr/bin".into();
        if self.path("bin").exists() {
            world.places.path_of_services =
                format!("/usr/bin:{}", self.path("bin").display()).into();
        }
        world
    }

    fn with_program(self) -> Self {
        let path = self.write("bin/docker-credential-quayfed", "");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        self
    }

    /// A screen, with the folder under another name.
    fn screen(&self, looks: Looks, arguments: &[&str]) -> String {
        let line: Vec<OsString> =
            ["configure"].iter().chain(arguments).map(OsString::from).collect();
        let cli::Command::ForPeople(command) = cli::parse(&line) else {
            panic!("{arguments:?}");
        };
        let world = self.world();
        let (result, screen) = screens::drawn(looks, |terminal| {
            quayfed::command::run(&world, terminal, &command, cli::parser())
        });
        let folder = self.folder.path().to_str().expect("text").to_owned();
        let screen = match result {
            Ok(code) => {
                assert_eq!(code, quayfed::command::WELL, "{screen}");
                screen
            }
            Err(failure) => format!("{screen}{failure}\nhint: {}\n", failure.hint()),
        };
        screen.replace(&folder, SHOWN)
    }
}

#[test]
fn every_user_is_configured_by_a_drop_in_which_goes_again() {
    let desk = Desk::new();
    let conf = desk.write(
        "etc/containers/registries.conf",
        "# ours\nunqualified-search-registries = [\"docker.io\"]\n",
    );
    let before = fs::read_to_string(&conf).expect("text");
    desk.screen(PIPED, &["--system", "--dry-run"]);
    let own = desk.path("etc/containers/registries.conf.d/50-quayfed.conf");
    assert!(!own.exists());
    desk.screen(PIPED, &["--system"]);
    let text = fs::read_to_string(&own).expect("text");
    assert!(
        text.ends_with("\ncredential-helpers = [\"containers-auth.json\", \"quayfed\"]\n"),
        "{text}"
    );
    assert_eq!((mode(&own), mode(own.parent().expect("a folder"))), (0o644, 0o755));
    assert!(desk.screen(PIPED, &["--system"]).contains("No file needs a change."));
    desk.screen(PIPED, &["--system", "--undo"]);
    assert!(!own.exists());
    assert!(desk.screen(PIPED, &["--system", "--undo"]).contains("No file needs a change."));
    assert_eq!(fs::read_to_string(&conf).expect("text"), before);
}

#[test]
fn a_registries_conf_of_the_users_own_is_told() {
    const INSTEAD: &str = "instead of all files";
    let own = "own/containers/registries.conf";
    let desk = Desk::new().with("XDG_CONFIG_HOME", "/nowhere/own");
    desk.write(own, "");
    assert!(!desk.screen(PIPED, &["--system"]).contains(INSTEAD), "podman does not read it");
    desk.write(".config/containers/registries.conf", "");
    let said = desk.screen(PIPED, &["--system"]);
    assert!(said.replace("\n    ", " ").contains(INSTEAD), "{said}");
    let desk = desk.with("CONTAINERS_REGISTRIES_CONF", "/nowhere/registries.conf");
    let said = desk.screen(PIPED, &["--system"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!said.contains("before version 6"), "that is read instead of it: {said}");
    // Since version 6 no drop-in is read then.
    let wanted = "podman since version 6 reads /nowhere/registries.conf instead of all files";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn helpers_that_are_there_for_every_user_stay_first() {
    let desk = Desk::new();
    desk.write("etc/containers/registries.conf", "credential-helpers = [\"a\"]\n");
    let text = "# last one counts\ncredential-helpers = [\n  \"containers-auth.json\", # files\n  \"secretservice\",\n]\n[[registry]]\nprefix = \"x\"\n";
    let last = desk.write("etc/containers/registries.conf.d/90-site.conf", text);
    desk.write("etc/containers/registries.conf.d/95-other.txt", "not TOML");
    desk.screen(PIPED, &["--system"]);
    assert_eq!(
        fs::read_to_string(&last).expect("text"),
        text.replace("\"secretservice\",\n", "\"secretservice\",\n  \"quayfed\",\n")
    );
    assert!(!desk.path("etc/containers/registries.conf.d/50-quayfed.conf").exists());
    assert!(desk.screen(PIPED, &["--system"]).contains("No file needs a change."));
    desk.screen(PIPED, &["--system", "--undo"]);
    assert_eq!(fs::read_to_string(&last).expect("text"), text);
    desk.write("etc/containers/registries.conf", "= 1\n");
    let said = desk.screen(PIPED, &["--system"]);
    assert!(said.contains("registries.conf:1: this is not TOML: "), "{said}");
    assert_eq!(fs::read_to_string(&last).expect("text"), text);
}

#[test]
fn r40_a_list_of_a_packages_or_of_some_users_is_kept_and_followed() {
    const LIST: &str = "credential-helpers = [\"secretservice\"]\n";
    let own = "etc/containers/registries.conf.d/50-quayfed.conf";
    let desk = Desk::new();
    desk.write("usr/share/containers/registries.conf.d/20-package.conf", LIST);
    let mine = desk.write("etc/containers/registries.rootless.conf.d/1000/60-mine.conf", LIST);
    desk.screen(PIPED, &["--system"]);
    let text = fs::read_to_string(desk.path(own)).expect("text");
    assert!(text.ends_with("\ncredential-helpers = [\"secretservice\", \"quayfed\"]\n"), "{text}");
    let with_ours = LIST.replace(']', ", \"quayfed\"]");
    assert_eq!(fs::read_to_string(&mine).expect("text"), with_ours);
    assert!(desk.screen(PIPED, &["--system"]).contains("No file needs a change."));
    desk.screen(PIPED, &["--system", "--undo"]);
    assert!(!desk.path(own).exists());
    assert_eq!(fs::read_to_string(&mine).expect("text"), LIST);
}

#[test]
fn r40_what_counts_after_the_list_for_every_user_is_told() {
    const LIST: &str = "Credential-Helpers = [\"secretservice\"]\n";
    let own = ".config/containers/registries.conf";
    for (files, wanted) in [
        (&[][..], &[][..]),
        (
            &[(own, "")],
            &[
                "podman before version 6 reads /home/ci-runner-01/.config/containers/registries.conf \
             instead of all files in /home/ci-runner-01/etc/containers",
            ],
        ),
        (
            &[(own, LIST)],
            &["podman before version 6 goes by the `credential-helpers` of \
             /home/ci-runner-01/.config/containers/registries.conf instead"],
        ),
        (
            &[(".config/containers/registries.conf.d/60-x.conf", LIST)],
            &["podman goes by the `credential-helpers` of \
             /home/ci-runner-01/.config/containers/registries.conf.d/60-x.conf instead"],
        ),
        (
            &[(".config/containers/registries.conf.d/40-x.conf", LIST)],
            &["podman before version 6 goes by the `credential-helpers` of \
             /home/ci-runner-01/.config/containers/registries.conf.d/40-x.conf instead"],
        ),
        (
            &[("usr/share/containers/registries.conf.d/90-x.conf", LIST)],
            &["podman since version 6 goes by the `credential-helpers` of \
             /home/ci-runner-01/usr/share/containers/registries.conf.d/90-x.conf instead"],
        ),
    ] {
        for arguments in [&["--system", "--dry-run"][..], &["--system"]] {
            let desk = Desk::new().with_program();
            for (name, text) in files {
                desk.write(name, text);
            }
            let said = desk.screen(PIPED, arguments);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(said.matches("! podman ").count(), wanted.len(), "{files:?}: {said}");
            for wanted in wanted {
                assert!(said.contains(wanted), "{files:?}: {said}");
            }
        }
    }
}

#[test]
fn r40_what_registries_conf_decides_before_any_helper_is_asked_is_told() {
    let conf = ".config/containers/registries.conf";
    let table = |text: &str| format!("[[registry]]\nlocation = \"quay.example.com\"\n{text}\n");
    for (text, wanted) in [
        (String::new(), ""),
        (table(""), ""),
        (table("blocked = true"), "podman does not pull from quay.example.com: "),
        (table("Blocked = true"), "podman does not pull from quay.example.com: "),
        (
            table("[[registry.mirror]]\nlocation = \"m.example.com/q\""),
            "podman pulls from the mirror m.example.com before quay.example.com, says ",
        ),
        (
            table("").replace("location", "prefix") + "location = \"new.example.com\"\n",
            "podman asks for new.example.com in the place of quay.example.com, says ",
        ),
        (
            "credential-helpers = [\"secretservice\"]\n".to_owned(),
            "podman reads no auth.json: the `credential-helpers` of ",
        ),
        (
            "credential-helpers = [\"secretservice\", \"containers-auth.json\"]\n".to_owned(),
            "podman asks `secretservice` first, says ",
        ),
        ("credential-helpers = [\"containers-auth.json\"]\n".to_owned(), ""),
        ("= 1".to_owned(), "this is not TOML: "),
        (
            "credential-helpers = []\nCREDENTIAL-helpers = []\n".to_owned(),
            "`credential-helpers` stands there twice",
        ),
    ] {
        let desk = Desk::new().with_program();
        desk.write(conf, &text);
        let said = desk.screen(PIPED, &["quay.example.com", "--only", "containers"]);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(said.contains("Worth knowing"), !wanted.is_empty(), "{text}: {said}");
        assert!(said.contains(wanted), "{text}: {said}");
        let docker = desk.screen(PIPED, &["quay.example.com", "--only", "docker"]);
        assert!(!docker.contains("podman"), "docker does not read it: {docker}");
    }
}

/// A user with everything in the way of the helper.
fn desk_with_everything_in_the_way() -> Desk {
    let desk = Desk::new().with("PATH", "/nowhere:/usr/bin");
    let runtime = desk.path("run/user/1000").to_str().expect("text").to_owned();
    let desk = desk.with("XDG_RUNTIME_DIR", &runtime);
    desk.write(
        "run/user/1000/containers/auth.json",
        r#"{"auths": {"quay.example.com": {"auth": "dTpodW50ZXIy"}, "docker.io": {"auth": "eA=="}}}"#,
    );
    desk.write(
        ".config/containers/auth.json",
        "{\n\t\"auths\": {\n\t\t\"quay.example.com/acme\": {\n\t\t\t\"auth\": \"dTpodW50ZXIy\"\n\t\t}\n\t}\n}",
    );
    desk.write(
        ".docker/config.json",
        "{\n\t\"auths\": {\n\t\t\"quay.example.com\": {}\n\t},\n\t\"credsStore\": \"pass\"\n}",
    );
    desk
}

#[test]
fn what_is_in_the_way_of_the_helper_is_told() {
    let desk = desk_with_everything_in_the_way();
    for (name, looks) in [("coloured", COLOURED), ("narrow", NARROW), ("piped", PIPED)] {
        let arguments =
            ["quay.example.com", "paths.example.com/org/app", "quay.exampel.com", "--dry-run"];
        let screen = desk.screen(looks, &arguments);
        screens::check(&format!("configure-in-the-way-{name}"), &screen);
        assert!(!screen.contains("dTpodW50ZXIy"), "{screen}");
        for wanted in ["quay.example.com/acme", "credsStore", "paths.example.com", "exampel"] {
            assert!(screen.contains(wanted), "{wanted}: {screen}");
        }
    }
}

#[test]
fn a_script_is_told_what_would_be_changed_and_what_is_in_the_way() {
    let desk = desk_with_everything_in_the_way();
    let dry_run = ["quay.example.com", "quay.exampel.com", "--dry-run", "--json"];
    let said = desk.screen(PIPED, &dry_run);
    check_json("configure", "json-configure-in-the-way", &said);
    let done: serde_json::Value = serde_json::from_str(
        &desk.screen(PIPED, &dry_run.map(|it| if it == "--dry-run" { "--force" } else { it })),
    )
    .expect("JSON");
    let foretold: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&done["files"], &done["dry_run"]), (&foretold["files"], &false.into()));
    let said = desk.screen(PIPED, &["--undo", "--json"]);
    check_json("configure", "json-configure-undo", &said);
    let desk = Desk::new().with_program();
    desk.write(".config/containers/registries.conf", "");
    let said = desk.screen(PIPED, &["--system", "--json"]);
    check_json("configure", "json-configure-system", &said);
}

#[test]
fn a_script_is_told_what_was_changed_before_a_failure() {
    let home = home();
    // What cannot be foreseen: a limit on the size of files, which the second one passes.
    let text = format!("{{\"HttpHeaders\": {{\"x\": \"{}\"}}}}", "y".repeat(4096));
    write(&home, DOCKER_FILE, &text);
    let mut command = home.command("sh");
    command.args(["-c", "ulimit -f 2; exec \"$0\" configure quay.example.com --json"]);
    command.arg(program()).stdin(Stdio::null());
    let ran: Ran = command.output().expect("run").into();
    let cause = failure(&ran).0;
    assert!(cause.ends_with("config.json cannot be written (file too large)"), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    check_described("configure", &report);
    assert_eq!(report["failure"]["cause"], cause);
    assert_eq!(report["files"].as_array().map(Vec::len), Some(1), "{report}");
    assert!(read(&home, AUTH_FILE).contains("quayfed"));
    assert_eq!(read(&home, DOCKER_FILE), text);
    // What can be, is told before anything is changed.
    let home = self::home();
    write(&home, DOCKER_FILE, "[");
    let ran = configure(&home, &["quay.example.com", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    check_described("configure", &report);
    assert_eq!(report["failure"]["cause"], failure(&ran).0);
    assert_eq!(report["files"], serde_json::json!([]));
    assert!(!home.path(AUTH_FILE).exists());
}

#[test]
fn a_user_in_whose_way_nothing_is_sees_little() {
    for (name, looks) in [("coloured", COLOURED), ("narrow", NARROW), ("piped", PIPED)] {
        let desk = Desk::new().with_program();
        desk.host.configure(
            &CONFIGURATION
                .replace("[registry.\"paths.example.com/org\"]", "[registry.\"localhost\"]"),
        );
        desk.write(".config/containers/auth.json", "{\n\t\"auths\": {}\n}\n");
        screens::check(&format!("configure-dry-run-{name}"), &desk.screen(looks, &["--dry-run"]));
        screens::check(&format!("configure-{name}"), &desk.screen(looks, &[]));
        screens::check(&format!("configure-again-{name}"), &desk.screen(looks, &[]));
        screens::check(&format!("configure-undo-{name}"), &desk.screen(looks, &["--undo"]));
    }
}

#[test]
fn the_screens_for_every_user() {
    for (name, looks) in [("coloured", COLOURED), ("narrow", NARROW), ("piped", PIPED)] {
        let desk = Desk::new().with_program();
        desk.write("etc/containers/registries.conf", "");
        let arguments = ["--system", "--dry-run"];
        screens::check(
            &format!("configure-system-dry-run-{name}"),
            &desk.screen(looks, &arguments),
        );
        desk.write(
            ".config/containers/auth.json",
            r#"{"auths": {"quay.example.com": {"auth": "dTpodW50ZXIy"}}}"#,
        );
        desk.write(".config/containers/registries.conf", "");
        screens::check(&format!("configure-system-{name}"), &desk.screen(looks, &["--system"]));
    }
}
