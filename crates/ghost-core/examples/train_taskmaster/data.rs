//! Reads the rows that TaskMaster learns from, and divides them.

use std::path::Path;

use ghost_core::task::{Kind, TaskRequest};
use ghost_core::taskmaster::features::Features;
use serde_json::{Value, json};

use crate::{CLASSES, Failure};

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    Train,
    Calibrate,
    Test,
}

/// One prompt.
pub(crate) struct Row {
    /// Where it is from.
    pub(crate) set: &'static str,
    /// A hash of its text: equal prompts stay together wherever rows are divided.
    pub(crate) group: u64,
    pub(crate) split: Split,
    pub(crate) features: Features,
    /// Its kind as a class (the last is "none"), where the row speaks of kinds.
    pub(crate) class: Option<usize>,
    pub(crate) kind_weight: f32,
    /// How badly a small model's answer does, 0 to 1, where the row says.
    pub(crate) hard: Option<f32>,
    pub(crate) hard_weight: f32,
    /// The quality of the weak and of the strong model, 0 to 1.
    pub(crate) weak: f32,
    pub(crate) strong: f32,
}

const NONE: usize = CLASSES - 1;

fn class(kind: Option<Kind>) -> usize {
    kind.and_then(|kind| Kind::ALL.iter().position(|k| *k == kind)).unwrap_or(NONE)
}

fn hash(text: &str) -> u64 {
    // FNV-1a over the letters alone, so that the same question with other spacing is the same group.
    let letters = text.bytes().filter(u8::is_ascii_alphanumeric);
    let hash =
        letters.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash ^ hash >> 29
}

/// Six of ten train, two calibrate, two test.
fn divide(group: u64) -> Split {
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

fn features(task: Value) -> Result<Features, Failure> {
    Ok(Features::of(&serde_json::from_value::<TaskRequest>(task)?))
}

fn text<'a>(row: &'a Value, field: &str) -> Result<&'a str, Failure> {
    row[field].as_str().ok_or_else(|| format!("{field} is not a string in {row}").into())
}

/// Everyday prompts, written by hand: {prompt, hard: 0 or 1, kind where it shows one}. Those to learn from come again
/// as a hurried or careful person would have typed them.
pub(crate) fn everyday(file: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for row in lines(file)? {
        let prompt = text(&row, "prompt")?;
        let group = hash(prompt);
        let hard = row["hard"].as_f64().ok_or("hard is not a number")? as f32;
        let mut typed = vec![prompt.to_owned()];
        if divide(group) != Split::Test {
            typed.extend(retyped(prompt));
        }
        let share = 1.0 / typed.len() as f32;
        for prompt in typed {
            rows.push(Row {
                set: "everyday",
                group,
                split: divide(group),
                features: features(json!({"task_type": "any", "description": prompt}))?,
                // A prompt that shows a kind without a document is no clear case of it, nor of "none".
                class: row["kind"].is_null().then_some(NONE),
                kind_weight: 12.0 * share,
                hard: Some(hard),
                hard_weight: 6.0 * share,
                weak: 1.0 - hard,
                strong: 1.0,
            });
        }
    }
    Ok(rows)
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

/// Benchmark questions, each with the quality of a weak and of a strong model.
pub(crate) fn routing(directory: &Path) -> Result<Vec<Row>, Failure> {
    // RouteLLM counts in percent.
    let sets = [
        ("mmlu", 100.0),
        ("gsm8k", 100.0),
        ("phi-claude-crux", 1.0),
        ("phi-claude-math-l5", 1.0),
        ("phi-claude-gsm", 1.0),
    ];
    let mut rows = Vec::new();
    for (set, whole) in sets {
        for row in lines(&directory.join(format!("{set}.jsonl")))? {
            let prompt = text(&row, "prompt")?;
            let quality = |model: &str| row[model].as_f64().map(|quality| quality as f32 / whole);
            let (Some(weak), Some(strong)) = (quality("weak"), quality("strong")) else { continue };
            let group = hash(prompt);
            rows.push(Row {
                set,
                group,
                split: divide(group),
                features: features(json!({"task_type": "any", "description": prompt}))?,
                class: Some(NONE),
                kind_weight: 1.0,
                hard: Some(1.0 - weak),
                hard_weight: if set == "mmlu" { 0.5 } else { 1.0 },
                weak,
                strong,
            });
        }
    }
    Ok(rows)
}

/// Tasks of the six kinds and beyond them, as the tiny SLM's generator writes them.
pub(crate) fn kinds(file: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for row in lines(file)? {
        let description = text(&row, "description")?;
        let kind = row["kind"].as_str().and_then(Kind::from_name);
        let group = hash(&format!("{description}{}", row["parameters"]));
        // A field that its document lacks is asked for in the words of the kind. Only reading both tells, which is
        // the model's business; such rows are counted apart, and nothing is learned from them.
        let absent = row["why"].as_str().is_some_and(|why| why.ends_with(".absent"));
        let split = match row["split"].as_str() {
            Some("train") => Split::Train,
            Some("calibration") => Split::Calibrate,
            _ => Split::Test,
        };
        // A simple task is an easy one; a few of them are enough to say so, and more would drown the everyday prompts.
        let easy = kind.is_some() && (group / 10).is_multiple_of(32);
        rows.push(Row {
            set: if absent { "absent" } else { "kinds" },
            group,
            split,
            features: features(json!({
                "task_type": "any", "description": description, "parameters": row["parameters"],
            }))?,
            class: Some(class(kind)),
            kind_weight: if absent { 0.0 } else { 1.0 },
            hard: easy.then_some(0.0),
            hard_weight: 0.5,
            weak: 1.0,
            strong: 1.0,
        });
    }
    Ok(rows)
}
