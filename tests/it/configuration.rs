//! The configuration as an ordinary user meets it: owners and modes, mistakes, and a job that has
//! nothing but variables (R4 to R7).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use quayfed_sandbox::{EXCHANGE_PATH, Need, Sandbox, TokenShape, lacks};

use crate::binary::{Home, SUBJECT, at_sandbox, configuration, uid};

const FILE: &str = ".config/quayfed/config.toml";

#[test]
fn r4_the_variables_alone_suffice_for_a_job_with_a_token() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    sandbox.quay().bind("acme+ci", &sandbox.issuer().url(), SUBJECT, None);
    let token = sandbox.issuer().mint(&TokenShape::default().subject(SUBJECT));
    for source in ["QUAYFED_TOKEN", "QUAYFED_TOKEN_VARIABLE", "QUAYFED_TOKEN_FILE"] {
        let mut home = Home::new();
        let ca = home.write("ca.pem", &fs::read_to_string(sandbox.ca_file()).expect("a CA"), 0o644);
        home.set("QUAYFED_REGISTRY", &host);
        home.set("QUAYFED_ROBOT", "acme+ci");
        home.set("QUAYFED_CA_FILE", ca.to_str().expect("text"));
        match source {
            "QUAYFED_TOKEN" => home.set(source, &token),
            "QUAYFED_TOKEN_VARIABLE" => {
                home.set(source, "QUAY_TOKEN");
                home.set("QUAY_TOKEN", &token);
            }
            _ => {
                let file = home.write("token", &format!("{token}\n"), 0o644);
                home.set(source, file.to_str().expect("text"));
            }
        }
        let before = sandbox.quay().count(EXCHANGE_PATH);
        for _ in 0..2 {
            home.get(&host).token();
        }
        assert_eq!(sandbox.quay().count(EXCHANGE_PATH), before + 1, "{source}");
        assert!(home.get("docker.io").is_not_found());
        assert_eq!(home.run("list", "").stdout, format!("{{\"{host}\":\"acme+ci\"}}\n"));
    }
}

#[test]
fn r4_the_variables_alone_suffice_for_client_credentials() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let of_sandbox = at_sandbox(&sandbox);
    for endpoint in ["QUAYFED_ISSUER", "QUAYFED_TOKEN_ENDPOINT"] {
        let mut home = Home::new();
        home.set("QUAYFED_REGISTRY", &host);
        home.set("QUAYFED_ROBOT", "acme+ci");
        home.set("QUAYFED_CA_FILE", of_sandbox.path("ca.pem").to_str().expect("text"));
        home.set("QUAYFED_CLIENT_ID", crate::binary::CLIENT);
        home.set("QUAYFED_CLIENT_SECRET", crate::binary::SECRET);
        home.set("QUAYFED_SCOPES", "openid profile");
        let url = match endpoint {
            "QUAYFED_ISSUER" => sandbox.issuer().url(),
            _ => sandbox.issuer().token_endpoint(),
        };
        home.set(endpoint, url);
        home.get(&host).token();
        let asked = sandbox.issuer().token_requests().pop().expect("a request");
        assert_eq!(asked.scope.as_deref(), Some("openid profile"));
    }
}

#[test]
fn r4_variables_are_laid_over_the_files_and_over_a_plan() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    sandbox.quay().add_robot("acme+job");
    sandbox.quay().bind("acme+job", &sandbox.issuer().url(), SUBJECT, None);
    let mut home = at_sandbox(&sandbox);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for _ in 0..2 {
        assert!(home.get(&host).stdout.contains("acme+ci"));
        home.set("QUAYFED_REGISTRY", &host);
        home.set("QUAYFED_ROBOT", "acme+job");
        home.set("QUAYFED_CA_FILE", home.path("ca.pem").to_str().expect("text"));
        home.set("QUAYFED_TOKEN", sandbox.issuer().mint(&TokenShape::default().subject(SUBJECT)));
        for _ in 0..2 {
            assert!(home.get(&host).stdout.contains("acme+job"));
        }
        for name in ["QUAYFED_REGISTRY", "QUAYFED_ROBOT", "QUAYFED_CA_FILE", "QUAYFED_TOKEN"] {
            home.set(name, "");
        }
    }
}

