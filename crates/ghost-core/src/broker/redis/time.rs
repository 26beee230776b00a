//! Redis's clock, read now and then and carried on by ours in between.
//!
//! Each step of a task needs the time, and asking Redis each time would double its commands. Ours only measures how long
//! ago it was read, so a clock that is set does no harm, and a time is never later than Redis's own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lifecycle::Timestamp;

/// How long one reading is carried on: clocks drift apart, and Redis's may be set or that of another machine.
const FRESH: Duration = Duration::from_millis(100);

/// The last reading.
#[derive(Default)]
pub(super) struct LastTime(Mutex<Option<(Timestamp, Instant)>>);

impl LastTime {
    /// The time at `now`; none where it was read too long ago.
    pub(super) fn at(&self, now: Instant) -> Option<Timestamp> {
        let (time, read) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = now.saturating_duration_since(read);
        (passed < FRESH).then(|| Timestamp(time.0 + passed.as_millis() as u64))
    }

    /// Notes what was read by `now`.
    pub(super) fn note(&self, time: Timestamp, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_carried_on_for_a_moment_and_no_longer() {
        let (last, begin) = (LastTime::default(), Instant::now());
        assert_eq!(last.at(begin), None);
        last.note(Timestamp(5000), begin);
        assert_eq!(last.at(begin + Duration::from_micros(7900)), Some(Timestamp(5007)));
        assert_eq!(last.at(begin + FRESH), None);
    }
}
