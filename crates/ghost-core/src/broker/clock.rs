//! The store's time: milliseconds that never run backwards, whatever the wall clock does.
//!
//! Every transaction writes the time it ran at into the store and the next one, of whatever process, starts from
//! there. Tests hold a clock that stands still until they move it, so that none of them has to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lifecycle::Timestamp;

/// Where a store's time comes from. Clones share one time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
struct Source {
    follows_the_wall: bool,
    latest: AtomicU64,
}

impl Clock {
    /// The wall clock.
    pub fn system() -> Self {
        Self(Arc::new(Source { follows_the_wall: true, latest: AtomicU64::new(0) }))
    }

    /// A clock that stands at `start` until [`Self::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source { follows_the_wall: false, latest: AtomicU64::new(start.0) }))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        if self.0.follows_the_wall {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.at_least(Timestamp::default().plus(wall));
        }
        Timestamp(self.0.latest.load(Ordering::SeqCst))
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        self.at_least(self.now().plus(by));
    }

    /// Learns that it is `known` already.
    pub(super) fn at_least(&self, known: Timestamp) {
        self.0.latest.fetch_max(known.0, Ordering::SeqCst);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards() {
        let clock = Clock::system();
        let future = clock.now().plus(Duration::from_secs(3600));
        clock.at_least(future);
        assert_eq!(clock.now(), future, "the wall clock is an hour behind what is known");
    }

    #[test]
    fn a_manual_clock_moves_only_when_it_is_moved_and_its_clones_with_it() {
        let clock = Clock::manual(Timestamp(1_000));
        let other = clock.clone();
        clock.advance(Duration::from_millis(5));
        assert_eq!(other.now(), Timestamp(1_005));
    }
}
