//! The cached token: whether a `get` would answer it now, and whether the registry accepts it.

use std::time::Duration;

use super::report::Mark;
use super::{Failed, Passed, TIME_FOR_REGISTRY, Walk};
use crate::cache::entry::Entry;
use crate::cache::freshness::{Freshness, Schedule};
use crate::cache::{self, Cache};
use crate::config::settings::Rule;
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::protocol::PROGRAM;
use crate::quay::v2_auth::{self, Challenge, NotLoggedIn, Scope};
use crate::quay::verdict::{instant, span};
use crate::robot_token::Circumstances;
use crate::secret::Secret;
use crate::world::World;

/// What the cache has for a rule.
pub(super) enum Cached {
    /// Nothing that a `get` would answer, for this reason.
    Nothing(&'static str),
    /// A token that a `get` would answer, at once or where it cannot be renewed.
    Entry(Answerable),
}

/// A token that a `get` would answer.
pub(super) struct Answerable {
    entry: Entry,
    freshness: Freshness,
    /// What is left until a `get` does not answer it any more.
    left: Duration,
}

/// A token that a `get` would answer and that the registry accepts.
pub(super) struct Living {
    pub(super) token: Secret<String>,
    /// When a `get` stops answering it, in seconds since 1970.
    pub(super) until: i64,
    /// How long that is.
    pub(super) left: Duration,
}

/// Looks into the cache that a `get` would use. Where what is at hand for it cannot be read, a `get`
/// fails before it looks there, and a later step tells.
pub(super) fn find(world: &World, rule: &Rule) -> Cached {
    let nothing = Cached::Nothing("none, so the next pull gets a new one");
    let Some((place, None)) = cache::places(world).pop() else { return nothing };
    let cache = Cache::existing(world).into_iter().find(|cache| cache.path() == place);
    let (Some(cache), Ok(circumstances)) = (cache, Circumstances::of(world, rule)) else {
        return nothing;
    };
    let Some(entry) = cache.entry(&circumstances.key) else { return nothing };
    let now = world.now();
    let spent = Schedule::of(entry.lifetime, rule.min_validity, entry.spread).spent;
    let left = entry.left(now).saturating_sub(spent);
    match entry.freshness(rule.min_validity, now) {
        Freshness::Spent => Cached::Nothing("expired, so the next pull gets a new one"),
        freshness => Cached::Entry(Answerable { entry, freshness, left }),
    }
}

impl Answerable {
    /// Presents it to the registry as a client does.
    pub(super) fn try_at(
        self,
        walk: &Walk<'_>,
        rule: &Rule,
        challenge: &Challenge,
    ) -> Result<Passed<Option<Living>>, Failed> {
        let boot = walk.world.clock.boot();
        let deadline = Deadline::after(boot, TIME_FOR_REGISTRY);
        let (world, token, scope) = (walk.world, &self.entry.token, Scope::Login);
        let tried = v2_auth::log_in(world, walk.observed, rule, challenge, token, scope, deadline);
        match tried {
            Ok(_) => {
                let age = match self.freshness {
                    Freshness::Fresh => "a pull uses it as it is",
                    _ => "due for renewal, and used as it is where that fails",
                };
                let until = self.until(world);
                let lasts =
                    format!("it lasts until {} (in {})", instant(until), self.left_in_words());
                let passed = Passed::new(
                    Some(Living { until, left: self.left, token: self.entry.token }),
                    "Cached token: the registry accepts it",
                );
                Ok(passed.with(age).with(lasts))
            }
            Err(NotLoggedIn { is_token_dead: true, .. }) if self.freshness == Freshness::Fresh => {
                Err(self.of_death(world, rule).into())
            }
            Err(NotLoggedIn { is_token_dead: true, .. }) => Ok(Passed {
                mark: Mark::Unknown,
                notice: Some(self.of_death(world, rule)),
                ..Passed::new(None, "Cached token: due for renewal")
            }),
            Err(NotLoggedIn { failure, .. }) => Err(failure.into()),
        }
    }

    fn until(&self, world: &World) -> i64 {
        let end = world.clock.wall().saturating_add(self.left);
        i64::try_from(end.as_secs()).unwrap_or(i64::MAX)
    }

    fn left_in_words(&self) -> String {
        span(self.left.as_secs())
    }

    /// It has not expired, and is refused all the same.
    fn of_death(&self, world: &World, rule: &Rule) -> Failure {
        Failure::new(
            format!(
                "the registry no longer accepts the cached robot token, though it lasts until {} \
                 (in {})",
                instant(self.until(world)),
                self.left_in_words()
            ),
            format!(
                "Quay's signing key or host name was probably replaced; to remove the token, run: \
                 echo {} | {PROGRAM} erase",
                rule.server
            ),
        )
    }
}
