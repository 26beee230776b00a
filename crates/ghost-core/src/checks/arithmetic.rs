//! Recomputes what an answer claims to have computed: `a op b = c`, percentages, sums.

use crate::lifecycle::{Answer, Finding};

use super::{Check, Subject, reject};

/// Stated results are right, to the digits they are stated with.
///
/// What it cannot read for certain it passes over: names in a formula, powers, dates, chains of equals signs. An
/// equation that the task itself contains is being discussed, not claimed.
#[derive(Debug, Clone, Copy)]
pub struct Arithmetic;

/// Longer formulas are not read: they are data.
const MAX_EXPRESSION: usize = 200;

impl Check for Arithmetic {
    fn name(&self) -> &'static str {
        "arithmetic"
    }

    fn check(&self, subject: &Subject, answer: &Answer) -> Vec<Finding> {
        if !answer.text.contains(['=', '%']) && !answer.text.contains("sum of") {
            return Vec::new();
        }
        let asked = subject.request.text();
        let equations = equations(&answer.text);
        let claims = equations.chain(shares(&answer.text)).chain(sums(&answer.text));
        claims
            .filter(|claim| !asked.contains(&answer.text[claim.span.0..claim.span.1]))
            .filter_map(|claim| {
                let right = claim.mistake()?;
                let claimed = answer.text[claim.span.0..claim.span.1].trim();
                Some(Finding {
                    span: Some(claim.span),
                    ..reject(self, format!("“{claimed}” is wrong"), format!("the result is {right}"))
                })
            })
            .collect()
    }
}

/// "This is that", as an answer says it.
struct Claim {
    span: (usize, usize),
    /// The terms and operators of the left side.
    tokens: Vec<Token>,
    /// The stated result.
    result: Stated,
}

impl Claim {
    /// The right result, where the stated one is wrong.
    fn mistake(&self) -> Option<String> {
        let mut right = None;
        // 1,234 is a thousand in one country and one and a bit in another: either reading may make it right.
        for reading in [Reading::Point, Reading::Comma] {
            let Some(stated) = self.result.number.value(reading) else { continue };
            let stated = if self.result.negative { stated.negated() } else { stated };
            let Some(value) = evaluate(&self.tokens, reading) else { continue };
            let decimals = self.result.number.decimals(reading);
            // 25 % is stated as 25 whether the formula yields 0.25 or 25.
            let in_percent = value.scaled(100.0);
            if value.agrees(stated, decimals) || self.result.percent && in_percent.agrees(stated, decimals) {
                return None;
            }
            let value = if self.result.percent { in_percent } else { value };
            right.get_or_insert(value.to_string());
        }
        right
    }
}

/// Which sign separates the decimals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Point,
    Comma,
}

/// A result as it is written.
struct Stated {
    negative: bool,
    number: Number,
    percent: bool,
    /// Where it ends, in bytes from where its reading began.
    end: usize,
}

/// A number as it is written.
#[derive(Clone, Debug, PartialEq)]
struct Number(String);

impl Number {
    fn plain(&self, reading: Reading) -> Option<String> {
        let (grouping, decimal) = match reading {
            Reading::Point => (',', '.'),
            Reading::Comma => ('.', ','),
        };
        let (whole, fraction) = match self.0.split_once(decimal) {
            Some((_, fraction)) if fraction.contains([grouping, decimal]) => return None,
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (self.0.as_str(), None),
        };
        let mut groups = whole.split(grouping);
        let first = groups.next()?;
        let mut digits = first.to_owned();
        for group in groups {
            if group.len() != 3 || first.is_empty() || first.len() > 3 {
                return None;
            }
            digits.push_str(group);
        }
        Some(match fraction {
            Some(fraction) => format!("{digits}.{fraction}"),
            None => digits,
        })
    }

    fn value(&self, reading: Reading) -> Option<Computed> {
        let plain = self.plain(reading)?;
        let value: f64 = plain.parse().ok()?;
        value.is_finite().then(|| Computed { value, exact: plain.parse().ok() })
    }

    fn decimals(&self, reading: Reading) -> usize {
        self.plain(reading).and_then(|plain| plain.split_once('.').map(|(_, f)| f.len())).unwrap_or(0)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Number),
    Operator(char),
    Open,
    Close,
    Percent,
}

/// A computed value: exact where whole numbers were added, subtracted and multiplied within 128 bits.
#[derive(Clone, Copy)]
struct Computed {
    value: f64,
    exact: Option<i128>,
}

impl Computed {
    fn scaled(self, by: f64) -> Self {
        Self { value: self.value * by, exact: None }
    }

