//! The thread that owns the model: *admit → plan → decode → sample → emit → retire*, step after step.
//!
//! Requests come over a bounded channel, text and results go back over one channel per request. Requests join and
//! leave between any two steps; each step is one batch: a token of every answer, or stretches of prompts
//! ([`crate::plan`]). Nothing else touches the context. A request is taken up only when there are cells for all that
//! it may need, so that none has to be thrown out later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::raw::State;
use ghost_core::inference::{self, Finish, Provider};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::context::{Context, Failure, Row};
use crate::job::Job;
use crate::layout::{Layout, Needs};
use crate::pages::{self, Mappings};
use crate::plan::{Progress, Share, Turn, Turns, plan};
use crate::prefix::PrefixCache;
use crate::prompt::Template;
use crate::sequence::{Rules, Sequence};
use crate::shapes::Shapes;
use crate::statistics::{Counters, count};
use crate::threads::{self, Threads};
use crate::vocabulary::Vocabulary;
use crate::{Config, Error, Facts, load};

/// The most rows of a step: enough for a prompt to be read at full speed.
const ROWS: usize = 512;
/// The same for a tiny model.
const ROWS_TINY: usize = 128;
/// How long a step may take for the sake of prompts, where as many answers wait for it.
const STALL: Duration = Duration::from_millis(500);
/// The least rows of prompts in a step; fewer cost as much.
const ROWS_MIN: usize = 16;
/// How long the measuring of batch shapes may go on. A machine too busy for one round of it has other worries.
const MEASURING: Duration = Duration::from_secs(3);
/// Rounds of measuring; the fastest counts.
const ROUNDS: usize = 3;
/// Batches of so many rows are measured.
const MEASURED: usize = 16;

/// Jobs that begin together; most often one.
pub(crate) type Group = Vec<Job>;

