//! What a person sees when the program itself is wrong: a panic.

use std::panic::PanicHookInfo;

use rustix::stdio::{stderr, stdout};

use crate::cli::version;
use crate::failure::Failure;
use crate::protocol::{Answer, reserve, write_out};
use crate::world::{Clock as _, SystemClock};

/// From now on a panic ends the program as a failure does: cause and hint, exit code 1. What the
/// panic itself says is not shown, since a secret may stand in it. Where a living token was to be
/// renewed, that is the answer all the same (R34).
#[allow(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a client takes only 0 and 1, and an abort is neither"
)]
pub fn install() {
    std::panic::set_hook(Box::new(|panic| {
        let failed = Answer::Failed(failure(panic));
        write_out(stderr(), &failed.stderr());
        let answer = reserve::take(SystemClock.boot()).unwrap_or(failed);
        write_out(stdout(), &answer.stdout());
        std::process::exit(i32::from(answer.exit_code()));
    }));
}

fn failure(panic: &PanicHookInfo<'_>) -> Failure {
    let place = panic
        .location()
        .map_or_else(|| "an unknown place".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
    Failure::new(
        format!("internal error at {place}"),
        format!(
            "this is a bug in {}: please report this line to its maintainers, as CONTRIBUTING.md says",
            version()
        ),
    )
}
