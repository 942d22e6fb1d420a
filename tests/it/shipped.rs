//! What is shipped beside the program: example, packaging, documents.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quayfed::config::settings::Settings;
use quayfed::{cli, protocol};
use quayfed_sandbox::{Need, lacks};

use crate::simulation::{Host, SimulatedClock};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The settings that a text means, every rule of which must be sound.
fn sound(what: &str, text: &str) -> Settings {
    let host = Host::with(text, SimulatedClock::new());
    let loaded = quayfed::config::load(&host.world());
    let configuration = loaded.unwrap_or_else(|failure| panic!("{what}: {failure}"));
    assert!(configuration.notices.is_empty(), "{what}: {:?}", configuration.notices);
    for (server, rule) in &configuration.settings.rules {
        assert!(rule.is_ok(), "{what}: {server}: {rule:?}");
    }
    configuration.settings
}

#[test]
fn the_example_configuration_is_sound_and_each_key_that_it_comments_is_too() {
    let text = read("examples/config.toml");
    assert_eq!(sound("examples/config.toml", &text).rules.len(), 3);
    // A line such as `# key = value` is a setting that is commented out.
    let commented: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter_map(|(number, line)| Some((number, line.strip_prefix("# ")?)))
        .filter(|(_, line)| {
            line.split_once(" = ").is_some_and(|(key, _)| {
                key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
            })
        })
        .collect();
    assert!(commented.len() > 15, "{commented:?}");
    for (number, setting) in commented {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[number] = setting;
        let key = setting.split(' ').next().expect("a key");
        // Exactly one place for the secret.
        if key.starts_with("client_secret_") {
            lines.retain(|line| !line.starts_with("client_secret_file"));
        }
        sound(setting, &lines.join("\n"));
    }
}

#[test]
fn the_example_configuration_has_every_key() {
    let text = read("examples/config.toml");
    for key in quayfed::config::key_names() {
        let is_there = text
            .lines()
            .any(|line| line.strip_prefix("# ").unwrap_or(line).starts_with(&format!("{key} = ")));
        assert!(is_there, "`{key}` is not in examples/config.toml");
    }
}

#[test]
fn each_configuration_in_the_readme_is_sound() {
    let readme = read("README.md");
    let blocks: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end"))
        .collect();
    assert!(blocks.len() >= 3, "{}", blocks.len());
    for block in blocks {
        sound("a block of the README", block);
    }
}

#[test]
fn the_examples_of_the_documents_are_what_the_end_to_end_tests_run() {
    let mut end_to_end = Vec::new();
    crate::floors::sources(&root().join("tests/e2e"), &mut end_to_end);
    let tests: String =
        end_to_end.iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    // There the helper is called through a script that writes down what it is asked.
    let tests = tests.replace("\\\"", "\"").replace("quayfed-watched", "quayfed");
    let blocks = |name: &str, language: &str| {
        let text = read(name);
        let opened = format!("```{language}\n");
        let found: Vec<String> = text
            .split(opened.as_str())
            .skip(1)
            .map(|rest| rest.split("```").next().expect("an end").to_owned())
            .collect();
        found
    };
    for name in ["README.md", "docs/podman.md", "docs/docker.md"] {
        for block in blocks(name, "json") {
            let json: serde_json::Value = serde_json::from_str(&block).expect(name);
            assert_eq!(json["credHelpers"]["quay.example.com"], "quayfed", "{name}: {block}");
        }
    }
    let systemwide = blocks("docs/podman.md", "toml").concat();
    let setting = systemwide.lines().find(|line| line.starts_with("credential-helpers"));
    let setting = setting.expect("credential-helpers in docs/podman.md");
    assert!(tests.contains(setting), "no end-to-end test runs `{setting}`");
    // What the tables of commands say is played: each command stands in a part.
    for (name, command) in [("docs/podman.md", "podman"), ("docs/docker.md", "docker")] {
        let text = read(name);
        for verb in ["login", "logout", "logout --all", "login --get-login"] {
            if text.contains(&format!("`{command} {verb}")) {
                for word in verb.split(' ') {
                    assert!(tests.contains(&format!("\"{word}\"")), "{name}: {verb}");
                }
            }
        }
    }
}