#[test]
fn r9_where_a_variable_leads_to_other_files_there_is_another_plan() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    let ways = [
        ("", "", FILE, "acme+ci"),
        ("HOME", "other", "other/.config/quayfed/config.toml", "acme+home"),
        ("XDG_CONFIG_HOME", "own", "own/quayfed/config.toml", "acme+own"),
        ("QUAYFED_CONFIG", "chosen.toml", "chosen.toml", "acme+chosen"),
    ];
    for (_, _, file, robot) in ways {
        sandbox.quay().add_robot(robot);
        sandbox.quay().bind(robot, &sandbox.issuer().url(), SUBJECT, None);
        let (folder, _) = file.rsplit_once('/').unwrap_or(("own", file));
        home.make_folder(folder, 0o755);
        home.write(file, &configuration(&sandbox, &home).replace("acme+ci", robot), 0o600);
    }
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for round in 0..3 {
        for (variable, value, _, robot) in ways {
            if !variable.is_empty() {
                home.set(variable, home.path(value).to_str().expect("text"));
            }
            let ran = home.get(&host);
            assert!(ran.stdout.contains(robot), "{variable}, {round}: {ran:?}");
            if !variable.is_empty() {
                home.set(variable, "");
            }
        }
    }
    assert_eq!(sandbox.quay().count(EXCHANGE_PATH), ways.len());
    let files = fs::read_dir(home.cache()).expect("a cache").flatten();
    let plans = files.filter(|file| file.path().extension().is_some_and(|it| it == "plan"));
    assert_eq!(plans.count(), ways.len());
}

#[test]
fn r5_a_configuration_of_roots_serves_everybody_and_one_of_a_third_user_nobody() {
    if lacks(Need::Root) {
        return;
    }
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let path = home.path(FILE);
    chown(&path, Some(0), Some(0)).expect("owner set");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode set");
    home.get(&host).token();
    for third in [uid() + 1, 65534] {
        chown(&path, Some(third), Some(0)).expect("owner set");
        let ran = home.get(&host);
        assert!(ran.cause().contains(path.to_str().expect("text")), "{ran:?}");
        assert!(ran.cause().contains(&third.to_string()), "{ran:?}");
        assert!(
            ran.hint().starts_with("it is theirs: "),
            "what is another's stays theirs: {ran:?}"
        );
        assert!(home.get("docker.io").is_not_found());
        assert_eq!(home.run("list", "").stdout, "{}\n");
    }
}

#[test]
fn r5_a_configuration_that_others_can_write_is_refused() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    for (mode, good) in
        [(0o600, true), (0o644, true), (0o640, true), (0o660, false), (0o602, false)]
    {
        fs::set_permissions(home.path(FILE), fs::Permissions::from_mode(mode)).expect("mode set");
        let ran = home.get(&host);
        if good {
            ran.token();
        } else {
            assert!(ran.cause().contains(&format!("{mode:04o}")), "{ran:?}");
            println!("{}\n{}", ran.cause(), ran.hint());
        }
    }
}

#[test]
fn r5_what_cannot_be_read_is_an_error_and_what_cannot_be_reached_is_absent() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    fs::set_permissions(home.path(FILE), fs::Permissions::from_mode(0o000)).expect("mode set");
    let ran = home.get(&host);
    assert!(ran.stderr.contains(home.path(FILE).to_str().expect("text")), "{ran:?}");
    fs::set_permissions(home.path(FILE), fs::Permissions::from_mode(0o600)).expect("mode set");
    // A folder on the way that cannot be searched.
    fs::set_permissions(home.path(".config"), fs::Permissions::from_mode(0o000)).expect("mode set");
    assert!(home.get(&host).is_not_found());
    home.set("QUAYFED_LOG", "debug");
    assert!(home.get(&host).stderr.contains("as it was when the plan was made"));
    fs::set_permissions(home.path(".config"), fs::Permissions::from_mode(0o700)).expect("mode set");
    home.get(&host).token();
    home.set("QUAYFED_LOG", "");
    // What QUAYFED_CONFIG names must exist.
    home.set("QUAYFED_CONFIG", "/nowhere/config.toml");
    assert!(home.get("docker.io").stderr.contains("/nowhere/config.toml"));
}

