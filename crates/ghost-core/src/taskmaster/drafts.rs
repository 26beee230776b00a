//! What drafts say about a prompt, once there are some: whether the weak model's answer will do.
//!
//! The first draft is the answer that would be given; others, of the same or of other small models, are asked only for
//! their opinion. Where they agree, the answer is mostly right; where all differ, the prompt may be too hard for the
//! strong model as well. Answers are compared as what they are: numbers by value, choices by letter, JSON and literals of
//! code without regard to spaces and quotation marks.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::features::Features;
use super::need::{SORTS, Sort};

mod learn;

pub use learn::{Drafted, train};

/// An answer in its normal form.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A number.
    Number(f64),
    /// One of lettered options.
    Choice(char),
    /// JSON or a literal of a programming language.
    Literal(String),
    /// Any other text, in small letters.
    Text(String),
}

/// A text of so many bytes is an answer and nothing else.
const MAX_BARE: usize = 80;
/// Longer answers are compared by their beginning.
const MAX_ANSWER: usize = 4096;

impl Answer {
    /// The normal form of an answer; none where there is none.
    pub fn of(text: &str) -> Option<Self> {
        let mut end = text.len().min(MAX_ANSWER);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text[..end].trim();
        if text.is_empty()
            || ["none", "null", "n/a", "nan", "no answer"].iter().any(|no| text.eq_ignore_ascii_case(no))
        {
            return None;
        }
        if let Some(number) = number(text) {
            return Some(Answer::Number(number));
        }
        let bare = text.trim_matches(['(', ')', '.', ' ']);
        if let [letter] = bare.as_bytes()
            && letter.is_ascii_alphabetic()
        {
            return Some(Answer::Choice(letter.to_ascii_uppercase() as char));
        }
        if text.starts_with(['[', '{', '(', '"', '\'']) || matches!(text, "True" | "False" | "true" | "false")
        {
            return Some(Answer::Literal(literal(text)));
        }
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        Some(Answer::Text(words.join(" ").trim_end_matches('.').to_owned()))
    }

    /// What a longer text comes to: what stands in its box, after its last "answer", or the last number of its last line.
    pub fn concluding(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() <= MAX_BARE && !text.contains('\n') || text.starts_with(['[', '{']) {
            return Self::of(text);
        }
        if let Some((_, boxed)) = text.rsplit_once("\\boxed{") {
            return Self::of(boxed.split('}').next()?);
        }
        let small = text.to_ascii_lowercase();
        if let Some(place) = small.rfind("answer") {
            let after = text[place..].split_once([' ', ':', '*']).map_or("", |(_, after)| after);
            let after = after.lines().next()?.trim_start_matches(['*', ' ', ':', '=']);
            let after = after.strip_prefix("is").unwrap_or(after).trim_matches(['*', ' ', ':', '.', '$']);
            if !after.is_empty() && after.len() <= MAX_BARE {
                return last_number(after).map(Answer::Number).or_else(|| Self::of(after));
            }
        }
        last_number(text.lines().next_back()?).map(Answer::Number)
    }

    /// Whether both say the same.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Answer::Number(a), Answer::Number(b)) => (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0),
            _ => self == other,
        }
    }

    /// How near two answers are that need not be the same, 0 to 1.
    fn nearness(&self, other: &Self) -> f32 {
        match (self, other) {
            (Answer::Number(a), Answer::Number(b)) => {
                f32::from(u8::from((a - b).abs() <= 0.1 * a.abs().max(1.0)))
            }
            (Answer::Literal(a), Answer::Literal(b)) | (Answer::Text(a), Answer::Text(b)) => {
                let letters = |text: &str| text.bytes().fold(0_u128, |set, byte| set | 1 << (byte % 128));
                let (a, b) = (letters(a), letters(b));
                (a & b).count_ones() as f32 / (a | b).count_ones().max(1) as f32
            }
            _ => f32::from(u8::from(self == other)),
        }
    }

    fn length(&self) -> usize {
        match self {
            Answer::Number(_) | Answer::Choice(_) => 1,
            Answer::Literal(text) | Answer::Text(text) => text.len(),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    let bare: String = text.chars().filter(|c| !matches!(c, ',' | '$' | ' ')).collect();
    let bare = bare.trim_end_matches(['.', '%']);
    let plain = bare.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    plain.then(|| bare.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

fn last_number(text: &str) -> Option<f64> {
    text.split_whitespace()
        .rev()
        .find_map(|word| number(word.trim_matches(['*', '(', ')', '.', ',', ';', ':', '!', '?'])))
}

/// A literal without spaces and trailing commas between its parts, and with one sort of quotation mark.
fn literal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                normal.push(c);
                normal.extend(letters.next());
            }
            (Some(open), _) if c == open => {
                quote = None;
                normal.push('"');
            }
            (Some(_), _) => normal.push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                normal.push('"');
            }
            (None, ']' | '}') if normal.ends_with(',') => {
                normal.pop();
                normal.push(c);
            }
            (None, _) if c.is_whitespace() => {}
            (None, _) => normal.push(c),
        }
    }
    normal
}

