//! `docker-credential-quayfed`: a credential helper that turns an OIDC token into a robot token of
//! a Quay registry.
//!
//! Start at [`helper`], the story of the protocol, and [`robot_token`], the story of a refresh. A
//! module imports only from floors below its own, which a test holds to the table in
//! `docs/ARCHITECTURE.md`.

pub mod cache;
pub mod cli;
pub mod command;
pub mod config;
pub mod deadline;
pub mod digest;
pub mod failure;
pub mod files;
pub mod helper;
pub mod http;
pub mod identity;
pub mod internal_error;
pub mod jwt;
pub mod log;
pub mod moment;
pub mod ownership;
pub mod printable;
pub mod process;
pub mod protocol;
pub mod quay;
pub mod redaction;
pub mod robot;
pub mod robot_token;
pub mod secret;
pub mod server;
pub mod terminal;
pub mod world;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use cli::Command;
use deadline::Deadline;
use failure::Failure;
use http::HttpTransport;
use printable::Printable;
use protocol::{Answer, Asked, PROGRAM, read_to_end, write_out};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::isatty;
use terminal::{Looks, Terminal};
use world::World;

/// The time for standard input, until the rule and so its deadline is known.
const TIME_FOR_INPUT: Duration = Duration::from_secs(25);

/// Does what the arguments ask for, with the process's standard input, output and error, and
/// returns the exit code.
pub fn run(world: &World, arguments: &[OsString]) -> u8 {
    let began = world.clock.boot();
    let command = cli::parse(arguments);
    if let Some(failure) = ownership::caller_fault(world) {
        return finish(world, &refused(&command, failure), began);
    }
    let answer = match command {
        Command::Get => with_input(world, "get", began, |asked| {
            let transport = || Box::new(HttpTransport::new(world)) as Box<dyn http::Transport + '_>;
            helper::get(world, transport, asked, began)
        }),
        Command::Store => with_input(world, "store", began, |input| helper::store(world, input)),
        Command::Erase => {
            match with_input(world, "erase", began, |asked| helper::erase(world, asked)) {
                // podman crashes when an erase fails.
                Answer::Refused(_) | Answer::Failed(_) => Answer::Done,
                answer => answer,
            }
        }
        Command::List => helper::list(world),
        Command::Version => Answer::Text(cli::version()),
        Command::ForPeople(command) => return run_for_people(world, &command),
        Command::Parsed(error) => return tell_parsed(world, &error),
        Command::NoHelp(failure) => {
            write_out(stderr(), &Answer::Failed(failure).stderr());
            return command::MISUSED;
        }
        Command::Usage => Answer::Refused(cli::usage(looks(world).width)),
        Command::Misused(failure) => Answer::Miscalled(cli::usage(looks(world).width), failure),
        Command::Unknown(action) => Answer::Miscalled(
            printable::on_one_line(&format!("{PROGRAM}: unknown action: {action}")),
            cli::unknown(&action),
        ),
    };
    finish(world, &answer, began)
}

/// What is answered where nothing may be touched: podman crashes when an erase fails, and a list
/// never does.
fn refused(command: &Command, failure: Failure) -> Answer {
    match command {
        Command::Erase => Answer::Done,
        Command::List => Answer::list(&BTreeMap::new()),
        _ => Answer::Failed(failure),
    }
}

fn with_input(
    world: &World,
    verb: &str,
    began: Duration,
    answer: impl FnOnce(&str) -> Answer,
) -> Answer {
    let deadline = Deadline::after(began, TIME_FOR_INPUT);
    let tell_a_person = || {
        if isatty(stdin()) {
            write_out(stderr(), &Answer::Failed(no_input(verb, "yet")).stderr());
        }
    };
    match read_to_end(stdin(), deadline, || world.clock.boot(), tell_a_person) {
        Asked::Text(text) => answer(text.expose()),
        Asked::Unreadable => Answer::not_found(),
        Asked::TooLate => {
            Answer::Failed(no_input(verb, &format!("within {} s", TIME_FOR_INPUT.as_secs())))
        }
        Asked::NotWaitedFor(error) => Answer::Failed(not_waited_for(&error)),
    }
}

#[cold]
fn no_input(verb: &str, when: &str) -> Failure {
    let (what, hint) = match verb {
        "store" => ("credentials", "clients write them, as `docker login` does".to_owned()),
        _ => (
            "server name",
            format!("clients write it; by hand: echo quay.example.com | {PROGRAM} {verb}"),
        ),
    };
    Failure::new(format!("no {what} on standard input {when}"), hint)
}

#[cold]
fn not_waited_for(error: &std::io::Error) -> Failure {
    let cause = format!("standard input cannot be waited for ({})", files::describe(error));
    // What poll(2) refuses to look at is more than the process may have open, or there is no memory.
    Failure::new(cause, process::limits::Limit::OpenFiles.hint())
}

/// Kept apart, as [`tell_parsed`] is: a cached `get` would have more code to map and more stack to
/// touch.
#[cold]
fn run_for_people(world: &World, command: &command::Command) -> u8 {
    process::outlive_file_size_limit();
    let mut terminal = Terminal::of_process(variables(world));
    match command::run(world, &mut terminal, command, cli::parser()) {
        Ok(_) if terminal.is_broken() => command::FAILED,
        Ok(code) => code,
        Err(failure) => {
            let code = if failure.is_of_a_call() { command::MISUSED } else { command::FAILED };
            write_out(stderr(), &Answer::Failed(failure).stderr());
            code
        }
    }
}

fn looks(world: &World) -> Looks {
    Looks::of_stdout(variables(world))
}

fn variables(world: &World) -> impl Fn(&str) -> Option<String> {
    |name| world.environment.get(name).map(|value| value.to_string_lossy().into_owned())
}

/// Help goes to standard output and is all that was wanted; anything else is a misuse.
#[cold]
fn tell_parsed(world: &World, error: &clap::Error) -> u8 {
    if error.use_stderr() {
        write_out(stderr(), &Printable::lines(cli::told(error, looks(world))));
        return command::MISUSED;
    }
    let mut terminal = Terminal::of_process(variables(world));
    terminal.help(&cli::told(error, terminal.looks()));
    u8::from(terminal.is_broken())
}

fn finish(world: &World, answer: &Answer, began: Duration) -> u8 {
    let took = world.clock.boot().saturating_sub(began).as_millis();
    match answer {
        Answer::Failed(failure) | Answer::Anonymous(failure) | Answer::Unread(failure) => {
            world.error(format_args!("failed after {took} ms: {failure}"));
        }
        _ => world.info(format_args!("answered after {took} ms")),
    }
    write_out(stderr(), &answer.stderr());
    if write_out(stdout(), &answer.stdout()) { answer.exit_code() } else { 1 }
}