#[test]
fn the_readme_names_every_variable() {
    let readme = read("README.md");
    for name in quayfed::config::variable_names() {
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in README.md");
    }
}

#[test]
fn the_manual_of_the_configuration_has_every_key_variable_and_default() {
    let page = read("docs/man/quayfed-config.5");
    let keys = quayfed::config::key_names();
    for name in keys.chain(quayfed::config::variable_names()) {
        assert!(page.contains(name), "{name} is not in quayfed-config(5)");
    }
    // The defaults are those of a rule that sets nothing.
    let settings = sound("the defaults", crate::simulation::CLIENT_CREDENTIALS);
    let rule = settings.rules.into_values().next().expect("a rule").expect("a sound one");
    for (key, default) in [
        ("deadline", rule.deadline),
        ("exchange_timeout", rule.exchange_timeout),
        ("timeout", rule.identity.timeout),
    ] {
        let of_key = page.split(&format!(".B {key}\n")).nth(1).expect("the key's paragraph");
        let of_key = of_key.split(".TP").next().expect("its end");
        assert!(of_key.contains(&format!("\\(dq{default:?}\\(dq")), "{key} {default:?}: {of_key}");
    }
}

#[test]
fn each_configuration_in_the_manuals_is_sound() {
    let page = read("docs/man/quayfed-config.5");
    let example = page.split(".SH EXAMPLE\n.nf\n").nth(1).expect("an example");
    sound("quayfed-config(5)", example.split(".fi").next().expect("its end"));
}

#[test]
fn what_the_readme_says_of_failures_is_what_the_program_says() {
    // Each quoted text of the table stands in a snapshot or in a source.
    let readme = read("README.md");
    let table = readme.split("| what is said | what it means |").nth(1).expect("the table");
    let mut texts = read("tests/it/snapshots/it__explained__every_refusal_is_explained.snap");
    let sources = ["robot_token", "protocol", "ownership", "http/fault", "http/lookup", "http/tls"];
    for source in sources {
        texts.push_str(&read(&format!("src/{source}.rs")));
    }
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with("| ")).collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let said = row.split('`').nth(1).expect("a text in backticks");
        for piece in said.split('…').map(str::trim).filter(|piece| piece.len() > 3) {
            assert!(texts.contains(piece), "nobody says `{piece}`");
        }
    }
}

