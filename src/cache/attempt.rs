//! One at a time: the lock of an entry, and the attempt record that its file keeps after a failure
//! (R15, R16).

use std::cell::Cell;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cache::Cache;
use crate::cache::entry::EntryKey;
use crate::cache::freshness::LONGEST_LIFE;
use crate::cache::name::Name;
use crate::cache::seal::{sealed, unsealed};
use crate::config::settings::LONGEST_DEADLINE;
use crate::deadline::Deadline;
use crate::failure::{Failure, StepFailure, StepFailureKind};
use crate::files::LockFile;
use crate::moment::Moment;
use crate::robot::RobotName;
use crate::server::Server;

/// The largest lock file, in bytes.
const LARGEST: u64 = 16 * 1024;
/// The longest bar: an eighth of the longest life; no Retry-After is obeyed for so long.
const LONGEST_BAR: Duration = Duration::from_secs(LONGEST_LIFE.as_secs() / 8);
/// The bar after a first failure; it doubles with each further one.
const FIRST_BAR: Duration = Duration::from_secs(30);
/// How long a Spent entry obeys a record: somebody waits for that answer.
const BAR_OF_SPENT: Duration = Duration::from_secs(10);

/// What is remembered of failed refreshes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The rule that it was for.
    pub rule: String,
    /// The robot that it was for.
    pub robot: String,
    /// A digest of everything that the failure may have depended on: the record counts only while
    /// it is the same.
    pub conditions: String,
    /// When the last try failed.
    pub failed: Moment,
    /// For how long nobody should try again, in milliseconds.
    pub bar_ms: u64,
    /// How often it has failed in a row.
    pub failures: u32,
    /// What a person is told.
    pub cause: String,
    /// What to do about it.
    pub hint: String,
    /// Whether Quay did not know the robot: then nothing that was kept for it is answered.
    pub is_robot_unknown: bool,
    /// Whether it only ran out of an Aging token's short time: that says nothing of a longer try.
    pub ran_out_of_aging_time: bool,
}

/// Whom a record has to bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// There is a token, and this is only an early try.
    Aging,
    /// There is a token, but not for long.
    Short,
    /// There is no token.
    Spent,
}

impl Attempt {
    /// The record of a failure at the moment `at`, after `earlier` ones in a row. `lifetime` is that
    /// of the token that there is, an hour without one; `random` is a number from 0.5 to 1.5.
    pub fn after(
        earlier: u32,
        key: &EntryKey,
        conditions: String,
        failed: &StepFailure,
        at: Moment,
        lifetime: Duration,
        random: f64,
    ) -> Self {
        let doubled = FIRST_BAR.saturating_mul(2u32.saturating_pow(earlier.min(20)));
        let bar = failed.retry_after.unwrap_or_else(|| doubled.mul_f64(random).min(lifetime / 8));
        Self {
            rule: key.rule.to_string(),
            robot: key.robot.to_string(),
            conditions,
            failed: at,
            bar_ms: u64::try_from(bar.as_millis()).unwrap_or(u64::MAX),
            failures: earlier.saturating_add(1),
            cause: failed.failure.cause().to_owned(),
            hint: failed.failure.hint().to_owned(),
            is_robot_unknown: failed.kind == StepFailureKind::RobotUnknown,
            ran_out_of_aging_time: false,
        }
    }

    /// How much longer it bars somebody with this patience; nothing once it does not. A clock that
    /// went back, as at a boot, ends it.
    pub fn bars_for(&self, patience: Patience, now: Moment) -> Option<Duration> {
        if self.ran_out_of_aging_time && patience != Patience::Aging {
            return None;
        }
        let bar = match patience {
            Patience::Aging | Patience::Short => Duration::from_millis(self.bar_ms),
            Patience::Spent => Duration::from_millis(self.bar_ms).min(BAR_OF_SPENT),
        };
        bar.checked_sub(self.failed.elapsed(now)?).filter(|left| !left.is_zero())
    }

    /// The failure in words.
    pub fn failure(&self) -> Failure {
        Failure::new(&self.cause, &self.hint)
    }

    /// Whether it can have been written (R31).
    fn is_one(&self) -> bool {
        let failure = self.failure();
        let is_said_so = failure.cause() == self.cause && failure.hint() == self.hint;
        is_said_so
            && !self.cause.is_empty()
            && Duration::from_millis(self.bar_ms) <= LONGEST_BAR
            && Server::parse(&self.rule).is_ok()
            && RobotName::parse(&self.robot).is_ok()
    }
}

/// What stands in a lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockState {
    /// Nothing.
    #[default]
    Empty,
    /// Somebody is at work until this reading of the boot clock, in milliseconds.
    HeldUntil(u64),
    /// The last try failed.
    Failed(Attempt),
}

