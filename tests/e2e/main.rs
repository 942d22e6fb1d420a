//! The helper with the programs that its users have: `make e2e`.
//!
//! Each part is a file of its own and plays through what one of those programs does. The order of
//! reading: this file, [`report`], [`scene`], then the parts.

#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::disallowed_methods, reason = "a test reads its environment, the clock, and waits")]
#![allow(clippy::print_stdout, reason = "what this program is for is its table")]

mod apart;
mod report;
mod run;
mod scene;

mod by_hand;
#[path = "../../src/command/clients/cases.rs"]
mod cases;
mod docker;
mod files;
mod keycloak;
mod libraries;
mod podman;
mod refusals;
mod rootless;
mod skopeo;

use std::process::ExitCode;

use report::Report;

/// One program, or one way of using it, with all that is shown of it.
pub(crate) struct Part {
    /// What it is called on the command line and in the report.
    pub(crate) name: &'static str,
    /// What it cannot do without.
    pub(crate) needs: &'static [Need],
    /// Plays it, one operation after the other.
    pub(crate) run: fn(&mut Report),
}

/// What a machine may lack.
pub(crate) enum Need {
    /// A program on the PATH, and the Debian package that has it.
    Program(&'static str, &'static str),
    /// Root's rights, as root of the machine.
    Root,
    /// A mount namespace of one's own, where /etc and /run can be written to (see [`apart`]).
    Apart,
}

const PARTS: &[Part] = &[
    podman::PART,
    skopeo::PART,
    refusals::PART,
    rootless::PART,
    docker::PART,
    files::PART,
    libraries::PART,
    keycloak::PART,
    by_hand::PART,
];

fn main() -> ExitCode {
    // Whatever begins with a dash is for the harness that this is not.
    let asked_for: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(code) = apart::run_again_apart(&asked_for) {
        return code;
    }
    let mut report = Report::new();
    for part in PARTS.iter().filter(|part| is_asked_for(part, &asked_for)) {
        match missing(part) {
            Some(reason) => report.skip_part(part.name, &reason),
            None => report.play(part),
        }
    }
    if report.finish(quayfed_sandbox::nothing_may_be_skipped()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn is_asked_for(part: &Part, asked_for: &[String]) -> bool {
    asked_for.is_empty() || asked_for.iter().any(|name| part.name.contains(name.as_str()))
}

/// Why this machine cannot have a part.
fn missing(part: &Part) -> Option<String> {
    part.needs.iter().find_map(|need| match need {
        Need::Program(program, package) => run::which(program)
            .is_none()
            .then(|| format!("no program `{program}` here (Debian's package `{package}` has it)")),
        Need::Root => (!scene::is_root()).then(|| "it needs root".to_owned()),
        Need::Apart => apart::why_not(),
    })
}
