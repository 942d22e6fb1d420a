//! The life of a robot token: look it up, take turns, fetch, exchange, keep. The story of a
//! refresh is here from its beginning to its end.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::attempt::{Attempt, LockState, Patience, Taken, Turn, jitter};
use crate::cache::entry::{Entry, EntryKey, KeptDiscovery};
use crate::cache::freshness::{Freshness, LONGEST_LIFE, SPREAD};
use crate::cache::plan::Lookup;
use crate::config::settings::{ProxyChoice, Rule, SecretPlace, SourceSpec};
use crate::deadline::Deadline;
use crate::digest::sha256;
use crate::failure::{Failure, StepFailure, StepFailureKind};
use crate::files::{Reservation, Stamp};
use crate::http::Transport;
use crate::identity::{self, AtHand, Discovered};
use crate::moment::Moment;
use crate::quay::Presented;
use crate::quay::exchange;
use crate::quay::verdict::Probe;
use crate::secret::Secret;
use crate::server::Server;
use crate::world::World;

/// The time for the one try that an Aging token is worth.
const AGING_BUDGET: Duration = Duration::from_secs(5);
/// How long before its own deadline a waiter stops waiting.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How long a held lock may say nothing before a waiter takes it for one that never will.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);
/// How long what discovery said is believed.
const DISCOVERY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The token of a rule if it is cached and Fresh: what a `get` costs nearly always. Anything else,
/// a failure included, is nothing here: the long way tells.
pub fn cached(
    world: &World,
    cache: &Cache<'_>,
    server: Server,
    lookup: &Lookup,
) -> Option<Secret<String>> {
    let at_hand = identity::at_hand(world, &lookup.bearer).ok()?;
    let entry = cache.entry(&lookup.key(server, at_hand.key)?)?;
    let freshness = entry.freshness(lookup.min_validity(), world.now());
    (freshness == Freshness::Fresh).then_some(entry.token)
}

/// The token of a rule, from the cache or anew.
pub fn obtain(
    world: &World,
    transport: &dyn Transport,
    cache: Option<&Cache<'_>>,
    rule: &Rule,
    deadline: Deadline,
) -> Result<Secret<String>, Failure> {
    let at_hand = identity::at_hand(world, &rule.identity.source.bearer())?;
    let key = EntryKey::of(rule, at_hand.key.clone());
    let refresh =
        Refresh { world, transport, cache, rule, key, at_hand, deadline, began: world.now() };
    refresh.run()
}

/// One refresh, as far as it is needed.
struct Refresh<'a> {
    world: &'a World,
    transport: &'a dyn Transport,
    cache: Option<&'a Cache<'a>>,
    rule: &'a Rule,
    key: EntryKey,
    at_hand: AtHand,
    deadline: Deadline,
    began: Moment,
}

