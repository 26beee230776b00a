//! Says how good a model is, with intervals: 95 %, by resampling the prompts.

use ghost_core::task::Kind;
use ghost_core::taskmaster::likeliest_kind;
use ghost_core::taskmaster::model::{COMPLEXITY, Model};
use ghost_core::taskmaster::signs::Sign;

use crate::data::{Row, Split};
use crate::learn::sigmoid;

const SAMPLES: usize = 1000;
fn class_of(kind: Kind) -> usize {
    Kind::ALL.iter().position(|k| *k == kind).expect("one of all")
}

/// Precision and recall of each kind on the test rows, and false kinds among the rest.
pub(crate) fn kinds(model: &Model, rows: &[Row], seed: u64) {
    let named = |row: &Row| {
        let (kind, probability) = likeliest_kind(&row.features, &model.outputs(&row.features));
        (probability >= model.kind_threshold).then(|| class_of(kind))
    };
    let tested: Vec<(&Row, usize, Option<usize>)> = rows
        .iter()
        .filter(|row| row.split == Split::Test)
        .filter_map(|row| Some((row, row.class?, named(row))))
        .collect();
    let beyond = Kind::ALL.len();
    println!("\nkind            rows  recall                precision");
    for (class, kind) in Kind::ALL.iter().enumerate() {
        let recall: Vec<bool> = tested.iter().filter(|t| t.1 == class).map(|t| t.2 == Some(class)).collect();
        let precision: Vec<bool> =
            tested.iter().filter(|t| t.2 == Some(class)).map(|t| t.1 == class).collect();
        println!(
            "{:14} {:5}  {}  {}",
            kind.name(),
            recall.len(),
            share(&recall, seed),
            share(&precision, seed)
        );
    }
    let all: Vec<bool> = tested.iter().filter(|t| t.1 != beyond).map(|t| t.2 == Some(t.1)).collect();
    let other: Vec<bool> =
        tested.iter().filter(|t| t.1 != beyond).map(|t| t.2.is_some_and(|n| n != t.1)).collect();
    println!("all kinds      {:5}  {}", all.len(), share(&all, seed));
    println!("another kind   {:5}  {}", other.len(), share(&other, seed));
    for set in ["kinds", "absent", "everyday", "mmlu", "gsm8k", "phi-claude-crux", "phi-claude-math-l5"] {
        let falsely: Vec<bool> =
            tested.iter().filter(|t| t.1 == beyond && t.0.set == set).map(|t| t.2.is_some()).collect();
        println!("false kinds on {set:18} {:5}  {}", falsely.len(), share(&falsely, seed));
    }
    println!("threshold  all kinds  false kinds (both of the generator's rows)");
    for threshold in [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99] {
        let at = |beyond: bool| {
            let of = rows.iter().filter(|row| row.split == Split::Test && row.set == "kinds");
            let of = of.filter(|row| (row.class == Some(Kind::ALL.len())) == beyond);
            let hits: Vec<bool> = of
                .map(|row| {
                    let (kind, probability) = likeliest_kind(&row.features, &model.outputs(&row.features));
                    probability >= threshold && (beyond || row.class == Some(class_of(kind)))
                })
                .collect();
            hits.iter().filter(|hit| **hit).count() as f32 / hits.len().max(1) as f32
        };
        println!("{threshold:9.2}  {:9.3}  {:11.3}", at(false), at(true));
    }
}

