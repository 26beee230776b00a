//! Turns a task into what a model is asked: its words, the shape of the answer, and on a revision the critique.
//!
//! Pure. Who is asked decides the form: a model that was trained on a few kinds gets exactly the format of its
//! training, a general one a short system prompt that says what its kind of task wants. What the shape alone demands a
//! remote backend says itself, in the form that its API takes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Message, Request, Role, Sampling, Shape};
use crate::experiment::Arm;
use crate::lifecycle::Finding;
use crate::task::{Kind, TaskRequest};

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A local model that was trained on a few kinds and knows nothing else.
    Specialist,
    /// A local model that takes any prompt.
    Generalist,
    /// The LLM.
    Llm,
}

/// An answer that was sent back, and why.
#[derive(Debug, Clone, Copy)]
pub struct Critique<'a> {
    /// The answer's text.
    pub draft: &'a str,
    /// What is wrong with it.
    pub findings: &'a [Finding],
}

/// What the model is asked. `kind` is what the prompt itself shows; the critique is passed on to whoever can use one.
pub fn request(
    task: &TaskRequest,
    kind: Option<Kind>,
    audience: Audience,
    critique: Option<Critique>,
    timeout: Duration,
    cancel: CancellationToken,
) -> Request {
    let parameters = &task.parameters;
    let mut messages = vec![Message { role: Role::User, text: content(task) }];
    if let Some(critique) = critique.filter(|_| audience != Audience::Specialist) {
        messages.push(Message { role: Role::Assistant, text: critique.draft.to_owned() });
        messages.push(Message { role: Role::User, text: reproach(&critique) });
    }
    let llm = audience == Audience::Llm;
    Request {
        system: if audience == Audience::Specialist { None } else { system(task, kind, audience) },
        messages,
        model: if llm { parameters.model.clone() } else { None },
        max_tokens: parameters.max_tokens.unwrap_or_else(|| max_tokens(kind, audience)),
        sampling: match audience {
            // Its training rewards the likeliest answer, and its threshold was learned on that.
            Audience::Specialist => Sampling::greedy(),
            _ => parameters.sampling(),
        },
        stop: parameters.stop.clone(),
        shape: shape(task, kind, audience),
        tools: parameters.extra.get("tools").filter(|_| llm).cloned(),
        timeout,
        cancel,
    }
}

/// Asks as this arm of an experiment does. A specialist is asked as it was trained, in any arm.
pub fn vary(request: &mut Request, arm: &Arm, audience: Audience) {
    if audience == Audience::Specialist {
        return;
    }
    if let Some(words) = &arm.system_prompt {
        request.system = Some(match request.system.take() {
            Some(system) => format!("{words}\n\n{system}"),
            None => words.clone(),
        });
    }
    if let Some((prefix, message)) = arm.prompt_prefix.as_ref().zip(request.messages.first_mut()) {
        message.text = format!("{prefix}\n\n{}", message.text);
    }
    if audience == Audience::Llm && request.model.is_none() {
        request.model.clone_from(&arm.model);
    }
}

/// The user's turn: the task's text, and its categories where it has some.
pub fn content(task: &TaskRequest) -> String {
    match &task.parameters.categories {
        Some(categories) => format!("{}\n\nCategories: {}", task.text(), categories.join(", ")),
        None => task.text(),
    }
}

/// What the answer must look like.
fn shape(task: &TaskRequest, kind: Option<Kind>, audience: Audience) -> Shape {
    let parameters = &task.parameters;
    // The specialist's answer is copied from what it read, token by token; others are asked to copy.
    let copies = audience == Audience::Specialist;
    if let Some(categories) = &parameters.categories {
        return Shape::Choice(categories.clone());
    }
    if let Some(schema) = parameters.schema.as_ref().filter(|_| !copies) {
        return Shape::Json(schema.clone());
    }
    match kind {
        Some(Kind::StatusUpdate) => Shape::Line,
        Some(Kind::JsonField | Kind::ExtractValue | Kind::Classify) if copies => Shape::Span(content(task)),
        Some(kind @ (Kind::EmailParse | Kind::KeyValue)) if copies => {
            Shape::JsonOfSpans { schema: schema_of(kind), source: content(task) }
        }
        Some(kind @ (Kind::EmailParse | Kind::KeyValue)) => Shape::Json(schema_of(kind)),
        Some(Kind::Classify) => Shape::Line,
        Some(Kind::JsonField | Kind::ExtractValue) | None => Shape::Text,
    }
}

fn schema_of(kind: Kind) -> Value {
    match kind {
        Kind::EmailParse => json!({
            "type": "object",
            "properties": {"sender": {"type": "string"}, "subject": {"type": "string"}},
            "required": ["sender", "subject"],
            "additionalProperties": false,
        }),
        _ => json!({"type": "object", "additionalProperties": {"type": "string"}}),
    }
}

