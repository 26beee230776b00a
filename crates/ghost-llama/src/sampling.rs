//! Chooses the next token from the model's logits, among those that the constraint allows.
//!
//! Without a temperature, or with one of 0, the likeliest. With one by chance, after llama.cpp's order: penalties,
//! `top_k`, `top_p`, `min_p`, temperature. The constraint is asked about the token that was chosen; only where it
//! refuses is it asked about all of them, since asking is what costs.

use std::collections::HashMap;

use fastrand::Rng;
use ghost_core::inference::Sampling;

/// How often a token drawn by chance may be refused before all are asked.
const DRAWS: usize = 16;
/// How far below the best score, in units of the temperature, a token has no chance worth counting: e⁻²⁰.
const NEGLIGIBLE: f32 = 20.0;
/// How many of the likeliest tokens are looked at first for `top_p`; most often they are enough.
const FIRST_LOOK: usize = 256;

/// How the tokens of one answer are chosen.
pub(crate) struct Sampler {
    /// In range.
    asked: Sampling,
    chance: Rng,
    /// How often the answer has each token, where that matters.
    counts: HashMap<usize, u32>,
    /// The logits with the penalties in them.
    scores: Vec<f32>,
}

/// A token and its score.
type Candidate = (usize, f32);

impl Sampler {
    /// A sampler that begins at the seed that is asked for, or at this one.
    pub(crate) fn new(asked: Sampling, seed: u64) -> Self {
        let chance = Rng::with_seed(asked.seed.unwrap_or(seed));
        Self { asked, chance, counts: HashMap::new(), scores: Vec::new() }
    }

    /// The next token; nothing where none is allowed.
    pub(crate) fn choose(&mut self, logits: &[f32], allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let mut scores = std::mem::take(&mut self.scores);
        let penalised = !self.counts.is_empty();
        if penalised {
            scores.clear();
            scores.extend_from_slice(logits);
            self.penalise(&mut scores);
        }
        let token = {
            let scores = if penalised { &scores } else { logits };
            match self.asked.temperature.filter(|&temperature| temperature > 0.0) {
                None => likeliest(scores, allowed),
                Some(temperature) => self.draw(scores, temperature, allowed),
            }
        };
        self.scores = scores;
        if let Some(token) = token.filter(|_| self.has_penalties()) {
            *self.counts.entry(token).or_default() += 1;
        }
        token
    }

    fn has_penalties(&self) -> bool {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.asked;
        repetition_penalty.is_some() || presence_penalty.is_some() || frequency_penalty.is_some()
    }

    fn penalise(&self, scores: &mut [f32]) {
        let repetition = self.asked.repetition_penalty.unwrap_or(1.0);
        let presence = self.asked.presence_penalty.unwrap_or(0.0);
        let frequency = self.asked.frequency_penalty.unwrap_or(0.0);
        for (&token, &count) in &self.counts {
            let score = &mut scores[token];
            // Either way a penalty above 1 makes the token less likely.
            *score = if *score > 0.0 { *score / repetition } else { *score * repetition };
            *score -= presence + frequency * count as f32;
        }
    }

    fn draw(&mut self, scores: &[f32], temperature: f32, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let floor = scores[likeliest(scores, |_| true)?] - NEGLIGIBLE * temperature.max(1.0);
        let candidates =
            (0..scores.len()).map(|token| (token, scores[token])).filter(|(_, score)| *score >= floor);
        let mut weights = self.weights(candidates.collect(), temperature);
        for _ in 0..DRAWS {
            let Some(place) = pick(&weights, &mut self.chance) else { break };
            if allowed(weights[place].0) {
                return Some(weights[place].0);
            }
            weights[place].1 = 0.0;
        }
        let candidates = (0..scores.len())
            .filter(|&token| scores[token].is_finite() && allowed(token))
            .map(|token| (token, scores[token]));
        let weights = self.weights(candidates.collect(), temperature);
        pick(&weights, &mut self.chance).map(|place| weights[place].0)
    }

