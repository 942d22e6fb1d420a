//! Where the cache is, who may use it, and what happens when it fails (R17, R22, R23, R28).

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use quayfed_sandbox::{EXCHANGE_PATH, Need, Sandbox, lacks};

use crate::binary::{Home, Ran, at_sandbox, configuration, folder_on_disk, program, start, uid};
use crate::simulation::files_ending;

fn exchanges(sandbox: &Sandbox) -> usize {
    sandbox.quay().count(EXCHANGE_PATH)
}

/// Two gets; says whether the second one was answered from the cache.
fn is_cached(sandbox: &Sandbox, home: &Home) -> bool {
    let host = sandbox.quay().host();
    let before = exchanges(sandbox);
    home.get(&host).token();
    let after = exchanges(sandbox);
    home.get(&host).token();
    assert_eq!(after, before + 1, "the first one asks");
    exchanges(sandbox) == after
}

#[test]
fn r22_the_cache_is_made_where_its_parent_is_the_callers_own() {
    let sandbox = Sandbox::start();
    let mut home = at_sandbox(&sandbox);
    let path = home.path("made");
    home.set("QUAYFED_CACHE_DIR", path.to_str().expect("text"));
    assert!(is_cached(&sandbox, &home));
    let metadata = fs::metadata(&path).expect("a folder");
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o700, uid()));
    for entry in fs::read_dir(&path).expect("a folder") {
        let metadata = entry.expect("an entry").metadata().expect("metadata");
        assert_eq!(metadata.mode() & 0o7777, 0o600);
    }
}

#[test]
fn r22_the_runtime_folder_serves_in_memory_alone() {
    let sandbox = Sandbox::start();
    let mut home = at_sandbox(&sandbox);
    home.set("QUAYFED_CACHE_DIR", "relative/is/passed/over");
    let runtime = home.make_folder("runtime", 0o700);
    home.set("XDG_RUNTIME_DIR", runtime.to_str().expect("text"));
    assert!(is_cached(&sandbox, &home));
    assert_eq!(files_ending(&runtime.join("quayfed"), ".token").len(), 1);
    // On disk it is passed over, and /dev/shm serves.
    let Some(disk) = folder_on_disk() else { return };
    home.own(disk.path());
    home.set("XDG_RUNTIME_DIR", disk.path().to_str().expect("text"));
    let last = Path::new("/dev/shm").join(format!("quayfed-{}", uid()));
    let existed = last.exists();
    home.run("erase", &sandbox.quay().host());
    assert!(is_cached(&sandbox, &home));
    assert!(files_ending(&disk.path().join("quayfed"), ".token").is_empty());
    assert!(!files_ending(&last, ".token").is_empty());
    home.run("erase", &sandbox.quay().host());
    if !existed {
        let _ = fs::remove_dir_all(&last);
    }
}

#[test]
fn r22_a_folder_that_others_may_use_is_passed_over() {
    let sandbox = Sandbox::start();
    for mode in [0o750, 0o707, 0o770, 0o701] {
        let mut home = at_sandbox(&sandbox);
        let shared = home.make_folder("shared", mode);
        home.set("QUAYFED_CACHE_DIR", shared.to_str().expect("text"));
        let runtime = home.make_folder("runtime", 0o700);
        home.set("XDG_RUNTIME_DIR", runtime.to_str().expect("text"));
        home.get(&sandbox.quay().host()).token();
        assert_eq!(fs::read_dir(&shared).expect("a folder").count(), 0, "{mode:o}");
        assert_eq!(files_ending(&runtime.join("quayfed"), ".token").len(), 1, "{mode:o}");
    }
}

/// What stands in the way, which goes with the test however it ends.
struct InTheWay(std::path::PathBuf);

