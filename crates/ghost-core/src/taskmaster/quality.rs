//! Says how good an order of prompts is: how much quality the strong model's calls buy, and how true the scores are.
//!
//! The figures of the field (RouteLLM, arXiv 2406.18665): the recovered share of the quality gap between the weak and
//! the strong model as a function of the share of calls to the strong one.

use serde::Serialize;

/// A scored prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The probability that the weak answer would not do: the higher, the sooner the strong model is called.
    pub score: f64,
    /// The quality of the weak model's answer, 0 to 1.
    pub weak: f64,
    /// The quality of the strong model's answer, 0 to 1.
    pub strong: f64,
}

/// A figure with its 95 % interval, by resampling the prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The figure on all prompts.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// How good a set of scores is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// How many prompts.
    pub prompts: usize,
    /// Mean quality with the weak model alone.
    pub weak: f64,
    /// Mean quality with the strong model alone.
    pub strong: f64,
    /// The recovered share of the gap, averaged over the deciles of calls; 0.5 is random.
    pub apgr: Figure,
    /// The share of calls that recovers half of the gap, in percent; 50 is random.
    pub cpt50: Figure,
    /// The share of calls that recovers four fifths of the gap, in percent; 80 is random.
    pub cpt80: Figure,
    /// The share of calls that reaches 95 % of the strong model's quality, in percent.
    pub calls_for_95: Figure,
    /// The mean distance between score and truth over ten equal groups of neighbouring scores.
    pub calibration_error: Figure,
}

const SAMPLES: usize = 400;

impl Quality {
    /// Measures scored prompts; equal scores keep their order. `seed` draws the samples of the intervals.
    pub fn of(scored: &[Scored], seed: u64) -> Option<Self> {
        let count = scored.len();
        let mean = |of: fn(&Scored) -> f64| scored.iter().map(of).sum::<f64>() / count.max(1) as f64;
        let (weak, strong) = (mean(|s| s.weak), mean(|s| s.strong));
        let measure = |scored: &[Scored]| {
            let curve = Curve::of(scored);
            [
                curve.apgr(),
                curve.calls_for_gap(0.5),
                curve.calls_for_gap(0.8),
                curve.calls_for_quality(0.95),
                calibration_error(scored),
            ]
        };
        if count == 0 || strong <= weak {
            return None;
        }
        let values = measure(scored);
        let mut random = fastrand::Rng::with_seed(seed);
        let samples: Vec<[f64; 5]> = (0..SAMPLES)
            .map(|_| measure(&(0..count).map(|_| scored[random.usize(..count)]).collect::<Vec<_>>()))
            .collect();
        let figure = |place: usize| {
            let mut sorted: Vec<f64> =
                samples.iter().map(|sample| sample[place]).filter(|value| value.is_finite()).collect();
            sorted.sort_by(f64::total_cmp);
            let end = |share: f64| {
                sorted
                    .get((sorted.len() as f64 * share) as usize)
                    .or(sorted.last())
                    .copied()
                    .unwrap_or(f64::NAN)
            };
            Figure { value: values[place], low: end(0.025), high: end(0.975) }
        };
        Some(Self {
            prompts: count,
            weak,
            strong,
            apgr: figure(0),
            cpt50: figure(1),
            cpt80: figure(2),
            calls_for_95: figure(3),
            calibration_error: figure(4),
        })
    }
}

/// What thresholds would do to prompts whose outcomes are known.
pub struct Calls {
    /// From the highest down.
    scores: Vec<f64>,
    curve: Curve,
}

/// A threshold and what it does: prompts with a higher score go to the strong model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Realised {
    /// The threshold, 0 to 1.
    pub threshold: f64,
    /// The share of prompts that go to the strong model.
    pub share: f64,
    /// The mean quality of all answers.
    pub quality: f64,
    /// The mean quality with the strong model alone.
    pub strong: f64,
}

impl Calls {
    /// Of scored prompts.
    pub fn of(scored: &[Scored]) -> Self {
        let mut scores: Vec<f64> = scored.iter().map(|scored| scored.score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        Self { scores, curve: Curve::of(scored) }
    }

    /// The threshold for a share of calls.
    pub fn share(&self, share: f64) -> Realised {
        self.first((share * self.scores.len() as f64).round() as usize)
    }

    /// The highest threshold that reaches this share of the strong model's quality, if any does.
    pub fn quality(&self, share: f64) -> Option<Realised> {
        (0..=self.scores.len())
            .map(|calls| self.first(calls))
            .find(|realised| realised.quality >= share * realised.strong - 1e-9)
    }

    /// The threshold at which so many prompts, as nearly as equal scores let it, go to the strong model.
    fn first(&self, calls: usize) -> Realised {
        let score = |place: usize| self.scores.get(place).copied();
        let threshold = match (calls.checked_sub(1).and_then(score), score(calls)) {
            (Some(last), Some(next)) => (last + next) / 2.0,
            (Some(_), None) => 0.0,
            (None, Some(next)) => next,
            (None, None) => 1.0,
        };
        let above = self.scores.partition_point(|score| *score > threshold);
        let count = self.scores.len().max(1) as f64;
        Realised {
            threshold,
            share: above as f64 / count,
            quality: (self.curve.weak + self.curve.gained[above]) / count,
            strong: self.curve.strong / count,
        }
    }
}

/// What each further call to the strong model has gained, from the highest score down.
struct Curve {
    weak: f64,
    strong: f64,
    gained: Vec<f64>,
}

impl Curve {
    fn of(scored: &[Scored]) -> Self {
        let mut order: Vec<&Scored> = scored.iter().collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut sum = 0.0;
        let gains = order.iter().map(|s| {
            sum += s.strong - s.weak;
            sum
        });
        let gained = std::iter::once(0.0).chain(gains).collect();
        Self {
            weak: scored.iter().map(|s| s.weak).sum(),
            strong: scored.iter().map(|s| s.strong).sum(),
            gained,
        }
    }

