//! What one step decodes: which tokens of which answers.
//!
//! Pure, over plain numbers: [`plan`] knows no model and no tokens. Steps that answer and steps that read take
//! [`Turns`] where there is both to do, so that a long prompt never holds answers up for longer than a short step. A step
//! that answers has a row of every answer. One that reads has pieces of prompts of [`TILE`] rows: mostly of those that have
//! read the least, so that all get on alike and a short one need not wait for a long one; in every other such step first
//! of the oldest, so that nobody waits for ever.

/// The rows of a prompt that the attention kernel takes at once; fewer take as long.
const TILE: usize = 64;

/// How far a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Tokens that the model has read.
    pub(crate) read: usize,
    /// Tokens that there are to read: the prompt, and what was answered so far.
    pub(crate) known: usize,
    /// Whether it is answering: all but its newest token is read.
    pub(crate) answering: bool,
}

/// What a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Every answer goes on by a token.
    Answer,
    /// Prompts are read, if any is to be: those first that have read the least, or before them the oldest.
    Read { oldest_first: bool },
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Whether prompts had the last one.
    read: bool,
    /// Whether the oldest prompt went first then.
    oldest_first: bool,
}

impl Turns {
    /// The next one.
    pub(crate) fn next(&mut self, sequences: &[Progress]) -> Turn {
        let answers = sequences.iter().any(|sequence| sequence.answering);
        let prompts = sequences.iter().any(Progress::reads);
        self.read = !answers || (prompts && !self.read);
        if !self.read {
            return Turn::Answer;
        }
        self.oldest_first = !self.oldest_first;
        Turn::Read { oldest_first: self.oldest_first }
    }
}

/// The tokens of one sequence that a step decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Its place in the list that was given.
    pub(crate) sequence: usize,
    /// The position of the first.
    pub(crate) from: usize,
    /// How many.
    pub(crate) count: usize,
}

/// The shares of a step of at most so many rows, in the order of `sequences`, which are given oldest first.
pub(crate) fn plan(sequences: &[Progress], turn: Turn, rows: usize) -> Vec<Share> {
    let counts = match turn {
        Turn::Answer => sequences.iter().map(|sequence| usize::from(sequence.answering)).collect(),
        Turn::Read { oldest_first } => read(sequences, oldest_first, rows),
    };
    let shares = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
    shares.map(|(sequence, count)| Share { sequence, from: sequences[sequence].read, count }).collect()
}

/// How many rows of each prompt a step reads.
fn read(sequences: &[Progress], oldest_first: bool, rows: usize) -> Vec<usize> {
    let mut counts = vec![0; sequences.len()];
    let mut reading: Vec<usize> = (0..sequences.len()).filter(|&at| sequences[at].reads()).collect();
    if let [only] = reading[..] {
        counts[only] = sequences[only].unread().min(rows);
        return counts;
    }
    let by_progress = reading.get_mut(usize::from(oldest_first)..).unwrap_or_default();
    by_progress.sort_by_key(|&at| sequences[at].read);
    let mut left = rows;
    loop {
        let before = left;
        for &at in &reading {
            let piece = (sequences[at].unread() - counts[at]).min(TILE);
            // Where there is no room for a whole piece, a part is worth a step only if nothing else is in it.
            let piece = if left == rows { piece.min(left) } else { piece };
            if piece <= left {
                counts[at] += piece;
                left -= piece;
            }
        }
        if left == before {
            return counts;
        }
    }
}

impl Progress {
    /// Whether there is a prompt to be read.
    pub(crate) fn reads(&self) -> bool {
        !self.answering && self.unread() > 0
    }