/// How many views on the drafts there are.
pub const VIEWS: usize = 22;

/// What there is to see in a prompt's drafts, the first of which would be given. `gain` is what the prompt alone lets
/// expect of the strong model ([`need`](super::need)).
pub fn views(prompt: &str, drafts: &[Option<Answer>], gain: f32) -> [f32; VIEWS] {
    let yes = |shown: bool| f32::from(u8::from(shown));
    let (given, others) = match drafts.split_first() {
        Some((given, others)) => (given.as_ref(), others),
        None => (None, drafts),
    };
    let asked = others.len().max(1) as f32;
    let opinions: Vec<&Answer> = others.iter().flatten().collect();
    let agree = |answer: &Answer| opinions.iter().filter(|opinion| opinion.agrees(answer)).count();
    let support = given.map_or(0, agree);
    let dissent = opinions
        .iter()
        .filter(|opinion| given.is_none_or(|given| !opinion.agrees(given)))
        .map(|opinion| agree(opinion));
    let dissent = dissent.max().unwrap_or(0);
    let different = (0..opinions.len())
        .filter(|place| !opinions[..*place].iter().any(|earlier| earlier.agrees(opinions[*place])))
        .count()
        + usize::from(given.is_some() && support == 0);
    let value = |answer: Option<&Answer>| match answer {
        Some(Answer::Number(number)) => Some(*number),
        _ => None,
    };
    let number = value(given);
    let magnitude = |number: f64| (1.0 + number.abs()).log10().min(20.0) as f32;
    let largest = opinions.iter().filter_map(|o| value(Some(o))).map(magnitude).fold(0.0, f32::max);
    let shown = match given {
        Some(Answer::Number(number)) => prompt.contains(&number.to_string()),
        Some(Answer::Literal(text)) => prompt.contains(text.trim_matches('"')),
        _ => false,
    };
    let near = given.map_or(0.0, |given| opinions.iter().map(|o| o.nearness(given)).sum::<f32>());
    [
        1.0,
        support as f32 / asked,
        yes(support > 0 && support == others.len()),
        yes(support == 0),
        dissent as f32 / asked,
        yes(dissent > 1 && dissent == others.len()),
        different as f32 / drafts.len().max(1) as f32,
        yes(given.is_none()),
        1.0 - opinions.len() as f32 / asked,
        yes(others.is_empty()),
        yes(given.is_some_and(|given| {
            opinions.iter().any(|o| std::mem::discriminant(*o) != std::mem::discriminant(given))
        })),
        yes(number.is_some()),
        number.map_or(0.0, magnitude),
        yes(number.is_some_and(|number| number.fract() != 0.0)),
        yes(number == Some(0.0)),
        yes(number.is_some_and(|number| number < 0.0)),
        number.map_or(0.0, |number| largest - magnitude(number)),
        given.map_or(0.0, |given| (given.length() as f32).ln_1p()),
        yes(matches!(given, Some(Answer::Literal(_)))),
        yes(shown),
        near / asked,
        gain,
    ]
}

/// The learned rule: a ridge regression on the views, with its own weights for each sort of prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The mean of each view.
    pub mean: [f32; VIEWS],
    /// Its standard deviation.
    pub spread: [f32; VIEWS],
    /// The gain to start from.
    pub bias: f32,
    /// By sort of prompt, what each view is worth.
    pub weights: Vec<[f32; VIEWS]>,
    /// What turns a gain into log-odds that the answer would not do, by sort of prompt.
    pub calibration: Vec<Calibration>,
}

