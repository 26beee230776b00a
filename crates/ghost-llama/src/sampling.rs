//! Chooses the next token from the model's logits: the likeliest, or by chance where a temperature is given, of those
//! that the constraint allows.

use fastrand::Rng;

/// How often a token drawn by chance may be refused before all are asked.
const DRAWS: usize = 16;

/// How tokens are chosen.
pub(crate) struct Sampler {
    /// Above 0; the likeliest token each time where absent.
    temperature: Option<f32>,
    chance: Rng,
}

impl Sampler {
    /// Greedy without a temperature, since small models answer best so, or with one of 0.
    pub(crate) fn new(temperature: Option<f32>, seed: u64) -> Self {
        Self { temperature: temperature.filter(|&t| t > 0.0), chance: Rng::with_seed(seed) }
    }

    /// The next token; nothing where none is allowed. Few are asked whether they are: asking is what costs.
    pub(crate) fn choose(&mut self, logits: &[f32], allowed: impl Fn(usize) -> bool) -> Option<usize> {
        match self.temperature {
            None => likeliest(logits, allowed),
            Some(temperature) => self.draw(logits, temperature, allowed),
        }
    }

    fn draw(&mut self, logits: &[f32], temperature: f32, allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let top = logits[likeliest(logits, |_| true)?];
        let mut weights: Vec<f32> =
            logits.iter().map(|logit| ((logit - top) / temperature).exp().max(0.0)).collect();
        for _ in 0..DRAWS {
            let token = pick(&weights, &mut self.chance)?;
            if allowed(token) {
                return Some(token);
            }
            weights[token] = 0.0;
        }
        for (token, weight) in weights.iter_mut().enumerate() {
            if !allowed(token) {
                *weight = 0.0;
            }
        }
        // What is left may be too unlikely for any weight at all.
        pick(&weights, &mut self.chance).or_else(|| likeliest(logits, allowed))
    }
}

/// The allowed token with the highest logit. Only tokens above the best one so far are asked.
fn likeliest(logits: &[f32], allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let top = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token);
    if let Some(top) = top.filter(|&top| logits[top].is_finite() && allowed(top)) {
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

/// A token by chance, in proportion to the weights; nothing where they are all 0.
fn pick(weights: &[f32], chance: &mut Rng) -> Option<usize> {
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let mut left = chance.f64() * total;
    let mut last = None;
    for (token, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        last = Some(token);
        left -= f64::from(weight);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The natural logarithm of a token's probability among all tokens.
pub(crate) fn log_probability(logits: &[f32], token: usize) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
    (f64::from(logits[token] - top) - sum.ln()) as f32
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_likeliest_allowed_token_is_taken_and_few_are_asked() {
        let logits = [0.5, 3.0, -1.0, 2.0, 1.0];
        let asked = Cell::new(0);
        let even = |token: usize| {
            asked.set(asked.get() + 1);
            [0, 2, 4].contains(&token)
        };
        assert_eq!(Sampler::new(None, 0).choose(&logits, even), Some(4));
        assert!(asked.get() <= 5);
        assert_eq!(Sampler::new(Some(0.0), 0).choose(&logits, |_| true), Some(1));
        assert_eq!(Sampler::new(None, 0).choose(&logits, |_| false), None);
    }

    #[test]
    fn logits_that_are_no_numbers_are_never_taken() {
        let logits = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(Sampler::new(None, 0).choose(&logits, |_| true), Some(1));
        assert_eq!(Sampler::new(None, 0).choose(&[f32::NAN; 3], |_| true), None);
        assert_eq!(Sampler::new(Some(1.0), 0).choose(&[f32::NAN; 3], |_| true), None);
    }

    #[test]
    fn tokens_drawn_by_chance_are_allowed_and_come_as_often_as_they_are_likely() {
        let logits = [0.0, 1.0, 2.0, 50.0];
        let mut sampler = Sampler::new(Some(1.0), 7);
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
            let mut sampler = Sampler::new(Some(1.5), seed);
            (0..20).map(|_| sampler.choose(&logits, |_| true)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn a_token_too_unlikely_for_a_weight_is_still_found_where_no_other_is_allowed() {
        let mut logits = vec![0.0; 100];
        logits[99] = -1e6;
        assert_eq!(Sampler::new(Some(0.1), 0).choose(&logits, |token| token == 99), Some(99));
    }

    #[test]
    fn probabilities_sum_to_one() {
        let logits = [1000.0, 999.0, -1000.0];
        let sum: f32 = (0..3).map(|token| log_probability(&logits, token).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((log_probability(&logits, 0) - -0.31326166).abs() < 1e-6);
    }
}
