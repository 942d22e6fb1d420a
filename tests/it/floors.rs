//! Modules import downwards only: the table in docs/ARCHITECTURE.md is the law.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The floor of each module, by the rows of the table: floor, modules in backticks, words.
fn floors() -> BTreeMap<String, u32> {
    let text =
        fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md");
    let mut floors = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let (Some(Ok(floor)), Some(modules)) = (cells.next().map(str::parse), cells.next()) else {
            continue;
        };
        for module in modules.split('`').skip(1).step_by(2) {
            assert!(floors.insert(module.to_owned(), floor).is_none(), "{module} has two floors");
        }
    }
    floors
}

pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level module that a file under src belongs to.
fn module_of(path: &Path) -> String {
    let path = path.strip_prefix(root().join("src")).expect("under src").with_extension("");
    let first = path.components().next().expect("a component");
    first.as_os_str().to_string_lossy().into_owned()
}

/// The top-level modules that a source text names behind `crate::`.
fn imports(text: &str) -> Vec<String> {
    let mut imports = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split("};").next().unwrap_or(list);
            let mut depth = 0;
            for item in list.split_inclusive([',', '{', '}']) {
                if depth == 0 {
                    imports.push(
                        item.trim()
                            .split([':', ',', '{', '}', ' '])
                            .next()
                            .unwrap_or("")
                            .to_owned(),
                    );
                }
                depth += item.matches('{').count();
                depth = depth.saturating_sub(item.matches('}').count());
            }
        } else {
            imports.push(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or("")
                    .to_owned(),
            );
        }
    }
    imports.retain(|import| !import.is_empty());
    imports
}

#[test]
fn modules_import_from_lower_floors_only() {
    let floors = floors();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 20, "src was not found");
    let mut upwards = Vec::new();
    for path in files {
        let module = module_of(&path);
        if module == "main" || module == "lib" {
            continue;
        }
        let floor = floors.get(&module).unwrap_or_else(|| panic!("{module} has no floor"));
        for import in imports(&fs::read_to_string(&path).expect("a source")) {
            let Some(of) = floors.get(&import) else {
                panic!("{} imports `{import}`, which has no floor", path.display())
            };
            if import != module && of >= floor {
                upwards.push(format!("{} [{floor}] imports {import} [{of}]", path.display()));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn what_an_import_names_is_found_in_every_form() {
    let text = "use crate::a::B;\nuse crate::{c, d::{E, F}, g::H};\nfn x() { crate::i::j() }";
    assert_eq!(imports(text), ["a", "c", "d", "g", "i"]);
}

#[test]
fn each_library_stays_behind_its_one_module() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for (library, only) in [("reqwest", "http"), ("fs2::", "files"), ("directories::", "world")] {
        for path in &files {
            let text = fs::read_to_string(path).expect("a source");
            let names_it = text
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains(library));
            assert!(!names_it || module_of(path) == only, "{} names {library}", path.display());
        }
    }
}
