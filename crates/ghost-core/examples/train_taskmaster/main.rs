//! Trains the TaskMaster that ships and measures what came out, on prompts that the training never saw.
//!
//! ```text
//! cargo run --release -p ghost-core --example train_taskmaster -- \
//!     --kinds kinds.jsonl --routing DIR [--everyday FILE] [--out models/taskmaster-v3.bin] [--kind-threshold 0.5]
//!     [--seed 1]
//! ```
//! `--kinds`: rows {description, parameters, kind, why, split} as the generator of the tiny SLM writes them; `why` says
//! what makes a row without a kind one, as in `json_field.absent`. `--kinds-of MODEL` takes that part from a model that
//! has learned it.
//! `--routing`: a directory with {prompt, weak, strong, drafts} rows (see models/taskmaster-v3.md for where they come
//! from).
//!
//! [`data`] reads, [`learn`] fits the kinds by AdaGrad, the library fits the rest, [`measure`] says how good it is.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

mod data;
mod learn;
mod measure;

use std::path::PathBuf;

use ghost_core::taskmaster::drafts::{self, Drafted};
use ghost_core::taskmaster::kinds::{CLASSES, Kinds};
use ghost_core::taskmaster::model::Model;
use ghost_core::taskmaster::train;

use data::{KindRow, Labelled, Split};
use learn::Recipe;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let mut labelled = data::everyday(&arguments.everyday)?;
    labelled.extend(data::routing(&arguments.routing)?);
    let mut kind_rows = data::beyond(&labelled);
    if let Some(file) = &arguments.kinds {
        let (rows, easy) = data::kinds(file)?;
        kind_rows.extend(rows);
        labelled.extend(easy);
    }
    println!("{} rows with outcomes, {} with kinds", labelled.len(), kind_rows.len());

    let kinds = match &arguments.kinds_of {
        Some(file) => Model::from_bytes(&std::fs::read(file)?)?.kinds,
        None => fit_kinds(&kind_rows, arguments.kind_threshold, arguments.seed),
    };
    let examples: Vec<_> = labelled.iter().map(|row| row.example.clone()).collect();
    let gains = train::out_of_fold(&examples.iter().collect::<Vec<_>>(), None);
    let drafted = drafted(&labelled, &gains);
    let model = Model { kinds, need: train::train(&examples, None), drafts: drafts::train(&drafted) };
    std::fs::write(&arguments.out, model.to_bytes())?;
    println!("wrote {}", arguments.out.display());

    // What is measured is the file as others will read it.
    let model = Model::from_bytes(&std::fs::read(&arguments.out)?)?;
    if arguments.kinds.is_some() {
        measure::kinds(&model.kinds, &kind_rows, arguments.seed);
    }
    measure::need(&labelled, arguments.seed);
    measure::drafts(&labelled, &gains, &drafted, arguments.seed);
    println!("models of other prompts differ by {:.2} in the log-odds", model.need.doubt);
    Ok(())
}

struct Arguments {
    kinds: Option<PathBuf>,
    kinds_of: Option<PathBuf>,
    routing: PathBuf,
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
            kinds_of: None,
            routing: PathBuf::new(),
            everyday: root.join("data/everyday.jsonl"),
            out: root.join("../../models/taskmaster-v3.bin"),
            kind_threshold: 0.5,
            seed: 1,
        };
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--kinds" => arguments.kinds = Some(value.into()),
                "--kinds-of" => arguments.kinds_of = Some(value.into()),
                "--routing" => arguments.routing = value.into(),
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

/// The head that tells the kinds apart.
fn fit_kinds(rows: &[KindRow], threshold: f32, seed: u64) -> Kinds {
    let recipe = Recipe { epochs: 8, rate: 0.15, decay: 1e-6, caution: 1e-3, blank: 0.2, seed };
    let train: Vec<&KindRow> = rows.iter().filter(|row| row.split == Split::Train).collect();
    let linear = learn::fit::<CLASSES>(&recipe, &train, |class, outputs| {
        let mut gradient = learn::softmax(outputs);
        gradient[class] -= 1.0;
        gradient
    });
    Kinds::new(threshold, linear.bias, &linear.weights)
}

/// The rows with drafts, each with the sets of drafts that a user may have. What the prompt alone lets expect comes from
/// a model that never saw it, as it will be in use.
fn drafted(labelled: &[Labelled], gains: &[f32]) -> Vec<Drafted> {
    let rows = labelled.iter().zip(gains).filter(|(row, _)| row.drafts.len() > 1);
    rows.flat_map(|(row, gain)| Drafted::sets(&row.example, &row.prompt, &row.drafts, *gain)).collect()
}
