//! Decides who answers a task: the local model, the LLM, or local first and the LLM where that draft will not do.
//!
//! Pure: a request, its [`Verdict`] and what is [`Available`] go in, a [`Decision`] comes out.
//! [`hybrid`](crate::inference::hybrid) acts on it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::capability::Capability;
use super::{Complexity, Verdict};
use crate::task::{Kind, TaskRequest};

/// Who answers a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The local model; the LLM only if it stumbles.
    Slm,
    /// The LLM.
    Llm,
    /// The local model first, and its draft decides.
    SlmThenLlm,
}

impl Route {
    /// Its name in JSON, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Route::Slm => "slm",
            Route::Llm => "llm",
            Route::SlmThenLlm => "slm_then_llm",
        }
    }
}

/// A route, and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who answers.
    pub route: Route,
    /// Why, in words.
    pub reason: String,
}

/// Who could answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Available {
    /// What the local model can do, if there is one.
    pub slm: Option<Capability>,
    /// Whether an LLM is configured.
    pub llm: bool,
    /// Whether the two share the work (ENABLE_HYBRID_INFERENCE); otherwise the LLM takes everything if there is one.
    pub hybrid: bool,
}

/// Decides who answers.
///
/// A task that the local model must not take is routed to the LLM even where none is configured: the engine then ends
/// it with words that help, and it can be retried once there is one.
pub fn decide(request: &TaskRequest, verdict: &Verdict, available: &Available) -> Decision {
    let to = |route, reason: String| Decision { route, reason };
    if request.parameters.force_llm {
        return to(Route::Llm, "the task insists on the LLM (force_llm)".to_owned());
    }
    if request.parameters.force_slm {
        return to(Route::Slm, "the task insists on the local model (force_slm)".to_owned());
    }
    let Some(slm) = &available.slm else {
        return to(Route::Llm, "there is no local model".to_owned());
    };
    if available.llm && !available.hybrid {
        return to(Route::Llm, "the LLM takes everything (ENABLE_HYBRID_INFERENCE is off)".to_owned());
    }
    if let Some(obstacle) = obstacle(request, verdict.kind, slm) {
        return to(Route::Llm, obstacle);
    }
    let score = format!("its score is {:.2}", verdict.score);
    match (verdict.kind, verdict.complexity) {
        (Some(kind), _) if slm.kinds.contains_key(&kind) => {
            to(Route::Slm, format!("the prompt reads like {kind}, which {} can do", slm.model))
        }
        _ if !available.llm => to(Route::Slm, "there is no LLM".to_owned()),
        (_, Complexity::Simple) => to(Route::Slm, format!("it looks simple: {score}")),
        (_, Complexity::Complex) => to(Route::Llm, format!("it looks complex: {score}")),
        (_, Complexity::Moderate) => {
            to(Route::SlmThenLlm, format!("it may be simple: {score}, so the local draft decides"))
        }
    }
}

/// Why the local model must not take this task, whatever the score.
fn obstacle(request: &TaskRequest, kind: Option<Kind>, slm: &Capability) -> Option<String> {
    let name = &slm.model;
    let tools = request.parameters.extra.get("tools");
    if tools
        .is_some_and(|tools| !matches!(tools, Value::Null) && tools.as_array().is_none_or(|t| !t.is_empty()))
    {
        return Some(format!("it brings tools, which {name} cannot use"));
    }
    let bytes = input_bytes(request);
    let limit = slm.max_input_bytes;
    if bytes > limit {
        return Some(format!("it is too long for {name} ({bytes} bytes; at most {limit})"));
    }
    if slm.general {
        return None;
    }
    let Some(kind) = kind.filter(|kind| slm.kinds.contains_key(kind)) else {
        return Some(match kind {
            Some(kind) => format!("the prompt reads like {kind}, which is not among the tasks of {name}"),
            None => format!("the prompt shows none of the simple tasks that {name} can do"),
        });
    };
    if let Some(asked) = Kind::from_name(&request.task_type).filter(|&asked| !as_asked(asked, kind)) {
        return Some(format!("the prompt reads like {kind}, though the task asks for {asked}"));
    }
    let schema = request.parameters.schema.as_ref();
    schema
        .is_some_and(|schema| !suits(kind, schema))
        .then(|| format!("its schema asks for more than the {kind} answer that {name} gives"))
}