/// A short word about what is wanted; none where the task is free.
fn system(task: &TaskRequest, kind: Option<Kind>, audience: Audience) -> Option<String> {
    let parameters = &task.parameters;
    if parameters.categories.is_some() || parameters.schema.is_some() {
        // A local model is held to the shape without being told of it, and guesses badly then.
        let told = audience == Audience::Generalist;
        return told.then(|| match &parameters.schema {
            Some(schema) if parameters.categories.is_none() => {
                format!("Answer with JSON that satisfies this JSON Schema, and nothing else: {schema}")
            }
            _ => "Answer with exactly one of the categories, letter by letter, and nothing else.".to_owned(),
        });
    }
    if let Some(kind) = kind {
        return Some(wanted(kind).to_owned());
    }
    // The sender calls it so, but the prompt does not show it: it may be something else altogether.
    let claimed = Kind::from_name(&task.task_type)?;
    Some(format!("The sender calls this task `{claimed}`. If that is what it is: {}", wanted(claimed)))
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::JsonField => {
            "Answer with the bare value of the field that is asked for, as it is written, and nothing else."
        }
        Kind::EmailParse => {
            "Answer with one JSON object {\"sender\": the address of the sender, \"subject\": the subject}, and nothing else."
        }
        Kind::Classify => "Answer with the one category that fits, and nothing else.",
        Kind::KeyValue => {
            "Answer with one JSON object: keys as they are written, values as strings, and nothing else."
        }
        Kind::ExtractValue => {
            "Answer with the bare value that is asked for, as it is written, and nothing else."
        }
        Kind::StatusUpdate => "Answer with one line that says what is now the case, and nothing else.",
    }
}

/// Room for an answer where the task does not say. The LLM may think first, and its thinking counts.
fn max_tokens(kind: Option<Kind>, audience: Audience) -> u32 {
    match (audience, kind) {
        (Audience::Llm, Some(_)) => 4_096,
        (Audience::Llm, None) => 8_192,
        (_, Some(Kind::Classify)) => 64,
        (_, Some(Kind::JsonField | Kind::ExtractValue | Kind::StatusUpdate)) => 256,
        (_, Some(Kind::EmailParse | Kind::KeyValue)) => 512,
        (_, None) => 1_024,
    }
}

