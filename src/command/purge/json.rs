//! `purge --json`: version 1 of its form.

use serde::Serialize;

use super::Emptied;
use crate::cache::inventory;
use crate::command::json::line;
use crate::printable::JsonLine;

const VERSION: u32 = 1;

/// What there was, and what became of it.
pub(super) fn of(caches: &[Emptied]) -> JsonLine {
    line(&Report { version: VERSION, caches: caches.iter().map(Cache::of).collect() })
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    caches: Vec<Cache<'a>>,
}

#[derive(Serialize)]
struct Cache<'a> {
    path: &'a str,
    found: Files,
    removed: Files,
    in_use: usize,
    failed: &'a [String],
}

#[derive(Serialize)]
struct Files {
    tokens: usize,
    locks: usize,
    plans: usize,
    temporary: usize,
}

impl<'a> Cache<'a> {
    fn of(cache: &'a Emptied) -> Self {
        Self {
            path: &cache.path,
            found: Files::of(cache.found),
            removed: Files::of(cache.purged.removed),
            in_use: cache.purged.in_use,
            failed: &cache.purged.failed,
        }
    }
}

impl Files {
    const fn of(files: inventory::Files) -> Self {
        Self {
            tokens: files.entries,
            locks: files.locks,
            plans: files.plans,
            temporary: files.temporary,
        }
    }
}
