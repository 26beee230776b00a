//! How many threads decode, beside whatever else the machine is doing.
//!
//! llama.cpp's threads meet at a barrier after each operation and wait there busily. Where other programs take the
//! cores, each barrier waits for a thread that the system has put aside: two threads then did less than a fifth of what
//! one did. So the engine's thread, which never sleeps in a step, looks how long it was kept from a core meanwhile, and
//! [`Threads`] gives way where that is much and tries again later, each time it fails twice as late.

use std::fs;
use std::time::Duration;

/// Steps are looked at together until they took so long.
const WINDOW: Duration = Duration::from_millis(300);
/// Kept from its core for more of the time than this, a thread has a competitor.
const CROWDED: f64 = 0.15;
/// The pause before more threads are tried for the first time, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));

/// The number of threads, by what steps were like.
#[derive(Debug)]
pub(crate) struct Threads {
    most: usize,
    now: usize,
    /// Of the steps since the last look.
    took: Duration,
    /// How long the thread had waited for a core by then.
    waited: Option<Duration>,
    /// Since the number last changed, in steps.
    calm: Duration,
    pause: Duration,
}

impl Threads {
    /// At first as many as there may be.
    pub(crate) fn new(most: usize) -> Self {
        let zero = Duration::ZERO;
        Self { most, now: most, took: zero, waited: None, calm: zero, pause: PAUSE.0 }
    }

    /// Notes a step that took so long. Now and then it asks how long the thread has `waited` for a core since it began,
    /// which takes a moment, and returns the number of threads where that changes it.
    pub(crate) fn note(
        &mut self,
        took: Duration,
        waited: impl FnOnce() -> Option<Duration>,
    ) -> Option<usize> {
        self.took += took;
        if self.most == 1 || self.took < WINDOW {
            return None;
        }
        let now = waited()?;
        let lately = self.waited.replace(now).map(|before| now.saturating_sub(before));
        let crowded = lately.is_some_and(|waited| waited.as_secs_f64() > CROWDED * self.took.as_secs_f64());
        self.calm += self.took;
        self.took = Duration::ZERO;
        let next = match self.now {
            now if crowded && now > 1 => {
                // Right after an attempt with more, the next one has time.
                let soon = self.calm <= PAUSE.0;
                self.pause = if soon { (self.pause * 2).min(PAUSE.1) } else { PAUSE.0 };
                now / 2
            }
            now if !crowded && now < self.most && self.calm >= self.pause => (now * 2).min(self.most),
            _ => return None,
        };
        self.now = next;
        self.calm = Duration::ZERO;
        Some(next)
    }
}

/// How long this thread has waited for a core since it began, as Linux counts; nothing elsewhere.
pub(crate) fn waited() -> Option<Duration> {
    let counts = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    counts.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    /// The changes over so many steps, of which the thread waited a share.
    fn changes(threads: &mut Threads, steps: usize, share: f64) -> Vec<usize> {
        let mut waited = threads.waited.unwrap_or_default();
        let step = |_| {
            waited += STEP.mul_f64(share);
            threads.note(STEP, || Some(waited))
        };
        (0..steps).filter_map(step).collect()
    }

    #[test]
    fn a_crowded_machine_gets_fewer_threads_and_a_quiet_one_all_of_them_again() {
        let mut threads = Threads::new(8);
        assert_eq!(changes(&mut threads, 100, 0.05), [0usize; 0]);
        assert_eq!(changes(&mut threads, 12, 0.5), [4, 2, 1]);
        assert_eq!(changes(&mut threads, 100, 0.5), [0usize; 0], "one is always left");
        assert_eq!(changes(&mut threads, 1000, 0.0), [2, 4, 8]);
    }

    #[test]
    fn more_threads_are_tried_ever_more_seldom_where_they_do_not_get_on() {
        let mut threads = Threads::new(2);
        let (mut attempts, mut waited) = (0, Duration::ZERO);
        // An hour on a machine where one thread has a core and two do not.
        for _ in 0..36_000 {
            let share = if threads.now == 1 { 0.0 } else { 0.5 };
            waited += STEP.mul_f64(share);
            attempts += usize::from(threads.note(STEP, || Some(waited)) == Some(2));
        }
        assert!((20..60).contains(&attempts), "{attempts}");
    }

    #[test]
    fn a_single_thread_stays_one() {
        assert_eq!(changes(&mut Threads::new(1), 100, 0.9), [0usize; 0]);
    }

    #[test]
    fn waiting_for_a_core_is_counted_where_linux_counts_it() {
        if let (Some(before), Some(after)) = (waited(), waited()) {
            assert!(before <= after);
        }
    }
}