    fn negated(self) -> Self {
        Self { value: -self.value, exact: self.exact.and_then(i128::checked_neg) }
    }

    fn agrees(self, stated: Self, decimals: usize) -> bool {
        if let (Some(value), Some(stated)) = (self.exact, stated.exact) {
            return value == stated;
        }
        // Far above the error of a few operations on floating-point numbers, far below what anybody states.
        let noise = 1e-12 * self.value.abs().max(stated.value.abs());
        let rounding = match self.exact {
            Some(_) => 0.0,
            // Rounding and cutting off are both common: one unit of the last stated digit.
            None => 10_f64.powi(-i32::try_from(decimals.min(300)).unwrap_or(300)),
        };
        (self.value - stated.value).abs() <= rounding + noise
    }
}

impl std::fmt::Display for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.exact {
            Some(exact) => write!(f, "{exact}"),
            None => write!(f, "{}", (self.value * 1e6).round() / 1e6),
        }
    }
}

fn evaluate(tokens: &[Token], reading: Reading) -> Option<Computed> {
    let mut parser = Parser { tokens, at: 0, reading, depth: 0 };
    let value = parser.sum()?;
    (parser.at == tokens.len() && value.value.is_finite()).then_some(value)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    reading: Reading,
    depth: usize,
}

impl Parser<'_> {
    fn operator(&mut self, among: &[char]) -> Option<char> {
        match self.tokens.get(self.at) {
            Some(Token::Operator(operator)) if among.contains(operator) => {
                self.at += 1;
                Some(*operator)
            }
            _ => None,
        }
    }

    fn sum(&mut self) -> Option<Computed> {
        let mut left = self.product()?;
        while let Some(operator) = self.operator(&['+', '-']) {
            let right = self.product()?;
            left = match operator {
                '+' => combine(left, right, |a, b| a + b, i128::checked_add),
                _ => combine(left, right, |a, b| a - b, i128::checked_sub),
            };
        }
        Some(left)
    }

    fn product(&mut self) -> Option<Computed> {
        let mut left = self.term()?;
        while let Some(operator) = self.operator(&['*', '/']) {
            let right = self.term()?;
            left = match operator {
                '*' => combine(left, right, |a, b| a * b, i128::checked_mul),
                _ => combine(
                    left,
                    right,
                    |a, b| a / b,
                    |a, b| if b != 0 && a % b == 0 { Some(a / b) } else { None },
                ),
            };
        }
        Some(left)
    }

    fn term(&mut self) -> Option<Computed> {
        let value = match self.tokens.get(self.at)? {
            Token::Operator('-') => {
                self.at += 1;
                return Some(self.term()?.negated());
            }
            Token::Number(number) => {
                self.at += 1;
                number.value(self.reading)?
            }
            Token::Open if self.depth < 16 => {
                self.at += 1;
                self.depth += 1;
                let value = self.sum()?;
                self.depth -= 1;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return None;
                }
                self.at += 1;
                value
            }
            _ => return None,
        };
        if self.tokens.get(self.at) == Some(&Token::Percent) {
            self.at += 1;
            return Some(value.scaled(0.01));
        }
        Some(value)
    }
}

fn combine(
    left: Computed,
    right: Computed,
    roughly: fn(f64, f64) -> f64,
    exactly: fn(i128, i128) -> Option<i128>,
) -> Computed {
    Computed {
        value: roughly(left.value, right.value),
        exact: left.exact.zip(right.exact).and_then(|(a, b)| exactly(a, b)),
    }
}

/// The signs that a formula may consist of.
fn in_formula(c: char) -> bool {
    c.is_ascii_digit() || "+-*/×÷−·().,% $€£".contains(c)
}

