//! How fresh a token is: what is left of its life, and what that means for a `get` (R12).

use std::time::Duration;

/// The bounds of the factor that spreads the refreshes of a fleet.
pub const SPREAD: (f64, f64) = (2.0 / 3.0, 14.0 / 15.0);

/// The longest life that a robot token is believed to have (R13).
pub const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// What a token's age means for a `get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// It is answered.
    Fresh,
    /// One short try to renew it, without waiting for anybody; it is good enough otherwise.
    Aging,
    /// It is renewed with the whole deadline; it is still answered if that fails.
    Short,
    /// It is not answered any more.
    Spent,
}

impl Freshness {
    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Aging => "aging",
            Self::Short => "short",
            Self::Spent => "spent",
        }
    }
}

/// The moments of a life of `lifetime`, as what is left at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From here on it is Aging.
    pub aging: Duration,
    /// From here on it is Short: m in R12.
    pub short: Duration,
    /// From here on it is Spent: s in R12.
    pub spent: Duration,
}

impl Schedule {
    /// The schedule of a token that lives for `lifetime`. `spread` is the token's own random factor
    /// within [`SPREAD`]: hosts that got their tokens together must not renew them together.
    pub fn of(lifetime: Duration, min_validity: Option<Duration>, spread: f64) -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let spent = minutes(1).min(lifetime / 10);
        let most = lifetime.saturating_sub(minutes(5)).max(lifetime / 2);
        let short =
            min_validity.unwrap_or_else(|| minutes(15).min(lifetime / 4)).min(most).max(spent);
        let age_at_refresh =
            lifetime.saturating_sub(short).mul_f64(spread.clamp(SPREAD.0, SPREAD.1));
        Self { aging: lifetime.saturating_sub(age_at_refresh), short, spent }
    }

    /// What it means that `left` of the life is left.
    pub fn freshness(&self, left: Duration) -> Freshness {
        if left > self.aging {
            Freshness::Fresh
        } else if left > self.short {
            Freshness::Aging
        } else if left > self.spent {
            Freshness::Short
        } else {
            Freshness::Spent
        }
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
    fn r12_an_hour_is_renewed_between_50_and_70_percent_of_its_life() {
        let early = Schedule::of(HOUR, None, SPREAD.0);
        let late = Schedule::of(HOUR, None, SPREAD.1);
        assert_eq!(
            early,
            Schedule { aging: seconds(1800), short: seconds(900), spent: seconds(60) }
        );
        assert_eq!(late.aging, seconds(1080));
    }

    #[test]
    fn r12_min_validity_is_clamped_between_spent_and_what_leaves_time_to_renew() {
        for (lifetime, min_validity, short) in [
            (3600, None, 900),
            (3600, Some(1800), 1800),
            (3600, Some(36_000), 3300),
            (3600, Some(1), 60),
            (600, None, 150),
            (600, Some(590), 300),
            (60, None, 15),
            (20, None, 5),
            (20, Some(1), 2),
        ] {
            let schedule = Schedule::of(seconds(lifetime), min_validity.map(seconds), 0.8);
            assert_eq!(schedule.short, seconds(short), "{lifetime} {min_validity:?}");
            assert!(schedule.aging > schedule.short && schedule.short >= schedule.spent);
        }
    }

    #[test]
    fn r12_each_state_begins_where_it_should() {
        let schedule = Schedule::of(HOUR, None, SPREAD.0);
        for (left, wanted) in [
            (3600, Freshness::Fresh),
            (1801, Freshness::Fresh),
            (1800, Freshness::Aging),
            (901, Freshness::Aging),
            (900, Freshness::Short),
            (61, Freshness::Short),
            (60, Freshness::Spent),
            (0, Freshness::Spent),
        ] {
            assert_eq!(schedule.freshness(seconds(left)), wanted, "{left}");
        }
    }
}
