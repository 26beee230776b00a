//! How a model chooses its next token, as every wire names it.

/// What is asked of the choice; whatever is absent is the model's own default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampling {
    /// 0 (the likeliest token each time) to 2.
    pub temperature: Option<f32>,
    /// Only so many of the likeliest tokens, 1 to 1,000.
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that have this probability together, above 0 to 1.
    pub top_p: Option<f32>,
    /// Only tokens at least this share as likely as the likeliest one, 0 to 1.
    pub min_p: Option<f32>,
    /// Divides the score of a token that the answer already has, above 0 to 2; 1 changes nothing.
    pub repetition_penalty: Option<f32>,
    /// Taken off the score of a token that the answer already has, -2 to 2.
    pub presence_penalty: Option<f32>,
    /// Taken off the score of a token for each time that the answer has it, -2 to 2.
    pub frequency_penalty: Option<f32>,
    /// Where chance begins, so that it can be repeated.
    pub seed: Option<u64>,
}

impl Sampling {
    /// The first value that makes no sense: its name, and what it must be.
    pub fn out_of_range(&self) -> Option<(&'static str, &'static str)> {
        let share = |value: f32| value > 0.0 && value <= 1.0;
        let penalty = |value: f32| (-2.0..=2.0).contains(&value);
        let checks = [
            (self.temperature.is_none_or(|t| (0.0..=2.0).contains(&t)), "temperature", "0 to 2"),
            (self.top_k.is_none_or(|k| (1..=1000).contains(&k)), "top_k", "1 to 1000"),
            (self.top_p.is_none_or(share), "top_p", "above 0 and at most 1"),
            (self.min_p.is_none_or(|p| (0.0..=1.0).contains(&p)), "min_p", "0 to 1"),
            (
                self.repetition_penalty.is_none_or(|p| p > 0.0 && p <= 2.0),
                "repetition_penalty",
                "above 0 and at most 2",
            ),
            (self.presence_penalty.is_none_or(penalty), "presence_penalty", "-2 to 2"),
            (self.frequency_penalty.is_none_or(penalty), "frequency_penalty", "-2 to 2"),
        ];
        checks.into_iter().find(|(fine, ..)| !fine).map(|(_, name, range)| (name, range))
    }

    /// The likeliest token each time, as a model asked for a certain answer should choose.
    pub fn greedy() -> Self {
        Self { temperature: Some(0.0), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let default = Sampling::default;
        assert_eq!(default().out_of_range(), None);
        for (sampling, name) in [
            (Sampling { temperature: Some(f32::NAN), ..default() }, "temperature"),
            (Sampling { top_k: Some(0), ..default() }, "top_k"),
            (Sampling { top_p: Some(0.0), ..default() }, "top_p"),
            (Sampling { min_p: Some(1.1), ..default() }, "min_p"),
            (Sampling { repetition_penalty: Some(0.0), ..default() }, "repetition_penalty"),
            (Sampling { presence_penalty: Some(-3.0), ..default() }, "presence_penalty"),
            (Sampling { frequency_penalty: Some(f32::INFINITY), ..default() }, "frequency_penalty"),
        ] {
            assert_eq!(sampling.out_of_range().map(|(name, _)| name), Some(name));
        }
    }
}