#[test]
fn r4_the_largest_file_takes_at_most_twenty_times_its_size_in_memory() {
    const LARGEST: usize = 2 << 20;
    if lacks(Need::Program("/usr/bin/time")) {
        return;
    }
    let identity = "[identity.k]\nsource = \"env\"\nvariable = \"T\"\n";
    let filled = |line: &dyn Fn(usize) -> String| {
        let mut text = identity.to_owned();
        for number in 0.. {
            let line = line(number);
            if text.len() + line.len() > LARGEST {
                break;
            }
            text += &line;
        }
        text
    };
    let registry = |number: usize, more: &str| {
        format!(
            "[registry.\"h{number}.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"k\"\n{more}"
        )
    };
    let usual = "deadline = \"30s\"\nca_file = \"/etc/pki/example-ca.pem\"\napi_url = \"https://api.example.com\"\n\n";
    let is_table = |number: usize| number.is_multiple_of(100);
    let files = [
        ("registries", filled(&|number| registry(number, usual))),
        (
            "many short registries",
            filled(&|number| if number < 19_000 { registry(number, "") } else { "#\n".to_owned() }),
        ),
        (
            "keys",
            filled(&|number| {
                let header = if is_table(number) {
                    format!("[identity.a{number}]\n")
                } else {
                    String::new()
                };
                header + &format!("{number}=1\n")
            }),
        ),
        ("comments", filled(&|_| "#\n".to_owned())),
        ("brackets", filled(&|_| "[".repeat(1024))),
        ("dots", filled(&|_| "a.".repeat(512))),
        ("a broken end", filled(&|number| registry(number, "")) + "\n\u{1}"),
    ];
    let home = Home::new();
    let mut report = Vec::new();
    for (name, text) in files {
        assert!(text.len() > LARGEST - 2048 && text.len() <= LARGEST + 4, "{name}");
        home.configure(&text[..text.len().min(LARGEST)]);
        for (verb, input) in [("get", "docker.io"), ("get", "h7.example.com"), ("list", "")] {
            let mut command = home.command("/usr/bin/time");
            let figure = home.path("cache/figure");
            command.args(["-f", "%M", "-o"]).arg(&figure).arg(crate::binary::program()).arg(verb);
            crate::binary::start(command, input).wait_with_output().expect("an end");
            let figure = fs::read_to_string(figure).expect("a figure");
            let peak: usize =
                figure.lines().last().and_then(|line| line.parse().ok()).expect("KiB");
            let times = peak * 1024 / LARGEST;
            report.push((times, format!("{name}, {verb} {input}: {peak} KiB")));
        }
    }
    println!("{report:#?}");
    assert!(report.iter().all(|(times, _)| *times < 20), "{report:#?}");
}

