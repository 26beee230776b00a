//! Reads the rows that TaskMaster learns from, and divides them.

use std::path::Path;

use ghost_core::task::{Kind, TaskRequest};
use ghost_core::taskmaster::drafts::Answer;
use ghost_core::taskmaster::features::Features;
use ghost_core::taskmaster::kinds::BEYOND;
use ghost_core::taskmaster::rows;
use ghost_core::taskmaster::train::Example;
use serde_json::{Value, json};

use crate::Failure;

/// What a row with a kind is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    Train,
    Calibrate,
    Test,
}

/// A prompt and the kind that it shows.
pub(crate) struct KindRow {
    /// Where it is from.
    pub(crate) set: &'static str,
    pub(crate) split: Split,
    pub(crate) features: Features,
    /// Its kind as a class (the last is "none").
    pub(crate) class: usize,
    pub(crate) weight: f32,
}

/// A prompt and how two models did.
pub(crate) struct Labelled {
    /// Where it is from.
    pub(crate) set: &'static str,
    pub(crate) prompt: String,
    pub(crate) example: Example,
    /// The answers of small models, that of the weak one first.
    pub(crate) drafts: Vec<Option<Answer>>,
    /// Whether it is an everyday prompt that shows a kind, so that it is no clear case of "none".
    pub(crate) kind: bool,
}

/// Six of ten train, two calibrate, two test.
fn divide(group: u32) -> Split {
    match group / 7 % 10 {
        0..6 => Split::Train,
        6 | 7 => Split::Calibrate,
        _ => Split::Test,
    }
}

fn lines(file: &Path) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let row = |(i, line)| {
        serde_json::from_str(line).map_err(|e| format!("{} line {}: {e}", file.display(), i + 1).into())
    };
    text.lines().enumerate().map(row).collect()
}

/// Everyday prompts, written by hand: {prompt, hard: 0 or 1, kind where it shows one}. Each comes again as a hurried or
/// careful person would have typed it, in the same group.
pub(crate) fn everyday(file: &Path) -> Result<Vec<Labelled>, Failure> {
    let mut labelled = Vec::new();
    for row in lines(file)? {
        let prompt = row["prompt"].as_str().ok_or_else(|| format!("no prompt in {row}"))?;
        let hard = row["hard"].as_f64().ok_or("hard is not a number")? as f32;
        let group = rows::group(prompt);
        let typed: Vec<String> = std::iter::once(prompt.to_owned()).chain(retyped(prompt)).collect();
        let weight = 6.0 / typed.len() as f32;
        labelled.extend(typed.into_iter().map(|prompt| {
            let features = Features::of(&TaskRequest::new("any", prompt.clone()));
            let example = Example { features, group, weak: 1.0 - hard, strong: 1.0, weight };
            Labelled { set: "everyday", prompt, example, drafts: Vec::new(), kind: !row["kind"].is_null() }
        }));
    }
    Ok(labelled)
}

fn retyped(prompt: &str) -> Vec<String> {
    let bare = prompt.trim_end_matches(['.', '?', '!']);
    let letters: Vec<char> = prompt.chars().collect();
    let swapped = |place: usize| {
        let mut letters = letters.clone();
        letters.swap(place, place + 1);
        String::from_iter(letters)
    };
    let typos = (1..=4).map(|fifth| swapped((letters.len() - 2) * fifth / 5));
    [bare.to_owned(), format!("{bare}?"), bare.to_lowercase(), format!("please {}", prompt.to_lowercase())]
        .into_iter()
        .chain(typos)
        .collect()
}

/// Benchmark questions, each with the quality of a weak and of a strong model, some with drafts.
pub(crate) fn routing(directory: &Path) -> Result<Vec<Labelled>, Failure> {
    let mut labelled = Vec::new();
    for set in ["mmlu", "gsm8k", "phi-claude-crux", "phi-claude-math-l5", "phi-claude-gsm"] {
        for row in rows::read_labelled(&directory.join(format!("{set}.jsonl")))? {
            let Some(example) = row.example() else { continue };
            labelled.push(Labelled { set, drafts: row.answers(), prompt: row.prompt, example, kind: false });
        }
    }
    Ok(labelled)
}

/// The rows with outcomes that show no kind.
pub(crate) fn beyond(labelled: &[Labelled]) -> Vec<KindRow> {
    let rows = labelled.iter().filter(|row| !row.kind);
    rows.map(|row| KindRow {
        set: row.set,
        split: divide(row.example.group),
        features: row.example.features.clone(),
        class: BEYOND,
        weight: if row.set == "everyday" { 2.0 * row.example.weight } else { 1.0 },
    })
    .collect()
}

/// Tasks of the six kinds and beyond them, as the tiny SLM's generator writes them; and a few of those that show a kind as
/// what the weak model can do: more would drown the everyday prompts.
pub(crate) fn kinds(file: &Path) -> Result<(Vec<KindRow>, Vec<Labelled>), Failure> {
    let (mut kinds, mut easy) = (Vec::new(), Vec::new());
    for row in lines(file)? {
        let description = row["description"].as_str().ok_or_else(|| format!("no description in {row}"))?;
        let task = json!({"task_type": "any", "description": description, "parameters": row["parameters"]});
        let features = Features::of(&serde_json::from_value::<TaskRequest>(task)?);
        let kind = row["kind"].as_str().and_then(Kind::from_name);
        // A field that its document lacks is asked for in the words of the kind. Only reading both tells, which is
        // the model's business; such rows are counted apart, and nothing is learned from them.
        let absent = row["why"].as_str().is_some_and(|why| why.ends_with(".absent"));
        let split = match row["split"].as_str() {
            Some("train") => Split::Train,
            Some("calibration") => Split::Calibrate,
            _ => Split::Test,
        };
        let prompt = format!("{description}{}", row["parameters"]);
        let group = rows::group(&prompt);
        if kind.is_some() && group.is_multiple_of(256) {
            let example = Example { features: features.clone(), group, weak: 1.0, strong: 1.0, weight: 1.0 };
            easy.push(Labelled { set: "kinds", prompt, example, drafts: Vec::new(), kind: true });
        }
        kinds.push(KindRow {
            set: if absent { "absent" } else { "kinds" },
            split,
            features,
            class: kind.and_then(|kind| Kind::ALL.iter().position(|known| *known == kind)).unwrap_or(BEYOND),
            weight: if absent { 0.0 } else { 1.0 },
        });
    }
    Ok((kinds, easy))
}
