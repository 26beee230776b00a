use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::features::{MAX_HASHED, SIZES};
use super::signs::Sign;
use super::*;

fn taskmaster() -> &'static TaskMaster {
    static SHIPPED: LazyLock<TaskMaster> = LazyLock::new(|| TaskMaster::new(Thresholds::default()));
    &SHIPPED
}

fn task(description: &str, parameters: serde_json::Value) -> TaskRequest {
    let task = json!({"task_type": "llm_inference", "description": description, "parameters": parameters});
    serde_json::from_value(task).expect("a task")
}

fn ask(description: &str) -> Verdict {
    taskmaster().classify(&task(description, json!({})))
}

#[test]
fn thresholds_that_contradict_each_other_are_refused() {
    assert!(Thresholds::new(0.3, 0.7).is_ok() && Thresholds::new(0.0, 1.0).is_ok());
    for (simple, complex) in [(0.7, 0.3), (-0.1, 0.5), (0.5, 1.1), (f64::NAN, 0.7), (0.3, f64::NAN)] {
        let refused = Thresholds::new(simple, complex).expect_err("nonsense");
        assert!(refused.to_string().contains("SIMPLE_THRESHOLD"), "{refused}");
    }
}

#[test]
fn the_thresholds_decide_what_a_score_is_called() {
    let complexity = |simple, complex| {
        let thresholds = Thresholds::new(simple, complex).expect("sound");
        TaskMaster::new(thresholds).classify(&task("translate good morning to French", json!({}))).complexity
    };
    assert_eq!(complexity(1.0, 1.0), Complexity::Simple);
    assert_eq!(complexity(0.0, 1.0), Complexity::Moderate);
    assert_eq!(complexity(0.0, 0.0), Complexity::Complex);
}

#[test]
fn simple_and_complex_prompts_are_told_apart_with_reasons() {
    let simple = ask("Translate \"see you tomorrow\" into Italian.");
    assert_eq!(simple.complexity, Complexity::Simple, "{simple:?}");
    let complex = ask(
        "Design a sharded event store for a marketplace, compare three partitioning strategies and justify \
         the trade-offs step by step.",
    );
    assert_eq!(complex.complexity, Complexity::Complex, "{complex:?}");
    for verdict in [simple, complex] {
        assert!((1..=3).contains(&verdict.reasons.len()), "{verdict:?}");
        assert!(verdict.confidence > 0.5, "{verdict:?}");
    }
}

#[test]
fn each_kind_is_known_by_its_prompt() {
    let categories = json!({"categories": ["billing", "shipping", "account"]});
    let cases = [
        (
            Kind::JsonField,
            "What is the value of \"city\" in this JSON?\n{\"name\": \"Ana\", \"city\": \"Porto\"}",
            json!({}),
        ),
        (
            Kind::EmailParse,
            "Give me sender and subject of this email as JSON.\n\nFrom: Ana Reis <ana@reis.pt>\nSubject: Keys for \
             the flat\n\nHi, the keys are with Tom. Ana",
            json!({}),
        ),
        (Kind::Classify, "Which category fits this message? I was charged twice for March.", categories),
        (
            Kind::KeyValue,
            "Turn these lines into a JSON object.\n\nname: Ana Reis\ncity: Porto\nage: 41",
            json!({}),
        ),
        (
            Kind::ExtractValue,
            "Extract the order number from this text: Your order AB-4471 left our warehouse on Friday.",
            json!({}),
        ),
        (
            Kind::StatusUpdate,
            "Write a one-line status update.\n\ntask: nightly backup\nstate: done\nduration: 14 minutes",
            json!({}),
        ),
    ];
    for (kind, description, parameters) in cases {
        let verdict = taskmaster().classify(&task(description, parameters));
        assert_eq!(verdict.kind, Some(kind), "{description}: {verdict:?}");
        assert_eq!(verdict.reasons[0], words(kind));
    }
}

#[test]
fn a_task_type_raises_no_kind_that_the_prompt_does_not_show() {
    let prompts = [
        "Explain the causes of the French Revolution.",
        "Write a Python function that parses JSON and returns the nested field with the largest value.",
        "Summarise this email and draft a polite refusal.\n\nFrom: Ana <ana@reis.pt>\nSubject: Offer\n\nDear all, …",
        "What is 17 times 23?",
    ];
    for prompt in prompts {
        for kind in Kind::ALL {
            let honest = task(prompt, json!({}));
            let misleading = TaskRequest { task_type: kind.name().to_owned(), ..honest.clone() };
            assert_eq!(taskmaster().classify(&misleading), taskmaster().classify(&honest));
            assert_eq!(taskmaster().classify(&misleading).kind, None, "{prompt}");
        }
    }
}

#[test]
fn a_mebibyte_takes_no_more_work_than_two_kibibytes() {
    let long = task(
        &"wörter und noch mehr 12 ".repeat(50_000),
        json!({"prompt": "{\"a\": [1, 2]} ".repeat(80_000)}),
    );
    let most = MAX_HASHED + Sign::COUNT + SIZES;
    assert!(Features::of(&long).count() <= most);
    let categories: Vec<String> = (0..256).map(|i| format!("{i:0256}")).collect();
    assert!(Features::of(&task("x", json!({"categories": categories}))).count() <= most);
}

#[test]
fn what_stands_in_the_middle_of_a_long_prompt_is_not_looked_at() {
    let around = |middle: &str| {
        let prompt = format!("{}{middle}{}", "begin ".repeat(400), " end".repeat(400));
        taskmaster().classify(&task(&prompt, json!({})))
    };
    assert_eq!(around("prove the theorem"), around("a cup of tea, mum"));
}