#[test]
fn r33_a_file_that_cannot_be_used_concerns_the_registries_that_it_names() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    let good = configuration(&sandbox, &home);
    let in_utf_16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let escaped = good.replacen("localhost", "loc\\u0061lhost", 1).replacen("127.", "12\\x37.", 1);
    assert_ne!(escaped, good);
    let broken: [(&str, Vec<u8>, u32); 8] = [
        ("no TOML", format!("{good}\nnot toml").into(), 0o600),
        ("an open bracket", format!("{good}\n[registry.\"x\"").into(), 0o600),
        ("a table that there is not", format!("{good}\n[registries.\"x\"]\n").into(), 0o600),
        ("a registry that is none", format!("{good}\n[registry.\"no server?\"]").into(), 0o600),
        ("escapes", format!("{escaped}\nnot toml").into(), 0o600),
        ("UTF-16", in_utf_16, 0o600),
        ("another encoding", [good.as_bytes(), b"# \xe4\n"].concat(), 0o600),
        ("others can write", good.clone().into(), 0o666),
    ];
    let path = home.configure(&good);
    home.get(&host).token();
    for (name, bytes, mode) in broken {
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
        let shown = path.to_str().expect("text");
        for server in [host.clone(), host.to_uppercase(), format!("{host}/org/repo")] {
            let ran = home.get(&server);
            assert!(ran.cause().contains(shown), "{name}: {ran:?}");
        }
        for server in ["docker.io", "https://index.docker.io/v1/", "quay.io/org/repo"] {
            assert!(home.get(server).is_not_found(), "{name}: {server}");
        }
        assert_eq!(home.run("list", "").stdout, "{}\n", "{name}");
        assert_eq!(home.run("erase", "docker.io").code, Some(0), "{name}");
        home.set("QUAYFED_LOG", "warn");
        let told = home.get("docker.io").stderr;
        let line = format!("warn: `docker.io` is answered without it: {shown}");
        assert!(told.to_lowercase().contains(&line.to_lowercase()), "{name}: {told}");
        home.set("QUAYFED_LOG", "");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode set");
    }
    // Nothing of that is kept for later.
    fs::write(&path, &good).expect("written");
    home.get(&host).token();
    assert_eq!(sandbox.quay().count(EXCHANGE_PATH), 1, "it was cached all the while");
}

#[test]
fn r33_where_a_file_cannot_be_read_pulls_go_on_and_the_cause_is_told() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    let path = home.path(FILE);
    let shown = path.display().to_string();
    let not_found = |home: &Home, cause: &str, hint: &str| {
        for server in [&host, "docker.io"] {
            let ran = home.get(server);
            assert_eq!(
                (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
                (
                    Some(1),
                    "credentials not found in native keychain\n",
                    format!("docker-credential-quayfed: {cause}\nhint: {hint}\n").as_str()
                ),
                "{server}"
            );
        }
    };
    let uid = uid();
    let mode = |mode| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode set");
    };
    mode(0o000);
    not_found(
        &home,
        &format!("{shown} cannot be read (permission denied)"),
        &format!(
            "let the user running this (uid {uid}) read it: it holds no secret (chmod a+r {shown})"
        ),
    );
    mode(0o600);
    fs::rename(&path, home.path("kept")).expect("renamed");
    home.make_folder(FILE, 0o755);
    not_found(
        &home,
        &format!("{shown} is not a regular file"),
        &format!("put a readable file in the place of {shown}, or remove it"),
    );
    fs::remove_dir(&path).expect("removed");
    fs::rename(home.path("kept"), &path).expect("renamed");
    for (value, cause, hint) in [
        (
            "/nowhere/config.toml",
            "QUAYFED_CONFIG names /nowhere/config.toml, which does not exist",
            "correct the path, or unset QUAYFED_CONFIG",
        ),
        (
            "config.toml",
            "QUAYFED_CONFIG is `config.toml`, which is no absolute path",
            "write the whole path, such as /etc/quayfed/config.toml",
        ),
    ] {
        home.set("QUAYFED_CONFIG", value);
        not_found(&home, cause, hint);
    }
    home.set("QUAYFED_CONFIG", "");
    home.get(&host).token();
}

#[test]
fn r33_a_mistake_of_variables_concerns_the_registry_that_they_name() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    home.set("QUAYFED_REGISTRY", "ftp://quay.example.com");
    assert!(home.get("quay.example.com").cause().starts_with("QUAYFED_REGISTRY: "));
    assert!(home.get("docker.io").is_not_found());
    home.get(&host).token();
    home.run("erase", &host);
    // A rule of variables replaces whatever a file has for the same server.
    home.configure(&format!("{}\nnot toml", configuration(&sandbox, &home)));
    assert!(home.get(&host).cause().contains("not TOML"));
    home.set("QUAYFED_REGISTRY", &host);
    home.set("QUAYFED_ROBOT", "acme+ci");
    home.set("QUAYFED_CA_FILE", home.path("ca.pem").to_str().expect("text"));
    home.set("QUAYFED_TOKEN", sandbox.issuer().mint(&TokenShape::default().subject(SUBJECT)));
    home.get(&host).token();
    assert!(home.get(&format!("{host}/org")).cause().contains("not TOML"), "it may be longer");
}

