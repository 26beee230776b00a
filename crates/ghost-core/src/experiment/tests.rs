//! Who gets which arm, and what may be called an experiment.

use serde_json::json;

use super::*;
use crate::id::BatchId;

fn definition(value: Value) -> Result<Definition, Error> {
    Definition::parse(value.to_string().as_bytes())
}

fn experiment(weights: &[u32]) -> Experiment {
    let arms: Vec<Value> = weights
        .iter()
        .enumerate()
        .map(|(at, weight)| json!({"name": format!("arm-{at}"), "weight": weight}))
        .collect();
    let definition = definition(json!({"name": "e", "arms": arms})).expect("a definition");
    Experiment { definition, started_at: Timestamp(1_700_000_000_000), stopped_at: None }
}

fn request(fields: Value) -> TaskRequest {
    let mut task = json!({"task_type": "x", "description": "y"});
    let (fields, of) = fields.as_object().cloned().zip(task.as_object_mut()).expect("objects");
    of.extend(fields);
    TaskRequest::parse(task.to_string().as_bytes()).expect("a task")
}

fn arm(experiment: &Experiment, id: &str, fields: Value) -> Option<String> {
    let key = TaskKey::lone(id.parse().expect("an id"));
    Some(experiment.assign(&key, &request(fields))?.arm.name)
}

#[test]
fn arms_get_their_share_of_the_tasks() {
    let experiment = experiment(&[1, 3, 6]);
    let mut counts = [0_u32; 3];
    for n in 0..10_000 {
        let name = arm(&experiment, &format!("task-{n}"), json!({})).expect("an arm");
        counts[name["arm-".len()..].parse::<usize>().expect("a number")] += 1;
    }
    for (count, expected) in counts.into_iter().zip([1_000_u32, 3_000, 6_000]) {
        assert!(count.abs_diff(expected) < 200, "{counts:?}");
    }
}

#[test]
fn whoever_asks_again_is_in_the_same_arm_on_any_orchestrator() {
    let mut experiment = experiment(&[1; 8]);
    // Pinned: another hash would move everybody to another arm in the middle of an experiment.
    let pinned = ["a", "b", "c"].map(|id| arm(&experiment, id, json!({})).expect("an arm"));
    assert_eq!(pinned, PINNED);
    let of = |experiment: &Experiment, id: &str, fields: Value| arm(experiment, id, fields).expect("an arm");
    for (one, other) in [
        (json!({"context": {"session_id": "s"}}), json!({"parameters": {"session_id": "s"}})),
        (
            json!({"context": {"session_id": "s", "user": "u"}}),
            json!({"context": {"session_id": "s", "user": "v"}}),
        ),
        (json!({"context": {"user": 7}}), json!({"context": {"user": "7", "session_id": ""}})),
    ] {
        assert_eq!(of(&experiment, "a", one.clone()), of(&experiment, "b", other.clone()), "{one} {other}");
    }
    let differ = |fields: fn(usize) -> Value| {
        let arms: std::collections::HashSet<_> = (0..40).map(|n| of(&experiment, "a", fields(n))).collect();
        arms.len() > 4
    };
    assert!(differ(|n| json!({"context": {"user": n}})));
    assert!(
        differ(|n| json!({"context": {"user": 1, "tenant": format!("t{n}")}})),
        "users of other tenants are others"
    );
    let first: Vec<_> = (0..40).map(|n| of(&experiment, &format!("task-{n}"), json!({}))).collect();
    experiment.started_at = Timestamp(1);
    let second: Vec<_> = (0..40).map(|n| of(&experiment, &format!("task-{n}"), json!({}))).collect();
    assert_ne!(first, second, "the next experiment deals anew");
    let key = |batch| TaskKey { batch, id: "a".parse().expect("an id") };
    let batches: std::collections::HashSet<_> = (0..40)
        .filter_map(|_| experiment.assign(&key(Some(BatchId::generate())), &request(json!({}))))
        .map(|assignment| assignment.arm.name)
        .collect();
    assert!(batches.len() > 4, "ids are unique within a run only");
}

const PINNED: [&str; 3] = ["arm-3", "arm-2", "arm-7"];

#[test]
fn tasks_of_other_ghosts_are_no_part_of_it() {
    let experiment = experiment(&[1, 1]);
    assert_eq!(arm(&experiment, "a", json!({"parameters": {"capability": "painting"}})), None);
    assert!(arm(&experiment, "a", json!({"parameters": {"capability": "inference"}})).is_some());
}