/// Whose turn it is to ask.
enum Turned<'a> {
    /// Ours, with the lock and with room for what comes.
    Ours(Turn, Reservation<'a>),
    /// Nobody's: without the lock, and without the cache where there is none or no room in it.
    Alone(Option<Reservation<'a>>),
    /// Somebody else has asked since we came, and this is the token.
    Answered(Entry),
    /// Somebody else has asked since we came, or not long ago, and failed.
    Barred(Failure),
    /// Somebody else is at it, and we do not wait.
    Theirs,
    /// Somebody else is at it, and our time is over.
    Waited(Failure),
}

impl Refresh<'_> {
    fn run(&self) -> Result<Secret<String>, Failure> {
        let entry = self.entry();
        let freshness = entry.as_ref().map_or(Freshness::Spent, |entry| self.freshness(entry));
        self.world.info(format_args!(
            "`{}` as `{}`: {}",
            self.rule.server,
            self.rule.robot,
            match &entry {
                Some(entry) => format!(
                    "the cached token is {freshness:?}, {} s left",
                    entry.left(self.world.now()).as_secs()
                ),
                None => "no token is cached".to_owned(),
            }
        ));
        let (patience, deadline) = match freshness {
            Freshness::Fresh => return self.answer(entry, None),
            Freshness::Aging => {
                let budget = Deadline::after(self.world.clock.boot(), AGING_BUDGET);
                (Patience::Aging, budget.min(self.deadline))
            }
            Freshness::Short => (Patience::Short, self.deadline),
            Freshness::Spent => (Patience::Spent, self.deadline),
        };
        match self.renew(patience, deadline) {
            Ok(renewed) => self.answer(Some(renewed), None),
            Err(Unrenewed::Failed(failure)) => {
                let living = if patience == Patience::Spent { None } else { entry };
                self.answer(living, Some(failure))
            }
            Err(Unrenewed::RobotGone(failure)) => Err(failure),
            Err(Unrenewed::LeftToOthers) => self.answer(entry, None),
        }
    }

    /// What is answered in the end: a token that still has something left, reckoned now.
    fn answer(
        &self,
        entry: Option<Entry>,
        failure: Option<Failure>,
    ) -> Result<Secret<String>, Failure> {
        let living = entry.filter(|entry| self.freshness(entry) != Freshness::Spent);
        match (living, failure) {
            (Some(entry), failure) => {
                if let Some(failure) = failure {
                    self.world.warn(format_args!(
                        "the token could not be renewed and is used as it is, {} s left: {failure}",
                        entry.left(self.world.now()).as_secs()
                    ));
                }
                Ok(entry.token)
            }
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::new(
                format!(
                    "the robot token of `{}` for `{}` was spent before it could be used",
                    self.rule.robot, self.rule.server
                ),
                "Quay gave a token with hardly any life, or getting it took too long: look at \
                 QUAYFED_LOG=info for the durations",
            )),
        }
    }

    fn renew(&self, patience: Patience, deadline: Deadline) -> Result<Entry, Unrenewed> {
        let (turn, room) = match self.turn(patience, deadline) {
            Turned::Ours(turn, room) => (Some(turn), Some(room)),
            Turned::Alone(room) => (None, room),
            Turned::Answered(entry) => return Ok(entry),
            Turned::Theirs => return Err(Unrenewed::LeftToOthers),
            Turned::Barred(failure) | Turned::Waited(failure) => {
                return Err(Unrenewed::Failed(failure));
            }
        };
        match self.ask(patience, deadline) {
            Ok(entry) => {
                if let (Some(cache), Some(room)) = (self.cache, room)
                    && let Err(error) = cache.keep_entry(room, &self.key, &entry)
                {
                    self.world.warn(format_args!("the token could not be cached: {error:#}"));
                }
                if let Some(turn) = turn {
                    turn.succeeded();
                }
                Ok(entry)
            }
            Err(failed) => {
                self.remember(turn, patience, &failed);
                match failed.kind {
                    StepFailureKind::RobotUnknown => Err(Unrenewed::RobotGone(failed.failure)),
                    _ => Err(Unrenewed::Failed(failed.failure)),
                }
            }
        }
    }

    /// Whose turn it is (R16). What somebody else found out since we came is ours too.
    fn turn(&self, patience: Patience, deadline: Deadline) -> Turned<'_> {
        let Some(cache) = self.cache else { return Turned::Alone(None) };
        let mut silence = Silence::default();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(turned) = self.found_out(patience, &cache.lock_state(&self.key)) {
                return turned;
            }
            match cache.take_turn(&self.key, deadline) {
                Taken::Ours(turn) => return self.begin(cache, turn, patience),
                Taken::Useless(error) => {
                    self.world.debug(format_args!("going on without a lock: {error}"));
                    return Turned::Alone(cache.reserve_entry().ok());
                }
                Taken::Theirs if patience == Patience::Aging => return Turned::Theirs,
                Taken::Theirs => {}
            }
            let now = self.world.clock.boot();
            if silence.is_over(&cache.lock_state(&self.key), now) {
                self.world.info("whoever renews the token does not get on: going on alone");
                return Turned::Alone(cache.reserve_entry().ok());
            }
            if deadline.left(now) <= LAST_LOOK {
                return self.last_look();
            }
            let jitter = self.world.random_between(0.5, 1.5);
            let longest = deadline.left(now).saturating_sub(LAST_LOOK);
            self.world.clock.sleep(pause.mul_f64(jitter).min(longest));
            pause = (pause * 3 / 2).min(Duration::from_millis(40));
        }
    }

    /// With the lock in hand: somebody may have been faster, and there may be no room.
    fn begin<'b>(&self, cache: &'b Cache<'_>, turn: Turn, patience: Patience) -> Turned<'b> {
        match self.found_out(patience, &turn.before) {
            Some(Turned::Answered(entry)) => {
                turn.succeeded();
                return Turned::Answered(entry);
            }
            Some(Turned::Barred(failure)) => {
                turn.abandoned();
                return Turned::Barred(failure);
            }
            _ => {}
        }
        match cache.reserve_entry() {
            Ok(room) => Turned::Ours(turn, room),
            Err(error) => {
                self.world.warn(format_args!("no room in the cache, going on without: {error}"));
                turn.abandoned();
                Turned::Alone(None)
            }
        }
    }

    /// What others have found out: a token that is newer than our coming, or a failure that is, or
    /// that is not long ago.
    fn found_out(&self, patience: Patience, state: &LockState) -> Option<Turned<'static>> {
        if let Some(entry) = self.entry()
            && (self.is_since_we_came(entry.obtained)
                || self.freshness(&entry) < freshness_of(patience))
            && self.freshness(&entry) != Freshness::Spent
        {
            return Some(Turned::Answered(entry));
        }
        let LockState::Failed(attempt) = state else { return None };
        if attempt.conditions != self.conditions() {
            return None;
        }
        if self.is_since_we_came(attempt.failed)
            && (patience == Patience::Aging || !attempt.ran_out_of_aging_time)
        {
            return Some(Turned::Barred(attempt.failure()));
        }
        let left = attempt.bars_for(patience, self.world.now())?;
        self.world.info(format_args!(
            "not tried: it failed {} times, next try in {} s: {}",
            attempt.failures,
            left.as_secs() + 1,
            attempt.cause
        ));
        Some(Turned::Barred(attempt.failure()))
    }

    fn last_look(&self) -> Turned<'static> {
        match self.entry().filter(|entry| self.freshness(entry) != Freshness::Spent) {
            Some(entry) => Turned::Answered(entry),
            None => Turned::Waited(Failure::new(
                format!(
                    "another process has been getting the token of `{}` for `{}` all the time \
                     that there was ({} s)",
                    self.rule.robot,
                    self.rule.server,
                    self.rule.deadline.as_secs()
                ),
                "try again; if it stays so, the identity provider or Quay is slow: \
                 QUAYFED_LOG=info shows the durations",
            )),
        }
    }

    /// The two questions: the provider's token, then Quay's.
    fn ask(&self, patience: Patience, deadline: Deadline) -> Result<Entry, StepFailure> {
        let identity = &self.rule.identity;
        let boot = self.world.clock.boot();
        let discovery = self.discovery();
        let fetched = identity::fetch(
            self.world,
            self.transport,
            identity,
            discovery.clone().and_then(|kept| discovered(&kept)),
            self.at_hand.clone(),
            deadline.min(Deadline::after(boot, identity.timeout)),
        );
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(failed) => {
                if let (Some(cache), Some(_)) = (self.cache, discovery) {
                    cache.forget_discovery(&self.key);
                }
                return Err(failed);
            }
        };
        let obtained = self.world.now();
        let probe = match patience {
            Patience::Spent => Probe::WithinDeadline(deadline),
            // Somebody gets an answer all the same: their time is worth more than an explanation.
            Patience::Aging | Patience::Short => Probe::Never,
        };
        let reply = exchange::exchange(
            self.world,
            self.transport,
            self.rule,
            Presented { raw: fetched.token.raw(), unverified: fetched.token.unverified() },
            deadline.min(Deadline::after(obtained.boot(), self.rule.exchange_timeout)),
            probe,
        )?;
        let discovery = fetched.discovered.map(|found| match discovery {
            Some(kept) if kept.token_endpoint == found.token_endpoint.as_str() => kept,
            _ => KeptDiscovery {
                issuer: found.issuer,
                token_endpoint: found.token_endpoint.to_string(),
                read: obtained,
            },
        });
        Ok(Entry {
            token: reply.token,
            lifetime: reply.lifetime.min(LONGEST_LIFE),
            obtained,
            spread: self.world.random_between(SPREAD.0, SPREAD.1),
            discovery,
        })
    }

    /// Remembers a failure in the lock's file, if it was one that asking again would repeat, and if
    /// we hold the lock.
    fn remember(&self, turn: Option<Turn>, patience: Patience, failed: &StepFailure) {
        if failed.kind == StepFailureKind::RobotUnknown
            && let Some(cache) = self.cache
        {
            cache.drop_entry(&self.key);
        }
        let Some(turn) = turn else { return };
        if failed.kind == StepFailureKind::Local {
            turn.abandoned();
            return;
        }
        let conditions = self.conditions();
        let earlier = match &turn.before {
            LockState::Failed(attempt) if attempt.conditions == conditions => attempt.failures,
            _ => 0,
        };
        let hour = Duration::from_secs(60 * 60);
        let attempt = Attempt {
            ran_out_of_aging_time: patience == Patience::Aging
                && failed.kind == StepFailureKind::Timeout,
            ..Attempt::after(
                earlier,
                &self.rule.server,
                conditions,
                &failed.failure,
                self.world.now(),
                self.entry().map_or(hour, |entry| entry.lifetime),
                failed.retry_after,
                jitter(self.world),
            )
        };
        turn.failed(attempt);
    }

    fn entry(&self) -> Option<Entry> {
        self.cache?.entry(&self.key)
    }

    fn freshness(&self, entry: &Entry) -> Freshness {
        entry.freshness(self.rule.min_validity, self.world.now())
    }

    fn is_since_we_came(&self, moment: Moment) -> bool {
        moment.boot() >= self.began.boot() && moment.elapsed(self.world.now()).is_some()
    }

    fn discovery(&self) -> Option<KeptDiscovery> {
        self.entry()?.discovery.filter(|kept| {
            kept.read.elapsed(self.world.now()).is_some_and(|age| age < DISCOVERY_LIFE)
        })
    }

    /// A digest of everything on this host that a failure may depend on (R15): a mended mistake
    /// must show at once.
    fn conditions(&self) -> String {
        let rule = self.rule;
        let stamps: Vec<_> = files_of(rule).map(|path| stamp(&path)).collect();
        let proxies =
            ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]
                .map(|name| self.world.environment.get(name));
        let text = format!(
            "{:?}",
            (
                &self.key,
                [&rule.connection, &rule.identity.connection].map(|connection| {
                    let proxy = match &connection.proxy {
                        ProxyChoice::Url(url) => url.0.as_str(),
                        ProxyChoice::None => "none",
                        ProxyChoice::FromEnvironment => "",
                    };
                    (&connection.ca_file, proxy.to_owned(), connection.allow_http_loopback)
                }),
                (rule.deadline, rule.exchange_timeout, rule.identity.timeout),
                stamps,
                proxies,
                ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| self.world.environment.get(name)),
            )
        );
        sha256(text.as_bytes())
    }
}

