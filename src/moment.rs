//! A moment by both clocks, and how much time has passed since (R13).

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// How far a clock may be behind an earlier moment.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// A reading of both clocks, in milliseconds. Wall time can be set, boot time can start again:
/// only together do they tell how much time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    #[serde(deserialize_with = "before_the_year_10000")]
    wall: u64,
    #[serde(deserialize_with = "before_the_year_10000")]
    boot: u64,
}

/// A reading that was written down is one that a clock may show, and a date that can be written.
fn before_the_year_10000<'de, D: Deserializer<'de>>(reader: D) -> Result<u64, D::Error> {
    const FIRST_OF_JANUARY: u64 = 253_402_300_800_000;
    let milliseconds = u64::deserialize(reader)?;
    if milliseconds < FIRST_OF_JANUARY {
        Ok(milliseconds)
    } else {
        Err(D::Error::custom("no clock shows this"))
    }
}

impl Moment {
    /// The moment at readings of the wall clock (since 1970) and the boot clock.
    pub fn new(wall: Duration, boot: Duration) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { wall: milliseconds(wall), boot: milliseconds(boot) }
    }

    /// The reading of the wall clock, since 1970.
    pub const fn wall(self) -> Duration {
        Duration::from_millis(self.wall)
    }

    /// The reading of the boot clock.
    pub const fn boot(self) -> Duration {
        Duration::from_millis(self.boot)
    }

    /// How much time has passed until `now`: the larger of what the two clocks say, or nothing
    /// where one of them has gone back by more than 5 s.
    pub fn elapsed(self, now: Self) -> Option<Duration> {
        let passed = |then: Duration, now: Duration| {
            (now + CLOCK_TOLERANCE >= then).then(|| now.saturating_sub(then))
        };
        Some(passed(self.wall(), now.wall())?.max(passed(self.boot(), now.boot())?))
    }

    /// What is left of `lifetime` that began here; nothing where a clock has gone back.
    pub fn left(self, lifetime: Duration, now: Self) -> Duration {
        self.elapsed(now).map_or(Duration::ZERO, |passed| lifetime.saturating_sub(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn r13_the_clock_that_says_less_is_believed_and_one_that_went_back_ends_it() {
        let then = Moment::new(seconds(10_000), seconds(500));
        for (wall, boot, left) in [
            (10_000, 500, 3600),
            (10_100, 600, 3500),
            (10_000, 600, 3500),
            (10_100, 500, 3500),
            (9_996, 500, 3600),
            (9_994, 500, 0),
            (10_100, 494, 0),
            (20_000, 500, 0),
        ] {
            let now = Moment::new(seconds(wall), seconds(boot));
            assert_eq!(then.left(HOUR, now), seconds(left), "{wall} {boot}");
        }
    }
}
