//! What the commands print for scripts: each field of each form is described in docs/scripts.md.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::screens::check;

/// Holds what a command printed to the file of a screen, and to what docs/scripts.md says of it.
#[track_caller]
pub(crate) fn check_json(command: &str, name: &str, printed: &str) {
    check(name, printed);
    assert_eq!(printed.matches('\n').count(), 1, "one line: {printed}");
    let report: Value = serde_json::from_str(printed).expect("JSON");
    assert_eq!(report["version"], 1);
    check_described(command, &report);
}

/// Holds the names of all fields to the part of docs/scripts.md that is about a command.
#[track_caller]
pub(crate) fn check_described(command: &str, report: &Value) {
    let text = document();
    let heading = format!("## `{command} --json`\n");
    let part = text.split(&heading).nth(1).expect("a part").split("\n## ").next().expect("its end");
    let mut names = BTreeSet::new();
    names_of(report, &mut names);
    for name in names {
        assert!(part.contains(&format!("`{name}`")), "`{name}` of {command} is not described");
    }
}

pub(crate) fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scripts.md");
    fs::read_to_string(path).expect("docs/scripts.md")
}

fn names_of(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            names.extend(fields.keys().cloned());
            fields.values().for_each(|value| names_of(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| names_of(value, names)),
        _ => {}
    }
}
