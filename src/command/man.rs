//! `man`: one page for all commands, made from the parser.

use std::collections::BTreeSet;
use std::io;

use clap::{Arg, ArgAction, Args};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::command::WELL;
use crate::config;
use crate::failure::Failure;
use crate::protocol::PROGRAM;
use crate::terminal::Terminal;

const DESCRIPTION: &str = "\
podman, buildah, skopeo and docker call it by the protocol of credential helpers, with a registry on \
standard input. What it answers is a robot token, which lives one hour and is kept in memory; it is \
renewed before that hour is over. The commands below are for people.";

/// What `man` takes.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Prints the manual page in roff.
pub(super) fn run(
    terminal: &mut Terminal,
    _arguments: &Arguments,
    parser: clap::Command,
) -> Result<u8, Failure> {
    let page = page(parser).map_err(|error| {
        Failure::new(format!("the page could not be made: {error}"), "report it as a bug")
    })?;
    terminal.write(&page);
    Ok(WELL)
}

fn page(mut parser: clap::Command) -> io::Result<String> {
    parser.build();
    let mut page = title(&parser);
    let mut name = Vec::new();
    Man::new(parser.clone()).render_name_section(&mut name)?;
    page += &text(name);
    page += &section("SYNOPSIS", &[]);
    page += &synopsis();
    page += &section("DESCRIPTION", &[(DESCRIPTION.to_owned(), String::new())]);
    let (verbs, commands): (Vec<_>, Vec<_>) = parser
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
        .partition(|command| command.is_hide_set());
    for (heading, commands) in [("PROTOCOL", verbs), ("COMMANDS", commands)] {
        page += &section(heading, &[]);
        for command in commands {
            page += &of_command(command)?;
        }
    }
    for (heading, items) in closing_sections() {
        page += &section(heading, &items);
    }
    Ok(without_repeated_preambles(&page))
}

/// What the page begins with. The last part of the title stands in the middle at the top, where there
/// is no room between two names as long as ours; an empty one keeps what is usual from there. Lines
/// are neither stretched nor hyphenated: there are many names in them.
fn title(parser: &clap::Command) -> String {
    let version = parser.get_version().unwrap_or_default();
    let preamble = Roff::new().render();
    format!("{preamble}.TH {PROGRAM} 1 \"\" \"{PROGRAM} {version}\" \"\"\n.nr HY 0\n.ad l\n")
}

fn synopsis() -> String {
    let mut roff = Roff::new();
    for called in [
        vec![bold("get"), roman("|"), bold("store"), roman("|"), bold("erase")],
        vec![bold("list"), roman("|"), bold("version")],
        vec![
            italic("COMMAND"),
            roman(" ["),
            italic("OPTION"),
            roman("]... ["),
            italic("VALUE"),
            roman("]..."),
        ],
        vec![bold("help"), roman(" ["), italic("COMMAND"), roman("]")],
    ] {
        roff.control("SY", [PROGRAM]);
        roff.text(called);
    }
    roff.control("YS", []);
    roff.render()
}

/// The part of a command: how it is called, what it does, its options, and what else its help says.
fn of_command(command: &clap::Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut fragments = Vec::new();
    man.render_description_section(&mut fragments)?;
    if command.get_arguments().any(|argument| argument.get_id() != "help") {
        man.render_options_section(&mut fragments)?;
    }
    let mut fragments = text(fragments);
    for argument in command.get_positionals().filter(|argument| takes_several(argument)) {
        let shown = format!("[\\fI{}\\fR]", value_of(argument));
        fragments = fragments.replace(&shown, &format!("{shown}..."));
    }
    let mut roff = Roff::new();
    roff.control("SS", [command.get_name()]);
    let mut part = roff.render() + &call(command);
    // Sections belong to the whole page: here each is a paragraph.
    for line in fragments.lines() {
        part += if line.starts_with(".SH ") { ".PP" } else { line };
        part.push('\n');
    }
    if let Some(more) = command.get_after_long_help().or(command.get_after_help()) {
        part += &as_written(&more.to_string());
    }
    Ok(part)
}

