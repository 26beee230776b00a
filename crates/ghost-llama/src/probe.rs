//! Measures the engine with made-up tokens, through the same steps that requests go through. All prompts are read before
//! the first of them is answered, so that reading and answering are told apart.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::job::{Event, Job, Work};
use crate::{Error, Llama};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// How many answers begin together.
    pub sequences: usize,
    /// Tokens of each prompt, every prompt another one.
    pub prompt_tokens: usize,
    /// Tokens of each answer; no token ends it sooner.
    pub answer_tokens: usize,
}

/// What a [`Probe`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the beginning until the last prompt was read.
    pub prefill: Duration,
    /// From there to the last token of the last answer.
    pub decode: Duration,
}

impl Llama {
    /// Measures; takes as long as it takes, blocking this thread. Requests that run meanwhile share the steps, so a
    /// figure worth anything is measured on an idle engine.
    ///
    /// # Errors
    /// [`Error::Config`] where the model has no room for it, [`Error::Start`] where the engine is busy or fails.
    pub fn probe(&self, probe: Probe) -> Result<Timing, Error> {
        let Probe { sequences, prompt_tokens, answer_tokens } = probe;
        if sequences == 0 || sequences > self.facts.sequences {
            let most = self.facts.sequences;
            return Err(Error::Config(format!("a probe has 1 to {most} sequences here, not {sequences}")));
        }
        let tokens = prompt_tokens.saturating_add(answer_tokens);
        let context = self.facts.context_tokens as usize;
        if prompt_tokens == 0
            || answer_tokens == 0
            || tokens > context
            || tokens * sequences > self.facts.cells
        {
            return Err(Error::Config(format!(
                "a probe needs at least one token each of prompt and answer, and {sequences} times {tokens} tokens do \
                 not fit into {context} each and {} together",
                self.facts.cells
            )));
        }
        let (events, mut reports) = mpsc::unbounded_channel();
        let unread = Arc::new(AtomicUsize::new(sequences));
        let job = |seed: usize| Job {
            work: Work::MadeUp { prompt_tokens, answer_tokens, seed: seed as u64, unread: unread.clone() },
            events: events.clone(),
        };
        let group = (0..sequences).map(job).collect();
        let begin = Instant::now();
        self.submit(group).map_err(|error| Error::Start(error.to_string()))?;
        drop(events);
        let (mut read, mut end) = (begin, begin);
        let mut left = sequences;
        while left > 0 {
            match reports.blocking_recv() {
                Some(Event::Read(at)) => read = read.max(at),
                Some(Event::Delta(_)) => {}
                Some(Event::End(at, result)) => {
                    result.map_err(|error| Error::Start(error.to_string()))?;
                    end = end.max(at);
                    left -= 1;
                }
                None => return Err(Error::Start("the engine's thread has ended; see the log".into())),
            }
        }
        Ok(Timing { prefill: read - begin, decode: end - read })
    }
}