#[test]
fn a_definition_is_read_with_its_defaults_and_written_as_it_was() {
    let arms = json!([{"name": "control"}, {"name": "bold", "weight": 2, "simple_threshold": 0.5, "complex_threshold": 0.9,
        "model": "claude-haiku-4-5", "system_prompt": "Be brief.", "prompt_prefix": "Please:"}]);
    let definition = definition(json!({"name": "bold-1", "arms": arms})).expect("a definition");
    assert_eq!((definition.metric, definition.alpha, definition.margin), (Metric::Verdict, 0.05, 0.05));
    assert_eq!((definition.arms[0].weight, definition.arms[0].thresholds()), (1, None));
    assert_eq!(definition.arms[1].thresholds(), Thresholds::new(0.5, 0.9).ok());
    let written = serde_json::to_vec(&definition).expect("JSON");
    assert_eq!(Definition::parse(&written).expect("its own form"), definition);
}

#[test]
fn what_makes_no_sense_is_refused_by_the_name_of_its_field() {
    let two = |second: Value| json!({"name": "e", "arms": [{"name": "a"}, second]});
    for (value, words) in [
        (json!({"name": "e", "arms": [{"name": "a"}]}), "arms: there are 2 to 8"),
        (json!({"name": "e", "arms": vec![json!({"name": "a"}); 9]}), "arms: there are 2 to 8"),
        (json!({"name": "a b", "arms": []}), "name: has 1 to 64 letters"),
        (json!({"name": "", "arms": []}), "name: has 1 to 64 letters"),
        (two(json!({"name": "a.b"})), "arms[1].name: has 1 to 64 letters"),
        (two(json!({"name": "a"})), "arms[1].name: another arm is called a too"),
        (two(json!({"name": "b", "weight": 0})), "arms[1].weight: must be 1 to 10000"),
        (two(json!({"name": "b", "simple_threshold": 0.5})), "set both thresholds or neither"),
        (
            two(json!({"name": "b", "simple_threshold": 0.8, "complex_threshold": 0.5})),
            "not above complex_threshold",
        ),
        (two(json!({"name": "b", "model": " "})), "arms[1].model"),
        (
            two(json!({"name": "b", "prompt_prefix": "x".repeat(8193)})),
            "arms[1].prompt_prefix: says something, in at most 8192",
        ),
        (two(json!({"name": "b", "treshold": 1})), "unknown field `treshold`"),
        (json!({"name": "e", "arms": [{"name": "a"}, {"name": "b"}], "alpha": 0}), "alpha: must be above 0"),
        (
            json!({"name": "e", "arms": [{"name": "a"}, {"name": "b"}], "margin": -1}),
            "margin: must be 0 to 1",
        ),
        (
            json!({"name": "e", "arms": [{"name": "a"}, {"name": "b"}], "metric": "length"}),
            "unknown variant `length`",
        ),
        (json!(["e", []]), "an experiment is a JSON object"),
    ] {
        let refused = definition(value.clone()).expect_err("it makes no sense").to_string();
        assert!(refused.contains(words), "{value}: {refused}");
    }
    assert!(matches!(Definition::parse(&vec![b' '; MAX_REQUEST_BYTES + 1]), Err(Error::TooLarge(_))));
}

#[test]
fn a_report_says_what_may_be_concluded() {
    use crate::stats::Counters;
    use report::Conclusion;

    let experiment = experiment(&[1, 1, 1, 1]);
    let id = experiment.id();
    let mut counters = Counters::new();
    for (at, passed) in [(0, 3_200), (1, 3_800), (2, 2_400), (3, 3_202)] {
        let prefix = prefix(&id, &format!("arm-{at}"));
        let counts = [
            ("verdicts", 4_000),
            ("verdicts_passed", passed),
            ("completed", 4_000),
            ("cost_micro_usd", 1_000),
        ];
        counters.extend(counts.map(|(name, n)| (format!("{prefix}{name}"), n)));
    }
    let report = Report::of(&experiment, &counters);
    let conclusions: Vec<_> =
        report.arms.iter().map(|arm| arm.against_control.map(|against| against.conclusion)).collect();
    assert_eq!(conclusions[..3], [None, Some(Conclusion::Better), Some(Conclusion::Worse)]);
    let close = report.arms[3].against_control.expect("it is no control");
    assert_eq!(close.conclusion, Conclusion::NoWorse, "{close:?}");
    assert_eq!((report.arms[0].tasks, report.arms[0].cost_per_task_micro_usd), (4_000, Some(0.25)));
    assert_eq!(
        (report.arms[0].verdict.n, report.arms[0].verdict.mean, report.arms[0].rating.n),
        (4_000, Some(0.8), 0)
    );
    let nothing = Report::of(&experiment, &Counters::new());
    assert_eq!(nothing.arms[1].against_control.map(|a| a.conclusion), Some(Conclusion::Undecided));
    let written = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&written).expect("its own form").arms.len(), 4);
}