impl InTheWay {
    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for InTheWay {
    fn drop(&mut self) {
        self.clear();
    }
}

#[test]
fn r22_a_place_that_somebody_has_taken_is_told_with_what_to_do_about_it() {
    // Users of this test alone: the place is the host's own.
    const USER: u32 = 61_236;
    const NEIGHBOUR: u32 = 61_237;
    if lacks(Need::Root) {
        return;
    }
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    at_sandbox(&sandbox);
    let home = Home::of(USER);
    home.write("secret", crate::binary::SECRET, 0o600);
    home.write("ca.pem", &fs::read_to_string(sandbox.ca_file()).expect("a CA"), 0o644);
    home.configure(&configuration(&sandbox, &home));
    let place = InTheWay(format!("/dev/shm/quayfed-{USER}").into());
    place.clear();
    let run = |arguments: &[&str], log: &str| {
        let mut command = home.command(program());
        command.args(arguments).env_remove("QUAYFED_CACHE_DIR").env("QUAYFED_LOG", log);
        Ran::from(start(command, &host).wait_with_output().expect("an end"))
    };
    let folder = |mode: u32, owner: u32| {
        fs::create_dir(&place.0).expect("a folder");
        fs::set_permissions(&place.0, fs::Permissions::from_mode(mode)).expect("mode set");
        std::os::unix::fs::lchown(&place.0, Some(owner), Some(owner)).expect("owner set");
    };
    let remove = "as root, remove it (rm -r /dev/shm/quayfed-61236) and add the line `d \
                  /dev/shm/quayfed-61236 0700 61236 - -` to /etc/tmpfiles.d/quayfed-users.conf: then \
                  it is made for uid 61236 at each boot";
    let own = "make it yours alone: chmod 0700 /dev/shm/quayfed-61236";
    let ways: [(&str, &dyn Fn(), &str, &str); 5] = [
        ("its own", &|| folder(0o700, NEIGHBOUR), "belongs to uid 61237, not to uid 61236", remove),
        ("open", &|| folder(0o777, NEIGHBOUR), "belongs to uid 61237, not to uid 61236", remove),
        ("ours, open", &|| folder(0o755, USER), "has mode 0755, not 0700", own),
        (
            "a link",
            &|| symlink("/nowhere", &place.0).expect("linked"),
            "is a symbolic link",
            remove,
        ),
        (
            "a file",
            &|| fs::write(&place.0, "").expect("written"),
            "cannot be opened (not a directory)",
            remove,
        ),
    ];
    for (what, stand_in_the_way, fault, hint) in ways {
        stand_in_the_way();
        let ran = run(&["get"], "");
        ran.token();
        assert_eq!(ran.stderr, "", "{what}");
        let ran = run(&["get"], "warn");
        ran.token();
        let path = place.0.display();
        let warning = format!(" warn: cache directory `{path}` is passed over: {fault}\n");
        assert!(ran.stderr.ends_with(&warning) && ran.stderr.lines().count() == 1, "{ran:?}");
        let cause =
            format!("the cache directory `{path}` cannot be used: it {fault}; nothing is cached");
        let status = run(&["status", "--json"], "");
        let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
        assert_eq!(status["cache_notice"], serde_json::json!({ "cause": cause, "hint": hint }));
        assert!(
            run(&["status", "--metrics"], "")
                .stdout
                .contains(&format!("quayfed_cache_dir_unusable{{uid=\"{USER}\"}} 1\n"))
        );
        let told = run(&["doctor", "--json"], "").stdout;
        assert!(told.contains(&cause) && told.contains(hint), "{what}: {told}");
        place.clear();
    }
    // What does not exist is made, and nothing is told; nor of a runtime folder of somebody else's,
    // which sudo may leave in the environment.
    run(&["get"], "").token();
    let asked = exchanges(&sandbox);
    let neighbour = Home::of(NEIGHBOUR);
    let runtime = neighbour.make_folder("runtime", 0o700);
    neighbour.make_folder("runtime/quayfed", 0o700);
    let mut command = home.helper("get");
    command
        .env_remove("QUAYFED_CACHE_DIR")
        .env("XDG_RUNTIME_DIR", runtime)
        .env("QUAYFED_LOG", "warn");
    let ran = Ran::from(start(command, &host).wait_with_output().expect("an end"));
    ran.token();
    assert_eq!((ran.stderr.as_str(), exchanges(&sandbox)), ("", asked));
}

#[test]
fn r22_the_line_that_is_proposed_makes_the_place_at_boot() {
    if lacks(Need::Root) || lacks(Need::Program("systemd-tmpfiles")) {
        return;
    }
    let root = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let shared = root.path().join("dev/shm");
    fs::create_dir_all(&shared).expect("a folder");
    let of_package = fs::read_to_string("packaging/tmpfiles.d/quayfed.conf").expect("a file");
    let proposed = of_package.lines().find_map(|line| line.strip_prefix("#   d ")).expect("a line");
    assert_eq!(proposed, "/dev/shm/quayfed-1001 0700 1001 - -");
    let file = root.path().join("quayfed-users.conf");
    fs::write(&file, format!("{of_package}d {proposed}\n")).expect("written");
    let made = Command::new("systemd-tmpfiles")
        .arg(format!("--root={}", root.path().display()))
        .args(["--create"])
        .arg(&file)
        .output()
        .expect("run");
    for (place, mode, uid) in [
        ("dev/shm/quayfed-1001", 0o700, 1001),
        ("run/quayfed", 0o755, 0),
        ("run/quayfed/root", 0o700, 0),
    ] {
        let metadata = fs::metadata(root.path().join(place));
        let metadata = metadata.unwrap_or_else(|_| panic!("{place}: {made:?}"));
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (mode, uid), "{place}");
    }
}

