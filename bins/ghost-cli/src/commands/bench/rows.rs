//! What was measured, round after round, and what it comes to.
//!
//! A round holds our figure and, where there is a reference, the one that was taken right beside it. The median of the
//! rounds' ratios counts, since a neighbour on the machine slows both sides of a round alike.

use serde::Serialize;

use crate::output::table;

/// One figure of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// What was measured, as in `decode/16`.
    pub name: String,
    /// Ours: the median of the rounds.
    pub value: f64,
    /// What of.
    pub unit: &'static str,
    /// The same of what it is measured against; none where that is not there.
    pub reference: Option<f64>,
    /// How much better ours is, also where less is better: the median of the rounds' ratios.
    pub ratio: Option<f64>,
    /// The least and the greatest ratio; where there is none, value.
    pub spread: [f64; 2],
    /// What it is measured against.
    pub against: Option<&'static str>,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// As of speeds.
    More,
    /// As of times.
    Less,
}

/// What is measured under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// What of.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// What it is measured against, where anything is.
    pub against: Option<&'static str>,
}

/// All rounds of all names, in the order in which the names came.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    name: String,
    kind: Kind,
    /// Ours and the reference's.
    rounds: Vec<(f64, Option<f64>)>,
}

impl Rounds {
    /// Notes one round's figure of ours and, where there is one, of the reference. A figure that is no number says
    /// nothing and is left out.
    pub(crate) fn note(&mut self, name: &str, kind: Kind, value: f64, reference: Option<f64>) {
        if !value.is_finite() {
            return;
        }
        let round = (value, reference.filter(|number| number.is_finite()));
        match self.series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.rounds.push(round),
            None => self.series.push(Series { name: name.to_owned(), kind, rounds: vec![round] }),
        }
    }

    /// What it comes to.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.series.iter().map(Series::row).collect()
    }
}

impl Series {
    fn row(&self) -> Row {
        let values: Vec<f64> = self.rounds.iter().map(|round| round.0).collect();
        let references: Vec<f64> = self.rounds.iter().filter_map(|round| round.1).collect();
        let ratio = |round: &(f64, Option<f64>)| {
            let (value, reference) = (round.0, round.1?);
            let ratio = match self.kind.better {
                Better::More => value / reference,
                Better::Less => reference / value,
            };
            ratio.is_finite().then_some(ratio)
        };
        let ratios: Vec<f64> = self.rounds.iter().filter_map(ratio).collect();
        Row {
            name: self.name.clone(),
            value: rounded(median(&values).unwrap_or_default()),
            unit: self.kind.unit,
            reference: median(&references).map(rounded),
            ratio: median(&ratios).map(rounded),
            spread: spread(if ratios.is_empty() { &values } else { &ratios }).map(rounded),
            against: self.kind.against,
        }
    }
}

/// The middle one; of an even number of them the mean of the two in the middle.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The number that so many percent of them do not exceed, by the nearest rank.
pub(crate) fn percentile(numbers: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn spread(numbers: &[f64]) -> [f64; 2] {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [least, greatest]
}

/// Four significant digits: more is noise.
fn rounded(number: f64) -> f64 {
    if number == 0.0 || number.abs() >= 1e4 {
        return number.round();
    }
    let digits = 10f64.powi(3 - number.abs().log10().floor() as i32);
    (number * digits).round() / digits
}

/// The rows for people.
pub(crate) fn people(rows: &[Row]) -> String {
    let or_nothing = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    let cells = rows.iter().map(|row| {
        [
            row.name.clone(),
            row.value.to_string(),
            row.unit.to_owned(),
            or_nothing(row.reference),
            or_nothing(row.ratio),
            format!("{}–{}", row.spread[0], row.spread[1]),
            row.against.filter(|_| row.reference.is_some()).unwrap_or_default().to_owned(),
        ]
    });
    table(["NAME", "VALUE", "UNIT", "REFERENCE", "RATIO", "SPREAD", "AGAINST"], cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Kind = Kind { unit: "tokens/s", better: Better::More, against: Some("another") };
    const TIME: Kind = Kind { unit: "ms", better: Better::Less, against: None };

    #[test]
    fn the_median_of_the_ratios_counts_and_not_the_ratio_of_the_medians() {
        let mut rounds = Rounds::default();
        for (value, reference) in [(10.0, 10.0), (40.0, 20.0), (90.0, 30.0)] {
            rounds.note("decode/1", SPEED, value, Some(reference));
        }
        let [row] = &rounds.rows()[..] else { panic!("one row") };
        assert_eq!((row.value, row.reference, row.ratio), (40.0, Some(20.0), Some(2.0)));
        assert_eq!(row.spread, [1.0, 3.0]);
    }

    #[test]
    fn less_time_is_a_ratio_above_one() {
        let mut rounds = Rounds::default();
        rounds.note("ttft", TIME, 50.0, Some(100.0));
        assert_eq!(rounds.rows()[0].ratio, Some(2.0));
    }

    #[test]
    fn a_missing_reference_leaves_reference_and_ratio_empty() {
        let mut rounds = Rounds::default();
        rounds.note("a", SPEED, 1.0, None);
        rounds.note("b", SPEED, 3.0, None);
        rounds.note("a", SPEED, 2.0, None);
        rounds.note("a", SPEED, f64::NAN, None);
        let rows = rounds.rows();
        assert_eq!((rows.len(), rows[0].name.as_str()), (2, "a"));
        assert_eq!((rows[0].value, rows[0].reference, rows[0].ratio), (1.5, None, None));
        assert_eq!(rows[0].spread, [1.0, 2.0]);
        let json = serde_json::to_value(&rows[0]).expect("JSON");
        assert!(json["reference"].is_null() && json["ratio"].is_null(), "{json}");
    }

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let numbers: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&numbers, 99), Some(198.0));
        assert_eq!(percentile(&numbers, 50), Some(100.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn figures_have_four_digits() {
        assert_eq!([0.123_456, 12.345_6, 123_456.7, 0.0].map(rounded), [0.1235, 12.35, 123_457.0, 0.0]);
    }
}
