//! What the formal checks find, and what they leave alone.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::id::{AgentId, LeaseToken, TaskKey};
use crate::inference::Finish;
use crate::lifecycle::{Event, Timestamp, step};
use crate::taskmaster::route::Decision;
use crate::taskmaster::{Complexity, Verdict};

fn record(kind: Option<Kind>, request: Value) -> Record {
    let request = TaskRequest::parse(request.to_string().as_bytes()).expect("a valid request");
    let verdict =
        Verdict { complexity: Complexity::Simple, score: 0.1, confidence: 0.9, kind, reasons: Vec::new() };
    let decision = Decision { route: Route::Slm, reason: "a test".to_owned() };
    let key = TaskKey::lone("t".parse().expect("a valid id"));
    Record::new(key, request, verdict, decision, Timestamp(0))
}

fn task(description: &str) -> Record {
    record(None, json!({"task_type": "llm_inference", "description": description}))
}

fn answer(text: &str) -> Answer {
    Answer {
        text: text.to_owned(),
        json: None,
        tool_calls: Vec::new(),
        provider: Provider::Slm,
        model: "tiny".to_owned(),
        finish: Finish::Stop,
        confidence: Some(0.9),
        llm_cost_micro_usd: 0,
    }
}

fn kinds(record: &Record, answer: &Answer) -> Vec<String> {
    judge(record, answer, Evaluation::Full).findings.into_iter().map(|finding| finding.kind).collect()
}

fn kinds_of(description: &str, text: &str) -> Vec<String> {
    kinds(&task(description), &answer(text))
}

#[test]
fn a_plain_answer_passes() {
    assert!(kinds_of("What is the capital of France?", "Paris.").is_empty());
}

#[test]
fn an_empty_answer_is_none() {
    assert_eq!(kinds_of("Say hello", " \n"), ["empty"]);
}

#[test]
fn an_answer_that_was_cut_off_is_found_by_its_finish_its_fence_or_its_json() {
    assert_eq!(kinds(&task("Go on"), &Answer { finish: Finish::Length, ..answer("and then") }), ["cut_off"]);
    assert_eq!(kinds_of("Write code", "```rust\nfn main() {"), ["cut_off"]);
    assert_eq!(kinds_of("List them", "[1, 2, {\"a\": "), ["cut_off"]);
    assert!(kinds_of("Write code", "```rust\nfn main() {}\n```").is_empty());
}

#[test]
fn a_refusal_is_found_at_the_start_only() {
    assert_eq!(kinds_of("Do it", "I’m sorry, but I can't help with that."), ["refusal"]);
    assert_eq!(kinds_of("Do it", "Unfortunately, I cannot assist with this request."), ["refusal"]);
    assert_eq!(kinds(&task("Do it"), &Answer { finish: Finish::Refusal, ..answer("") }), ["refusal"]);
    assert!(kinds_of("What did she say?", "She said: I can't help it.").is_empty());
}

#[test]
fn a_loop_is_found_and_a_table_of_zeros_is_none() {
    assert_eq!(kinds_of("Tell me", &"the cat sat on the mat and ".repeat(6)), ["repetition"]);
    assert!(kinds_of("A matrix", &"0 0 0 0 | ".repeat(30)).is_empty());
    assert!(kinds_of("Sing", "row, row, row your boat, row, row, row your boat").is_empty());
}

#[test]
fn arithmetic_is_recomputed() {
    for right in [
        "2 + 2 = 4",
        "So, 3 × 4 = 12.",
        "1. 7 − 9 = -2",
        "10 / 3 = 3.33",
        "2/3 = 0.66",
        "1,200 + 34 = 1,234",
        "12,5 + 2,5 = 15",
        "$5.00 + $2.50 = $7.50",
        "50 / 200 = 25%",
        "(2 + 3) * 4 = 20",
        "20% of 50 is 10",
        "The sum of 3, 4 and 5 is 12.",
        "99999999999999999999 * 99999999999999999999 = 9999999999999999999800000000000000000001",
    ] {
        assert!(kinds_of("Compute", right).is_empty(), "{right}");
    }
    for wrong in [
        "2 + 2 = 5",
        "So 3 × 4 = 13.",
        "7 − 9 = 2",
        "10 / 3 = 3.43",
        "123456789 * 987654321 = 121932631112635268",
        "50 / 200 = 20%",
        "20% of 50 is 12",
        "The sum of 3, 4 and 5 is 13.",
    ] {
        assert_eq!(kinds_of("Compute", wrong), ["arithmetic"], "{wrong}");
    }
}

