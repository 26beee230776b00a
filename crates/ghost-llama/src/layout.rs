//! How the memory of the context is cut up: how many answers at once, and how much room each may take.
//!
//! Two ways, by what was measured (1B parameters, 16 answers of 512 tokens: 143 tokens/s apart, 101 together):
//!
//! * *apart*: every sequence has its own cells, as many as the context is long. Decodes faster with many sequences,
//!   and is taken where so much memory is granted.
//! * *together*: all sequences share one pool. A few long prompts or many short ones fit into memory that would hold
//!   only two or three whole contexts, and batching still gains several times more than the masked attention loses.

use llama_cpp_2::model::LlamaModel;

use crate::Config;

/// Cells come in blocks of so many.
const BLOCK: usize = 256;
/// Rows that only fill a batch up, at most.
pub(crate) const PADDING: usize = 16;
/// The least context that is made smaller to save memory.
const CONTEXT_FLOOR: usize = 4096;
/// The most memory for cells that is taken unasked.
const MEMORY_CAP: u64 = 2 << 30;

/// What a context is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The most answers in the making at once.
    pub(crate) sequences: usize,
    /// The most tokens that a prompt and its answer may have together.
    pub(crate) context_tokens: usize,
    /// Cells in all that requests may take.
    pub(crate) cells: usize,
    /// Whether the sequences share the cells.
    pub(crate) together: bool,
}

/// What the memory depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// Bytes of one cell, which holds one token of one sequence.
    pub(crate) cell: u64,
    /// Bytes of the weights.
    pub(crate) weights: u64,
    /// The longest text that the model was trained with, in tokens.
    pub(crate) trained: u32,
}

impl Needs {
    /// What this model needs. Models whose layers differ are reckoned by their first one.
    pub(crate) fn of(model: &LlamaModel) -> Self {
        let number = |name: &str| {
            let architecture = model.meta_val_str("general.architecture").unwrap_or_default();
            model.meta_val_str(&format!("{architecture}.attention.{name}")).ok()?.parse::<u64>().ok()
        };
        let width = u64::try_from(model.n_embd()).unwrap_or(1) / u64::from(model.n_head().max(1));
        let key = number("key_length").unwrap_or(width);
        let value = number("value_length").unwrap_or(width);
        // Two bytes for each number, keys and values.
        let cell = u64::from(model.n_layer()) * u64::from(model.n_head_kv().max(1)) * (key + value) * 2;
        Self { cell: cell.max(1), weights: model.size(), trained: model.n_ctx_train() }
    }
}

impl Layout {
    /// The layout for a model with these needs.
    pub(crate) fn new(config: &Config, needs: Needs) -> Self {
        let sequences = if config.deterministic { 1 } else { config.sequences };
        let wanted = config.context_for(needs.trained) as usize;
        let granted = config
            .kv_bytes
            .unwrap_or_else(|| (2 * needs.weights).max(3 * wanted as u64 * needs.cell / 2).min(MEMORY_CAP));
        let cells = usize::try_from(granted / needs.cell).unwrap_or(usize::MAX).min(1 << 30);
        if sequences * wanted.next_multiple_of(BLOCK) <= cells {
            return Self { sequences, context_tokens: wanted, cells: sequences * wanted, together: false };
        }
        // A context that was asked for is kept, whatever it takes; one that nobody asked for gives way a little.
        let least = if config.context_tokens.is_some() { wanted } else { wanted.min(CONTEXT_FLOOR) };
        let context_tokens = wanted.min(cells.max(least));
        let cells = cells.max(context_tokens).min(sequences * context_tokens);
        Self { sequences, context_tokens, cells, together: true }
    }

    /// How many cells llama.cpp is to set up in all.
    pub(crate) fn cells_to_allocate(&self) -> usize {
        if self.together {
            (self.cells + PADDING).next_multiple_of(BLOCK)
        } else {
            self.context_tokens.next_multiple_of(BLOCK) * self.sequences
        }
    }

    /// How many cells the remembered prompts may have: a quarter of all, and where there is but one sequence, a context.
    pub(crate) fn cells_to_remember(&self) -> usize {
        let one = if self.sequences == 1 { self.context_tokens } else { 0 };
        (self.cells_to_allocate() / 4).max(one)
    }

    /// How many sequences llama.cpp is to know: those of answers, and where cells are shared one that fills batches.
    pub(crate) fn sequences_to_allocate(&self) -> usize {
        self.sequences + usize::from(self.together)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Needs = Needs { cell: 6144, weights: 5_300_000, trained: 1024 };
    const ONE_BILLION: Needs = Needs { cell: 32_768, weights: 700 << 20, trained: 131_072 };
    const PHI_3_MINI: Needs = Needs { cell: 393_216, weights: 2_200 << 20, trained: 4096 };

    fn bytes(layout: Layout, needs: Needs) -> u64 {
        layout.cells_to_allocate() as u64 * needs.cell
    }

    #[test]
    fn a_tiny_model_stays_tiny_and_a_large_one_within_two_gigabytes() {
        let config = Config::new("model.gguf");
        let tiny = Layout::new(&config, TINY);
        assert!(tiny.together && tiny.context_tokens == 1024 && bytes(tiny, TINY) < 16 << 20);
        let large = Layout::new(&config, PHI_3_MINI);
        assert_eq!((large.context_tokens, large.together), (4096, true));
        assert!(bytes(large, PHI_3_MINI) < (2 << 30) + (200 << 20));
        let middle = Layout::new(&config, ONE_BILLION);
        assert_eq!((middle.context_tokens, middle.sequences), (8192, 16));
        assert!(bytes(middle, ONE_BILLION) <= (2 << 30) + (9 << 20));
    }

    #[test]
    fn sequences_get_cells_of_their_own_where_memory_allows_it() {
        let config = Config { context_tokens: Some(1024), ..Config::new("model.gguf") };
        let layout = Layout::new(&config, ONE_BILLION);
        let expected = Layout { sequences: 16, context_tokens: 1024, cells: 16 * 1024, together: false };
        assert_eq!(layout, expected);
        assert_eq!((layout.cells_to_allocate(), layout.sequences_to_allocate()), (16 * 1024, 16));
    }

    #[test]
    fn a_context_that_was_asked_for_is_kept() {
        let config = Config { context_tokens: Some(8192), kv_bytes: Some(1 << 20), ..Config::new("m") };
        let needs = Needs { trained: 131_072, ..PHI_3_MINI };
        let layout = Layout::new(&config, needs);
        assert_eq!((layout.context_tokens, layout.cells, layout.together), (8192, 8192, true));
    }

    #[test]
    fn the_deterministic_engine_has_one_sequence() {
        let config = Config { deterministic: true, ..Config::new("m") };
        let layout = Layout::new(&config, TINY);
        assert_eq!((layout.sequences, layout.together), (1, false));
    }
}
