//! Reads GBNF: rules, literals, classes, groups, alternatives and repetitions.

use std::collections::HashMap;

use super::Op;

/// The most bytes that a grammar may have.
const MAX_BYTES: usize = 256 << 10;
/// The most steps that its program may have.
const MAX_OPS: usize = 200_000;
/// The deepest that its parentheses may nest.
const MAX_NESTING: usize = 64;
/// The most repetitions that are counted; above, there is no upper bound.
const MAX_COUNT: usize = 2000;

/// The program of a grammar, where each of its rules begins, and the number of the rule `root`.
pub(super) fn parse(text: &str) -> Result<(Vec<Op>, Vec<usize>, usize), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("a grammar has at most {MAX_BYTES} bytes, not {}", text.len()));
    }
    let mut parser = Parser { text, at: 0, names: HashMap::new(), rules: Vec::new(), symbols: 0 };
    parser.skip(true);
    while parser.peek().is_some() {
        parser.rule()?;
    }
    let root = *parser.names.get("root").ok_or("the grammar has no rule `root`")?;
    let mut program = Vec::new();
    let mut begins = Vec::new();
    let names = parser.names;
    for (number, rule) in parser.rules.into_iter().enumerate() {
        let Some(alternatives) = rule else {
            let name = names.iter().find(|(_, id)| **id == number).map_or("?", |(name, _)| name);
            return Err(format!("the grammar uses a rule that it does not have: {name}"));
        };
        begins.push(program.len());
        for (index, sequence) in alternatives.into_iter().enumerate() {
            if index > 0 {
                program.push(Op::Or);
            }
            program.extend(sequence.into_iter().map(|symbol| match symbol {
                Symbol::Char(ranges) => Op::Char(ranges),
                Symbol::Rule(rule) => Op::Call(rule),
            }));
        }
        program.push(Op::End);
    }
    Ok((program, begins, root))
}

/// One symbol of a rule as it is read.
#[derive(Debug, Clone)]
enum Symbol {
    Char(Vec<(u32, u32)>),
    Rule(usize),
}