#[test]
fn arithmetic_leaves_alone_what_it_cannot_read_for_certain() {
    for unread in [
        "x + 3 = 7",
        "x^2 + 1 = 9",
        "f(2) + 1 = 9",
        "a2 + 3 = 9",
        "2024-01-05 = 7",
        "1/2/2024 = 7",
        "2 + 3 = 5 + 1 = 6",
        "if a + 2 == 5",
        "10-20% of 50 is 7",
        "5 / 0 = 0",
        "1 + = 2",
        "((((((((((((((((((1 + 1)))))))))))))))))) = 3",
    ] {
        assert!(kinds_of("Compute", unread).is_empty(), "{unread}");
    }
    assert!(kinds_of("Is 2 + 2 = 5?", "No, 2 + 2 = 5 does not hold.").is_empty(), "it is being discussed");
}

#[test]
fn a_schema_is_enforced_with_the_place_of_each_error() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let record =
        record(None, json!({"task_type": "x", "description": "Count", "parameters": {"schema": schema}}));
    assert!(kinds(&record, &answer("{\"n\": 3}")).is_empty());
    let judgement = judge(&record, &answer("{\"n\": \"three\"}"), Evaluation::Full);
    assert_eq!(judgement.findings.len(), 1);
    assert!(judgement.findings[0].evidence.contains("/n"), "{}", judgement.findings[0].evidence);
    assert_eq!(kinds(&record, &answer("three")), ["schema"]);
}

#[test]
fn a_classification_is_exactly_one_of_the_categories() {
    let record = record(
        Some(Kind::Classify),
        json!({"task_type": "classify", "description": "Sort it", "parameters": {"categories": ["spam", "ham"]}}),
    );
    assert!(kinds(&record, &answer("spam")).is_empty());
    assert_eq!(kinds(&record, &answer("Spam!")), ["shape"]);
}

#[test]
fn what_is_extracted_stands_in_the_material() {
    let record = record(
        Some(Kind::JsonField),
        json!({"task_type": "json_field", "description": "the address", "parameters": {"prompt": "{\"to\": {\"zip\": \"1 A\\\"B\"}}"}}),
    );
    for copied in ["1 A\"B", "1 A\\\"B", "{\"zip\":\"1 A\\\"B\"}"] {
        assert!(kinds(&record, &answer(copied)).is_empty(), "{copied}");
    }
    assert_eq!(kinds(&record, &answer("1 AB")), ["shape"]);
}

#[test]
fn an_email_is_its_sender_and_its_subject() {
    let record = record(
        Some(Kind::EmailParse),
        json!({"task_type": "email_parse", "description": "From: a@b.c\nSubject: Hi\n\nHello"}),
    );
    assert!(kinds(&record, &answer("{\"sender\":\"a@b.c\",\"subject\":\"Hi\"}")).is_empty());
    assert_eq!(kinds(&record, &answer("{\"sender\":\"x@b.c\",\"subject\":\"Hi\"}")), ["shape"]);
    assert_eq!(kinds(&record, &answer("{\"sender\":\"a@b.c\"}")), ["shape"]);
    assert_eq!(kinds(&record, &answer("a@b.c, Hi")), ["shape"]);
}

#[test]
fn keys_and_values_are_strings_of_the_text() {
    let record =
        record(Some(Kind::KeyValue), json!({"task_type": "key_value", "description": "Port: 80, Host: a.b"}));
    assert!(kinds(&record, &answer("{\"Port\":\"80\",\"Host\":\"a.b\"}")).is_empty());
    assert_eq!(kinds(&record, &answer("{\"Port\":80,\"Host\":\"a.b\"}")), ["shape"]);
    assert_eq!(kinds(&record, &answer("{\"Gate\":\"80\"}")), ["shape"]);
}