    /// What the filters leave of the candidates, with weights in the place of scores. The best one always stays.
    fn weights(&self, mut candidates: Vec<Candidate>, temperature: f32) -> Vec<Candidate> {
        candidates.retain(|(_, score)| score.is_finite());
        if let Some(top_k) = self.asked.top_k {
            keep_best(&mut candidates, top_k as usize);
        }
        let top = candidates.iter().map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max);
        if let Some(top_p) = self.asked.top_p.filter(|&top_p| top_p < 1.0) {
            keep_nucleus(&mut candidates, top, top_p);
        }
        if let Some(min_p) = self.asked.min_p.filter(|&min_p| min_p > 0.0) {
            candidates.retain(|(_, score)| *score >= top + min_p.ln());
        }
        for (_, score) in &mut candidates {
            *score = ((*score - top) / temperature).exp();
        }
        candidates
    }
}

/// Leaves only the best, in no order.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, |a, b| b.1.total_cmp(&a.1));
        candidates.truncate(count);
    }
}

/// Leaves the likeliest that have this probability together, the last one of them included.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top: f32, top_p: f32) {
    let weight = |&(_, score): &Candidate| f64::from(score - top).exp();
    let wanted = candidates.iter().map(weight).sum::<f64>() * f64::from(top_p);
    let mut look = FIRST_LOOK;
    loop {
        let mut best = candidates.clone();
        keep_best(&mut best, look);
        best.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut sum = 0.0;
        let enough = best.iter().position(|candidate| {
            sum += weight(candidate);
            sum >= wanted
        });
        if let Some(last) = enough {
            best.truncate(last + 1);
        } else if best.len() < candidates.len() {
            look *= 16;
            continue;
        }
        *candidates = best;
        return;
    }
}

/// The allowed token with the highest logit. Only tokens above the best one so far are asked.
pub(crate) fn likeliest(logits: &[f32], allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let highest = highest(logits);
    let top = logits.iter().position(|logit| *logit == highest);
    if let Some(top) = top.filter(|&top| highest.is_finite() && allowed(top)) {
        return Some(top);
    }
    let mut best: Option<usize> = None;
    for (token, logit) in logits.iter().enumerate().filter(|(_, logit)| logit.is_finite()) {
        if best.is_none_or(|best| *logit > logits[best]) && allowed(token) {
            best = Some(token);
        }
    }
    best
}

/// Numbers that are looked at side by side.
const LANES: usize = 16;

/// The highest logit; what is no number counts as nothing.
fn highest(logits: &[f32]) -> f32 {
    let higher = |top: f32, logit: f32| if logit > top { logit } else { top };
    // Side by side, since one comparison after the other waits for the one before.
    let mut tops = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (top, logit) in tops.iter_mut().zip(chunk) {
            *top = higher(*top, *logit);
        }
    }
    tops.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
}

