//! Trains TaskMaster and measures what came out, on prompts that the training never saw.
//!
//! ```text
//! cargo run --release -p ghost-core --example train_taskmaster -- \
//!     --kinds kinds.jsonl --routing DIR [--everyday FILE] [--out models/taskmaster-v1.bin] [--kind-threshold 0.5]
//!     [--seed 1]
//! ```
//! `--kinds`: rows {description, parameters, kind, why, split} as the generator of the tiny SLM writes them; `why` says
//! what makes a row without a kind one, as in `json_field.absent`.
//! `--routing`: a directory with {prompt, weak, strong} rows (see models/taskmaster-v1.md for where they come from).
//! [`data`] reads, [`learn`] fits a linear model by AdaGrad, [`measure`] says how good it is.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

mod data;
mod learn;
mod measure;

use std::path::PathBuf;

use ghost_core::taskmaster::features::BUCKETS;
use ghost_core::taskmaster::model::{BEYOND, COMPLEXITY, Model, OUTPUTS, ROWS};
use ghost_core::taskmaster::signs::Sign;

use data::{Row, Split};
use learn::{Linear, Recipe};

type Failure = Box<dyn std::error::Error>;

/// Kinds and "none of them".
const CLASSES: usize = BEYOND;

fn main() -> Result<(), Failure> {
    let mut arguments = Arguments::parse(std::env::args().skip(1))?;
    let mut rows = data::everyday(&arguments.everyday)?;
    if let Some(directory) = arguments.routing.take() {
        rows.extend(data::routing(&directory)?);
    }
    if let Some(file) = &arguments.kinds {
        rows.extend(data::kinds(file)?);
    }
    println!("{} rows, {BUCKETS} buckets, {} signs", rows.len(), Sign::COUNT);

    let kinds = kinds(&rows, arguments.seed);
    let (complexity, doubt) = complexity(&rows, arguments.seed);
    let mut model = assemble(&kinds, &complexity);
    model.doubt = doubt;
    model.kind_threshold = arguments.kind_threshold;
    std::fs::write(&arguments.out, model.to_bytes())?;
    println!("wrote {}", arguments.out.display());

    // What is measured is the file as others will read it.
    let model = Model::from_bytes(&std::fs::read(&arguments.out)?)?;
    measure::kinds(&model, &rows, arguments.seed);
    measure::complexity(&model, &rows);
    measure::signs(&model);
    for set in ["mmlu", "gsm8k", "phi-claude-crux", "phi-claude-math-l5", "phi-claude-gsm"] {
        cross_validate(&rows, set, arguments.seed);
    }
    Ok(())
}

struct Arguments {
    kinds: Option<PathBuf>,
    routing: Option<PathBuf>,
    everyday: PathBuf,
    out: PathBuf,
    kind_threshold: f32,
    seed: u64,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut arguments = Self {
            kinds: None,
            routing: None,
            everyday: root.join("data/everyday.jsonl"),
            out: root.join("../../models/taskmaster-v1.bin"),
            kind_threshold: 0.5,
            seed: 1,
        };
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--kinds" => arguments.kinds = Some(value.into()),
                "--routing" => arguments.routing = Some(value.into()),
                "--everyday" => arguments.everyday = value.into(),
                "--out" => arguments.out = value.into(),
                "--kind-threshold" => arguments.kind_threshold = value.parse()?,
                "--seed" => arguments.seed = value.parse()?,
                _ => return Err(format!("unknown option {flag}").into()),
            }
        }
        Ok(arguments)
    }
}

/// The second head: which kind, or none.
fn kinds(rows: &[Row], seed: u64) -> Linear<CLASSES> {
    let recipe = Recipe { epochs: 8, rate: 0.15, decay: 1e-6, caution: 1e-3, blank: 0.2, seed };
    let examples: Vec<_> = rows
        .iter()
        .filter(|row| row.split == Split::Train)
        .filter_map(|row| Some((row, row.class?)))
        .collect();
    learn::fit(
        &recipe,
        &examples,
        |row| row.kind_weight,
        |class, outputs| {
            let mut gradient = learn::softmax(outputs);
            gradient[*class] -= 1.0;
            gradient
        },
    )
}

