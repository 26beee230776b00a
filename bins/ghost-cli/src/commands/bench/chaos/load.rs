//! The tasks of the bench: what each asks for, and how it may end. All of it follows from a task's number.

use ghost_core::lifecycle::{DELIVERIES_EXHAUSTED, State};
use serde_json::{Value, json};

/// What marks a task in its id, its prompt and its answer.
const MARK: &str = "chaos-";
/// Tenants that take turns.
const TENANTS: usize = 3;

/// What is special about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The SLM answers and an evaluator settles.
    Judged,
    /// The LLM answers and the worker settles.
    Direct,
    /// Its answer takes longer than a lease, so that renewals are needed.
    Slow,
    /// Its client withdraws it at once, while it waits or is answered slowly.
    Withdrawn,
    /// The model refuses it.
    Unanswerable,
}

impl Kind {
    pub(super) fn of(number: usize) -> Self {
        match number {
            _ if number % 100 == 7 => Kind::Unanswerable,
            _ if number % 50 == 13 => Kind::Withdrawn,
            _ if number % 200 == 31 => Kind::Slow,
            _ if number.is_multiple_of(4) => Kind::Direct,
            _ => Kind::Judged,
        }
    }

    pub(super) fn takes_long(self) -> bool {
        matches!(self, Kind::Slow | Kind::Withdrawn)
    }
}

pub(super) fn id(number: usize) -> String {
    format!("{MARK}{number}")
}

/// The task that a text speaks of.
pub(super) fn number(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once(MARK)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

pub(super) fn request(number: usize) -> Value {
    let only = if Kind::of(number) == Kind::Direct { "force_llm" } else { "force_slm" };
    json!({
        "task_id": id(number),
        "task_type": "llm_inference",
        "description": format!("Say something about {}.", id(number)),
        "parameters": { only: true },
        "priority": number % 10 + 1,
        "context": { "tenant": format!("tenant-{}", number % TENANTS) },
    })
}

pub(super) fn answer(number: usize) -> String {
    format!("All about {}.", id(number))
}

/// Why a task must not have ended like this; none where it may. A task may lose so many holders that it is given up.
pub(super) fn objection(number: usize, state: &State) -> Option<String> {
    let id = id(number);
    match (Kind::of(number), state) {
        (Kind::Unanswerable, State::Completed(_)) => Some(format!("{id} has an answer that no model gave")),
        (Kind::Unanswerable, State::Failed(_)) | (Kind::Withdrawn, State::Cancelled) => None,
        (_, State::Completed(answer)) if answer.text.trim() == self::answer(number) => None,
        (_, State::Completed(answer)) => Some(format!("{id} was answered with `{}`", answer.text)),
        (_, State::Failed(failure)) if failure.code == DELIVERIES_EXHAUSTED => None,
        (_, State::Failed(failure)) => Some(format!("{id} failed: {failure}")),
        (_, State::Cancelled) => Some(format!("{id} was cancelled by nobody")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ghost_core::lifecycle::Failure;
    use ghost_core::task::TaskRequest;

    use super::*;

    #[test]
    fn a_task_is_known_by_every_text_that_speaks_of_it() {
        for text in [id(42), answer(42), request(42)["description"].to_string()] {
            assert_eq!(number(&text), Some(42), "{text}");
        }
        assert_eq!(number("Say something."), None);
    }

    #[test]
    fn every_task_is_one_that_the_door_takes() {
        for number in 0..200 {
            let request = request(number).to_string();
            assert!(TaskRequest::parse(request.as_bytes()).is_ok(), "{request}");
        }
    }

    #[test]
    fn a_task_may_be_given_up_but_not_fail_for_another_reason() {
        let failed = |code: &str| State::Failed(Failure::new(code, "why"));
        assert_eq!(objection(1, &failed(DELIVERIES_EXHAUSTED)), None);
        assert!(objection(1, &failed("llm_unavailable")).is_some());
        assert_eq!(objection(7, &failed("anything")), None);
        assert!(objection(1, &State::Cancelled).is_some());
        assert_eq!(objection(13, &State::Cancelled), None);
    }
}
