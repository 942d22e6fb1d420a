//! Where a command for people writes: a terminal, with its width and its colours, or anything else,
//! with neither.

use std::collections::hash_map::RandomState;
use std::fmt::Display;
use std::hash::BuildHasher as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};

use crate::printable::{JsonLine, Printable, one_line};

/// The width of what is no terminal, and of one that does not say, in columns.
const USUAL_WIDTH: usize = 80;
const ESCAPE: &str = "\u{1b}";

/// What a piece of text is, for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Something failed.
    Bad,
    /// Something deserves a look.
    Warning,
    /// Less important than what stands around it.
    Faint,
    /// A heading.
    Strong,
    /// What was asked about: a registry, a file.
    Accent,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Accent => AnsiColor::Cyan.on_default(),
        }
    }
}

/// How a terminal looks and behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Whether somebody looks at it now, and a line can be taken away again: only then is anything
    /// written that is not meant to stay.
    pub is_terminal: bool,
    /// Whether it is coloured.
    pub has_colours: bool,
    /// Whether it shows nothing but ASCII.
    pub is_ascii: bool,
    /// How many columns it has.
    pub width: usize,
}

impl Looks {
    /// Those of standard output. `variable` reads the environment: `NO_COLOR`
    /// (<https://no-color.org>), `TERM` and the locale count.
    pub fn of_stdout(variable: impl Fn(&str) -> Option<String>) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let width =
            rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        let can_move = is_terminal && variable("TERM").is_none_or(|name| name != "dumb");
        Self {
            is_terminal: can_move,
            has_colours: can_move && variable("NO_COLOR").is_none(),
            is_ascii: is_ascii(variable),
            width: if is_terminal && width > 0 { width } else { USUAL_WIDTH },
        }
    }
}

/// Whether the locale is none of UTF-8. Where none is set at all, as for services and in containers,
/// nothing is known of who reads, and nearly everything shows UTF-8.
fn is_ascii(variable: impl Fn(&str) -> Option<String>) -> bool {
    let mut set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
    let locale = set.find(|value| !value.is_empty()).map(|value| value.to_ascii_lowercase());
    locale.is_some_and(|locale| !locale.contains("utf-8") && !locale.contains("utf8"))
}

/// Where a command writes. What it writes is [`Printable`]: here it is made so, and only the colours
/// of [`Terminal::paint`] stay.
pub struct Terminal {
    output: Box<dyn Write>,
    looks: Looks,
    /// What begins a colour of ours in a text, drawn anew for each terminal: no value can hold it.
    mark: String,
    can_ask: bool,
    is_broken: bool,
}

impl Terminal {
    /// Standard output. `variable` reads the environment.
    pub fn of_process(variable: impl Fn(&str) -> Option<String>) -> Self {
        let can_ask = io::stdin().is_terminal();
        Self { can_ask, ..Self::to(Box::new(io::stdout()), Looks::of_stdout(variable)) }
    }

    /// Any other place, with given looks, where nobody can be asked.
    pub fn to(output: Box<dyn Write>, looks: Looks) -> Self {
        let mark = format!("{ESCAPE}{:016x}", RandomState::new().hash_one(()));
        Self { output, looks, mark, can_ask: false, is_broken: false }
    }

    /// How it looks.
    pub const fn looks(&self) -> Looks {
        self.looks
    }

    /// A text in a tone, where there are colours: for [`Terminal::line`] and [`Terminal::write`].
    pub fn paint(&self, tone: Tone, text: impl Display) -> String {
        if self.looks.has_colours {
            let style = tone.style();
            let ours = |code: String| code.replace(ESCAPE, &self.mark);
            let (begin, end) = (style.render().to_string(), style.render_reset().to_string());
            format!("{}{text}{}", ours(begin), ours(end))
        } else {
            text.to_string()
        }
    }

    /// Writes a line. What cannot be written is remembered, not told: nobody could read it.
    pub fn line(&mut self, text: impl Display) {
        let text = format!("{}\n", self.shown(&text.to_string(), Self::one_line));
        self.write_out(&text);
    }

