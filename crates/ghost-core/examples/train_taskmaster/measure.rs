//! Says how good a model is, with intervals: 95 %, by resampling the prompts.

use ghost_core::task::Kind;
use ghost_core::taskmaster::drafts::{self, Drafted};
use ghost_core::taskmaster::kinds::{BEYOND, Kinds};
use ghost_core::taskmaster::quality::{Quality, Scored};
use ghost_core::taskmaster::train::{self, Example};

use crate::data::{KindRow, Labelled, Split};

const SAMPLES: usize = 1000;
fn class_of(kind: Kind) -> usize {
    Kind::ALL.iter().position(|k| *k == kind).expect("one of all")
}

/// Precision and recall of each kind on the test rows, and false kinds among the rest.
pub(crate) fn kinds(kinds: &Kinds, rows: &[KindRow], seed: u64) {
    let tested: Vec<(&KindRow, usize, Option<usize>)> = rows
        .iter()
        .filter(|row| row.split == Split::Test)
        .map(|row| (row, row.class, kinds.shown(&row.features).map(class_of)))
        .collect();
    let beyond = BEYOND;
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
            let of = of.filter(|row| (row.class == BEYOND) == beyond);
            let hits: Vec<bool> = of
                .map(|row| {
                    let (kind, probability) = kinds.likeliest(&row.features);
                    probability >= threshold && (beyond || row.class == class_of(kind))
                })
                .collect();
            hits.iter().filter(|hit| **hit).count() as f32 / hits.len().max(1) as f32
        };
        println!("{threshold:9.2}  {:9.3}  {:11.3}", at(false), at(true));
    }
}

const SETS: [&str; 6] =
    ["everyday", "mmlu", "gsm8k", "phi-claude-crux", "phi-claude-math-l5", "phi-claude-gsm"];
const FOLDS: u32 = 5;

/// How well the prompt alone orders the prompts of each set, by models of the other folds.
pub(crate) fn need(labelled: &[Labelled], seed: u64) {
    let mut scores = vec![0.0; labelled.len()];
    for fold in 0..FOLDS {
        let fitted: Vec<Example> =
            labelled.iter().map(|row| &row.example).filter(|e| e.group % FOLDS != fold).cloned().collect();
        let model = train::train(&fitted, None);
        for (row, score) in
            labelled.iter().zip(&mut scores).filter(|(row, _)| row.example.group % FOLDS == fold)
        {
            *score = sigmoid(model.log_odds(&row.example.features));
        }
    }
    println!("\nthe prompt alone, five folds");
    for set in SETS {
        let of_set = labelled.iter().zip(&scores).filter(|(row, _)| row.set == set);
        print(set, &of_set.map(|(row, score)| scored(&row.example, *score)).collect::<Vec<_>>(), seed);
    }
}

/// The same once there are drafts: all, and the first with the last two.
pub(crate) fn drafts(labelled: &[Labelled], gains: &[f32], drafted: &[Drafted], seed: u64) {
    println!("\nwith drafts, five folds");
    let rules: Vec<drafts::Rule> = (0..FOLDS)
        .map(|fold| {
            let fitted = drafted.iter().filter(|row| row.group % FOLDS != fold);
            drafts::train(&fitted.cloned().collect::<Vec<_>>())
        })
        .collect();
    for set in SETS {
        let of_set: Vec<_> =
            labelled.iter().zip(gains).filter(|(row, _)| row.set == set && row.drafts.len() > 1).collect();
        for most in [usize::MAX, 3] {
            let measured = of_set.iter().map(|(row, gain)| {
                let last = row.drafts.len().saturating_sub(most.saturating_sub(1)).max(1);
                let chosen: Vec<_> = row.drafts[..1].iter().chain(&row.drafts[last..]).cloned().collect();
                let seen = Drafted::new(&row.example, &row.prompt, &chosen, **gain);
                let rule = &rules[(row.example.group % FOLDS) as usize];
                scored(&row.example, sigmoid(rule.log_odds(&seen.features, &seen.views)))
            });
            print(
                &format!("{set} {}", if most == 3 { "3" } else { "all" }),
                &measured.collect::<Vec<_>>(),
                seed,
            );
        }
    }
}

fn sigmoid(log_odds: f32) -> f64 {
    1.0 / (1.0 + f64::from(-log_odds).exp())
}

fn scored(example: &Example, score: f64) -> (u32, Scored) {
    let Example { weak, strong, group, .. } = example;
    (group % FOLDS, Scored { score, weak: f64::from(*weak), strong: f64::from(*strong) })
}

/// Each fold has its own model, whose scores are true by themselves; what orders prompts across folds is their place
/// among those of their fold.
fn print(set: &str, scored: &[(u32, Scored)], seed: u64) {
    let all: Vec<Scored> = scored.iter().map(|(_, scored)| *scored).collect();
    let placed = (0..FOLDS).flat_map(|fold| {
        let mut of_fold: Vec<Scored> =
            scored.iter().filter(|(found, _)| *found == fold).map(|(_, scored)| *scored).collect();
        of_fold.sort_by(|a, b| a.score.total_cmp(&b.score));
        let count = of_fold.len() as f64;
        of_fold.into_iter().enumerate().map(move |(place, s)| Scored { score: place as f64 / count, ..s })
    });
    let (Some(order), Some(truth)) =
        (Quality::of(&placed.collect::<Vec<_>>(), seed), Quality::of(&all, seed))
    else {
        return;
    };
    let Quality { apgr, cpt50, cpt80, calls_for_95, .. } = order;
    println!(
        "{set:22} {:5}  APGR {:.3} [{:.3}, {:.3}]  CPT50 {:4.1}  CPT80 {:4.1}  calls for 95 % {:4.1}  calibration error {:.3}",
        all.len(),
        apgr.value,
        apgr.low,
        apgr.high,
        cpt50.value,
        cpt80.value,
        calls_for_95.value,
        truth.calibration_error.value
    );
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