/// Reads a formula; none where a sign is out of place.
fn tokens(formula: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = formula.trim();
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_digit() {
            let end =
                rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(rest.len());
            let number = rest[..end].trim_end_matches(['.', ',']);
            if number.len() < end
                || matches!(tokens.last(), Some(Token::Number(_) | Token::Close | Token::Percent))
            {
                return None;
            }
            tokens.push(Token::Number(Number(number.to_owned())));
            rest = &rest[end..];
            continue;
        }
        match c {
            '+' | '-' | '*' | '/' => tokens.push(Token::Operator(c)),
            '−' => tokens.push(Token::Operator('-')),
            '×' | '·' => tokens.push(Token::Operator('*')),
            '÷' => tokens.push(Token::Operator('/')),
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '%' => tokens.push(Token::Percent),
            ' ' | '$' | '€' | '£' => {}
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(tokens)
}

/// The number that a text begins with, after spaces, a currency and a sign.
fn leading_number(text: &str) -> Option<Stated> {
    let unsigned = text.trim_start_matches([' ', '$', '€', '£']);
    let number = unsigned.trim_start_matches(['-', '−']).trim_start_matches(['$', '€', '£']);
    let length = number.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(number.len());
    let digits = number[..length].trim_end_matches(['.', ',']);
    digits.starts_with(|c: char| c.is_ascii_digit()).then(|| {
        let after = &number[digits.len()..];
        Stated {
            negative: unsigned.starts_with(['-', '−']),
            number: Number(digits.to_owned()),
            percent: after.trim_start().starts_with('%'),
            end: text.len() - after.len(),
        }
    })
}

/// `formula = number`.
fn equations(text: &str) -> impl Iterator<Item = Claim> {
    text.match_indices('=').filter_map(move |(at, _)| {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let start = before.char_indices().rev().take_while(|&(_, c)| in_formula(c)).last()?.0;
        // "1. 2 + 2 = 4" is an item of a list, "So, 2 + 2 = 4" a sentence.
        let formula = before[start..].rsplit(". ").next()?.trim_start_matches(['.', ',', ' ']);
        let start = at - formula.len();
        let glued = text[..start].ends_with(|c: char| c.is_alphanumeric() || "_^)]}=<>!√".contains(c));
        if formula.len() > MAX_EXPRESSION || glued || after.starts_with(['=', '>', '<']) {
            return None;
        }
        let tokens = tokens(formula)?;
        let operators = || tokens.iter().filter(|token| matches!(token, Token::Operator(_)));
        // "x + 3 = 5" leaves "+ 3"; "(3) = 3" computes nothing; 2024-01-05 and 1/2/2024 are dates.
        let begins = matches!(tokens.first(), Some(Token::Number(_) | Token::Open));
        let only = |sign| operators().all(|operator| *operator == Token::Operator(sign));
        let date = operators().count() >= 2 && !formula.trim().contains(' ') && (only('-') || only('/'));
        if operators().next().is_none() || !begins || date {
            return None;
        }
        let result = leading_number(after)?;
        let end = at + 1 + result.end;
        (!goes_on(&text[end..])).then_some(Claim { span: (start, end), tokens, result })
    })
}

/// Whether a number is only the beginning of a formula or a power.
fn goes_on(after: &str) -> bool {
    let tail = after.trim_start_matches([' ', '%']);
    tail.starts_with(|c: char| c.is_ascii_digit() || "+-−*/×÷·^(=√".contains(c))
}

/// `N% of M is R`.
fn shares(text: &str) -> impl Iterator<Item = Claim> {
    text.match_indices("% of ").filter_map(move |(at, found)| {
        let before = &text[..at];
        let digits = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ',').len();
        let share = before[digits..].trim_start_matches(['.', ',']);
        let of = at + found.len();
        let whole = leading_number(&text[of..]).filter(|whole| !whole.negative && !whole.percent)?;
        let (result, end) = stated(text, of + whole.end)?;
        // "10-20% of 50" names a range.
        if share.is_empty() || before[..digits].ends_with(['-', '−', '–']) {
            return None;
        }
        let tokens = vec![
            Token::Number(Number(share.to_owned())),
            Token::Percent,
            Token::Operator('*'),
            Token::Number(whole.number),
        ];
        Some(Claim { span: (at - share.len(), end), tokens, result })
    })
}

/// `sum of A, B and C is R`.
fn sums(text: &str) -> impl Iterator<Item = Claim> {
    text.match_indices("sum of ").filter_map(move |(at, found)| {
        let mut end = at + found.len();
        let mut tokens = Vec::new();
        loop {
            let rest = text[end..].trim_start_matches([',', ' ']);
            let rest = rest.strip_prefix("and ").unwrap_or(rest);
            let Some(number) = leading_number(rest).filter(|number| !number.percent) else { break };
            if !tokens.is_empty() {
                tokens.push(Token::Operator('+'));
            }
            if number.negative {
                tokens.push(Token::Operator('-'));
            }
            tokens.push(Token::Number(number.number));
            end = text.len() - rest.len() + number.end;
        }
        let (result, end) = stated(text, end)?;
        (tokens.len() >= 3).then_some(Claim { span: (at, end), tokens, result })
    })
}

/// The result that follows at `at`: `= R`, `is R`, `equals R`; with where it ends in the text.
fn stated(text: &str, at: usize) -> Option<(Stated, usize)> {
    let rest = text[at..].trim_start();
    let after = ["=", "is ", "equals "].iter().find_map(|word| rest.strip_prefix(word))?;
    let result = leading_number(after)?;
    let end = text.len() - after.len() + result.end;
    (!goes_on(&text[end..])).then_some((result, end))
}
