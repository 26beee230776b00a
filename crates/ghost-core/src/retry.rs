//! When to try again, and how long to wait before: exponential backoff with jitter, or what a server asks for.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Longer waits than a server can mean are cut to this.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// What a caller may do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again after the caller's own backoff.
    Now,
    /// Try again, not sooner than this.
    After(Duration),
    /// The same request will fail again.
    Never,
}

/// How long to wait before the n-th try: a random time of up to `min` doubled n−1 times, at most `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

/// A backoff that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a backoff grows from above zero to its maximum, not from {min:?} to {max:?}")]
pub struct Invalid {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits that grow from `min` to `max`.
    ///
    /// # Errors
    /// [`Invalid`] where `min` is zero or above `max`.
    pub const fn new(min: Duration, max: Duration) -> Result<Self, Invalid> {
        if min.is_zero() || min.as_nanos() > max.as_nanos() {
            return Err(Invalid { min, max });
        }
        Ok(Self { min, max })
    }

    /// The same for numbers that are known to make sense, as in a constant, where the compiler looks.
    ///
    /// # Panics
    /// Where `min` is zero or above `max`.
    pub const fn growing(min: Duration, max: Duration) -> Self {
        match Self::new(min, max) {
            Ok(backoff) => backoff,
            Err(_) => panic!("a backoff grows from above zero to its maximum"),
        }
    }

    /// The longest wait before the try after `failures` failures.
    pub fn ceiling(&self, failures: u32) -> Duration {
        self.min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.max)
    }

    /// A wait before the try after `failures` failures: half of [`Self::ceiling`] at least, so that it does grow, and
    /// the rest by chance, so that many callers do not come back at once.
    pub fn wait(&self, failures: u32, chance: &mut fastrand::Rng) -> Duration {
        self.ceiling(failures).mul_f64(0.5 + 0.5 * chance.f64())
    }

    /// The same by chance alone, from nothing to [`Self::ceiling`]: for many callers that lost the same server at the
    /// same moment.
    pub fn all_by_chance(&self, failures: u32, chance: &mut fastrand::Rng) -> Duration {
        self.ceiling(failures).mul_f64(chance.f64())
    }
}

/// How long a `Retry-After` header asks to wait, be it a number of seconds or a date; at most a day. None where it is
/// neither.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    seconds(text, 1.0).or_else(|| {
        let until = DateTimeParser::new().parse_timestamp(text).ok()?;
        let wait = until.as_millisecond().saturating_sub(now.as_millisecond());
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(LONGEST_ASKED))
    })
}

/// A number of units as a duration; none where it is no sensible number.
pub(crate) fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && number >= 0.0)
        .then(|| Duration::from_secs_f64((number * unit).min(LONGEST_ASKED.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(50), Duration::from_secs(5));

    #[test]
    fn waits_grow_to_the_maximum_and_no_further() {
        let ceilings: Vec<_> = (1..=9).map(|n| BACKOFF.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(BACKOFF.ceiling(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn a_wait_lies_between_half_its_ceiling_and_its_ceiling() {
        let mut chance = fastrand::Rng::with_seed(7);
        for failures in 1..20 {
            let wait = BACKOFF.wait(failures, &mut chance);
            assert!(wait >= BACKOFF.ceiling(failures) / 2 && wait <= BACKOFF.ceiling(failures));
        }
    }

    #[test]
    fn a_wait_by_chance_alone_spreads_over_all_of_its_ceiling() {
        let mut chance = fastrand::Rng::with_seed(7);
        let waits: Vec<_> = (0..1000).map(|_| BACKOFF.all_by_chance(7, &mut chance)).collect();
        assert!(waits.iter().all(|wait| *wait < BACKOFF.ceiling(7)));
        for tenth in 0..10 {
            let range = BACKOFF.ceiling(7) * tenth / 10..BACKOFF.ceiling(7) * (tenth + 1) / 10;
            assert!(waits.iter().any(|wait| range.contains(wait)), "nobody waited {range:?}");
        }
    }

    #[test]
    fn a_backoff_that_cannot_grow_is_refused() {
        assert!(Backoff::new(Duration::ZERO, Duration::from_secs(1)).is_err());
        assert!(Backoff::new(Duration::from_secs(2), Duration::from_secs(1)).is_err());
    }
}