    fn gap(&self) -> f64 {
        self.strong - self.weak
    }

    fn at(&self, share: f64) -> f64 {
        let place = share * (self.gained.len() - 1) as f64;
        let (below, rest) = (place.floor(), place.fract());
        let after = self.gained[(below as usize + 1).min(self.gained.len() - 1)];
        (self.gained[below as usize] * (1.0 - rest) + after * rest) / self.gap()
    }

    fn apgr(&self) -> f64 {
        (0..10)
            .map(|tenth| (self.at(f64::from(tenth) / 10.0) + self.at(f64::from(tenth + 1) / 10.0)) / 20.0)
            .sum()
    }

    fn calls_for_gap(&self, share: f64) -> f64 {
        self.calls_until(share * self.gap())
    }

    fn calls_for_quality(&self, share: f64) -> f64 {
        self.calls_until(share * self.strong - self.weak)
    }

    fn calls_until(&self, gain: f64) -> f64 {
        let calls =
            self.gained.iter().position(|gained| *gained >= gain - 1e-9).unwrap_or(self.gained.len() - 1);
        100.0 * calls as f64 / (self.gained.len() - 1) as f64
    }
}

fn calibration_error(scored: &[Scored]) -> f64 {
    let mut sorted: Vec<&Scored> = scored.iter().collect();
    sorted.sort_by(|a, b| a.score.total_cmp(&b.score));
    let group = sorted.len().div_ceil(10).max(1);
    let distance =
        |group: &[&Scored]| group.iter().map(|scored| scored.score - (1.0 - scored.weak)).sum::<f64>().abs();
    sorted.chunks(group).map(distance).sum::<f64>() / sorted.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(score: impl Fn(usize) -> f64) -> Vec<Scored> {
        // The weak model fails at every fourth, the strong one never.
        (0..400)
            .map(|i| Scored { score: score(i), weak: f64::from(u8::from(i % 4 != 0)), strong: 1.0 })
            .collect()
    }

    #[test]
    fn a_perfect_order_recovers_the_gap_with_the_calls_that_it_takes() {
        let quality = Quality::of(&prompts(|i| f64::from(u8::from(i % 4 == 0))), 1).expect("a gap");
        assert!((quality.apgr.value - 0.87).abs() < 0.01, "{quality:?}");
        assert_eq!((quality.cpt50.value, quality.cpt80.value), (12.5, 20.0));
        assert_eq!(quality.calls_for_95.value, 20.0);
        assert_eq!(quality.calibration_error.value, 0.0);
        assert!(quality.apgr.low <= quality.apgr.value && quality.apgr.value <= quality.apgr.high);
    }

    #[test]
    fn an_order_that_knows_nothing_is_worth_a_half() {
        let quality = Quality::of(&prompts(|_| 0.25), 1).expect("a gap");
        assert!((quality.apgr.value - 0.5).abs() < 0.01, "{quality:?}");
        assert!((quality.cpt50.value - 50.0).abs() < 1.0 && quality.calibration_error.value < 0.01);
    }

    #[test]
    fn a_threshold_realises_the_share_and_the_quality_that_was_asked_for() {
        let calls =
            Calls::of(&prompts(|i| if i % 4 == 0 { 0.9 - i as f64 / 1e4 } else { 0.1 + i as f64 / 1e4 }));
        let tenth = calls.share(0.1);
        assert_eq!((tenth.share, tenth.quality), (0.1, 0.85));
        let quality = calls.quality(0.95).expect("it can be reached");
        assert_eq!((quality.share, quality.quality), (0.2, 0.95));
        assert_eq!((calls.share(0.0).share, calls.share(1.0).share), (0.0, 1.0));
    }

    #[test]
    fn models_that_are_equally_good_have_no_gap_to_recover() {
        assert_eq!(Quality::of(&[], 1), None);
        assert_eq!(Quality::of(&[Scored { score: 0.5, weak: 1.0, strong: 1.0 }], 1), None);
    }
}
