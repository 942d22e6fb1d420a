//! What was asked for on the command line. The protocol's verbs are matched by hand: a `get` must
//! not pay for an argument parser.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser};

use crate::command;
use crate::protocol::PROGRAM;

/// What the program is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Answer with credentials.
    Get,
    /// Keep credentials.
    Store,
    /// Forget credentials.
    Erase,
    /// Say for which servers there are credentials.
    List,
    /// Say which version this is.
    Version,
    /// Say how to call the program: it was not called so.
    Usage,
    /// No verb of ours.
    Unknown(String),
    /// A command for people.
    ForPeople(command::Command),
    /// Help that was asked for, or what is wrong with the arguments of a command for people.
    Parsed(clap::Error),
}

/// Reads the arguments behind the program's name.
pub fn parse(arguments: &[OsString]) -> Command {
    match arguments.first().and_then(|verb| verb.to_str()) {
        Some("get") if arguments.len() == 1 => Command::Get,
        Some("store") if arguments.len() == 1 => Command::Store,
        Some("erase") if arguments.len() == 1 => Command::Erase,
        Some("list") if arguments.len() == 1 => Command::List,
        Some("version" | "--version" | "-v") if arguments.len() == 1 => Command::Version,
        _ => parse_for_people(arguments),
    }
}

fn parse_for_people(arguments: &[OsString]) -> Command {
    let Some(first) = arguments.first() else { return Command::Usage };
    let name = first.to_string_lossy();
    let is_known = name == "help"
        || name.starts_with('-')
        || parser().get_subcommands().any(|command| command.get_name() == name);
    if !is_known {
        let is_verb = ["get", "store", "erase", "list", "version"].contains(&&*name);
        return if is_verb { Command::Usage } else { Command::Unknown(name.into_owned()) };
    }
    let line = std::iter::once(OsString::from(PROGRAM)).chain(arguments.iter().cloned());
    match CommandLine::try_parse_from(line) {
        Ok(line) => Command::ForPeople(line.command),
        Err(error) => Command::Parsed(error),
    }
}

/// A credential helper for podman, buildah, skopeo and docker: it turns an OIDC token into a robot
/// token of a Quay registry, and keeps it fresh
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, disable_version_flag = true, after_help = PROTOCOL)]
struct CommandLine {
    #[command(subcommand)]
    command: command::Command,
}

/// What clients call, for the help of people who try it.
const PROTOCOL: &str = "\
Clients call, with a server on standard input:
  get      Answer with the robot and its token
  store    Nothing is stored: succeeds for the configured robot alone
  erase    Forget the server's cached token
  list     Print the configured registries with their robots
  version  Print the version

To try it by hand, with each step told on standard error:
  echo quay.example.com | QUAYFED_LOG=info docker-credential-quayfed get";

/// The parser for people's commands.
pub fn parser() -> clap::Command {
    CommandLine::command()
}

/// The line that tells the version, in the form of the other helpers.
pub fn version() -> String {
    format!("{PROGRAM} (quayfed) v{}", env!("CARGO_PKG_VERSION"))
}

/// How to call the program: the line that every helper begins with, then the help for people.
pub fn usage() -> String {
    let help = parser().render_help().to_string();
    format!("Usage: {PROGRAM} <store|get|erase|list|version>\n\n{}", help.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let shown = format!("{:?}", parse(&arguments));
        shown.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
    }

    #[test]
    fn r1_every_verb_of_the_protocol_is_known_and_nothing_else_is() {
        for (arguments, wanted) in [
            (&["get"][..], "Get"),
            (&["store"], "Store"),
            (&["erase"], "Erase"),
            (&["list"], "List"),
            (&["version"], "Version"),
            (&["--version"], "Version"),
            (&["-v"], "Version"),
            (&[], "Usage"),
            (&["get", "get"], "Usage"),
            (&["GET"], "Unknown"),
            (&[""], "Unknown"),
            (&["--help"], "Parsed"),
            (&["help"], "Parsed"),
            (&["--nonsense"], "Parsed"),
            (&["status", "--nonsense"], "Parsed"),
            (&["status"], "ForPeople"),
        ] {
            assert_eq!(parsed(arguments), wanted, "{arguments:?}");
        }
    }

    #[test]
    fn the_parser_is_sound() {
        parser().debug_assert();
    }
}