#[test]
fn r22_sudo_leaves_nothing_of_roots_in_a_users_place() {
    if lacks(Need::Root) {
        return;
    }
    let sandbox = Sandbox::start();
    let user = at_sandbox(&sandbox);
    let runtime = user.make_folder("runtime", 0o700);
    let places = ["/run/user/0/quayfed", "/run/quayfed/root", "/run/quayfed", "/dev/shm/quayfed-0"];
    let is_new = places.map(|place| !Path::new(place).exists());
    let mut command = Command::new(program());
    command.arg("get").env_clear().env("HOME", user.path(""));
    command.env("XDG_RUNTIME_DIR", &runtime);
    // For root the configuration must be root's.
    let own = Home::of(0);
    own.write("secret", crate::binary::SECRET, 0o600);
    own.write("ca.pem", &fs::read_to_string(sandbox.ca_file()).expect("a CA"), 0o644);
    let text = configuration(&sandbox, &own);
    command.env("QUAYFED_CONFIG", own.configure(&text));
    Ran::from(start(command, &sandbox.quay().host()).wait_with_output().expect("an end")).token();
    assert_eq!(fs::read_dir(&runtime).expect("a folder").count(), 0);
    let host = sandbox.quay().host();
    let mut erase = Command::new(program());
    erase.arg("erase").env_clear();
    let erased = start(erase, &host).wait_with_output().expect("an end");
    assert!(erased.status.success());
    for (place, _) in places.iter().zip(is_new).filter(|(_, is_new)| *is_new) {
        let _ = fs::remove_dir_all(place);
    }
}

#[test]
fn r23_what_is_not_a_private_regular_file_is_absent_and_replaced() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    home.get(&host).token();
    let entry = files_ending(&home.cache(), ".token").remove(0);
    let elsewhere = home.path("elsewhere");
    fs::copy(&entry, &elsewhere).expect("copied");
    home.own(&elsewhere);
    let spoil: [(&str, &dyn Fn()); 7] = [
        ("a symbolic link", &|| {
            fs::remove_file(&entry).expect("removed");
            symlink(&elsewhere, &entry).expect("linked");
            home.own(&entry);
        }),
        ("a second link", &|| {
            fs::remove_file(&entry).expect("removed");
            fs::hard_link(&elsewhere, &entry).expect("linked");
        }),
        ("readable by others", &|| {
            fs::set_permissions(&entry, fs::Permissions::from_mode(0o644)).expect("mode set");
        }),
        ("a pipe", &|| {
            fs::remove_file(&entry).expect("removed");
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, &entry, rustix::fs::FileType::Fifo, mode, 0)
                .expect("a pipe");
            home.own(&entry);
        }),
        ("too large", &|| {
            let file = fs::File::options().append(true).open(&entry).expect("a file");
            file.set_len(10 * 1024 * 1024).expect("grown");
        }),
        ("damaged", &|| {
            let mut bytes = fs::read(&entry).expect("a file");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&entry, bytes).expect("written");
        }),
        ("empty", &|| fs::write(&entry, "").expect("written")),
    ];
    for (what, spoil) in spoil {
        spoil();
        let before = exchanges(&sandbox);
        home.get(&host).token();
        assert_eq!(exchanges(&sandbox), before + 1, "{what} is not believed");
        home.get(&host).token();
        assert_eq!(exchanges(&sandbox), before + 1, "{what} is replaced");
    }
}