#[test]
fn r6_a_mistake_in_a_table_fails_its_registries_and_no_others() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let good = configuration(&sandbox, &home);
    for part in [
        format!(
            "{good}\n[registry.\"other.example.com\"]\nrobott = \"a1+b1\"\nidentity = \"sso\"\n"
        ),
        format!(
            "{good}\n[registry.\"other.example.com\"]\nrobot = \"a1+b1\"\nidentity = \"ssso\"\n"
        ),
        format!("{good}\n[identity.other]\nsource = \"vault\"\n"),
    ] {
        home.configure(&part);
        home.get(&host).token();
        assert!(home.get("docker.io").is_not_found());
        let other = home.get("other.example.com");
        if part.contains("other.example.com") {
            println!("{}\n    {}", other.cause(), other.hint());
        }
    }
}

#[test]
fn r7_a_secret_that_others_can_read_is_refused_unless_its_folder_bars_them() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let path = home.path("secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).expect("mode set");
    let ran = home.get(&host);
    assert!(ran.cause().contains("0604"), "{ran:?}");
    println!("{}\n    {}", ran.cause(), ran.hint());
    let text = configuration(&sandbox, &home);
    home.configure(
        &text.replace("client_secret_file", "allow_readable_secret = true\nclient_secret_file"),
    );
    home.get(&host).token();
    home.run("erase", &host);
    // In a folder that others cannot enter, the file's own mode does not matter.
    home.make_folder("barred", 0o700);
    let barred = home.write("barred/secret", crate::binary::SECRET, 0o604);
    home.configure(&text.replace(path.to_str().expect("text"), barred.to_str().expect("text")));
    home.get(&host).token();
    home.run("erase", &host);
    fs::set_permissions(&barred, fs::Permissions::from_mode(0o620)).expect("mode set");
    assert!(home.get(&host).cause().contains("0620"), "one that others can write is refused");
}

#[test]
fn r7_a_secret_is_read_from_a_file_a_variable_or_a_systemd_credential() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    let text = configuration(&sandbox, &home);
    let file = format!("client_secret_file = \"{}\"", home.path("secret").display());
    home.configure(&text.replace(&file, "client_secret_env = \"BUILD_SECRET\""));
    assert!(home.get(&host).cause().contains("BUILD_SECRET"));
    home.set("BUILD_SECRET", crate::binary::SECRET);
    home.get(&host).token();
    home.configure(&text.replace(&file, "client_secret_credential = \"quay\""));
    let ran = home.get(&host);
    assert!(ran.cause().contains("CREDENTIALS_DIRECTORY"), "{ran:?}");
    let credentials = home.make_folder("credentials", 0o700);
    home.set("CREDENTIALS_DIRECTORY", credentials.to_str().expect("text"));
    assert!(home.get(&host).cause().contains("quay"));
    // As systemd leaves it: readable by the service's user alone.
    home.write("credentials/quay", crate::binary::SECRET, 0o400);
    home.make_folder("credentials", 0o500);
    home.get(&host).token();
    assert_eq!(sandbox.quay().count(EXCHANGE_PATH), 2);
}

#[test]
fn r7_a_pipe_or_a_device_is_no_secret_and_nobody_waits_for_it() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let text = configuration(&sandbox, &home);
    let pipe = home.path("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    home.own(&pipe);
    for path in [pipe.to_str().expect("text"), "/dev/zero", "/dev/null", "/"] {
        home.configure(&text.replace(home.path("secret").to_str().expect("text"), path));
        let ran = home.get(&host);
        assert!(ran.cause().contains(path), "{ran:?}");
    }
}

