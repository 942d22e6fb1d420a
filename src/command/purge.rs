//! `purge`: forgets every cached token of the caller's.

mod json;

use clap::Args;

use crate::cache::Cache;
use crate::cache::inventory::{Files, Holding, Purged};
use crate::command::words::{count, paragraph};
use crate::command::{FAILED, WELL};
use crate::failure::Failure;
use crate::quay::verdict::span;
use crate::terminal::{Terminal, Tone};
use crate::world::World;

/// What `purge` takes.
#[derive(Debug, Args)]
#[command(after_long_help = MEANING)]
pub struct Arguments {
    /// Do not ask [default: ask where standard input is a terminal, else remove nothing]
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON object, version 1 of its form, and ask nobody [default: words]
    #[arg(long)]
    json: bool,
}

const MEANING: &str = "\
Removed are the files that this program makes in the cache directory: tokens,
lock files, plans, and what was being written. Other files there stay, and so
does the directory, and what another process is renewing at the moment. Without
QUAYFED_CACHE_DIR, every place that may have served as the cache is emptied.

The next pull gets a new token. Quay takes a token that somebody already has
until its hour is over, whatever is removed here.

Exit codes:
  0  everything is removed, or there was nothing
  1  nothing is removed, since nobody agreed to it, or something stayed
  2  not called as this help says

--json is described in docs/scripts.md of the documentation.";

/// Forgets them.
pub(super) fn run(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let caches: Vec<_> =
        Cache::existing(world).into_iter().filter(|cache| cache.files().total() > 0).collect();
    if arguments.json {
        return run_for_scripts(terminal, &caches, arguments.yes);
    }
    if caches.is_empty() {
        terminal.line("Nothing is cached.");
        return Ok(WELL);
    }
    for cache in &caches {
        show(world, terminal, cache);
    }
    if !arguments.yes {
        if !terminal.can_ask() {
            return Err(Failure::new(
                "nothing is removed: standard input is no terminal, so nobody can be asked",
                "add `--yes` to do it without asking",
            ));
        }
        if !terminal.agrees("Remove all of this?") {
            terminal.line("Nothing is removed.");
            return Ok(FAILED);
        }
    }
    let mut has_stayed = false;
    for cache in &caches {
        let purged = cache.purge();
        terminal.line(format!("removed: {}", told(purged.removed)));
        if purged.in_use > 0 {
            let verb = if purged.in_use == 1 { "is" } else { "are" };
            let text = format!(
                "{} {verb} being renewed by another process and stays: try again in a moment",
                count(purged.in_use, "token")
            );
            paragraph(terminal, Tone::Warning, &text, "");
        }
        for fault in &purged.failed {
            paragraph(terminal, Tone::Bad, &format!("could not be removed: {fault}"), "");
        }
        has_stayed |= has_left_something(&purged);
    }
    Ok(if has_stayed { FAILED } else { WELL })
}

/// A cache, with what was in it and what became of that.
struct Emptied {
    path: String,
    found: Files,
    purged: Purged,
}

fn run_for_scripts(
    terminal: &mut Terminal,
    caches: &[Cache<'_>],
    is_agreed: bool,
) -> Result<u8, Failure> {
    let emptied: Vec<_> = caches
        .iter()
        .map(|cache| Emptied {
            path: cache.path().display().to_string(),
            found: cache.files(),
            purged: if is_agreed { cache.purge() } else { Purged::default() },
        })
        .collect();
    terminal.json(&json::of(&emptied));
    if !is_agreed && !emptied.is_empty() {
        return Err(Failure::new(
            "nothing is removed: with `--json` nobody is asked",
            "add `--yes` to do it",
        ));
    }
    let has_stayed = emptied.iter().any(|cache| has_left_something(&cache.purged));
    Ok(if has_stayed { FAILED } else { WELL })
}

const fn has_left_something(purged: &Purged) -> bool {
    purged.in_use > 0 || !purged.failed.is_empty()
}

fn show(world: &World, terminal: &mut Terminal, cache: &Cache<'_>) {
    paragraph(terminal, Tone::Accent, &cache.path().display().to_string(), "");
    paragraph(terminal, None, &told(cache.files()), "  ");
    let now = world.now();
    for Holding { rule, robot, entry, .. } in cache.holdings() {
        if let Some(entry) = entry {
            let text = format!("{rule} as {robot}, {} left", span(entry.left(now).as_secs()));
            paragraph(terminal, Tone::Faint, &text, "    ");
        }
    }
}

/// What there is, in words.
fn told(files: Files) -> String {
    let kinds = [
        (files.entries, "token"),
        (files.locks, "lock file"),
        (files.plans, "plan"),
        (files.temporary, "temporary file"),
    ];
    let told: Vec<_> = kinds
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| count(number, what))
        .collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
}
