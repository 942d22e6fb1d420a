//! The life of a robot token: look it up, take turns, fetch, exchange, keep. The story of a
//! refresh is here from its beginning to its end.

mod circumstances;
mod holding;
mod silence;

use std::time::Duration;

use crate::cache::Cache;
use crate::cache::attempt::{Attempt, LockState, Patience, Taken, Turn};
use crate::cache::entry::{Entry, EntryKey, KeptDiscovery};
use crate::cache::freshness::{Freshness, SPREAD};
use crate::cache::plan::Lookup;
use crate::config::settings::Rule;
use crate::deadline::Deadline;
use crate::failure::{Failure, StepFailure, StepFailureKind};
use crate::files::{self, Reservation};
use crate::http::Transport;
use crate::identity::{self, AtHand, Discovered};
use crate::moment::Moment;
use crate::printable::PlainText;
use crate::protocol::PROGRAM;
use crate::protocol::reserve::Reserve;
use crate::quay::Presented;
use crate::quay::exchange;
use crate::quay::verdict::Probe;
use crate::secret::Secret;
use crate::world::World;

pub use circumstances::Circumstances;
use holding::Holding;
use silence::Silence;

/// The time for the one try that an Aging token is worth.
const AGING_BUDGET: Duration = Duration::from_secs(5);
/// How long before its own deadline a waiter stops waiting.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// How long what discovery said is believed.
const DISCOVERY_LIFE: Duration = Duration::from_hours(24);

/// What is made of the robot of a rule and its token, if that is cached and not worse than `worst`:
/// what a `get` costs nearly always, where that is Fresh. Anything else, a failure included, is
/// nothing here: the long way tells.
pub fn cached<T>(
    world: &World,
    cache: &Cache<'_>,
    rule: &str,
    lookup: &Lookup<'_>,
    worst: Freshness,
    make: impl FnOnce(&str, PlainText<'_>) -> T,
) -> Option<T> {
    let at_hand = identity::at_hand(world, &lookup.bearer).ok()?;
    let key = lookup.key(rule, at_hand.key.as_deref());
    cache.with_token(key, lookup.min_validity(), worst, |token| make(&lookup.robot, token))
}

/// The token of a rule, from the cache or anew. One that lives is handed to `keep` before anything is
/// tried, with the reading of the boot clock until which it is good.
pub fn obtain(
    world: &World,
    transport: &dyn Transport,
    cache: Option<&Cache<'_>>,
    rule: &Rule,
    deadline: Deadline,
    keep: &dyn Fn(&Secret<String>, Deadline) -> Reserve,
) -> Result<Secret<String>, Failure> {
    Refresh::new(world, transport, cache, rule, deadline, Errand::Get)?.run(keep)
}

/// Renews the token of a rule while nobody waits for it, with the whole deadline. Who is asking
/// already is waited for.
pub fn renew(
    world: &World,
    transport: &dyn Transport,
    cache: &Cache<'_>,
    rule: &Rule,
    deadline: Deadline,
    when: Renew,
) -> Result<Renewal, NotRenewed> {
    Refresh::new(world, transport, Some(cache), rule, deadline, Errand::Renew(when))
        .map_err(|failure| NotRenewed { failure, was_asked: true, living: None })?
        .renew_due()
}

/// When a token is renewed that nobody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renew {
    /// If it is due.
    IfDue,
    /// Due or not, and whatever failed before: whoever asks for that has mended something where
    /// this host cannot see it.
    Always,
}

/// How a renewal that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There is a new token, with this much left.
    Renewed(Duration),
    /// The token is Fresh: it is due after this time, and has this much left.
    NotDue {
        /// After how long it is due.
        due_in: Duration,
        /// What is left of its life.
        left: Duration,
    },
    /// Somebody else has been at it all the time; the token has this much left.
    LeftToOthers(Duration),
}