#[test]
fn r5_a_set_user_id_program_is_refused() {
    if lacks(Need::Root) {
        return;
    }
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let folder = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a folder");
    let program = folder.path().join("docker-credential-quayfed");
    fs::copy(crate::binary::program(), &program).expect("copied");
    chown(&program, Some(uid() + 1), Some(uid() + 1)).expect("owner set");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("mode set");
    // What only the program's owner may write to: nothing may appear there.
    let others = home.make_folder("others", 0o700);
    chown(&others, Some(uid() + 1), Some(uid() + 1)).expect("owner set");
    for mode in [0o4755, 0o2755] {
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).expect("mode set");
        for verb in ["get", "store", "erase", "list", "status", "refresh"] {
            let mut command = home.command(&program);
            command.arg(verb).env("QUAYFED_LOG", "debug");
            command.env("QUAYFED_LOG_FILE", others.join("log"));
            command.env("QUAYFED_CACHE_DIR", others.join("cache"));
            let output = crate::binary::start(command, &sandbox.quay().host()).wait_with_output();
            let ran = crate::binary::Ran::from(output.expect("an end"));
            match verb {
                "erase" => assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "")),
                "list" => assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "{}\n")),
                _ => assert!(ran.cause().contains("set-user-ID"), "{verb}: {ran:?}"),
            }
        }
    }
    assert_eq!(fs::read_dir(&others).expect("a folder").count(), 0);
}

#[test]
fn r5_a_program_with_file_capabilities_is_refused() {
    if lacks(Need::Root) || lacks(Need::Program("setcap")) {
        return;
    }
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    // Not in memory: capabilities are kept where extended attributes are.
    let folder = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a folder");
    let program = folder.path().join("docker-credential-quayfed");
    let copied = Command::new("cp").arg(crate::binary::program()).arg(&program).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let run = |verb: &str| {
        let mut command = home.command(&program);
        command.arg(verb);
        let output = crate::binary::start(command, &host).wait_with_output();
        crate::binary::Ran::from(output.expect("an end"))
    };
    run("get").token();
    let setcap = |arguments: &[&str]| {
        let status = Command::new("setcap").args(arguments).arg(&program).status();
        assert!(status.is_ok_and(|status| status.success()), "setcap (libcap2-bin)");
    };
    setcap(&["cap_dac_read_search=ep"]);
    let ran = run("get");
    assert_eq!(
        (ran.cause(), ran.hint()),
        (
            "the program has file capabilities: it may do more than its caller",
            "remove them (setcap -r) and let each user call the program as themselves"
        )
    );
    assert_eq!(run("list").stdout, "{}\n");
    setcap(&["-r"]);
    run("get").token();
}

/// A process of the tests' own user whose arguments say what they are told to.
struct Speaker(std::process::Child);

