//! llama.cpp's context: the only thing that decodes, behind calls that cannot reach its assertions.
//!
//! llama.cpp ends the process where a batch is too large, a sequence unknown or a part of a sequence is copied, so
//! whatever [`Context`] is given is checked before it is passed on.

use std::ffi::c_void;
use std::mem::{align_of, size_of};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::context::session::{LlamaStateSeqFlags, SeqState};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_sys_2::llama_context_params;

use crate::job::Job;
use crate::layout::{Layout, PADDING};
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
    /// Stands before `watch`, to which it points, so that it is dropped first.
    context: LlamaContext<'m>,
    watch: Arc<Watch>,
    batch: LlamaBatch<'static>,
    sequences: usize,
    positions: usize,
    tokens: usize,
    /// Which row of the last batch each logit vector belongs to is llama.cpp's business; this says which rows have one.
    wanted: Vec<bool>,
}

/// The jobs of the batch that is being decoded, for the abort callback.
#[derive(Default)]
struct Watch(Mutex<Vec<Arc<Job>>>);

impl<'m> Context<'m> {
    /// A context of this layout for batches of `rows`.
    pub(crate) fn new(
        model: &'m LlamaModel,
        layout: &Layout,
        rows: usize,
        threads: usize,
    ) -> Result<Self, Error> {
        let small = |number: usize| u32::try_from(number).expect("a checked configuration has small numbers");
        let threads = i32::try_from(threads).expect("a checked configuration has few threads");
        let sequences = layout.sequences_to_allocate();
        let watch = Arc::new(Watch::default());
        let mut params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(small(layout.cells_to_allocate())))
            .with_n_seq_max(small(sequences))
            .with_kv_unified(layout.together)
            .with_n_batch(small(rows + sequences + PADDING))
            .with_n_ubatch(small(rows))
            .with_n_threads(threads)
            .with_n_threads_batch(threads);
        let raw = raw(&mut params);
        // Logits for every row of a long prompt would take more memory than all else.
        raw.n_outputs_max = small(sequences + PADDING);
        raw.abort_callback = Some(is_abandoned);
        raw.abort_callback_data = Arc::as_ptr(&watch).cast_mut().cast::<c_void>();
        let context = model
            .new_context(load::backend()?, params)
            .map_err(|error| Error::Start(log::take_complaint().unwrap_or_else(|| error.to_string())))?;
        let tokens = usize::try_from(model.n_vocab()).unwrap_or(0);
        let batch = LlamaBatch::new(context.n_batch() as usize, 1);
        let positions = layout.context_tokens;
        Ok(Self { context, watch, batch, sequences, positions, tokens, wanted: Vec::new() })
    }

    /// The most rows that a batch may have.
    pub(crate) fn rows(&self) -> usize {
        self.context.n_batch() as usize
    }

    /// Decodes these rows. If all of `watched` leave meanwhile, and there are any, it ends early.
    pub(crate) fn decode(&mut self, rows: &[Row], watched: Vec<Arc<Job>>) -> Result<(), Failure> {
        let wanted = rows.iter().filter(|row| row.wanted).count();
        if rows.is_empty() || rows.len() > self.rows() || wanted > self.sequences + PADDING {
            return Err(Failure::Broken(format!("a batch of {} rows, {wanted} of them wanted", rows.len())));
        }
        self.batch.clear();
        self.wanted.clear();
        for row in rows {
            let token = usize::try_from(row.token.0).ok().filter(|&token| token < self.tokens);
            if token.is_none() || row.sequence >= self.sequences || row.position >= self.positions {
                return Err(Failure::Broken(format!("a row that cannot be: {row:?}")));
            }
            let position = i32::try_from(row.position).expect("a context is smaller than that");
            self.batch
                .add(row.token, position, &[number(row.sequence)], row.wanted)
                .map_err(|error| Failure::Broken(error.to_string()))?;
            self.wanted.push(row.wanted);
        }
        self.watch.set(watched);
        let result = self.context.decode(&mut self.batch);
        self.watch.set(Vec::new());
        result.map_err(|error| {
            self.wanted.clear();
            match error {
                DecodeError::NoKvCacheSlot => Failure::NoRoom,
                DecodeError::Unknown(2) => Failure::Abandoned,
                other => Failure::Broken(format!("llama.cpp could not decode: {other}")),
            }
        })
    }

    /// The logits of this row of the last batch, which was wanted.
    pub(crate) fn logits(&self, row: usize) -> &[f32] {
        assert!(self.wanted.get(row) == Some(&true), "only wanted rows have logits");
        self.context.get_logits_ith(number(row))
    }

    /// Forgets a sequence from this position on. Recurrent models cannot forget a part; then it says so, and
    /// everything is as it was.
    pub(crate) fn forget(&mut self, sequence: usize, from: usize) -> bool {
        let (Ok(sequence), Ok(from)) = (u32::try_from(sequence), u32::try_from(from)) else { return false };
        if sequence as usize >= self.sequences {
            return false;
        }
        self.context.clear_kv_cache_seq(Some(sequence), Some(from), None).unwrap_or(false)
    }

    /// A copy of all that the context holds of a sequence.
    pub(crate) fn save(&self, sequence: usize) -> Option<SeqState> {
        if sequence >= self.sequences {
            return None;
        }
        self.context.state_seq_get(number(sequence), LlamaStateSeqFlags::default()).ok()
    }

    /// Puts such a copy in the place of a sequence. Where that fails, the sequence is empty.
    pub(crate) fn restore(&mut self, state: &SeqState, sequence: usize) -> bool {
        let restored =
            sequence < self.sequences && self.context.state_seq_set(state, number(sequence)).is_ok();
        if !restored {
            self.forget(sequence, 0);
        }
        restored
    }
}

fn number(index: usize) -> i32 {
    i32::try_from(index).expect("sequences and rows are few")
}

impl Watch {
    fn set(&self, jobs: Vec<Arc<Job>>) {
        if let Ok(mut watched) = self.0.lock() {
            *watched = jobs;
        }
    }

    fn is_abandoned(&self) -> bool {
        let watched = self.0.lock();
        watched.is_ok_and(|jobs| !jobs.is_empty() && jobs.iter().all(|job| job.withdrawal().is_some()))
    }
}

/// llama.cpp asks this before each operation of a batch.
#[expect(unsafe_code, reason = "llama.cpp calls it with the pointer that it was given")]
unsafe extern "C" fn is_abandoned(watch: *mut c_void) -> bool {
    // SAFETY: the pointer is that of a `Watch` in an `Arc` which `Context` drops after the context; only shared
    // references to it exist.
    let watch = unsafe { &*watch.cast::<Watch>() };
    watch.is_abandoned()
}

/// The parameters as llama.cpp knows them.
#[expect(unsafe_code, reason = "llama-cpp-2 has no setters for the abort callback and for n_outputs_max")]
fn raw(params: &mut LlamaContextParams) -> &mut llama_context_params {
    const {
        assert!(size_of::<LlamaContextParams>() == size_of::<llama_context_params>());
        assert!(align_of::<LlamaContextParams>() == align_of::<llama_context_params>());
    }
    // SAFETY: `LlamaContextParams` holds a `llama_context_params` and, being no larger, nothing else, so the two begin
    // at the same address; the borrow lives as long as that of the whole.
    unsafe { &mut *std::ptr::from_mut(params).cast::<llama_context_params>() }
}
