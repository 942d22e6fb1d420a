//! What was asked for on the command line. The protocol's verbs are matched by hand: a `get` must
//! not pay for an argument parser.

mod fitting;
mod verbs;

use std::ffi::OsString;

use clap::error::{ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::command;
use crate::config::suggestion::nearest;
use crate::failure::Failure;
use crate::printable::one_line;
use crate::protocol::PROGRAM;
use crate::terminal::Looks;

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
    /// The same, and what is wrong: a verb with something behind it.
    Misused(Failure),
    /// No verb of ours.
    Unknown(String),
    /// Help for what is no command.
    NoHelp(Failure),
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
        Some("version" | "--version" | "-v" | "-V") if arguments.len() == 1 => Command::Version,
        _ => parse_for_people(arguments),
    }
}

#[cold]
fn parse_for_people(arguments: &[OsString]) -> Command {
    let Some(first) = arguments.first() else { return Command::Usage };
    let (name, parser) = (first.to_string_lossy(), parser());
    let is_known = |word: &str| {
        word == "help" || word.starts_with('-') || parser.find_subcommand(word).is_some()
    };
    if !is_known(&name) {
        return Command::Unknown(name.into_owned());
    }
    let topic = arguments.get(1).map(|word| word.to_string_lossy());
    if let Some(topic) = topic.filter(|topic| name == "help" && !is_known(topic)) {
        return Command::NoHelp(unknown(&topic));
    }
    let line = std::iter::once(OsString::from(PROGRAM)).chain(arguments.iter().cloned());
    let matches = parser.try_get_matches_from(line);
    match matches.and_then(|matches| CommandLine::from_arg_matches(&matches)) {
        Ok(line) => Command::ForPeople(line.command),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => Command::Parsed(error),
        // To clients, a verb with anything behind it is no call of theirs.
        Err(error) => verbs::misused(&name)
            .map_or_else(|| Command::Parsed(on_its_line(error)), Command::Misused),
    }
}

/// What is wrong with a call, each value in it on one line.
fn on_its_line(mut error: clap::Error) -> clap::Error {
    let values: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in values {
        if let ContextValue::String(text) = value {
            error.insert(kind, ContextValue::String(one_line(&text).into_owned()));
        }
    }
    error
}

/// What a person is told of a word that is no command.
pub fn unknown(word: &str) -> Failure {
    let parser = parser();
    let known = parser.get_subcommands().map(clap::Command::get_name).chain(["help"]);
    let hint = match nearest(word, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("`{PROGRAM} help` says which there are"),
    };
    Failure::new(format!("unknown command `{word}`"), hint)
}

/// A credential helper for podman, buildah, skopeo and docker: it turns an OIDC token into a robot
/// token of a Quay registry, and keeps it fresh
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, disable_version_flag = true, after_help = verbs::listed())]
struct CommandLine {
    #[command(subcommand)]
    command: command::Command,
}

/// The parser for people's commands, and for the help of the verbs.
pub fn parser() -> clap::Command {
    CommandLine::command().subcommands(verbs::commands())
}

/// The line that tells the version, in the form of the other helpers.
pub fn version() -> String {
    format!("{PROGRAM} (quayfed) v{}", env!("CARGO_PKG_VERSION"))
}

/// How to call the program: the line that every helper begins with, then the help for people.
pub fn usage(width: usize) -> String {
    let help = fitting::fitted(&parser().render_help().to_string(), width);
    format!("Usage: {PROGRAM} <store|get|erase|list|version>\n\n{}", help.trim_end())
}

/// What [`Command::Parsed`] has to tell, as it looks best.
pub fn told(error: &clap::Error, looks: Looks) -> String {
    let text = error.render();
    // What is wrong with a call stays on its line, and without colours: it ends in logs.
    if error.use_stderr() {
        return text.to_string();
    }
    let text = if looks.has_colours { text.ansi().to_string() } else { text.to_string() };
    fitting::fitted(&text, looks.width)
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
            (&["-V"], "Version"),
            (&[], "Usage"),
            (&["get", "get"], "Misused"),
            (&["get", "--nonsense"], "Misused"),
            (&["get", "--"], "Misused"),
            (&["get", "--help"], "Parsed"),
            (&["list", "-h"], "Parsed"),
            (&["help", "erase"], "Parsed"),
            (&["GET"], "Unknown"),
            (&[""], "Unknown"),
            (&["--help"], "Parsed"),
            (&["help"], "Parsed"),
            (&["help", "help"], "Parsed"),
            (&["help", "docter"], "NoHelp"),
            (&["--nonsense"], "Parsed"),
            (&["status", "--nonsense"], "Parsed"),
            (&["status"], "ForPeople"),
        ] {
            assert_eq!(parsed(arguments), wanted, "{arguments:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_command_is_answered_with_the_one_that_was_meant() {
        for (word, hint) in [
            ("stauts", "did you mean `status`?"),
            ("GET", "did you mean `get`?"),
            ("hlep", "did you mean `help`?"),
            ("login", "`docker-credential-quayfed help` says which there are"),
            ("", "`docker-credential-quayfed help` says which there are"),
        ] {
            let failure = unknown(word);
            assert_eq!(failure.cause(), format!("unknown command `{word}`"));
            assert_eq!(failure.hint(), hint, "{word}");
        }
    }

    #[test]
    fn the_parser_is_sound() {
        parser().debug_assert();
    }
}