/// The first head, calibrated on rows that it was not fitted to, and its doubt.
fn complexity(rows: &[Row], seed: u64) -> (Linear<1>, f32) {
    let (held_back, fitted): (Vec<_>, Vec<_>) =
        labelled(rows).filter(|row| row.split != Split::Test).partition(|row| row.split == Split::Calibrate);
    let halves: [Vec<&Row>; 2] =
        [0, 1].map(|half| fitted.iter().copied().filter(|row| row.group % 2 == half).collect());
    let halves = halves.map(|half| fit_complexity(&half, seed));
    let mut model = fit_complexity(&fitted, seed);
    let (slope, offset) = learn::platt(&model, &held_back);
    model.stretch(slope, offset);
    let difference =
        |row: &&Row| slope * (halves[0].outputs(&row.features)[0] - halves[1].outputs(&row.features)[0]);
    let squares: f32 = held_back.iter().map(|row| difference(row).powi(2)).sum();
    // Two models differ by twice the variance of one, and one of half the data varies twice as much as ours.
    (model, (squares / held_back.len() as f32).sqrt() / 2.0)
}

fn fit_complexity(rows: &[&Row], seed: u64) -> Linear<1> {
    let recipe = Recipe { epochs: 12, rate: 0.1, decay: 1e-3, caution: 1.0, blank: 0.0, seed };
    let examples: Vec<_> = rows.iter().map(|row| (*row, row.hard.expect("labelled rows"))).collect();
    learn::fit(&recipe, &examples, |row| row.hard_weight, |hard, outputs| [learn::sigmoid(outputs[0]) - hard])
}

fn labelled(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.hard.is_some())
}

/// Prints how well scores of models that never saw a prompt order the prompts of one set.
fn cross_validate(rows: &[Row], set: &str, seed: u64) {
    const FOLDS: u64 = 5;
    let mut scored = Vec::new();
    for fold in 0..FOLDS {
        let fitted: Vec<_> = labelled(rows).filter(|row| row.group % FOLDS != fold).collect();
        let model = fit_complexity(&fitted, seed);
        let held_out = labelled(rows).filter(|row| row.set == set && row.group % FOLDS == fold);
        let mut held_out: Vec<_> =
            held_out.map(|row| (model.outputs(&row.features)[0], row.weak, row.strong)).collect();
        // Five models have five zero points, so what counts is a prompt's place among those of its fold.
        held_out.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = held_out.len() as f32;
        let places = held_out.into_iter().enumerate();
        scored.extend(places.map(|(place, (_, weak, strong))| (place as f32 / count, weak, strong)));
    }
    if !scored.is_empty() {
        measure::apgr(set, &scored, seed);
    }
}

/// Rounds the weights of both heads to sixteen bits.
fn assemble(kinds: &Linear<CLASSES>, complexity: &Linear<1>) -> Model {
    let column = |row: usize, output: usize| match output {
        COMPLEXITY => complexity.weights[row][0],
        class => kinds.weights[row][class - 1],
    };
    let scale: [f32; OUTPUTS] = std::array::from_fn(|output| {
        let most = (0..ROWS).map(|row| column(row, output).abs()).fold(f32::MIN_POSITIVE, f32::max);
        most / f32::from(i16::MAX)
    });
    Model {
        kind_threshold: 1.0,
        doubt: 1.0,
        bias: std::array::from_fn(|output| match output {
            COMPLEXITY => complexity.bias[0],
            class => kinds.bias[class - 1],
        }),
        scale,
        weights: (0..ROWS)
            .map(|row| std::array::from_fn(|output| (column(row, output) / scale[output]).round() as i16))
            .collect(),
    }
}