/// Why a token was not renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRenewed {
    /// The failure in words.
    pub failure: Failure,
    /// Whether it has just been tried: otherwise it failed not long ago, and that was remembered.
    pub was_asked: bool,
    /// What is left of the token that is there, where it still serves.
    pub living: Option<Duration>,
}

/// What a refresh is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    /// A client waits for the token.
    Get,
    /// Nobody waits.
    Renew(Renew),
}

/// One refresh, as far as it is needed.
struct Refresh<'a> {
    world: &'a World,
    transport: &'a dyn Transport,
    cache: Option<&'a Cache<'a>>,
    rule: &'a Rule,
    key: EntryKey,
    /// A digest of everything on this host that a failure may depend on (R15).
    conditions: String,
    at_hand: AtHand,
    deadline: Deadline,
    began: Moment,
    errand: Errand,
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
    Barred(Unrenewed),
    /// Somebody else is at it, and we do not wait.
    Theirs,
    /// Somebody else is at it, and our time is over.
    Waited(Failure),
}

impl<'a> Refresh<'a> {
    fn new(
        world: &'a World,
        transport: &'a dyn Transport,
        cache: Option<&'a Cache<'a>>,
        rule: &'a Rule,
        deadline: Deadline,
        errand: Errand,
    ) -> Result<Self, Failure> {
        let Circumstances { key, conditions, at_hand } = Circumstances::of(world, rule)?;
        let began = world.now();
        Ok(Self {
            world,
            transport,
            cache,
            rule,
            key,
            conditions,
            at_hand,
            deadline,
            began,
            errand,
        })
    }
}