#[test]
fn no_line_of_a_list_of_keys_and_values_is_left_out() {
    let asked = |description: &str| {
        record(Some(Kind::KeyValue), json!({"task_type": "key_value", "description": description}))
    };
    let list = asked("As JSON, please: all of it\n\nColour: teal\nSize: XL\nMaterial: soft cotton");
    assert!(kinds(&list, &answer(r#"{"Colour":"teal","Size":"XL","Material":"soft cotton"}"#)).is_empty());
    assert_eq!(kinds(&list, &answer(r#"{"Size":"XL","Material":"soft cotton"}"#)), ["shape"]);
    // What may be an instruction, or several pairs, is nothing to insist on.
    let doubtful = asked("Convert this: cpu=4; zone=eu\n\nInto JSON: now");
    assert!(kinds(&doubtful, &answer(r#"{"cpu":"4","zone":"eu"}"#)).is_empty());
}

#[test]
fn a_status_is_one_line() {
    let record =
        record(Some(Kind::StatusUpdate), json!({"task_type": "status_update", "description": "It is done"}));
    assert!(kinds(&record, &answer("Done.")).is_empty());
    assert_eq!(kinds(&record, &answer("Done.\nTruly.")), ["shape"]);
}

#[test]
fn a_made_up_quotation_rejects_only_where_quoting_was_asked_for() {
    let quoting = |description: &str| {
        record(
            None,
            json!({"task_type": "x", "description": description, "parameters": {"prompt": "The fox jumps over the\nlazy dog."}}),
        )
    };
    let real = answer("It says “the fox jumps over the lazy dog.” there.");
    let made_up = answer("It says “the fox sleeps beside the lazy dog” there.");
    assert!(kinds(&quoting("Quote it"), &real).is_empty());
    assert!(!judge(&quoting("Quote it"), &made_up, Evaluation::Full).is_valid);
    assert!(judge(&quoting("Write a story"), &made_up, Evaluation::Full).is_valid);
}

#[test]
fn a_better_answer_has_the_higher_confidence() {
    let good = judge(&task("2 + 2?"), &answer("2 + 2 = 4"), Evaluation::Full);
    let bad = judge(&task("2 + 2?"), &answer("2 + 2 = 5"), Evaluation::Full);
    assert!(good.is_valid && !bad.is_valid && good.confidence > bad.confidence);
}

fn bad() -> Judgement {
    judge(&task("2 + 2?"), &answer("2 + 2 = 5"), Evaluation::Full)
}

fn by_llm() -> Answer {
    Answer { provider: Provider::Llm, ..answer("2 + 2 = 5") }
}

#[test]
fn a_passing_answer_is_never_rewritten() {
    let record = task("2 + 2?");
    let good = judge(&record, &answer("4"), Evaluation::Full);
    assert_eq!(follow(&record, &answer("4"), &good, Help::default()), Next::Accept);
}

#[test]
fn the_tiny_slm_is_not_asked_twice() {
    let record = task("2 + 2?");
    assert_eq!(follow(&record, &answer("2 + 2 = 5"), &bad(), Help::default()), Next::Escalate);
    let alone = Help { llm_available: false, ..Help::default() };
    assert_eq!(follow(&record, &answer("2 + 2 = 5"), &bad(), alone), Next::Escalate, "ends llm_unavailable");
}

#[test]
fn a_task_that_may_not_go_up_is_given_up() {
    let mut record = task("2 + 2?");
    let no_fallback = Help { fallback: false, ..Help::default() };
    assert_eq!(follow(&record, &answer("2 + 2 = 5"), &bad(), no_fallback), Next::GiveUp);
    record.request.parameters.force_slm = true;
    assert_eq!(follow(&record, &answer("2 + 2 = 5"), &bad(), Help::default()), Next::GiveUp);
}

#[test]
fn an_slm_that_can_use_a_critique_gets_one() {
    let mut record = task("2 + 2?");
    let help = Help { slm_revises: true, ..Help::default() };
    assert_eq!(follow(&record, &answer("2 + 2 = 5"), &bad(), help), Next::Revise);
    record.revisions = 1;
    assert_eq!(follow(&record, &answer("2 + 2 = 5"), &bad(), help), Next::Escalate);
}

#[test]
fn the_same_findings_twice_end_the_loop() {
    let mut record = task("2 + 2?");
    assert_eq!(follow(&record, &by_llm(), &bad(), Help::default()), Next::Revise);
    record.revisions = 1;
    record.judgements.push(bad());
    record.draft = Some(by_llm());
    assert_eq!(follow(&record, &by_llm(), &bad(), Help::default()), Next::GiveUp);
}

#[test]
fn a_refusal_is_not_sent_back() {
    let record = task("Do it");
    let refusal = Answer { provider: Provider::Llm, ..answer("I can't help with that.") };
    let judgement = judge(&record, &refusal, Evaluation::Full);
    assert_eq!(follow(&record, &refusal, &judgement, Help::default()), Next::GiveUp);
}

proptest! {
    #[test]
    fn every_answer_gets_a_number(
        text in "\\PC{0,200}|[-0-9+*/=%(). ,]{0,80}|[{}\\[\\]\":,a1 ]{0,60}|(\"|“|”|…|``` ?|\n|sum of |% of |is ){0,30}",
        confidence in proptest::option::of(proptest::num::f64::ANY),
        kind in proptest::option::of(proptest::sample::select(&Kind::ALL[..])),
    ) {
        let record = record(kind, json!({
            "task_type": "x", "description": "Quote it", "parameters": {"prompt": "a 1"},
        }));
        let judgement = judge(&record, &Answer { confidence, ..answer(&text) }, Evaluation::Full);
        prop_assert!((0.0..=1.0).contains(&judgement.confidence));
        for finding in &judgement.findings {
            if let Some((from, to)) = finding.span {
                prop_assert!(text.get(from..to).is_some());
            }
        }
    }

    #[test]
    fn the_loop_ends_whatever_the_answers_are(llm_available: bool, fallback: bool, slm_revises: bool, texts in proptest::collection::vec("2 \\+ 2 = [5-9]|x|", 12)) {
        let help = Help { llm_available, fallback, slm_revises };
        let mut record = task("2 + 2?");
        let mut rounds = 0;
        for text in &texts {
            let token = LeaseToken::generate();
            let claim = |token| Event::Claim {
                holder: "w".parse::<AgentId>().expect("a valid id"), token, lease: Duration::from_secs(9), begins: true,
            };
            let provider = if record.decision.route == Route::Llm { Provider::Llm } else { Provider::Slm };
            let answer = Answer { provider, ..answer(text) };
            let judgement = judge(&record, &answer, Evaluation::FormalOnly);
            let next = follow(&record, &answer, &judgement, help);
            record = step(&record, claim(token), Timestamp(0)).expect("it waits").0;
            let event = Event::Answer {
                token, answer, attempts: Vec::new(), then: crate::lifecycle::Then::Judged(judgement, next),
            };
            record = step(&record, event, Timestamp(0)).expect("what follows is allowed").0;
            rounds += 1;
            if record.status().is_settled() {
                break;
            }
        }
        prop_assert!(record.status().is_settled() && rounds <= 2 + MAX_REVISIONS);
    }
}

#[test]
fn the_form_of_a_kind_is_asked_of_models_and_not_of_ghosts_with_a_capability_of_their_own() {
    let task = |parameters: Value| {
        let prompt = json!({"prompt": "{\"name\": \"Ann\"}"});
        let mut task =
            json!({"task_type": "shout", "description": "Return the field \"name\".", "parameters": prompt});
        for (name, value) in parameters.as_object().expect("an object") {
            task["parameters"][name] = value.clone();
        }
        record(Some(Kind::JsonField), task)
    };
    assert!(!kinds(&task(json!({})), &answer("ANN!")).is_empty());
    assert!(kinds(&task(json!({"capability": "shout"})), &answer("ANN!")).is_empty());
    let schema = json!({"capability": "shout", "schema": {"type": "integer"}});
    assert_eq!(kinds(&task(schema), &answer("ANN!")), ["schema"]);
}

#[test]
fn a_ghost_with_a_capability_of_its_own_may_revise_twice() {
    let task = json!({"task_type": "shout", "description": "Shout.", "parameters": {"capability": "shout"}});
    let mut record = record(None, task);
    let rejected = answer("");
    let judgement = judge(&record, &rejected, Evaluation::Full);
    let next = |record: &Record| follow(record, &rejected, &judgement, Help::default());
    assert_eq!(next(&record), Next::Revise);
    record.revisions = MAX_REVISIONS;
    assert_eq!(next(&record), Next::Escalate);
    record.decision.route = Route::Llm;
    assert_eq!(next(&record), Next::GiveUp);
    // The same is wrong again.
    record.revisions = 1;
    record.draft = Some(rejected.clone());
    record.judgements.push(judgement.clone());
    assert_eq!(next(&record), Next::GiveUp);
}
