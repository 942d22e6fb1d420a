//! What the cache holds, for people to see and to throw away. Nothing here is on the way of a `get`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::attempt::{Attempt, LockState};
use crate::cache::entry::{Entry, EntryKey};
use crate::cache::name::{Kind, Name};
use crate::files::describe;
use crate::robot::RobotName;
use crate::server::Server;

/// What is kept under one key: a token, what is remembered of failures, or both.
#[derive(Debug)]
pub struct Holding {
    /// What the names of its files begin with.
    pub stem: String,
    /// The rule that it is for.
    pub rule: Server,
    /// The robot that it is for.
    pub robot: String,
    /// The key, which only a token's file tells in full.
    pub key: Option<EntryKey>,
    /// The token with its life, Spent or not.
    pub entry: Option<Entry>,
    /// The last failure, if nothing has succeeded since.
    pub attempt: Option<Attempt>,
    /// Until which reading of the boot clock somebody means to be at work on it.
    pub held_until: Option<Duration>,
}

/// How many files of ours there are, of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Tokens.
    pub entries: usize,
    /// Lock files, with what they remember.
    pub locks: usize,
    /// Plans.
    pub plans: usize,
    /// Files that were being written.
    pub temporary: usize,
}

impl Files {
    /// All of them.
    pub const fn total(self) -> usize {
        self.entries + self.locks + self.plans + self.temporary
    }

    fn count(&mut self, kind: Kind) {
        *match kind {
            Kind::Entry => &mut self.entries,
            Kind::Lock | Kind::NextLock => &mut self.locks,
            Kind::Plan => &mut self.plans,
            Kind::Temporary => &mut self.temporary,
        } += 1;
    }
}

/// What came of emptying a cache.
#[derive(Debug, Default)]
pub struct Purged {
    /// What was removed.
    pub removed: Files,
    /// How many tokens stay because somebody is renewing them.
    pub in_use: usize,
    /// What could not be removed, and why.
    pub failed: Vec<String>,
}

impl Cache<'_> {
    /// Everything that is kept, by rule. What cannot be trusted counts as absent (R23).
    pub fn holdings(&self) -> Vec<Holding> {
        let names = self.folder.names();
        let mut holdings: Vec<_> =
            stems(&names).into_iter().filter_map(|stem| self.holding(stem)).collect();
        holdings.sort_by(|one, other| (&one.rule, &one.stem).cmp(&(&other.rule, &other.stem)));
        holdings
    }

    fn holding(&self, stem: &str) -> Option<Holding> {
        let (key, entry) = self.entry_in(&Name::beside(stem, Kind::Entry)).unzip();
        let (attempt, held_until) = match self.lock_state_in(&Name::beside(stem, Kind::Lock)) {
            LockState::Empty => (None, None),
            LockState::HeldUntil(until) => (None, Some(Duration::from_millis(until))),
            LockState::Failed(attempt) => (Some(attempt), None),
        };
        let (rule, robot) = match (&key, &attempt) {
            (Some(key), _) => (key.rule.clone(), key.robot.to_string()),
            (None, Some(attempt)) => {
                let robot = RobotName::parse(&attempt.robot).ok()?;
                (Server::parse(&attempt.rule).ok()?, robot.to_string())
            }
            (None, None) => return None,
        };
        Some(Holding { stem: stem.to_owned(), rule, robot, key, entry, attempt, held_until })
    }

    /// The files that [`purge`](Self::purge) would remove.
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        for name in self.folder.names() {
            files.count(name.kind());
        }
        files
    }

    /// Removes every file of ours, and no other. What somebody is renewing stays.
    pub fn purge(&self) -> Purged {
        let names = self.folder.names();
        let now = self.world.clock.wall();
        let mut purged = Purged::default();
        for stem in stems(&names) {
            self.purge_holding(stem, &names, &mut purged);
        }
        for name in &names {
            let is_meant = match name.kind() {
                Kind::Plan => true,
                // It may be that of whoever holds a lock.
                Kind::Temporary => purged.in_use == 0 || self.folder.is_leftover(name, now),
                Kind::Entry | Kind::Lock | Kind::NextLock => false,
            };
            if is_meant {
                self.purge_file(name, &mut purged);
            }
        }
        purged
    }

    fn purge_holding(&self, stem: &str, names: &[Name], purged: &mut Purged) {
        let lock_name = Name::beside(stem, Kind::Lock);
        // Held until all are gone: whoever comes meanwhile waits for us. Where locks do not work,
        // nobody can be waited for.
        let lock = self.folder.lock_file(&lock_name);
        if let Ok(lock) = &lock
            && (matches!(lock.try_lock(), Ok(false)) || !self.folder.is_named(lock, &lock_name))
        {
            purged.in_use += 1;
            return;
        }
        for name in [Kind::Entry, Kind::NextLock, Kind::Lock].map(|kind| Name::beside(stem, kind)) {
            if names.contains(&name) {
                self.purge_file(&name, purged);
            } else {
                let _ = self.folder.remove(&name);
            }
        }
    }

    fn purge_file(&self, name: &Name, purged: &mut Purged) {
        match self.folder.remove(name) {
            Ok(()) => purged.removed.count(name.kind()),
            Err(error) => purged.failed.push(format!("`{name}`: {}", describe(&error))),
        }
    }
}

/// What the names of entries and locks begin with.
fn stems(names: &[Name]) -> BTreeSet<&str> {
    let is_of_holding = |kind| matches!(kind, Kind::Entry | Kind::Lock | Kind::NextLock);
    names.iter().filter(|name| is_of_holding(name.kind())).map(Name::stem).collect()
}