/// Calibration and order of the complexity head on the test rows.
pub(crate) fn complexity(model: &Model, rows: &[Row]) {
    println!(
        "\ncomplexity          rows  mean label  mean score  AUC    calibration error  below .3  above .7"
    );
    for set in
        ["everyday", "kinds", "mmlu", "gsm8k", "phi-claude-crux", "phi-claude-math-l5", "phi-claude-gsm"]
    {
        let points: Vec<(f32, f32)> = rows
            .iter()
            .filter(|row| row.split == Split::Test && row.set == set)
            .filter_map(|row| Some((sigmoid(model.outputs(&row.features)[COMPLEXITY]), row.hard?)))
            .collect();
        if points.is_empty() {
            continue;
        }
        let count = points.len() as f32;
        let mean = |of: fn(&(f32, f32)) -> f32| points.iter().map(of).sum::<f32>() / count;
        println!(
            "{set:18} {:5}  {:10.3}  {:10.3}  {:.3}  {:17.3}  {:8.3}  {:8.3}",
            points.len(),
            mean(|p| p.1),
            mean(|p| p.0),
            auc(&points),
            calibration_error(&points),
            points.iter().filter(|p| p.0 < 0.3).count() as f32 / count,
            points.iter().filter(|p| p.0 > 0.7).count() as f32 / count,
        );
    }
    println!("models of other prompts differ by {:.2} in the log-odds", model.doubt);
}

/// The signs that speak loudest, as a check by eye.
pub(crate) fn signs(model: &Model) {
    let all = Sign::all();
    let mut shares: Vec<(f32, &str)> =
        all.map(|sign| (model.share(sign, COMPLEXITY), sign.words())).collect();
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let line = |shares: &[(f32, &str)]| {
        shares.iter().map(|(share, words)| format!("{words} {share:+.2}")).collect::<Vec<_>>().join(", ")
    };
    println!("\nspeaks for simple: {}", line(&shares[..12]));
    shares.reverse();
    println!("speaks for complex: {}", line(&shares[..16]));
}

/// The share of the quality gap that is recovered, averaged over all shares of calls to the strong model.
pub(crate) fn apgr(set: &str, scored: &[(f32, f32, f32)], seed: u64) {
    let (low, high) = interval(scored, seed, recovered);
    println!(
        "APGR {set:18} {:5} prompts, five folds: {:.3} [{low:.3}, {high:.3}]",
        scored.len(),
        recovered(scored)
    );
}

fn recovered(scored: &[(f32, f32, f32)]) -> f32 {
    let mut order: Vec<&(f32, f32, f32)> = scored.iter().collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let gains: Vec<f32> = order.iter().map(|(_, weak, strong)| strong - weak).collect();
    let gap: f32 = gains.iter().sum();
    let at = |tenth: usize| gains[..gains.len() * tenth / 10].iter().sum::<f32>() / gap;
    (1..=10).map(|tenth| (at(tenth - 1) + at(tenth)) / 20.0).sum()
}

fn auc(points: &[(f32, f32)]) -> f32 {
    let (mut won, mut pairs) = (0.0, 0.0);
    for hard in points.iter().filter(|p| p.1 >= 0.5) {
        for easy in points.iter().filter(|p| p.1 < 0.5) {
            pairs += 1.0;
            won += if hard.0 > easy.0 { 1.0 } else { 0.0 };
        }
    }
    won / pairs
}

/// The mean distance between score and truth over ten equal groups of neighbouring scores.
fn calibration_error(points: &[(f32, f32)]) -> f32 {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let group = sorted.len().div_ceil(10);
    let distance = |group: &[(f32, f32)]| {
        (group.iter().map(|p| p.0).sum::<f32>() - group.iter().map(|p| p.1).sum::<f32>()).abs()
    };
    sorted.chunks(group).map(distance).sum::<f32>() / sorted.len() as f32
}

fn share(hits: &[bool], seed: u64) -> String {
    if hits.is_empty() {
        return "-".to_owned();
    }
    let mean = |hits: &[bool]| hits.iter().filter(|hit| **hit).count() as f32 / hits.len() as f32;
    let (low, high) = interval(hits, seed, mean);
    format!("{:.4} [{low:.4}, {high:.4}]", mean(hits))
}

fn interval<T: Clone>(items: &[T], seed: u64, statistic: impl Fn(&[T]) -> f32) -> (f32, f32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut values: Vec<f32> = (0..SAMPLES)
        .map(|_| {
            statistic(&items.iter().map(|_| items[random.usize(..items.len())].clone()).collect::<Vec<_>>())
        })
        .collect();
    values.sort_by(f32::total_cmp);
    (values[SAMPLES / 40], values[SAMPLES - 1 - SAMPLES / 40])
}