/// What to mend: where, why, and how.
fn reproach(critique: &Critique) -> String {
    let mut text = "Checks found fault with this answer:\n".to_owned();
    for finding in critique.findings {
        text.push_str(&format!("- {}: {}", finding.kind, finding.evidence));
        let place = finding.span.and_then(|(from, to)| critique.draft.get(from..to));
        if let Some(place) = place.filter(|place| !finding.evidence.contains(place.trim())) {
            text.push_str(&format!(", at “{place}”"));
        }
        if let Some(edit) = &finding.suggested_edit {
            text.push_str(&format!("; {edit}"));
        }
        text.push('\n');
    }
    text.push_str(
        "Give the whole answer again with this mended and the rest as it was. Do not mention the checks.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Severity;

    fn task(task: Value) -> TaskRequest {
        TaskRequest::parse(task.to_string().as_bytes()).expect("a valid request")
    }

    fn asked(task: &TaskRequest, kind: Option<Kind>, audience: Audience) -> Request {
        request(task, kind, audience, None, Duration::from_secs(9), CancellationToken::new())
    }

    #[test]
    fn an_arm_changes_what_all_but_the_specialist_are_asked() {
        let arm: Arm = serde_json::from_value(
            json!({"name": "a", "model": "m", "system_prompt": "Be brief.", "prompt_prefix": "Think first."}),
        )
        .expect("an arm");
        let varied = |task: &TaskRequest, audience| {
            let mut request = asked(task, Some(Kind::StatusUpdate), audience);
            vary(&mut request, &arm, audience);
            request
        };
        let plain = task(json!({"task_type": "x", "description": "Mark it."}));
        let usual = wanted(Kind::StatusUpdate);
        for (audience, model) in [(Audience::Llm, Some("m")), (Audience::Generalist, None)] {
            let request = varied(&plain, audience);
            assert_eq!(request.system, Some(format!("Be brief.\n\n{usual}")));
            assert_eq!(request.messages[0].text, "Think first.\n\nMark it.");
            assert_eq!(request.model.as_deref(), model);
        }
        let specialist = varied(&plain, Audience::Specialist);
        assert_eq!((specialist.system, &*specialist.messages[0].text), (None, "Mark it."));
        let insists =
            task(json!({"task_type": "x", "description": "Mark it.", "parameters": {"model": "own"}}));
        assert_eq!(
            varied(&insists, Audience::Llm).model.as_deref(),
            Some("own"),
            "the task's own word goes first"
        );
    }

    #[test]
    fn the_specialist_gets_the_format_of_its_training() {
        let task = task(json!({
            "task_type": "classify", "description": "Sort this", "parameters": {
                "prompt": "Buy now!", "categories": ["spam", "ham"], "temperature": 1.0, "model": "claude", "tools": [{}],
            },
        }));
        let request = asked(&task, Some(Kind::Classify), Audience::Specialist);
        assert_eq!(request.system, None);
        assert_eq!(request.messages.len(), 1);
        assert_eq!(request.messages[0].text, "Sort this\n\nBuy now!\n\nCategories: spam, ham");
        assert_eq!(request.shape, Shape::Choice(vec!["spam".to_owned(), "ham".to_owned()]));
        assert_eq!((request.sampling, request.model, request.tools), (Sampling::greedy(), None, None));
    }

    #[test]
    fn each_kind_has_its_shape() {
        let task = task(json!({"task_type": "x", "description": "Say \"a\""}));
        let shape = |kind| asked(&task, Some(kind), Audience::Specialist).shape;
        let span = || Shape::Span("Say \"a\"".to_owned());
        assert_eq!(shape(Kind::JsonField), span());
        assert_eq!(shape(Kind::ExtractValue), span());
        assert_eq!(shape(Kind::Classify), span());
        assert_eq!(shape(Kind::StatusUpdate), Shape::Line);
        let Shape::JsonOfSpans { source, .. } = shape(Kind::KeyValue) else { panic!("JSON of spans") };
        assert_eq!(source, "Say \"a\"");
        assert!(matches!(shape(Kind::EmailParse), Shape::JsonOfSpans { .. }));
    }

    #[test]
    fn a_general_model_is_told_what_is_wanted_in_a_few_words() {
        let free = task(json!({"task_type": "llm_inference", "description": "Explain monads"}));
        assert_eq!(asked(&free, None, Audience::Llm).system, None);
        let schema = json!({"type": "object"});
        let bound = task(json!({"task_type": "x", "description": "d", "parameters": {"schema": schema}}));
        let request = asked(&bound, None, Audience::Llm);
        assert_eq!((request.shape, request.system), (Shape::Json(schema), None));
        assert!(
            asked(&bound, None, Audience::Generalist).system.is_some_and(|system| system.contains("Schema"))
        );
        let status = asked(&free, Some(Kind::StatusUpdate), Audience::Llm);
        assert!(status.system.is_some_and(|system| system.contains("one line")));
    }

    #[test]
    fn a_task_type_that_the_prompt_does_not_show_is_only_a_hint() {
        let mislabelled = task(json!({"task_type": "json_field", "description": "Explain monads"}));
        let request = asked(&mislabelled, None, Audience::Llm);
        assert_eq!(request.shape, Shape::Text);
        assert!(request.system.is_some_and(|system| system.contains("If that is what it is")));
    }

    #[test]
    fn what_the_task_sets_is_passed_on_to_the_llm() {
        let task = task(json!({
            "task_type": "x", "description": "d", "parameters": {
                "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["\n"], "model": "claude-haiku-4-5", "tools": [{"name": "t"}],
            },
        }));
        let request = asked(&task, None, Audience::Llm);
        let sampling =
            Sampling { temperature: Some(0.5), top_p: Some(0.9), seed: Some(3), ..Sampling::default() };
        assert_eq!((request.max_tokens, request.sampling), (7, sampling));
        assert_eq!(
            (request.stop, request.model),
            (vec!["\n".to_owned()], Some("claude-haiku-4-5".to_owned()))
        );
        assert_eq!(request.tools, Some(json!([{"name": "t"}])));
    }

    #[test]
    fn a_critique_is_a_further_turn_that_says_where_why_and_how() {
        let task = task(json!({"task_type": "x", "description": "2 + 2?"}));
        let findings = [Finding {
            kind: "arithmetic".to_owned(),
            span: Some((0, 9)),
            evidence: "the sum is wrong".to_owned(),
            suggested_edit: Some("the result is 4".to_owned()),
            severity: Severity::Reject,
        }];
        let critique = Some(Critique { draft: "2 + 2 = 5", findings: &findings });
        let ask = |audience| {
            request(&task, None, audience, critique, Duration::from_secs(9), CancellationToken::new())
                .messages
        };
        let messages = ask(Audience::Llm);
        assert_eq!(
            messages.iter().map(|m| m.role).collect::<Vec<_>>(),
            [Role::User, Role::Assistant, Role::User]
        );
        assert_eq!(messages[1].text, "2 + 2 = 5");
        assert!(
            messages[2].text.contains("- arithmetic: the sum is wrong, at “2 + 2 = 5”; the result is 4\n")
        );
        assert_eq!(ask(Audience::Specialist).len(), 1, "it cannot use one");
    }
}
