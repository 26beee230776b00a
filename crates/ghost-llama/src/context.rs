//! llama.cpp's context: the only thing that decodes, behind calls that cannot reach its assertions.
//!
//! llama.cpp ends the process where a batch is too large, a sequence unknown or a part of a sequence is copied, so
//! whatever [`Context`] is given is checked before it is passed on.

use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::job::Job;
use crate::layout::{Layout, PADDING};
use crate::raw::{Batch, Params, Raw, State};
use crate::{Error, load, log};

/// One token of one sequence in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) token: LlamaToken,
    pub(crate) position: usize,
    pub(crate) sequence: usize,
    /// Whether to compute what comes next.
    pub(crate) wanted: bool,
}

/// Why a batch was not decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There are no cells for it; nothing has changed.
    NoRoom,
    /// Everybody in it had left. Cells from its positions on are gone, or are to be forgotten.
    Abandoned,
    /// llama.cpp cannot.
    Broken(String),
}

/// A context and the batch that is decoded with it.
pub(crate) struct Context<'m> {
    raw: Raw<'m>,
    /// The last one, and empty where that failed.
    batch: Batch,
    sequences: usize,
    positions: usize,
    tokens: usize,
}

impl<'m> Context<'m> {
    /// A context of this layout for batches of `rows`.
    pub(crate) fn new(
        model: &'m LlamaModel,
        layout: &Layout,
        rows: usize,
        threads: usize,
    ) -> Result<Self, Error> {
        load::backend()?;
        let small = |number: usize| u32::try_from(number).expect("a checked configuration has small numbers");
        let sequences = layout.sequences_to_allocate();
        let params = Params {
            cells: small(layout.cells_to_allocate()),
            sequences: small(sequences),
            together: layout.together,
            batch: small(rows + sequences + PADDING),
            rows: small(rows),
            // Logits for every row of a long prompt would take more memory than all else.
            outputs: small(sequences + PADDING),
            threads: number(threads),
        };
        log::take_complaint();
        let raw = Raw::new(model, &params);
        let raw = raw.ok_or_else(|| {
            Error::Start(log::take_complaint().unwrap_or_else(|| "llama.cpp gives no reason".into()))
        })?;
        let tokens = usize::try_from(model.n_vocab()).unwrap_or(0);
        Ok(Self { raw, batch: Batch::default(), sequences, positions: layout.context_tokens, tokens })
    }

    /// The most rows that a batch may have.
    pub(crate) fn rows(&self) -> usize {
        self.raw.batch()
    }

    /// Decodes these rows. If all of `watched` leave meanwhile, and there are any, it ends early.
    pub(crate) fn decode(&mut self, rows: &[Row], watched: Vec<Arc<Job>>) -> Result<(), Failure> {
        let wanted = rows.iter().filter(|row| row.wanted).count();
        if rows.is_empty() || rows.len() > self.rows() || wanted > self.sequences + PADDING {
            return Err(Failure::Broken(format!("a batch of {} rows, {wanted} of them wanted", rows.len())));
        }
        let impossible = |row: &&Row| {
            let token = usize::try_from(row.token.0).ok().filter(|&token| token < self.tokens);
            token.is_none() || row.sequence >= self.sequences || row.position >= self.positions
        };
        if let Some(row) = rows.iter().find(impossible) {
            return Err(Failure::Broken(format!("a row that cannot be: {row:?}")));
        }
        self.batch = Batch {
            tokens: rows.iter().map(|row| row.token.0).collect(),
            positions: rows.iter().map(|row| number(row.position)).collect(),
            sequences: rows.iter().map(|row| number(row.sequence)).collect(),
            wanted: rows.iter().map(|row| i8::from(row.wanted)).collect(),
        };
        let failure = match self.raw.decode(&mut self.batch, watched) {
            0 => return Ok(()),
            1 => Failure::NoRoom,
            2 => Failure::Abandoned,
            code => Failure::Broken(format!("llama.cpp could not decode, code {code}; its log says more")),
        };
        self.batch = Batch::default();
        Err(failure)
    }

    /// The logits of this row of the last batch, which was wanted.
    pub(crate) fn logits(&self, row: usize) -> &[f32] {
        assert!(self.batch.wanted.get(row) == Some(&1), "only wanted rows have logits");
        self.raw.logits(number(row)).expect("a decoded row that was wanted has logits")
    }

    /// Forgets a sequence from this position on. Recurrent models cannot forget a part; then it says so, and
    /// everything is as it was.
    pub(crate) fn forget(&mut self, sequence: usize, from: usize) -> bool {
        sequence < self.sequences && from <= self.positions && self.raw.remove(number(sequence), number(from))
    }

    /// A copy of all that the context holds of a sequence.
    pub(crate) fn save(&self, sequence: usize) -> Option<State> {
        (sequence < self.sequences).then(|| self.raw.save(number(sequence))).flatten()
    }

    /// Puts such a copy in the place of a sequence. Where that fails, the sequence is empty.
    pub(crate) fn restore(&mut self, state: &State, sequence: usize) -> bool {
        if sequence >= self.sequences {
            return false;
        }
        let restored = self.raw.restore(state, number(sequence));
        if !restored {
            self.forget(sequence, 0);
        }
        restored
    }

    /// Decodes with so many threads from now on.
    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.raw.set_threads(number(threads));
    }
}

fn number(number: usize) -> i32 {
    i32::try_from(number).expect("contexts, sequences and threads are smaller than that")
}
