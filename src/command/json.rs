//! What commands print for scripts instead: one line with one object, as docs/scripts.md describes it.
//! Within a version fields are added; none is renamed or removed.

use serde::Serialize;

use crate::failure::Failure;
use crate::printable::JsonLine;

/// A failure.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    cause: &'a str,
    hint: &'a str,
}

impl<'a> Told<'a> {
    pub(super) fn of(failure: &'a Failure) -> Self {
        Self { cause: failure.cause(), hint: failure.hint() }
    }
}

/// The line.
pub(super) fn line(report: &impl Serialize) -> JsonLine {
    JsonLine::of(report)
}
