//! The checklist: one line per step with its mark and its time, details below it, and what a script
//! reads instead.

use std::time::Duration;

use serde_json::{Value, json};

use crate::command::words::{item, paragraph, wrapped};
use crate::failure::Failure;
use crate::terminal::{Terminal, Tone};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Well.
    Good,
    /// Badly: a pull fails here.
    Bad,
    /// It cannot be known from here, or deserves a look.
    Unknown,
    /// It was not walked.
    Skipped,
}

impl Mark {
    const fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Unknown => "?",
            Self::Skipped => "–",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Good => Tone::Good,
            Self::Bad => Tone::Bad,
            Self::Unknown => Tone::Warning,
            Self::Skipped => Tone::Faint,
        }
    }

    /// Its name in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Good => "passed",
            Self::Bad => "failed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

/// A line below a step.
#[derive(Debug)]
pub(super) struct Detail {
    mark: Option<Mark>,
    text: String,
}

impl Detail {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { mark: None, text: text.into() }
    }

    /// Whether it has this mark.
    pub(super) fn is(&self, mark: Mark) -> bool {
        self.mark == Some(mark)
    }

    pub(super) fn marked(mark: Mark, text: impl Into<String>) -> Self {
        Self { mark: Some(mark), text: text.into() }
    }
}

/// One step of the way.
#[derive(Debug)]
pub(super) struct Step {
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// Its line.
    pub(super) title: String,
    /// How it ended.
    pub(super) mark: Mark,
    /// How long it took; nothing where it was not walked.
    pub(super) took: Option<Duration>,
    /// What was found.
    pub(super) details: Vec<Detail>,
    /// Why it failed, and what to change.
    pub(super) failure: Option<Failure>,
}

impl Step {
    /// A step that was not walked.
    pub(super) fn skipped(name: &'static str, title: &str) -> Self {
        Self {
            name,
            title: title.to_owned(),
            mark: Mark::Skipped,
            took: None,
            details: Vec::new(),
            failure: None,
        }
    }

    /// Shows it to a person.
    pub(super) fn show(&self, terminal: &mut Terminal) {
        let width = terminal.looks().width;
        let time = self.took.map(in_words).unwrap_or_default();
        let room = width.saturating_sub(3 + time.chars().count());
        let mut sign = terminal.paint(self.mark.tone(), self.mark.sign());
        for (number, line) in wrapped(&self.title, room).into_iter().enumerate() {
            let gap = if number == 0 && !time.is_empty() {
                let gap = room.saturating_sub(line.chars().count()) + 1;
                " ".repeat(gap) + &terminal.paint(Tone::Faint, &time)
            } else {
                String::new()
            };
            let line = match self.mark {
                Mark::Skipped => terminal.paint(Tone::Faint, line),
                Mark::Bad => terminal.paint(Tone::Strong, line),
                _ => line,
            };
            terminal.line(format_args!("{sign} {line}{gap}"));
            " ".clone_into(&mut sign);
        }
        for detail in &self.details {
            show_detail(terminal, detail);
        }
        if let Some(failure) = &self.failure {
            paragraph(terminal, None, failure.cause(), "    ");
            let hint = format!("hint: {}", failure.hint());
            for (number, line) in wrapped(&hint, width.saturating_sub(4)).into_iter().enumerate() {
                let line = match line.strip_prefix("hint:") {
                    Some(rest) if number == 0 => terminal.paint(Tone::Accent, "hint:") + rest,
                    _ => line,
                };
                terminal.line(format_args!("    {line}"));
            }
        }
    }

    /// What a script reads.
    pub(super) fn as_json(&self) -> Value {
        let details: Vec<Value> = self
            .details
            .iter()
            .map(|detail| json!({"mark": detail.mark.map(Mark::name), "text": detail.text}))
            .collect();
        json!({
            "name": self.name,
            "result": self.mark.name(),
            "title": self.title,
            "milliseconds": self.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            "details": details,
            "cause": self.failure.as_ref().map(Failure::cause),
            "hint": self.failure.as_ref().map(Failure::hint),
        })
    }
}

fn show_detail(terminal: &mut Terminal, detail: &Detail) {
    let tone = match detail.mark {
        None | Some(Mark::Good | Mark::Skipped) => Some(Tone::Faint),
        Some(_) => None,
    };
    match detail.mark {
        Some(mark) => item(terminal, "    ", (mark.tone(), mark.sign()), tone, &detail.text),
        None => paragraph(terminal, tone, &detail.text, "    "),
    }
}

/// A duration as a person reads it.
fn in_words(took: Duration) -> String {
    let milliseconds = took.as_millis();
    if milliseconds < 1000 {
        format!("{milliseconds} ms")
    } else {
        format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_milliseconds_or_seconds() {
        assert_eq!(in_words(Duration::from_millis(999)), "999 ms");
        assert_eq!(in_words(Duration::from_millis(1290)), "1.2 s");
    }
}
