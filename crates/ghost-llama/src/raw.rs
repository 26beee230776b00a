//! The few calls of llama.cpp's context that decoding takes, each as it is in C, none of them checked.
//!
//! llama-cpp-2 has a context of its own, but keeps the abort callback, the number of threads and the outputs of a batch
//! out of reach. All `unsafe` about contexts is here; [`crate::context`] checks what it passes on.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Arc, Mutex};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_sys_2 as sys;

use crate::job::Job;

/// What a context is made with.
pub(crate) struct Params {
    pub(crate) cells: u32,
    pub(crate) sequences: u32,
    pub(crate) together: bool,
    pub(crate) batch: u32,
    pub(crate) rows: u32,
    pub(crate) outputs: u32,
    pub(crate) threads: i32,
}

/// A context of a model that outlives it.
pub(crate) struct Raw<'m> {
    context: NonNull<sys::llama_context>,
    /// llama.cpp has a pointer to it.
    watch: Arc<Watch>,
    vocabulary: usize,
    _model: &'m LlamaModel,
}

/// A batch as llama.cpp reads it, one entry a row.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) tokens: Vec<i32>,
    pub(crate) positions: Vec<i32>,
    pub(crate) sequences: Vec<i32>,
    pub(crate) wanted: Vec<i8>,
}

/// All that a context held of one sequence. Only [`Raw::save`] makes one.
pub(crate) struct State(Box<[u8]>);

/// The jobs of the batch that is being decoded, for the abort callback.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Vec<Arc<Job>>>);

#[expect(unsafe_code, reason = "calls into llama.cpp")]
impl<'m> Raw<'m> {
    /// A new context; nothing where llama.cpp cannot, which it says in its log.
    pub(crate) fn new(model: &'m LlamaModel, params: &Params) -> Option<Self> {
        let watch = Arc::new(Watch::default());
        // SAFETY: it only fills a struct.
        let mut raw = unsafe { sys::llama_context_default_params() };
        raw.n_ctx = params.cells;
        raw.n_seq_max = params.sequences;
        raw.kv_unified = params.together;
        raw.n_batch = params.batch;
        raw.n_ubatch = params.rows;
        raw.n_outputs_max = params.outputs;
        raw.n_threads = params.threads;
        raw.n_threads_batch = params.threads;
        raw.abort_callback = Some(is_abandoned);
        raw.abort_callback_data = Arc::as_ptr(&watch).cast_mut().cast::<c_void>();
        let vocabulary = usize::try_from(model.n_vocab()).ok()?;
        // SAFETY: `LlamaModel` is transparent over a non-null pointer to a model.
        let model_pointer = unsafe { *ptr::from_ref(model).cast::<NonNull<sys::llama_model>>() };
        // SAFETY: the model lives as long as `_model` says; the watch lives as long as the context, see `drop`.
        let context = unsafe { sys::llama_init_from_model(model_pointer.as_ptr(), raw) };
        Some(Self { context: NonNull::new(context)?, watch, vocabulary, _model: model })
    }

    /// The most rows that a batch may have.
    pub(crate) fn batch(&self) -> usize {
        // SAFETY: the context is alive.
        unsafe { sys::llama_n_batch(self.context.as_ptr()) as usize }
    }

    /// Decodes a batch within the limits of the context; llama.cpp's own return code. If all of `watched` leave
    /// meanwhile, and there are any, it ends early.
    pub(crate) fn decode(&mut self, batch: &mut Batch, watched: Vec<Arc<Job>>) -> i32 {
        let Batch { tokens, positions, sequences, wanted } = batch;
        let rows = tokens.len();
        assert!(
            positions.len() == rows && sequences.len() == rows && wanted.len() == rows,
            "one entry a row"
        );
        let mut counts = vec![1i32; rows];
        let mut lists: Vec<*mut i32> = sequences.iter_mut().map(ptr::from_mut).collect();
        let raw = sys::llama_batch {
            n_tokens: i32::try_from(rows).expect("a batch is small"),
            token: tokens.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: positions.as_mut_ptr(),
            n_seq_id: counts.as_mut_ptr(),
            seq_id: lists.as_mut_ptr(),
            logits: wanted.as_mut_ptr(),
        };
        self.watch.set(watched);
        // SAFETY: every array has an entry for each row and outlives the call; llama.cpp copies what it keeps.
        let code = unsafe { sys::llama_decode(self.context.as_ptr(), raw) };
        self.watch.set(Vec::new());
        code
    }

    /// The logits of a row of the last batch; nothing where none were wanted of it.
    pub(crate) fn logits(&self, row: i32) -> Option<&[f32]> {
        // SAFETY: the context is alive; an index that has no logits gives null.
        let logits = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), row) };
        // SAFETY: llama.cpp keeps a number for each token there until the next call that takes `&mut self`.
        (!logits.is_null()).then(|| unsafe { slice::from_raw_parts(logits, self.vocabulary) })
    }

    /// Removes a sequence's cells from this position on; whether the model allows that.
    pub(crate) fn remove(&mut self, sequence: i32, from: i32) -> bool {
        // SAFETY: the context is alive, and so is its memory; the sequence is one that it was made for.
        unsafe { sys::llama_memory_seq_rm(sys::llama_get_memory(self.context.as_ptr()), sequence, from, -1) }
    }

    /// Copies a sequence out.
    pub(crate) fn save(&self, sequence: i32) -> Option<State> {
        // SAFETY: the context is alive and the sequence is one that it was made for.
        let size = unsafe { sys::llama_state_seq_get_size_ext(self.context.as_ptr(), sequence, 0) };
        let mut state = vec![0u8; size].into_boxed_slice();
        // SAFETY: as above, and llama.cpp writes at most `size` bytes.
        let written = unsafe {
            sys::llama_state_seq_get_data_ext(self.context.as_ptr(), state.as_mut_ptr(), size, sequence, 0)
        };
        (written == size && size > 0).then_some(State(state))
    }

    /// Copies such a copy in, in the place of what the sequence was; whether that worked.
    pub(crate) fn restore(&mut self, state: &State, sequence: i32) -> bool {
        let size = state.0.len();
        // SAFETY: the bytes are llama.cpp's own, of a context of the same model; it reads `size` of them.
        let read = unsafe {
            sys::llama_state_seq_set_data_ext(self.context.as_ptr(), state.0.as_ptr(), size, sequence, 0)
        };
        read == size
    }

    /// Decodes with so many threads from now on.
    pub(crate) fn set_threads(&mut self, threads: i32) {
        // SAFETY: the context is alive, and nothing is being decoded.
        unsafe { sys::llama_set_n_threads(self.context.as_ptr(), threads, threads) }
    }
}

impl State {
    /// How many bytes it takes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Raw<'_> {
    #[expect(unsafe_code, reason = "calls into llama.cpp")]
    fn drop(&mut self) {
        // SAFETY: the context is alive, nobody else has it, and the watch is dropped only after this.
        unsafe { sys::llama_free(self.context.as_ptr()) }
    }
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
    // SAFETY: the pointer is that of a `Watch` in an `Arc` that outlives the context; only shared references to it
    // exist.
    let watch = unsafe { &*watch.cast::<Watch>() };
    watch.is_abandoned()
}