/// How a command is called: its options with their values, and its values.
fn call(command: &clap::Command) -> String {
    if let Some(usage) = command.get_overridden_usage() {
        return Roff::new().text([roman(usage.to_string())]).render();
    }
    let mut roff = Roff::new();
    roff.control("SY", [format!("{PROGRAM} {}", command.get_name()).as_str()]);
    let is_option = |argument: &&Arg| !argument.is_positional() && !argument.is_hide_set();
    for argument in command.get_arguments().filter(is_option) {
        let name = format!("--{}", argument.get_long().unwrap_or_default()).replace('-', "\\-");
        if argument.get_action().takes_values() {
            roff.control("OP", [name.as_str(), &value_of(argument)]);
        } else if argument.get_id() != "help" {
            roff.control("OP", [name.as_str()]);
        }
    }
    for argument in command.get_positionals() {
        let value = italic(value_of(argument));
        roff.text(match (argument.is_required_set(), takes_several(argument)) {
            (true, _) => vec![value],
            (false, false) => vec![roman("["), value, roman("]")],
            (false, true) => vec![roman("["), value, roman("]...")],
        });
    }
    roff.control("YS", []);
    roff.render()
}

fn value_of(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map(ToString::to_string).unwrap_or_default()
}

fn takes_several(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|range| range.max_values() > 1)
        || matches!(argument.get_action(), ArgAction::Append)
}

/// What the page ends with: terms and what they are.
fn closing_sections() -> [(&'static str, Vec<(String, String)>); 4] {
    let items = |items: &[(&str, &str)]| {
        items.iter().map(|(term, what)| ((*term).to_owned(), (*what).to_owned())).collect()
    };
    let mut variables: Vec<(String, String)> = items(&[
        ("QUAYFED_CONFIG", "One configuration file instead of all others."),
        ("QUAYFED_CACHE_DIR", "Where tokens are kept: a folder (0700) anywhere."),
        (
            "QUAYFED_LOG, QUAYFED_LOG_FILE",
            "error, warn, info or debug; on standard error or into a file.",
        ),
        ("NO_COLOR", "Set to anything: no colours on a terminal."),
    ]);
    let named: String = variables.iter().map(|(names, _)| names.as_str()).collect();
    let mut others: Vec<_> =
        config::variable_names().filter(|name| !named.contains(name)).collect();
    // One variable may stand for a key of the registry and one of the identity.
    let mut seen = BTreeSet::new();
    others.retain(|name| seen.insert(*name));
    variables.push((others.join(", "), "A rule without a file, for a CI job.".to_owned()));
    [
        (
            "EXIT STATUS",
            items(&[
                ("0", "All is well."),
                ("1", "Something failed, or needs attention: the output says what."),
                ("2", "The command was not called as its help says."),
            ]),
        ),
        (
            "FILES",
            items(&[
                (
                    "/etc/quayfed/config.toml, /etc/quayfed/config.d/*.toml",
                    "The configuration of the host.",
                ),
                ("~/.config/quayfed/config.toml", "The user's own, on top of it."),
                (
                    "$XDG_RUNTIME_DIR/quayfed, /run/user/UID/quayfed, /run/quayfed/root, \
                     /dev/shm/quayfed-UID",
                    "The cache: the first of these that serves.",
                ),
            ]),
        ),
        ("ENVIRONMENT", variables),
        (
            "SEE ALSO",
            items(&[(
                "quayfed-config(5), podman(1), containers-auth.json(5), containers-registries.conf(5)",
                "",
            )]),
        ),
    ]
}

fn section(heading: &str, items: &[(String, String)]) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (term, what) in items {
        if what.is_empty() {
            roff.text([roman(term)]);
        } else {
            roff.control("TP", []);
            roff.text([bold(term)]);
            roff.text([roman(what)]);
        }
    }
    roff.render()
}

/// A help text: its paragraphs are filled, and where lines are indented they stay as they are.
fn as_written(text: &str) -> String {
    let mut roff = Roff::new();
    for block in text.split("\n\n") {
        let stays = block.lines().any(|line| line.starts_with(' '));
        roff.control("PP", []);
        if stays {
            roff.control("nf", []);
        }
        for line in block.lines() {
            roff.text([roman(line)]);
        }
        if stays {
            roff.control("fi", []);
        }
    }
    roff.render()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

/// Each fragment that was rendered alone begins by defining how an apostrophe is written: once is
/// enough.
fn without_repeated_preambles(page: &str) -> String {
    let is_preamble = |line: &str| line.starts_with(".ie ") || line.starts_with(".el ");
    let mut lines: Vec<&str> = page.lines().filter(|line| is_preamble(line)).take(2).collect();
    lines.extend(page.lines().filter(|line| !is_preamble(line)));
    lines.join("\n") + "\n"
}