/// Why there is no renewed token.
enum Unrenewed {
    /// It was tried, now or by somebody not long ago, and failed.
    Failed(Failure),
    /// Quay does not know the robot any more: what was kept for it is dropped.
    RobotGone(Failure),
    /// Somebody else is at it.
    LeftToOthers,
}

const fn freshness_of(patience: Patience) -> Freshness {
    match patience {
        Patience::Aging => Freshness::Aging,
        Patience::Short => Freshness::Short,
        Patience::Spent => Freshness::Spent,
    }
}

fn discovered(kept: &KeptDiscovery) -> Option<Discovered> {
    Some(Discovered {
        issuer: kept.issuer.clone(),
        token_endpoint: kept.token_endpoint.parse().ok()?,
    })
}

/// Watches a lock that somebody else holds for signs that they do not get on: their own deadline
/// has passed, or they have not even said one. Seen twice, since the lock may change hands between
/// two looks.
#[derive(Default)]
struct Silence {
    says_nothing_since: Option<Duration>,
    overdue_since: Option<(u64, Duration)>,
}

impl Silence {
    fn is_over(&mut self, state: &LockState, now: Duration) -> bool {
        const SEEN_AGAIN: Duration = Duration::from_millis(100);
        match state {
            LockState::HeldUntil(until) if Duration::from_millis(*until) < now => {
                self.says_nothing_since = None;
                match self.overdue_since {
                    Some((same, since)) if same == *until => now.saturating_sub(since) > SEEN_AGAIN,
                    _ => {
                        self.overdue_since = Some((*until, now));
                        false
                    }
                }
            }
            LockState::HeldUntil(_) => {
                *self = Self::default();
                false
            }
            LockState::Empty | LockState::Failed(_) => {
                self.overdue_since = None;
                let since = *self.says_nothing_since.get_or_insert(now);
                now.saturating_sub(since) >= LONGEST_SILENCE
            }
        }
    }
}

/// The files that a rule depends on.
fn files_of(rule: &Rule) -> impl Iterator<Item = std::path::PathBuf> + '_ {
    let of_source = match &rule.identity.source {
        SourceSpec::ClientCredentials(settings) => match &settings.client_secret {
            SecretPlace::File(path) => Some(path.clone()),
            SecretPlace::Variable(_) | SecretPlace::Credential(_) => None,
        },
        SourceSpec::File(file) => Some(file.path.clone()),
        SourceSpec::Env(_) => None,
    };
    let of_connections = [&rule.connection.ca_file, &rule.identity.connection.ca_file];
    of_source.into_iter().chain(of_connections.into_iter().flatten().cloned())
}

fn stamp(path: &Path) -> Result<(Stamp, u32), io::ErrorKind> {
    let metadata = std::fs::metadata(path).map_err(|error| error.kind())?;
    Ok((Stamp::of(&metadata), metadata.mode()))
}
