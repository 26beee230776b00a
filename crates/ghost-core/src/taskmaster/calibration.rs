//! Turns a learned order into probabilities that are true: of prompts with a score of 0.3, three in ten go wrong.
//!
//! Neighbouring values are grouped, and the share of each group is made monotone (isotonic regression); a logistic curve
//! (Platt's method) stands in where there are few rows. The order of two values is always kept.

use serde::{Deserialize, Serialize};

/// Rows that a group needs.
const GROUP: f64 = 60.0;
const MOST_GROUPS: usize = 12;
/// How many rows the logistic curve counts as in each group.
const PRIOR: f64 = 10.0;
/// How much of the logistic curve's slope is kept between equal groups.
const KEPT: f64 = 0.1;

/// A value, and the share of cases that it should become.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// The value, in any unit.
    pub value: f64,
    /// The share, 0 to 1.
    pub share: f64,
    /// How many rows it counts as.
    pub weight: f64,
}

/// A monotone curve from values to log-odds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Values with their log-odds, rising in both.
    pub knots: Vec<(f32, f32)>,
    /// What the log-odds rise by for each unit of value beyond the outermost knots.
    pub slope: f32,
}

impl Default for Calibration {
    /// Values that are log-odds already.
    fn default() -> Self {
        Self { knots: vec![(0.0, 0.0)], slope: 1.0 }
    }
}

impl Calibration {
    /// The log-odds of a value.
    pub fn log_odds(&self, value: f32) -> f32 {
        let after = self.knots.partition_point(|(knot, _)| *knot < value);
        match (after.checked_sub(1).map(|before| self.knots[before]), self.knots.get(after)) {
            (Some((a, low)), Some((b, high))) => low + (high - low) * (value - a) / (b - a).max(1e-9),
            (Some((knot, odds)), None) | (None, Some(&(knot, odds))) => odds + self.slope * (value - knot),
            (None, None) => 0.0,
        }
    }

    /// Whether it rises and every number is finite.
    pub fn is_sound(&self) -> bool {
        let finite = |(value, odds): &(f32, f32)| value.is_finite() && odds.is_finite();
        !self.knots.is_empty()
            && self.slope.is_finite()
            && self.slope > 0.0
            && self.knots.iter().all(finite)
            && self.knots.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1)
    }

    /// Fits a curve to points, near a logistic one.
    pub fn fit(mut points: Vec<Point>, logistic: Logistic) -> Self {
        points.sort_by(|a, b| a.value.total_cmp(&b.value));
        let total: f64 = points.iter().map(|point| point.weight).sum();
        let groups = ((total / GROUP) as usize).clamp(1, MOST_GROUPS);
        let mut pooled: Vec<Group> = Vec::new();
        let mut seen = 0.0;
        let mut group = 0;
        for point in &points {
            let due = ((seen / total * groups as f64) as usize).min(groups - 1);
            if pooled.is_empty() || due > group && point.value > pooled[pooled.len() - 1].last {
                pooled.push(Group::default());
                group = due;
            }
            let last = pooled.len() - 1;
            pooled[last].add(*point);
            seen += point.weight;
        }
        pooled.iter_mut().for_each(|group| group.lean_on(logistic));
        let slope = logistic.slope.max(1e-2);
        let mut knots: Vec<(f32, f32)> = Vec::new();
        for (value, share) in monotone(pooled) {
            let odds = (share / (1.0 - share)).ln();
            // Equal neighbours must not become equal scores.
            let least = knots
                .last()
                .map(|(before, odds)| f64::from(*odds) + KEPT * slope * (value - f64::from(*before)));
            let knot = (value as f32, least.map_or(odds, |least| odds.max(least)) as f32);
            if knots.last().is_none_or(|before| before.0 < knot.0) {
                knots.push(knot);
            }
        }
        if knots.is_empty() {
            knots.push((0.0, logistic.offset as f32));
        }
        Self { knots, slope: slope as f32 }
    }
}

#[derive(Default)]
struct Group {
    weight: f64,
    values: f64,
    shares: f64,
    last: f64,
}

impl Group {
    fn add(&mut self, point: Point) {
        self.weight += point.weight;
        self.values += point.weight * point.value;
        self.shares += point.weight * point.share;
        self.last = point.value;
    }

