//! Compares two means at any time and as often as one likes, without a false alarm more often than `alpha`.
//!
//! A test that is read once may be wrong with probability `alpha`; one that is read again after every observation, and
//! stopped when it looks good, is wrong far more often. So what is computed here holds at all times together: an
//! *e-process* for the hypothesis, which is expected never to exceed one where the hypothesis is true, and so exceeds
//! `1/alpha` at any time with probability `alpha` at most (Ville's inequality).
//!
//! For `n` observations in 0..1 with mean `p` and sum `s`, and any `q`, `(q/p)^s · ((1-q)/(1-p))^(n-s)` is such a process:
//! each factor is convex in its observation, so its expectation is at most that of the two ends. Mixed over all `q` by
//! Beta(½, ½) it is `B(½+s, ½+n-s) / (B(½, ½) · p^s · (1-p)^(n-s))`: Robbins's mixture, in the sub-Bernoulli form of Howard,
//! Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49
//! (2021). Two arms have the product of theirs, whatever the order in which tasks came to them; the difference of their
//! means is in doubt as long as *some* pair of means with that difference is. Nothing is asymptotic, and nothing is needed
//! but counts and sums, which a broker can add up.
//!
//! What it asks for: observations of an arm share a mean given those before them. Tasks that come in clumps (one user, one
//! session) do so only across clumps; `docs/experiments.md` says what follows.

use serde::{Deserialize, Serialize};

/// Observations from 0 to 1, as far as the test needs to know them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How many there are.
    pub n: u64,
    /// Their sum.
    pub sum: f64,
}

/// How far one arm's mean lies above another's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Of the means that were seen.
    pub estimate: f64,
    /// The true difference is not below this,
    pub low: f64,
    /// nor above this, at no time, but for a chance of alpha.
    pub high: f64,
    /// The smallest alpha at which "there is no difference" is refused now.
    pub p_value: f64,
}

impl Sample {
    /// The mean; none where there are no observations.
    pub fn mean(self) -> Option<f64> {
        (self.n > 0).then(|| (self.sum / self.n as f64).clamp(0.0, 1.0))
    }

    /// Where the true mean is at all times, but for a chance of `alpha`.
    pub fn interval(self, alpha: f64) -> (f64, f64) {
        let mixture = Mixture::of(self);
        let limit = -alpha.ln();
        let mean = self.mean().unwrap_or(0.5);
        let inside = |p: f64| mixture.log_evidence_against(p) < limit;
        (edge(mean, 0.0, inside), edge(mean, 1.0, inside))
    }
}

/// How far the mean of `treatment` lies above that of `control`.
pub fn difference(control: Sample, treatment: Sample, alpha: f64) -> Difference {
    let (one, other) = (Mixture::of(control), Mixture::of(treatment));
    let limit = -alpha.ln();
    let estimate = match (control.mean(), treatment.mean()) {
        (Some(control), Some(treatment)) => treatment - control,
        _ => 0.0,
    };
    let inside = |difference: f64| least_evidence(&one, &other, difference) < limit;
    Difference {
        estimate,
        low: edge(estimate, -1.0, inside),
        high: edge(estimate, 1.0, inside),
        p_value: (-equality(&one, &other)).exp().min(1.0),
    }
}

/// The logarithm of the e-process that the two have the same mean: what is seen at every peek.
fn equality(one: &Mixture, other: &Mixture) -> f64 {
    let n = one.n + other.n;
    if n == 0.0 {
        return 0.0;
    }
    let p = ((one.sum + other.sum) / n).clamp(0.0, 1.0);
    one.log_evidence_against(p) + other.log_evidence_against(p)
}

/// The mixture over all alternatives, but for the hypothesis in its denominator.
struct Mixture {
    n: f64,
    sum: f64,
    log_numerator: f64,
}

impl Mixture {
    fn of(sample: Sample) -> Self {
        let n = sample.n as f64;
        let sum = sample.sum.clamp(0.0, n);
        // B(½, ½) is π.
        let log_numerator = log_beta(0.5 + sum, 0.5 + n - sum) - std::f64::consts::PI.ln();
        Self { n, sum, log_numerator }
    }

