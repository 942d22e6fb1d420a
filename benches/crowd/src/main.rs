//! `crowd INPUT RUNS IN_FLIGHT PROGRAM [ARGUMENT...]`: runs a program so many times, each run with
//! the file INPUT as its standard input and this program's output as its own, and so many of them at
//! once. Fails if any run fails.
//!
//! A process of its own and linked to musl, since glibc's `posix_spawn` makes some 130
//! system calls for every process, and a small program forks faster than a large one.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::process::{Command, ExitCode};

use rustix::process::{WaitOptions, wait};

const USAGE: &str = "usage: crowd INPUT RUNS IN_FLIGHT PROGRAM [ARGUMENT...]";

fn main() -> ExitCode {
    match run(&env::args_os().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<(), Box<dyn Error>> {
    let [input, runs, in_flight, program, rest @ ..] = arguments else { return Err(USAGE.into()) };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<usize>().ok());
    let (runs, most) = number(runs).zip(number(in_flight)).ok_or(USAGE)?;
    let mut command = Command::new(program);
    command.args(rest);
    let (mut started, mut ended) = (0, 0);
    while ended < runs {
        while started < runs && started - ended < most {
            // Which child ends first is not known: they are waited for together, by number.
            drop(command.stdin(File::open(input)?).spawn()?);
            started += 1;
        }
        let status = wait(WaitOptions::empty())?.ok_or("no child")?.1;
        if status.exit_status() != Some(0) {
            return Err(format!("{} failed: {status:?}", program.display()).into());
        }
        ended += 1;
    }
    Ok(())
}