impl Refresh<'_> {
    fn run(
        &self,
        keep: &dyn Fn(&Secret<String>, Deadline) -> Reserve,
    ) -> Result<Secret<String>, Failure> {
        let entry = self.entry();
        let freshness = entry.as_ref().map_or(Freshness::Spent, |entry| self.freshness(entry));
        self.world.info(format_args!(
            "`{}` as `{}`: {}",
            self.rule.server,
            self.rule.robot,
            match &entry {
                Some(entry) => format!(
                    "the cached token is {}, {} s left",
                    freshness.name(),
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
        let living = entry.as_ref().filter(|_| freshness != Freshness::Spent);
        let _reserve = living.map(|entry| {
            let until = entry.spent_in(self.rule.min_validity, self.world.now());
            keep(&entry.token, Deadline::after(self.world.clock.boot(), until))
        });
        match self.renew(patience, deadline) {
            Ok(renewed) => self.answer(Some(renewed), None),
            // Somebody else may have had more luck meanwhile.
            Err(Unrenewed::Failed(failure)) => self.answer(self.entry().or(entry), Some(failure)),
            Err(Unrenewed::RobotGone(failure)) => Err(failure),
            Err(Unrenewed::LeftToOthers) => self.answer(entry, None),
        }
    }

    /// The story of a refresh that nobody waits for.
    fn renew_due(&self) -> Result<Renewal, NotRenewed> {
        let before = self.entry();
        let patience = match before.as_ref().map(|entry| (self.freshness(entry), entry)) {
            Some((Freshness::Fresh, entry)) if !self.is_forced() => {
                let now = self.world.now();
                let due_in = entry.due_in(self.rule.min_validity, now);
                return Ok(Renewal::NotDue { due_in, left: entry.left(now) });
            }
            Some((Freshness::Fresh | Freshness::Aging, _)) => Patience::Aging,
            Some((Freshness::Short, _)) => Patience::Short,
            Some((Freshness::Spent, _)) | None => Patience::Spent,
        };
        let left = |entry: &Entry| entry.left(self.world.now());
        let (failure, was_asked) = match self.renew(patience, self.deadline) {
            Ok(entry) if before.is_some_and(|before| before.obtained == entry.obtained) => {
                return Ok(Renewal::LeftToOthers(left(&entry)));
            }
            Ok(entry) if self.entry().is_some_and(|kept| left(&kept) >= left(&entry)) => {
                return Ok(Renewal::Renewed(left(&entry)));
            }
            Ok(_) => (self.not_kept(), true),
            Err(Unrenewed::LeftToOthers) => {
                let left = self.entry().as_ref().map_or(Duration::ZERO, left);
                return Ok(Renewal::LeftToOthers(left));
            }
            Err(Unrenewed::RobotGone(failure) | Unrenewed::Failed(failure)) => {
                let was_asked = self.remembered().is_none_or(|attempt| {
                    self.is_since_we_came(attempt.failed) || attempt.cause != failure.cause()
                });
                (failure, was_asked)
            }
        };
        let living = self.entry().filter(|entry| self.freshness(entry) != Freshness::Spent);
        Err(NotRenewed { failure, was_asked, living: living.as_ref().map(left) })
    }

    fn not_kept(&self) -> Failure {
        let rule = self.rule;
        Failure::new(
            format!(
                "the new token of `{}` for `{}` could not be written into the cache",
                rule.robot, rule.server
            ),
            "see whether the file system of the cache directory is full (df); QUAYFED_LOG=warn tells \
             what the system said",
        )
    }

    /// The failure that is remembered.
    fn remembered(&self) -> Option<Attempt> {
        match self.cache?.lock_state(&self.key) {
            LockState::Failed(attempt) => Some(attempt),
            LockState::Empty | LockState::HeldUntil(_) => None,
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
            Turned::Barred(unrenewed) => return Err(unrenewed),
            Turned::Waited(failure) => return Err(Unrenewed::Failed(failure)),
        };
        let given = deadline.left(self.world.clock.boot());
        match self.ask(turn.as_ref(), patience, deadline) {
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
                // What somebody else got since we came, Quay has given for a robot that it knew.
                let newer = self.entry().filter(|entry| self.is_since_we_came(entry.obtained));
                if failed.kind == StepFailureKind::RobotUnknown
                    && newer.is_none()
                    && let Some(cache) = self.cache
                {
                    cache.drop_entry(&self.key);
                }
                match turn {
                    None => {}
                    Some(turn) if self.says_something(patience, &failed, given, deadline) => {
                        let attempt = self.attempt(&turn, patience, &failed);
                        turn.failed(attempt);
                    }
                    Some(turn) => turn.abandoned(),
                }
                match newer {
                    Some(_) => Err(Unrenewed::Failed(failed.failure)),
                    None => Err(Unrenewed::of(failed.kind, failed.failure)),
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
                    self.world.debug(format_args!(
                        "going on without a lock: {}",
                        files::describe(&error)
                    ));
                    return Turned::Alone(cache.reserve_entry().ok());
                }
                Taken::Theirs => {}
            }
            let (state, now) = (cache.lock_state(&self.key), self.world.clock.boot());
            if self.is_early_try(patience) && !state.is_overdue(now) {
                return Turned::Theirs;
            }
            if silence.is_over(&state, now) {
                self.world.info("whoever renews the token does not get on: taking their place");
                match cache.take_over(&self.key, &state, deadline) {
                    Taken::Ours(turn) => return self.begin(cache, turn, patience),
                    Taken::Theirs if !silence.is_hopeless(now) => {}
                    Taken::Theirs | Taken::Useless(_) => {
                        self.world.info("their place cannot be taken: going on alone");
                        return Turned::Alone(cache.reserve_entry().ok());
                    }
                }
            }
            if deadline.left(now) <= LAST_LOOK {
                return self.last_look();
            }
            let longest = deadline.left(now).saturating_sub(LAST_LOOK);
            self.world.clock.sleep(pause.mul_f64(self.jitter()).min(longest));
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
            Some(barred @ Turned::Barred(_)) => {
                turn.abandoned();
                return barred;
            }
            _ => {}
        }
        match cache.reserve_entry() {
            Ok(room) => Turned::Ours(turn, room),
            Err(error) => {
                self.world.warn(format_args!(
                    "no room in the cache, going on without: {}",
                    files::describe(&error)
                ));
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
                || (!self.is_forced() && self.freshness(&entry) < freshness_of(patience)))
            && self.freshness(&entry) != Freshness::Spent
        {
            return Some(Turned::Answered(entry));
        }
        let LockState::Failed(attempt) = state else { return None };
        if attempt.conditions != self.conditions {
            return None;
        }
        let unrenewed = if attempt.is_robot_unknown {
            Unrenewed::RobotGone(attempt.failure())
        } else {
            Unrenewed::Failed(attempt.failure())
        };
        // Only an early try has as little time as that which ran out of it.
        let is_early_try = self.is_early_try(patience);
        if self.is_since_we_came(attempt.failed) && (is_early_try || !attempt.ran_out_of_aging_time)
        {
            return Some(Turned::Barred(unrenewed));
        }
        let patience = match patience {
            Patience::Aging if !is_early_try => Patience::Short,
            other => other,
        };
        if self.is_forced() {
            return None;
        }
        let left = attempt.bars_for(patience, self.world.now())?;
        let next = left.as_secs() + 1;
        self.world.info(format_args!(
            "not tried, the next try is in {next} s; failures in a row: {}: {}",
            attempt.failures, attempt.cause
        ));
        let ago = attempt.failed.elapsed(self.world.now()).unwrap_or_default().as_secs();
        Some(Turned::Barred(unrenewed.said_before(ago, next)))
    }

    fn last_look(&self) -> Turned<'static> {
        match self.entry().filter(|entry| self.freshness(entry) != Freshness::Spent) {
            Some(entry) => Turned::Answered(entry),
            None => Turned::Waited(Failure::new(
                format!(
                    "another process has been getting the token of `{}` for `{}` all the time \
                     that there was ({:?})",
                    self.rule.robot, self.rule.server, self.rule.deadline
                ),
                "try again; if it stays so, the identity provider or Quay is slow: \
                 QUAYFED_LOG=info shows the durations",
            )),
        }
    }

    /// The two questions: the provider's token, then Quay's.
    fn ask(
        &self,
        turn: Option<&Turn>,
        patience: Patience,
        deadline: Deadline,
    ) -> Result<Entry, StepFailure> {
        let transport = &Holding { world: self.world, transport: self.transport, turn, deadline };
        let identity = &self.rule.identity;
        let boot = self.world.clock.boot();
        let discovery = self.discovery();
        if identity::asks_network(&identity.source) {
            exchange::connect_ahead(transport, self.rule);
        }
        let fetched = identity::fetch(
            self.world,
            transport,
            identity,
            discovery.as_ref().and_then(discovered),
            self.at_hand.clone(),
            deadline.min(Deadline::after(boot, identity.timeout)),
        );
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(failed) => {
                if let (Some(cache), Some(failed)) = (self.cache, discovery) {
                    cache.forget_discovery(&self.key, &failed);
                }
                return Err(failed);
            }
        };
        let obtained = self.world.now();
        let probe = match patience {
            Patience::Spent => Probe::WithinDeadline(deadline),
            _ if self.errand != Errand::Get => Probe::WithinDeadline(deadline),
            // Somebody gets an answer all the same: their time is worth more than an explanation.
            Patience::Aging | Patience::Short => Probe::Never,
        };
        let reply = exchange::exchange(
            self.world,
            transport,
            self.rule,
            Presented { raw: fetched.token.raw(), unverified: fetched.token.unverified() },
            deadline.min(Deadline::after(obtained.boot(), self.rule.exchange_timeout)),
            probe,
        );
        let reply = reply.map_err(|failed| match failed.kind {
            // The provider was asked for nothing: the next one must not ask it again at once.
            StepFailureKind::Local if self.at_hand.token.is_none() => {
                StepFailure { kind: StepFailureKind::Network, ..failed }
            }
            _ => failed,
        })?;
        Ok(Entry {
            token: reply.token,
            lifetime: reply.lifetime,
            obtained,
            spread: self.world.random_between(SPREAD.0, SPREAD.1),
            discovery: fetched.discovered.map(kept),
        })
    }

    /// Whether a failure says something to whoever comes next. One of this host shows again at once
    /// and costs nobody anything; a time-out of a try that had little time left, since it had waited
    /// for others, says nothing of one that has more. An early try always had little: that is told.
    fn says_something(
        &self,
        patience: Patience,
        failed: &StepFailure,
        given: Duration,
        deadline: Deadline,
    ) -> bool {
        const NEARLY: Duration = Duration::from_secs(1);
        let rule = self.rule;
        match failed.kind {
            StepFailureKind::Local => false,
            StepFailureKind::Network | StepFailureKind::RobotUnknown => true,
            StepFailureKind::Timeout => {
                let whole = rule.deadline.min(rule.identity.timeout + rule.exchange_timeout);
                self.is_early_try(patience)
                    || !deadline.has_passed(self.world.clock.boot())
                    || given + NEARLY >= whole
            }
        }
    }

    /// The record of a failure.
    fn attempt(&self, turn: &Turn, patience: Patience, failed: &StepFailure) -> Attempt {
        let earlier = match &turn.before {
            LockState::Failed(attempt) if attempt.conditions == self.conditions => attempt.failures,
            _ => 0,
        };
        let hour = Duration::from_hours(1);
        Attempt {
            ran_out_of_aging_time: self.is_early_try(patience)
                && failed.kind == StepFailureKind::Timeout,
            ..Attempt::after(
                earlier,
                &self.key,
                self.conditions.clone(),
                failed,
                self.world.now(),
                self.entry().map_or(hour, |entry| entry.lifetime),
                self.jitter(),
            )
        }
    }

    fn is_forced(&self) -> bool {
        self.errand == Errand::Renew(Renew::Always)
    }

    /// Whether this is the early try of a `get`: one with little time, whose client has an answer
    /// whatever becomes of it.
    fn is_early_try(&self, patience: Patience) -> bool {
        patience == Patience::Aging && self.errand == Errand::Get
    }

    /// What spreads pauses and bars: those who failed together must not try again together.
    fn jitter(&self) -> f64 {
        self.world.random_between(0.5, 1.5)
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

impl Unrenewed {
    /// The same, told as something that was found out `ago` seconds before, not now.
    fn said_before(self, ago: u64, next: u64) -> Self {
        let told = |failure: Failure| {
            let hint = failure.hint();
            Failure::new(
                failure.cause(),
                format!(
                    "{hint} (found out {ago} s ago; tried again in {next} s, or at once by \
                     `{PROGRAM} refresh --force`)"
                ),
            )
        };
        match self {
            Self::Failed(failure) => Self::Failed(told(failure)),
            Self::RobotGone(failure) => Self::RobotGone(told(failure)),
            Self::LeftToOthers => Self::LeftToOthers,
        }
    }

    fn of(kind: StepFailureKind, failure: Failure) -> Self {
        if kind == StepFailureKind::RobotUnknown {
            Self::RobotGone(failure)
        } else {
            Self::Failed(failure)
        }
    }
}

const fn freshness_of(patience: Patience) -> Freshness {
    match patience {
        Patience::Aging => Freshness::Aging,
        Patience::Short => Freshness::Short,
        Patience::Spent => Freshness::Spent,
    }
}

fn kept(found: Discovered) -> KeptDiscovery {
    let Discovered { issuer, token_endpoint, client_auth, read, seal } = found;
    KeptDiscovery { issuer, token_endpoint: token_endpoint.into(), client_auth, read, seal }
}

fn discovered(kept: &KeptDiscovery) -> Option<Discovered> {
    Some(Discovered {
        issuer: kept.issuer.clone(),
        token_endpoint: kept.token_endpoint.parse().ok()?,
        client_auth: kept.client_auth,
        read: kept.read,
        seal: kept.seal,
    })
}