/// What the local model would have to read: the text and the categories.
fn input_bytes(request: &TaskRequest) -> usize {
    let parameters = &request.parameters;
    let categories = parameters.categories.iter().flatten().map(|category| category.len() + 2).sum::<usize>();
    request.description.len() + parameters.prompt.as_ref().map_or(0, |prompt| prompt.len() + 2) + categories
}

/// Whether an answer of the kind that the prompt shows has the form of the kind that the task asks for.
fn as_asked(asked: Kind, shown: Kind) -> bool {
    let bare_value = |kind| matches!(kind, Kind::JsonField | Kind::ExtractValue);
    asked == shown || bare_value(asked) && bare_value(shown)
}

/// Whether the answer of this kind can satisfy the schema: a flat object of strings for those that answer with JSON.
fn suits(kind: Kind, schema: &Value) -> bool {
    let strings = |name: &String, property: &Value| {
        let known = kind == Kind::KeyValue || matches!(name.as_str(), "sender" | "subject");
        known && property.get("type").is_none_or(|t| t == "string")
    };
    match kind {
        Kind::EmailParse | Kind::KeyValue => {
            schema.get("type").is_none_or(|t| t == "object")
                && schema.get("properties").and_then(Value::as_object).is_none_or(|properties| {
                    properties.iter().all(|(name, property)| strings(name, property))
                })
        }
        Kind::JsonField | Kind::Classify | Kind::ExtractValue | Kind::StatusUpdate => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(parameters: Value) -> TaskRequest {
        let task = json!({"task_type": "anything", "description": "Hi", "parameters": parameters});
        serde_json::from_value(task).expect("a task")
    }

    fn verdict(kind: Option<Kind>, complexity: Complexity) -> Verdict {
        Verdict { complexity, score: 0.5, confidence: 0.9, kind, reasons: Vec::new() }
    }

    fn tiny() -> Capability {
        let table = "model = 'tiny'\ncontext_tokens = 1024\nmax_input_bytes = 800\n";
        let skill = "accuracy = 0.98\ncoverage = 0.9\nmin_confidence = 0.6\n";
        let kinds = ["json_field", "key_value", "email_parse"].map(|kind| format!("[kinds.{kind}]\n{skill}"));
        Capability::parse(&format!("{table}{}", kinds.concat())).expect("a table")
    }

    fn with(slm: Option<Capability>, llm: bool) -> Available {
        Available { slm, llm, hybrid: true }
    }

    #[test]
    fn who_answers_follows_this_table() {
        use Complexity::{Complex, Moderate, Simple};
        use Route::{Llm, Slm, SlmThenLlm};
        let general = || Some(Capability::general("phi"));
        let field = Some(Kind::JsonField);
        let plain = json!({});
        let off = |slm, llm| Available { slm, llm, hybrid: false };
        let long = json!({"prompt": "x".repeat(900)});
        let object = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let nested = json!({"type": "object", "properties": {"a": {"type": "array"}}});
        let cases = [
            (json!({"force_llm": true}), field, Simple, with(Some(tiny()), false), Llm, "force_llm"),
            (json!({"force_slm": true}), None, Complex, with(Some(tiny()), true), Slm, "force_slm"),
            (json!({"force_slm": true}), None, Complex, with(None, true), Slm, "force_slm"),
            (plain.clone(), field, Simple, with(None, true), Llm, "no local model"),
            (plain.clone(), field, Simple, with(None, false), Llm, "no local model"),
            (plain.clone(), field, Simple, off(Some(tiny()), true), Llm, "ENABLE_HYBRID_INFERENCE"),
            (plain.clone(), field, Simple, off(Some(tiny()), false), Slm, "json_field"),
            (plain.clone(), None, Complex, off(general(), false), Slm, "no LLM"),
            // The tiny model takes its kinds, whatever the score, and nothing else.
            (
                plain.clone(),
                field,
                Complex,
                with(Some(tiny()), true),
                Slm,
                "reads like json_field, which tiny can do",
            ),
            (
                plain.clone(),
                Some(Kind::Classify),
                Simple,
                with(Some(tiny()), true),
                Llm,
                "not among the tasks of tiny",
            ),
            (plain.clone(), None, Simple, with(Some(tiny()), true), Llm, "none of the simple tasks"),
            (plain.clone(), None, Simple, with(Some(tiny()), false), Llm, "none of the simple tasks"),
            (
                long.clone(),
                field,
                Simple,
                with(Some(tiny()), true),
                Llm,
                "too long for tiny (904 bytes; at most 800)",
            ),
            (json!({"tools": [{"name": "t"}]}), field, Simple, with(Some(tiny()), true), Llm, "tools"),
            (json!({"tools": []}), field, Simple, with(Some(tiny()), true), Slm, "json_field"),
            (
                json!({"schema": object}),
                Some(Kind::KeyValue),
                Simple,
                with(Some(tiny()), true),
                Slm,
                "key_value",
            ),
            (
                json!({"schema": nested}),
                Some(Kind::KeyValue),
                Simple,
                with(Some(tiny()), true),
                Llm,
                "schema",
            ),
            (
                json!({"schema": object}),
                Some(Kind::EmailParse),
                Simple,
                with(Some(tiny()), true),
                Llm,
                "schema",
            ),
            (json!({"schema": object}), field, Simple, with(Some(tiny()), true), Llm, "schema"),
            // A general model is bounded by the score.
            (plain.clone(), None, Simple, with(general(), true), Slm, "simple"),
            (plain.clone(), None, Moderate, with(general(), true), SlmThenLlm, "draft decides"),
            (plain.clone(), None, Complex, with(general(), true), Llm, "complex"),
            (plain.clone(), None, Moderate, with(general(), false), Slm, "no LLM"),
            (json!({"schema": nested}), None, Simple, with(general(), true), Slm, "simple"),
            (json!({"tools": [{}]}), None, Simple, with(general(), true), Llm, "tools"),
            (json!({"prompt": "x".repeat(9000)}), None, Simple, with(general(), true), Llm, "too long"),
        ];
        for (parameters, kind, complexity, available, route, why) in cases {
            let decision = decide(&request(parameters.clone()), &verdict(kind, complexity), &available);
            let case = format!("{parameters} {kind:?} {complexity:?} {available:?}: {decision:?}");
            assert_eq!(decision.route, route, "{case}");
            assert!(decision.reason.contains(why), "{case}");
        }
    }

    #[test]
    fn categories_count_as_input() {
        let many: Vec<String> = (0..200).map(|i| format!("category {i}")).collect();
        let task = request(json!({"categories": many}));
        let decision =
            decide(&task, &verdict(Some(Kind::JsonField), Complexity::Simple), &with(Some(tiny()), true));
        assert_eq!(decision.route, Route::Llm);
    }

    #[test]
    fn an_answer_of_another_form_than_the_task_asks_for_is_not_the_tiny_models_to_give() {
        let asks = |task_type: &str| {
            let task = json!({"task_type": task_type, "description": "Hi"});
            let request = serde_json::from_value(task).expect("a task");
            let available = Available { slm: Some(tiny()), llm: true, hybrid: true };
            decide(&request, &verdict(Some(Kind::JsonField), Complexity::Simple), &available)
        };
        for task_type in ["json_field", "extract_value", "llm_inference"] {
            assert_eq!(asks(task_type).route, Route::Slm, "{task_type}: a bare value is right");
        }
        let decision = asks("key_value");
        assert_eq!(decision.route, Route::Llm);
        assert_eq!(decision.reason, "the prompt reads like json_field, though the task asks for key_value");
    }
}