impl LockState {
    /// What was written, or nothing where that cannot have been (R31): nobody who reads this boot
    /// clock, `now`, is at work for longer than a deadline can be.
    fn of(bytes: &[u8], now: Duration) -> Self {
        let longest = now.saturating_add(LONGEST_DEADLINE);
        match unsealed(bytes).unwrap_or_default() {
            Self::HeldUntil(until) if Duration::from_millis(until) > longest => Self::Empty,
            Self::Failed(attempt) if !attempt.is_one() => Self::Empty,
            state => state,
        }
    }

    fn held_until(deadline: Deadline) -> Self {
        Self::HeldUntil(u64::try_from(deadline.boot().as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether somebody says to have got it until a time that has passed at `now` of the boot clock.
    pub fn is_overdue(&self, now: Duration) -> bool {
        matches!(self, Self::HeldUntil(until) if Duration::from_millis(*until) < now)
    }

    fn bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Empty => Zeroizing::default(),
            other => sealed(other).unwrap_or_default(),
        }
    }
}

/// The lock of an entry, held. While it is, its file says until when; before it is let go, the file
/// is cleared or tells of a failure. Whoever has not got on by then loses it: another file has its
/// name then, and what is written into this one is read by nobody.
#[derive(Debug)]
pub struct Turn {
    lock: LockFile,
    is_settled: Cell<bool>,
    /// What stood in the file when the lock was taken.
    pub before: LockState,
}

impl Turn {
    /// Says anew until when we hold it.
    pub fn hold_until(&self, deadline: Deadline) {
        // Where it cannot be written, what was said before holds.
        let _ = self.lock.write(&LockState::held_until(deadline).bytes());
    }

    /// Ends the turn with a success: nothing is remembered.
    pub fn succeeded(self) {
        self.settle(&LockState::Empty);
    }

    /// Ends the turn with a failure that is remembered.
    pub fn failed(self, attempt: Attempt) {
        self.settle(&LockState::Failed(attempt));
    }

    /// Ends the turn as it began: what was remembered stays remembered.
    pub fn abandoned(self) {
        let before = self.before.clone();
        self.settle(match &before {
            LockState::HeldUntil(_) => &LockState::Empty,
            other => other,
        });
    }

    fn settle(&self, state: &LockState) {
        self.is_settled.set(true);
        // Where it cannot be written, it cannot have been written before either.
        let _ = self.lock.write(&state.bytes());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_settled.get() {
            self.settle(&LockState::Empty);
        }
    }
}

/// What came of asking for the lock.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Turn),
    /// Somebody else has it.
    Theirs,
    /// Locks do not work here, or there is no room to write into one.
    Useless(io::Error),
}

impl Cache<'_> {
    /// What stands in the lock file of a key, read without the lock.
    pub fn lock_state(&self, key: &EntryKey) -> LockState {
        self.lock_state_in(&key.lock_name())
    }

    /// What stands in a lock file, read without the lock.
    pub(super) fn lock_state_in(&self, name: &Name) -> LockState {
        self.folder.read(name, LARGEST).map_or(LockState::Empty, |bytes| self.state_of(&bytes))
    }

    fn state_of(&self, bytes: &[u8]) -> LockState {
        LockState::of(bytes, self.world.clock.boot())
    }

    /// Takes the lock of a key if nobody has it, and writes into it that it is held until
    /// `deadline`.
    pub fn take_turn(&self, key: &EntryKey, deadline: Deadline) -> Taken {
        let name = key.lock_name();
        // A file that lost its name while it was being locked keeps nobody out: open the new one.
        for _ in 0..8 {
            let lock = match self.folder.lock_file(&name) {
                Ok(lock) => lock,
                Err(error) => return Taken::Useless(error),
            };
            match lock.try_lock() {
                Ok(false) => return Taken::Theirs,
                Err(error) => return Taken::Useless(error),
                Ok(true) if !self.folder.is_named(&lock, &name) => {}
                Ok(true) => {
                    let before = lock.read(LARGEST).map(|bytes| self.state_of(&bytes));
                    let turn = hold(lock, before.unwrap_or_default(), deadline);
                    return turn.map_or_else(Taken::Useless, Taken::Ours);
                }
            }
        }
        Taken::Useless(io::Error::other("the lock file is removed again and again"))
    }

    /// Clears what a lock file remembers of a rule that `is_meant` says, unless somebody holds it.
    pub(super) fn clear_attempt(&self, name: &Name, is_meant: impl Fn(&Server) -> bool) {
        let Some(bytes) = self.folder.read(name, LARGEST) else { return };
        let LockState::Failed(attempt) = self.state_of(&bytes) else { return };
        let rule = Server::parse(&attempt.rule);
        let Ok(lock) = self.folder.lock_file(name) else { return };
        if rule.is_ok_and(|rule| is_meant(&rule)) && lock.try_lock().is_ok_and(|taken| taken) {
            let _ = lock.write(&[]);
        }
    }

    /// Takes the place of whoever holds the lock of a key and does not get on, in the state `stuck`:
    /// for good, by putting another lock file, which is ours, in the place of theirs. One of all who
    /// try at once succeeds; to the others it is taken, and by whom they see in its new state.
    pub fn take_over(&self, key: &EntryKey, stuck: &LockState, deadline: Deadline) -> Taken {
        let (name, next_name) = (key.lock_name(), key.next_lock_name());
        let next = match self.folder.lock_file(&next_name) {
            Ok(next) => next,
            Err(error) => return Taken::Useless(error),
        };
        match next.try_lock() {
            // One that has another name by now is the lock itself.
            Ok(taken) if !taken || !self.folder.is_named(&next, &next_name) => {
                return Taken::Theirs;
            }
            Ok(_) => {}
            Err(error) => return Taken::Useless(error),
        }
        // From here on nobody else can.
        let taken = self.take_turn(key, deadline);
        if !matches!(taken, Taken::Theirs) || self.lock_state(key) != *stuck {
            let _ = self.folder.remove(&next_name);
            return taken;
        }
        let turn = hold(next, stuck.clone(), deadline)
            .and_then(|turn| self.folder.rename(&next_name, &name).map(|()| turn));
        if turn.is_err() {
            let _ = self.folder.remove(&next_name);
        }
        turn.map_or_else(Taken::Useless, Taken::Ours)
    }
}