type Sequence = Vec<Symbol>;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: HashMap<&'a str, usize>,
    /// The alternatives of each rule; nothing while only its name is known.
    rules: Vec<Option<Vec<Sequence>>>,
    symbols: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Result<char, String> {
        let c = self.peek().ok_or("the grammar ends too early")?;
        self.at += c.len_utf8();
        Ok(c)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(self.complain(&format!("expected {token}"))) }
    }

    fn complain(&self, problem: &str) -> String {
        let line = self.text[..self.at].matches('\n').count() + 1;
        format!("line {line} of the grammar: {problem}")
    }

    /// Skips blanks and comments, and newlines where they mean nothing.
    fn skip(&mut self, newlines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\n' | '\r' if newlines => self.at += 1,
                '#' => {
                    self.at += self.text[self.at..].find(['\n', '\r']).unwrap_or(self.text.len() - self.at)
                }
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| &rest[..end])
    }

    fn rule_named(&mut self, name: &'a str) -> usize {
        *self.names.entry(name).or_insert_with(|| {
            self.rules.push(None);
            self.rules.len() - 1
        })
    }

    fn new_rule(&mut self, alternatives: Vec<Sequence>) -> Result<usize, String> {
        self.symbols += 1 + alternatives.iter().map(|sequence| sequence.len() + 1).sum::<usize>();
        if self.symbols > MAX_OPS {
            return Err("the grammar repeats too much".into());
        }
        self.rules.push(Some(alternatives));
        Ok(self.rules.len() - 1)
    }

    fn rule(&mut self) -> Result<(), String> {
        let name = self.name().ok_or_else(|| self.complain("expected the name of a rule"))?;
        let id = self.rule_named(name);
        self.skip(false);
        self.expect("::=")?;
        self.skip(true);
        let alternatives = self.alternatives(0)?;
        if self.peek().is_some_and(|c| c != '\n' && c != '\r') {
            return Err(self.complain("expected a newline"));
        }
        if self.rules[id].replace(alternatives).is_some() {
            return Err(self.complain(&format!("the rule {name} is there twice")));
        }
        self.skip(true);
        Ok(())
    }

    fn alternatives(&mut self, nesting: usize) -> Result<Vec<Sequence>, String> {
        if nesting > MAX_NESTING {
            return Err(self.complain("parentheses nest too deep"));
        }
        let mut alternatives = vec![self.sequence(nesting)?];
        while self.eat("|") {
            self.skip(true);
            alternatives.push(self.sequence(nesting)?);
        }
        Ok(alternatives)
    }

    fn sequence(&mut self, nesting: usize) -> Result<Sequence, String> {
        let mut sequence = Sequence::new();
        // Where the last item begins, which a repetition behind it is about.
        let mut item = None;
        while let Some(c) = self.peek() {
            let begin = sequence.len();
            match c {
                '"' => {
                    self.at += 1;
                    while !self.eat("\"") {
                        let c = self.char()?;
                        sequence.push(Symbol::Char(vec![(c, c)]));
                    }
                }
                '[' => sequence.push(Symbol::Char(self.class()?)),
                '.' => {
                    self.at += 1;
                    sequence.push(Symbol::Char(vec![(0, char::MAX as u32)]));
                }
                '(' => {
                    self.at += 1;
                    self.skip(true);
                    let alternatives = self.alternatives(nesting + 1)?;
                    self.expect(")")?;
                    sequence.push(Symbol::Rule(self.new_rule(alternatives)?));
                }
                '*' | '+' | '?' | '{' => {
                    let (least, most) = self.count()?;
                    let begin: usize = item.ok_or_else(|| self.complain("there is nothing to repeat"))?;
                    let repeated = sequence.split_off(begin);
                    self.repeat(&mut sequence, repeated, least, most)?;
                    item = None;
                    self.skip(nesting > 0);
                    continue;
                }
                '<' | '!' => return Err(self.complain("tokens are not supported, only characters")),
                _ => match self.name() {
                    Some(name) => {
                        let rule = self.rule_named(name);
                        sequence.push(Symbol::Rule(rule));
                    }
                    None => break,
                },
            }
            item = Some(begin);
            self.symbols += sequence.len() - begin;
            self.skip(nesting > 0);
        }
        if self.symbols > MAX_OPS {
            return Err("the grammar is too large".into());
        }
        Ok(sequence)
    }

    /// How often: `*`, `+`, `?`, `{3}`, `{3,}`, `{3,5}`.
    fn count(&mut self) -> Result<(usize, Option<usize>), String> {
        Ok(match self.next()? {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => {
                self.skip(true);
                let least = self.number().ok_or_else(|| self.complain("expected a number"))?;
                self.skip(true);
                let most = if self.eat(",") {
                    self.skip(true);
                    self.number()
                } else {
                    Some(least)
                };
                self.skip(true);
                self.expect("}")?;
                if least > MAX_COUNT || most.is_some_and(|most| most < least) {
                    return Err(self.complain(&format!("a repetition counts up, to at most {MAX_COUNT}")));
                }
                (least, most.filter(|&most| most <= MAX_COUNT))
            }
        })
    }

    fn number(&mut self) -> Option<usize> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| rest[..end].parse().unwrap_or(usize::MAX))
    }

    /// `S{2,3}` becomes `S S t1` with `t1 ::= S |`; `S*` becomes `t` with `t ::= S t |`.
    fn repeat(
        &mut self,
        into: &mut Sequence,
        item: Sequence,
        least: usize,
        most: Option<usize>,
    ) -> Result<(), String> {
        let item = match <[Symbol; 1]>::try_from(item) {
            Ok([symbol]) => symbol,
            Err(sequence) => Symbol::Rule(self.new_rule(vec![sequence])?),
        };
        into.extend(std::iter::repeat_n(item.clone(), least));
        let tail = match most {
            None => {
                let tail = self.rules.len();
                Some(self.new_rule(vec![vec![item, Symbol::Rule(tail)], vec![]])?)
            }
            Some(most) => {
                let mut tail = None;
                for _ in least..most {
                    let sequence = std::iter::once(item.clone()).chain(tail.map(Symbol::Rule)).collect();
                    tail = Some(self.new_rule(vec![sequence, vec![]])?);
                }
                tail
            }
        };
        into.extend(tail.map(Symbol::Rule));
        self.symbols += least;
        Ok(())
    }

    fn class(&mut self) -> Result<Vec<(u32, u32)>, String> {
        self.expect("[")?;
        let inverse = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            let from = self.char()?;
            let is_range = self.peek() == Some('-') && !self.text[self.at..].starts_with("-]");
            let to = if is_range {
                self.at += 1;
                self.char()?
            } else {
                from
            };
            if to < from {
                return Err(self.complain("a range of characters counts down"));
            }
            ranges.push((from, to));
        }
        if ranges.is_empty() {
            return Err(self.complain("a class of no characters"));
        }
        ranges.sort_unstable();
        Ok(if inverse { complement(&ranges) } else { ranges })
    }

    /// A character of a string or a class, perhaps escaped.
    fn char(&mut self) -> Result<u32, String> {
        match self.next()? {
            '\\' => match self.next()? {
                'x' => self.hex(2),
                'u' => self.hex(4),
                'U' => self.hex(8),
                't' => Ok(u32::from('\t')),
                'r' => Ok(u32::from('\r')),
                'n' => Ok(u32::from('\n')),
                c @ ('\\' | '"' | '[' | ']' | '-' | '^' | '/') => Ok(u32::from(c)),
                c => Err(self.complain(&format!("unknown escape \\{c}"))),
            },
            c => Ok(u32::from(c)),
        }
    }

    fn hex(&mut self, digits: usize) -> Result<u32, String> {
        let code = self.text[self.at..]
            .get(..digits)
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let code = code.ok_or_else(|| self.complain(&format!("expected {digits} hexadecimal digits")))?;
        self.at += digits;
        Ok(code)
    }
}

/// What sorted ranges leave out.
fn complement(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut left = Vec::new();
    let mut next = 0;
    for &(from, to) in ranges {
        if from > next {
            left.push((next, from - 1));
        }
        next = next.max(to.saturating_add(1));
    }
    if next <= char::MAX as u32 {
        left.push((next, char::MAX as u32));
    }
    left
}