#[test]
fn r23_what_stands_in_the_place_of_a_lock_is_replaced() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    home.get(&host).token();
    let lock = files_ending(&home.cache(), ".lock").remove(0);
    home.set("QUAYFED_LOG", "debug");
    let spoil: [(&str, &dyn Fn()); 3] = [
        ("a symbolic link", &|| symlink("/nowhere", &lock).expect("linked")),
        ("no right to write", &|| {
            fs::write(&lock, "").expect("written");
            home.own(&lock);
            fs::set_permissions(&lock, fs::Permissions::from_mode(0o400)).expect("mode set");
        }),
        ("readable by others", &|| {
            fs::write(&lock, "").expect("written");
            home.own(&lock);
            fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).expect("mode set");
        }),
    ];
    for (what, spoil) in spoil {
        home.run("erase", &host);
        fs::remove_file(&lock).expect("removed");
        spoil();
        let ran = home.get(&host);
        ran.token();
        assert!(!ran.stderr.contains("without a lock"), "{what}: {}", ran.stderr);
        let metadata = fs::symlink_metadata(&lock).expect("a lock file");
        assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o600, "{what}");
    }
}

/// Names that other programs give their files, and names that nearly are ours.
const OF_OTHERS: [&str; 24] = [
    "Cargo.lock",
    "poetry.lock",
    "uv.lock",
    "my.token",
    "api.token",
    "floor.plan",
    ".tmp-notes",
    ".tmp-0123456789abcdef",
    ".tmp-quayfed-notes",
    ".tmp-quayfed-0123456789ABCDEF",
    ".lock",
    ".token",
    ".quayfed.token",
    "quayfed.lock",
    "HOST.token",
    "HOST.quayfed.token",
    "HOST.0123456789abcdef.plan",
    "HOST.0123456789abcdef0123456789abcdef.token",
    "HOST.0123456789abcdef0123456789abcdef.lock",
    "HOST.0123456789abcdef.quayfed.token",
    "HOST.0123456789abcdef0123456789abcdef.quayfed.token.bak",
    "HOST.0123456789ABCDEF0123456789ABCDEF.quayfed.lock",
    "Notes of mine.0123456789abcdef0123456789abcdef.quayfed.token",
    "README",
];

#[test]
fn r29_in_a_folder_with_files_of_others_nothing_sees_them() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let folder = home.cache();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(24 * 400);
    let mut files = Vec::new();
    for name in OF_OTHERS {
        let name = name.replace("HOST", &host.replace(':', "_3a"));
        let path = home.write(&format!("cache/{name}"), &format!("of {name}"), 0o600);
        let file = fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(long_ago).expect("an old file");
        files.push(path);
    }
    let path = home.path("cache/linked.lock");
    symlink("/nowhere", &path).expect("linked");
    home.own(&path);
    files.push(path);
    let folders = ["cache/folder.lock", "cache/.tmp-folder"].map(|it| home.make_folder(it, 0o700));
    files.extend(folders);
    let state = |path: &std::path::PathBuf| {
        let metadata = fs::symlink_metadata(path).unwrap_or_else(|_| panic!("{path:?} is gone"));
        (fs::read(path).ok(), metadata.ino(), metadata.mode(), metadata.mtime(), metadata.ctime())
    };
    let before: Vec<_> = files.iter().map(state).collect();
    let check = |what: &str| {
        let after: Vec<_> = files.iter().map(state).collect();
        assert!(before == after, "{what}");
    };
    // The configuration must be older than two seconds for a plan, which is written and swept after.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    home.get(&host).token();
    check("a cold get");
    home.get(&host).token();
    check("a cached get");
    assert!(home.get("docker.io").is_not_found());
    check("a get that is not ours");
    for command in [
        &["refresh", "--force"][..],
        &["status"],
        &["status", "--json"],
        &["doctor"],
        &["list"],
        &["purge"],
    ] {
        let mut helper = home.command(program());
        helper.args(command);
        start(helper, "").wait_with_output().expect("an end");
        check(&command.join(" "));
    }
    home.run("erase", &host);
    check("erase");
    home.get(&host).token();
    let ours = || fs::read_dir(&folder).expect("a folder").count() - files.len();
    assert!(ours() > 0);
    let mut purge = home.command(program());
    purge.args(["purge", "--yes"]);
    let ran = Ran::from(start(purge, "").wait_with_output().expect("an end"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    check("purge --yes");
    assert_eq!(ours(), 0, "what is ours is gone");
}

#[test]
fn r10_an_entry_under_another_ones_name_is_not_believed() {
    let sandbox = Sandbox::start();
    sandbox.quay().add_robot("acme+second");
    sandbox.quay().bind("acme+second", &sandbox.issuer().url(), crate::binary::SUBJECT, None);
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    home.get(&host).token();
    let first = files_ending(&home.cache(), ".token").remove(0);
    let content = fs::read(&first).expect("an entry");
    let text = fs::read_to_string(home.path(".config/quayfed/config.toml")).expect("a file");
    home.configure(&text.replace("acme+ci", "acme+second"));
    home.get(&host).token();
    let second = files_ending(&home.cache(), ".token").into_iter().find(|path| *path != first);
    fs::write(second.expect("a second entry"), content).expect("written");
    let claims = quayfed_sandbox::claims_of(&home.get(&host).token()).expect("a token");
    assert_eq!(claims["sub"], "acme+second");
}

#[test]
fn r28_without_a_home_and_without_a_cache_every_get_is_answered_anew() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let text = fs::read_to_string(home.path(".config/quayfed/config.toml")).expect("a file");
    let chosen = home.write("chosen.toml", &text, 0o600);
    // A cache that cannot be written: its folder has no write bit.
    home.make_folder("cache", 0o500);
    for _ in 0..2 {
        let mut command = home.helper("get");
        command.env_remove("HOME").env("QUAYFED_CONFIG", &chosen);
        let ran = Ran::from(start(command, &host).wait_with_output().expect("an end"));
        ran.token();
        assert_eq!(ran.stderr, "");
    }
    assert_eq!(exchanges(&sandbox), 2);
    assert_eq!(fs::read_dir(home.cache()).expect("a folder").count(), 0);
}

