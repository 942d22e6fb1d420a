//! Help, completions and manual page: made from the definitions that the command line is read by.

use std::ffi::OsString;
use std::process::Command;

use quayfed::cli;
use quayfed::terminal::Looks;
use quayfed_sandbox::{Need, lacks};

use crate::screens::{NARROW, PIPED, check, ran};
use crate::simulation::Host;

fn commands() -> Vec<clap::Command> {
    let mut parser = cli::parser();
    parser.build();
    parser.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect()
}

/// The long options that are not hidden.
fn options(command: &clap::Command) -> Vec<&str> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(clap::Arg::get_long).collect()
}

#[test]
fn every_options_help_says_its_default() {
    let mut silent = Vec::new();
    for command in commands() {
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            if argument.get_id() == "help" {
                continue;
            }
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            // clap itself adds the default of one that takes a value and has a default.
            let has_value = argument.get_action().takes_values();
            let says_it = help.contains("[default: ")
                || help.contains("[required")
                || (has_value && !argument.get_default_values().is_empty())
                || argument.is_required_set();
            // `-h` shows nothing below the options.
            if !says_it || help.contains("below") {
                silent.push(format!("{} {}", command.get_name(), argument.get_id()));
            }
        }
    }
    assert!(silent.is_empty(), "without `[default: …]` in the help: {silent:?}");
}

#[test]
fn the_manual_page_has_every_command_and_option() {
    let page = text(&["man"]);
    assert!(page.starts_with(".ie \\n(.g") && page.contains("\n.TH docker-credential-quayfed 1 "));
    for command in commands() {
        assert!(
            page.contains(&format!("\n.SS {}\n", command.get_name())),
            "{}",
            command.get_name()
        );
        for option in options(&command) {
            let option = option.replace('-', "\\-");
            assert!(page.contains(&format!("\\-\\-{option}")), "{option}");
        }
    }
    for name in quayfed::config::variable_names() {
        assert!(page.contains(name), "{name}");
    }
    for called in [
        ".OP \\-\\-repository NAMESPACE/NAME\n",
        ".OP \\-\\-dry\\-run\n",
        "\n[\\fIREGISTRY\\fR]...\n.YS",
    ] {
        assert!(page.contains(called), "{called}");
    }
}

#[test]
fn no_line_of_the_manual_page_that_stays_as_it_is_is_too_long_for_80_columns() {
    const MARGIN: usize = 7;
    let page = text(&["man"]);
    for block in page.split("\n.nf\n").skip(1) {
        for line in block.split("\n.fi\n").next().expect("an end").lines() {
            let line = line.replace("\\-", "-").replace("\\*(Aq", "'");
            assert!(MARGIN + line.len() <= 80, "{line}");
        }
    }
    assert!(page.is_ascii(), "groff wants to be told of other letters");
}

#[test]
fn the_manual_page_reads_well() {
    if lacks(Need::Program("groff")) {
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text(&["man"])).expect("written");
    let output = Command::new("groff")
        .args(["-man", "-Tascii", "-P-cbou", "-ww", "-rLL=80n"])
        .arg(file.path())
        .output()
        .expect("groff");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_help_of_each_command_is_a_screen() {
    check("help", &help(&["--help"], PIPED));
    check("help-narrow", &help(&["--help"], NARROW));
    check("doctor-help-narrow", &help(&["doctor", "--help"], NARROW));
    for command in commands() {
        let name = command.get_name();
        check(&format!("{name}-help"), &help(&[name, "--help"], PIPED));
    }
}

#[test]
fn no_line_of_a_help_is_wider_than_the_terminal_but_for_a_command() {
    for command in commands() {
        for option in ["-h", "--help"] {
            for width in [40, 60, 80] {
                let help = help(&[command.get_name(), option], Looks { width, ..PIPED });
                for line in help.lines().filter(|line| line.contains(' ')) {
                    let words = line.trim_start().split(' ').filter(|word| !word.is_empty());
                    let is_command =
                        line.contains("docker-credential-quayfed") || line.contains("--");
                    assert!(
                        line.chars().count() <= width || words.count() < 2 || is_command,
                        "{width}: {line}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_call_stays_on_its_line() {
    let option = format!("--{}", "nonsense".repeat(5));
    let told = help(&["status", &option], Looks { width: 40, ..PIPED });
    assert!(told.starts_with(&format!("error: unexpected argument '{option}' found\n")), "{told}");
}

/// A help as it is shown to whoever asks for it.
fn help(arguments: &[&str], looks: Looks) -> String {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let cli::Command::Parsed(error) = cli::parse(&arguments) else {
        panic!("no help: {arguments:?}")
    };
    cli::told(&error, looks)
}

fn text(arguments: &[&str]) -> String {
    let (code, text) = ran(&Host::new().world(), PIPED, arguments);
    assert_eq!(code, Ok(0));
    text
}