impl Rule {
    /// By how much the strong model is expected to do better.
    pub fn gain(&self, features: &Features, views: &[f32; VIEWS]) -> f32 {
        let weights = &self.weights[Sort::of(features) as usize];
        let standard = self.standard(views);
        self.bias + standard.iter().zip(weights).map(|(view, weight)| view * weight).sum::<f32>()
    }

    /// The log-odds that the first draft would not do.
    pub fn log_odds(&self, features: &Features, views: &[f32; VIEWS]) -> f32 {
        self.calibration[Sort::of(features) as usize].log_odds(self.gain(features, views))
    }

    fn standard(&self, views: &[f32; VIEWS]) -> [f32; VIEWS] {
        std::array::from_fn(|place| match place {
            0 => 1.0,
            _ => ((views[place] - self.mean[place]) / self.spread[place].max(1e-3)).clamp(-4.0, 4.0),
        })
    }

    /// Whether every part has its size and every number is finite.
    pub fn is_sound(&self) -> bool {
        let numbers = self.mean.iter().chain(&self.spread).chain([&self.bias]);
        let numbers = numbers.chain(self.weights.iter().flatten());
        (self.weights.len(), self.calibration.len()) == (SORTS, SORTS)
            && self.calibration.iter().all(Calibration::is_sound)
            && numbers.into_iter().all(|number| number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Answer::of(a).zip(Answer::of(b)).is_some_and(|(a, b)| a.agrees(&b))
    }

    #[test]
    fn answers_that_say_the_same_agree_however_they_are_written() {
        assert!(same("1,200", "$1200.0") && same("3", "3.0") && same(" 15% ", "15"));
        assert!(same("(B)", "b.") && same("B", "b"));
        assert!(same("[1, 'a']", "[1,\"a\",]") && same("{'k': (1, 2)}", "{\"k\":(1,2)}"));
        assert!(same("Paris", " paris. "));
        assert!(same("'a b'", "\"a b\""));
    }

    #[test]
    fn answers_that_differ_do_not_agree() {
        assert!(!same("3", "4") && !same("A", "B") && !same("[1]", "(1)") && !same("'a b'", "'ab'"));
        assert!(!same("Paris", "Rome") && !same("3", "three"));
    }

    #[test]
    fn a_longer_text_comes_to_its_conclusion() {
        let number = |text: &str| match Answer::concluding(text) {
            Some(Answer::Number(number)) => number,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(number("She gives 4 away.\n12 - 4 = 8\nSo she has 8 apples left."), 8.0);
        assert_eq!(number("It is long.\nThe answer is **1,200**."), 1200.0);
        assert_eq!(number("Thus we have\n$$x = \\boxed{42}$$\nwhich is what was asked for."), 42.0);
        assert_eq!(Answer::concluding("First, A is wrong.\nAnswer: (B)"), Some(Answer::Choice('B')));
        assert_eq!(Answer::concluding("[1, 2]"), Answer::of("[1,2]"));
        assert_eq!(Answer::concluding("Dear all,\nthank you for coming.\nYours, Ann"), None);
        assert_eq!(Answer::concluding("answer"), Answer::of("answer"));
        assert_eq!(Answer::concluding(""), None);
    }

    #[test]
    fn no_answer_is_none_and_agrees_with_nothing() {
        for text in ["", "  ", "None", "null", "N/A"] {
            assert_eq!(Answer::of(text), None, "{text:?}");
        }
        let lone = views("?", &[None, Answer::of("3")], 0.0);
        assert_eq!((lone[1], lone[3], lone[7]), (0.0, 1.0, 1.0));
    }

    #[test]
    fn the_views_count_support_and_dissent() {
        let drafts = ["3", "3.0", "4", "4"].map(Answer::of);
        let seen = views("?", &drafts, 0.25);
        assert!((seen[1] - 1.0 / 3.0).abs() < 1e-6 && (seen[4] - 2.0 / 3.0).abs() < 1e-6, "{seen:?}");
        assert_eq!((seen[6], seen[VIEWS - 1]), (0.5, 0.25));
        assert!(views("?", &[], 0.0).iter().all(|view| view.is_finite()));
    }

    #[test]
    fn a_literal_that_never_ends_is_read_to_its_end() {
        for text in ["'", "[1, \"", "{\\", "'\\"] {
            assert!(Answer::of(text).is_some());
        }
    }
}