impl Speaker {
    fn says(text: &str) -> Self {
        use std::os::unix::process::CommandExt as _;
        let speaker = Self(Command::new("sleep").arg0(text).arg("600").spawn().expect("started"));
        // Between fork and exec it says what this process does.
        for _ in 0..1000 {
            let said = fs::read(speaker.path()).expect("what it says");
            if said.starts_with(text.as_bytes()) {
                return speaker;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("it says something else");
    }

    fn path(&self) -> std::path::PathBuf {
        format!("/proc/{}/cmdline", self.0.id()).into()
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn r32_what_a_process_says_is_neither_configuration_nor_secret_nor_certificate() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let good = configuration(&sandbox, &home);
    // As root the process belongs to root, whose files everybody trusts.
    let speaker = Speaker::says(&good);
    let said = speaker.path();
    let refused = |ran: &crate::binary::Ran| {
        let wanted = format!("leads to {}, on a pseudo file system (proc)", said.display());
        assert!(ran.cause().contains(&wanted), "{ran:?}");
        println!("{}\n    {}", ran.cause(), ran.hint());
    };
    let link_to_it = |name: &str| {
        let path = home.path(name);
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(&said, &path).expect("linked");
        home.own(&path);
    };
    for name in ["secret", "ca.pem", FILE] {
        let kept = fs::read_to_string(home.path(name)).expect("a file");
        link_to_it(name);
        refused(&home.get(&host));
        fs::remove_file(home.path(name)).expect("removed");
        home.write(name, &kept, 0o600);
        home.get(&host).token();
        home.run("erase", &host);
    }
    assert_eq!(sandbox.issuer().token_requests().len(), 3, "nothing was sent");
}

#[test]
fn r32_a_file_is_trusted_by_every_folder_on_its_way() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    let folder = home.make_folder("way", 0o755);
    let inner = home.make_folder("way/inner", 0o755);
    let secret = home.write("way/inner/secret", crate::binary::SECRET, 0o600);
    let ca = home.write(
        "way/inner/ca.pem",
        &fs::read_to_string(sandbox.ca_file()).expect("a CA"),
        0o644,
    );
    let good = configuration(&sandbox, &home);
    let named = |of: &str, path: &std::path::Path| {
        good.replace(home.path(of).to_str().expect("text"), path.to_str().expect("text"))
    };
    let (with_secret, with_ca) = (named("secret", &secret), named("ca.pem", &ca));
    let chosen = home.write("way/inner/chosen.toml", &good, 0o600);
    let mode = |path: &std::path::Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode set");
    };
    for what in ["secret", "ca_file", "QUAYFED_CONFIG"] {
        home.configure(match what {
            "secret" => &with_secret,
            "ca_file" => &with_ca,
            _ => &good,
        });
        if what == "QUAYFED_CONFIG" {
            home.set(what, chosen.to_str().expect("text"));
        }
        for (open, is_open) in [(&folder, 0o777), (&inner, 0o757), (&folder, 0o757)] {
            mode(open, is_open);
            let ran = home.get(&host);
            let wanted = format!(
                "the folder {} on the way to it can be written by others than its owner (uid {}, \
                 mode {is_open:04o})",
                open.display(),
                uid()
            );
            assert!(ran.cause().contains(&wanted), "{what}: {ran:?}");
            assert!(ran.stderr.contains(&format!("chmod go-w {}", open.display())), "{ran:?}");
            println!("{}\n    {}", ran.cause(), ran.hint());
            mode(open, 0o755);
        }
        // The user's own group may write, as a umask of 002 leaves it.
        mode(&folder, 0o775);
        home.get(&host).token();
        mode(&folder, 0o755);
        home.run("erase", &host);
    }
}

/// A command that runs the helper's `get` as the user of `home`, in namespaces of its own, after
/// `before`, which runs there as root.
fn in_namespaces(home: &Home, options: &[&str], before: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(options).args(["sh", "-ec"]);
    let program = crate::binary::program().display();
    let run_as = format!("setpriv --reuid {0} --regid {0} --clear-groups", uid());
    command.arg(format!("{before}\nexec {run_as} {program} get"));
    let plain = home.command("true");
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command
}

#[test]
fn r32_on_a_read_only_mount_a_folder_may_have_any_mode() {
    if lacks(Need::Mounts) {
        return;
    }
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let mut home = at_sandbox(&sandbox);
    // As a pod has its ConfigMap: links through a folder whose name changes.
    let volume = home.path("volume");
    fs::create_dir_all(volume.join("..2026_11_29")).expect("a folder");
    let good = configuration(&sandbox, &home);
    fs::write(volume.join("..2026_11_29/config.toml"), &good).expect("written");
    std::os::unix::fs::symlink("..2026_11_29", volume.join("..data")).expect("linked");
    std::os::unix::fs::symlink("..data/config.toml", volume.join("config.toml")).expect("linked");
    for folder in [&volume, &volume.join("..2026_11_29")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).expect("mode set");
    }
    home.set("QUAYFED_CONFIG", volume.join("config.toml").to_str().expect("text"));
    assert!(home.get(&host).cause().contains("where everybody can write (mode 1777)"));
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).expect("mode set");
    assert!(home.get(&host).cause().contains(&format!("the folder {} on", volume.display())));
    let mount = format!("mount --bind {0} {0}\n", volume.display());
    for (options, is_good) in [("remount,bind,ro", true), ("remount,bind,rw", false)] {
        let before = format!("{mount}mount -o {options} {}", volume.display());
        let command = in_namespaces(&home, &["--mount"], &before);
        let output = crate::binary::start(command, &host).wait_with_output().expect("an end");
        let ran = crate::binary::Ran::from(output);
        assert_eq!(ran.code == Some(0), is_good, "{options}: {ran:?}");
    }
}

