//! Experiments through the door: started, counted, watched, stopped, the same on every orchestrator.

use std::sync::Arc;

use ghost_core::inference::scripted::Script;
use ghost_tests::TestSwarm;
use serde_json::{Value, json};

use crate::support::{Server, handle};

fn definition() -> Value {
    json!({
        "name": "bolder", "metric": "rating",
        "arms": [{"name": "cautious"}, {"name": "bold", "simple_threshold": 0.99, "complex_threshold": 1}],
    })
}

/// A task that no model would call simple, of this user.
fn task(id: &str, user: &str) -> Value {
    let words = "Prove that there are infinitely many primes, then compare three proofs of it in an essay.";
    json!({"task_id": id, "task_type": "llm_inference", "description": words, "context": {"user_id": user}})
}

fn arm(task: &Value) -> &str {
    task["metadata"]["arm"].as_str().expect("an arm")
}

#[tokio::test]
async fn an_arms_thresholds_decide_the_route_and_every_orchestrator_deals_alike() {
    let swarm =
        TestSwarm::in_memory().general_slm(Script::always("small")).llm(Script::always("four")).start().await;
    let one = Server::to(swarm.handle.clone()).await;
    // Another orchestrator of the same swarm, which decides by the same settings.
    let other = Server::to(handle(Arc::new(swarm.line()))).await;
    let started = one.post("/v1/experiments", definition()).await.with(201);
    assert_eq!(
        (started.header("location"), &started.json["running"]),
        ("/v1/experiments/bolder", &json!(true))
    );

    let mut arms = std::collections::HashMap::new();
    // So many that no hash has them all in one arm.
    for n in 0..80 {
        let user = format!("u{}", n % 40);
        let settled = one.post("/v1/tasks?wait=30", task(&n.to_string(), &user)).await.with(200).json;
        let route = if arm(&settled) == "bold" { "slm" } else { "llm" };
        assert_eq!(
            (&settled["metadata"]["route"], &settled["metadata"]["experiment"]),
            (&json!(route), &json!("bolder"))
        );
        let known = arms.entry(user.clone()).or_insert_with(|| arm(&settled).to_owned());
        assert_eq!(known, arm(&settled), "a user stays in one arm");
        one.post(
            &format!("/v1/tasks/{n}/feedback"),
            json!({"rating": if route == "slm" { 0.25 } else { 1.0 }}),
        )
        .await
        .with(200);
    }
    for (n, (user, known)) in arms.iter().enumerate() {
        let accepted = other.post("/v1/tasks", task(&format!("other-{n}"), user)).await.with(202).json;
        assert_eq!(arm(&accepted), known);
    }
    for n in 0..arms.len() {
        one.get(&format!("/v1/tasks/other-{n}?wait=30")).await.with(200);
    }
    let report = other.get("/v1/experiments/bolder").await.with(200).json;
    let [cautious, bold] = [&report["arms"][0], &report["arms"][1]];
    let count = |arm: &Value, name: &str| arm[name].as_u64().expect("a number");
    assert_eq!(count(cautious, "tasks") + count(bold, "tasks"), 120);
    assert_eq!((&cautious["rating"]["mean"], &bold["rating"]["mean"]), (&json!(1.0), &json!(0.25)));
    assert_eq!(count(&cautious["rating"], "n") + count(&bold["rating"], "n"), 80);
    assert!(count(bold, "slm_answers") >= count(&bold["rating"], "n"), "{bold}");
    assert!(bold["against_control"]["estimate"].as_f64().expect("a number") < -0.7);
}

#[tokio::test]
async fn an_arms_model_and_prompts_reach_the_llm() {
    let llm = Arc::new(ghost_core::inference::scripted::Scripted::new(
        ghost_core::inference::Provider::Llm,
        ghost_tests::swarm::LLM,
        Script::always("four"),
    ));
    let swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
    let server = Server::to(swarm.handle.clone()).await;
    let arms = json!([{"name": "a", "system_prompt": "Be brief.", "prompt_prefix": "In French:", "model": "other"},
        {"name": "b", "system_prompt": "Be brief.", "prompt_prefix": "In French:", "model": "other"}]);
    server.post("/v1/experiments", json!({"name": "e", "arms": arms})).await.with(201);
    server.post("/v1/tasks?wait=30", task("a", "u")).await.with(200);
    let asked = llm.requests().pop().expect("it was asked");
    assert_eq!((asked.system.as_deref(), asked.model.as_deref()), (Some("Be brief."), Some("other")));
    assert!(asked.messages[0].text.starts_with("In French:\n\nProve that"), "{}", asked.messages[0].text);
}

#[tokio::test]
async fn one_experiment_runs_at_a_time_and_a_name_is_used_once() {
    let (broker, named) = (Arc::new(ghost_tests::Line::to_new_store()), |name: &str| {
        let mut other = definition();
        other["name"] = json!(name);
        other
    });
    let server = Server::to(handle(broker)).await;
    assert_eq!(server.get("/v1/experiments").await.with(200).json, json!({"experiments": []}));
    server.post("/v1/experiments", named("first")).await.with(201);
    server.post("/v1/experiments", named("first")).await.with(200);
    server.post("/v1/experiments", named("second")).await.says(409, "experiment_running");
    let mut changed = named("first");
    changed["alpha"] = json!(0.01);
    server.post("/v1/experiments", changed).await.says(409, "experiment_running");
    for _ in 0..2 {
        let stopped = server.post("/v1/experiments/first/stop", Value::Null).await.with(200).json;
        assert_eq!(stopped["running"], false);
    }
    server.post("/v1/experiments", named("first")).await.says(409, "name_taken");
    server.post("/v1/experiments", named("second")).await.with(201);
    let listed = server.get("/v1/experiments").await.with(200).json;
    let names: Vec<&Value> =
        listed["experiments"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["second", "first"]);
}

#[tokio::test]
async fn what_is_no_experiment_is_told_so() {
    let server = Server::to(handle(Arc::new(ghost_tests::Line::to_new_store()))).await;
    let mut one_arm = definition();
    one_arm["arms"].as_array_mut().expect("arms").pop();
    let refused = server.post("/v1/experiments", one_arm).await.says(422, "invalid_experiment");
    assert!(refused.message().starts_with("arms: there are 2 to 8"), "{}", refused.message());
    server.post("/v1/experiments", json!(["e"])).await.says(422, "invalid_experiment");
    server.post_bytes("/v1/experiments", b"{").await.says(400, "invalid_json");
    server.post_bytes("/v1/experiments", &vec![b' '; (1 << 20) + 1]).await.says(413, "too_large");
    server.get("/v1/experiments/none").await.says(404, "experiment_not_found");
    server.post("/v1/experiments/none/stop", Value::Null).await.says(404, "experiment_not_found");
    server.get("/v1/experiments/a%2Fb").await.says(404, "experiment_not_found");
    server.get("/v1/experiments/%FF").await.says(400, "invalid_id");
}