    /// Writes lines.
    pub fn write(&mut self, text: &str) {
        let text = self.shown(text, |_, text| Printable::lines(text).as_str().to_owned());
        self.write_out(&text);
    }

    /// Writes a help, which has colours of its own and no value of anybody's.
    pub fn help(&mut self, text: &str) {
        let text = text.replace(ESCAPE, &self.mark);
        self.write(&text);
    }

    /// Writes a line of JSON.
    pub fn json(&mut self, line: &JsonLine) {
        self.write_out(line.as_str());
    }

    /// Shows a line that the next one replaces; nothing where nobody looks.
    pub fn progress(&mut self, text: impl Display) {
        if self.looks.is_terminal {
            let text = self.one_line(&text.to_string());
            let text: String = text.chars().take(self.looks.width - 1).collect();
            self.write_out(&format!("\r\u{1b}[K{text}"));
        }
    }

    /// Takes the last progress away.
    pub fn end_progress(&mut self) {
        if self.looks.is_terminal {
            self.write_out("\r\u{1b}[K");
        }
    }

    fn write_out(&mut self, text: &str) {
        let written = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        self.is_broken |= written.is_err();
    }

    /// A text with the colours of ours as the terminal knows them, and `made` of all the rest.
    fn shown(&self, text: &str, made: fn(&Self, &str) -> String) -> String {
        let mut pieces = text.split(&self.mark);
        let first = pieces.next().map(|text| made(self, text)).unwrap_or_default();
        pieces.fold(first, |shown, piece| {
            let (code, text) = piece.split_at(piece.find('m').map_or(0, |at| at + 1));
            shown + ESCAPE + code + &made(self, text)
        })
    }

    fn one_line(&self, text: &str) -> String {
        let text = one_line(text);
        if self.looks.is_ascii { in_ascii(&text) } else { text.into_owned() }
    }

    /// Whether somebody can be asked: whether it is a terminal that answers come from.
    pub const fn can_ask(&self) -> bool {
        self.can_ask
    }

    /// Asks a question that only `y` or `yes` agrees to; `false` where nobody can be asked. What is
    /// written into a file or a pipe is no question that anybody sees: then standard error has it.
    pub fn agrees(&mut self, question: &str) -> bool {
        if !self.can_ask {
            return false;
        }
        let question = self.one_line(&format!("{question} [y/N] "));
        if self.looks.is_terminal {
            self.write_out(&question);
        } else {
            let _ = io::stderr().write_all(question.as_bytes());
        }
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Whether something could not be written: then the command has failed.
    pub const fn is_broken(&self) -> bool {
        self.is_broken
    }
}

/// A text in ASCII: our own signs have others there, and values are escaped.
fn in_ascii(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '✓' => shown.push('+'),
            '✗' => shown.push('x'),
            '–' => shown.push('-'),
            '→' => shown.push('>'),
            '█' => shown.push('#'),
            '░' => shown.push('.'),
            '…' => shown.push_str("..."),
            other if other.is_ascii() => shown.push(other),
            other => shown.extend(other.escape_unicode()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r42_a_locale_that_is_set_and_has_no_utf8_is_ascii() {
        for (variables, wanted) in [
            (&[][..], false),
            (&[("LANG", "C")], true),
            (&[("LANG", "POSIX")], true),
            (&[("LANG", "C.UTF-8")], false),
            (&[("LANG", "de_DE.utf8")], false),
            (&[("LANG", "de_DE.ISO-8859-1")], true),
            (&[("LANG", "C"), ("LC_CTYPE", "en_US.UTF-8")], false),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], true),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "")], false),
            (&[("LANG", "")], false),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(is_ascii(variable), wanted, "{variables:?}");
        }
        assert_eq!(in_ascii("✓ a – ✗ ä…"), "+ a - x \\u{e4}...");
    }
}