#[test]
fn each_link_of_a_document_leads_to_a_file_that_is_installed_beside_it() {
    const INSTALLED: &str = "PREFIX/share/doc/docker-credential-quayfed/";
    let manifest = read("packaging/manifest");
    let installed: Vec<(&str, &str)> = manifest
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?.strip_prefix(INSTALLED)?))
        })
        .collect();
    let is_document = |path: &str| Path::new(path).extension().is_some_and(|it| it == "md");
    let documents = || installed.iter().filter(|(source, _)| is_document(source));
    assert!(documents().count() > 10, "{installed:?}");
    let mut broken = Vec::new();
    for (source, destination) in documents() {
        assert_eq!(source, destination, "a document lies where it does in the source");
        let folder = Path::new(source).parent().expect("a folder");
        for link in read(source).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = folder.join(link.split('#').next().expect("a part"));
            if link.starts_with("https://") || link.starts_with('#') {
                continue;
            }
            let is_installed = installed.iter().any(|(_, place)| Path::new(place) == file);
            if !root().join(&file).is_file() || !is_installed {
                broken.push(format!("{source}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    // None is forgotten.
    for folder in ["", "docs"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            let path = Path::new(folder).join(&name);
            if is_document(&name) {
                let is_installed = installed.iter().any(|(source, _)| Path::new(source) == path);
                assert!(is_installed, "{} is not installed", path.display());
            }
        }
    }
}

#[test]
fn make_install_installs_what_the_manifest_lists_and_nothing_else() {
    let target = tempfile::tempdir().expect("a folder");
    // The binary of the tests stands in for the release build.
    let staged = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_docker-credential-quayfed");
    let generated = staged.path().join("generated");
    let output = Command::new(root().join("scripts/generate"))
        .args([Path::new(program), &generated])
        .output()
        .expect("run");
    assert!(output.status.success(), "{output:?}");
    let manifest = read("packaging/manifest")
        .replace("target/release/docker-credential-quayfed", program)
        .replace("target/generated", &generated.display().to_string());
    let path = staged.path().join("manifest");
    fs::write(&path, &manifest).expect("written");
    let output = Command::new(root().join("scripts/install"))
        .args([&path, target.path(), Path::new("/usr")])
        .current_dir(root())
        .output()
        .expect("run");
    assert!(output.status.success(), "{output:?}");
    let wanted: BTreeSet<String> = manifest
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.rsplit(' ').next().expect("a word").replace("PREFIX", "/usr"))
        .collect();
    let mut found = BTreeSet::new();
    collect(target.path(), target.path(), &mut found);
    assert_eq!(found, wanted);
    assert!(found.contains("/usr/bin/docker-credential-quayfed"));

    // What is not ours stays, and the folder that it is in.
    let others = target.path().join("usr/share/doc/docker-credential-quayfed/docs/of-others");
    fs::write(&others, "").expect("written");
    let uninstall = |manifest: &Path| {
        let mut uninstall = Command::new(root().join("scripts/uninstall"));
        uninstall.args([manifest, target.path(), Path::new("/usr")]).current_dir(root());
        let output = uninstall.output().expect("run");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").lines().count()
    };
    assert_eq!(uninstall(&path), wanted.len());
    let mut left = BTreeSet::new();
    collect(target.path(), target.path(), &mut left);
    let own = "/usr/share/doc/docker-credential-quayfed/docs/of-others".to_owned();
    assert_eq!(left, BTreeSet::from([own]));
    fs::remove_file(others).expect("gone");
    assert_eq!(uninstall(&path), 0, "a second time there is nothing");
    assert!(!target.path().join("usr/share/doc/docker-credential-quayfed").exists());
}

/// The units of a kind that are shipped: their names and texts.
fn units(of: &str) -> Vec<(String, String)> {
    let folder = root().join("packaging/systemd").join(of);
    let names = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let mut units: Vec<_> =
        names.map(|name| (name.clone(), read(&format!("packaging/systemd/{of}/{name}")))).collect();
    units.sort();
    units
}

#[test]
fn every_unit_is_installed_and_calls_what_the_program_takes() {
    let manifest = read("packaging/manifest");
    for of in ["system", "user"] {
        let units = units(of);
        assert_eq!(units.len(), 2, "a service and its timer");
        for (name, text) in units {
            let line =
                format!("0644 packaging/systemd/{of}/{name} PREFIX/lib/systemd/{of}/{name}\n");
            assert!(manifest.contains(&line), "{name} of {of}");
            let commands: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
            assert_eq!(commands.len(), usize::from(name.ends_with(".service")), "{text}");
            for command in commands {
                let mut words = command.split(' ').map(OsString::from);
                // systemd looks the name up: the units need not know the prefix.
                assert_eq!(words.next().expect("a program"), protocol::PROGRAM);
                let words: Vec<OsString> = words.collect();
                let parsed = cli::parse(&words);
                assert!(matches!(parsed, cli::Command::ForPeople(_)), "{command}: {parsed:?}");
            }
        }
    }
}

#[test]
fn r22_the_unit_may_write_where_the_cache_of_root_may_be() {
    let (_, text) = &units("system")[0];
    for line in [
        "ReadWritePaths=-/run/user/0",
        "RuntimeDirectory=quayfed/root",
        "RuntimeDirectoryMode=0700",
        "RuntimeDirectoryPreserve=yes",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
    // In a user namespace neither root nor its cache would be known.
    for (_, text) in units("system").into_iter().chain(units("user")) {
        for option in ["PrivateUsers=", "DynamicUser=", "ProcSubset=pid"] {
            assert!(!text.lines().any(|line| line.starts_with(option)), "{option}");
        }
    }
}

#[test]
fn systemd_finds_nothing_amiss_in_the_units() {
    let version = Command::new("systemd-analyze").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.ok().and_then(|text| text.split(' ').nth(1)?.parse::<u32>().ok());
    let is_new = version.is_some_and(|version| version >= 250);
    if lacks(Need::Other("systemd-analyze of systemd 250 or later", is_new)) {
        return;
    }
    for of in ["system", "user"] {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in units(of) {
            let program = format!("ExecStart={}", env!("CARGO_BIN_EXE_docker-credential-quayfed"));
            let text = text.replace(&format!("ExecStart={}", protocol::PROGRAM), &program);
            fs::write(folder.path().join(name), text).expect("written");
        }
        let analyze = |arguments: &[&str]| {
            let output = Command::new("systemd-analyze")
                .arg(format!("--{of}"))
                .args(arguments)
                .args(units(of).iter().map(|(name, _)| folder.path().join(name)).filter(|path| {
                    arguments[0] == "verify" || path.extension().is_some_and(|it| it == "service")
                }))
                .env("XDG_RUNTIME_DIR", folder.path())
                .output()
                .expect("run");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && stderr.is_empty(), "{of} {arguments:?}: {output:?}");
        };
        analyze(&["verify", "--man=no"]);
        if of == "system" {
            // An exposure of 2.5 of 10 at most.
            analyze(&["security", "--offline=yes", "--threshold=25", "--no-pager"]);
        }
    }
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.insert(format!("/{}", path.strip_prefix(root).expect("beneath").display()));
        }
    }
}