    fn unread(&self) -> usize {
        self.known - self.read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(left: usize) -> Progress {
        Progress { read: 0, known: left, answering: false }
    }

    fn answering(at: usize) -> Progress {
        Progress { read: at, known: at + 1, answering: true }
    }

    /// The shares of a step that reads, the oldest first or not.
    fn read(sequences: &[Progress], oldest_first: bool, rows: usize) -> Vec<(usize, usize)> {
        let shares = plan(sequences, Turn::Read { oldest_first }, rows);
        shares.into_iter().map(|share| (share.sequence, share.count)).collect()
    }

    #[test]
    fn answers_and_prompts_take_turns_and_each_has_all_of_them_alone() {
        let mut turns = Turns::default();
        let mut next = |sequences: &[Progress]| turns.next(sequences) == Turn::Answer;
        let both = [reading(9), answering(7)];
        assert_eq!([next(&both), next(&both), next(&both), next(&both)], [false, true, false, true]);
        assert_eq!([next(&both[1..]), next(&both[1..])], [true; 2]);
        assert_eq!([next(&both[..1]), next(&both[..1])], [false; 2]);
    }

    #[test]
    fn a_step_that_answers_has_a_row_of_every_answer() {
        let shares = plan(&[reading(9), answering(7), answering(3)], Turn::Answer, 64);
        let share = |sequence, from| Share { sequence, from, count: 1 };
        assert_eq!(shares, [share(1, 7), share(2, 3)]);
    }

    #[test]
    fn prompts_are_read_in_pieces_and_those_that_have_read_least_come_first() {
        let begun = |read| Progress { read, known: 1000, answering: false };
        let four = [begun(9), begun(8), begun(7), begun(0)];
        assert_eq!(read(&four, false, 2 * TILE), [(2, TILE), (3, TILE)]);
        assert_eq!(read(&four, true, 2 * TILE), [(0, TILE), (3, TILE)]);
        assert_eq!(read(&four, false, 5 * TILE + 9), [(0, TILE), (1, TILE), (2, TILE), (3, 2 * TILE)]);
        assert_eq!(read(&four, true, 20), [(0, 20)], "a part where there is no room for a piece");
        assert_eq!(read(&[reading(1000), reading(30), answering(5)], true, 100), [(0, TILE), (1, 30)]);
        assert_eq!(read(&four[..1], false, 100), [(0, 100)], "one alone has all of the step");
    }

    #[test]
    fn a_step_without_work_is_empty() {
        assert_eq!(read(&[], true, 64), []);
        assert_eq!(plan(&[], Turn::Answer, 64), []);
    }

    /// A request of the simulation: when it comes, how long prompt and answer are, and when it is withdrawn.
    #[derive(Debug, Clone)]
    struct Asked {
        at: usize,
        prompt: usize,
        answer: usize,
        withdrawn: Option<usize>,
    }

    fn asked() -> impl Strategy<Value = Asked> {
        (0usize..40, 1usize..200, 1usize..20, prop::option::weighted(0.2, 0usize..60))
            .prop_map(|(at, prompt, answer, withdrawn)| Asked { at, prompt, answer, withdrawn })
    }

    proptest! {
        #[test]
        fn every_position_is_read_once_in_order_within_the_budget_and_nobody_starves(
            mut requests in prop::collection::vec(asked(), 1..20),
            rows in 20usize..128, beside_answers in 1usize..100,
        ) {
            requests.sort_by_key(|request| request.at);
            let mut turns = Turns::default();
            // Sequences by the number of their request, with how much of the answer is there.
            let mut running: Vec<(usize, Progress, usize)> = Vec::new();
            let mut finished = 0;
            let work: usize = requests.iter().map(|request| request.prompt + request.answer).sum();
            let mut step = 0;
            while finished < requests.len() {
                // With one row of a prompt in every other step at least, all is done after so many.
                prop_assert!(step <= 2 * work + 40, "somebody starves: {running:?}");
                running.extend(requests.iter().enumerate().filter(|(_, request)| request.at == step).map(
                    |(number, request)| (number, reading(request.prompt), 0),
                ));
                let before = running.len();
                running.retain(|(number, ..)| requests[*number].withdrawn.is_none_or(|at| at > step));
                finished += before - running.len();
                let progress: Vec<Progress> = running.iter().map(|(_, progress, _)| *progress).collect();
                let turn = turns.next(&progress);
                let beside = progress.iter().any(|progress| progress.answering) && turn != Turn::Answer;
                let rows = if beside { beside_answers.min(rows) } else { rows };
                let shares = plan(&progress, turn, rows);
                prop_assert!(shares.iter().map(|share| share.count).sum::<usize>() <= rows);
                let oldest = progress.iter().position(Progress::reads);
                prop_assert!(
                    turn != Turn::Read { oldest_first: true } || shares.first().map(|share| share.sequence) == oldest,
                    "the oldest prompt waits for nobody"
                );
                prop_assert!(shares.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
                let mut served = vec![false; running.len()];
                for share in shares {
                    served[share.sequence] = true;
                    let (number, progress, written) = &mut running[share.sequence];
                    prop_assert_eq!(share.from, progress.read, "no position is skipped or repeated");
                    progress.read += share.count;
                    prop_assert!(progress.read <= progress.known);
                    if progress.read == progress.known && *written < requests[*number].answer {
                        progress.known += 1;
                        progress.answering = true;
                        *written += 1;
                    }
                }
                prop_assert!(
                    turn != Turn::Answer
                        || served.iter().zip(&progress).all(|(served, progress)| *served || !progress.answering),
                    "an answer waits for nobody"
                );
                let done = |(number, progress, written): &(usize, Progress, usize)| {
                    *written == requests[*number].answer && progress.read == progress.known
                };
                let before = running.len();
                running.retain(|sequence| !done(sequence));
                finished += before - running.len();
                step += 1;
            }
        }
    }
}
