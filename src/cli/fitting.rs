//! Help in lines that fit the terminal. clap can do so by another dependency, but it would break the
//! commands that are there to be copied, and no list below its options.

use crate::protocol::PROGRAM;

/// Wider lines are hard to read, however wide the terminal is, in columns.
const WIDEST: usize = 80;
/// What must be left for a text beside its term; otherwise it goes on beneath the term, behind
/// [`INDENT`].
const NARROWEST_TEXT: usize = 24;
const INDENT: usize = 4;

/// A help text, with or without escape codes, in lines of at most `width` columns. A paragraph is
/// filled; a text behind a term and two blanks goes on beneath where it began; commands stay whole.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let mut fitted = String::new();
    for paragraph in paragraphs(text) {
        paragraph.write(&mut fitted, width.min(WIDEST));
    }
    fitted
}

/// What may be broken anew.
struct Paragraph {
    text: String,
    /// Where its first line begins.
    indent: usize,
    /// Where the others begin.
    hang: usize,
    is_command: bool,
}

fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let line = Paragraph::of(line, goes_on);
        goes_on = line.text.ends_with(['\\', '|']);
        match paragraphs.last_mut() {
            Some(last) if last.goes_on_with(&line) => {
                last.text.push(' ');
                last.text.push_str(line.text.trim_start());
            }
            _ => paragraphs.push(line),
        }
    }
    paragraphs
}

impl Paragraph {
    fn of(line: &str, goes_on: bool) -> Self {
        let shown = without_escapes(line);
        let text = shown.trim_start();
        let indent = columns(&shown) - columns(text);
        let hang = match text.split_once("  ") {
            Some((_, rest)) => columns(&shown) - columns(rest.trim_start()),
            None => indent,
        };
        let is_command = goes_on || indent > 0 && (text.contains(PROGRAM) || text.ends_with('\\'));
        Self { text: line.trim_end().to_owned(), indent, hang, is_command }
    }

    fn goes_on_with(&self, next: &Self) -> bool {
        let has_term = self.hang > self.indent;
        !self.text.is_empty()
            && !next.text.is_empty()
            && !self.is_command
            && !next.is_command
            && next.indent == self.hang
            && (has_term || self.indent == 0)
    }

    fn write(&self, fitted: &mut String, width: usize) {
        let has_room = self.hang == self.indent || self.hang + NARROWEST_TEXT <= width;
        let hang = if has_room { self.hang } else { self.indent + INDENT };
        let mut used = 0;
        for (number, word) in self.text.split(' ').enumerate() {
            let columns = columns(&without_escapes(word));
            if number > 0 && used > hang && used + 1 + columns > width && !self.is_command {
                fitted.truncate(fitted.trim_end().len());
                fitted.push('\n');
                fitted.push_str(&" ".repeat(hang));
                used = hang;
            } else if number > 0 {
                fitted.push(' ');
                used += 1;
            }
            fitted.push_str(word);
            used += columns;
        }
        fitted.push('\n');
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

fn without_escapes(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_lists_are_filled_and_commands_stay_whole() {
        let text = "\
Some words that are in two
lines.

States:
  fresh   it is what a pull is
          given
  aging   due, and so on and on

For example:
  echo quay.example.com | docker-credential-quayfed get
  a \\
    --client-secret-file /etc/quayfed/client-secret
";
        assert_eq!(
            fitted(text, 34),
            "\
Some words that are in two lines.

States:
  fresh   it is what a pull is
          given
  aging   due, and so on and on

For example:
  echo quay.example.com | docker-credential-quayfed get
  a \\
    --client-secret-file /etc/quayfed/client-secret
"
        );
        assert_eq!(
            fitted(text, 20).lines().take(12).collect::<Vec<_>>().join("\n"),
            "\
Some words that are
in two lines.

States:
  fresh   it is what
      a pull is
      given
  aging   due, and
      so on and on

For example:
  echo quay.example.com | docker-credential-quayfed get"
        );
        assert_eq!(fitted(text, 200), fitted(text, 80));
    }

    #[test]
    fn escape_codes_take_no_room() {
        let text = "  \u{1b}[1m--jobs\u{1b}[0m  How many tokens to renew now\n";
        assert_eq!(
            fitted(text, 34),
            "  \u{1b}[1m--jobs\u{1b}[0m  How many tokens to renew\n          now\n"
        );
    }
}
