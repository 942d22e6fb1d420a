//! The completions, each tried by the shell that they are for: what it offers is what the command
//! line takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use quayfed::cli;
use quayfed::protocol::PROGRAM;
use quayfed_sandbox::{Need, lacks};

use crate::screens::{PIPED, ran};
use crate::simulation::Host;

/// A folder with the script of a shell, as it is installed.
fn folder(shell: &str, name: &str) -> tempfile::TempDir {
    let (code, script) = ran(&Host::new().world(), PIPED, &["completions", shell]);
    assert_eq!(code, Ok(0));
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(name), script).expect("written");
    folder
}

/// What a program printed, word by word in sorted order.
fn words(mut command: Command) -> BTreeSet<String> {
    let output = command.stdin(Stdio::null()).output().expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{command:?}: {text} {:?}", String::from_utf8(output.stderr));
    text.lines().map(|line| line.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// What bash offers for the last of the words.
fn of_bash(folder: &Path, line: &[&str]) -> BTreeSet<String> {
    // As bash calls a completion: the function that `complete` has for the command, with the words.
    const CALL: &str = r#"
        source "$1/script"; shift
        registered=$(complete -p "$1")
        function=${registered#*-F }; function=${function%% *}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        "$function" "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", CALL, "bash"]).arg(folder).args(line);
    words(bash)
}

/// What fish offers for the last of the words.
fn of_fish(folder: &Path, line: &[&str]) -> BTreeSet<String> {
    let mut fish = Command::new("fish");
    fish.env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("XDG_DATA_HOME", folder);
    fish.args([
        "--no-config",
        "--command",
        "source $argv[1]/script; complete --do-complete $argv[2]",
    ]);
    fish.arg(folder).arg(line.join(" ")).current_dir(folder);
    // Behind a tab it says what each is.
    words(fish).into_iter().filter_map(|it| Some(it.split('\t').next()?.to_owned())).collect()
}

/// What zsh offers for the last of the words: a zsh with a terminal of its own is asked to complete,
/// and writes down what would be added to its list.
fn of_zsh(folder: &Path, line: &[&str]) -> BTreeSet<String> {
    const SCRIPT: &str = r#"
        zmodload zsh/zpty
        zpty inner zsh -f -i
        zpty -w inner "source $1/inner"
        zpty -r inner ready $'*ready-to-complete*' || exit 1
        zpty -w -n inner "$2"$'\t'
        zpty -r inner done $'*done-completing*' || exit 1
        cat $1/offered"#;
    const INNER: &str = r#"
        PROMPT= RPROMPT=
        unsetopt zle_bracketed_paste 2>/dev/null
        fpath=(FOLDER $fpath)
        autoload -U compinit
        compinit -u -D
        bindkey '^I' complete-word
        zstyle ':completion:*' insert-tab false
        zstyle ':completion:*' menu no
        : >FOLDER/offered
        compadd () {
            local -a hits
            if (( ${@[(I)-(O|A|D)]} )); then builtin compadd "$@"; return; fi
            builtin compadd -A hits "$@"
            print -rl -- $hits >>FOLDER/offered
            builtin compadd "$@"
        }
        finish () { print done-completing }
        comppostfuncs=(finish)
        print ready-to-'complete'
        "#;
    let inner = INNER.replace("FOLDER", &folder.display().to_string());
    fs::write(folder.join("inner"), inner).expect("written");
    let mut zsh = Command::new("timeout");
    zsh.args(["60", "zsh", "-f", "-c", SCRIPT, "zsh"]).arg(folder).arg(line.join(" "));
    zsh.current_dir(folder);
    words(zsh)
}

/// A way to ask a shell: its name, what its script is called, and how.
type Shell = (&'static str, &'static str, fn(&Path, &[&str]) -> BTreeSet<String>);

const SHELLS: [Shell; 3] = [
    ("bash", "script", of_bash),
    ("fish", "script", of_fish),
    ("zsh", "_docker-credential-quayfed", of_zsh),
];

fn commands() -> Vec<clap::Command> {
    let mut parser = cli::parser();
    parser.build();
    parser.get_subcommands().cloned().collect()
}

#[test]
fn r43_each_shell_completes_commands_and_behind_each_command_its_options() {
    for (shell, script, offers) in SHELLS {
        if lacks(Need::Program(shell)) {
            continue;
        }
        let folder = folder(shell, script);
        let offered = offers(folder.path(), &[PROGRAM, ""]);
        for command in commands() {
            assert!(offered.contains(command.get_name()), "{shell}: {offered:?}");
        }
        for command in commands().iter().filter(|command| command.get_name() != "help") {
            let offered = offers(folder.path(), &[PROGRAM, command.get_name(), "--"]);
            let options = command.get_arguments().filter_map(|argument| {
                Some((format!("--{}", argument.get_long()?), argument.is_hide_set()))
            });
            for (option, is_hidden) in options {
                assert_eq!(
                    offered.contains(&option),
                    !is_hidden,
                    "{shell}: {} {option}: {offered:?}",
                    command.get_name()
                );
            }
            let is_option = |word: &String| word.starts_with("--");
            assert!(offered.iter().all(is_option), "{shell}: {offered:?}");
        }
    }
}

#[test]
fn r43_each_shell_completes_the_values_that_an_option_takes() {
    for (shell, script, offers) in SHELLS {
        if lacks(Need::Program(shell)) {
            continue;
        }
        let folder = folder(shell, script);
        for (line, wanted) in [
            (&[PROGRAM, "configure", "--only", ""][..], &["containers", "docker"][..]),
            (&[PROGRAM, "doc"], &["doctor"]),
            (&[PROGRAM, "help", "doc"], &["doctor"]),
            (&[PROGRAM, "doctor", "--json", "--rep"], &["--repository"]),
        ] {
            let offered = offers(folder.path(), line);
            for word in wanted {
                assert!(offered.contains(*word), "{shell}: {line:?}: {offered:?}");
            }
        }
        // What only stands for a value is offered to nobody.
        for command in ["doctor", "configure", "identity", "completions"] {
            let offered = offers(folder.path(), &[PROGRAM, command, ""]);
            let is_placeholder = |word: &String| word.starts_with(['[', '<']);
            assert!(!offered.iter().any(is_placeholder), "{shell}: {command}: {offered:?}");
        }
    }
}