fn hold(lock: LockFile, before: LockState, deadline: Deadline) -> io::Result<Turn> {
    lock.write(&LockState::held_until(deadline).bytes())?;
    Ok(Turn { lock, is_settled: Cell::new(false), before })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::seal::FORMAT;
    use crate::digest::hex;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moment(second: u64) -> Moment {
        Moment::new(seconds(1_000_000 + second), seconds(1000 + second))
    }

    fn attempt(earlier: u32, retry_after: Option<Duration>) -> Attempt {
        let failure = Failure::new("it failed", "mend it");
        let failed = StepFailure { retry_after, ..StepFailure::network(failure) };
        let key = EntryKey {
            rule: Server::parse("h").expect("a server"),
            robot: RobotName::parse("acme+ci").expect("a robot"),
            api_url: "https://h/".to_owned(),
            settings: "s".to_owned(),
            bearer: None,
        };
        Attempt::after(earlier, &key, "c".into(), &failed, moment(0), seconds(3600), 1.0)
    }

    #[test]
    fn r15_the_bar_doubles_up_to_an_eighth_of_the_life_and_retry_after_wins() {
        let bars = |earlier, retry_after| attempt(earlier, retry_after).bar_ms / 1000;
        assert_eq!(
            [0, 1, 2, 3, 4, 30].map(|earlier| bars(earlier, None)),
            [30, 60, 120, 240, 450, 450]
        );
        assert_eq!(bars(0, Some(seconds(1))), 1);
        assert_eq!(bars(0, Some(seconds(1800))), 1800);
    }

    #[test]
    fn r15_a_spent_entry_obeys_for_ten_seconds_only() {
        for attempt in [attempt(4, None), attempt(0, Some(seconds(3600)))] {
            assert_eq!(attempt.bars_for(Patience::Spent, moment(9)), Some(seconds(1)));
            assert_eq!(attempt.bars_for(Patience::Spent, moment(10)), None);
            assert!(attempt.bars_for(Patience::Short, moment(400)).is_some());
        }
    }

    #[test]
    fn r15_a_time_out_of_aging_binds_aging_alone() {
        let attempt = Attempt { ran_out_of_aging_time: true, ..attempt(0, None) };
        assert!(attempt.bars_for(Patience::Aging, moment(1)).is_some());
        assert_eq!(attempt.bars_for(Patience::Short, moment(1)), None);
        assert_eq!(attempt.bars_for(Patience::Spent, moment(1)), None);
    }

    #[test]
    fn r15_a_clock_that_went_back_ends_the_bar() {
        let early = Moment::new(seconds(1_000_000), seconds(3));
        assert_eq!(attempt(0, None).bars_for(Patience::Aging, early), None);
    }

    #[test]
    fn r15_what_is_written_changes_only_with_its_format() {
        let held = LockState::HeldUntil(300_000);
        let shown =
            (FORMAT, [held, LockState::Failed(attempt(0, None))].map(|it| hex(&it.bytes())));
        let wanted = [
            "6c22f78d8255f52001e0a712",
            "7b500bb78939ada00201680761636d652b636901638094ebdc03c0843db0ea010109697420666169\
             6c6564076d656e642069740000",
        ];
        assert_eq!(shown, (4, wanted.map(str::to_owned)), "a change needs another FORMAT");
    }

    #[test]
    fn r23_half_a_lock_state_is_an_empty_one() {
        let bytes = LockState::Failed(attempt(0, None)).bytes();
        let now = moment(0).boot();
        assert_eq!(LockState::of(&bytes, now), LockState::Failed(attempt(0, None)));
        assert_eq!(LockState::of(&bytes[..bytes.len() - 1], now), LockState::Empty);
    }
}