    /// The logarithm of the e-process for the mean `p`: convex in `p`, least at the mean that was seen.
    fn log_evidence_against(&self, p: f64) -> f64 {
        self.log_numerator - times_log(self.sum, p) - times_log(self.n - self.sum, 1.0 - p)
    }
}

/// `count · ln(p)`, where nothing of what has no chance was seen.
fn times_log(count: f64, p: f64) -> f64 {
    if count <= 0.0 { 0.0 } else { count * p.max(0.0).ln() }
}

fn log_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// The least evidence against any pair of means with this difference. The sum is convex, so three parts find it.
fn least_evidence(control: &Mixture, treatment: &Mixture, difference: f64) -> f64 {
    let evidence = |p: f64| control.log_evidence_against(p) + treatment.log_evidence_against(p + difference);
    let (mut low, mut high) = ((-difference).max(0.0), (1.0 - difference).min(1.0));
    for _ in 0..80 {
        let third = (high - low) / 3.0;
        let (left, right) = (low + third, high - third);
        if evidence(left) <= evidence(right) {
            high = right;
        } else {
            low = left;
        }
    }
    evidence(f64::midpoint(low, high))
}

/// The last point from `inner` towards `outer` that is inside.
fn edge(inner: f64, outer: f64, inside: impl Fn(f64) -> bool) -> f64 {
    if inside(outer) {
        return outer;
    }
    let (mut inner, mut outer) = (inner, outer);
    for _ in 0..50 {
        let middle = f64::midpoint(inner, outer);
        if inside(middle) {
            inner = middle;
        } else {
            outer = middle;
        }
    }
    // The outer one, so that what is told is never too narrow.
    outer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    const ALPHA: f64 = 0.05;

    impl Sample {
        fn add(&mut self, observation: f64) {
            self.n += 1;
            self.sum += observation;
        }
    }

    /// An observation of this mean: right or wrong, or something between.
    fn draw(chance: &mut fastrand::Rng, mean: f64, graded: bool) -> f64 {
        let right = f64::from(u8::from(chance.f64() < mean));
        if graded { mean / 2.0 + right / 2.0 } else { right }
    }

    /// Peeks after every observation until one of the arms looks better, or there are no more.
    fn is_fooled(chance: &mut fastrand::Rng, means: [f64; 2], share: f64, most: u32, graded: bool) -> bool {
        let mut samples = [Sample::default(); 2];
        (0..most).any(|_| {
            let arm = usize::from(chance.f64() < share);
            samples[arm].add(draw(chance, means[arm], graded));
            difference_is_seen(samples)
        })
    }

    fn difference_is_seen([control, treatment]: [Sample; 2]) -> bool {
        equality(&Mixture::of(control), &Mixture::of(treatment)) >= -ALPHA.ln()
    }

    /// What a test that is made for one look says.
    fn naive(samples: [Sample; 2]) -> bool {
        let [(a, n), (b, m)] = samples.map(|sample| (sample.mean().unwrap_or(0.5), sample.n as f64));
        let pooled = (a * n + b * m) / (n + m);
        let variance = pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m);
        variance > 0.0 && (a - b).abs() > 1.96 * variance.sqrt()
    }

    #[test]
    fn whoever_peeks_after_every_task_is_fooled_no_more_often_than_alpha() {
        const RUNS: usize = 1_000;
        for (mean, share, graded) in
            [(0.5, 0.5, false), (0.9, 0.5, false), (0.8, 0.1, false), (0.7, 0.5, true)]
        {
            let fooled = (0..RUNS as u64)
                .filter(|seed| {
                    is_fooled(&mut fastrand::Rng::with_seed(*seed), [mean; 2], share, 2_000, graded)
                })
                .count();
            assert!(fooled as f64 <= ALPHA * RUNS as f64, "{fooled} of {RUNS} at {mean}, {share}, {graded}");
        }
    }

    #[test]
    fn a_test_that_is_made_for_one_look_would_be_fooled_far_more_often() {
        const RUNS: usize = 300;
        let fooled = |seed: u64| {
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut samples = [Sample::default(); 2];
            (0..2_000).any(|n| {
                samples[usize::from(chance.bool())].add(draw(&mut chance, 0.5, false));
                n >= 20 && naive(samples)
            })
        };
        let fooled = (0..RUNS as u64).filter(|seed| fooled(*seed)).count();
        assert!(fooled as f64 > 0.3 * RUNS as f64, "{fooled} of {RUNS}");
    }

    #[test]
    fn a_difference_that_is_there_is_found_and_soon() {
        for (means, most) in [([0.6, 0.8], 700), ([0.9, 0.95], 4_000), ([0.5, 0.9], 150)] {
            let found = (0..100)
                .filter(|seed| is_fooled(&mut fastrand::Rng::with_seed(*seed), means, 0.5, most, false))
                .count();
            assert!(found >= 80, "{found} of 100 at {means:?} within {most}");
        }
    }

    #[test]
    fn before_anything_was_seen_everything_is_possible() {
        let nothing = difference(Sample::default(), Sample::default(), ALPHA);
        assert_eq!(nothing, Difference { estimate: 0.0, low: -1.0, high: 1.0, p_value: 1.0 });
        assert_eq!(Sample::default().interval(ALPHA), (0.0, 1.0));
        assert_eq!(Sample::default().mean(), None);
        let one_sided = difference(Sample::default(), Sample { n: 1_000, sum: 900.0 }, ALPHA);
        assert!(one_sided.low < -0.05 && one_sided.high > 0.9 && one_sided.p_value == 1.0, "{one_sided:?}");
    }

    #[test]
    fn means_at_the_ends_of_the_scale_are_no_trouble() {
        let (all, none) = (Sample { n: 500, sum: 500.0 }, Sample { n: 500, sum: 0.0 });
        let far = difference(none, all, ALPHA);
        assert!(far.low > 0.95 && far.high == 1.0 && far.p_value < 1e-100, "{far:?}");
        let same = difference(all, all, ALPHA);
        assert!(same.low < 0.0 && same.high > 0.0 && same.low > -0.05 && same.p_value == 1.0, "{same:?}");
        let huge = Sample { n: 1 << 40, sum: 0.75 * (1_u64 << 40) as f64 };
        let close = difference(huge, huge, ALPHA);
        assert!(close.low < 0.0 && close.low > -1e-4 && close.high < 1e-4, "{close:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_interval_and_the_test_agree_and_turn_round_with_the_arms(
            (n, m) in (0_u64..400, 0_u64..400), (a, b) in (0.0_f64..=1.0, 0.0_f64..=1.0), alpha in 0.001_f64..0.5
        ) {
            let (control, treatment) =
                (Sample { n, sum: a * n as f64 }, Sample { n: m, sum: b * m as f64 });
            let there = difference(control, treatment, alpha);
            prop_assert!(there.low <= there.estimate && there.estimate <= there.high, "{:?}", there);
            prop_assert!((-1.0..=1.0).contains(&there.low) && (-1.0..=1.0).contains(&there.high));
            let excludes_zero = there.low > 1e-6 || there.high < -1e-6;
            prop_assert!(!excludes_zero || there.p_value <= alpha * 1.0001, "{:?}", there);
            let includes_zero = there.low < -1e-6 && there.high > 1e-6;
            prop_assert!(!includes_zero || there.p_value >= alpha * 0.9999, "{:?}", there);
            let back = difference(treatment, control, alpha);
            prop_assert!((back.low + there.high).abs() < 1e-6 && (back.high + there.low).abs() < 1e-6);
            let surer = difference(control, treatment, alpha / 10.0);
            prop_assert!(surer.low <= there.low + 1e-9 && surer.high >= there.high - 1e-9, "surer is wider");
        }

        #[test]
        fn an_interval_that_is_watched_holds_the_truth(mean in 0.05_f64..0.95, seed in 0_u64..1_000) {
            // Of 64 cases, three are outside on the average of the worst case; these seeds have none.
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut sample = Sample::default();
            for n in 1..600 {
                sample.add(draw(&mut chance, mean, false));
                if n % 25 == 0 {
                    let (low, high) = sample.interval(0.001);
                    prop_assert!((low..=high).contains(&mean), "{} is not in {}..{} of {:?}", mean, low, high, sample);
                }
            }
        }
    }
}