#[test]
fn r1_the_environment_and_the_clocks_are_read_in_one_place() {
    let mut places = Vec::new();
    crate::floors::sources(&root().join("src"), &mut places);
    for path in places {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if ["tests.rs", "testing.rs", "mistakes.rs"].contains(&name.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        let code = text.split("#[cfg(test)]").next().expect("code");
        for call in ["env::var", "env::vars", "SystemTime::now", "Instant::now", "clock_gettime"] {
            assert!(name == "world.rs" || !code.contains(call), "{call} in {}", path.display());
        }
        assert!(name == "main.rs" || !code.contains("env::args"), "{}", path.display());
    }
}

#[test]
fn main_is_thirty_lines_at_most() {
    assert!(read("src/main.rs").lines().count() <= 30);
}

#[test]
fn r26_a_panic_is_an_internal_error_with_exit_code_1_and_says_nothing_of_its_own() {
    const CHILD: &str = "QUAYFED_TEST_PANICS";
    if std::env::var_os(CHILD).is_some() {
        quayfed::internal_error::install();
        panic!("hunter2");
    }
    // This very test, in a process of its own.
    let name =
        "shipped::r26_a_panic_is_an_internal_error_with_exit_code_1_and_says_nothing_of_its_own";
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--nocapture", "--quiet"])
        .env(CHILD, "1")
        .output()
        .expect("run");
    let stdout = String::from_utf8(output.stdout).expect("text");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{stdout} {stderr}");
    assert!(stdout.contains("internal error at tests/it/shipped.rs:"), "{stdout}");
    assert!(stderr.starts_with("docker-credential-quayfed: internal error at "), "{stderr}");
    assert!(stderr.contains("\nhint: this is a bug in docker-credential-quayfed"), "{stderr}");
    assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"));
}

#[test]
fn each_rule_has_tests_that_name_it() {
    let rules = read("docs/ARCHITECTURE.md");
    let mut sources = Vec::new();
    crate::floors::sources(&root().join("src"), &mut sources);
    crate::floors::sources(&root().join("tests/it"), &mut sources);
    crate::floors::sources(&root().join("sandbox/src"), &mut sources);
    let texts: String =
        sources.iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    let numbers = rules.split("\n**R").skip(1).filter_map(|rest| rest.split_once("** "));
    let numbers: BTreeSet<u32> = numbers.filter_map(|(number, _)| number.parse().ok()).collect();
    assert!(numbers.len() >= 28, "{numbers:?}");
    for number in numbers {
        let count = texts.matches(&format!("fn r{number}_")).count();
        assert!(count > 0, "R{number} has no test");
    }
}

/// The sources that have tests in them, but for this one.
fn sources_of_tests() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    for folder in ["src", "tests/it", "sandbox/src", "sandbox/tests"] {
        crate::floors::sources(&root().join(folder), &mut paths);
    }
    paths.retain(|path| !path.ends_with(file!()));
    assert!(paths.len() > 100);
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).expect("text"))).collect()
}

