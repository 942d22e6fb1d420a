//! Numbers and long lines, as a person reads them.

use std::fmt::Display;

use crate::failure::Failure;
use crate::printable::on_one_line;
use crate::protocol::PROGRAM;
use crate::terminal::{Terminal, Tone};

/// A number of things: `1 token`, `2 tokens`.
pub(super) fn count(number: usize, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{ending}")
}

/// Says that one of several things has to be named, and how for each.
pub(super) fn say_which(
    terminal: &mut Terminal,
    things: &str,
    command: &str,
    names: impl IntoIterator<Item: Display>,
) {
    terminal.line(format_args!("Several {things} are configured; say which:"));
    for name in names {
        let name = terminal.paint(Tone::Accent, name);
        terminal.line(format_args!("  {PROGRAM} {command} {name}"));
    }
}

/// Writes a text in lines that fit the terminal, each behind an indent.
pub(super) fn paragraph(
    terminal: &mut Terminal,
    tone: impl Into<Option<Tone>>,
    text: &str,
    indent: &str,
) {
    beside(terminal, indent, indent.chars().count(), tone, text);
}

/// Writes a text in lines that fit the terminal, behind a mark in a tone that stands behind an
/// indent.
pub(super) fn item(
    terminal: &mut Terminal,
    indent: &str,
    (tone_of_mark, mark): (impl Into<Option<Tone>>, &str),
    tone: impl Into<Option<Tone>>,
    text: &str,
) {
    let columns = indent.chars().count() + mark.chars().count() + 1;
    let mark = painted(terminal, tone_of_mark.into(), mark);
    beside(terminal, &format!("{indent}{mark} "), columns, tone, text);
}

/// Writes a text in lines that fit the terminal, the first behind a head of so many columns, the
/// others beneath the first.
fn beside(
    terminal: &mut Terminal,
    head: &str,
    columns: usize,
    tone: impl Into<Option<Tone>>,
    text: &str,
) {
    let (tone, margin) = (tone.into(), " ".repeat(columns));
    let lines = wrapped(&on_one_line(text), terminal.looks().width.saturating_sub(columns));
    for (number, line) in lines.into_iter().enumerate() {
        let before = if number == 0 { head } else { &margin };
        let line = painted(terminal, tone, &line);
        terminal.line(format!("{before}{line}"));
    }
}

fn painted(terminal: &Terminal, tone: Option<Tone>, text: &str) -> String {
    tone.map_or_else(|| text.to_owned(), |tone| terminal.paint(tone, text))
}

/// Writes a failure beneath what it is about: the cause, and what to do.
pub(super) fn failure(terminal: &mut Terminal, failure: &Failure, indent: &str) {
    paragraph(terminal, None, failure.cause(), indent);
    paragraph(terminal, Tone::Faint, &format!("hint: {}", failure.hint()), indent);
}

/// A text in lines of at most `width` characters, broken between words where that is possible.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + word.len() <= width {
            push(&mut lines, ' ', &word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.last_mut().into_iter().for_each(|line| line.extend(&word));
            lines.push(String::new());
            word = rest;
        }
        lines.last_mut().into_iter().for_each(|line| line.extend(&word));
    }
    lines
}

fn push(lines: &mut [String], separator: char, word: &[char]) {
    if let Some(line) = lines.last_mut() {
        line.push(separator);
        line.extend(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_broken_between_words_and_a_long_word_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a abcdefghij b", 4), ["a", "abcd", "efgh", "ij b"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
