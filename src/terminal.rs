//! Where a command for people writes: a terminal, with its width and its colours, or anything else,
//! with neither.

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};

use crate::failure::on_one_line;

/// The width of what is no terminal, and of one that does not say, in columns.
const USUAL_WIDTH: usize = 80;

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
    /// Whether somebody looks at it now: only then is anything written that is not meant to stay.
    pub is_terminal: bool,
    /// Whether it is coloured.
    pub has_colours: bool,
    /// How many columns it has.
    pub width: usize,
}

impl Looks {
    /// Those of standard output. `no_color` is whether `NO_COLOR` is set (<https://no-color.org>).
    pub fn of_stdout(no_color: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let width =
            rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        Self {
            is_terminal,
            has_colours: is_terminal && !no_color,
            width: if is_terminal && width > 0 { width } else { USUAL_WIDTH },
        }
    }
}

/// Where a command writes.
pub struct Terminal {
    output: Box<dyn Write>,
    looks: Looks,
    can_ask: bool,
    is_broken: bool,
}

impl Terminal {
    /// Standard output.
    pub fn of_process(no_color: bool) -> Self {
        let can_ask = io::stdin().is_terminal();
        Self { can_ask, ..Self::to(Box::new(io::stdout()), Looks::of_stdout(no_color)) }
    }

    /// Any other place, with given looks, where nobody can be asked.
    pub fn to(output: Box<dyn Write>, looks: Looks) -> Self {
        Self { output, looks, can_ask: false, is_broken: false }
    }

    /// How it looks.
    pub const fn looks(&self) -> Looks {
        self.looks
    }

    /// A text in a tone, where there are colours.
    pub fn paint(&self, tone: Tone, text: impl Display) -> String {
        if self.looks.has_colours {
            let style = tone.style();
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }

    /// Writes a line. What cannot be written is remembered, not told: nobody could read it.
    pub fn line(&mut self, text: impl Display) {
        self.write(&format!("{text}\n"));
    }

    /// Writes a text as it is.
    pub fn write(&mut self, text: &str) {
        let written = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        self.is_broken |= written.is_err();
    }

    /// Shows a line that the next one replaces; nothing where nobody looks.
    pub fn progress(&mut self, text: impl Display) {
        if self.looks.is_terminal {
            let text: String =
                on_one_line(&text.to_string()).chars().take(self.looks.width - 1).collect();
            self.write(&format!("\r\u{1b}[K{text}"));
        }
    }

    /// Takes the last progress away.
    pub fn end_progress(&mut self) {
        if self.looks.is_terminal {
            self.write("\r\u{1b}[K");
        }
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
        let question = format!("{question} [y/N] ");
        if self.looks.is_terminal {
            self.write(&question);
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