/// The thread's whole life. Reports over `ready` what was loaded.
pub(crate) fn run(
    config: &Config,
    ready: &SyncSender<Result<Facts, Error>>,
    mut groups: mpsc::Receiver<Group>,
    counters: Arc<Counters>,
) {
    let before = Mappings::now();
    let model = match load::model(config) {
        Ok(model) => model,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let mut engine = match Engine::new(config, &model, &before, counters) {
        Ok(engine) => engine,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let facts = &engine.facts;
    info!(
        model = facts.model,
        parameters = facts.parameters,
        context_tokens = facts.context_tokens,
        sequences = facts.sequences,
        threads = facts.threads,
        "loaded the model {}",
        facts.model
    );
    if ready.send(Ok(facts.clone())).is_err() {
        return;
    }
    while engine.admit(&mut groups) {
        engine.step();
    }
}

/// The model and all answers in the making.
struct Engine<'m> {
    facts: Facts,
    rules: Rules<'m>,
    layout: Layout,
    /// The bytes of one cell.
    cell: u64,
    context: Context<'m>,
    shapes: Shapes,
    cache: PrefixCache<LlamaToken, State>,
    threads: Threads,
    /// The most rows of a step.
    rows: usize,
    /// Rows of prompts that are read in a second, as last seen.
    reading_pace: f64,
    turns: Turns,
    /// Oldest first.
    running: Vec<Running>,
    /// The group that is next, once there is room for all of it.
    next: VecDeque<Sequence>,
    counters: Arc<Counters>,
}

/// A sequence with a place in the context.
struct Running {
    slot: usize,
    sequence: Sequence,
}

impl<'m> Engine<'m> {
    /// An engine over a model, for whose weights memory was added to what there was before.
    fn new(
        config: &Config,
        model: &'m LlamaModel,
        before: &Mappings,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let template =
            Template::of(model).map_err(|reason| Error::Template { path: config.path.clone(), reason })?;
        let needs = Needs::of(model);
        let layout = Layout::new(config, needs);
        let threads = config.threads_for(model.n_params());
        // The buffers of a batch grow with its rows; a tiny model reads as fast in small pieces.
        let rows = if config.is_tiny(model.n_params()) { ROWS_TINY } else { ROWS };
        let rows = rows.min(layout.context_tokens).max(layout.sequences);
        let mut context = Context::new(model, &layout, rows, threads)?;
        pages::enlarge(before);
        let name = load::name(&config.path, model);
        let rules = Rules {
            model: name.clone(),
            template,
            vocabulary: Vocabulary::of(model),
            context_tokens: layout.context_tokens,
            seed: config.seed,
        };
        let shapes = if config.is_tiny(model.n_params()) || layout.sequences == 1 {
            Shapes::assumed()
        } else {
            measure(&mut context, &layout, rules.vocabulary.texts())
        };
        // What is read in other pieces may differ in its last bits.
        let granted = if config.deterministic { 0 } else { config.prefix_cache_bytes };
        let cells = layout.cells_to_remember() as u64;
        Ok(Self {
            facts: Facts {
                model: name,
                parameters: model.n_params(),
                context_tokens: u32::try_from(layout.context_tokens).unwrap_or(u32::MAX),
                sequences: layout.sequences,
                cells: layout.cells,
                step_tokens: rows,
                threads,
                weight_bytes: needs.weights,
                kv_bytes: layout.cells_to_allocate() as u64 * needs.cell,
            },
            rules,
            layout,
            cell: needs.cell,
            context,
            shapes,
            // How threads share the work may change the last bits too.
            threads: Threads::new(if config.deterministic { 1 } else { threads }),
            cache: PrefixCache::new(granted.min(cells * needs.cell)),
            rows,
            reading_pace: 0.0,
            turns: Turns::default(),
            running: Vec::new(),
            next: VecDeque::new(),
            counters,
        })
    }

    /// Lets everybody go who left, and in whoever there is room for; waits where there is nothing to do. Says whether
    /// to go on.
    fn admit(&mut self, groups: &mut mpsc::Receiver<Group>) -> bool {
        for at in (0..self.running.len()).rev() {
            if let Some(withdrawal) = self.running[at].sequence.job.withdrawal() {
                self.retire(at, Err(withdrawal));
            }
        }
        loop {
            self.next.retain(|sequence| match sequence.job.withdrawal() {
                Some(withdrawal) => {
                    sequence.job.end(Err(withdrawal));
                    false
                }
                None => true,
            });
            if self.next.is_empty() {
                if self.running.len() == self.layout.sequences {
                    break;
                }
                let group = if self.running.is_empty() {
                    self.publish();
                    match groups.blocking_recv() {
                        Some(group) => group,
                        None => return false,
                    }
                } else {
                    match groups.try_recv() {
                        Ok(group) => group,
                        Err(_) => break,
                    }
                };
                self.prepare(group);
                continue;
            }
            let needed: usize = self.next.iter().map(Sequence::cells).sum();
            let slots = self.layout.sequences - self.running.len();
            if self.next.len() > slots || needed > self.free_cells() {
                break;
            }
            while let Some(sequence) = self.next.pop_front() {
                self.seat(sequence);
            }
        }
        self.publish();
        true
    }

    /// Makes sequences of jobs.
    fn prepare(&mut self, group: Group) {
        for job in group {
            if let Some(withdrawal) = job.withdrawal() {
                job.end(Err(withdrawal));
                continue;
            }
            count(&self.counters.requests, 1);
            let job = Arc::new(job);
            match Sequence::new(job.clone(), &self.rules) {
                Ok(sequence) => self.next.push_back(sequence),
                Err(error) => job.end(Err(error)),
            }
        }
    }

    /// Cells that no running sequence may come to need.
    fn free_cells(&self) -> usize {
        let taken: usize = self.running.iter().map(|running| running.sequence.cells()).sum();
        self.layout.cells.saturating_sub(taken)
    }

    /// Gives a sequence the first free slot, so that those in use lie together, and what is remembered of its prompt.
    fn seat(&mut self, mut sequence: Sequence) {
        let taken = |slot: &usize| self.running.iter().any(|running| running.slot == *slot);
        let slot = (0..self.layout.sequences).find(|slot| !taken(slot)).expect("a free slot was counted");
        let room = if self.layout.together { self.free_cells() } else { self.layout.context_tokens };
        count(&self.counters.prompt_tokens, sequence.prompt().len());
        if sequence.is_request()
            && let Some(hit) = self.cache.find(sequence.prompt(), room)
            && self.context.restore(hit.state, slot)
        {
            if self.context.forget(slot, hit.common) {
                count(&self.counters.prompt_tokens_cached, hit.common);
                sequence.starts_at(hit.common);
            } else {
                self.context.forget(slot, 0);
            }
        }
        self.running.push(Running { slot, sequence });
    }

    /// Decodes one batch, and takes a token for each sequence that has one coming.
    fn step(&mut self) {
        let progress: Vec<Progress> =
            self.running.iter().map(|running| running.sequence.progress()).collect();
        let turn = self.turns.next(&progress);
        let mut shares = plan(&progress, turn, self.rows_of(turn, &progress));
        let answers = turn == Turn::Answer;
        let fillers = if answers { self.fill(&mut shares, &progress) } else { Vec::new() };
        if shares.is_empty() {
            return;
        }
        let token = self.running[shares[0].sequence].sequence.token(shares[0].from);
        let filler = |(number, &sequence): (usize, &usize)| {
            let position = fillers[..number].iter().filter(|&&before| before == sequence).count();
            Row { token, position, sequence, wanted: true }
        };
        let mut rows: Vec<Row> = fillers.iter().enumerate().map(filler).collect();
        for share in &shares {
            let Running { slot, sequence } = &self.running[share.sequence];
            let end = share.from + share.count;
            rows.extend((share.from..end).map(|position| Row {
                token: sequence.token(position),
                position,
                sequence: *slot,
                wanted: position + 1 == progress[share.sequence].known,
            }));
        }
        // llama.cpp takes sequences with cells of their own together only in the order of their numbers.
        rows.sort_by_key(|row| (row.sequence, row.position));
        // A batch that answers is a short one; only reading alone is worth to be broken off.
        let watched = if answers {
            Vec::new()
        } else {
            shares.iter().map(|share| self.running[share.sequence].sequence.job.clone()).collect()
        };

        let begin = Instant::now();
        let result = self.context.decode(&rows, watched);
        self.note_crowding(begin.elapsed());
        count(&self.counters.steps, 1);
        for sequence in fillers {
            self.context.forget(sequence, 0);
        }
        match result {
            Ok(()) => {
                if !answers {
                    self.note_pace(rows.len(), begin.elapsed());
                }
                self.take(&shares, &rows);
            }
            Err(failure) => self.recover(failure, &shares),
        }
    }

    /// Goes on with the sequences of a batch that was decoded, and retires those that are complete.
    fn take(&mut self, shares: &[Share], rows: &[Row]) {
        let mut finished = Vec::new();
        for share in shares {
            let at = share.sequence;
            let end = share.from + share.count;
            let Running { slot, sequence } = &mut self.running[at];
            sequence.has_read(end);
            // Rows that fill the batch belong to other sequences.
            let row = rows.iter().position(|row| row.sequence == *slot && row.wanted);
            let Some(row) = row else { continue };
            if end == sequence.prompt().len() {
                self.remember(at);
            }
            let logits = self.context.logits(row);
            match self.running[at].sequence.take(logits, &self.rules.vocabulary) {
                Ok(None) => {}
                Ok(Some(finish)) => finished.push((at, Ok(finish))),
                Err(error) => finished.push((at, Err(error))),
            }
        }
        // From the last to the first, so that places in the list stay what they are.
        finished.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, result) in finished {
            self.retire(at, result);
        }
    }

    /// How many rows a step may have, so that answers do not wait too long for prompts.
    fn rows_of(&self, turn: Turn, progress: &[Progress]) -> usize {
        let answers = progress.iter().filter(|progress| progress.answering).count();
        if turn == Turn::Answer || answers == 0 {
            return self.rows;
        }
        let prompts = progress.iter().filter(|progress| progress.reads()).count();
        // Where more prompts wait for a step than answers, they may make it longer in proportion.
        let stall = STALL.mul_f64((prompts as f64 / answers as f64).max(1.0));
        let rows = (self.reading_pace * stall.as_secs_f64()) as usize;
        rows.clamp(ROWS_MIN, self.rows)
    }

    /// Adds what makes a batch of answers a faster one: tokens of prompts that are to be read anyway, and where there
    /// are none rows of empty sequences. Returns those sequences, which are to be emptied afterwards.
    fn fill(&self, shares: &mut Vec<Share>, progress: &[Progress]) -> Vec<usize> {
        let room = self.context.rows() - shares.len();
        if self.layout.together {
            let padding = self.shapes.padding(shares.len(), room);
            return vec![self.layout.sequences; padding];
        }
        let mut holders = vec![None; self.layout.sequences];
        for (at, running) in self.running.iter().enumerate() {
            holders[running.slot] = Some(at);
        }
        let usable: Vec<bool> =
            holders.iter().map(|holder| holder.is_none_or(|at| progress[at].reads())).collect();
        let mut taking_part: Vec<usize> =
            shares.iter().map(|share| self.running[share.sequence].slot).collect();
        taking_part.sort_unstable();
        let mut fillers = self.shapes.fillers(&taking_part, &usable);
        fillers.truncate(room);
        fillers.retain(|&slot| match holders[slot] {
            Some(sequence) => {
                shares.push(Share { sequence, from: progress[sequence].read, count: 1 });
                false
            }
            None => true,
        });
        fillers
    }

    /// Notes a step, and has fewer threads decode where this one waits much for a core.
    fn note_crowding(&mut self, took: Duration) {
        if let Some(threads) = self.threads.note(took, threads::waited) {
            debug!("decodes with {threads} threads from now on");
            self.context.set_threads(threads);
        }
    }

    /// Notes how fast prompts are read, which says how much of them a step beside answers may take.
    fn note_pace(&mut self, reading: usize, took: Duration) {
        if reading < ROWS_MIN {
            return;
        }
        let pace = reading as f64 / took.as_secs_f64().max(1e-6);
        self.reading_pace =
            if self.reading_pace == 0.0 { pace } else { (self.reading_pace * 3.0 + pace) / 4.0 };
    }

    /// Remembers what a prompt that was just read left in the context, where it is worth it.
    fn remember(&mut self, at: usize) {
        let Running { slot, sequence } = &self.running[at];
        let prompt = sequence.prompt();
        let bytes = prompt.len() as u64 * self.cell;
        if sequence.is_request()
            && self.cache.wants(prompt.len(), sequence.cached(), bytes)
            && let Some(state) = self.context.save(*slot)
        {
            let bytes = bytes.max(state.len() as u64);
            self.cache.insert(prompt, state, bytes);
        }
    }

    /// Brings context and sequences together again after a batch that failed.
    fn recover(&mut self, failure: Failure, batch: &[Share]) {
        let mut lost = Vec::new();
        for share in batch {
            if !self.context.forget(self.running[share.sequence].slot, share.from) {
                lost.push(share.sequence);
            }
        }
        match failure {
            Failure::Abandoned => debug!("broke a batch off: nobody waits for it any more"),
            Failure::NoRoom => {
                warn!(
                    "llama.cpp has no room for a batch that was counted to fit; the youngest request must wait"
                );
                let youngest = self.running.len() - 1;
                self.retire(youngest, Err(self.overloaded()));
                lost.retain(|&at| at != youngest);
            }
            Failure::Broken(reason) => {
                let mut batch: Vec<usize> = batch.iter().map(|share| share.sequence).collect();
                batch.sort_unstable();
                for at in batch.into_iter().rev() {
                    self.retire(at, Err(inference::Error::Engine(reason.clone())));
                }
                return;
            }
        }
        lost.sort_unstable();
        for at in lost.into_iter().rev() {
            let reason = "the model cannot go back in what it has read".to_owned();
            self.retire(at, Err(inference::Error::Engine(reason)));
        }
    }

    /// Ends a sequence and empties its slot.
    fn retire(&mut self, at: usize, result: Result<Finish, inference::Error>) {
        let places = self.running.len() as u64;
        let Running { slot, sequence } = self.running.remove(at);
        self.context.forget(slot, 0);
        count(&self.counters.answer_tokens, sequence.answered());
        let took = u64::try_from(sequence.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.counters.pace.store(took / places, Ordering::Relaxed);
        // Before whoever asked hears of it, so that they find it counted.
        self.publish();
        match result {
            Ok(finish) => sequence.finish(finish, &self.rules.model),
            Err(error) => sequence.job.end(Err(error)),
        }
    }

    fn overloaded(&self) -> inference::Error {
        let pace = self.counters.pace.load(Ordering::Relaxed);
        inference::Error::Overloaded {
            provider: Provider::Slm.name().into(),
            retry_after: Some(Duration::from_millis(pace.clamp(50, 30_000))),
        }
    }

    /// Tells the handle how many there are.
    fn publish(&self) {
        self.counters.running.store(self.running.len() as u64, Ordering::Relaxed);
        self.counters.waiting.store(self.next.len() as u64, Ordering::Relaxed);
    }
}

/// What batches of 1, 2, 3… rows take on this machine. The first round also brings the weights into memory.
fn measure(context: &mut Context, layout: &Layout, tokens: Vec<LlamaToken>) -> Shapes {
    let Some(&token) = tokens.first() else { return Shapes::assumed() };
    let most = MEASURED.min(layout.sequences);
    let begin = Instant::now();
    let mut times = vec![Duration::MAX; most];
    for round in 0..=ROUNDS {
        // The first batch of all is slow for reasons of its own.
        let sizes = if round == 0 { most..=most } else { 1..=most };

        for size in sizes {
            let rows: Vec<Row> = (0..size)
                .map(|at| {
                    let (sequence, position) = if layout.together { (layout.sequences, at) } else { (at, 0) };
                    Row { token, position, sequence, wanted: true }
                })
                .collect();
            if begin.elapsed() > MEASURING {
                return if round > 1 { Shapes::measured(&times) } else { Shapes::assumed() };
            }
            let start = Instant::now();
            if context.decode(&rows, Vec::new()).is_err() {
                return Shapes::assumed();
            }
            if round > 0 {
                times[size - 1] = times[size - 1].min(start.elapsed());
            }
            rows.iter().for_each(|row| {
                context.forget(row.sequence, 0);
            });
        }
    }
    debug!("batches of 1 to {most} rows take {times:?}");
    Shapes::measured(&times)
}
