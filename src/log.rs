//! What the helper tells of its steps, to whoever asked by `QUAYFED_LOG`.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

use crate::files;
use crate::printable::on_one_line;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What made an answer fail.
    Error,
    /// What went wrong without consequence for the answer.
    Warn,
    /// The steps of a `get` with their durations.
    Info,
    /// How each step was decided.
    Debug,
}

impl Level {
    /// The level's name in `QUAYFED_LOG`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug]
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(text.trim()))
    }
}

/// Where the steps are told, if at all.
#[derive(Debug)]
pub struct Log {
    level: Option<Level>,
    sink: RefCell<Sink>,
}

#[derive(Debug)]
enum Sink {
    Stderr,
    File(File),
    /// Kept for a test to read.
    Memory(Vec<String>),
}

impl Log {
    /// A log that says nothing.
    pub const fn silent() -> Self {
        Self { level: None, sink: RefCell::new(Sink::Memory(Vec::new())) }
    }

    /// A log that keeps its lines, for tests.
    pub const fn in_memory(level: Level) -> Self {
        Self { level: Some(level), sink: RefCell::new(Sink::Memory(Vec::new())) }
    }

    /// The log that `QUAYFED_LOG` and `QUAYFED_LOG_FILE` ask for. `owner` is the caller's user id,
    /// `now` the wall clock. Whatever is wrong with the two costs the log, never the answer.
    pub fn from_variables(
        level: Option<&OsStr>,
        file: Option<&OsStr>,
        owner: u32,
        now: Duration,
    ) -> Self {
        if level.is_none() && file.is_none() {
            return Self::silent();
        }
        let wanted = level.map(OsStr::to_string_lossy);
        let parsed = wanted.as_deref().and_then(Level::parse);
        let opened = file.map(|path| files::open_log(Path::new(path), owner));
        let (sink, fault) = match opened {
            None => (Sink::Stderr, None),
            Some(Ok(file)) => (Sink::File(file), None),
            Some(Err(_)) if level.is_none() => return Self::silent(),
            Some(Err(error)) => (Sink::Stderr, Some(files::describe(&error))),
        };
        let log = Self { level: Some(parsed.unwrap_or(Level::Info)), sink: RefCell::new(sink) };
        if let (Some(text), None) = (wanted, parsed) {
            let text = on_one_line(&text);
            log.write(
                Level::Warn,
                now,
                &format!(
                    "QUAYFED_LOG: `{text}` is no level, logging at `info` \
                     (`error`, `warn`, `info` or `debug`)"
                ),
            );
        }
        if let Some(fault) = fault {
            log.write(Level::Warn, now, &format!("QUAYFED_LOG_FILE is passed over: {fault}"));
        }
        log
    }

    /// Whether a line of this level would be written.
    pub fn tells(&self, level: Level) -> bool {
        self.level.is_some_and(|wanted| level <= wanted)
    }

    /// Writes one line, in one write, so that lines of processes side by side stay whole. `now` is
    /// the wall clock, since 1970. A log that cannot be written is not worth a failure.
    pub fn write(&self, level: Level, now: Duration, text: &dyn Display) {
        if !self.tells(level) {
            return;
        }
        let line = format!(
            "{} docker-credential-quayfed[{}] {}: {}\n",
            timestamp(now),
            std::process::id(),
            level.name(),
            on_one_line(&text.to_string()),
        );
        match &mut *self.sink.borrow_mut() {
            Sink::Stderr => drop(io::stderr().write_all(line.as_bytes())),
            Sink::File(file) => drop(file.write_all(line.as_bytes())),
            Sink::Memory(lines) => lines.push(line),
        }
    }

    /// The lines that an [`in_memory`](Self::in_memory) log has kept.
    pub fn lines(&self) -> Vec<String> {
        match &*self.sink.borrow() {
            Sink::Memory(lines) => lines.clone(),
            Sink::Stderr | Sink::File(_) => Vec::new(),
        }
    }
}

/// A reading of the wall clock in RFC 3339, UTC, to the millisecond.
pub fn timestamp(now: Duration) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map(|date| date + Duration::from_nanos(u64::from(now.subsec_nanos())))
        .and_then(|date| date.format(&format).ok())
        .unwrap_or_else(|| format!("{}s", now.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_and_text_and_stays_one_line() {
        let log = Log::in_memory(Level::Info);
        log.write(Level::Info, Duration::from_millis(1_764_000_000_250), &"a\nb");
        log.write(Level::Debug, Duration::ZERO, &"not told");
        let lines = log.lines();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("2025-11-24T16:00:00.250Z docker-credential-quayfed["));
        assert!(lines[0].ends_with("] info: a\\nb\n"), "{lines:?}");
    }

    #[test]
    fn a_level_is_read_in_any_case_and_nothing_else_is() {
        assert_eq!(Level::parse("DEBUG "), Some(Level::Debug));
        assert_eq!(Level::parse("verbose"), None);
    }
}
