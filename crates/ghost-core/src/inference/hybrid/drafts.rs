//! Has a local draft judged by others of its kind, before it is given or the LLM is asked.
//!
//! A few samples of the same model are cheap beside one call to the LLM, and what they agree on is mostly right. Only a
//! draft that comes to a number, a choice, a literal or a few words can be compared; any other is left to the evaluator.

use futures_util::future::join_all;
use tracing::info;

use super::caller::{Caller, Patience, Stumble};
use super::{Job, id};
use crate::inference::{Completion, Request};
use crate::lifecycle::{Attempt, Failure};
use crate::taskmaster::drafts::Answer;
use crate::taskmaster::{Complexity, TaskMaster};

/// How warm a sample is where the task asks for none: warm enough to differ where the model is not sure.
const TEMPERATURE: f32 = 0.7;

/// Who judges drafts, and by how many others.
#[derive(Debug, Clone)]
pub struct DraftCheck {
    /// It knows what drafts say of a prompt, and from which score on the LLM is needed.
    pub taskmaster: TaskMaster,
    /// How many samples there are beside the draft (SLM_DRAFTS).
    pub samples: u32,
}

impl DraftCheck {
    /// Why the draft is not given; none where it may be, or cannot be compared. The samples are noted in `attempts`.
    pub(super) async fn doubt(
        &self,
        job: &Job,
        draft: &Completion,
        (caller, request, patience): (&Caller, &Request, &Patience),
        price: impl Fn(&Completion) -> u64,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Option<Failure>, Stumble> {
        let Some(given) = Answer::concluding(&draft.text) else { return Ok(None) };
        let samples = join_all((1..=self.samples).map(|number| {
            let request = sample(request, number);
            let price = &price;
            async move {
                let mut attempts = Vec::new();
                (caller.ask(&request, patience, None, price, &mut attempts).await, attempts)
            }
        }));
        let mut answers = vec![Some(given)];
        for (result, calls) in samples.await {
            attempts.extend(calls);
            match result {
                Ok(completion) => answers.push(Answer::concluding(&completion.text)),
                Err(Stumble::Cancelled) => return Err(Stumble::Cancelled),
                // One opinion less.
                Err(_) => {}
            }
        }
        let score = self.taskmaster.need_after(&job.request, &answers);
        let escalates = self.taskmaster.thresholds().complexity(score) == Complexity::Complex;
        info!(
            event = "drafts_compared",
            task.id = id(job),
            drafts = answers.len(),
            score,
            escalates,
            "the drafts of task {} say that the LLM is needed with a probability of {score:.2}",
            id(job)
        );
        Ok(escalates.then(|| {
            let words = format!("{} drafts of the local model agree too little: {score:.2}", answers.len());
            Failure::new("drafts_disagree", words)
        }))
    }
}

fn sample(request: &Request, number: u32) -> Request {
    let mut request = request.clone();
    let sampling = &mut request.sampling;
    sampling.temperature = sampling.temperature.filter(|warmth| *warmth > 0.0).or(Some(TEMPERATURE));
    sampling.seed = Some(sampling.seed.unwrap_or_default().wrapping_add(number.into()));
    request
}
