//! Stops asking a provider that keeps failing, and asks again now and then whether it is back.
//!
//! ```text
//!          failures in a row           its pause is over
//! closed ───────────────────▶ open ──────────────────────▶ half open ──▶ closed   (the probe succeeded)
//!                               ▲                             │
//!                               └─────────────────────────────┘                   (it failed: a longer pause)
//! ```
//! Pure: the time comes in with each call. Whoever shares a breaker puts it behind a mutex.

use std::time::{Duration, Instant};

use super::Error;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Failures in a row that open it. Default 5.
    pub failures: u32,
    /// How long the first pause is; each failed probe doubles it. Default 1 s.
    pub first_pause: Duration,
    /// The longest pause: a provider that is back is noticed after that at the latest. Default 15 s.
    pub longest_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { failures: 5, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(15) }
    }
}

/// Whether a provider may be asked.
#[derive(Debug, Clone)]
pub struct Breaker {
    config: Config,
    state: State,
    /// Goes up with every change of state, so that a call which began before it does not count after it.
    epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One probe is under way. Should it never report, another may follow it after this moment.
    HalfOpen {
        next_probe: Instant,
        pause: Duration,
    },
}

/// The right to one call, to be handed back to [`Breaker::record`] with what came of it; dropping it records nothing.
#[derive(Debug)]
#[must_use = "a permit is for one call, whose outcome is to be recorded"]
pub struct Permit {
    epoch: u64,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The provider answered, be it with a refusal of this request.
    Alive,
    /// The provider failed.
    Failed,
    /// The call says nothing of the provider: its caller withdrew.
    Unknown,
}

impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        match error {
            Error::Overloaded { .. }
            | Error::Server { .. }
            | Error::Connection { .. }
            | Error::Timeout { .. }
            | Error::Unavailable(_)
            | Error::Engine(_) => Outcome::Failed,
            Error::ContextTooLong { .. }
            | Error::Authentication { .. }
            | Error::InvalidRequest { .. }
            | Error::ContentFilter { .. } => Outcome::Alive,
            Error::Cancelled => Outcome::Unknown,
        }
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(config: Config) -> Self {
        Self { config, state: State::Closed { failures: 0 }, epoch: 0 }
    }

    /// The right to one call.
    ///
    /// # Errors
    /// The time after which it is worth asking again.
    pub fn allow(&mut self, now: Instant) -> Result<Permit, Duration> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until: wait, .. } | State::HalfOpen { next_probe: wait, .. } if now < wait => {
                return Err(wait - now);
            }
            State::Open { pause, .. } | State::HalfOpen { pause, .. } => {
                self.enter(State::HalfOpen { next_probe: now + pause, pause });
            }
        }
        Ok(Permit { epoch: self.epoch })
    }

    /// Notes what came of a call. Returns the pause where that opened the breaker.
    pub fn record(&mut self, permit: Permit, outcome: Outcome, now: Instant) -> Option<Duration> {
        if permit.epoch != self.epoch {
            return None;
        }
        match (outcome, &mut self.state) {
            (Outcome::Alive, State::Closed { failures }) => *failures = 0,
            (Outcome::Alive, _) => self.enter(State::Closed { failures: 0 }),
            (Outcome::Failed, State::Closed { failures }) => {
                *failures += 1;
                if *failures >= self.config.failures {
                    return Some(self.open(self.config.first_pause, now));
                }
            }
            (Outcome::Failed, State::HalfOpen { pause, .. }) => {
                let pause = pause.saturating_mul(2).min(self.config.longest_pause);
                return Some(self.open(pause, now));
            }
            // The probe found nothing out: the next caller may try at once.
            (Outcome::Unknown, State::HalfOpen { next_probe, .. }) => *next_probe = now,
            (_, State::Open { .. }) | (Outcome::Unknown, State::Closed { .. }) => {}
        }
        None
    }

    fn open(&mut self, pause: Duration, now: Instant) -> Duration {
        self.enter(State::Open { until: now + pause, pause });
        pause
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(start: Instant) -> Breaker {
        let mut breaker = Breaker::new(Config::default());
        for _ in 0..Config::default().failures {
            let permit = breaker.allow(start).expect("closed until now");
            breaker.record(permit, Outcome::Failed, start);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_starts_the_count_again() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Config::default());
        for outcome in [Outcome::Failed, Outcome::Failed, Outcome::Failed, Outcome::Failed, Outcome::Alive] {
            for _ in 0..3 {
                let permit = breaker.allow(now).expect("closed");
                breaker.record(permit, Outcome::Alive, now);
            }
            let permit = breaker.allow(now).expect("closed");
            breaker.record(permit, outcome, now);
        }
        assert!(breaker.allow(now).is_ok());
        assert_eq!(opened(now).allow(now).expect_err("open"), SECOND);
    }

    #[test]
    fn one_probe_at_a_time_asks_whether_the_provider_is_back() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let probe = breaker.allow(start + SECOND).expect("the pause is over");
        assert_eq!(breaker.allow(start + SECOND).expect_err("a probe is under way"), SECOND);
        breaker.record(probe, Outcome::Alive, start + SECOND);
        assert!(breaker.allow(start + SECOND).is_ok());
        assert!(breaker.allow(start + SECOND).is_ok());
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = breaker.allow(now).expect_err("open");
            pauses.push(pause.as_secs());
            now += pause;
            let probe = breaker.allow(now).expect("the pause is over");
            let longer = breaker.record(probe, Outcome::Failed, now);
            assert_eq!(longer, breaker.clone().allow(now).err(), "it says that it opened, and for how long");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
    }

    #[test]
    fn a_probe_that_never_reports_does_not_hold_the_breaker() {
        let start = Instant::now();
        let mut breaker = opened(start);
        drop(breaker.allow(start + SECOND).expect("the pause is over"));
        assert!(breaker.allow(start + SECOND).is_err());
        assert!(breaker.allow(start + 2 * SECOND).is_ok());
    }

    #[test]
    fn a_withdrawn_probe_lets_the_next_one_through_at_once() {
        let start = Instant::now();
        let mut breaker = opened(start);
        let probe = breaker.allow(start + SECOND).expect("the pause is over");
        breaker.record(probe, Outcome::Unknown, start + SECOND);
        assert!(breaker.allow(start + SECOND).is_ok());
    }

    #[test]
    fn a_call_from_before_the_outage_does_not_end_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new(Config::default());
        let early = breaker.allow(start).expect("closed");
        for _ in 0..5 {
            let permit = breaker.allow(start).expect("closed");
            breaker.record(permit, Outcome::Failed, start);
        }
        breaker.record(early, Outcome::Alive, start);
        assert!(breaker.allow(start).is_err());
    }

    #[test]
    fn a_minute_of_outage_costs_few_probes_and_ends_within_half_a_minute_of_recovery() {
        let start = Instant::now();
        let (outage, tick) = (60 * SECOND, Duration::from_millis(100));
        let mut breaker = Breaker::new(Config::default());
        let mut failed = 0;
        for n in 0..1_000 {
            let now = start + tick * n;
            if let Ok(permit) = breaker.allow(now) {
                let down = now < start + outage;
                failed += u32::from(down);
                breaker.record(permit, if down { Outcome::Failed } else { Outcome::Alive }, now);
            }
            if now >= start + outage + 15 * SECOND {
                assert!(breaker.allow(now).is_ok(), "back at {:?}", now - start);
            }
        }
        assert!(failed <= 12, "{failed} calls were wasted on a provider that was down");
    }

    proptest! {
        #[test]
        fn whoever_waits_as_long_as_told_may_ask(steps in prop::collection::vec((0u64..4000, 0u8..4), 1..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(Config::default());
            for (wait, outcome) in steps {
                now += Duration::from_millis(wait);
                match breaker.allow(now) {
                    Ok(permit) => {
                        let opened = match outcome {
                            0 => breaker.record(permit, Outcome::Alive, now),
                            1 => breaker.record(permit, Outcome::Unknown, now),
                            2 => breaker.record(permit, Outcome::Failed, now),
                            _ => None,
                        };
                        prop_assert!(opened.is_none_or(|pause| breaker.clone().allow(now).err() == Some(pause)));
                    }
                    Err(wait) => {
                        prop_assert!(wait <= Config::default().longest_pause);
                        prop_assert!(breaker.clone().allow(now + wait).is_ok());
                    }
                }
            }
        }
    }
}
