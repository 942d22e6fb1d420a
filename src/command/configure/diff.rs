//! What a change would do to a file, as a unified diff.

use std::path::Path;

use similar::{ChangeTag, TextDiff};

use crate::terminal::{Terminal, Tone};

/// Shows a change of a file; `None` is no file.
pub(super) fn show(
    terminal: &mut Terminal,
    path: &Path,
    before: Option<&str>,
    after: Option<&str>,
) {
    let name = |text: Option<&str>| {
        text.map_or_else(|| "/dev/null".into(), |_| path.display().to_string())
    };
    for (sign, text) in [("---", before), ("+++", after)] {
        let line = terminal.paint(Tone::Strong, format_args!("{sign} {}", name(text)));
        terminal.line(line);
    }
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
    for hunk in diff.unified_diff().iter_hunks() {
        let header = terminal.paint(Tone::Accent, hunk.header());
        terminal.line(header);
        for change in hunk.iter_changes() {
            let text = change.value().trim_end_matches(['\r', '\n']);
            let line = format!("{}{text}", change.tag());
            let line = match change.tag() {
                ChangeTag::Equal => line,
                ChangeTag::Delete => terminal.paint(Tone::Bad, line),
                ChangeTag::Insert => terminal.paint(Tone::Good, line),
            };
            // Tabs stay.
            terminal.write(&format!("{line}\n"));
            if change.missing_newline() {
                terminal.line("\\ No newline at end of file");
            }
        }
    }
}
