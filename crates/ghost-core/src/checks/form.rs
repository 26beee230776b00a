//! What no answer may be: empty, cut off, a refusal, or a loop.

use crate::inference::Finish;
use crate::lifecycle::{Answer, Finding};

use super::{Check, Subject, reject};

/// An answer says something.
#[derive(Debug, Clone, Copy)]
pub struct Empty;

impl Check for Empty {
    fn name(&self) -> &'static str {
        "empty"
    }

    fn check(&self, _: &Subject, answer: &Answer) -> Vec<Finding> {
        // A model that asks for a tool says so beside its text, and one that declined is Refusal's matter.
        let silent_by_right = matches!(answer.finish, Finish::ToolUse | Finish::Refusal);
        if silent_by_right || !answer.text.trim().is_empty() {
            return Vec::new();
        }
        vec![reject(self, "the answer has no text", "answer the task")]
    }
}

/// An answer comes to its end: within its token budget, with its code fences and its JSON closed.
#[derive(Debug, Clone, Copy)]
pub struct CutOff;

impl Check for CutOff {
    fn name(&self) -> &'static str {
        "cut_off"
    }

    fn check(&self, _: &Subject, answer: &Answer) -> Vec<Finding> {
        let text = answer.text.trim();
        let fences = text.lines().filter(|line| line.trim_start().starts_with("```")).count();
        let evidence = if answer.finish == Finish::Length {
            "the token budget ended the answer"
        } else if fences % 2 == 1 {
            "a code fence is open at the end"
        } else if text.starts_with(['{', '['])
            && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err_and(|e| e.is_eof())
        {
            "the JSON is open at the end"
        } else {
            return Vec::new();
        };
        vec![reject(self, evidence, "say the same in fewer words and finish")]
    }
}

/// A refusal is no answer, and it is not sent back either.
#[derive(Debug, Clone, Copy)]
pub struct Refusal;

/// How refusals begin, in lower case with plain apostrophes.
const REFUSALS: [&str; 16] = [
    "i can't help",
    "i cannot help",
    "i can't assist",
    "i cannot assist",
    "i can't provide",
    "i cannot provide",
    "i can't comply",
    "i cannot comply",
    "i can't fulfill",
    "i cannot fulfill",
    "i'm not able to help",
    "i am not able to help",
    "i'm unable to help",
    "i am unable to help",
    "i won't be able to help",
    "i must decline",
];
/// What politeness puts before them.
const PREFACES: [&str; 8] = [
    "i'm sorry",
    "i am sorry",
    "sorry",
    "i apologize",
    "unfortunately",
    "as an ai language model",
    "as an ai",
    "but",
];

impl Check for Refusal {
    fn name(&self) -> &'static str {
        "refusal"
    }

    fn check(&self, _: &Subject, answer: &Answer) -> Vec<Finding> {
        let start: String = answer.text.trim_start().chars().take(160).collect();
        let start = start.to_lowercase().replace('’', "'");
        let mut rest = start.as_str();
        while let Some(after) = PREFACES.iter().find_map(|preface| rest.strip_prefix(preface)) {
            rest = after.trim_start_matches(|c: char| !c.is_alphanumeric());
        }
        if answer.finish != Finish::Refusal && !REFUSALS.iter().any(|refusal| rest.starts_with(refusal)) {
            return Vec::new();
        }
        vec![reject(self, "the model declined to answer", "ask for something else")]
    }
}

/// A model caught in a loop says the same words over and over.
#[derive(Debug, Clone, Copy)]
pub struct Repetition;

/// The longest phrase, in words, whose repetition is looked for.
const LONGEST_PHRASE: usize = 32;
/// How many words in a row must repeat the ones before: a refrain or a list of like items stays below.
const REPEATED_WORDS: usize = 24;

impl Check for Repetition {
    fn name(&self) -> &'static str {
        "repetition"
    }

    fn check(&self, _: &Subject, answer: &Answer) -> Vec<Finding> {
        // Rows of zeros and rules of dashes repeat by right: only words with letters count.
        let words: Vec<&str> =
            answer.text.split_whitespace().filter(|word| word.contains(char::is_alphabetic)).collect();
        (1..=LONGEST_PHRASE)
            .find_map(|period| {
                let enough = REPEATED_WORDS.max(3 * period);
                let mut run = 0;
                let end = (period..words.len()).find(|&at| {
                    run = if words[at] == words[at - period] { run + 1 } else { 0 };
                    run >= enough
                })?;
                let phrase = words[end + 1 - period..=end].join(" ");
                Some(vec![reject(self, format!("repeats “{phrase}”"), "say it once")])
            })
            .unwrap_or_default()
    }
}
