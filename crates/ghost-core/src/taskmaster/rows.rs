//! The rows that TaskMaster is trained and measured with: JSON, one object a line.
//!
//! `{"id", "prompt", "weak", "strong", "drafts": {name: answer}}`: the qualities of the weak and of the strong model's
//! answer, and the answers of small models, the weak one's first. What a purpose does not need may be missing.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::drafts::Answer;
use super::features::Features;
use super::quality::Scored;
use super::train::Example;
use crate::task::TaskRequest;

/// The most bytes of a row.
const MAX_ROW: usize = 4 << 20;
/// The most drafts of a row.
const MAX_DRAFTS: usize = 64;

/// A prompt and what is known of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Row {
    /// The sender's name for it; any JSON.
    #[serde(default)]
    pub id: Value,
    /// What a model would be asked.
    pub prompt: String,
    /// The quality of the weak model's answer.
    #[serde(default)]
    pub weak: Option<f64>,
    /// The quality of the strong model's answer.
    #[serde(default)]
    pub strong: Option<f64>,
    /// The answers of small models by name; the first is the one that would be given.
    #[serde(default)]
    pub drafts: Map<String, Value>,
    /// The name of the draft that would be given, where it is not the first.
    #[serde(default)]
    pub weak_model: Option<String>,
}

/// Why rows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is no row.
    #[error("{file} line {line}: {problem}")]
    Line {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to learn from or to measure.
    #[error("{file}: no row has both `weak` and `strong`")]
    Empty {
        /// Which file.
        file: String,
    },
}

impl Row {
    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        if line.len() > MAX_ROW {
            return Err(format!("has {} bytes; at most {MAX_ROW}", line.len()));
        }
        let row: Self = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if row.prompt.trim().is_empty() {
            return Err("prompt: must not be empty".to_owned());
        }
        if row.drafts.len() > MAX_DRAFTS {
            return Err(format!("drafts: {}; at most {MAX_DRAFTS}", row.drafts.len()));
        }
        for (name, quality) in [("weak", row.weak), ("strong", row.strong)] {
            if quality.is_some_and(|quality| !quality.is_finite() || quality < 0.0) {
                return Err(format!("{name}: must be a number from 0 on"));
            }
        }
        Ok(row)
    }

    /// What the prompt is made of.
    pub fn features(&self) -> Features {
        Features::of(&self.request())
    }

    /// The task that asks it.
    pub fn request(&self) -> TaskRequest {
        TaskRequest::new("llm_inference", self.prompt.clone())
    }

    /// The drafts in their normal form, the one that would be given first.
    pub fn answers(&self) -> Vec<Option<Answer>> {
        let given =
            self.weak_model.as_ref().and_then(|name| self.drafts.keys().position(|known| known == name));
        let mut answers: Vec<Option<Answer>> = self.drafts.values().map(answer).collect();
        if let Some(given) = given {
            answers[..=given].rotate_right(1);
        }
        answers
    }

    /// The row as training sees it, if both qualities are known.
    pub fn example(&self) -> Option<Example> {
        let (weak, strong) = (self.weak? as f32, self.strong? as f32);
        Some(Example { features: self.features(), group: group(&self.prompt), weak, strong, weight: 1.0 })
    }

    /// The row with a score, if both qualities are known.
    pub fn scored(&self, score: f64) -> Option<Scored> {
        Some(Scored { score, weak: self.weak?, strong: self.strong? })
    }
}

/// A hash of the letters of a prompt: the same question with other spacing is the same group, whose rows stay together
/// wherever rows are divided.
pub fn group(prompt: &str) -> u32 {
    let letters: Vec<u8> =
        prompt.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase()).collect();
    // A prompt without Latin letters is a group by itself.
    let digest = Sha256::digest(if letters.is_empty() { prompt.as_bytes() } else { &letters });
    u32::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

fn answer(value: &Value) -> Option<Answer> {
    match value {
        Value::Null => None,
        Value::String(text) => Answer::of(text),
        other => Answer::of(&other.to_string()),
    }
}

/// Reads a file of rows. Qualities above 1 are shares of the largest one in the file, as in percent.
///
/// # Errors
/// [`Error`] says which line is wrong, and how.
pub fn read(path: &Path) -> Result<Vec<Row>, Error> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { file: file.clone(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(place, line)| {
        Row::parse(line).map_err(|problem| Error::Line { file: file.clone(), line: place + 1, problem })
    });
    let mut rows = parsed.collect::<Result<Vec<Row>, Error>>()?;
    let qualities = rows.iter().flat_map(|row| [row.weak, row.strong]).flatten();
    let most = qualities.fold(1.0, f64::max);
    for quality in rows.iter_mut().flat_map(|row| [&mut row.weak, &mut row.strong]).flatten() {
        *quality /= most;
    }
    Ok(rows)
}

/// Reads a file of rows whose qualities are known, and leaves the others out.
///
/// # Errors
/// [`Error`], also where no row is left.
pub fn read_labelled(path: &Path) -> Result<Vec<Row>, Error> {
    let mut rows = read(path)?;
    rows.retain(|row| row.weak.is_some() && row.strong.is_some());
    if rows.is_empty() {
        return Err(Error::Empty { file: path.display().to_string() });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str, expected: &str) {
        let problem = Row::parse(line).expect_err(expected);
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn a_row_that_makes_no_sense_is_refused_with_what_is_wrong() {
        refused("{", "EOF");
        refused(r#"{"prompt": " "}"#, "prompt: must not be empty");
        refused(r#"{"prompt": "x", "weak": -1}"#, "weak: must be a number from 0 on");
        refused(r#"{"prompt": "x", "drafts": [1]}"#, "invalid type");
        refused(r#"{"weak": 1}"#, "missing field `prompt`");
        refused(&format!(r#"{{"prompt": "{}"}}"#, "x".repeat(MAX_ROW)), "at most");
    }

    #[test]
    fn qualities_in_percent_become_shares() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("rows.jsonl");
        std::fs::write(&file, "{\"prompt\": \"a\", \"weak\": 50, \"strong\": 100}\n\n{\"prompt\": \"b\"}\n")
            .expect("written");
        let rows = read_labelled(&file).expect("rows");
        assert_eq!((rows.len(), rows[0].weak, rows[0].strong), (1, Some(0.5), Some(1.0)));
        std::fs::write(&file, "{\"prompt\": \"a\"}\nnonsense\n").expect("written");
        assert!(read(&file).expect_err("a bad line").to_string().contains("line 2"));
    }

    #[test]
    fn the_draft_that_would_be_given_comes_first() {
        let row =
            Row::parse(r#"{"prompt": "?", "drafts": {"a": "1", "b": 2, "c": null}, "weak_model": "b"}"#);
        let answers = row.expect("a row").answers();
        assert_eq!(answers, [Some(Answer::Number(2.0)), Some(Answer::Number(1.0)), None]);
    }

    #[test]
    fn spacing_and_capitals_do_not_make_another_group() {
        assert_eq!(group("What is 2+2?"), group("what is  2 + 2"));
        assert_ne!(group("What is 2+2?"), group("What is 2+3?"));
    }
}