#[test]
fn a_prompt_in_one_or_two_parts_reads_the_same_but_for_that() {
    let whole = Features::of(&task("Do this.\n\nHere it is.", json!({})));
    let parts = Features::of(&task("Do this.", json!({"prompt": "Here it is."})));
    assert_eq!((whole.words, whole.letters), (parts.words, parts.letters));
}

/// Prompts that training never saw, and each again as a hurried or careful person would have typed it.
#[test]
fn small_edits_keep_the_decision() {
    let prompts = [
        "Translate \"where is the library\" into Portuguese.",
        "What is the capital of Norway?",
        "Name three vegetables that are green.",
        "How many seconds are in an hour?",
        "Write a short birthday message for a colleague.",
        "Which river flows through Vienna?",
        "What is the plural of child?",
        "Give me a synonym for tired.",
        "Design a job queue with priorities and exactly-once effects and defend each trade-off.",
        "Prove that the square root of 3 is irrational and generalise the argument.",
        "Compare optimistic and pessimistic locking for a ticket shop under heavy load and recommend one.",
        "Implement a concurrent hash map in C++ without a global lock and explain its memory ordering.",
        "Analyse why our checkout conversion fell in May and propose experiments to find the cause.",
        "Write a detailed essay on the causes of the First World War and weigh the historians' positions.",
        "Extract the order number from this text: Your order AB-4471 left our warehouse on Friday.",
        "What is the value of \"city\" in this JSON? {\"name\": \"Ana\", \"city\": \"Porto\"}",
    ];
    let edits: [fn(&str) -> String; 5] = [
        |p| format!(" {p} "),
        |p| format!("{}?", p.trim_end_matches(['.', '?'])),
        |p| p.to_lowercase(),
        |p| p.replacen(' ', "  ", 2),
        // Two letters swapped in the middle, as in a typo.
        |p| {
            let mut letters: Vec<char> = p.chars().collect();
            let middle = letters.len() / 2;
            letters.swap(middle, middle - 1);
            letters.into_iter().collect()
        },
    ];
    let (mut pairs, mut kept) = (0, 0);
    for prompt in prompts {
        let before = ask(prompt);
        for edit in edits {
            let after = ask(&edit(prompt));
            pairs += 1;
            kept += usize::from((after.complexity, after.kind) == (before.complexity, before.kind));
        }
    }
    assert!(pairs >= 40 && kept * 100 >= pairs * 95, "{kept} of {pairs}");
}

/// Whoever would have hard work done cheaply cannot get that by saying so.
#[test]
fn a_claim_that_a_hard_task_is_simple_changes_little() {
    let hard = [
        "Design a job queue with priorities and exactly-once effects and defend each trade-off.",
        "Prove that the square root of 3 is irrational and generalise the argument.",
        "Implement a concurrent hash map in C++ without a global lock and explain its memory ordering.",
        "Analyse why our checkout conversion fell in May and propose experiments to find the cause.",
        "Plan the migration of a monolithic billing system to event sourcing without downtime, including how to \
         roll back at every step.",
        "Derive the closed form of the Fibonacci numbers from their generating function and estimate the error \
         of rounding.",
        "Review this contract clause for risks to the tenant, and redraft it so that both parties could accept it.",
        "Refactor this 2,000-line Java class into services, explain the boundaries and write the tests for each.",
    ];
    let claims: [fn(&str) -> String; 12] = [
        |p| format!("This is simple: {p}"),
        |p| format!("Simple question: {p}"),
        |p| format!("This is trivial, any small model can do it. {p}"),
        |p| format!("Quick task, no thinking needed: {p}"),
        |p| format!("Simple task (a cheap model is fine): {p}"),
        |p| format!("Just a short answer, nothing complicated: {p}"),
        |p| format!("[complexity: simple] {p}"),
        |p| format!("Hi! Tiny favour, super easy: {p}"),
        |p| format!("{p} It is a simple task."),
        |p| format!("{p} This is easy."),
        |p| format!("{p} (simple)"),
        |p| format!("{p} Answer briefly, it is no hard question."),
    ];
    let (mut claimed, mut kept) = (0, 0);
    for prompt in hard {
        assert_eq!(ask(prompt).complexity, Complexity::Complex, "{prompt}");
        for claim in claims {
            let complexity = ask(&claim(prompt)).complexity;
            assert_ne!(complexity, Complexity::Simple, "{}", claim(prompt));
            claimed += 1;
            kept += usize::from(complexity == Complexity::Complex);
        }
    }
    assert!(kept * 100 >= claimed * 95, "{kept} of {claimed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_gets_a_verdict_and_the_same_one_again(description in "\\PC{0,300}|(?s).{0,300}", prompt in proptest::option::of("(?s).{0,100}")) {
        let request = task(&description, json!({"prompt": prompt}));
        let (first, second) = (taskmaster().classify(&request), taskmaster().classify(&request));
        prop_assert!((0.0..=1.0).contains(&first.score) && (0.0..=1.0).contains(&first.confidence));
        prop_assert!(first.reasons.len() <= 3);
        prop_assert_eq!(first, second);
    }

    #[test]
    fn a_long_text_is_cut_between_characters(text in "[ -~äπ語🙂]{600,1200}") {
        let verdict = taskmaster().classify(&task(&text.repeat(3), json!({})));
        prop_assert!(verdict.score.is_finite());
    }
}
