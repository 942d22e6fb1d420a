//! `man`: one page for all commands, made from the parser.

use std::collections::BTreeSet;
use std::io;

use clap::Args;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::command::WELL;
use crate::config;
use crate::failure::Failure;
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
    let man = Man::new(parser.clone()).manual("Credential helpers");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let mut page = text(page);
    page += &section("DESCRIPTION", &[(DESCRIPTION.to_owned(), String::new())]);
    if let Some(protocol) = parser.get_after_help() {
        page += &section("PROTOCOL", &[]);
        page += &as_written(&protocol.to_string());
    }
    page += &section("COMMANDS", &[]);
    for command in parser.get_subcommands().filter(|command| command.get_name() != "help") {
        page += &of_command(command)?;
    }
    for (heading, items) in closing_sections() {
        page += &section(heading, &items);
    }
    Ok(without_repeated_preambles(&page))
}

/// The part of a command: how it is called, what it does, its options, and what else its help says.
fn of_command(command: &clap::Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut fragments = Vec::new();
    man.render_synopsis_section(&mut fragments)?;
    man.render_description_section(&mut fragments)?;
    man.render_options_section(&mut fragments)?;
    let mut roff = Roff::new();
    roff.control("SS", [command.get_name()]);
    let mut part = roff.render();
    // Sections belong to the whole page: here each is a paragraph.
    for line in text(fragments).lines() {
        part += if line.starts_with(".SH ") { ".PP" } else { line };
        part.push('\n');
    }
    if let Some(more) = command.get_after_long_help() {
        part += &as_written(&more.to_string());
    }
    Ok(part)
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