#[test]
fn r45_no_test_expects_a_machine_to_be_fast() {
    for (path, text) in sources_of_tests() {
        for line in text.lines().filter(|line| line.contains("assert")) {
            let seconds = line.split_once("< Duration::from_secs(").map(|(_, rest)| rest);
            let seconds = seconds.and_then(|rest| rest.split(')').next()?.parse::<u32>().ok());
            assert!(
                seconds.is_none_or(|seconds| seconds > 5)
                    && !line.contains("< Duration::from_milli"),
                "a busy machine takes longer: {line} in {}",
                path.display()
            );
        }
    }
}

#[test]
fn r45_what_cannot_be_shown_is_told_in_one_way() {
    for (path, text) in sources_of_tests() {
        assert!(!text.contains("println!(\"skipped"), "{}", path.display());
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[1].starts_with("return")) {
            let asks = ["is_root()", "geteuid()", "which("].iter().any(|it| pair[0].contains(it));
            let is_question = ["if ", "let "].iter().any(|it| pair[0].starts_with(it));
            assert!(!(asks && is_question), "not by `lacks`: {} in {}", pair[0], path.display());
        }
    }
}

/// Each call of the program in a document, as words.
fn calls(text: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices("docker-credential-quayfed ") {
            let rest = &line[at + "docker-credential-quayfed ".len()..];
            let is_call = line[..at].trim_start().is_empty()
                || line[..at].ends_with(['`', '|', ' ', ':', '+'])
                || line[..at].ends_with('/');
            let end =
                rest.find(['`', '|', ';', '>', '#', '\\', '&', '\'', '"']).unwrap_or(rest.len());
            let words: Vec<String> = rest[..end].split_whitespace().map(str::to_owned).collect();
            let is_of_words = words.first().is_some_and(|word| {
                cli::parser().find_subcommand(word).is_some() || word.starts_with('-')
            });
            if is_call && is_of_words {
                calls.push(words);
            }
        }
    }
    calls
}

#[test]
fn every_command_of_the_documents_is_one_that_the_program_takes() {
    let mut documents: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect();
    documents.push(root().join("README.md"));
    let mut count = 0;
    for path in documents {
        let text = fs::read_to_string(&path).expect("text");
        let code = text.split("```").enumerate().map(|(number, part)| {
            // Prose is looked at between its backticks.
            if number % 2 == 1 {
                part.replace("\\\n", " ")
            } else {
                let quoted = part.split('`').skip(1).step_by(2);
                quoted.collect::<Vec<_>>().join("\n")
            }
        });
        for call in calls(&code.collect::<Vec<_>>().join("\n")) {
            count += 1;
            let words: Vec<OsString> = call.iter().map(OsString::from).collect();
            let parsed = cli::parse(&words);
            let is_taken = match &parsed {
                cli::Command::Parsed(error) => !error.use_stderr(),
                cli::Command::Unknown(_) | cli::Command::Misused(_) | cli::Command::NoHelp(_) => {
                    false
                }
                _ => true,
            };
            assert!(is_taken, "{}: {call:?}: {parsed:?}", path.display());
        }
    }
    assert!(count > 30, "{count}");
}
