//! What one step decodes: which tokens of which answers.
//!
//! Pure, over plain numbers: [`plan`] knows no model and no tokens. An answer in the making costs one row, and all of
//! them go first, so that a long prompt never holds them up. Prompts share what is left of the step: each the same,
//! and what the short ones leave goes to the oldest.

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

/// How many rows a step may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// In all.
    pub(crate) rows: usize,
    /// Of prompts, where answers wait for the step to end.
    pub(crate) beside_answers: usize,
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

/// The shares of the next step, in the order of `sequences`, which are given oldest first.
pub(crate) fn plan(sequences: &[Progress], budget: Budget) -> Vec<Share> {
    let mut counts = vec![0; sequences.len()];
    let mut left = budget.rows;
    for (count, sequence) in counts.iter_mut().zip(sequences).filter(|(_, sequence)| sequence.answering) {
        *count = sequence.unread().min(1).min(left);
        left -= *count;
    }
    if left < budget.rows {
        left = left.min(budget.beside_answers);
    }
    let reading: Vec<usize> = (0..sequences.len()).filter(|&at| !sequences[at].answering).collect();
    for (number, &at) in reading.iter().enumerate() {
        let share = left.div_ceil(reading.len() - number);
        counts[at] = sequences[at].unread().min(share);
        left -= counts[at];
    }
    for at in reading {
        let more = (sequences[at].unread() - counts[at]).min(left);
        counts[at] += more;
        left -= more;
    }
    let shares = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
    shares.map(|(sequence, count)| Share { sequence, from: sequences[sequence].read, count }).collect()
}

impl Progress {
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

    fn counts(sequences: &[Progress], budget: Budget) -> Vec<(usize, usize)> {
        plan(sequences, budget).into_iter().map(|share| (share.sequence, share.count)).collect()
    }

    const BUDGET: Budget = Budget { rows: 64, beside_answers: 16 };

    #[test]
    fn answers_go_first_and_prompts_take_a_little_beside_them() {
        assert_eq!(counts(&[reading(1000), answering(7)], BUDGET), [(0, 16), (1, 1)]);
        assert_eq!(counts(&[reading(1000)], BUDGET), [(0, 64)]);
    }

    #[test]
    fn prompts_share_the_step_and_what_short_ones_leave_goes_to_the_oldest() {
        assert_eq!(counts(&[reading(1000), reading(1000)], BUDGET), [(0, 32), (1, 32)]);
        assert_eq!(counts(&[reading(1000), reading(10), reading(1000)], BUDGET), [(0, 22), (1, 10), (2, 32)]);
        assert_eq!(counts(&[reading(1000), reading(4)], BUDGET), [(0, 60), (1, 4)]);
    }

    #[test]
    fn a_step_without_work_is_empty() {
        assert_eq!(plan(&[], BUDGET), []);
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
            rows in 20usize..128, beside_answers in 1usize..32,
        ) {
            requests.sort_by_key(|request| request.at);
            let budget = Budget { rows, beside_answers };
            // Sequences by the number of their request, with how much of the answer is there.
            let mut running: Vec<(usize, Progress, usize)> = Vec::new();
            let mut finished = 0;
            let work: usize = requests.iter().map(|request| request.prompt + request.answer).sum();
            let mut step = 0;
            while finished < requests.len() {
                // With one row of a prompt in every step at least, all is done after so many.
                prop_assert!(step <= work + 40, "somebody starves: {running:?}");
                running.extend(requests.iter().enumerate().filter(|(_, request)| request.at == step).map(
                    |(number, request)| (number, reading(request.prompt), 0),
                ));
                let before = running.len();
                running.retain(|(number, ..)| requests[*number].withdrawn.is_none_or(|at| at > step));
                finished += before - running.len();
                let progress: Vec<Progress> = running.iter().map(|(_, progress, _)| *progress).collect();
                let shares = plan(&progress, budget);
                prop_assert!(shares.iter().map(|share| share.count).sum::<usize>() <= rows);
                let prompts = shares.iter().filter(|share| !progress[share.sequence].answering);
                if progress.iter().any(|progress| progress.answering) {
                    prop_assert!(prompts.map(|share| share.count).sum::<usize>() <= beside_answers);
                }
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
                    served.iter().zip(&progress).all(|(served, progress)| *served || !progress.answering),
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
