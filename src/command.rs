//! The commands for people. One file each: what it takes (`Arguments`, from which parser, help,
//! completions and man page are made) and what it does (`run`).

use clap::Subcommand;

use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::world::World;

mod clients;
mod completions;
mod configure;
mod doctor;
mod identity;
mod init;
mod json;
mod man;
mod purge;
mod refresh;
mod status;
mod words;

/// Everything is as it should be.
pub const WELL: u8 = 0;
/// Something failed: the screen says what. Also the exit code of every [`Failure`].
pub const FAILED: u8 = 1;
/// The command was not called as its help says.
pub const MISUSED: u8 = 2;

/// A command for people.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put the helper into the files that podman, buildah, skopeo and docker read
    Configure(configure::Arguments),
    /// Write a commented configuration
    Init(init::Arguments),
    /// Walk the whole way of a pull, and say at each step what is wrong and what to change
    Doctor(doctor::Arguments),
    /// Print what to enter in Quay for the tokens of an identity
    Identity(identity::Arguments),
    /// Show what is cached, how long it lives, and what failed last
    Status(status::Arguments),
    /// Renew the tokens that are due
    Refresh(refresh::Arguments),
    /// Forget every cached token of yours
    Purge(purge::Arguments),
    /// Print the completions for a shell
    Completions(completions::Arguments),
    /// Print the manual page
    Man(man::Arguments),
}

/// Does what a command says and returns its exit code. `parser` is what the command line was read
/// with: completions and manual page are made from it.
pub fn run(
    world: &World,
    terminal: &mut Terminal,
    command: &Command,
    parser: clap::Command,
) -> Result<u8, Failure> {
    match command {
        Command::Configure(arguments) => configure::run(world, terminal, arguments),
        Command::Init(arguments) => init::run(world, terminal, arguments),
        Command::Doctor(arguments) => doctor::run(world, terminal, arguments),
        Command::Identity(arguments) => identity::run(world, terminal, arguments),
        Command::Status(arguments) => status::run(world, terminal, arguments),
        Command::Refresh(arguments) => refresh::run(world, terminal, arguments),
        Command::Purge(arguments) => purge::run(world, terminal, arguments),
        Command::Completions(arguments) => Ok(completions::run(terminal, arguments, &parser)),
        Command::Man(arguments) => man::run(terminal, arguments, parser),
    }
}
