//! What stands in quotation marks must stand in the material.

use crate::lifecycle::{Answer, Finding, Severity};

use super::{Check, Subject, reject};

/// Long quotations occur in the prompt, where one is given.
///
/// They reject an answer only where the task asks to quote; elsewhere they are advice, since a story has dialogue.
#[derive(Debug, Clone, Copy)]
pub struct Quotation;

/// Shorter ones are names, titles and irony.
const MIN_WORDS: usize = 4;
/// Words of a task that asks to quote.
const ASKS: [&str; 7] = ["quot", "verbatim", "cite ", "citation", "excerpt", "word for word", "exact words"];
/// Opening marks and what closes them.
const MARKS: [(char, char); 4] = [('“', '”'), ('"', '"'), ('«', '»'), ('„', '“')];

impl Check for Quotation {
    fn name(&self) -> &'static str {
        "quotation"
    }

    fn check(&self, subject: &Subject, answer: &Answer) -> Vec<Finding> {
        let Some(prompt) = &subject.request.parameters.prompt else { return Vec::new() };
        // In JSON and in code every string stands in quotation marks.
        if subject.wants_json()
            || answer.text.trim_start().starts_with(['{', '['])
            || answer.text.contains("```")
        {
            return Vec::new();
        }
        let source = plain(prompt);
        let asks = subject.request.description.to_lowercase();
        let severity =
            if ASKS.iter().any(|ask| asks.contains(ask)) { Severity::Reject } else { Severity::Advice };
        quotations(&answer.text)
            .filter(|(_, quote)| quote.split_whitespace().count() >= MIN_WORDS)
            // An ellipsis leaves something out; what stands on either side must still be there.
            .filter(|(_, quote)| {
                quote.replace("[...]", "…").replace("[…]", "…").replace("...", "…").split('…').any(|part| {
                    let part = plain(part);
                    !source.contains(part.trim_end_matches(['.', ',', ';', '!', '?']))
                })
            })
            .map(|(start, quote)| Finding {
                span: Some((start, start + quote.len())),
                severity,
                ..reject(
                    self,
                    format!("“{quote}” does not stand in the prompt"),
                    "quote the prompt letter by letter",
                )
            })
            .collect()
    }
}

/// What stands between quotation marks on one line, with its byte offset.
fn quotations(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(open) = text[at..].find(|c| MARKS.iter().any(|(mark, _)| *mark == c)) {
            let mark = text[at + open..].chars().next()?;
            let start = at + open + mark.len_utf8();
            let close = MARKS.iter().find(|(opening, _)| *opening == mark)?.1;
            at = start;
            if let Some(length) = text[start..].find([close, '\n'])
                && text[start + length..].starts_with(close)
            {
                at = start + length + close.len_utf8();
                return Some((start, &text[start..start + length]));
            }
        }
        None
    })
}

/// Lower case, single spaces, plain apostrophes: what remains must be the same.
fn plain(text: &str) -> String {
    text.replace('’', "'").split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