    fn lean_on(&mut self, logistic: Logistic) {
        let value = self.values / self.weight.max(1e-9);
        self.weight += PRIOR;
        self.values += PRIOR * value;
        self.shares += PRIOR * logistic.share(value);
    }

    fn share(&self) -> f64 {
        (self.shares / self.weight).clamp(1e-3, 1.0 - 1e-3)
    }
}

/// Each group's mean value with a share that never falls: neighbours that would are pooled.
fn monotone(groups: Vec<Group>) -> Vec<(f64, f64)> {
    let mut pools: Vec<(f64, f64, Vec<f64>)> = Vec::new();
    for group in groups {
        let mut pool = (group.weight, group.share(), vec![group.values / group.weight]);
        while let Some((weight, share, mut values)) = pools.pop_if(|before| before.1 > pool.1) {
            let whole = weight + pool.0;
            values.append(&mut pool.2);
            pool = (whole, (weight * share + pool.0 * pool.1) / whole, values);
        }
        pools.push(pool);
    }
    pools
        .into_iter()
        .flat_map(|(_, share, values)| values.into_iter().map(move |value| (value, share)))
        .collect()
}

/// A logistic curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Logistic {
    /// What the log-odds rise by for each unit of value.
    pub slope: f64,
    /// The log-odds at zero.
    pub offset: f64,
}

impl Logistic {
    fn share(self, value: f64) -> f64 {
        1.0 / (1.0 + (-(self.slope * value + self.offset)).exp())
    }

    /// A logistic regression, held near `prior` by `strength` (Newton's method).
    pub fn fit(points: &[Point], prior: Self, strength: f64) -> Self {
        let mut curve = prior;
        for _ in 0..50 {
            let mut ga = strength * 0.05 * (curve.slope - prior.slope);
            let mut gb = strength * (curve.offset - prior.offset);
            let (mut haa, mut hab, mut hbb) = (strength * 0.05, 0.0, strength);
            for Point { value, share, weight } in points {
                let probability = curve.share(*value);
                let (residual, bend) =
                    (weight * (probability - share), weight * probability * (1.0 - probability));
                ga += residual * value;
                gb += residual;
                haa += bend * value * value;
                hab += bend * value;
                hbb += bend;
            }
            let determinant = haa * hbb - hab * hab;
            if determinant.abs() < 1e-12 {
                break;
            }
            curve.slope -= ((hbb * ga - hab * gb) / determinant).clamp(-5.0, 5.0);
            curve.offset -= ((haa * gb - hab * ga) / determinant).clamp(-2.0, 2.0);
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(share: impl Fn(f64) -> f64) -> Vec<Point> {
        let value = |i: usize| i as f64 / 1000.0;
        (0..1000).map(|i| Point { value: value(i), share: share(value(i)), weight: 1.0 }).collect()
    }

    fn probability(curve: &Calibration, value: f32) -> f32 {
        1.0 / (1.0 + (-curve.log_odds(value)).exp())
    }

    const FLAT: Logistic = Logistic { slope: 1.0, offset: 0.0 };

    #[test]
    fn a_bend_that_no_logistic_curve_has_is_followed() {
        let points = points(|value| if value < 0.5 { 0.1 } else { 0.9 });
        let curve = Calibration::fit(points.clone(), Logistic::fit(&points, FLAT, 1e-3));
        assert!(
            (probability(&curve, 0.2) - 0.1).abs() < 0.05 && (probability(&curve, 0.8) - 0.9).abs() < 0.05
        );
        assert!(curve.is_sound());
    }

    #[test]
    fn an_order_is_kept_even_where_the_shares_fall() {
        let curve = Calibration::fit(points(|value| 0.6 - 0.2 * value), FLAT);
        let odds: Vec<f32> = (-5..15).map(|tenth| curve.log_odds(tenth as f32 / 10.0)).collect();
        assert!(odds.is_sorted_by(|a, b| a < b), "{odds:?}");
        assert!(curve.is_sound());
    }

    #[test]
    fn without_points_there_is_the_logistic_curve() {
        let curve = Calibration::fit(Vec::new(), Logistic { slope: 2.0, offset: -1.0 });
        assert_eq!(curve.log_odds(1.0), 1.0);
        let same = vec![Point { value: 0.3, share: 1.0, weight: 1.0 }; 500];
        assert!(Calibration::fit(same, FLAT).is_sound());
    }
}
