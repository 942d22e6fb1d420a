//! Whether whoever holds a lock gets on (R16).

use std::time::Duration;

use crate::cache::attempt::LockState;

/// How long a held lock may say nothing before a waiter takes it for one that never will.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);
/// Watches a lock that somebody else holds for signs that they do not get on: their own deadline
/// has passed, or they have not even said one. Seen twice, since the lock may change hands between
/// two looks.
#[derive(Default)]
pub(super) struct Silence {
    says_nothing_since: Option<Duration>,
    overdue_since: Option<(u64, Duration)>,
    first_over: Option<Duration>,
}

impl Silence {
    /// Looks at the state of the lock's file, at the reading `now` of the boot clock.
    pub(super) fn is_over(&mut self, state: &LockState, now: Duration) -> bool {
        let is_over = self.has_ended(state, now);
        if !is_over {
            self.first_over = None;
        }
        is_over
    }

    /// Whether nobody has taken the place that long after it could be.
    pub(super) fn is_hopeless(&mut self, now: Duration) -> bool {
        now.saturating_sub(*self.first_over.get_or_insert(now)) >= LONGEST_SILENCE
    }

    fn has_ended(&mut self, state: &LockState, now: Duration) -> bool {
        const SEEN_AGAIN: Duration = Duration::from_millis(100);
        match state {
            LockState::HeldUntil(until) if state.is_overdue(now) => {
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