/// The place of a token drawn by chance, in proportion to the weights; nothing where they are all 0.
fn pick(weights: &[Candidate], chance: &mut Rng) -> Option<usize> {
    let total: f64 = weights.iter().map(|&(_, weight)| f64::from(weight)).sum();
    let mut left = chance.f64() * total;
    let mut last = None;
    for (place, (_, weight)) in weights.iter().enumerate().filter(|(_, (_, weight))| *weight > 0.0) {
        last = Some(place);
        left -= f64::from(*weight);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The natural logarithm of a token's probability among all tokens, to about 1e-6.
pub(crate) fn log_probability(logits: &[f32], token: usize) -> f32 {
    let top = highest(logits);
    // Many sums side by side, which the compiler turns into vector instructions: a vocabulary of 128,000 takes
    // microseconds for each of many sequences, where calls of `exp` would take a millisecond.
    let mut sums = [0f32; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, logit) in sums.iter_mut().zip(chunk) {
            *sum += exp_below_zero(logit - top);
        }
    }
    let rest: f32 = rest.iter().map(|logit| exp_below_zero(logit - top)).sum();
    let sum = sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() + f64::from(rest);
    (f64::from(logits[token] - top) - sum.ln()) as f32
}

/// eˣ for x of at most 0, to a relative 1e-6: 2ⁿ by its exponent bits, and what is left of x, at most half of ln 2
/// either way, by the Taylor series. Nothing but sums and products, which a CPU does for many numbers at once.
#[inline]
fn exp_below_zero(x: f32) -> f32 {
    use std::f32::consts::LOG2_E;
    /// Ln 2 in two parts, the first of few bits, so that its multiples are exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    /// Added to a small number, it leaves that rounded to a whole one in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// One over the factorials of 3 to 6.
    const TAYLOR: [f32; 4] = [1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0];
    // What is smaller adds nothing to a sum that has a 1 in it. A logit that is no number counts as nothing.
    let x = x.max(-87.0);
    let rounded = x * LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let rest = x - whole * LN_2.0 - whole * LN_2.1;
    let [a, b, c, d] = TAYLOR;
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * (a + rest * (b + rest * (c + rest * d)))));
    // What was added ends in zeros, so that the shift leaves nothing but the exponent.
    f32::from_bits(rounded.to_bits().wrapping_add(127) << 23) * series
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    fn warm(temperature: f32, seed: u64) -> Sampler {
        sampler(Sampling { temperature: Some(temperature), seed: Some(seed), ..Sampling::default() })
    }

    fn sampler(asked: Sampling) -> Sampler {
        Sampler::new(asked, 0)
    }

    /// The tokens that come up in many draws.
    fn drawn(asked: Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = sampler(Sampling { temperature: asked.temperature.or(Some(1.0)), ..asked });
        let tokens: BTreeSet<usize> = (0..2000).filter_map(|_| sampler.choose(logits, |_| true)).collect();
        tokens.into_iter().collect()
    }

    #[test]
    fn the_likeliest_allowed_token_is_taken_and_few_are_asked() {
        let logits = [0.5, 3.0, -1.0, 2.0, 1.0];
        let asked = Cell::new(0);
        let even = |token: usize| {
            asked.set(asked.get() + 1);
            [0, 2, 4].contains(&token)
        };
        assert_eq!(Sampler::new(Sampling::default(), 0).choose(&logits, even), Some(4));
        assert!(asked.get() <= 5);
        assert_eq!(Sampler::new(Sampling::greedy(), 0).choose(&logits, |_| true), Some(1));
        assert_eq!(Sampler::new(Sampling::default(), 0).choose(&logits, |_| false), None);
    }

    #[test]
    fn logits_that_are_no_numbers_are_never_taken() {
        let logits = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(Sampler::new(Sampling::default(), 0).choose(&logits, |_| true), Some(1));
        assert_eq!(Sampler::new(Sampling::default(), 0).choose(&[f32::NAN; 3], |_| true), None);
        assert_eq!(warm(1.0, 0).choose(&[f32::NAN; 3], |_| true), None);
    }

    #[test]
    fn tokens_drawn_by_chance_are_allowed_and_come_as_often_as_they_are_likely() {
        let logits = [0.0, 1.0, 2.0, 50.0];
        let mut sampler = warm(1.0, 7);
        let mut counts = [0u32; 4];
        for _ in 0..20_000 {
            counts[sampler.choose(&logits, |token| token != 3).expect("three are allowed")] += 1;
        }
        assert_eq!(counts[3], 0);
        let share = f64::from(counts[2]) / 20_000.0;
        assert!((share - 0.665).abs() < 0.02, "{share}");
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|n| (n % 7) as f32).collect();
        let draw = |seed| {
            let mut sampler = warm(1.5, seed);
            (0..20).map(|_| sampler.choose(&logits, |_| true)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn a_token_too_unlikely_for_a_weight_is_still_found_where_no_other_is_allowed() {
        let mut logits = vec![0.0; 100];
        logits[99] = -1e6;
        assert_eq!(warm(0.1, 0).choose(&logits, |token| token == 99), Some(99));
    }

    #[test]
    fn probabilities_sum_to_one() {
        let logits = [1000.0, 999.0, -1000.0];
        let sum: f32 = (0..3).map(|token| log_probability(&logits, token).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((log_probability(&logits, 0) - -0.31326166).abs() < 1e-6);
    }

    #[test]
    fn the_exponential_is_close_enough() {
        for step in 0..8700 {
            let x = -(step as f32) / 100.0;
            let (ours, exact) = (exp_below_zero(x), f64::from(x).exp());
            assert!((f64::from(ours) - exact).abs() <= exact * 2e-6, "{x}: {ours} {exact}");
        }
        assert!(exp_below_zero(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn each_filter_leaves_the_likeliest() {
        // Probabilities of about 0.64, 0.24, 0.09, 0.03.
        let logits = [2.0, 4.0, 3.0, 1.0];
        let default = Sampling::default;
        assert_eq!(drawn(default(), &logits), [0, 1, 2, 3]);
        assert_eq!(drawn(Sampling { top_k: Some(2), ..default() }, &logits), [1, 2]);
        assert_eq!(drawn(Sampling { top_k: Some(1000), ..default() }, &logits), [0, 1, 2, 3]);
        assert_eq!(drawn(Sampling { top_p: Some(0.5), ..default() }, &logits), [1]);
        assert_eq!(drawn(Sampling { top_p: Some(0.8), ..default() }, &logits), [1, 2]);
        assert_eq!(drawn(Sampling { top_p: Some(1.0), ..default() }, &logits), [0, 1, 2, 3]);
        assert_eq!(drawn(Sampling { min_p: Some(0.3), ..default() }, &logits), [1, 2]);
        assert_eq!(drawn(Sampling { min_p: Some(1.0), ..default() }, &logits), [1]);
    }

    #[test]
    fn a_wide_nucleus_is_found_among_many_tokens() {
        let logits: Vec<f32> = (0..10_000).map(|n| (n % 100) as f32 * 1e-4).collect();
        let mut candidates: Vec<Candidate> = logits.iter().copied().enumerate().collect();
        keep_nucleus(&mut candidates, 99e-4, 0.5);
        assert!((4900..5100).contains(&candidates.len()), "{}", candidates.len());
    }

    #[test]
    fn filters_leave_something_that_is_allowed() {
        let logits = [5.0, 4.0, 1.0, 0.0];
        let mut sampler = sampler(Sampling { temperature: Some(1.0), top_k: Some(1), ..Sampling::default() });
        assert_eq!(
            sampler.choose(&logits, |token| token >= 2),
            Some(2),
            "the best of those that are allowed"
        );
        assert_eq!(sampler.choose(&logits, |_| false), None);
    }

    #[test]
    fn penalties_turn_the_answer_away_from_what_it_has_said() {
        let logits = [2.0, 1.5, -1.0];
        let choose = |asked: Sampling| {
            let mut sampler = sampler(asked);
            (0..4).map(|_| sampler.choose(&logits, |_| true).expect("a token")).collect::<Vec<_>>()
        };
        let default = Sampling::default;
        assert_eq!(choose(default()), [0, 0, 0, 0]);
        assert_eq!(choose(Sampling { repetition_penalty: Some(2.0), ..default() }), [0, 1, 0, 0]);
        assert_eq!(choose(Sampling { presence_penalty: Some(0.6), ..default() }), [0, 1, 0, 0]);
        assert_eq!(choose(Sampling { frequency_penalty: Some(0.4), ..default() }), [0, 0, 1, 0]);
        let twice = choose(Sampling { frequency_penalty: Some(2.0), ..default() });
        assert_eq!(twice[..3], [0, 1, 0], "each time counts");
    }
}