#[test]
fn r32_in_a_real_user_namespace_the_users_own_files_serve() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let run = |map: &str| {
        let mut command = home.command("unshare");
        command.args(["--user", map]).arg(crate::binary::program()).arg("get");
        let output = crate::binary::start(command, &host).wait_with_output().expect("an end");
        crate::binary::Ran::from(output)
    };
    let ran = run("--map-root-user");
    if lacks(Need::Other("user namespaces", !ran.stderr.contains("unshare failed"))) {
        return;
    }
    ran.token();
    run("--map-current-user").token();
    // What can be written by others is told with the ids of the host.
    home.run("erase", &host);
    fs::set_permissions(home.path(".config"), fs::Permissions::from_mode(0o777)).expect("mode set");
    let ran = run("--map-root-user");
    assert!(ran.cause().contains(&format!("(uid {}, mode 0777)", uid())), "{ran:?}");
    assert!(ran.hint().contains(": chmod go-w "), "{ran:?}");
}

#[test]
fn on_error_anonymous_goes_on_without_credentials_and_says_why() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let text = configuration(&sandbox, &home);
    home.configure(&text.replacen("robot =", "on_error = \"anonymous\"\nrobot =", 1));
    home.write("secret", "wrong", 0o600);
    let ran = home.get(&host);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(1), "credentials not found in native keychain\n")
    );
    assert!(ran.stderr.contains("hint: ") && ran.stderr.contains("going on without credentials"));
    // A mistake in the configuration still fails.
    home.configure(&text.replacen("robot =", "on_error = \"anonymous\"\nrobott =", 1));
    assert!(home.get(&host).cause().contains("robott"));
}

#[test]
fn a_change_of_the_configuration_is_noticed_at_the_very_next_get() {
    let sandbox = Sandbox::start();
    sandbox.quay().add_robot("acme+xi");
    sandbox.quay().bind("acme+xi", &sandbox.issuer().url(), SUBJECT, None);
    let host = sandbox.quay().host();
    let home = at_sandbox(&sandbox);
    let first = configuration(&sandbox, &home);
    let second = first.replace("acme+ci", "acme+xi");
    let path = home.path(FILE);
    let is_now = |robot: &str| assert!(home.get(&host).stdout.contains(robot), "{robot}");
    let settle = || std::thread::sleep(std::time::Duration::from_millis(2100));
    is_now("acme+ci");
    settle();
    is_now("acme+ci");
    // Written in place, of the same size, and its times set back.
    let before = fs::metadata(&path).expect("a file").modified().expect("a time");
    home.configure(&second);
    fs::File::options().write(true).open(&path).expect("a file").set_modified(before).expect("set");
    is_now("acme+xi");
    settle();
    is_now("acme+xi");
    // Replaced by rename.
    home.write(".config/quayfed/new", &first, 0o600);
    fs::rename(home.path(".config/quayfed/new"), &path).expect("renamed");
    is_now("acme+ci");
    settle();
    is_now("acme+ci");
    // A link, whose target changes.
    let target = home.write("target", &second, 0o600);
    fs::remove_file(&path).expect("removed");
    assert!(home.get(&host).is_not_found(), "removed");
    std::os::unix::fs::symlink(&target, &path).expect("linked");
    is_now("acme+xi");
    settle();
    is_now("acme+xi");
    home.write("target", &first, 0o600);
    is_now("acme+ci");
}
