//! `completions`: made from the parser.

use clap::Args;
use clap_complete::Shell;

use crate::command::WELL;
use crate::protocol::PROGRAM;
use crate::terminal::Terminal;

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell that they are for: bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// Prints the completions.
pub(super) fn run(terminal: &mut Terminal, arguments: &Arguments, mut parser: clap::Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut parser, PROGRAM, &mut script);
    terminal.write(&String::from_utf8_lossy(&script));
    WELL
}
