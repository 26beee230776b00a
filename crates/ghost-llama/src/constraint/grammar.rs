//! Text that a GBNF grammar generates.
//!
//! llama.cpp has a sampler for these; it prints grammars that it refuses, walks some forever and answers a broken
//! promise by aborting the process. This one takes the same notation, works within bounds, and refuses in words.
//! A grammar becomes a flat program ([`Op`], by [`parser`]); the state is the set of all stacks of places in it where the text may
//! go on, each of which expects a character.

use std::collections::BTreeSet;

use super::{Constraint, each_char};

mod parser;

/// The deepest that its rules may be entered at once, as in nested JSON.
const MAX_DEPTH: usize = 256;
/// The most ways of reading a text that are followed at once.
const MAX_STACKS: usize = 4096;

/// One step of the program.
#[derive(Debug)]
enum Op {
    /// A character in one of these ranges, which are sorted and apart.
    Char(Vec<(u32, u32)>),
    /// What this rule generates.
    Call(usize),
    /// The end of an alternative; another one follows.
    Or,
    /// The end of a rule.
    End,
}

/// Places in the program still to come, the next one last; empty where the text may end.
type Stack = Vec<usize>;

pub(super) struct Grammar {
    program: Vec<Op>,
    /// Where each rule begins in the program.
    rules: Vec<usize>,
    stacks: BTreeSet<Stack>,
    /// The beginning of a character whose end is yet to come.
    partial: Vec<u8>,
}

impl Grammar {
    /// Reads a grammar; its rule `root` is where a text begins.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let (program, rules, root) = parser::parse(text)?;
        let mut grammar = Self { program, rules, stacks: BTreeSet::new(), partial: Vec::new() };
        let mut stacks = BTreeSet::new();
        let entry = grammar.alternatives(root).map(|at| if grammar.ends(at) { vec![] } else { vec![at] });
        grammar
            .expand(entry.collect(), &mut stacks)
            .ok_or("the grammar is ambiguous beyond measure or begins with itself")?;
        if stacks.is_empty() {
            return Err("the grammar generates no text".into());
        }
        grammar.stacks = stacks;
        Ok(grammar)
    }

    fn ends(&self, at: usize) -> bool {
        matches!(self.program[at], Op::Or | Op::End)
    }

    /// Where the alternatives of a rule begin.
    fn alternatives(&self, rule: usize) -> impl Iterator<Item = usize> {
        let begin = self.rules[rule];
        let end =
            begin + self.program[begin..].iter().position(|op| matches!(op, Op::End)).expect("rules end");
        std::iter::once(begin)
            .chain((begin..end).filter(|&at| matches!(self.program[at], Op::Or)).map(|at| at + 1))
    }

    /// Enters rules until each stack is empty or expects a character. Nothing where that is beyond bounds.
    fn expand(&self, mut todo: Vec<Stack>, into: &mut BTreeSet<Stack>) -> Option<()> {
        let mut seen = BTreeSet::new();
        while let Some(stack) = todo.pop() {
            if stack.len() > MAX_DEPTH || seen.len() > MAX_STACKS || into.len() > MAX_STACKS {
                return None;
            }
            let Some(&at) = stack.last() else {
                into.insert(stack);
                continue;
            };
            let Op::Call(rule) = self.program[at] else {
                into.insert(stack);
                continue;
            };
            if !seen.insert(stack.clone()) {
                continue;
            }
            for alternative in self.alternatives(rule) {
                let mut next = stack[..stack.len() - 1].to_vec();
                if !self.ends(at + 1) {
                    next.push(at + 1);
                }
                if !self.ends(alternative) {
                    next.push(alternative);
                }
                todo.push(next);
            }
        }
        Some(())
    }

    /// The stacks after one more character.
    fn step(&self, stacks: &BTreeSet<Stack>, c: u32) -> Option<BTreeSet<Stack>> {
        let mut todo = Vec::new();
        for stack in stacks {
            let Some((&at, below)) = stack.split_last() else { continue };
            if self.expects(at, c, c) {
                let mut next = below.to_vec();
                if !self.ends(at + 1) {
                    next.push(at + 1);
                }
                todo.push(next);
            }
        }
        let mut into = BTreeSet::new();
        self.expand(todo, &mut into)?;
        (!into.is_empty()).then_some(into)
    }

    /// Whether a character from `low` to `high` fits at this place.
    fn expects(&self, at: usize, low: u32, high: u32) -> bool {
        matches!(&self.program[at], Op::Char(ranges) if ranges.iter().any(|&(from, to)| from <= high && low <= to))
    }

    fn after(&self, bytes: &[u8]) -> Option<(BTreeSet<Stack>, Vec<u8>)> {
        let mut stacks = None;
        let partial = each_char(&self.partial, bytes, |c| {
            match self.step(stacks.as_ref().unwrap_or(&self.stacks), u32::from(c)) {
                Some(next) => {
                    stacks = Some(next);
                    true
                }
                None => false,
            }
        })?;
        let stacks = stacks.unwrap_or_else(|| self.stacks.clone());
        if !partial.is_empty() {
            let (low, high) = span_of(&partial);
            if !stacks.iter().any(|stack| stack.last().is_some_and(|&at| self.expects(at, low, high))) {
                return None;
            }
        }
        Some((stacks, partial))
    }
}

impl Constraint for Grammar {
    fn allows(&self, bytes: &[u8]) -> bool {
        self.after(bytes).is_some()
    }

    fn accept(&mut self, bytes: &[u8]) {
        (self.stacks, self.partial) = self.after(bytes).expect("only allowed bytes are accepted");
    }

    fn may_end(&self) -> bool {
        self.partial.is_empty() && self.stacks.contains(&Stack::new())
    }
}

/// The first and the last character that may begin with these bytes, which are the beginning of one.
fn span_of(partial: &[u8]) -> (u32, u32) {
    let (length, lead) = match partial[0] {
        byte @ 0xf0.. => (4, byte & 0x07),
        byte @ 0xe0.. => (3, byte & 0x0f),
        byte => (2, byte & 0x1f),
    };
    let value = partial[1..].iter().fold(u32::from(lead), |value, byte| value << 6 | u32::from(byte & 0x3f));
    let open = 6 * (length - partial.len()) as u32;
    let least = [0x80, 0x800, 0x10000][length - 2];
    let low = value << open;
    (low.max(least), (low | ((1 << open) - 1)).min(char::MAX as u32))
}

#[cfg(test)]
mod tests;
