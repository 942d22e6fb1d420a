//! The moment by which something must have ended.

use std::time::Duration;

/// A moment on the boot clock (`CLOCK_BOOTTIME`), which goes on while a host sleeps and which all
/// processes of a host share: one process can judge the deadline that another wrote down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Duration);

impl Deadline {
    /// The deadline at a reading of the boot clock.
    pub const fn at(boot: Duration) -> Self {
        Self(boot)
    }

    /// The deadline that lies `duration` after the reading `now` of the boot clock.
    pub const fn after(now: Duration, duration: Duration) -> Self {
        Self(now.saturating_add(duration))
    }

    /// The reading of the boot clock at which it ends.
    pub const fn boot(self) -> Duration {
        self.0
    }

    /// What is left at the reading `now` of the boot clock; zero once it has passed.
    pub const fn left(self, now: Duration) -> Duration {
        self.0.saturating_sub(now)
    }

    /// Whether it has passed at the reading `now` of the boot clock.
    pub fn has_passed(self, now: Duration) -> bool {
        now >= self.0
    }
}
