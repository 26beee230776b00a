//! The thread that owns the embedding model: *tokenize → plan → read a batch → take the vectors*, one request at a time.
//!
//! Nothing that a request may hold reaches an assertion of llama.cpp: batches stay below `n_batch` and `n_ubatch`,
//! positions below what the model was trained for, tokens come from the vocabulary.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use ghost_core::inference::{self, Usage};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use super::{EmbedConfig, EmbedFacts, Embedding, Embeddings, Pooling, SEQUENCES, TooLong, batches, nothing};
use crate::{Error, load, log};

/// The most tokens of a text that are taken unasked.
const TEXT_CAP: u32 = 1024;
/// The least tokens that a batch has room for, so that short texts are read together.
const BATCH_MIN: u32 = 512;

/// A request on its way to the thread.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) texts: Vec<String>,
    pub(super) too_long: TooLong,
    /// Closed, it withdraws the request.
    pub(super) reply: oneshot::Sender<Result<Embeddings, inference::Error>>,
}

/// The thread's whole life. Reports over `ready` what was loaded; `pace` holds the milliseconds of the last request.
pub(super) fn run(
    config: &EmbedConfig,
    ready: &SyncSender<Result<EmbedFacts, Error>>,
    mut jobs: mpsc::Receiver<Job>,
    pace: &AtomicU64,
) {
    let model = match load::model(&config.load()) {
        Ok(model) => model,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let mut engine = match Engine::new(config, &model) {
        Ok(engine) => engine,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let facts = &engine.facts;
    info!(
        model = facts.model,
        parameters = facts.parameters,
        dimensions = facts.dimensions,
        context_tokens = facts.context_tokens,
        pooling = ?facts.pooling,
        threads = facts.threads,
        "loaded the embedding model {}",
        facts.model
    );
    if ready.send(Ok(facts.clone())).is_err() {
        return;
    }
    while let Some(job) = jobs.blocking_recv() {
        if job.reply.is_closed() {
            continue;
        }
        let begin = Instant::now();
        let result = engine.answer(&job);
        pace.store(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        // Nobody may be there to hear it.
        let _ = job.reply.send(result);
    }
}

/// The model with its context.
struct Engine<'m> {
    facts: EmbedFacts,
    model: &'m LlamaModel,
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    /// The most tokens in a batch.
    budget: usize,
}

impl<'m> Engine<'m> {
    fn new(config: &EmbedConfig, model: &'m LlamaModel) -> Result<Self, Error> {
        let unfit = |reason: String| Error::Load { path: config.path.clone(), reason };
        let said = model.meta_val_str("general.architecture").unwrap_or_default();
        if said == "t5" {
            // Its decoder expects what an encoder has read, and llama.cpp asserts that.
            return Err(unfit(
                "it has an encoder and a decoder; embeddings take a model with one of them".into(),
            ));
        }
        let pooling = match config.pooling {
            Some(pooling) => pooling,
            None => pooling_of(&model.meta_val_str(&format!("{said}.pooling_type")).unwrap_or_default())
                .map_err(unfit)?,
        };
        let limit = config.context_tokens.unwrap_or(TEXT_CAP).min(model.n_ctx_train());
        if limit == 0 {
            return Err(unfit("it claims to read no text at all".into()));
        }
        let budget = limit.max(BATCH_MIN);
        let threads = config.load().threads_for(model.n_params());
        let n_threads = i32::try_from(threads).expect("a checked configuration has few threads");
        let params = LlamaContextParams::default()
            .with_embeddings(true)
            .with_pooling_type(match pooling {
                Pooling::Mean => LlamaPoolingType::Mean,
                Pooling::Cls => LlamaPoolingType::Cls,
                Pooling::Last => LlamaPoolingType::Last,
            })
            .with_n_ctx(NonZeroU32::new(budget))
            .with_n_batch(budget)
            .with_n_ubatch(budget)
            .with_n_seq_max(SEQUENCES as u32)
            // One memory for all, which a single long text may fill.
            .with_kv_unified(true)
            .with_n_threads(n_threads)
            .with_n_threads_batch(n_threads);
        let context = model
            .new_context(load::backend()?, params)
            .map_err(|error| Error::Start(log::take_complaint().unwrap_or_else(|| error.to_string())))?;
        let budget = context.n_batch().min(context.n_ubatch()) as usize;
        Ok(Self {
            facts: EmbedFacts {
                model: load::name(&config.path, model),
                parameters: model.n_params(),
                dimensions: usize::try_from(model.n_embd_out()).unwrap_or(0),
                context_tokens: budget.min(limit as usize),
                pooling,
                threads,
            },
            model,
            context,
            batch: LlamaBatch::new(budget, 1),
            budget,
        })
    }

    fn answer(&mut self, job: &Job) -> Result<Embeddings, inference::Error> {
        let mut texts = Vec::with_capacity(job.texts.len());
        for (number, text) in (1..).zip(&job.texts) {
            if job.reply.is_closed() {
                return Err(inference::Error::Cancelled);
            }
            texts.push(self.tokens(number, text, job.too_long)?);
        }
        let lengths: Vec<usize> = texts.iter().map(|(tokens, _)| tokens.len()).collect();
        let mut embeddings = Vec::with_capacity(texts.len());
        for batch in batches(&lengths, self.budget) {
            if job.reply.is_closed() {
                return Err(inference::Error::Cancelled);
            }
            self.read(&texts[batch.clone()])?;
            for (sequence, (tokens, cut_from)) in (0..).zip(&texts[batch]) {
                let vector = self.vector(sequence)?;
                embeddings.push(Embedding { vector, tokens: tokens.len() as u64, cut_from: *cut_from });
            }
        }
        let input_tokens = lengths.iter().sum::<usize>() as u64;
        Ok(Embeddings {
            embeddings,
            usage: Usage { input_tokens, ..Usage::default() },
            model: self.facts.model.clone(),
        })
    }

    /// A text's tokens, and how many it had where it was cut.
    fn tokens(
        &self,
        number: usize,
        text: &str,
        too_long: TooLong,
    ) -> Result<(Vec<LlamaToken>, Option<u64>), inference::Error> {
        let vocab = self.model.vocab();
        let mut tokens = vocab.tokenize(text.as_bytes(), true, false);
        let limit = self.facts.context_tokens;
        match (tokens.last().copied(), too_long) {
            (None, _) => Err(nothing(number)),
            (Some(_), _) if tokens.len() <= limit => Ok((tokens, None)),
            (Some(_), TooLong::Refuse) => {
                Err(inference::Error::ContextTooLong { needed: tokens.len() as u64, limit: limit as u64 })
            }
            (Some(last), TooLong::Cut) => {
                let whole = tokens.len() as u64;
                tokens.truncate(limit);
                // Only the tokenizer itself writes a control token, and the model expects it at the end.
                if let Some(end) = tokens.last_mut().filter(|_| vocab.is_control(last)) {
                    *end = last;
                }
                Ok((tokens, Some(whole)))
            }
        }
    }

    /// Reads these texts, each as a sequence of its own.
    fn read(&mut self, texts: &[(Vec<LlamaToken>, Option<u64>)]) -> Result<(), inference::Error> {
        let failed = |error: String| inference::Error::Engine(format!("llama.cpp could not read: {error}"));
        self.batch.clear();
        for (sequence, (tokens, _)) in (0..).zip(texts) {
            self.batch.add_sequence(tokens, sequence, true).map_err(|error| failed(error.to_string()))?;
        }
        self.context.clear_kv_cache();
        self.context.decode(&mut self.batch).map_err(|error| failed(error.to_string()))
    }

    /// The vector of a sequence that was just read.
    fn vector(&self, sequence: i32) -> Result<Vec<f32>, inference::Error> {
        let pooled = self
            .context
            .embeddings_seq_ith(sequence)
            .map_err(|_| inference::Error::Engine("llama.cpp gave no embedding".into()))?;
        unit(pooled)
            .ok_or_else(|| inference::Error::Engine("the model computes no direction for a text".into()))
    }
}

/// The vector of length 1 in this direction; none where there is no direction.
fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    (length.is_finite() && length > 0.0)
        .then(|| vector.iter().map(|x| (f64::from(*x) / length) as f32).collect())
}

/// How a model wants to be pooled, by the number in its file.
fn pooling_of(number: &str) -> Result<Pooling, String> {
    match number {
        // A model that was made to write says nothing, or none.
        "" | "0" | "1" => Ok(Pooling::Mean),
        "2" => Ok(Pooling::Cls),
        "3" => Ok(Pooling::Last),
        "4" => Err("it ranks texts and has no embeddings".into()),
        other => Err(format!("its pooling type {other} is unknown; name one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_without_direction_has_no_unit_vector() {
        assert_eq!(unit(&[3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert_eq!(unit(&[0.0, 0.0]), None);
        assert_eq!(unit(&[f32::NAN, 1.0]), None);
        assert_eq!(unit(&[f32::MAX, f32::MAX]).map(|vector| vector[0] > 0.7), Some(true));
    }

    #[test]
    fn the_file_says_how_to_pool_and_the_mean_is_taken_where_it_says_nothing() {
        assert_eq!(
            ["", "0", "1", "2", "3"].map(|number| pooling_of(number).expect("known")),
            [Pooling::Mean, Pooling::Mean, Pooling::Mean, Pooling::Cls, Pooling::Last]
        );
        assert!(pooling_of("4").is_err() && pooling_of("77").is_err());
    }
}