#[test]
fn r17_a_full_disk_costs_the_cache_and_not_the_answer() {
    if lacks(Need::Mounts) {
        return;
    }
    let sandbox = Sandbox::start();
    let mut home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let small = home.make_folder("small", 0o700);
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o"])
        .arg(format!("size=64k,mode=700,uid={0},gid={0}", uid()))
        .args(["tmpfs"])
        .arg(&small)
        .status()
        .expect("mount");
    assert!(mounted.success());
    let _mounted = Mounted(small.clone());
    home.set("QUAYFED_CACHE_DIR", small.to_str().expect("text"));
    assert!(is_cached(&sandbox, &home), "with room it serves");
    home.run("erase", &host);
    let filler = small.join("filler");
    // Until there is no room: its failure is what is wanted.
    let file = fs::File::create(&filler).expect("a file");
    while rustix::io::write(&file, &[0; 4096]).is_ok_and(|written| written > 0) {}
    for _ in 0..2 {
        let ran = home.get(&host);
        ran.token();
        assert_eq!(ran.stderr, "");
    }
    assert_eq!(exchanges(&sandbox), 3);
    assert!(files_ending(&small, ".token").is_empty());
    drop(file);
    fs::remove_file(&filler).expect("removed");
    assert!(is_cached(&sandbox, &home), "and with room again, it serves again");
}

/// A mounted file system, which goes with the test however it ends.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn r23_the_log_file_is_private_and_appended_to() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    let log = home.path("log");
    home.set("QUAYFED_LOG_FILE", log.to_str().expect("text"));
    for _ in 0..2 {
        let ran = home.get(&host);
        ran.token();
        assert_eq!(ran.stderr, "");
    }
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.matches(" info: answered after ").count() == 2, "{text}");
    assert_eq!(fs::metadata(&log).expect("a log").mode() & 0o7777, 0o600);
    // One that others could read, or that is a link, is passed over.
    let other = home.write("other", "", 0o644);
    home.set("QUAYFED_LOG_FILE", other.to_str().expect("text"));
    home.get(&host).token();
    assert_eq!(fs::read(&other).expect("a file"), b"");
    let target = home.write("target", "", 0o600);
    let link = home.path("link");
    symlink(&target, &link).expect("linked");
    home.set("QUAYFED_LOG_FILE", link.to_str().expect("text"));
    let ran = home.get(&host);
    ran.token();
    assert_eq!((fs::read(&target).expect("a file").len(), ran.stderr.as_str()), (0, ""));
}

#[test]
fn the_log_tells_each_step_with_its_duration_and_no_secret() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    home.set("QUAYFED_LOG", "debug");
    let ran = home.get(&host);
    let token = ran.token();
    println!("{}", ran.stderr);
    for step in ["openid-configuration", "/token", EXCHANGE_PATH, "answered after"] {
        let line = ran.stderr.lines().find(|line| line.contains(step));
        let line = line.unwrap_or_else(|| panic!("no {step} in {}", ran.stderr));
        assert!(line.contains("ms"), "{line}");
    }
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("acme+ci:{token}"))
    };
    for secret in [crate::binary::SECRET, &token, &basic, "eyJ"] {
        assert!(!ran.stderr.contains(secret), "a secret in the log");
    }
}
