//! What a person is told when something failed: one line with the cause, one with what to do.

use std::fmt;
use std::time::Duration;

use crate::printable::on_one_line;

/// A failure in words: `cause` says what failed, with the value at fault in backticks; `hint`
/// says what to change, and where. Both are one line without a final full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    cause: String,
    hint: String,
    is_misuse: bool,
}

impl Failure {
    /// A failure whose texts are kept to one line each: whatever was in a value, it cannot forge
    /// a second line in a log.
    pub fn new(cause: impl AsRef<str>, hint: impl AsRef<str>) -> Self {
        Self { cause: shortened(cause.as_ref()), hint: shortened(hint.as_ref()), is_misuse: false }
    }

    /// The same, of a command that was not called as its help says.
    #[must_use]
    pub fn of_a_call(self) -> Self {
        Self { is_misuse: true, ..self }
    }

    /// Whether a command was not called as its help says.
    pub const fn is_of_a_call(&self) -> bool {
        self.is_misuse
    }

    /// What failed.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cause)
    }
}

impl std::error::Error for Failure {}

/// How a step of a refresh failed, for whoever decides what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The failure in words.
    pub failure: Failure,
    /// What kind it is.
    pub kind: StepFailureKind,
    /// When the server asked to be left alone until: its Retry-After.
    pub retry_after: Option<Duration>,
}

/// The kinds of failure that something follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepFailureKind {
    /// Nothing was sent: the fault is on this host, and asking again costs nothing.
    Local,
    /// A server was asked, and it failed or refused.
    Network,
    /// The time for the step was over.
    Timeout,
    /// Quay does not know the robot.
    RobotUnknown,
}

impl StepFailure {
    /// A failure before anything was sent.
    pub const fn local(failure: Failure) -> Self {
        Self { failure, kind: StepFailureKind::Local, retry_after: None }
    }

    /// A failure of, or on the way to, a server.
    pub const fn network(failure: Failure) -> Self {
        Self { failure, kind: StepFailureKind::Network, retry_after: None }
    }
}

/// The longest line that a person is shown, in characters: longer ones come from a value that
/// somebody else chose.
const LONGEST: usize = 600;

fn shortened(text: &str) -> String {
    let text = on_one_line(text);
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_nobody_would_read_on() {
        let failure = Failure::new("ä".repeat(10_000), "b".repeat(600));
        assert_eq!(failure.cause().chars().count(), 601);
        assert_eq!(failure.hint(), "b".repeat(600));
    }

    #[test]
    fn a_value_with_line_breaks_and_escapes_stays_on_one_line() {
        let failure = Failure::new("a\nb\u{1b}[31m\u{202e}c", "d\r\n");
        assert_eq!(failure.cause(), "a\\nb\\u{1b}[31m\\u{202e}c");
        assert_eq!(failure.hint(), "d");
    }
}
